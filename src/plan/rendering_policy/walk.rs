//! Compares two values place by place, and collects where they differ although the place is closed.
//!
//! Pure. What is open, `fields.txt` says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::rules::{self, PathStep};
use super::{Cause, Findings};
use crate::text::escaped;

/// Deepest place that is compared.
const MAX_DEPTH: usize = 64;

/// Lists whose elements are identified by one of their fields (Kubernetes' and Istio's merge keys). Other lists are one
/// value.
const KEYS: [(&str, &str); 8] = [
    ("containers", "name"),
    ("env", "name"),
    ("ephemeralContainers", "name"),
    ("extensionProviders", "name"),
    ("imagePullSecrets", "name"),
    ("initContainers", "name"),
    ("volumeMounts", "mountPath"),
    ("volumes", "name"),
];
/// Lists whose order decides nothing.
const UNORDERED: [&str; 2] = ["env", "extensionProviders"];

/// One comparison.
pub(crate) struct Walk<'a, 'f> {
    /// The name under which `fields.txt` lists open places.
    pub subject: &'static str,
    /// What to show in front of a place: the text that it stands in, if it is not a field of the object.
    pub prefix: &'static str,
    pub findings: &'f mut Findings<'a>,
    steps: Vec<PathStep>,
}

impl<'a, 'f> Walk<'a, 'f> {
    pub fn new(subject: &'static str, prefix: &'static str, findings: &'f mut Findings<'a>) -> Self {
        Self { subject, prefix, findings, steps: Vec::new() }
    }

    /// Compares what stands at the current place; null is nothing.
    pub fn compare(&mut self, before: Option<&Value>, after: Option<&Value>) {
        let (before, after) =
            (before.filter(|value| !value.is_null()), after.filter(|value| !value.is_null()));
        if before == after || self.findings.is_full() {
            return;
        }
        if let Some(rule) = rules::find(self.subject, &self.steps) {
            let name = self.steps.last().map_or("", PathStep::name);
            if !rule.class.accepts_change(name, before, after) || (rule.new_only && before.is_some()) {
                self.add(Cause::ClosedValue);
            }
            return;
        }
        let is_open_below = rules::is_open_below(self.subject, &self.steps);
        match (before, after) {
            _ if self.steps.len() >= MAX_DEPTH => self.add(Cause::ClosedField),
            (Some(Value::Object(before)), Some(Value::Object(after))) => self.fields(before, after),
            (None, Some(Value::Object(after))) if is_open_below => self.fields(&Map::new(), after),
            (Some(Value::Object(before)), None) if is_open_below => self.fields(before, &Map::new()),
            (Some(Value::Array(before)), Some(Value::Array(after))) => self.list(before, after),
            (None, Some(Value::Array(after))) if is_open_below => self.list(&[], after),
            (Some(Value::Array(before)), None) if is_open_below => self.list(before, &[]),
            _ => self.add(Cause::ClosedField),
        }
    }

    fn fields(&mut self, before: &Map<String, Value>, after: &Map<String, Value>) {
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            self.step(PathStep::Field(name.clone()), before.get(name), after.get(name));
        }
    }

    fn list(&mut self, before: &[Value], after: &[Value]) {
        let Some((list, key)) = self.key() else { return self.add(Cause::ClosedField) };
        let (Some(old), Some(new)) = (names(before, key), names(after, key)) else {
            return self.add(Cause::ClosedField);
        };
        let (old_set, new_set): (BTreeSet<&str>, BTreeSet<&str>) =
            (old.iter().copied().collect(), new.iter().copied().collect());
        let is_kept = |name: &&&str| old_set.contains(**name) && new_set.contains(**name);
        if !UNORDERED.contains(&list) && !old.iter().filter(is_kept).eq(new.iter().filter(is_kept)) {
            self.add(Cause::ClosedField);
        }
        let mut elements: BTreeMap<&str, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
        for (name, item) in old.into_iter().zip(before) {
            elements.entry(name).or_default().0.push(item);
        }
        for (name, item) in new.into_iter().zip(after) {
            elements.entry(name).or_default().1.push(item);
        }
        for (name, (was, is)) in elements {
            self.element(name, &was, &is);
        }
    }

    /// Compares the elements of one name, of which there is at most one in a list that can be judged.
    fn element(&mut self, name: &str, before: &[&Value], after: &[&Value]) {
        if before == after {
            return;
        }
        self.steps.push(PathStep::Element(name.to_owned()));
        match (before, after) {
            ([before], [after]) => self.compare(Some(before), Some(after)),
            ([], [one]) => self.whole_element(None, Some(one)),
            ([one], []) => self.whole_element(Some(one), None),
            _ => self.add(Cause::Ambiguous),
        }
        self.steps.pop();
    }

    /// An element that appears or vanishes: what is open in it does not open it as a whole.
    fn whole_element(&mut self, before: Option<&Value>, after: Option<&Value>) {
        if rules::find(self.subject, &self.steps).is_some() {
            self.compare(before, after);
        } else {
            self.add(Cause::ClosedField);
        }
    }

    fn step(&mut self, step: PathStep, before: Option<&Value>, after: Option<&Value>) {
        self.steps.push(step);
        self.compare(before, after);
        self.steps.pop();
    }

    /// The list at the current place with the field that tells its elements apart.
    fn key(&self) -> Option<(&'static str, &'static str)> {
        let Some(PathStep::Field(name)) = self.steps.last() else { return None };
        KEYS.into_iter().find(|(list, _)| list == name)
    }

    fn add(&mut self, cause: Cause) {
        let path = shown(self.prefix, &self.steps);
        self.findings.add(path, cause);
    }
}

/// The names of elements; `None` if one has none.
fn names<'v>(items: &'v [Value], key: &str) -> Option<Vec<&'v str>> {
    items.iter().map(|item| item.get(key)?.as_str()).collect()
}

/// A place as people write it, with all names that an author may choose escaped.
fn shown(prefix: &str, steps: &[PathStep]) -> String {
    /// Longest name that is shown in full, in characters.
    const LONGEST: usize = 80;
    let mut path = prefix.to_owned();
    for step in steps {
        let name = step.name();
        let short = escaped(name, LONGEST);
        let is_plain =
            name.len() <= LONGEST && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let separator = if path.is_empty() || path.ends_with(": ") { "" } else { "." };
        // Writing to a text does not fail.
        let _ = match step {
            PathStep::Field(_) if is_plain => write!(path, "{separator}{short}"),
            _ => write!(path, "[{short}]"),
        };
    }
    path
}
