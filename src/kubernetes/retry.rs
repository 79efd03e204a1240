//! Which failed requests may succeed unchanged a moment later: the one list of status codes.
//! Pure; when and how often to retry is the caller's decision.

use super::timeouts::write_denied;

/// Whether the API server reports with `code` that it is throttling, restarting or overloaded.
///
/// More than kube's `RetryPolicy` retries (429, 503 and 504): a webhook or an aggregated API server that is being replaced is
/// reported as 500 or 502.
#[must_use]
pub const fn is_retryable_status(code: u16) -> bool {
    matches!(code, 429 | 500 | 502 | 503 | 504)
}

/// Whether the same request may succeed a moment later: the API server is busy, or the connection to it was lost.
///
/// A write that the write fence refused never succeeds later in the same process.
#[must_use]
pub fn is_transient(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => is_retryable_status(status.code),
        kube::Error::Service(_) => write_denied(error).is_none(),
        kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::WriteDenied;

    #[test]
    fn only_a_busy_server_or_a_lost_connection_is_transient() {
        let api = |code| kube::Error::Api(Box::new(kube::core::Status { code, ..Default::default() }));
        for (code, expected) in [
            (400, false),
            (403, false),
            (404, false),
            (409, false),
            (422, false),
            (429, true),
            (500, true),
            (501, false),
            (502, true),
            (503, true),
            (504, true),
        ] {
            assert_eq!(is_transient(&api(code)), expected, "{code}");
        }
        assert!(is_transient(&kube::Error::Service("connection reset".into())));
        let denied = WriteDenied { method: http::Method::PATCH, path: "/api/v1/nodes/a".to_owned() };
        assert!(!is_transient(&kube::Error::Service(denied.into())));
        assert!(!is_transient(&kube::Error::LinesCodecMaxLineLengthExceeded));
    }
}
