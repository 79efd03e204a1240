//! What comes out: kinds, hooks, notes, definitions.

use super::{Case, case};

#[expect(clippy::too_many_lines, reason = "a table of cases")]
pub(super) fn all() -> Vec<Case> {
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
