//! Formats of Envoy, as in access logs and in headers that Envoy adds: it replaces `%NAME(…)%` in them with what the
//! operator `NAME` stands for.
//!
//! Pure. Some operators read files, Secrets, or the environment of the proxy, and some headers are credentials. What is not
//! listed here is refused.

use serde_json::Value;
use thiserror::Error;

use crate::text::is_plain_block;

/// Longest format in bytes.
const MAX_FORMAT: usize = 32 * 1024;

/// Operators that describe the request, the connection, or the time (Envoy, "Access logging").
const OPERATORS: [&str; 129] = [
    "ACCESS_LOG_TYPE",
    "BYTES_RECEIVED",
    "BYTES_RETRANSMITTED",
    "BYTES_SENT",
    "CEL",
    "COMMON_DURATION",
    "CONNECTION_ID",
    "CONNECTION_TERMINATION_DETAILS",
    "CUSTOM_FLAGS",
    "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_LOCAL_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_PORT",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_LOCAL_EMAIL_SAN",
    "DOWNSTREAM_LOCAL_IP_SAN",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_CERT_V_END",
    "DOWNSTREAM_PEER_CERT_V_START",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    "DOWNSTREAM_PEER_CHAIN_SERIALS",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_PEER_EMAIL_SAN",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_IP_SAN",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_REMOTE_PORT",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "DURATION",
    "DYNAMIC_METADATA",
    "EMIT_TIME",
    "FILTER_CHAIN_NAME",
    "FILTER_STATE",
    "GRPC_STATUS",
    "GRPC_STATUS_NUMBER",
    "HOSTNAME",
    "LOCAL_REPLY_BODY",
    "METADATA",
    "PACKETS_RECEIVED",
    "PACKETS_RETRANSMITTED",
    "PACKETS_SENT",
    "PATH",
    "PROTOCOL",
    "QUERY_PARAM",
    "REQ",
    "REQUESTED_SERVER_NAME",
    "REQUEST_DURATION",
    "REQUEST_HEADERS_BYTES",
    "REQUEST_TX_DURATION",
    "REQ_WITHOUT_QUERY",
    "RESP",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "RESPONSE_DURATION",
    "RESPONSE_FLAGS",
    "RESPONSE_FLAGS_LONG",
    "RESPONSE_HEADERS_BYTES",
    "RESPONSE_TRAILERS_BYTES",
    "RESPONSE_TX_DURATION",
    "ROUNDTRIP_DURATION",
    "ROUTE_NAME",
    "START_TIME",
    "START_TIME_LOCAL",
    "STREAM_ID",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "TRACE_ID",
    "TRAILER",
    "UNIQUE_ID",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_CLUSTER_RAW",
    "UPSTREAM_CONNECTION_ID",
    "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    "UPSTREAM_DETECTED_CLOSE_TYPE",
    "UPSTREAM_HEADER_BYTES_RECEIVED",
    "UPSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_HOST",
    "UPSTREAM_HOSTS_ATTEMPTED",
    "UPSTREAM_HOST_NAME",
    "UPSTREAM_HOST_NAME_WITHOUT_PORT",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_LOCAL_CLOSE_REASON",
    "UPSTREAM_LOCAL_DNS_SAN",
    "UPSTREAM_LOCAL_PORT",
    "UPSTREAM_LOCAL_SUBJECT",
    "UPSTREAM_LOCAL_URI_SAN",
    "UPSTREAM_METADATA",
    "UPSTREAM_PEER_CERT_V_END",
    "UPSTREAM_PEER_CERT_V_START",
    "UPSTREAM_PEER_DNS_SAN",
    "UPSTREAM_PEER_IP_SAN",
    "UPSTREAM_PEER_ISSUER",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_PEER_URI_SAN",
    "UPSTREAM_PROTOCOL",
    "UPSTREAM_REMOTE_ADDRESS",
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_REMOTE_PORT",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_SESSION_ID",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_WIRE_BYTES_SENT",
    "VIRTUAL_CLUSTER_NAME",
];
/// Reads a variable of the proxy's container, which may come from a Secret.
const ENVIRONMENT: &str = "ENVIRONMENT";
/// Takes the first of several operators that has a value; these are its arguments.
const COALESCE: &str = "COALESCE";
/// Operators whose arguments are names of headers.
const HEADER_OPERATORS: [&str; 4] = ["REQ", "REQ_WITHOUT_QUERY", "RESP", "TRAILER"];

/// Variables of the proxy's container that Istio sets and that say which pod it is.
pub(crate) const POD_VARIABLES: [&str; 11] = [
    "HOSTNAME",
    "HOST_IP",
    "INSTANCE_IP",
    "ISTIO_META_CLUSTER_ID",
    "ISTIO_META_MESH_ID",
    "ISTIO_META_NODE_NAME",
    "ISTIO_META_WORKLOAD_NAME",
    "NODE_NAME",
    "POD_NAME",
    "POD_NAMESPACE",
    "SERVICE_ACCOUNT",
];

/// Headers that hold credentials of users, or identities that others vouch for.
const CREDENTIAL_HEADERS: [&str; 5] =
    ["authorization", "cookie", "proxy-authorization", "set-cookie", "x-forwarded-client-cert"];

/// Why a format is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Error {
    /// It is too long.
    #[error("the format is longer than {MAX_FORMAT} bytes")]
    TooLong,
    /// It has unsafe characters.
    #[error("the format has control or invisible characters")]
    UnsafeCharacter,
    /// A percent sign does not begin an operator.
    #[error(
        "the format has a % that does not begin an operator such as %START_TIME%; write %% for a percent sign"
    )]
    Incomplete,
    /// An operator is not on the list.
    #[error("%{0}% is not one of the operators that are allowed")]
    Operator(String),
    /// A variable is not on the list.
    #[error("%ENVIRONMENT({0})% is not allowed: the variables that can be read are {names}", names = POD_VARIABLES.join(", "))]
    Variable(String),
    /// A header holds a credential.
    #[error("the header {0} cannot be read, because it can hold a credential")]
    CredentialHeader(String),
    /// An expression reads headers in another way than one by one.
    #[error("an expression can only read single headers, such as request.headers['x-request-id']")]
    Expression,
}

/// Checks a format. Line breaks and tabs are the only control characters that it may have.
///
/// # Errors
/// What is wrong with it, as a clause.
pub(crate) fn check(format: &str) -> Result<(), Error> {
    if format.len() > MAX_FORMAT {
        return Err(Error::TooLong);
    }
    if !is_plain_block(format) {
        return Err(Error::UnsafeCharacter);
    }
    let mut rest = format;
    while let Some((_, after)) = rest.split_once('%') {
        rest = match after.strip_prefix('%') {
            Some(literal) => literal,
            None => after_operator(after)?,
        };
    }
    Ok(())
}

/// Whether a header can hold a credential. Names of headers have no case.
pub(crate) fn is_credential_header(name: &str) -> bool {
    CREDENTIAL_HEADERS.iter().any(|credential| name.trim().eq_ignore_ascii_case(credential))
}

/// Checks an operator, and returns what follows it. Read as Envoy reads it: arguments end at the first parenthesis after
/// which the operator can end, too.
fn after_operator(text: &str) -> Result<&str, Error> {
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let end = text.find(|c| !is_name(c)).ok_or(Error::Incomplete)?;
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return Err(Error::Incomplete);
    }
    let (arguments, after) = match rest.strip_prefix('(') {
        Some(inside) => inside
            .match_indices(')')
            .find_map(|(end, _)| Some((Some(&inside[..end]), after_length(&inside[end + 1..])?)))
            .ok_or(Error::Incomplete)?,
        None => (None, after_length(rest).ok_or_else(|| Error::Operator(name.to_owned()))?),
    };
    check_operator(name, arguments)?;
    Ok(after)
}

fn check_operator(name: &str, arguments: Option<&str>) -> Result<(), Error> {
    match (name, arguments) {
        (ENVIRONMENT, Some(variable)) if POD_VARIABLES.contains(&variable) => Ok(()),
        (ENVIRONMENT, variable) => Err(Error::Variable(variable.unwrap_or_default().to_owned())),
        (COALESCE, Some(operators)) => check_coalesce(operators),
        (name, _) if !OPERATORS.contains(&name) => Err(Error::Operator(name.to_owned())),
        (name, Some(headers)) if HEADER_OPERATORS.contains(&name) => {
            match headers.split('?').find(|header| is_credential_header(header)) {
                Some(header) => Err(Error::CredentialHeader(header.trim().to_owned())),
                None => Ok(()),
            }
        }
        ("CEL", Some(expression)) => check_expression(expression),
        _ => Ok(()),
    }
}

/// Checks the operators among which `COALESCE` chooses: `{"operators": ["PROTOCOL", {"command": "REQ", "param": "x"}]}`.
fn check_coalesce(arguments: &str) -> Result<(), Error> {
    let unreadable = || Error::Operator(COALESCE.to_owned());
    let arguments: Value = serde_json::from_str(arguments).map_err(|_| unreadable())?;
    let operators = arguments.get("operators").and_then(Value::as_array).ok_or_else(unreadable)?;
    for operator in operators {
        let (command, parameter) = match operator {
            Value::String(command) => (command.as_str(), None),
            operator => (
                operator.get("command").and_then(Value::as_str).ok_or_else(unreadable)?,
                operator.get("param").and_then(Value::as_str),
            ),
        };
        if command == COALESCE {
            return Err(unreadable());
        }
        check_operator(command, parameter)?;
    }
    Ok(())
}

/// Checks an expression of CEL: a language in which names can be composed, so that headers are only accepted as literals.
fn check_expression(expression: &str) -> Result<(), Error> {
    for name in ["request", "response"] {
        for (at, _) in expression.match_indices(name) {
            let is_part_of_name = expression[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            if !is_part_of_name && !expression[at + name.len()..].starts_with(['.', '_']) {
                return Err(Error::Expression);
            }
        }
    }
    for name in ["headers", "trailers"] {
        for (at, _) in expression.match_indices(name) {
            check_literal_header(&expression[at + name.len()..])?;
        }
    }
    Ok(())
}

/// Checks what follows a map of headers: one literal name in brackets, with or without quotes.
fn check_literal_header(after: &str) -> Result<(), Error> {
    let inside = after.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(inside, _)| inside);
    let quoted = |text: &str| {
        ['\'', '"'].iter().find_map(|quote| Some(text.strip_prefix(*quote)?.strip_suffix(*quote)?.to_owned()))
    };
    let header =
        inside.map(|text| quoted(text).unwrap_or_else(|| text.to_owned())).ok_or(Error::Expression)?;
    let is_name = !header.is_empty()
        && header.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":_-".contains(&byte));
    match (is_name, is_credential_header(&header)) {
        (false, _) => Err(Error::Expression),
        (true, true) => Err(Error::CredentialHeader(header)),
        (true, false) => Ok(()),
    }
}

/// What follows the end of an operator, which may limit the length of its result: `%` or `:20%`.
fn after_length(text: &str) -> Option<&str> {
    let text =
        text.strip_prefix(':').map_or(text, |text| text.trim_start_matches(|c: char| c.is_ascii_digit()));
    text.strip_prefix('%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_shows_requests_and_no_files_secrets_or_credentials() {
        for (format, is_accepted) in [
            ("[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH):20%\"\n", true),
            ("%CEL(xds.listener_direction==1?\"inbound\":nil)%", true),
            ("%CEL(request.headers[X-FORWARDED-FOR])% %CEL(request.headers['x-a'])%", true),
            ("100%% of ABC", true),
            ("METHOD:%REQ(:METHOD)%SENT:%BYTES_SENT%", true),
            ("%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%", true),
            ("%UPSTREAM_WIRE_BYTES_SENT% %UPSTREAM_PEER_URI_SAN% %DOWNSTREAM_DIRECT_LOCAL_PORT%", true),
            ("%ENVIRONMENT(POD_NAME)%.%ENVIRONMENT(POD_NAMESPACE)%", true),
            (
                "%COALESCE({\"operators\": [{\"command\": \"REQ\", \"param\": \":authority\"}, \"PROTOCOL\"]})%",
                true,
            ),
            ("", true),
            ("%REQ(a)%ENVIRONMENT(HOME)%", false),
            ("%REQ(%ENVIRONMENT(HOME)", false),
            ("%FILE_CONTENT(/var/run/secrets/tokens/istio-token)%", false),
            ("%SECRET(x)%", false),
            ("%NOSUCH%", false),
            ("50% of it", false),
            ("%ENVIRONMENT(HOME)%", false),
            ("%ENVIRONMENT%", false),
            ("%%%ENVIRONMENT(HOME)%", false),
            ("%START_TIME%%ENVIRONMENT(HOME)%", false),
            ("%ENVIRONMENT:1(HOME)%", false),
            ("%COALESCE({\"operators\": [{\"command\": \"ENVIRONMENT\", \"param\": \"TOKEN\"}]})%", false),
            ("%COALESCE({\"operators\": [\"COALESCE\"]})%", false),
            ("%COALESCE(x)%", false),
            ("%REQ(Authorization)%", false),
            ("%REQ(x?COOKIE):20%", false),
            ("%RESP(set-cookie)%", false),
            ("%TRAILER(x-forwarded-client-cert)%", false),
            ("%CEL(request.headers['cookie'])%", false),
            ("%CEL(request.headers)%", false),
            ("%CEL(request.headers.cookie)%", false),
            ("%CEL(request.headers['coo' + 'kie'])%", false),
            ("%CEL(request['hea' + 'ders'])%", false),
            ("%CEL([request][0]['hea' + 'ders'])%", false),
            ("%CEL(response.trailers.map(x, x))%", false),
            ("a\u{1b}b", false),
            ("a\u{202e}b", false),
        ] {
            assert_eq!(check(format).is_ok(), is_accepted, "{format:?}: {:?}", check(format));
        }
        assert_eq!(check(&"x".repeat(MAX_FORMAT + 1)), Err(Error::TooLong));
    }

    #[test]
    fn an_error_names_the_operator() {
        let message = |format: &str| check(format).unwrap_err().to_string();
        assert!(message("a %FILE_CONTENT(/x)%").contains("%FILE_CONTENT%"));
        assert!(message("%ENVIRONMENT(TOKEN)%").contains("%ENVIRONMENT(TOKEN)%"));
        assert!(message("%REQ(Cookie)%").contains("Cookie"));
    }
}
