//! What templates see beside values and files.

use super::{Case, case};

pub(super) fn all() -> Vec<Case> {
    let text = |body: &'static str| ("templates/a.yaml", body);
    vec![
        case("release", "", &[text("kind: A\nr: {{ .Release | toJson }}\nc: {{ .Release.Revision | typeOf }}\n")]),
        case("upgrade", "", &[text("kind: A\nr: {{ .Release.IsUpgrade }}{{ .Release.IsInstall }}\n")]).asks(|request| request.is_upgrade = true),
        case(
            "chart",
            "appVersion: 1.10\ndescription: d\nhome: h\nkeywords: [a, b]\nsources: [s]\nmaintainers: [{name: n, email: e}]\nannotations: {x: 'y'}\nicon: i\nkubeVersion: '>=1.20-0'\ntype: application\ndeprecated: true\n",
            &[text("kind: A\nc: {{ .Chart | toJson }}\nm: {{ (first .Chart.Maintainers).Name }}\na: {{ .Chart.Annotations.x }}\nt: {{ typeOf .Chart.Keywords | quote }}\nd: {{ typeOf .Chart.Deprecated }}\n")],
        ),
        case("no annotations", "", &[text("kind: A\na: {{ .Chart.Annotations | toYaml }} {{ .Chart.Annotations | toJson }} {{ .Chart.Annotations }} {{ typeOf .Chart.Annotations }} {{ len .Chart.Annotations }}\nb: \"{{ .Chart.Annotations.x }}\"\nc: {{ .Chart.Annotations | default \"none\" }}{{ if hasKey .Chart \"Annotations\" }} there{{ end }}\n")]),
        case("annotations of nothing", "annotations: {}\n", &[text("kind: A\na: {{ .Chart.Annotations | toYaml | quote }}\nb: {{ .Chart.Annotations | toJson | quote }}\n")]),
        case("annotations that are null", "annotations: null\n", &[text("kind: A\na: {{ .Chart.Annotations | toYaml }}\n")]),
        case("annotations", "annotations: {x: 'y', n: 1}\n", &[text("kind: A\na: {{ index .Chart.Annotations \"x\" }}{{ get .Chart.Annotations \"x\" }}\n{{ range $k, $v := .Chart.Annotations }}{{ $k }}: {{ $v }} {{ typeOf $v }}\n{{ end }}")]).fails(),
        case("annotations in a loop", "annotations: {x: 'y', n: 1}\n", &[text("kind: A\na: {{ .Chart.Annotations | toJson | quote }}\nc: {{ typeOf .Chart.Annotations }} {{ index .Chart.Annotations \"x\" }}\nb: \"{{ .Chart.Annotations.none }}\"\n{{ range $k, $v := .Chart.Annotations }}{{ $k }}: {{ $v }} {{ typeOf $v }}\n{{ end }}")]),
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
