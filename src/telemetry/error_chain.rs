//! Formats errors with their causes for logs, statuses and terminals.

use std::error::Error;

use kube::core::Status;

use crate::text::sanitized;

/// Maximum size of the text of an error, and of an error with its causes, in bytes. Sufficient for the rejection by an admission
/// webhook.
const MAX_TEXT_BYTES: usize = 8 << 10;

/// The texts of an error and of its causes, outermost first, each on one line, without control characters and bounded in
/// length. A cause whose text is part of the one before is left out: kube's errors repeat theirs.
#[must_use]
pub fn error_chain(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for error in std::iter::successors(Some(error), |error| (*error).source()) {
        let text = sanitized(&error_text(error), MAX_TEXT_BYTES);
        if !texts.last().is_some_and(|last| last.contains(&text)) {
            texts.push(text);
        }
    }
    texts
}

/// The text of one error. Of an answer of the API server only its message: kube prints the whole answer behind it.
fn error_text(error: &(dyn Error + 'static)) -> String {
    match api_status(error) {
        Some(status) if !status.message.is_empty() => status.message.clone(),
        _ => error.to_string(),
    }
}

/// The answer of the API server, if the error is one: kube's own error, or the answer as that error's source.
fn api_status<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Status> {
    // A boxed source is in the chain as a box.
    let boxed = || error.downcast_ref::<Box<kube::Error>>().map(|boxed| &**boxed);
    match error.downcast_ref::<kube::Error>().or_else(boxed) {
        Some(kube::Error::Api(status)) => Some(&**status),
        _ => error.downcast_ref::<Box<Status>>().map(|status| &**status).or_else(|| error.downcast_ref()),
    }
}

/// The code with which the API server answered, if that is what an error comes from.
#[must_use]
pub fn status_code(error: &(dyn Error + 'static)) -> Option<u16> {
    let mut chain = std::iter::successors(Some(error), |error| (*error).source());
    chain.find_map(api_status).map(|status| status.code)
}

/// An error and its causes on one line, without control characters and bounded in length.
#[must_use]
pub fn format_error_chain(error: &(dyn Error + 'static)) -> String {
    sanitized(&error_chain(error).join(": "), MAX_TEXT_BYTES)
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
    fn every_cause_is_included_once() {
        let error = linked(&["the start failed", "no port: taken", "taken", "somebody has it"]).unwrap();
        assert_eq!(format_error_chain(&*error), "the start failed: no port: taken: somebody has it");
    }

    #[test]
    fn an_error_is_formatted_on_one_line() {
        let error = linked(&["denied", "by policy\n2026 INFO reconciled\u{1b}[0m"]).unwrap();
        assert_eq!(format_error_chain(&*error), "denied: by policy 2026 INFO reconciled\u{fffd}[0m");
        assert_eq!(error_chain(&*error), ["denied", "by policy 2026 INFO reconciled\u{fffd}[0m"]);
    }

    #[test]
    fn an_api_error_is_shown_by_its_message_only() {
        let status = Status { message: "pods \"x\" is forbidden".into(), code: 403, ..Default::default() };
        let error = kube::Error::Api(Box::new(status));
        assert_eq!(error_chain(&error), ["pods \"x\" is forbidden"]);
        assert_eq!(status_code(&error), Some(403));
        assert_eq!(status_code(&*linked(&["no answer"]).unwrap()), None);
    }
}
