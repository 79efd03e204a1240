//! What the charts may use up when the operator renders them.
//!
//! The charts are trusted. What they are given is not: a value may reach `tpl`, which executes a text as a template, or
//! make a loop long.

use istio_charts::{Functions, Limits};

/// Limits of one template. Istio's charts need at most a quarter of each, and none of the functions that are
/// disabled; a test shows both.
pub(super) const LIMITS: Limits = Limits::GENEROUS
    .with_steps(500_000)
    .with_output_bytes(4 << 20)
    .with_memory_bytes(16 << 20)
    .with_argument_bytes_per_step(64)
    .with_pattern_bytes(64 << 10)
    .with_functions(Functions::Inexpensive);

#[cfg(test)]
mod tests {
    use istio_charts::Bundle;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::api::bounds::FREE_FORM_BOUNDS;
    use crate::api::v1alpha2::Experimental;
    use crate::plan::AdministratorValues;
    use crate::plan::cluster::ClusterFacts;
    use crate::plan::configuration::{Images, build_configuration};
    use crate::telemetry::format_error_chain;
    use crate::validate::ValidatedSpec;

    const KUBERNETES: &str = "v1.36.3";

    fn document(spec: &ValidatedSpec) -> Value {
        let images = Images::official(Bundle::embedded().version());
        build_configuration(spec, &ClusterFacts::default(), &images, &AdministratorValues::default()).unwrap()
    }

    fn with_values(values: Value) -> ValidatedSpec {
        let Value::Object(values) = values else { panic!("values are a map") };
        ValidatedSpec { values, ..ValidatedSpec::default() }
    }

    fn rendered(spec: &ValidatedSpec, limits: Limits) -> Result<usize, String> {
        let components = istio_charts::render(&Bundle::embedded(), &document(spec), KUBERNETES, limits)
            .map_err(|error| format_error_chain(&error))?;
        Ok(components.iter().map(|component| component.objects.len()).sum())
    }

    #[test]
    fn the_charts_need_at_most_a_quarter_of_the_limits() {
        let quarter = LIMITS
            .with_steps(LIMITS.steps() / 4)
            .with_output_bytes(LIMITS.output_bytes() / 4)
            .with_memory_bytes(LIMITS.memory_bytes() / 4)
            .with_pattern_bytes(LIMITS.pattern_bytes() / 4);
        let ambient = Experimental { enable_ambient: Some(true), ..Experimental::default() };
        let specs = [
            ValidatedSpec::default(),
            ValidatedSpec { compatibility_mode: true, ..ValidatedSpec::default() },
            ValidatedSpec { experimental: ambient, ..ValidatedSpec::default() },
            with_values(json!({
                "gateways": {"istio-egressgateway": {"enabled": true}},
                "meshConfig": {"accessLogFile": "/dev/stdout", "defaultConfig": {"tracing": {}}},
                "pilot": {"env": {"A": "b"}, "podAnnotations": {"a": "b"}, "autoscaleEnabled": true},
            })),
        ];
        for spec in specs {
            let (few, many) = (rendered(&spec, quarter), rendered(&spec, Limits::GENEROUS));
            assert!(many.as_ref().is_ok_and(|objects| *objects > 20), "{many:?}");
            assert_eq!(few, many);
        }
    }

    #[test]
    fn the_largest_values_that_are_accepted_render() {
        let many = FREE_FORM_BOUNDS.entries - 50;
        let variables = (0..many).map(|number| (format!("V{number}"), json!("x"))).collect::<Map<_, _>>();
        let long = "x".repeat(FREE_FORM_BOUNDS.bytes - 200);
        for values in [
            json!({"pilot": {"env": variables}}),
            json!({"pilot": {"podAnnotations": {"a": long}}}),
            json!({"gateways": {"istio-ingressgateway": {"env": variables}}}),
            json!({"meshConfig": {"defaultConfig": {"proxyMetadata": variables}}}),
        ] {
            let name = values.to_string().chars().take(60).collect::<String>();
            let objects = rendered(&with_values(values), LIMITS);
            assert!(objects.as_ref().is_ok_and(|objects| *objects > 20), "{name}: {objects:?}");
        }
    }

    #[test]
    fn a_template_in_a_value_fails_with_a_reason() {
        for (template, reason) in [
            (
                "{{ range until 250 }}{{ derivePassword 1 \"long\" \"p\" \"u\" \"s\" }}{{ end }}",
                "\"derivePassword\" is disabled",
            ),
            ("{{ genCA \"a\" 1 }}", "\"genCA\" is disabled"),
            ("{{ range until 900000 }}{{ end }}", "more data"),
            ("{{ range 900000 }}{{ end }}", "more steps"),
            ("{{ range until 1000 }}{{ range until 1000 }}{{ end }}{{ end }}", "more steps"),
            (
                "{{ $t := repeat 1000000 \"x\" }}{{ range until 1000 }}{{ $_ := contains \"y\" $t }}{{ end }}",
                "more steps",
            ),
            ("{{ range until 1000 }}{{ $_ := toYaml $.Values }}{{ end }}", "more"),
            ("{{ range until 1000 }}{{ $_ := mergeOverwrite (dict) $.Values }}{{ end }}", "more steps"),
            (
                "{{ range until 200 }}{{ $_ := regexMatch \"(a|b|c)*d\" (repeat 9000 \"abc\") }}{{ end }}",
                "more steps",
            ),
            ("{{ range until 30 }}{{ $_ := repeat 1000000 \"x\" }}{{ end }}", "more data"),
        ] {
            let spec = with_values(json!({"pilot": {"initContainers": [{"name": "a", "image": template}]}}));
            assert!(
                rendered(&spec, LIMITS).is_err_and(|error| error.contains(reason)),
                "{template}: {:?}",
                rendered(&spec, LIMITS)
            );
        }
    }
}
