//! The output of a chart's templates, as text and as objects.
//!
//! Reads text that is already rendered; knows nothing of templates.

use super::RenderError;
use crate::yaml;
use serde_json::Value;
use std::collections::BTreeMap;

/// What the templates of a chart printed.
#[derive(Debug, Clone)]
pub struct Rendering {
    chart: String,
    /// Text by path in the chart.
    files: BTreeMap<String, String>,
}

impl Rendering {
    pub(super) fn new(chart: String, files: BTreeMap<String, String>) -> Self {
        Self { chart, files }
    }

    /// The text of NOTES.txt; empty without one.
    #[must_use]
    pub fn notes(&self) -> &str {
        self.files.iter().find(|(path, _)| path.ends_with("NOTES.txt")).map_or("", |(_, text)| text)
    }

    /// The Kubernetes objects, by file name and then in the order of the file. Documents without a kind, such as those
    /// of comments only, are none.
    pub fn objects(&self) -> Result<Vec<Value>, RenderError> {
        let mut objects = Vec::new();
        for (path, text) in self.files.iter().filter(|(path, _)| !is_notes(path)) {
            for (line, document) in documents(text) {
                let object = yaml::parse(document).map_err(|source| RenderError::Output {
                    file: format!("{}/{path}", self.chart),
                    line,
                    source,
                })?;
                if object.get("kind").is_some_and(|kind| kind != "") {
                    objects.push(object);
                }
            }
        }
        Ok(objects)
    }
}

/// The documents of a text with the number of their first line. They are separated by lines that start with `---`.
fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut first_line, mut at) = (0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if line.starts_with("---") {
            documents.push((first_line, &text[start..at]));
            start = at + line.len();
            first_line = index + 2;
        }
        at += line.len();
    }
    documents.push((first_line, &text[start..]));
    documents.retain(|(_, document)| !document.trim().is_empty());
    documents
}

/// Notes are for people; Helm knows them by this ending, in lower case only.
fn is_notes(path: &str) -> bool {
    path.strip_suffix(".txt").is_some()
}

#[cfg(test)]
mod tests {
    use super::{Rendering, documents};
    use serde_json::json;

    fn rendering(files: &[(&str, &str)]) -> Rendering {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        Rendering::new("chart".to_owned(), files)
    }

    #[test]
    fn documents_know_their_first_line() {
        let cases = [
            ("a\n---\nb\n", vec![(1, "a\n"), (3, "b\n")]),
            ("---\n\n---\nb\n---", vec![(4, "b\n")]),
            ("\n\n", vec![]),
        ];
        for (text, expected) in cases {
            assert_eq!(documents(text), expected, "{text:?}");
        }
    }

    #[test]
    fn objects_come_in_the_order_of_files_and_notes_are_no_objects() {
        let rendering = rendering(&[
            ("templates/b.yaml", "kind: B\n"),
            ("templates/a.yaml", "# nothing\n---\nkind: A1\n---\nkind: A2\n---\nother: 1\n"),
            ("templates/NOTES.txt", "kind: N\n"),
        ]);
        assert_eq!(
            rendering.objects().unwrap(),
            [json!({"kind": "A1"}), json!({"kind": "A2"}), json!({"kind": "B"})]
        );
        assert_eq!(rendering.notes(), "kind: N\n");
    }

    #[test]
    fn output_that_is_no_yaml_is_named_with_its_line() {
        let error = rendering(&[("templates/a.yaml", "kind: A\n---\nkind: [\n")]).objects().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the output of 'chart/templates/a.yaml' from line 3 on is no valid YAML"
        );
    }
}
