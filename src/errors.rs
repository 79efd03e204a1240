//! How an error is told to people: once, with all of its causes.

use std::error::Error;

/// The message of `error` followed by those of its causes.
///
/// A cause that the text before it already contains is left out; some libraries repeat their sources.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let message = cause.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn every_cause_is_told_once() {
        let leaf = Layer { text: "no such host", source: None };
        let middle = Layer { text: "lookup failed: no such host", source: Some(Box::new(leaf)) };
        let top = Layer { text: "cannot apply", source: Some(Box::new(middle)) };
        assert_eq!(chain(&top), "cannot apply: lookup failed: no such host");
    }
}
