//! What is done with any input: by libFuzzer (`fuzz/`), and by `hostile.rs` with texts made by rule.
//!
//! A text or an error; never a panic.

use helm_chart::{Chart, Limits, Options, render};
use serde_json::json;
use std::collections::BTreeMap;
use std::error::Error;

/// Texts as the parts of a chart.
pub fn chart(metadata: &str, values: &str, template: &str, schema: &str) -> Result<String, Box<dyn Error>> {
    let files = BTreeMap::from([
        ("Chart.yaml".to_owned(), format!("name: x\nversion: 1.0.0\n{metadata}").into_bytes()),
        ("values.yaml".to_owned(), values.as_bytes().to_vec()),
        ("values.schema.json".to_owned(), schema.as_bytes().to_vec()),
        ("templates/a.yaml".to_owned(), template.as_bytes().to_vec()),
        ("charts/sub/Chart.yaml".to_owned(), b"name: sub\nversion: 1.0.0\n".to_vec()),
        ("charts/sub/values.yaml".to_owned(), values.as_bytes().to_vec()),
        ("charts/sub/templates/b.yaml".to_owned(), template.as_bytes().to_vec()),
    ]);
    let mut options = Options::install("x", "y");
    options.limits = Limits::default()
        .with_steps(20_000)
        .with_output_bytes(1 << 20)
        .with_memory_bytes(64 << 20)
        .with_stack_bytes(512 << 10);
    let chart = Chart::from_files(files)?;
    Ok(render(&chart, &json!({}), &options)?.print(true)?)
}
