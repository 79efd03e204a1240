//! Any bytes as a chart's archive, any texts as its parts.
//!
//! `cargo +nightly fuzz run chart`

#![no_main]

use istio_charts::Chart;
use istio_charts::helm::{Options, render};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

fuzz_target!(|parts: (&str, &str, &str, &str)| {
    let (metadata, values, template, schema) = parts;
    let files = BTreeMap::from([
        ("Chart.yaml".to_owned(), format!("name: x\nversion: 1.0.0\n{metadata}").into_bytes()),
        ("values.yaml".to_owned(), values.as_bytes().to_vec()),
        ("values.schema.json".to_owned(), schema.as_bytes().to_vec()),
        ("templates/a.yaml".to_owned(), template.as_bytes().to_vec()),
    ]);
    if let Ok(chart) = Chart::from_files(files) {
        let _ = render(&chart, &serde_json::json!({}), &Options::install("x", "y")).map(|done| done.print(true));
    }
});
