//! Errors with their causes, as logs and people read them.

use std::error::Error;

/// The texts of an error and of its causes, outermost first. A cause whose text is part of the one before is left
/// out: kube's errors repeat theirs.
#[must_use]
pub fn causes(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for error in std::iter::successors(Some(error), |error| (*error).source()) {
        let text = error.to_string();
        if !texts.last().is_some_and(|last| last.contains(&text)) {
            texts.push(text);
        }
    }
    texts
}

/// An error and its causes on one line.
#[must_use]
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    causes(error).join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Link>>,
    }

    fn linked(texts: &[&'static str]) -> Option<Box<Link>> {
        let (text, rest) = texts.split_first()?;
        Some(Box::new(Link { text, source: linked(rest) }))
    }

    #[test]
    fn every_cause_is_told_once() {
        let error = linked(&["the start failed", "no port: taken", "taken", "somebody has it"]).unwrap();
        assert_eq!(one_line(&*error), "the start failed: no port: taken: somebody has it");
    }
}
