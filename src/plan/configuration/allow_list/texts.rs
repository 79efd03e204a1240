//! Kinds of text on the allow-list. Each is a set of characters and a greatest length, most of them a syntax of Kubernetes or
//! Envoy.
//!
//! Istio's charts write many values into YAML without quotes. So no kind but `format` and `text` has characters that
//! mean something in YAML, and those two stand only where the charts serialize (`toYaml`). Only `format` may have line breaks
//! and tabs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A kind of text.
#[derive(Debug)]
pub(super) struct TextKind {
    /// How `allowed_values.txt` calls it.
    pub name: &'static str,
    /// What a value must be, after "must be".
    pub description: &'static str,
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
}

const fn kind(
    name: &'static str,
    description: &'static str,
    max: usize,
    accepts: fn(&str) -> bool,
) -> TextKind {
    TextKind { name, description, max, accepts }
}

static KINDS: &[TextKind] = &[
    kind("text", "a text of at most 1024 characters without control characters", 1024, is_printable),
    kind("format", "a format of Envoy of at most 8192 characters, such as %START_TIME%", 8192, is_format),
    kind("word", "a name of letters, digits, and the characters . _ -", 253, is_word),
    kind("word-list", "names of letters, digits, and hyphens, separated by commas", 1024, |text| {
        split(text, is_word)
    }),
    kind("token", "an access token", 1024, is_token),
    kind("tag", "a name of letters, digits, and the characters . _ / -", 253, is_tag),
    kind("variable", "the name of an environment variable", 253, is_variable),
    kind("header", "the name of an HTTP header", 253, is_header),
    kind("url-path", "a path that begins with /", 1024, is_url_path),
    kind("log-levels", "levels with or without their scopes, such as default:info,ads:debug", 1024, |text| {
        split(text, is_scoped_level)
    }),
    kind("rust-log", "log levels of ztunnel, such as info,ztunnel::proxy=debug", 1024, is_rust_log),
    kind("dns-label", "lower case letters, digits, and hyphens (a DNS label)", 63, is_dns_label),
    kind("dns-name", "a DNS name", 253, is_dns_name),
    kind("port-name", "the name of a port, such as http2", 15, is_port_name),
    kind("host", "a DNS name, with or without *. before it", 253, is_host),
    kind("host-port", "an address with a port, such as zipkin.example.com:9411", 300, is_host_port),
    kind("service", "a DNS name, with or without a namespace and / before it", 320, is_service),
    kind("ip", "an IP address", 45, |text| text.parse::<IpAddr>().is_ok()),
    kind("cidr", "a range of IP addresses, such as 10.0.0.0/8", 49, is_cidr),
    kind("cidrs", "*, or ranges of IP addresses separated by commas", 16_384, is_cidrs),
    kind("ports", "*, or ports separated by commas", 4096, is_ports),
    kind("label-key", "the key of a label", 317, is_label_key),
    kind("label-keys", "keys of labels separated by commas", 1024, |text| split(text, is_label_key)),
    kind("label-values", "values of labels separated by commas", 1024, |text| split(text, is_label_value)),
    kind("label-pair", "the key of a label, or key=value", 381, is_label_pair),
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

/// No control characters, and none that end a line in YAML or change the direction of what is shown.
pub(super) fn is_printable(text: &str) -> bool {
    text.chars().all(is_printable_character)
}

/// Whether a message can show the character as it is.
pub(super) fn is_printable_character(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn is_format(text: &str) -> bool {
    is_printable(&text.replace(['\n', '\t'], ""))
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

fn is_variable(text: &str) -> bool {
    every(text, |byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_header(text: &str) -> bool {
    every(text.strip_prefix(':').unwrap_or(text), |byte| {
        byte.is_ascii_alphanumeric() || b"_-".contains(&byte)
    })
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

pub(super) fn is_dns_label(text: &str) -> bool {
    text.len() <= 63
        && every(text, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

pub(super) fn is_dns_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
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
    text == "*" || is_dns_name(text.strip_prefix("*.").unwrap_or(text))
}

/// A name, an address, or `$(HOST_IP)`, the variable of the proxy that Istio's own default for Datadog has.
fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match v6 {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host == "$(HOST_IP)" || is_dns_name(host) || host.parse::<Ipv4Addr>().is_ok(),
    };
    is_host && is_port(port)
}

fn is_port(text: &str) -> bool {
    text.len() <= 5
        && every(text, |byte| byte.is_ascii_digit())
        && text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_service(text: &str) -> bool {
    match text.split_once('/') {
        None => is_dns_name(text),
        Some((namespace, host)) => is_dns_label(namespace) && is_dns_name(host),
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.len() <= 3
        && every(length, |byte| byte.is_ascii_digit())
        && length.parse::<u8>().is_ok_and(|length| length <= most)
}

fn is_cidrs(text: &str) -> bool {
    text.is_empty() || text == "*" || split(text, |item| is_cidr(item) || item.parse::<IpAddr>().is_ok())
}

fn is_ports(text: &str) -> bool {
    text.is_empty() || text == "*" || split(text, is_port)
}

/// A name as Kubernetes wants it of the part of a key after the domain, or of a value that is not empty.
fn is_qualified(text: &str) -> bool {
    let is_edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63 && is_word(text) && is_edge(text.bytes().next()) && is_edge(text.bytes().last())
}

/// The domain and the name of the key of a label or annotation; `None` if it is not a valid key.
pub(super) fn key_parts(key: &str) -> Option<(Option<&str>, &str)> {
    match key.split_once('/') {
        None => is_qualified(key).then_some((None, key)),
        Some((domain, name)) => (is_dns_name(domain) && is_qualified(name)).then_some((Some(domain), name)),
    }
}

pub(super) fn is_label_key(key: &str) -> bool {
    key_parts(key).is_some()
}

pub(super) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_qualified(text)
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
