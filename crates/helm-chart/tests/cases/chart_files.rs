//! `Chart.yaml`, and charts that do not render.

use super::{Case, case};

pub(super) fn all() -> Vec<Case> {
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
