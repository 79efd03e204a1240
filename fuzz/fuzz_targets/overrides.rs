//! Any values of an author: refused, or what is closed stays as it is.
//!
//! `cargo +nightly fuzz run overrides`

#![no_main]

#[path = "../../tests/overrides_body/mod.rs"]
mod overrides_body;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(values @ serde_json::Value::Object(_)) = gotemplate::yaml::parse_json(text) {
        overrides_body::assert_refused_or_harmless(&values);
    }
});
