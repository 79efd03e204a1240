//! Meaning of error responses of the API server, on top of kube.

/// Whether the object, or its whole kind, does not exist.
///
/// By the status code and not by kube's own check: the response to a kind that is not served is plain text, of which kube knows
/// the code, but no reason.
#[must_use]
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// The response, or `None` if the requested object does not exist.
pub fn ok_if_not_found<T>(result: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match result {
        Ok(object) => Ok(Some(object)),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unserved_kind_is_not_found_and_other_errors_are_returned() {
        let answer = |code, reason: &str| {
            let status = kube::core::Status { code, reason: reason.to_owned(), ..Default::default() };
            Err::<(), _>(kube::Error::Api(Box::new(status)))
        };
        assert!(ok_if_not_found(answer(404, "NotFound")).unwrap().is_none());
        assert!(ok_if_not_found(answer(404, "Failed to parse error data")).unwrap().is_none());
        assert!(ok_if_not_found(answer(403, "Forbidden")).is_err());
        assert!(ok_if_not_found(Ok(1)).unwrap() == Some(1));
    }
}
