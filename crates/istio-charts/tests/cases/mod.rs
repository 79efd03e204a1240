//! Charts made to try Helm's rules, one or a few at a time.

mod loading;
mod schemas;

use super::oracle::Request;
use flate2::{Compression, write::GzEncoder};
use std::fs;
use std::path::Path;

/// Folder of the chart that is rendered.
pub const PARENT: &str = "parent";

/// A chart with what is asked of it.
pub struct Case {
    pub name: &'static str,
    /// Whether it renders at all; else it fails.
    pub renders: bool,
    pub request: Request,
    files: Vec<(String, String)>,
    /// Folders below `charts/` that are packed into archives.
    packed: Vec<&'static str>,
}

/// A chart that prints its values: enough to see most rules.
const DUMP: &str = "kind: ConfigMap\nmetadata:\n  name: {{ .Chart.Name }}-{{ .Release.Name }}\ndata:\n{{ toYaml .Values | indent 2 }}\n";

fn metadata(name: &str, more: &str) -> String {
    format!("apiVersion: v2\nname: {name}\nversion: 1.2.3\n{more}")
}

fn case(name: &'static str, more: &str, files: &[(&str, &str)]) -> Case {
    let mut all = vec![("Chart.yaml".to_owned(), metadata("parent", more))];
    all.extend(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())));
    Case { name, renders: true, request: Request::default(), files: all, packed: Vec::new() }
}

impl Case {
    fn values(mut self, values: &str) -> Self {
        self.request.values.push(values.to_owned());
        self
    }

    fn fails(mut self) -> Self {
        self.renders = false;
        self
    }

    /// A chart within that prints its values.
    fn with(mut self, name: &str, more: &str, values: &str) -> Self {
        let folder = format!("charts/{name}");
        self.files.push((format!("{folder}/Chart.yaml"), metadata(name, more)));
        self.files.push((format!("{folder}/values.yaml"), values.to_owned()));
        self.files.push((format!("{folder}/templates/dump.yaml"), DUMP.to_owned()));
        self
    }

    fn packs(mut self, name: &'static str) -> Self {
        self.packed.push(name);
        self
    }

    fn asks(mut self, change: fn(&mut Request)) -> Self {
        change(&mut self.request);
        self
    }

    pub fn write(&self, folder: &Path) {
        let root = folder.join(PARENT);
        for (path, text) in &self.files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        for name in &self.packed {
            let inside = root.join("charts").join(name);
            let archive = fs::File::create(root.join(format!("charts/{name}-1.2.3.tgz"))).unwrap();
            let mut archive = tar::Builder::new(GzEncoder::new(archive, Compression::fast()));
            archive.append_dir_all(name, &inside).unwrap();
            archive.into_inner().unwrap().finish().unwrap();
            fs::remove_dir_all(inside).unwrap();
        }
    }
}

pub fn all() -> Vec<Case> {
    [values(), dependencies(), manifests(), files(), contexts(), schemas::all(), loading::all(), metadatas()]
        .into_iter()
        .flatten()
        .collect()
}

fn dump(name: &'static str, values: &str) -> Case {
    case(name, "", &[("values.yaml", values), ("templates/dump.yaml", DUMP)])
}

fn values() -> Vec<Case> {
    vec![
        dump("defaults", "a: 1\nb: {c: 2}\n"),
        dump("user values win", "a: 1\nb: {c: 2, d: 3}\nl: [1, 2]\n").values("a: 2\nb: {c: x}\nl: [3]\n"),
        dump("null removes a default", "a: 1\nb: {c: 2, d: {e: 1}}\n")
            .values("a: null\nb: {c: null, d: null}\nx: null\n"),
        dump("null defaults", "a: null\nb: {c: null, d: {e: null, f: 1}}\n")
            .values("b: {d: {f: null, g: null}}\n"),
        dump("null of a whole map", "b: {c: {d: 1}}\n").values("b: {c: {d: null}}\n"),
        dump("other types", "a: {b: 1}\nc: 1\nd: [1]\n").values("a: text\nc: {x: 1}\nd: {y: 2}\n"),
        dump("several files", "a: 1\n")
            .values("a: 2\nb: {c: 1, d: 2}\n")
            .values("b: {c: 3, e: null}\nf: [1]\n")
            .values("f: []\n"),
        dump("no values", ""),
        dump("comments only", "# nothing\n"),
        dump("several documents", "a: 1\n---\nb: 2\na: 3\n"),
        dump(
            "numbers",
            "a: 1e6\nb: 0777\nc: 1_000\nd: 12345678901234567890\ne: 1.50\nf: 0.1\ng: 1e-7\nh: .5\n",
        ),
        dump("scalars", "a: yes\nb: 'yes'\nc: ~\nd: 2001-01-01\ne: 1:20\nf: \"1\"\ng: \"\"\n"),
        dump("anchors", "x: &x {a: 1}\ny: {<<: *x, b: 2}\nz: *x\n"),
        dump("equal keys", "a: 1\nb: 2\na: 3\n"),
        dump("broken values", "a: [\n").fails(),
        dump("values that are no map", "- a\n").fails(),
        dump("user values that are no map", "a: 1\n").values("- a\n").fails(),
        dump("broken user values", "a: 1\n").values("a: b: c\n").fails(),
        dump("infinity", "a: .inf\n").fails(),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn dependencies() -> Vec<Case> {
    let parent = |name, more: &str, values: &str| {
        case(name, more, &[("values.yaml", values), ("templates/dump.yaml", DUMP)])
    };
    let sub = "dependencies:\n- name: sub\n  version: 1.x\n";
    vec![
        parent("a chart within", sub, "sub: {x: parent}\n").with("sub", "", "x: own\ny: own\n"),
        parent("not in Chart.yaml", "", "sub: {x: parent}\n").with("sub", "", "x: own\ny: own\n"),
        parent("globals", sub, "global: {a: 1, m: {x: 1}}\n")
            .with("sub", "", "global: {a: 2, b: 3, m: {x: 2, y: 3}}\n")
            .values("global: {c: 4, m: {z: 5}}\n"),
        parent("globals that are no map", sub, "global: text\n").with("sub", "", "global: {b: 3}\n"),
        parent("nulls for a chart within", sub, "sub: {x: null, m: {a: null}}\n").with(
            "sub",
            "",
            "x: own\nm: {a: 1, b: 2}\ny: null\n",
        ),
        parent("user's nulls for a chart within", sub, "sub: {x: parent}\n")
            .with("sub", "", "x: own\nz: own\nm: {a: 1, b: 2}\n")
            .values("sub: {x: null, z: null, m: {a: null}}\n"),
        parent("null for all of it", sub, "").with("sub", "", "x: own\n").values("sub: null\n").fails(),
        parent("text for all of it", sub, "").with("sub", "", "x: own\n").values("sub: text\n").fails(),
        parent("condition off", &format!("{sub}  condition: sub.enabled\n"), "sub: {enabled: false}\n")
            .with("sub", "", "x: own\n"),
        parent(
            "condition on by user",
            &format!("{sub}  condition: sub.enabled\n"),
            "sub: {enabled: false}\n",
        )
        .with("sub", "", "x: own\n")
        .values("sub: {enabled: true}\n"),
        parent("condition by its own default", &format!("{sub}  condition: sub.enabled\n"), "").with(
            "sub",
            "",
            "enabled: false\n",
        ),
        parent(
            "several conditions",
            &format!("{sub}  condition: missing.x,other.active,sub.enabled\n"),
            "other: {enabled: false}\nsub: {enabled: true}\n",
        )
        .with("sub", "", ""),
        parent(
            "condition that is no boolean",
            &format!("{sub}  condition: sub.enabled\n"),
            "sub: {enabled: 'false'}\n",
        )
        .with("sub", "", ""),
        parent("tags off", &format!("{sub}  tags: [a, b]\n"), "tags: {a: false}\n").with("sub", "", ""),
        parent("tags on", &format!("{sub}  tags: [a, b]\n"), "tags: {a: false, b: true}\n")
            .with("sub", "", ""),
        parent(
            "condition over tags",
            &format!("{sub}  tags: [a]\n  condition: sub.enabled\n"),
            "tags: {a: false}\nsub: {enabled: true}\n",
        )
        .with("sub", "", ""),
        parent("alias", &format!("{sub}  alias: other\n"), "other: {x: parent}\nsub: {x: unused}\n").with(
            "sub",
            "",
            "x: own\ny: own\n",
        ),
        parent(
            "two aliases",
            &format!("{sub}  alias: one\n- name: sub\n  version: 1.x\n  alias: two\n"),
            "one: {x: 1}\ntwo: {x: 2}\n",
        )
        .with("sub", "", "x: own\n"),
        parent(
            "alias beside the name",
            &format!("{sub}- name: sub\n  version: 1.x\n  alias: two\n"),
            "two: {x: 2}\n",
        )
        .with("sub", "", "x: own\n"),
        parent(
            "alias off",
            &format!("{sub}  alias: one\n  condition: one.enabled\n"),
            "one: {enabled: false}\n",
        )
        .with("sub", "", "x: own\n"),
        parent("same alias twice", &format!("{sub}- name: sub\n  version: 1.x\n"), "")
            .with("sub", "", "")
            .fails(),
        parent("alias with wrong characters", &format!("{sub}  alias: a.b\n"), "")
            .with("sub", "", "")
            .fails(),
        parent("version does not fit", "dependencies:\n- name: sub\n  version: 2.x\n", "sub: {x: 1}\n")
            .with("sub", "", "x: own\n"),
        parent("missing dependency", sub, "").fails(),
        parent("archive", sub, "sub: {x: parent}\n").with("sub", "", "x: own\ny: own\n").packs("sub"),
        parent("import exports", &format!("{sub}  import-values: [data]\n"), "a: 1\n").with(
            "sub",
            "",
            "exports: {data: {a: 2, b: 3, c: {d: 4}}}\n",
        ),
        parent(
            "import paths",
            &format!("{sub}  import-values:\n  - child: default.data\n    parent: my.imported\n"),
            "my: {imported: {a: 1}}\n",
        )
        .with("sub", "", "default: {data: {a: 2, b: 3}}\n"),
        parent("import what is missing", &format!("{sub}  import-values: [nothing]\n"), "a: 1\n")
            .with("sub", "", ""),
        parent("import with nulls", &format!("{sub}  import-values: [data]\n"), "a: null\n")
            .with("sub", "", "exports: {data: {a: 2, b: null}}\n")
            .values("b: null\n"),
        parent("library", "dependencies:\n- name: lib\n  version: 1.x\n", "").with(
            "lib",
            "type: library\n",
            "x: 1\n",
        ),
        case(
            "library templates",
            "dependencies:\n- name: lib\n  version: 1.x\n",
            &[
                ("templates/a.yaml", "kind: A\nname: {{ include \"lib.name\" . }}\n"),
                ("charts/lib/Chart.yaml", &metadata("lib", "type: library\n")),
                (
                    "charts/lib/templates/_helpers.tpl",
                    "{{ define \"lib.name\" }}{{ .Chart.Name }}-x{{ end }}",
                ),
                ("charts/lib/templates/unused.yaml", "{{ fail \"never\" }}"),
            ],
        ),
        case("a library alone", "type: library\n", &[("templates/a.yaml", "kind: A\n")]).fails(),
        case(
            "definitions of parent and child",
            "",
            &[
                ("templates/_h.tpl", "{{ define \"x\" }}parent{{ end }}"),
                ("templates/a.yaml", "kind: A\nx: {{ include \"x\" . }}\n"),
                ("charts/sub/Chart.yaml", &metadata("sub", "")),
                ("charts/sub/templates/_h.tpl", "{{ define \"x\" }}child{{ end }}"),
                ("charts/sub/templates/b.yaml", "kind: B\nx: {{ include \"x\" . }}\n"),
            ],
        ),
        case(
            "charts within charts",
            "",
            &[
                ("values.yaml", "a: {b: {x: top}, y: 1}\nglobal: {g: 1}\n"),
                ("templates/dump.yaml", DUMP),
                (
                    "charts/a/Chart.yaml",
                    &metadata("a", "dependencies:\n- name: b\n  version: '*'\n  condition: b.enabled\n"),
                ),
                ("charts/a/values.yaml", "b: {x: middle, z: middle, enabled: true}\n"),
                ("charts/a/templates/dump.yaml", DUMP),
                ("charts/a/charts/b/Chart.yaml", &metadata("b", "")),
                ("charts/a/charts/b/values.yaml", "x: own\ny: own\n"),
                ("charts/a/charts/b/templates/dump.yaml", DUMP),
            ],
        ),
        case(
            "condition deep down",
            "",
            &[
                ("values.yaml", "a: {b: {enabled: false}}\n"),
                (
                    "charts/a/Chart.yaml",
                    &metadata("a", "dependencies:\n- name: b\n  version: '*'\n  condition: b.enabled\n"),
                ),
                ("charts/a/templates/dump.yaml", DUMP),
                ("charts/a/charts/b/Chart.yaml", &metadata("b", "")),
                ("charts/a/charts/b/templates/dump.yaml", DUMP),
            ],
        ),
        case(
            "what parents see of charts within",
            "",
            &[
                (
                    "templates/a.yaml",
                    "kind: A\nx: {{ .Subcharts.sub.Values.x }}\nn: {{ .Subcharts.sub.Chart.Name }}\nr: {{ .Subcharts.sub.Chart.IsRoot }}{{ .Chart.IsRoot }}\n",
                ),
                ("charts/sub/Chart.yaml", &metadata("sub", "")),
                ("charts/sub/values.yaml", "x: own\n"),
            ],
        ),
        case(
            "requirements.yaml of the first version",
            "",
            &[
                ("Chart.yaml", "apiVersion: v1\nname: parent\nversion: 1.0.0\n"),
                (
                    "requirements.yaml",
                    "dependencies:\n- name: sub\n  version: 1.x\n  condition: sub.enabled\n",
                ),
                ("values.yaml", "sub: {enabled: false}\n"),
                ("templates/a.yaml", "kind: A\nx: {{ .Files.Get \"requirements.yaml\" | quote }}\n"),
                ("charts/sub/Chart.yaml", &metadata("sub", "")),
                ("charts/sub/templates/dump.yaml", DUMP),
            ],
        ),
        case(
            "hidden folders below charts",
            "",
            &[
                ("templates/a.yaml", "kind: A\n"),
                ("charts/_x/Chart.yaml", "broken"),
                ("charts/.x/Chart.yaml", "broken"),
            ],
        ),
        case("a file below charts", "", &[("templates/a.yaml", "kind: A\n"), ("charts/README.md", "text")])
            .fails(),
        case("a broken chart within", "", &[("charts/sub/Chart.yaml", "name: sub\n")]).fails(),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn manifests() -> Vec<Case> {
    vec![
        case(
            "order of kinds",
            "",
            &[
                ("templates/b.yaml", "kind: Zebra\nname: b\n---\nkind: Deployment\n---\nkind: Namespace\n"),
                (
                    "templates/a.yaml",
                    "kind: Service\nname: a\n---\nkind: Apple\n---\nkind: ValidatingWebhookConfiguration\n",
                ),
                ("templates/c/d.yaml", "kind: Service\nname: c\n"),
            ],
        ),
        case(
            "hooks",
            "",
            &[
                (
                    "templates/a.yaml",
                    "kind: Job\nmetadata:\n  name: a\n  annotations:\n    helm.sh/hook: pre-install, post-upgrade\n    helm.sh/hook-weight: \"5\"\n",
                ),
                (
                    "templates/b.yaml",
                    "kind: ConfigMap\nmetadata:\n  name: b\n  annotations:\n    helm.sh/hook: TEST\n---\nkind: Pod\nmetadata:\n  annotations: {x: y}\n",
                ),
                ("templates/c.yaml", "kind: Job\nmetadata:\n  annotations:\n    helm.sh/hook: unknown\n"),
            ],
        ),
        case(
            "separators",
            "",
            &[(
                "templates/a.yaml",
                "---\n---\nkind: A\n---   \nkind: B\n---kind: C\n--- # comment\nkind: D\n",
            )],
        ),
        case(
            "comments and blanks",
            "",
            &[
                ("templates/a.yaml", "# only a comment\n---\n\n   \n---\n# before\nkind: A\n# after\n\n\n"),
                ("templates/b.yaml", "  \n\n"),
                ("templates/c.txt", "kind: C\n"),
                ("templates/d", "kind: D\n"),
                ("templates/_e.yaml", "{{ fail \"partial\" }}"),
            ],
        ),
        case(
            "notes",
            "",
            &[
                ("templates/NOTES.txt", "Hello {{ .Release.Name }}\n\n"),
                ("templates/sub/NOTES.txt", "other"),
                ("templates/a.yaml", "kind: A\n"),
            ],
        ),
        case(
            "notes fail",
            "",
            &[("templates/NOTES.txt", "{{ fail \"no\" }}"), ("templates/a.yaml", "kind: A\n")],
        )
        .fails(),
        case("nothing at all", "", &[]),
        case("broken output", "", &[("templates/a.yaml", "kind: [\n")]).fails(),
        case("output that is a text", "", &[("templates/a.yaml", "just text\n")]).fails(),
        case("output that is a list", "", &[("templates/a.yaml", "- a\n")]).fails(),
        case(
            "annotation that is a number",
            "",
            &[("templates/a.yaml", "kind: A\nmetadata: {annotations: {a: 1, b: true, c: null}}\n")],
        ),
        case(
            "annotation that is a map",
            "",
            &[("templates/a.yaml", "kind: A\nmetadata: {annotations: {a: {b: 1}}}\n")],
        )
        .fails(),
        case("kind that is a number", "", &[("templates/a.yaml", "kind: 1\nmetadata: {name: 5}\n")]),
        case("kind that is a map", "", &[("templates/a.yaml", "kind: {a: b}\n")]).fails(),
        case(
            "definitions",
            "",
            &[
                ("crds/a.yaml", "kind: CustomResourceDefinition\nname: {{ not a template }}\n"),
                ("crds/sub/b.yml", "kind: B"),
                ("crds/c.txt", "text"),
                ("templates/a.yaml", "kind: A\n"),
            ],
        )
        .asks(|request| request.include_crds = true),
        case(
            "definitions not asked for",
            "",
            &[("crds/a.yaml", "kind: X\n"), ("templates/a.yaml", "kind: A\n")],
        ),
        case(
            "order of execution",
            "",
            &[
                ("templates/a.yaml", "kind: A\nx: {{ .Values.x }}\n"),
                ("templates/z.yaml", "{{ $_ := set .Values \"x\" \"set by z\" }}kind: Z\n"),
                (
                    "templates/deep/b.yaml",
                    "kind: B\nx: {{ .Values.x }}{{ $_ := set .Values \"x\" \"set by b\" }}\n",
                ),
            ],
        ),
        case(
            "windows line ends",
            "",
            &[("templates/a.yaml", "kind: A\r\nx: {{ .Release.Name }}\r\n---\r\nkind: B\r\n")],
        ),
    ]
}

fn files() -> Vec<Case> {
    let text = |body: &'static str| ("templates/a.yaml", body);
    vec![
        case(
            "files",
            "",
            &[
                text(
                    "kind: A\na: {{ .Files.Get \"a.txt\" | quote }}\nb: {{ .Files.Get \"missing\" | quote }}\nl: {{ .Files.Lines \"a.txt\" | toJson }}\nn: {{ .Files.Lines \"missing\" | toJson }}\nt: {{ typeOf .Files }}\ng: {{ .Files.GetBytes \"a.txt\" | toString | quote }}\n",
                ),
                ("a.txt", "one\ntwo\n"),
            ],
        ),
        case(
            "globs",
            "",
            &[
                text(
                    "kind: A\ndata:\n{{ (.Files.Glob \"conf/*\").AsConfig | indent 2 }}\nsecret:\n{{ (.Files.Glob \"**.key\").AsSecrets | indent 2 }}\nall:\n{{ range $path, $bytes := .Files.Glob \"conf/**\" }}- {{ $path }}: {{ $bytes | toString | quote }}\n{{ end }}e: {{ (.Files.Glob \"none/*\").AsConfig }}\nn: {{ len (.Files.Glob \"**\") }}\n",
                ),
                ("conf/a.yaml", "x: 1\n"),
                ("conf/b.txt", "text"),
                ("conf/deep/c.txt", "deep"),
                ("tls.key", "secret"),
            ],
        ),
        case(
            "braces and classes in globs",
            "",
            &[
                text(
                    "kind: A\nl:\n{{ range $path, $_ := .Files.Glob \"{a,b}[0-9].txt\" }}- {{ $path }}\n{{ end }}{{ range $path, $_ := .Files.Glob \"?.txt\" }}- {{ $path }}\n{{ end }}",
                ),
                ("a1.txt", ""),
                ("b2.txt", ""),
                ("c3.txt", ""),
                ("x.txt", ""),
            ],
        ),
        case(
            "which files are files",
            "",
            &[
                text("kind: A\nl:\n{{ range $path, $_ := .Files }}- {{ $path }}\n{{ end }}"),
                ("values.yaml", ""),
                ("values.schema.json", "{}"),
                ("README.md", "readme"),
                ("Chart.lock", "dependencies: []\n"),
                ("crds/x.yaml", "kind: X\n"),
                (".hidden", "h"),
                ("templates/.hidden", "{{ broken"),
            ],
        ),
        case(
            "ignored files",
            "",
            &[
                text("kind: A\nl:\n{{ range $path, $_ := .Files }}- {{ $path }}\n{{ end }}"),
                (".helmignore", "# comment\n*.md\n/top.txt\nfolder/\ntemplates/ignored.yaml\n\nsub/*.txt\n"),
                ("README.md", ""),
                ("top.txt", ""),
                ("deep/top.txt", ""),
                ("folder/x", ""),
                ("deep/folder/x", ""),
                ("sub/a.txt", ""),
                ("sub/a.yaml", ""),
                ("templates/ignored.yaml", "{{ fail \"ignored\" }}"),
            ],
        ),
        case(
            "negation in .helmignore",
            "",
            &[
                text("kind: A\nl:\n{{ range $path, $_ := .Files }}- {{ $path }}\n{{ end }}"),
                (".helmignore", "!*.txt\n"),
                ("a.txt", ""),
            ],
        )
        .fails(),
        case("broken .helmignore", "", &[text("kind: A\n"), (".helmignore", "a/**/b\n")]).fails(),
        case(
            "files of a chart within",
            "",
            &[
                ("a.txt", "parent"),
                ("charts/sub/Chart.yaml", &metadata("sub", "")),
                ("charts/sub/a.txt", "child"),
                (
                    "charts/sub/templates/a.yaml",
                    "kind: A\na: {{ .Files.Get \"a.txt\" }}\nt: {{ .Template.Name }} {{ .Template.BasePath }}\n",
                ),
            ],
        ),
        case(
            "byte order marks",
            "",
            &[
                text("\u{feff}kind: A\nx: {{ .Files.Get \"a.txt\" | quote }}\n"),
                ("a.txt", "\u{feff}x"),
                ("values.yaml", "\u{feff}a: 1\n"),
            ],
        ),
        case(
            "tpl of a file",
            "",
            &[
                text("kind: A\nx: {{ tpl (.Files.Get \"a.tpl\") . }}\n"),
                ("a.tpl", "{{ .Release.Name }}-{{ .Chart.Version }}"),
            ],
        ),
    ]
}

fn contexts() -> Vec<Case> {
    let text = |body: &'static str| ("templates/a.yaml", body);
    vec![
        case("release", "", &[text("kind: A\nr: {{ .Release | toJson }}\nc: {{ .Release.Revision | typeOf }}\n")]),
        case("upgrade", "", &[text("kind: A\nr: {{ .Release.IsUpgrade }}{{ .Release.IsInstall }}\n")]).asks(|request| request.is_upgrade = true),
        case(
            "chart",
            "appVersion: 1.10\ndescription: d\nhome: h\nkeywords: [a, b]\nsources: [s]\nmaintainers: [{name: n, email: e}]\nannotations: {x: 'y'}\nicon: i\nkubeVersion: '>=1.20-0'\ntype: application\ndeprecated: true\n",
            &[text("kind: A\nc: {{ .Chart | toJson }}\nm: {{ (first .Chart.Maintainers).Name }}\na: {{ .Chart.Annotations.x }}\nt: {{ typeOf .Chart.Keywords | quote }}\nd: {{ typeOf .Chart.Deprecated }}\n")],
        ),
        case("capabilities", "", &[text("kind: A\nv: {{ .Capabilities.KubeVersion }} {{ .Capabilities.KubeVersion.Version }} {{ .Capabilities.KubeVersion.GitVersion }} {{ .Capabilities.KubeVersion.Major }}.{{ .Capabilities.KubeVersion.Minor }}\na: {{ .Capabilities.APIVersions.Has \"apps/v1\" }}{{ .Capabilities.APIVersions.Has \"x/v1\" }}{{ has \"batch/v1\" .Capabilities.APIVersions }}{{ len .Capabilities.APIVersions }}\nh: {{ .Capabilities.HelmVersion.Version }}\ns: {{ semverCompare \">=1.19-0\" .Capabilities.KubeVersion.Version }}\nt: \"{{ typeOf .Capabilities }}{{ typeOf .Capabilities.KubeVersion }}{{ typeOf .Capabilities.APIVersions }}{{ kindOf .Capabilities.APIVersions }}{{ kindOf .Capabilities.KubeVersion }}\"\n{{ range .Capabilities.APIVersions }}# {{ . }}\n{{ end }}")]),
        case("another version", "", &[text("kind: A\nv: {{ .Capabilities.KubeVersion }} {{ .Capabilities.KubeVersion.Version }} {{ .Capabilities.KubeVersion.Minor }}\nq: {{ .Capabilities.KubeVersion.Version | quote }}\na: {{ .Capabilities.APIVersions.Has \"example.com/v1/Thing\" }}\n")])
            .asks(|request| {
                "1.29.4-gke.100".clone_into(&mut request.kube_version);
                request.api_versions = vec!["example.com/v1/Thing".to_owned()];
            }),
        case("kubeVersion fits", "kubeVersion: '>= 1.28'\n", &[text("kind: A\n")]).asks(|request| "v1.29.4-eks".clone_into(&mut request.kube_version)),
        case("kubeVersion does not fit", "kubeVersion: '< 1.28'\n", &[text("kind: A\n")]).fails(),
        case("kubeVersion is broken", "kubeVersion: 'abc'\n", &[text("kind: A\n")]).fails(),
        case("values are values", "", &[text("kind: A\nt: {{ typeOf .Values }}{{ typeOf .Values.m }}\ny: {{ .Values.AsMap.a }}\nz: {{ (.Values.Table \"m\").x }}\np: {{ .Values.PathValue \"m.x\" }}\n"), ("values.yaml", "a: 1\nm: {x: y}\n")]),
        case("unknown capability", "", &[text("kind: A\nx: {{ .Capabilities.Nope }}\n")]).fails(),
        case("has with a number", "", &[text("kind: A\nx: {{ .Capabilities.APIVersions.Has 1 }}\n")]).fails(),
        case("get without a path", "", &[text("kind: A\nx: {{ .Files.Get }}\n")]).fails(),
        case("a missing release field", "", &[text("kind: A\nx: {{ .Release.Nope }}\n")]),
        case("lookup", "", &[text("kind: A\nx: {{ lookup \"v1\" \"Secret\" .Release.Namespace \"x\" | toJson }}\n{{ if (lookup \"v1\" \"Secret\" \"a\" \"b\").data }}y: 1{{ end }}\n")]),
        case("template of another chart", "", &[
            text("kind: A\nx: {{ include \"parent/templates/b.yaml\" . }}\n"),
            ("templates/b.yaml", "# {{ .Template.Name }}"),
        ]),
    ]
}

fn metadatas() -> Vec<Case> {
    let chart = |name, text: &str| {
        case(
            name,
            "",
            &[
                ("Chart.yaml", text),
                (
                    "templates/a.yaml",
                    "kind: A\nv: {{ .Chart.Version }}\na: {{ .Chart.AppVersion }}\nn: {{ .Chart.Name }}\ni: {{ .Chart.APIVersion }}\nt: {{ .Chart.Type }}\n",
                ),
            ],
        )
    };
    vec![
        chart("no name", "apiVersion: v2\nversion: 1.0.0\n").fails(),
        chart("no version", "apiVersion: v2\nname: x\n").fails(),
        chart("no apiVersion", "name: x\nversion: 1.0.0\n"),
        chart("version that is a number", "apiVersion: v2\nname: x\nversion: 1.10\nappVersion: 2.0\n"),
        chart("version with v", "apiVersion: v2\nname: x\nversion: v1.2\nappVersion: true\n"),
        chart("version that is none", "apiVersion: v2\nname: x\nversion: abc\n").fails(),
        chart("wrong type", "apiVersion: v2\nname: x\nversion: 1.0.0\ntype: other\n").fails(),
        chart("name that is a path", "apiVersion: v2\nname: a/b\nversion: 1.0.0\n").fails(),
        chart("name that is a list", "apiVersion: v2\nname: [x]\nversion: 1.0.0\n").fails(),
        chart("other fields", "apiVersion: v2\nname: x\nversion: 1.0.0\nunknown: {a: 1}\nengine: gotpl\n"),
        chart("broken", "apiVersion: [").fails(),
        chart("names in another case", "apiversion: v2\nNAME: x\nversion: 1.0.0\n"),
        chart("large numbers", "apiVersion: v2\nname: x\nversion: 1.0.0\nappVersion: 20240115\n"),
        chart(
            "null fields",
            "apiVersion: v2\nname: x\nversion: 1.0.0\nappVersion: null\nkeywords: null\ndependencies: null\n",
        ),
        chart("white space in texts", "apiVersion: v2\nname: x\nversion: 1.0.0\nappVersion: \"a\\nb\\tc\"\n"),
        chart("maintainer that is null", "apiVersion: v2\nname: x\nversion: 1.0.0\nmaintainers: [null]\n")
            .fails(),
        chart("deprecated that is text", "apiVersion: v2\nname: x\nversion: 1.0.0\ndeprecated: 'yes'\n")
            .fails(),
        case("templates that do not parse", "", &[("templates/a.yaml", "{{ if }}")]).fails(),
        case("partials that do not parse", "", &[("templates/_a.tpl", "{{ define }}")]).fails(),
        case("a template that fails", "", &[("templates/a.yaml", "{{ .Values.a.b.c }}")]).fails(),
        case("required", "", &[("templates/a.yaml", "{{ required \"give me\" .Values.x }}")]).fails(),
        case(
            "an output that is not text",
            "",
            &[("templates/a.yaml", "kind: A\nx: {{ b64dec \"/w==\" }}\n")],
        )
        .fails(),
    ]
}
