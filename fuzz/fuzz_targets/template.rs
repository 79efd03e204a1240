//! Any text as a template, over fixed values: an answer or an error with a place.
//!
//! `cargo +nightly fuzz run template`

#![no_main]

use gotemplate::{Limits, Templates, Value};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|source: &str| {
    let mut templates = Templates::new();
    templates.set_limits(Limits { steps: 10_000, output: 1 << 20, memory: 16 << 20, stack: 512 << 10 });
    let dot = Value::from_json(&json!({"Values": {"a": 1, "b": "text", "l": [1, "x", null], "m": {"k": {"v": true}}}}));
    let result = templates.parse("fuzz", source).and_then(|()| templates.execute("fuzz", &dot));
    if let Err(error) = result {
        assert!(error.line > 0 && error.column > 0);
    }
});
