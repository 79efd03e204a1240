//! Charts within charts: names, versions, switches, imports, libraries.

use super::{Case, DUMP, case, metadata};

#[expect(clippy::too_many_lines, reason = "a table of cases")]
pub(super) fn all() -> Vec<Case> {
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
            "dependencies in both files",
            "",
            &[
                (
                    "Chart.yaml",
                    "apiVersion: v1\nname: parent\nversion: 1.0.0\ndescription: first\ndependencies:\n- {name: sub, version: 1.x, alias: one, import-values: [a]}\n- {name: sub, version: 1.x, alias: two}\n",
                ),
                (
                    "requirements.yaml",
                    "description: second\nhome: null\ndependencies:\n- {name: sub, version: null, condition: one.enabled, Alias: third, import-values: [b]}\n",
                ),
                ("values.yaml", "third: {x: 1}\none: {x: 2}\n"),
                ("templates/a.yaml", "kind: A\nc: {{ .Chart | toJson }}\nv: {{ .Values | toJson }}\n"),
                ("charts/sub/Chart.yaml", &metadata("sub", "")),
                ("charts/sub/values.yaml", "exports: {a: {i: 1}, b: {j: 2}}\n"),
                ("charts/sub/templates/dump.yaml", DUMP),
            ],
        ),
        case(
            "dependencies in both files of a second version",
            "dependencies:\n- {name: sub, version: 1.x, alias: one}\n",
            &[
                ("requirements.yaml", "dependencies:\n- {name: sub}\n- {name: sub, version: 1.x}\n"),
                ("templates/a.yaml", "kind: A\nc: {{ .Chart.Dependencies | toJson }}\n"),
                ("charts/sub/Chart.yaml", &metadata("sub", "")),
                ("charts/sub/templates/dump.yaml", DUMP),
            ],
        ),
        case(
            "globals that are shared",
            "",
            &[
                (
                    "values.yaml",
                    "global: {a: {b: {c: 1}, l: [{x: 1}]}, s: 1}\nsub: {global: {a: {b: {d: 2}}}}\n",
                ),
                (
                    "templates/a.yaml",
                    "{{ $_ := set .Values.global.a.b \"set\" \"below\" }}{{ $_ := set .Values.global.a \"apart\" 1 }}{{ $_ := set (first .Values.global.a.l) \"set\" \"in a list\" }}kind: A\nv: {{ .Values | toJson }}\n",
                ),
                ("charts/sub/Chart.yaml", &metadata("sub", "")),
                ("charts/sub/values.yaml", "global: {a: {b: {e: 3}, f: {g: 4}}, t: 2}\n"),
                ("charts/sub/templates/a.yaml", "kind: B\nv: {{ .Values | toJson }}\n"),
                ("charts/sub/charts/deep/Chart.yaml", &metadata("deep", "")),
                (
                    "charts/sub/charts/deep/templates/a.yaml",
                    "{{ $_ := set .Values.global.a.b \"deep\" true }}kind: C\nv: {{ .Values | toJson }}\n",
                ),
            ],
        ),
        parent(
            "imports of tables that meet",
            &format!("{sub}  import-values: [a, b, {{child: x, parent: p}}]\n"),
            "m: {o: 1}\n",
        )
        .with("sub", "", "exports: {a: {m: {a: 1}}, b: {m: {b: 2}}}\nx: {y: {z: 1}}\n"),
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
