//! Errors as a person reads them: what failed, then each cause on a line of its own.

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;

/// Prints `error` with its causes to standard error. Returns the exit code of a failure, 1.
pub fn failure(error: &(dyn Error + 'static)) -> ExitCode {
    eprintln!("{}", chain(error));
    ExitCode::FAILURE
}

/// An error and its causes. A cause whose text the line before already ends with is left out: kube's errors repeat
/// theirs.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut last = error.to_string();
    let mut text = format!("error: {last}");
    for cause in std::iter::successors(error.source(), |error| (*error).source()) {
        let cause = cause.to_string();
        if !last.contains(&cause) {
            // Writing to a String does not fail.
            let _ = write!(text, "\n  because: {cause}");
            last = cause;
        }
    }
    text
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
        let error = linked(&["the start failed", "no port: taken", "taken", "somebody else has it"]).unwrap();
        assert_eq!(
            chain(&*error),
            "error: the start failed\n  because: no port: taken\n  because: somebody else has it"
        );
    }
}
