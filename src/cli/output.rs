//! Standard output of all commands.

use std::io::{self, IsTerminal, Write};

use super::error::CliError;

/// Prints to standard output. A reader that has closed it, such as `head`, is not an error.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    ignore_closed_pipe(io::stdout().write_all(text.as_bytes()))
}

/// Prints a text and the end of a line.
pub(super) fn print_line(text: &str) -> Result<(), CliError> {
    ignore_closed_pipe(writeln!(io::stdout(), "{}", text.trim_end()))
}

fn ignore_closed_pipe(written: io::Result<()>) -> Result<(), CliError> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Print(error)),
        _ => Ok(()),
    }
}

/// Whether to color standard output: on a terminal that supports it, unless the user has switched colors off.
pub(super) fn is_colored() -> bool {
    supports_colors(io::stdout().is_terminal(), |name| std::env::var(name).ok())
}

/// See <https://no-color.org>.
fn supports_colors(is_terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    is_terminal
        && variable("NO_COLOR").is_none_or(|value| value.is_empty())
        && variable("TERM").is_none_or(|terminal| terminal != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_need_a_terminal_that_supports_them_and_a_user_who_allows_them() {
        for (is_terminal, no_color, term, expected) in [
            (true, None, Some("xterm"), true),
            (true, None, None, true),
            (true, Some(""), Some("xterm"), true),
            (true, Some("1"), Some("xterm"), false),
            (true, None, Some("dumb"), false),
            (false, None, Some("xterm"), false),
        ] {
            let variable = |name: &str| match name {
                "NO_COLOR" => no_color.map(str::to_owned),
                _ => term.map(str::to_owned),
            };
            assert_eq!(
                supports_colors(is_terminal, variable),
                expected,
                "{is_terminal} {no_color:?} {term:?}"
            );
        }
    }
}
