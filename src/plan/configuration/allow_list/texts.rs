//! Kinds of text on the allow-list. Each is a set of characters and a greatest length, most of them a syntax of Kubernetes or
//! Envoy.
//!
//! Pure. Istio's charts write many values into YAML without quotes. So no kind except `format`, `text`, and `header-value` has
//! characters that mean something in YAML, and those stand only where the charts serialize (`toYaml`). Only `format` may have
//! line breaks and tabs.

use std::net::IpAddr;

use crate::names::{is_dns_label, is_dns_subdomain, is_label_key, is_label_value, key_parts};
use crate::plan::shapes::{is_cidr, is_port_text, is_remote_endpoint, is_remote_host};
use crate::text::is_plain;
use crate::validate::envoy_format::{self, POD_VARIABLES, is_credential_header};

/// A kind of text.
#[derive(Debug)]
pub(super) struct TextKind {
    /// The name in `allowed_values.txt`.
    pub name: &'static str,
    /// What a value must be, after "must be".
    pub description: &'static str,
    /// Whether a number stands for its digits.
    pub takes_numbers: bool,
    /// Greatest length in bytes.
    max: usize,
    accepts: fn(&str) -> bool,
}

impl TextKind {
    /// The kind of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// Whether `text` is of this kind.
    pub fn accepts(&self, text: &str) -> bool {
        text.len() <= self.max && (self.accepts)(text)
    }

    /// What is wrong with a text that is not of this kind, if more can be said than what it must be.
    pub fn explain(&self, text: &str) -> Option<String> {
        match self.name {
            "format" => envoy_format::check(text).err().map(|error| error.to_string()),
            "header" if is_credential_header(text) => Some("the header can hold a credential".to_owned()),
            _ => None,
        }
    }
}

const fn kind(
    name: &'static str,
    description: &'static str,
    max: usize,
    accepts: fn(&str) -> bool,
) -> TextKind {
    TextKind { name, description, takes_numbers: false, max, accepts }
}

static KINDS: &[TextKind] = &[
    kind("text", "a text of at most 1024 characters without control characters", 1024, is_plain),
    kind("format", "a format of Envoy of at most 8192 characters, such as %START_TIME%", 8192, |text| {
        envoy_format::check(text).is_ok()
    }),
    kind("word", "a name of letters, digits, and the characters . _ -", 253, is_word),
    kind("word-list", "names of letters, digits, and hyphens, separated by commas", 1024, |text| {
        split(text, is_word)
    }),
    kind("token", "an access token", 1024, is_token),
    kind("tag", "a name of letters, digits, and the characters . _ / -", 253, is_tag),
    kind("pod-variable", "one of the variables that say which pod it is, such as POD_NAME", 253, |text| {
        POD_VARIABLES.contains(&text)
    }),
    kind("header", "the name of an HTTP header that cannot hold a credential", 253, |text| {
        is_header(text.strip_prefix(':').unwrap_or(text)) && !is_credential_header(text)
    }),
    kind("sent-header", "the name of an HTTP header other than Host", 253, |text| {
        is_header(text) && !text.eq_ignore_ascii_case("host")
    }),
    // Envoy would take it for a format, and replace what stands between percent signs.
    kind(
        "header-value",
        "a text of at most 1024 characters without control characters and %",
        1024,
        |text| is_plain(text) && !text.contains('%'),
    ),
    kind("url-path", "a path that begins with /", 1024, is_url_path),
    kind("log-levels", "levels with or without their scopes, such as default:info,ads:debug", 1024, |text| {
        split(text, is_scoped_level)
    }),
    kind("rust-log", "log levels of ztunnel, such as info,ztunnel::proxy=debug", 1024, is_rust_log),
    kind("bytes", "a number of bytes as Go writes it, such as 400MiB", 12, is_bytes),
    kind("dns-label", "lower case letters, digits, and hyphens (a DNS label)", 63, is_dns_label),
    kind("port-name", "the name of a port, such as http2", 15, is_port_name),
    kind("app-protocol", "an application protocol, such as kubernetes.io/h2c", 317, |text| {
        is_label_key(text) && is_yaml_text(text)
    }),
    kind("host", "a DNS name, with or without *. before it", 253, is_host),
    kind(
        "endpoint",
        "an address with a port, such as zipkin.example.com:9411, outside of the pod and its node",
        300,
        is_remote_endpoint,
    ),
    kind(
        "agent-endpoint",
        "an address with a port, such as agent.example.com:8126 or $(HOST_IP):8126",
        300,
        |text| text.strip_prefix("$(HOST_IP):").map_or_else(|| is_remote_endpoint(text), is_port_text),
    ),
    kind("service", "a DNS name, with or without a namespace and / before it", 320, is_service),
    kind("ip", "an IP address", 45, |text| text.parse::<IpAddr>().is_ok()),
    kind("cidr", "a range of IP addresses, such as 10.0.0.0/8", 49, is_cidr),
    kind("cidrs", "*, or ranges of IP addresses separated by commas", 16_384, is_cidrs),
    TextKind { takes_numbers: true, ..kind("ports", "*, or ports separated by commas", 4096, is_ports) },
    kind("label-key", "the key of a label", 317, is_label_key),
    kind("label-keys", "keys of labels separated by commas", 1024, |text| split(text, is_label_key)),
    kind("label-values", "values of labels separated by commas", 1024, |text| split(text, is_label_value)),
    kind("label-pair", "the key of a label, or key=value", 381, is_label_pair),
    kind("qualified-name", "a name with a domain, such as service.k8s.aws/nlb", 317, |text| {
        key_parts(text).is_some_and(|(domain, _)| domain.is_some())
    }),
    kind("visibility", "one of . * ~, or the name of a namespace", 63, |text| {
        matches!(text, "." | "*" | "~") || is_dns_label(text)
    }),
    kind("locality", "a locality, such as region/zone/*", 253, is_locality),
];

fn every(text: &str, accepts: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(accepts)
}

fn split(text: &str, accepts: fn(&str) -> bool) -> bool {
    text.split(',').all(accepts)
}

fn is_word(text: &str) -> bool {
    every(text, |byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn is_token(text: &str) -> bool {
    every(text, |byte| byte.is_ascii_alphanumeric() || b"._~+/=-".contains(&byte))
}

fn is_tag(text: &str) -> bool {
    every(text, |byte| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte))
}

pub(super) fn is_header(text: &str) -> bool {
    every(text, |byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

fn is_url_path(text: &str) -> bool {
    text.starts_with('/') && every(text, |byte| byte.is_ascii_alphanumeric() || b"/._~%-".contains(&byte))
}

/// `level` or `scope:level`. A colon at the end would make a map of it in YAML.
fn is_scoped_level(text: &str) -> bool {
    let is_part = |part: &str| every(part, |byte| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte));
    match text.split_once(':') {
        None => is_part(text),
        Some((scope, level)) => is_part(scope) && is_part(level),
    }
}

/// Levels, each with or without its module: `info,ztunnel::proxy=debug`.
fn is_rust_log(text: &str) -> bool {
    split(text, |directive| match directive.split_once('=') {
        None => is_word(directive),
        Some((module, level)) => module.split("::").all(is_word) && is_word(level),
    })
}

/// A number of at most six digits with a unit.
fn is_bytes(text: &str) -> bool {
    ["MiB", "GiB", "TiB"].iter().any(|unit| {
        text.strip_suffix(unit).is_some_and(|number| {
            number.len() <= 6 && every(number, |byte| byte.is_ascii_digit()) && !number.starts_with('0')
        })
    })
}

/// With a letter, and no word that YAML takes for something else than a text.
fn is_port_name(text: &str) -> bool {
    is_dns_label(text) && is_yaml_text(text)
}

/// Whether YAML, also of version 1.1, reads this plain word as a text.
pub(super) fn is_yaml_text(text: &str) -> bool {
    let word = text.to_ascii_lowercase();
    let first = word.bytes().next();
    first.is_some_and(|byte| byte.is_ascii_alphabetic())
        && !["y", "n", "yes", "no", "on", "off", "true", "false", "null"].contains(&word.as_str())
}

fn is_host(text: &str) -> bool {
    text == "*" || is_dns_subdomain(text.strip_prefix("*.").unwrap_or(text))
}

fn is_service(text: &str) -> bool {
    match text.split_once('/') {
        None => !text.contains([':', '[']) && is_remote_host(text),
        Some((namespace, host)) => {
            is_dns_label(namespace) && !host.contains([':', '[']) && is_remote_host(host)
        }
    }
}

fn is_cidrs(text: &str) -> bool {
    text.is_empty() || text == "*" || split(text, |item| is_cidr(item) || item.parse::<IpAddr>().is_ok())
}

fn is_ports(text: &str) -> bool {
    text.is_empty() || text == "*" || split(text, is_port_text)
}

fn is_label_pair(text: &str) -> bool {
    match text.split_once('=') {
        None => is_label_key(text),
        Some((key, value)) => is_label_key(key) && is_label_value(value),
    }
}

fn is_locality(text: &str) -> bool {
    text.split('/').count() <= 3 && text.split('/').all(|part| part == "*" || is_word(part))
}
