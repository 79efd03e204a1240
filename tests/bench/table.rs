//! The table of what was measured, for the terminal and for the documentation.

use std::fmt::{Display, Write as _};
use std::path::Path;

use super::Result;

/// One measured figure beside that of the Go operator and the bar that was set for this one.
pub struct Row {
    what: String,
    reference: &'static str,
    bar: &'static str,
    measured: String,
}

impl Row {
    pub fn new(
        what: impl Into<String>,
        reference: &'static str,
        bar: &'static str,
        measured: impl Display,
    ) -> Self {
        Self { what: what.into(), reference, bar, measured: measured.to_string() }
    }

    fn cells(&self) -> [&str; 4] {
        [&self.what, self.reference, self.bar, &self.measured]
    }
}

/// All rows.
#[derive(Default)]
pub struct Table(Vec<Row>);

const HEAD: [&str; 4] = ["what", "Go operator", "bar", "istio-manager"];

impl Table {
    pub fn push(&mut self, row: Row) {
        self.0.push(row);
    }

    pub fn print(&self) {
        println!("{}", self.text());
    }

    /// Writes the page `docs/<name>`.
    pub fn write(&self, name: &str) -> Result {
        let page = format!(
            "# Benchmarks\n\nWritten by `make bench`, `make bench-dataplane` or `make bench-large`: 2 cores, the release build, the control plane of the test bed on the same \
             machine.\nThe figures of the Go operator were measured once in the same way; they are not part of the run.\n\n{}",
            self.text()
        );
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name), page)?;
        Ok(())
    }

    fn text(&self) -> String {
        let rows = std::iter::once(HEAD).chain(self.0.iter().map(Row::cells));
        let mut widths = [0; 4];
        for cells in rows.clone() {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = cell.len().max(*width);
            }
        }
        let mut text = String::new();
        for (index, cells) in rows.enumerate() {
            for (cell, width) in cells.iter().zip(widths) {
                let _infallible = write!(text, "| {cell:width$} ");
            }
            text.push_str("|\n");
            if index == 0 {
                for width in widths {
                    let _infallible = write!(text, "|{}", "-".repeat(width + 2));
                }
                text.push_str("|\n");
            }
        }
        text
    }
}
