//! The checks of external authorizers: names that can be referred to, services that Istio can resolve.
//!
//! Pure. Checks what Istio's own validation of extension providers, or Envoy, would refuse after the installation.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use thiserror::Error;

use super::{Problem, Problems, envoy_format};
use crate::api::v1alpha2::{Authorizer, AuthorizerHeaders};
use crate::duration;
use crate::names::{is_host_label, is_host_name};
use crate::text::escaped;

/// Names of extension providers that exist without the resource: those of the base configuration, then those of Istio's
/// default mesh configuration. An authorizer of the same name would silently replace one of them.
pub const BUILT_IN_PROVIDERS: [&str; 6] =
    ["kyma-traces", "kyma-logs", "stdout-json", "envoy", "prometheus", "stackdriver"];

/// Longest name of a header in a path, in characters.
const MAX_SHOWN: usize = 80;

/// An external authorizer that Istio will accept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ValidatedAuthorizer {
    /// Name, unique among all extension providers.
    pub name: String,
    /// Host name or address, optionally as `namespace/host`.
    pub service: String,
    /// Port of the service.
    pub port: u16,
    /// Prefix for the path of the request to be checked.
    pub path_prefix: Option<String>,
    /// Timeout of a check; more than zero.
    pub timeout: Option<Duration>,
    /// Headers passed between client, authorizer and workload.
    pub headers: AuthorizerHeaders,
}

/// Why an authorizer is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
enum Error {
    #[error("the name is empty. Write the name that AuthorizationPolicies refer to")]
    EmptyName,
    #[error("{0:?} is the name of a built-in extension provider. Choose another name")]
    BuiltInName(String),
    #[error("{0:?} is the name of another authorizer, too. Give each authorizer its own name")]
    RepeatedName(String),
    #[error(
        "{0:?} is not a service. Write its full host name, for example \"authorizer.my-namespace.svc.cluster.local\""
    )]
    Service(String),
    #[error("{0:?} must begin with a slash")]
    RelativePathPrefix(String),
    #[error("{0:?} is not the path of a URL. Write special characters as %20")]
    PathPrefix(String),
    #[error("{0} is not a port. Write a number from 1 to 65535")]
    Port(i64),
    #[error("{text:?} is not a duration: {cause}")]
    Timeout { text: String, cause: String },
    #[error("{0:?} is too short. Write a duration above zero, such as 500ms or 2s")]
    ZeroTimeout(String),
    #[error("the value is a format of Envoy, and {0}")]
    HeaderFormat(#[from] envoy_format::Error),
    #[error("{0:?} is not the name of a header that can be added")]
    HeaderName(String),
}

/// Checks all authorizers of a spec, and adds what is wrong to `problems`.
pub(super) fn check(authorizers: Vec<Authorizer>, problems: &mut Problems) -> Vec<ValidatedAuthorizer> {
    let mut names = BTreeSet::new();
    authorizers
        .into_iter()
        .enumerate()
        .map(|(index, authorizer)| {
            let mut refuse = |name: &str, error: Error| {
                let field = format!("spec.config.authorizers[{index}].{name}");
                problems.push(Problem::warning(field, error.to_string()));
            };
            if let Err(error) = check_name(&authorizer.name, &mut names) {
                refuse("name", error);
            }
            check_one(authorizer, &mut refuse)
        })
        .collect()
}

fn check_one(authorizer: Authorizer, refuse: &mut dyn FnMut(&str, Error)) -> ValidatedAuthorizer {
    let service = authorizer.service.unwrap_or_default();
    if let Err(error) = check_service(&service) {
        refuse("service", error);
    }
    let path_prefix = authorizer.path_prefix.filter(|prefix| !prefix.is_empty());
    if let Some(Err(error)) = path_prefix.as_deref().map(check_path_prefix) {
        refuse("pathPrefix", error);
    }
    let port = read_port(authorizer.port).unwrap_or_else(|error| {
        refuse("port", error);
        0
    });
    let timeout = authorizer.timeout.as_deref().map(read_timeout).transpose().unwrap_or_else(|error| {
        refuse("timeout", error);
        None
    });
    let headers = authorizer.headers.unwrap_or_default();
    for (name, value) in headers.in_check.iter().flat_map(|check| check.add.iter().flatten()) {
        if let Err(error) = check_added_header(name, value) {
            refuse(&format!("headers.inCheck.add.{}", escaped(name, MAX_SHOWN)), error);
        }
    }
    ValidatedAuthorizer { name: authorizer.name, service, port, path_prefix, timeout, headers }
}

/// Envoy expands the value of a header that it adds, and refuses its whole configuration if that or the name is invalid.
fn check_added_header(name: &str, value: &str) -> Result<(), Error> {
    if name.is_empty() || name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        return Err(Error::HeaderName(name.to_owned()));
    }
    Ok(envoy_format::check(value)?)
}

fn check_name(name: &str, names: &mut BTreeSet<String>) -> Result<(), Error> {
    if name.trim().is_empty() {
        return Err(Error::EmptyName);
    }
    if BUILT_IN_PROVIDERS.contains(&name) {
        return Err(Error::BuiltInName(name.to_owned()));
    }
    if !names.insert(name.to_owned()) {
        return Err(Error::RepeatedName(name.to_owned()));
    }
    Ok(())
}

fn check_service(service: &str) -> Result<(), Error> {
    let valid = match service.split_once('/') {
        Some((namespace, host)) => is_namespace(namespace) && is_host_pattern(host),
        None => is_host(service) || service.parse::<IpAddr>().is_ok(),
    };
    if valid { Ok(()) } else { Err(Error::Service(service.to_owned())) }
}

/// A host name as Istio's `ValidateFQDN` takes it: it may end in a dot, and what is all digits at its end is meant to be an
/// address.
fn is_host(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    !is_number && is_host_name(name.strip_suffix('.').unwrap_or(name))
}

/// A namespace before a host, as Istio's `ValidateNamespaceSlashWildcardHostname` takes it.
fn is_namespace(namespace: &str) -> bool {
    let named = namespace.strip_prefix('~').unwrap_or(namespace);
    !namespace.is_empty() && (matches!(named, "" | "*" | ".") || is_host_label(named))
}

/// A host after a namespace: no short name, and a wildcard at most for its first label.
fn is_host_pattern(host: &str) -> bool {
    host == "*"
        || host.split_once('.').is_some_and(|(first, rest)| {
            host.len() <= 255 && (first == "*" || is_host_label(first)) && (rest.is_empty() || is_host(rest))
        })
}

/// A path that Istio's parser of URLs takes.
fn check_path_prefix(prefix: &str) -> Result<(), Error> {
    if !prefix.starts_with('/') {
        return Err(Error::RelativePathPrefix(prefix.to_owned()));
    }
    let path = prefix.split('?').next().unwrap_or_default();
    let is_escape = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if prefix.bytes().any(|byte| byte.is_ascii_control()) || !path.split('%').skip(1).all(is_escape) {
        return Err(Error::PathPrefix(prefix.to_owned()));
    }
    Ok(())
}

fn read_port(port: i64) -> Result<u16, Error> {
    u16::try_from(port).ok().filter(|port| *port > 0).ok_or(Error::Port(port))
}

fn read_timeout(timeout: &str) -> Result<Duration, Error> {
    let duration = duration::parse(timeout)
        .map_err(|cause| Error::Timeout { text: timeout.to_owned(), cause: cause.to_string() })?;
    if duration.is_zero() { Err(Error::ZeroTimeout(timeout.to_owned())) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_are_added_cannot_read_variables_or_break_envoy() {
        for (name, value, is_accepted) in [
            ("x-from", "mesh", true),
            ("x-client", "%DOWNSTREAM_REMOTE_ADDRESS%", true),
            ("x", "%ENVIRONMENT(SECRET)%", false),
            ("x", "%REQ(authorization)%", false),
            ("x", "%NOSUCH%", false),
            ("x", "100%", false),
            (":method", "GET", false),
            ("Host", "a", false),
        ] {
            assert_eq!(check_added_header(name, value).is_ok(), is_accepted, "{name}: {value}");
        }
    }

    /// Istio's `validateExtensionProviderService` gives the same answers.
    #[test]
    fn a_service_is_what_istio_takes_for_one() {
        for service in [
            "authz.shop.svc.cluster.local",
            "Authz.Example.com.",
            "localhost",
            "10.0.0.1",
            "fd00::1",
            "shop/authz.shop.svc.cluster.local",
            "*/authz.example.com",
            "./authz.example.com",
            "~shop/*.example.com",
            "shop/*",
            "a.1.",
        ] {
            assert_eq!(check_service(service), Ok(()), "{service}");
        }
        for service in [
            "",
            ".",
            "a..b",
            "a.1",
            "10.0.0.256",
            "a_b.c",
            "-a.b",
            "*.example.com",
            "shop/authz",
            "/a.b",
            "a/b/c.d",
            "shop/a*.b",
            "shop/a.*.b",
            "shop/a.1",
        ] {
            assert!(check_service(service).is_err(), "{service}");
        }
    }

    #[test]
    fn a_path_prefix_is_what_istio_takes_for_one() {
        for prefix in ["/", "/check?x=%", "/a%20b", "/a b", "/ü"] {
            assert_eq!(check_path_prefix(prefix), Ok(()), "{prefix}");
        }
        for prefix in ["check", "/a%2", "/a%zz", "/a\tb", "/a%"] {
            assert!(check_path_prefix(prefix).is_err(), "{prefix}");
        }
    }
}
