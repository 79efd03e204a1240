//! The `ServiceAccount` of this process, read from its own credentials without a request.

use std::path::Path;

use k8s_openapi::ByteString;
use kube::Config;
use serde_json::Value;

/// A `ServiceAccount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccountRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ServiceAccountRef {
    /// The account of a client with this configuration; `None` for users and other kinds of credentials.
    ///
    /// The token is not verified, which is the task of the API server: here it only identifies the client.
    #[must_use]
    pub fn of(config: &Config) -> Option<Self> {
        let auth = &config.auth_info;
        if let Some(user) = &auth.impersonate {
            return Self::of_user(user);
        }
        match &auth.token_file {
            Some(file) => Self::of_token(std::fs::read_to_string(Path::new(file)).ok()?.trim()),
            // The type of the token reveals its text only to a serializer.
            None => Self::of_token(serde_json::to_value(auth).ok()?["token"].as_str()?),
        }
    }

    /// The account of a user name of the API server.
    fn of_user(user: &str) -> Option<Self> {
        let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
        let is_name = |text: &str| !text.is_empty() && !text.contains(':');
        (is_name(namespace) && is_name(name))
            .then(|| Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// The account that a token was issued for: the subject of its claims (RFC 7519, section 4.1.2).
    fn of_token(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let claims: Value = serde_json::from_slice(&decode_base64url(claims)?).ok()?;
        Self::of_user(claims["sub"].as_str()?)
    }
}

/// Decodes base64 of the alphabet for URLs, without padding (RFC 7515, section 2).
fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    let mut standard = text.replace('-', "+").replace('_', "/");
    standard.extend(std::iter::repeat_n('=', (4 - text.len() % 4) % 4));
    let ByteString(bytes) = serde_json::from_value(Value::String(standard)).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use kube::config::AuthInfo;
    use serde_json::json;

    use super::*;

    const USER: &str = "system:serviceaccount:kyma-system:istio-controller-manager";

    fn token(claims: &Value) -> String {
        let encoded = serde_json::to_value(ByteString(claims.to_string().into_bytes())).unwrap();
        let encoded = encoded.as_str().unwrap().replace('+', "-").replace('/', "_");
        format!("e30.{}.c2ln", encoded.trim_end_matches('='))
    }

    fn account(namespace: &str, name: &str) -> ServiceAccountRef {
        ServiceAccountRef { namespace: namespace.into(), name: name.into() }
    }

    fn of(auth: Value) -> Option<ServiceAccountRef> {
        let mut config = Config::new("http://127.0.0.1:1".parse().unwrap());
        config.auth_info = serde_json::from_value::<AuthInfo>(auth).unwrap();
        ServiceAccountRef::of(&config)
    }

    #[test]
    fn only_names_of_service_accounts_are_accounts() {
        assert_eq!(
            ServiceAccountRef::of_user(USER),
            Some(account("kyma-system", "istio-controller-manager"))
        );
        for other in
            ["admin", "system:serviceaccount:", "system:serviceaccount:a:", "system:serviceaccount:a:b:c"]
        {
            assert_eq!(ServiceAccountRef::of_user(other), None, "{other}");
        }
    }

    #[test]
    fn the_account_is_the_subject_of_the_token() {
        // Claims of several lengths, so that each length of padding occurs, and characters of only one of the alphabets.
        for extra in ["", "a", "ab", "abc", "~~~???>>>"] {
            let token = token(&json!({"sub": USER, "jti": extra}));
            assert_eq!(
                of(json!({"token": token})),
                Some(account("kyma-system", "istio-controller-manager")),
                "{extra}"
            );
        }
        for other in ["opaque", "a.b.c", "e30.e30.c2ln", "..", "e30.e30.e30.e30"] {
            assert_eq!(of(json!({"token": other})), None, "{other}");
        }
        assert_eq!(of(json!({"token": token(&json!({"sub": "admin"}))})), None);
    }

    #[test]
    fn a_pod_token_is_read_from_its_file_and_a_certificate_is_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{}\n", token(&json!({"sub": USER})))).unwrap();
        let expected = Some(account("kyma-system", "istio-controller-manager"));
        assert_eq!(of(json!({"tokenFile": file.path()})), expected);
        assert_eq!(of(json!({"client-certificate": "x.crt", "client-key": "x.key"})), None);
        let impersonated = json!({"token": token(&json!({"sub": "admin"})), "as": USER});
        assert_eq!(of(impersonated), expected);
    }
}
