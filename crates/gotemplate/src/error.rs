//! Errors of templates, with their place.

use std::fmt;

/// What kind of problem an [`Error`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The source is not a template.
    Syntax,
    /// The source calls a function that does not exist.
    UnknownFunction,
    /// A template calls a function that [`Limits`](crate::Limits) or the cargo features of this crate exclude.
    DisabledFunction,
    /// A template calls a template that does not exist.
    UnknownTemplate,
    /// A map does not have a key, with [`MissingKey::Error`](crate::MissingKey::Error).
    MissingKey,
    /// A value is not what an action needs: a field of nil, a loop over text, an argument of the wrong type.
    Evaluation,
    /// A function failed.
    Call,
    /// The template refused its input with `fail` or `required`.
    Rejected,
    /// The execution exceeds one of its [`Limits`](crate::Limits), or a bound that Go or Helm has.
    LimitExceeded,
    /// The output is not UTF-8.
    Output,
}

/// Why a template cannot be parsed or executed, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    file: String,
    line: usize,
    column: usize,
    expression: String,
    message: String,
    /// The line of the source, for [`Error::pretty`].
    source_line: String,
}

impl Error {
    /// What kind of problem it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Name of the template's file.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Line, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// Column in characters, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.column
    }

    /// The expression that fails; empty when the source is not a template.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The message without the place.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn with_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// An error of syntax at a byte offset of a source.
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
            kind: ErrorKind::Syntax,
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
