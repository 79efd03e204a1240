//! Any two texts in the hands of every function that reads one.
//!
//! `cargo +nightly fuzz run functions`

#![no_main]

#[path = "../../crates/gotemplate/tests/bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|input: (u8, &str, &[u8])| {
    let (reader, other, text) = input;
    let _ = bodies::function(usize::from(reader), text, other);
});
