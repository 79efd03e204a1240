//! Access log formats. Envoy replaces `%NAME(…)%` in them by what the name stands for, and some names stand for files
//! and credentials of the proxy.

/// Longest format, in bytes.
const MAX_FORMAT: usize = 32 * 1024;

/// Operators that describe the request, the connection or the time. Those that read files, secrets or the environment of
/// the proxy are not among them.
const OPERATORS: [&str; 96] = [
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
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_PORT",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_CERT_V_END",
    "DOWNSTREAM_PEER_CERT_V_START",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
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
    "UPSTREAM_HOST",
    "UPSTREAM_HOST_NAME",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_PROTOCOL",
    "UPSTREAM_REMOTE_ADDRESS",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "VIRTUAL_CLUSTER_NAME",
];

/// Whether a format only has operators of the list. Line breaks and tabs are the only control characters in it.
pub(crate) fn is_harmless(format: &str) -> bool {
    let is_control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if format.len() > MAX_FORMAT || format.contains(is_control) {
        return false;
    }
    let mut rest = format;
    while let Some((_, after)) = rest.split_once('%') {
        let end = match after.strip_prefix('%') {
            Some(literal) => Some(literal),
            None => after_operator(after),
        };
        let Some(end) = end else { return false };
        rest = end;
    }
    true
}

/// What follows an operator of the list; `None` if it is no such operator. Read as Envoy reads it: arguments end at the
/// first parenthesis after which the operator can end, too.
fn after_operator(text: &str) -> Option<&str> {
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let (name, rest) = text.split_at(text.find(|c| !is_name(c))?);
    if !OPERATORS.contains(&name) {
        return None;
    }
    match rest.strip_prefix('(') {
        Some(arguments) => {
            arguments.match_indices(')').find_map(|(end, _)| after_length(&arguments[end + 1..]))
        }
        None => after_length(rest),
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
    fn a_format_shows_requests_and_no_files_secrets_or_variables() {
        for (format, is_open) in [
            ("[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH):20%\"\n", true),
            ("%CEL(xds.listener_direction==1?\"inbound\":nil)%", true),
            ("100%% of ABC", true),
            ("METHOD:%REQ(:METHOD)%SENT:%BYTES_SENT%", true),
            ("%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%", true),
            ("%REQ(a)%ENVIRONMENT(HOME)%", false),
            ("%REQ(%ENVIRONMENT(HOME)", false),
            ("", true),
            ("%FILE_CONTENT(/var/run/secrets/tokens/istio-token)%", false),
            ("%SECRET(x)%", false),
            ("%ENVIRONMENT(HOME)%", false),
            ("%%%ENVIRONMENT(HOME)%", false),
            ("%START_TIME%%ENVIRONMENT(HOME)%", false),
            ("%ENVIRONMENT:1(HOME)%", false),
            ("a\u{1b}b", false),
        ] {
            assert_eq!(is_harmless(format), is_open, "{format:?}");
        }
        assert!(!is_harmless(&"x".repeat(MAX_FORMAT + 1)));
    }
}
