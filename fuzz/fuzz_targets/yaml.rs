//! Any text as YAML; what is read can be written, and what is written reads back the same.
//!
//! `cargo +nightly fuzz run yaml`

#![no_main]

use gotemplate::yaml;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(json) = yaml::parse_json(text) else { return };
    let written = yaml::json_to_string(&json) + "\n";
    if let Ok(read) = yaml::parse_json(&written) {
        assert_eq!(read, json, "{written}");
    }
});
