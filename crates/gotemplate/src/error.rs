//! Errors of templates, with their place.

use std::fmt;

/// Why a template cannot be parsed or executed, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Name of the template's file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The expression that fails; empty when the text is no template.
    pub expression: String,
    /// What is wrong.
    pub message: String,
    /// The line of the source, for [`Error::pretty`].
    source_line: String,
}

impl Error {
    /// An error at a byte offset of a source.
    pub(crate) fn at(
        file: &str,
        source: &str,
        offset: usize,
        expression: &str,
        message: impl Into<String>,
    ) -> Self {
        let before = source.get(..offset).unwrap_or(source);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let source_line = source.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.get(start..).map_or(0, |text| text.chars().count()) + 1,
            expression: expression.to_owned(),
            message: message.into(),
            source_line: source_line.to_owned(),
        }
    }

    /// The message with the line of the source below it and a caret under the place.
    #[must_use]
    pub fn pretty(&self) -> String {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        // Tabs are kept so that the caret stands below its place whatever a tab's width.
        let indent: String = self
            .source_line
            .chars()
            .take(self.column - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        format!("{self}\n{margin} |\n{number} | {}\n{margin} | {indent}^", self.source_line)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.expression.is_empty() {
            write!(f, "at <{}>: ", self.expression)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_its_line_and_place() {
        let error = Error::at("a.yaml", "x: 1\ny: {{ .a.b }}\n", 13, ".a.b", "nil pointer evaluating .b");
        assert_eq!(
            error.pretty(),
            "a.yaml:2:9: at <.a.b>: nil pointer evaluating .b\n  |\n2 | y: {{ .a.b }}\n  |         ^"
        );
    }
}
