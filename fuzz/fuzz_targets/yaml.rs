//! Any text as YAML; what is read can be written, and what is written reads back the same.
//!
//! `cargo +nightly fuzz run yaml`

#![no_main]

#[path = "../../crates/gotemplate/tests/bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|text: &str| bodies::yaml(text));
