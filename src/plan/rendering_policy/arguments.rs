//! Which arguments of Istio's programs are open: what is logged, and nothing else.
//!
//! Pure. Compares lists of arguments, because a flag and its value can be two of them.

use serde_json::Value;

use crate::text::is_plain;

/// Flags that are open, written as `--flag=value`.
const LOGGING: [&str; 3] = ["--log_output_level", "--proxyComponentLogLevel", "--proxyLogLevel"];
/// Switches that are open, written without a value.
const SWITCHES: [&str; 1] = ["--log_as_json"];
/// Flags that are open and stand apart from their value, which is a duration.
const DURATIONS: [&str; 1] = ["--keepaliveMaxServerConnectionAge"];

/// Whether two lists of arguments are the same but for open flags.
pub(crate) fn differ_in_logging_only(before: &Value, after: &Value) -> bool {
    match (closed(before), closed(after)) {
        (Some(before), Some(after)) => before == after,
        _ => false,
    }
}

/// The arguments that must not differ. `None` if they cannot be judged.
///
/// An open flag right behind a flag without a value would be taken for the value of that one.
fn closed(arguments: &Value) -> Option<Vec<&str>> {
    let arguments: Vec<&str> = arguments.as_array()?.iter().map(Value::as_str).collect::<Option<_>>()?;
    let mut closed = Vec::with_capacity(arguments.len());
    let mut previous = "";
    for &argument in &arguments {
        let takes_value =
            previous.starts_with('-') && !previous.contains('=') && !SWITCHES.contains(&previous);
        match argument {
            value if DURATIONS.contains(&previous) && is_duration(value) => {}
            flag if is_open(flag) && !takes_value => {}
            other => closed.push(other),
        }
        previous = argument;
    }
    Some(closed)
}

fn is_open(argument: &str) -> bool {
    let is_level = |c: char| c.is_ascii_alphanumeric() || "-_.:,".contains(c);
    SWITCHES.contains(&argument)
        || argument.split_once('=').is_some_and(|(flag, value)| {
            LOGGING.contains(&flag) && is_plain(value) && value.chars().all(is_level)
        })
}

fn is_duration(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_digit() || ".hmsun".contains(c);
    text.len() <= 32 && text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(is_part)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_logged_may_differ() {
        let age = "--keepaliveMaxServerConnectionAge";
        let before =
            json!(["discovery", "--log_output_level=default:info", "--domain", "cluster.local", age, "30m"]);
        for (after, is_open) in [
            (
                json!(["discovery", "--log_output_level=ads:debug", "--domain", "cluster.local", age, "30m"]),
                true,
            ),
            (json!(["discovery", "--log_as_json", "--domain", "cluster.local", age, "1h30m"]), true),
            (json!(["discovery", "--domain", "cluster.local", age, "30m"]), true),
            (json!(["discovery", "--domain", "evil.local", age, "30m"]), false),
            (json!(["discovery", "--domain", "cluster.local", age, "30m", "--meshConfig=/x"]), false),
            (json!(["discovery", "--domain", "cluster.local", age, "--meshConfig=/x"]), false),
            (json!(["discovery", "--domain", "--log_output_level=x", "cluster.local", age, "30m"]), false),
            (json!(["discovery", "--domain", "--log_as_json", "cluster.local", age, "30m"]), false),
            (json!(["discovery", "--log_output_level=a b", "--domain", "cluster.local", age, "30m"]), false),
            (json!(["discovery", "--log_target=/x", "--domain", "cluster.local", age, "30m"]), false),
            (json!(["--domain", "cluster.local", "discovery", age, "30m"]), false),
            (json!(["discovery", 1, "--domain", "cluster.local", age, "30m"]), false),
            (json!("discovery"), false),
        ] {
            assert_eq!(differ_in_logging_only(&before, &after), is_open, "{after}");
        }
    }
}
