//! The rendering policy: what values and patches of authors may change, found by comparing the rendered objects with and
//! without them.
//!
//! Pure. It compares results, not names of values, so that no way to the same result is overlooked, and it does not know which
//! values are allowed. `fields.txt` lists the places that may differ; everything else is closed.

mod arguments;
mod gateway_policy;
mod identities;
mod names;
pub(super) mod rules;
mod subject;
mod telemetry;
mod texts;
mod values;
mod walk;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

pub use self::identities::everything_switched_on;
use self::subject::PolicySubject;
use self::walk::Walk;
use crate::kubernetes::object::ObjectId;

/// Most violations that are collected.
const MAX_VIOLATIONS: usize = 200;
/// Most classes of gateways that an author may add: each is an object.
const MAX_GATEWAY_CLASSES: usize = 32;

/// Kinds that are rendered as the charts have them or not at all, and what they are.
const FROZEN_KINDS: [(&str, &str); 11] = [
    ("ClusterRole", "a permission"),
    ("ClusterRoleBinding", "a permission"),
    ("CustomResourceDefinition", "a CRD"),
    ("MutatingWebhookConfiguration", "a webhook"),
    ("Namespace", "a namespace"),
    ("Role", "a permission"),
    ("RoleBinding", "a permission"),
    ("ServiceAccount", "a service account"),
    ("ValidatingAdmissionPolicy", "a permission"),
    ("ValidatingAdmissionPolicyBinding", "a permission"),
    ("ValidatingWebhookConfiguration", "a webhook"),
];

/// Why a difference is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The object is new.
    Appears,
    /// The object is gone.
    Vanishes,
    /// The object is there more or less often than without the author's values.
    Repeated,
    /// The object is of a kind that stays as it is.
    Frozen(&'static str),
    /// The field is closed.
    ClosedField,
    /// The field is open, but not for this value.
    ClosedValue,
    /// Several elements of a list have the same name.
    Ambiguous,
    /// A text cannot be read, or is too long.
    Unreadable,
    /// There are too many objects of this kind.
    TooMany,
}

/// A difference that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The object.
    pub object: ObjectId,
    /// Where in the object; empty for the object as a whole.
    pub path: String,
    /// Why.
    pub cause: Cause,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.object)?;
        if !self.path.is_empty() {
            write!(f, " at {}", self.path)?;
        }
        f.write_str(": ")?;
        match self.cause {
            Cause::Appears => f.write_str("an object that the charts do not have cannot be added"),
            Cause::Vanishes => f.write_str("an object that Istio needs cannot be removed"),
            Cause::TooMany => write!(f, "there can be at most {MAX_GATEWAY_CLASSES} gateway classes"),
            Cause::Repeated => f.write_str("an object cannot be rendered more than once"),
            Cause::Frozen(what) => write!(f, "{what} cannot be changed"),
            Cause::ClosedField => f.write_str("this field cannot be changed"),
            Cause::ClosedValue => f.write_str("this field cannot be set to this value"),
            Cause::Ambiguous => f.write_str("several elements of a list have the same name"),
            Cause::Unreadable => f.write_str("this text cannot be read, or is too long"),
        }
    }
}

/// The rendering without an author's values, and what is needed to check one with them.
pub struct RenderingPolicy<'a> {
    /// The objects without the author's values.
    pub before: Vec<(ObjectId, Value)>,
    /// The objects with [`everything_switched_on`] instead of the author's values. Called only if objects appear.
    pub switched_on: &'a dyn Fn() -> Vec<(ObjectId, Value)>,
}

impl RenderingPolicy<'_> {
    /// All differences to a rendering with the author's values that are not allowed.
    #[must_use]
    pub fn violations(&self, after: &[(ObjectId, Value)]) -> Vec<Violation> {
        let mut pairs: BTreeMap<ObjectKey, Pair> = BTreeMap::new();
        for (id, object) in &self.before {
            pairs.entry(object_key(id)).or_default().before.push((id, object));
        }
        for (id, object) in after {
            pairs.entry(object_key(id)).or_default().after.push((id, object));
        }
        if let Some(violation) = too_many_gateway_classes(&pairs) {
            return vec![violation];
        }
        let appears = pairs.values().any(|pair| pair.before.is_empty());
        let switched_on = if appears { (self.switched_on)() } else { Vec::new() };
        let mut violations: Vec<Violation> =
            pairs.values().flat_map(|pair| pair.violations(&switched_on)).collect();
        violations.truncate(MAX_VIOLATIONS);
        violations
    }
}

/// Each class is an object of its own, so that too many are refused before they are compared.
fn too_many_gateway_classes(pairs: &BTreeMap<ObjectKey<'_>, Pair<'_>>) -> Option<Violation> {
    let new = pairs.values().filter(|pair| pair.before.is_empty()).filter_map(|pair| pair.after.first());
    let (id, _) = new.filter(|(id, _)| identities::is_gateway_class(id)).nth(MAX_GATEWAY_CLASSES)?;
    Some(whole(id, Cause::TooMany))
}

/// What makes an object the same in two renderings, in whatever order they are.
type ObjectKey<'v> = (&'v str, &'v str, &'v str, Option<&'v str>, &'v str);

fn object_key(id: &ObjectId) -> ObjectKey<'_> {
    (&id.kind, &id.group, &id.version, id.namespace.as_deref(), &id.name)
}

/// The objects of one identity in both renderings.
#[derive(Default)]
struct Pair<'v> {
    before: Vec<(&'v ObjectId, &'v Value)>,
    after: Vec<(&'v ObjectId, &'v Value)>,
}

impl Pair<'_> {
    fn violations(&self, switched_on: &[(ObjectId, Value)]) -> Vec<Violation> {
        match (&*self.before, &*self.after) {
            ([(id, before)], [(_, after)]) => changes(id, before, after),
            ([], [(id, after)]) => appeared(id, after, switched_on),
            ([(id, _)], []) => vanished(id),
            ([], []) => Vec::new(),
            (before, after) => {
                let id = before.first().or(after.first()).map(|(id, _)| *id);
                id.map(|id| whole(id, Cause::Repeated)).into_iter().collect()
            }
        }
    }
}

fn appeared(id: &ObjectId, object: &Value, switched_on: &[(ObjectId, Value)]) -> Vec<Violation> {
    if !identities::is_switched(id) {
        return vec![whole(id, frozen(id).unwrap_or(Cause::Appears))];
    }
    match identities::counterpart(id, switched_on) {
        Some(counterpart) => changes(id, &counterpart, object),
        None => vec![whole(id, Cause::Appears)],
    }
}

fn vanished(id: &ObjectId) -> Vec<Violation> {
    if identities::is_removable(id) {
        return Vec::new();
    }
    vec![whole(id, frozen(id).unwrap_or(Cause::Vanishes))]
}

fn whole(id: &ObjectId, cause: Cause) -> Violation {
    Violation { object: id.clone(), path: String::new(), cause }
}

/// Why objects of a kind are closed to every change.
fn frozen(id: &ObjectId) -> Option<Cause> {
    FROZEN_KINDS.iter().find(|(kind, _)| *kind == id.kind).map(|(_, what)| Cause::Frozen(what))
}

/// The violation of touching an object of a kind that stays as it is, even if nothing in it changes.
#[must_use]
pub fn frozen_kind(id: &ObjectId) -> Option<Violation> {
    frozen(id).map(|cause| whole(id, cause))
}

/// What changed in one object that must not.
#[must_use]
pub fn changes(id: &ObjectId, before: &Value, after: &Value) -> Vec<Violation> {
    let mut findings = Findings { object: id, frozen: frozen(id), violations: Vec::new() };
    if before == after {
        return findings.violations;
    }
    match PolicySubject::of(id) {
        PolicySubject::Mesh => texts::mesh(&mut findings, before, after),
        PolicySubject::Injection => texts::injection(&mut findings, before, after),
        PolicySubject::Overlays => texts::overlays(&mut findings, before, after),
        PolicySubject::Fields(subject) => {
            Walk::new(subject, "", &mut findings).compare(Some(before), Some(after));
        }
        PolicySubject::Closed if gateway_policy::is_own(id) => {
            let [before, after] = [before, after].map(gateway_policy::without_port_rules);
            Walk::new("", "", &mut findings).compare(Some(&before), Some(&after));
        }
        // No place is listed under this name.
        PolicySubject::Closed => Walk::new("", "", &mut findings).compare(Some(before), Some(after)),
    }
    findings.violations
}

/// Collects what is wrong with one object.
struct Findings<'a> {
    object: &'a ObjectId,
    frozen: Option<Cause>,
    violations: Vec<Violation>,
}

impl Findings<'_> {
    fn add(&mut self, path: String, cause: Cause) {
        if !self.is_full() {
            let cause = self.frozen.unwrap_or(cause);
            self.violations.push(Violation { object: self.object.clone(), path, cause });
        }
    }

    fn is_full(&self) -> bool {
        self.violations.len() >= MAX_VIOLATIONS
    }
}

#[cfg(test)]
mod tests;
