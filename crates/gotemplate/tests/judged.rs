//! Hundreds of template snippets, each of which must give what it gives in Helm, or fail where it fails in Helm.
//!
//! The snippets stand in `snippets/`, one a line; `⏎` is a line break.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like the tests")]

mod judge;
mod oracle;

use oracle::Oracle;
use std::path::Path;

/// Judges all snippets of a file and tells every difference.
fn judge(topic: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snippets").join(format!("{topic}.txt"));
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("## "));
    let comparison = judge::compare(&mut Oracle::start(), lines.map(|line| line.replace('⏎', "\n")));
    assert!(comparison.count > 10, "only {} snippets of {topic}", comparison.count);
    assert!(comparison.differences.is_empty(), "{}", comparison.differences);
}

macro_rules! topics {
    ($($topic:ident)*) => { $(
        #[test]
        fn $topic() {
            judge(stringify!($topic));
        }
    )* };
}

topics! {
    actions arithmetic case comparisons dates dicts encodings errors fields lists printing regular_expressions strings
    structured types urls_and_paths versions yaml_output yaml_input secrets
}
