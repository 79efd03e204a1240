//! What answers of the API server mean, where kube's own reading falls short.

/// Whether there is no such thing: neither the object nor, perhaps, its kind.
///
/// By the code alone: for a kind of an API group that is not served at all, the answer is a plain page without a reason.
#[must_use]
pub fn is_not_found(status: &kube::core::Status) -> bool {
    status.code == 404
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_not_found_is_as_good_as_an_object_that_is_not() {
        let status =
            |code, reason: &str| kube::core::Status { code, reason: reason.into(), ..Default::default() };
        assert!(is_not_found(&status(404, "NotFound")));
        assert!(is_not_found(&status(404, "Failed to parse error data")));
        assert!(!is_not_found(&status(403, "Forbidden")));
    }
}
