//! Which values of Istio's charts the author of an `Istio` resource may set in restricted mode: an allow-list, which is data
//! (`allowed_values.txt`). `closed_values.txt` has the values that were reviewed and are not on it, with the reasons.
//!
//! Pure. The check walks the values and the tree of the list together, so it never goes deeper than the list, and its time
//! is linear in the size of the values.

mod closed;
mod kind;
mod structures;
mod texts;
mod tree;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(in crate::plan) use tests::samples;

use serde_json::{Map, Value};

use self::kind::ValueKind;
use self::structures::StructureKind;
use self::tree::{Node, NodeLookup, TREE};
use crate::validate::Problem;

/// Most characters of a name or value in a message.
const MAX_SHOWN: usize = 80;

/// Who sets values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// The author of an `Istio` resource, in restricted mode.
    RestrictedAuthor,
    /// The author of an `Istio` resource, in unrestricted mode.
    UnrestrictedAuthor,
    /// The operator's administrator.
    Administrator,
}

impl Audience {
    /// What stands before the path of a value in messages.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::RestrictedAuthor | Self::UnrestrictedAuthor => "spec.values.",
            Self::Administrator => "--values-file: ",
        }
    }
}

/// What `audience` may not set of `values`.
pub(super) fn check(values: &Map<String, Value>, audience: Audience) -> Vec<Problem> {
    let mut check = AllowListCheck { audience, problems: Vec::new() };
    check.map(&TREE, "", values);
    check.problems
}

/// Whether a refusal of the list says only that the list does not have the value.
pub(super) fn is_unreviewed(problem: &Problem) -> bool {
    problem.message == closed::not_listed()
}

struct AllowListCheck {
    audience: Audience,
    problems: Vec<Problem>,
}

impl AllowListCheck {
    fn map(&mut self, node: &Node, path: &str, map: &Map<String, Value>) {
        for (name, value) in map {
            match node.find(name) {
                NodeLookup::Node(node) => self.value(node, &join(path, name), value),
                NodeLookup::Closed(closed) if closed.applies_to(self.audience) => {
                    self.add(&join(path, name), closed.message());
                }
                NodeLookup::Unknown if self.audience == Audience::RestrictedAuthor => {
                    self.add(&join(path, name), closed::not_listed());
                }
                NodeLookup::Closed(_) | NodeLookup::Unknown => {}
            }
        }
    }

    fn value(&mut self, node: &Node, path: &str, value: &Value) {
        let is_restricted = self.audience == Audience::RestrictedAuthor;
        match (value, &node.kind) {
            (value, _) if self.is_closed(node, value) => {
                let message = node.closed.map_or_else(closed::not_listed, closed::Closed::message);
                self.add(path, message);
            }
            (Value::Object(map), None) if node.is_section() => self.map(node, path, map),
            (Value::Array(items), None) if node.items.is_some() => self.items(node, path, items),
            _ if !is_restricted => {}
            (Value::Null, kind) => {
                if kind.is_none() && node.items.is_none() && !node.is_removable {
                    self.add(path, closed::not_removable());
                }
            }
            (value, Some(kind)) if kind.accepts(value) => {}
            (Value::Object(map), Some(ValueKind::Structure(kind))) if kind.is_by_entry => {
                self.entries(kind, path, map);
            }
            (value, kind) => {
                let wanted = kind.as_ref().map_or_else(|| expected(node), ValueKind::to_string);
                self.add(path, format!("{} is not accepted: must be {wanted}", shown(value)));
            }
        }
    }

    /// Whether the value as a whole is closed: not where a map holds names of which some may be allowed.
    fn is_closed(&self, node: &Node, value: &Value) -> bool {
        let applies = node.closed.is_some_and(|closed| closed.applies_to(self.audience));
        applies && !(value.is_object() && node.is_section())
    }

    fn items(&mut self, node: &Node, path: &str, items: &[Value]) {
        let Some(of_items) = &node.items else { return };
        for (index, item) in items.iter().enumerate() {
            self.value(of_items, &format!("{path}[{index}]"), item);
        }
    }

    /// The entries of a map that are not accepted.
    fn entries(&mut self, kind: &StructureKind, path: &str, map: &Map<String, Value>) {
        for (name, value) in map {
            let alone = Value::Object(Map::from_iter([(name.clone(), value.clone())]));
            if !kind.accepts(&alone) {
                self.add(&join(path, name), format!("not accepted: must be {}", kind.description));
            }
        }
    }

    fn add(&mut self, path: &str, message: String) {
        self.problems.push(Problem::warning(format!("{}{path}", self.audience.prefix()), message));
    }
}

/// What a section or list wants.
fn expected(node: &Node) -> String {
    if node.items.is_some() { "a list".to_owned() } else { "a map".to_owned() }
}

fn join(path: &str, name: &str) -> String {
    let name = shortened(name, MAX_SHOWN);
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// A value as a message shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{}\"", shortened(text, MAX_SHOWN)),
        Value::Array(_) => "this list".to_owned(),
        Value::Object(_) => "this map".to_owned(),
        value => value.to_string(),
    }
}

/// At most `most` characters of a text, control characters escaped.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for c in text.chars().take(most) {
        if texts::is_printable_character(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_unicode());
        }
    }
    if text.chars().nth(most).is_some() {
        shown.push('…');
    }
    shown
}
