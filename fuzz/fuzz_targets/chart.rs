//! Any texts as the parts of a chart.
//!
//! `cargo +nightly fuzz run chart`

#![no_main]

#[path = "../../crates/helm-chart/tests/bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|parts: (&str, &str, &str, &str)| {
    let (metadata, values, template, schema) = parts;
    let _ = bodies::chart(metadata, values, template, schema);
});
