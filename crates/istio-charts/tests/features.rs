//! What Istio's charts call is what this crate enables of gotemplate, and no more.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like the tests")]

use std::collections::BTreeSet;

use istio_charts::Bundle;

/// The charts that an installation consists of.
const CHARTS: [&str; 7] = [
    "base",
    "default",
    "gateways/istio-egress",
    "gateways/istio-ingress",
    "istio-cni",
    "istio-control/istio-discovery",
    "ztunnel",
];

/// Words between the delimiters of actions that can be names of functions.
fn words(template: &str) -> impl Iterator<Item = &str> {
    let actions = template.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
    actions.flat_map(|action| {
        action.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.' | '$'))
    })
}

#[test]
fn istios_charts_call_functions_of_no_feature_but_regex() {
    let bundle = Bundle::embedded();
    let mut features = BTreeSet::new();
    for name in CHARTS {
        let chart = bundle.chart(name).unwrap();
        assert!(chart.subcharts().is_empty(), "{name}");
        for (_, template) in chart.templates() {
            features.extend(words(template).filter_map(gotemplate::feature_of));
        }
    }
    assert_eq!(features, BTreeSet::from(["regex"]));
}
