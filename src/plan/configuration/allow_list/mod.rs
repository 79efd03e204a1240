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
pub(in crate::plan) use tests::{is_closed_to_authors, samples};

use serde_json::{Map, Value};

use self::closed::Closed;
use self::kind::ValueKind;
use self::structures::StructureKind;
use self::tree::{Node, NodeLookup, TREE};
use crate::text::escaped;
use crate::validate::{Problem, Remedy};

/// Most characters of a name or value in a message.
const MAX_SHOWN: usize = 80;
/// Most entries of a map whose names the author chooses, such as gateway classes: each can become an object.
const MAX_CHOSEN_NAMES: usize = 32;

/// Who sets values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// The author of an `Istio` resource, in restricted mode.
    RestrictedAuthor,
    /// The author of an `Istio` resource, in unrestricted mode.
    UnrestrictedAuthor,
    /// The administrator of the operator.
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

/// Why a value is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cause {
    /// It was reviewed and is closed.
    Closed(Closed),
    /// It is not on the list.
    NotListed,
    /// Null would remove settings that must stay.
    NotRemovable,
    /// There are too many entries.
    TooMany,
    /// It is not what the list accepts at its place. The text says what is wrong.
    Kind { message: String, is_type: bool },
}

/// A value that the list refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The names that lead to the value; `None` where it is below a list.
    pub path: Option<Vec<String>>,
    shown_path: String,
    cause: Cause,
}

impl Refusal {
    /// Whether the refusal says only that the list does not have the value.
    pub fn is_unreviewed(&self) -> bool {
        self.cause == Cause::NotListed
    }

    /// The refusal for the author.
    pub fn into_problem(self, audience: Audience) -> Problem {
        let message = match &self.cause {
            Cause::Closed(closed) => closed.message(),
            Cause::NotListed => {
                "not allowed: it is not on the list of values that authors of Istio resources may set".to_owned()
            }
            Cause::NotRemovable => {
                "null is not allowed here: it would remove settings that authors of Istio resources may not change"
                    .to_owned()
            }
            Cause::TooMany => format!("not allowed: a resource can have at most {MAX_CHOSEN_NAMES} of these"),
            Cause::Kind { message, .. } => message.clone(),
        };
        let problem = Problem::warning(format!("{}{}", audience.prefix(), self.shown_path), message);
        let is_limit_of_list = match self.cause {
            Cause::Closed(closed) => closed.is_for_administrators(),
            Cause::NotListed | Cause::NotRemovable | Cause::TooMany => true,
            Cause::Kind { is_type, .. } => is_type,
        };
        let is_restricted = audience == Audience::RestrictedAuthor;
        if is_restricted && is_limit_of_list {
            problem.with_remedy(Remedy::AdministratorValues)
        } else {
            problem
        }
    }
}

/// What `audience` may not set of `values`.
pub(super) fn check(values: &Map<String, Value>, audience: Audience) -> Vec<Refusal> {
    let mut check = AllowListCheck { audience, refusals: Vec::new() };
    check.map(&TREE, &Place::default(), values);
    check.refusals
}

/// Whether `path` is closed to authors, so that nobody should be advised to use it.
pub(super) fn is_closed(path: &str) -> bool {
    let mut node: &Node = &TREE;
    for name in path.split('.') {
        match node.find(name) {
            NodeLookup::Node(next) => node = next,
            NodeLookup::Closed(_) => return true,
            NodeLookup::Unknown => return false,
        }
    }
    node.closed.is_some() && node.kind.is_none()
}

/// Where a value stands.
#[derive(Clone, Debug, Default)]
struct Place {
    names: Vec<String>,
    shown: String,
    is_in_list: bool,
}

impl Place {
    fn below(&self, name: &str) -> Self {
        let short = escaped(name, MAX_SHOWN);
        let shown = if self.shown.is_empty() { short } else { format!("{}.{short}", self.shown) };
        let names = self.names.iter().cloned().chain([name.to_owned()]).collect();
        Self { names, shown, ..*self }
    }

    fn item(&self, index: usize) -> Self {
        Self { names: Vec::new(), shown: format!("{}[{index}]", self.shown), is_in_list: true }
    }
}

struct AllowListCheck {
    audience: Audience,
    refusals: Vec<Refusal>,
}

impl AllowListCheck {
    fn is_restricted(&self) -> bool {
        self.audience == Audience::RestrictedAuthor
    }

    fn map(&mut self, node: &Node, place: &Place, map: &Map<String, Value>) {
        if self.is_restricted() && node.has_chosen_names() && map.len() > MAX_CHOSEN_NAMES {
            return self.add(place, Cause::TooMany);
        }
        for (name, value) in map {
            let place = place.below(name);
            match node.find(name) {
                NodeLookup::Node(node) => self.value(node, &place, value),
                NodeLookup::Closed(closed) if closed.applies_to(self.audience) => {
                    self.add(&place, Cause::Closed(closed));
                }
                NodeLookup::Unknown if self.is_restricted() => self.add(&place, Cause::NotListed),
                NodeLookup::Closed(_) | NodeLookup::Unknown => {}
            }
        }
    }

    fn value(&mut self, node: &Node, place: &Place, value: &Value) {
        match (value, &node.kind) {
            (value, _) if self.is_closed(node, value) => {
                self.add(place, node.closed.map_or(Cause::NotListed, Cause::Closed));
            }
            (Value::Object(map), None) if node.is_section() => self.map(node, place, map),
            (Value::Array(items), None) if node.items.is_some() => self.items(node, place, items),
            _ if !self.is_restricted() => {}
            (Value::Null, _) if node.is_removable() => {}
            (Value::Null, _) => self.add(place, Cause::NotRemovable),
            (value, Some(kind)) if kind.accepts(value) => {}
            (Value::Object(map), Some(ValueKind::Structure(kind))) if kind.is_by_entry => {
                self.entries(kind, place, map);
            }
            (value, Some(kind)) => {
                let message = format!("{} is not accepted: {}", shown(value), kind.explain(value));
                self.add(place, Cause::Kind { message, is_type: kind.is_type_of(value) });
            }
            (value, None) => {
                let wanted = if node.items.is_some() { "a list" } else { "a map" };
                let message = format!("{} is not accepted: must be {wanted}", shown(value));
                self.add(place, Cause::Kind { message, is_type: false });
            }
        }
    }

    /// Whether the value as a whole is closed: not where a map holds names of which some may be allowed.
    fn is_closed(&self, node: &Node, value: &Value) -> bool {
        let applies = node.closed.is_some_and(|closed| closed.applies_to(self.audience));
        applies && !(value.is_object() && node.is_section())
    }

    fn items(&mut self, node: &Node, place: &Place, items: &[Value]) {
        let Some(of_items) = &node.items else { return };
        for (index, item) in items.iter().enumerate() {
            self.value(of_items, &place.item(index), item);
        }
    }

    /// The entries of a map that are not accepted.
    fn entries(&mut self, kind: &StructureKind, place: &Place, map: &Map<String, Value>) {
        for (name, value) in map {
            if let Err(reason) = kind.check(&Value::Object(Map::from_iter([(name.clone(), value.clone())]))) {
                let message = format!("not accepted: {reason}");
                self.add(&place.below(name), Cause::Kind { message, is_type: true });
            }
        }
    }

    fn add(&mut self, place: &Place, cause: Cause) {
        let path = (!place.is_in_list).then(|| place.names.clone());
        self.refusals.push(Refusal { path, shown_path: place.shown.clone(), cause });
    }
}

/// A value as a message shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{}\"", escaped(text, MAX_SHOWN)),
        Value::Array(_) => "this list".to_owned(),
        Value::Object(_) => "this map".to_owned(),
        value => value.to_string(),
    }
}
