//! URLs.

use super::Type::{Map as Dict, String as Text};
use super::encode::escape_url as escape;
use super::{Answer, Function, bytes, map, plain};
use crate::encoding;
use crate::exec::Failure;
use crate::value::{Map, Value};

pub(super) const FUNCTIONS: &[Function] =
    &[plain("urlParse", &[Text], parse), plain("urlJoin", &[Dict], join)];

/// The parts of a URL.
#[derive(Default)]
struct Url {
    scheme: String,
    opaque: String,
    user: Option<(String, Option<String>)>,
    host: String,
    path: String,
    query: String,
    fragment: String,
}

fn parse(arguments: &[Value]) -> Answer {
    let marked = encoding::marked(bytes(arguments, 0));
    let is_marked = matches!(marked, std::borrow::Cow::Owned(_));
    let url = Url::parse(&marked).map_err(|message| format!("unable to parse url: {message}"))?;
    let user = url.user.as_ref().map(user_info).unwrap_or_default();
    let parts = [
        ("scheme", url.scheme.as_str()),
        ("host", &url.host),
        ("hostname", hostname(&url.host)),
        ("path", &url.path),
        ("query", &url.query),
        ("opaque", &url.opaque),
        ("fragment", &url.fragment),
        ("userinfo", &user),
    ];
    Ok(Value::Map(
        parts
            .into_iter()
            .map(|(key, part)| (key.into(), Value::text(encoding::unmarked(part, is_marked))))
            .collect::<Map>(),
    ))
}

fn join(arguments: &[Value]) -> Answer {
    let parts = map(arguments, 0);
    let part = |key: &str| match parts.get(key) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.to_string()),
        Some(other) => Err(Failure::from(format!(
            "unable to parse {key} key, must be of type string, but {} found",
            other.kind()
        ))),
    };
    let user = match part("userinfo")?.as_str() {
        "" => None,
        user => {
            Url::parse(&format!("proto://{user}@host"))
                .map_err(|message| format!("unable to parse userinfo in dict: {message}"))?
                .user
        }
    };
    let url = Url {
        scheme: part("scheme")?,
        opaque: part("opaque")?,
        user,
        host: part("host")?,
        path: part("path")?,
        query: part("query")?,
        fragment: part("fragment")?,
    };
    Ok(Value::string(url.print()))
}

impl Url {
    /// Reads a URL by the rules of Go's `net/url`.
    fn parse(text: &str) -> Result<Self, String> {
        if text.chars().any(|c| c < ' ' || c == '\u{7f}') {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        let mut url = Self::default();
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        url.fragment = unescape(fragment, false)?;
        let (scheme, rest) = scheme(rest)?;
        url.scheme = scheme.to_lowercase();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        query.clone_into(&mut url.query);
        if !rest.starts_with('/') {
            if !url.scheme.is_empty() {
                rest.clone_into(&mut url.opaque);
                return Ok(url);
            }
            if rest.split('/').next().is_some_and(|first| first.contains(':')) {
                return Err("first path segment in URL cannot contain colon".to_owned());
            }
        }
        let path = match rest.strip_prefix("//") {
            Some(behind) if !url.scheme.is_empty() || !rest.starts_with("///") => {
                let end = behind.find('/').unwrap_or(behind.len());
                let (authority, path) = behind.split_at(end);
                url.authority(authority)?;
                path
            }
            _ => rest,
        };
        url.path = unescape(path, false)?;
        Ok(url)
    }

    fn authority(&mut self, authority: &str) -> Result<(), String> {
        let host = match authority.rsplit_once('@') {
            Some((user, host)) => {
                let is_fine = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
                if !user.chars().all(is_fine) {
                    return Err("net/url: invalid userinfo".to_owned());
                }
                self.user = Some(match user.split_once(':') {
                    Some((name, password)) => (unescape(name, false)?, Some(unescape(password, false)?)),
                    None => (unescape(user, false)?, None),
                });
                host
            }
            None => authority,
        };
        let port = match host.strip_prefix('[') {
            Some(inner) => inner.split_once(']').ok_or("missing ']' in host")?.1,
            None => host.find(':').map_or("", |at| &host[at..]),
        };
        let is_port = port.is_empty()
            || port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        if !is_port {
            return Err(format!("invalid port {port:?} after host"));
        }
        if host.contains([' ', '<', '>', '"', '\\', '^', '{', '}', '|', '`']) {
            return Err("invalid character in host name".to_owned());
        }
        self.host = unescape(host, true)?;
        Ok(())
    }

    fn print(&self) -> String {
        let mut text = String::new();
        if !self.scheme.is_empty() {
            text.push_str(&self.scheme);
            text.push(':');
        }
        if self.opaque.is_empty() {
            if !self.scheme.is_empty() || !self.host.is_empty() || self.user.is_some() {
                if !self.host.is_empty() || !self.path.is_empty() || self.user.is_some() {
                    text.push_str("//");
                }
                if let Some(user) = &self.user {
                    text.push_str(&user_info(user));
                    text.push('@');
                }
                text.push_str(&escape(&self.host, |c| "!$&'()*+,;=:[]<>\"".contains(c)));
            }
            let path = escape(&self.path, |c| "$&+,/:;=@!'()*".contains(c));
            if !path.is_empty() && !path.starts_with('/') && !self.host.is_empty() {
                text.push('/');
            }
            if text.is_empty() && path.split('/').next().is_some_and(|first| first.contains(':')) {
                text.push_str("./");
            }
            text.push_str(&path);
        } else {
            text.push_str(&self.opaque);
        }
        if !self.query.is_empty() {
            text.push('?');
            text.push_str(&self.query);
        }
        if !self.fragment.is_empty() {
            text.push('#');
            text.push_str(&escape(&self.fragment, |c| "$&+,/:;=?@!()*'".contains(c)));
        }
        text
    }
}

/// The scheme before the first colon, if there is one, and the rest.
fn scheme(text: &str) -> Result<(&str, &str), String> {
    for (index, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if index > 0 => {}
            ':' if index == 0 => return Err("missing protocol scheme".to_owned()),
            ':' => return Ok((&text[..index], &text[index + 1..])),
            _ => return Ok(("", text)),
        }
    }
    Ok(("", text))
}

fn hostname(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((inner, _)) => inner,
        None => host.split(':').next().unwrap_or_default(),
    }
}

fn user_info((name, password): &(String, Option<String>)) -> String {
    let escape_part = |text: &str| escape(text, |c| "$&+,;=".contains(c));
    match password {
        Some(password) => format!("{}:{}", escape_part(name), escape_part(password)),
        None => escape_part(name),
    }
}

fn unescape(text: &str, is_host: bool) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        if *byte != b'%' {
            bytes.push(*byte);
            rest = behind;
            continue;
        }
        let code = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let decoded = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        match decoded {
            Some(decoded) if !is_host || decoded >= 0x80 || decoded == b'%' => bytes.push(decoded),
            _ => {
                return Err(format!(
                    "invalid URL escape {:?}",
                    crate::encoding::lossy(&rest[..rest.len().min(3)])
                ));
            }
        }
        rest = behind.get(2..).unwrap_or_default();
    }
    Ok(crate::encoding::lossy(&bytes).into_owned())
}
