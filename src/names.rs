//! The syntax of names in Kubernetes and DNS: labels, subdomains, host names, and the keys and values of labels.
//!
//! Pure, and syntax only: which names the operator uses is in `api::names`, and which keys an author may set is in
//! `plan::keys`.

/// Longest label of a DNS name in characters (RFC 1123), and longest name of a label or annotation without its domain.
const MAX_LABEL_LENGTH: usize = 63;
/// Longest name of an object in characters (Kubernetes, "Object Names and IDs").
const MAX_SUBDOMAIN_LENGTH: usize = 253;
/// Longest host name in characters (Istio, `ValidateFQDN`).
const MAX_HOST_LENGTH: usize = 255;

/// Whether `text` is a label of a DNS name (RFC 1123).
#[must_use]
pub fn is_dns_label(text: &str) -> bool {
    is_host_label(text) && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// Whether `text` is a DNS subdomain (RFC 1123), which is what most kinds take as a name.
#[must_use]
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= MAX_SUBDOMAIN_LENGTH && text.split('.').all(is_dns_label)
}

/// Whether `text` is a label of a host name. Istio accepts either case.
#[must_use]
pub fn is_host_label(text: &str) -> bool {
    (1..=MAX_LABEL_LENGTH).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether `text` is a host name. Istio accepts either case (`ValidateFQDN`).
#[must_use]
pub fn is_host_name(text: &str) -> bool {
    text.len() <= MAX_HOST_LENGTH && text.split('.').all(is_host_label)
}

/// Whether `text` is the name of a label or annotation without its domain, or the value of a label that is not empty.
fn is_qualified(text: &str) -> bool {
    let is_edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= MAX_LABEL_LENGTH
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && is_edge(text.bytes().next())
        && is_edge(text.bytes().next_back())
}

/// The domain and the name of the key of a label or annotation; `None` if it is not a valid key.
#[must_use]
pub fn key_parts(key: &str) -> Option<(Option<&str>, &str)> {
    match key.split_once('/') {
        None => is_qualified(key).then_some((None, key)),
        Some((domain, name)) => {
            (is_dns_subdomain(domain) && is_qualified(name)).then_some((Some(domain), name))
        }
    }
}

/// Whether `text` is the key of a label or annotation.
#[must_use]
pub fn is_label_key(text: &str) -> bool {
    key_parts(text).is_some()
}

/// Whether `text` is the value of a label.
#[must_use]
pub fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_qualified(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_syntax_of_kubernetes() {
        for (text, label, subdomain, host) in [
            ("a", true, true, true),
            ("a-1", true, true, true),
            ("a.b", false, true, true),
            ("A.b", false, false, true),
            ("", false, false, false),
            ("a..b", false, false, false),
            ("a.", false, false, false),
            ("-a", false, false, false),
            ("a-", false, false, false),
            ("a_b", false, false, false),
            ("a/b", false, false, false),
            ("ä", false, false, false),
        ] {
            assert_eq!(is_dns_label(text), label, "{text}");
            assert_eq!(is_dns_subdomain(text), subdomain, "{text}");
            assert_eq!(is_host_name(text), host, "{text}");
        }
        assert!(is_dns_label(&"a".repeat(63)) && !is_dns_label(&"a".repeat(64)));
        assert!(!is_dns_subdomain(&"a.".repeat(127)) && !is_dns_subdomain(&"a.a".repeat(100)));
    }

    #[test]
    fn keys_of_labels_are_split_at_the_domain() {
        for (key, parts) in [
            ("app", Some((None, "app"))),
            ("example.com/app", Some((Some("example.com"), "app"))),
            ("example.com/", None),
            ("/app", None),
            ("a/b/c", None),
            ("Example.com/app", None),
            ("app.", None),
            ("", None),
            ("$patch", None),
            ("a\nb", None),
        ] {
            assert_eq!(key_parts(key), parts, "{key}");
        }
        assert!(is_label_value("") && is_label_value("a_b.c") && !is_label_value("a b"));
    }
}
