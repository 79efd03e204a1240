//! Translates command lines of the Go operator for clap: Go also accepts long flags with one dash, and the Go operator has
//! no subcommands.

use std::ffi::{OsStr, OsString};

/// The subcommand of a command line that names none.
const DEFAULT_SUBCOMMAND: &str = "run";

/// Rewrites the arguments (without the program's name): a known long flag with one dash gets a second one, and `run` is
/// prepended unless the first argument is one of `subcommands` or requests help or the version.
///
/// `flags` are the names of all long flags, without dashes. Arguments after `--` are not changed.
pub(super) fn normalize(
    arguments: impl IntoIterator<Item = OsString>,
    subcommands: &[&str],
    flags: &[&str],
) -> Vec<OsString> {
    let mut literal = false;
    let mut normalized: Vec<OsString> = arguments
        .into_iter()
        .map(|argument| {
            literal |= argument == "--";
            if literal { argument } else { with_two_dashes(argument, flags) }
        })
        .collect();
    if !names_a_command(normalized.first().map(OsString::as_os_str), subcommands) {
        normalized.insert(0, DEFAULT_SUBCOMMAND.into());
    }
    normalized
}

fn names_a_command(first: Option<&OsStr>, subcommands: &[&str]) -> bool {
    let about_the_program = ["-h", "--help", "-V", "--version", "help"];
    first
        .and_then(OsStr::to_str)
        .is_some_and(|first| about_the_program.contains(&first) || subcommands.contains(&first))
}

fn with_two_dashes(argument: OsString, flags: &[&str]) -> OsString {
    let Some(text) = argument.to_str() else { return argument };
    let Some(flag) = text.strip_prefix('-') else { return argument };
    let name = flag.split_once('=').map_or(flag, |(name, _)| name);
    if flags.contains(&name) { format!("--{flag}").into() } else { argument }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(line: &str) -> String {
        let arguments = line.split_whitespace().map(OsString::from);
        let flags = ["leader-elect", "zap-log-level", "kubeconfig", "filename", "help"];
        let result = normalize(arguments, &["run", "render", "crd", "version"], &flags);
        result.iter().map(|argument| argument.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn command_lines_of_a_go_operator_are_understood() {
        for (line, expected) in [
            ("", "run"),
            ("-leader-elect", "run --leader-elect"),
            ("--leader-elect -zap-log-level=info", "run --leader-elect --zap-log-level=info"),
            ("-kubeconfig /a/b", "run --kubeconfig /a/b"),
            ("run -leader-elect=false", "run --leader-elect=false"),
            ("-help", "--help"),
        ] {
            assert_eq!(normalized(line), expected, "{line}");
        }
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for line in ["render -f cr.yaml", "render -fcr.yaml", "--help", "-h", "--version", "help run", "crd"]
        {
            assert_eq!(normalized(line), line);
        }
        assert_eq!(normalized("run -- -leader-elect"), "run -- -leader-elect");
        assert_eq!(normalized("-unknown"), "run -unknown");
    }
}
