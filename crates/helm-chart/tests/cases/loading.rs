//! Files that are not as most charts have them.

use super::{Case, DUMP, case, metadata};

pub(super) fn all() -> Vec<Case> {
    let values = |name, text: &str| case(name, "", &[("values.yaml", text), ("templates/dump.yaml", DUMP)]);
    let with =
        |name, path: &str, text: &str| case(name, "", &[(path, text), ("templates/a.yaml", "kind: A\n")]);
    vec![
        values("values without a last line end", "a: |\n  text\n  more"),
        values("values of several documents", "a: {x: 1}\n---\na: {y: 2}\n--- # more\nb: 1\n"),
        values("values that end with a separator", "a: 1\n---\n"),
        values("values that begin with separators", "---\n---\na: 1\n"),
        values("a separator with something behind it", "a: 1\n--- {b: 2}\n").fails(),
        values("a separator in a block", "a: |\n  x\n---\nb: 1\n"),
        values("values with carriage returns", "a: |\r\n  x\r\n  y\r\nb: 'c\r\n  d'\r\n"),
        values("values that are null", "null\n"),
        values("values that are a list", "[a]\n").fails(),
        values("a user's values without a last line end", "a: 1\n").values("b: |+\n  text"),
        values("a user's values of several documents", "a: 1\n").values("b: 1\n---\nb: 2\nc: 3\n"),
        with("a lock", "Chart.lock", "digest: a\ngenerated: 2020-01-01T00:00:00.5Z\ndependencies: []\n"),
        with("a lock that is no YAML", "Chart.lock", "a: [").fails(),
        with("a lock that is a list", "Chart.lock", "[]").fails(),
        with("a lock with a digest that is a map", "Chart.lock", "digest: {}").fails(),
        with("a lock of the first version", "requirements.lock", "dependencies: {}").fails(),
        case("globals that are no map", "", &[("values.yaml", "global: text\n")]).with("sub", "", "x: 1\n"),
        case("globals that are null", "", &[("values.yaml", "a: 1\n")])
            .with("sub", "", "x: 1\nglobal: {y: 1}\n")
            .values("global: null\n"),
        case("globals of a chart within that are no map", "", &[("values.yaml", "global: {a: 1}\n")]).with(
            "sub",
            "",
            "global: text\n",
        ),
        with("a file in charts/", "charts/README.md", "text").fails(),
        with("a hidden folder in charts/", "charts/.git/config", "text"),
        with("a folder in charts/ that is no chart", "charts/a/README.md", "text").fails(),
        case(
            "two charts of one name",
            "",
            &[
                ("charts/one/Chart.yaml", &metadata("sub", "")),
                ("charts/one/templates/a.yaml", "kind: A\nx: {{ .Template.Name }}\n"),
            ],
        ),
        case(
            "hooks and weights",
            "",
            &[
                (
                    "templates/b.yaml",
                    "kind: Job\nmetadata:\n  name: b\n  annotations:\n    helm.sh/hook: post-install\n    helm.sh/hook-weight: '-5'\n",
                ),
                (
                    "templates/a.yaml",
                    "kind: Job\nmetadata:\n  name: a\n  annotations:\n    helm.sh/hook: pre-install,post-upgrade\n    helm.sh/hook-weight: 7\n",
                ),
                (
                    "templates/c.yaml",
                    "kind: ConfigMap\nmetadata:\n  name: c\n  annotations:\n    helm.sh/hook: test\n",
                ),
                (
                    "templates/d.yaml",
                    "kind: ConfigMap\nmetadata:\n  name: d\n  annotations:\n    helm.sh/hook: never\n",
                ),
            ],
        ),
        case(
            "the whole context as a text",
            "annotations: {a: b}\n",
            &[
                (
                    "templates/a.yaml",
                    "kind: A\nx: {{ printf \"%v\" .Files | quote }}\ny: {{ regexReplaceAll \"go_version: .*\" (toYaml .) \"\" | quote }}\n",
                ),
                ("a.txt", "text"),
            ],
        ),
        case(
            "texts that are read as something else",
            "",
            &[(
                "templates/a.yaml",
                "kind: A\na: {{ (fromYaml \"text\").Error | quote }}\nb: {{ fromYamlArray \"a: b\" | toJson | quote }}\nc: {{ (fromJson \"true\").Error | quote }}\nd: {{ fromJsonArray \"1\" | toJson | quote }}\n",
            )],
        ),
        case(
            "certificates of the user's own",
            "",
            &[("templates/a.yaml", "kind: A\nx: {{ (buildCustomCert \"bm9uZQ==\" \"bm9uZQ==\").Cert }}\n")],
        )
        .fails(),
        case("keys and certificates", "", &[("templates/a.yaml", CERTIFICATES)]),
    ]
}

/// What is random is not printed: the kinds of keys, the parts of certificates, who signs whom.
const CERTIFICATES: &str = r#"kind: A
{{- $ca := genCA "ca" 10 }}
{{- $cert := genSignedCert "server" (list "10.0.0.1") (list "a.example.com" "b.example.com") 10 $ca }}
{{- $self := genSelfSignedCert "self" nil nil 1 }}
{{- $own := genCAWithKey "own" 5 (genPrivateKey "ecdsa") }}
types: {{ typeOf $ca }} {{ kindOf $ca }} {{ keys (toJson $ca | fromJson) | sortAlpha }}
made:
{{- range list $ca.Cert $cert.Cert $self.Key $cert.Key $own.Key (genPrivateKey "rsa") (genPrivateKey "ed25519") }}
- {{ . | splitList "\n" | first }} {{ hasSuffix "-----\n" . }} {{ . | splitList "\n" | rest | first | len }}
{{- end }}
unknown: {{ genPrivateKey "none" }}
again: {{ (buildCustomCert (b64enc $ca.Cert) (b64enc $ca.Key)).Cert | eq $ca.Cert }}
signed: {{ (genSignedCertWithKey "x" (list) (list) 1 $own (genPrivateKey "rsa")).Key | trunc 30 }}
"#;
