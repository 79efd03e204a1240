//! The wording of `src/`: every error text and log message in one snapshot, so that a change of wording is reviewed as
//! text, and a list of words that must not be used.
//!
//! After a wanted change: `INSTA_UPDATE=always cargo test --test wording`, and read the difference.

// Helpers of tests, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

mod source_text;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use self::source_text::{Piece, PieceKind, pieces};

/// Archaic or translated phrases, each with what to write instead. A word ends where its letters end.
const FORBIDDEN: [(&str, &str); 20] = [
    ("mend", "fix (people), revert (drift)"),
    ("mends", "fixes, reverts"),
    ("mended", "fixed, reverted"),
    ("mending", "fixing, reverting"),
    ("anew", "again, recreate, restart"),
    ("awaited", "waiting for, pending"),
    ("told", "reported"),
    ("put back", "revert, restore"),
    ("puts back", "reverts, restores"),
    ("putting back", "reverting, restoring"),
    ("stands in the way", "blocks"),
    ("stand in the way", "block"),
    ("lest", "so that … not"),
    ("seldom", "rarely"),
    ("look at", "inspect, check, read"),
    ("looks at", "inspects, checks, reads"),
    ("looked at", "inspected, checked, read"),
    ("looking at", "inspecting, checking, reading"),
    ("leftover", "remaining object, blocked workload"),
    ("leftovers", "remaining objects, blocked workloads"),
];

/// All Rust files of `src/`, with paths from the root of the repository.
fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = BTreeMap::new();
    let mut folders: Vec<PathBuf> = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                sources.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(sources.len() > 100, "{} files", sources.len());
    sources
}

/// The part of a file before its unit tests; nothing of a file that only has tests.
fn production(name: &str, text: &str) -> String {
    let is_test = name.ends_with("tests.rs") || name.contains("/tests/") || name.ends_with("fixtures.rs");
    if is_test {
        return String::new();
    }
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
}

#[test]
fn every_error_text_and_log_message() {
    let mut text = String::new();
    for (name, source) in sources() {
        let source = production(&name, &source);
        let messages: Vec<String> = pieces(&source)
            .into_iter()
            .filter_map(|Piece { kind, text, .. }| match kind {
                PieceKind::Error => Some(format!("error: {text}")),
                PieceKind::Log(level) => Some(format!("{level}: {text}")),
                PieceKind::Text | PieceKind::Comment => None,
            })
            .collect();
        if !messages.is_empty() {
            writeln!(text, "{name}\n  {}", messages.join("\n  ")).unwrap();
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn no_comment_or_text_has_an_archaic_phrase() {
    let mut found = Vec::new();
    for (name, source) in sources() {
        for piece in pieces(&source) {
            let text = normalized(&piece.text);
            for (phrase, instead) in FORBIDDEN {
                if has_phrase(&text, phrase) {
                    found.push(format!("{name}:{}: {phrase:?}, write: {instead}", piece.line));
                }
            }
        }
    }
    assert!(found.is_empty(), "{} places:\n{}", found.len(), found.join("\n"));
}

/// A text in lower case, with single spaces between its words.
fn normalized(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a normalized text has a phrase as whole words.
fn has_phrase(text: &str, phrase: &str) -> bool {
    let is_letter =
        |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    text.match_indices(phrase).any(|(start, _)| {
        let after = text[start + phrase.len()..].chars().next();
        !is_letter(text[..start].chars().next_back()) && !is_letter(after)
    })
}

#[test]
fn phrases_are_found_as_whole_words() {
    for (text, phrase, expected) in [
        ("Mend it", "mend", true),
        ("recommended", "mend", false),
        ("it is put\n  back", "put back", true),
        ("istio_restarter_leftover_workloads", "leftover", false),
        ("told.", "told", true),
    ] {
        assert_eq!(has_phrase(&normalized(text), phrase), expected, "{text:?} {phrase:?}");
    }
}

#[test]
#[allow(clippy::needless_raw_string_hashes, reason = "the text contains a quote followed by a hash")]
fn texts_are_extracted_with_their_kind() {
    let source = r##"
/// A doc comment
/// of two lines.
#[error("cannot read \"{name}\": \
         {why}")]
// '"' is no text, nor is 'a.
const A: (&str, char) = ("a text", '"');
fn f<'a>() {
    tracing::warn!(%error, key = value("not a message"), "a message of {}", "an argument");
    info!(r#"raw "message""#);
}
"##;
    let found: Vec<(PieceKind, String)> =
        pieces(source).into_iter().map(|piece| (piece.kind, piece.text)).collect();
    let expected = [
        (PieceKind::Comment, "A doc comment of two lines."),
        (PieceKind::Error, "cannot read \"{name}\": {why}"),
        (PieceKind::Comment, "'\"' is no text, nor is 'a."),
        (PieceKind::Text, "a text"),
        (PieceKind::Text, "not a message"),
        (PieceKind::Log("warn"), "a message of {}"),
        (PieceKind::Text, "an argument"),
        (PieceKind::Log("info"), "raw \"message\""),
    ];
    assert_eq!(found, expected.map(|(kind, text)| (kind, text.to_owned())));
}
