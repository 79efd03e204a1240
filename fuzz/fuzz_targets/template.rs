//! Any text as a template: an answer or an error with a place.
//!
//! `cargo +nightly fuzz run template`

#![no_main]

#[path = "../../crates/gotemplate/tests/bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|source: &str| {
    let _ = bodies::template(source);
});
