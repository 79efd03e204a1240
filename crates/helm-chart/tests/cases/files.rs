//! The files of a chart, and those that are ignored.

use super::{Case, case, metadata};

pub(super) fn all() -> Vec<Case> {
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
