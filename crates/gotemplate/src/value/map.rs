//! Maps with string keys, by reference.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::Value;
use super::walk::dismantle;

/// Go's type of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MapType {
    /// `map[string]interface {}`
    #[default]
    Any,
    /// Helm's name for the same, which `.Values` has.
    Values,
    /// `map[string]string`
    String,
}

impl MapType {
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Any => "map[string]interface {}",
            Self::Values => "common.Values",
            Self::String => "map[string]string",
        }
    }

    /// What a missing key gives.
    pub(crate) fn zero(self) -> Value {
        match self {
            Self::Any | Self::Values => Value::NilElement,
            Self::String => Value::string(""),
        }
    }
}

/// A map, by reference, with its keys in order.
#[derive(Clone, Default)]
pub struct Map {
    /// Of the handle: Go can see one map as of two types.
    map_type: MapType,
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Go distinguishes a map that was never made from an empty one, and so does its JSON.
    is_nil: bool,
    entries: RefCell<BTreeMap<Rc<str>, Value>>,
}

impl Map {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Go's nil of a map type: an empty map that JSON writes as null, and that takes no keys.
    #[must_use]
    pub fn nil(map_type: MapType) -> Self {
        Self { map_type, inner: Rc::new(Inner { is_nil: true, entries: RefCell::default() }) }
    }

    /// Whether the map has other holders.
    pub(super) fn is_shared(&self) -> bool {
        Rc::strong_count(&self.inner) > 1
    }

    /// The sum of what its values and its keys need.
    pub(super) fn size(&self, of: impl Fn(&Value) -> usize) -> usize {
        self.inner.entries.borrow().values().map(of).fold(0, usize::saturating_add)
    }

    /// Calls `visit` with each value.
    pub(super) fn each(&self, visit: impl FnMut(&Value)) {
        self.inner.entries.borrow().values().for_each(visit);
    }

    pub(crate) fn is_nil(&self) -> bool {
        self.inner.is_nil
    }

    /// A map of one of Go's map types.
    #[must_use]
    pub fn of(map_type: MapType, entries: impl IntoIterator<Item = (Rc<str>, Value)>) -> Self {
        let entries = RefCell::new(entries.into_iter().collect());
        Self { map_type, inner: Rc::new(Inner { is_nil: false, entries }) }
    }

    /// The same map, seen as of another type.
    #[must_use]
    pub fn with_map_type(&self, map_type: MapType) -> Self {
        Self { map_type, inner: self.inner.clone() }
    }

    /// Go's type of the map.
    #[must_use]
    pub fn map_type(&self) -> MapType {
        self.map_type
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value> {
        self.inner.entries.borrow().get(key).cloned()
    }

    /// Whether the key exists, even with the value nil.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.inner.entries.borrow().contains_key(key)
    }

    /// Sets a key, for every holder of this map.
    pub fn insert(&self, key: impl Into<Rc<str>>, value: Value) {
        let replaced = self.inner.entries.borrow_mut().insert(key.into(), value.into_pipeline_value());
        // Only here, because dropping it may come back to this map.
        drop(replaced);
    }

    /// Removes a key, for every holder of this map.
    #[allow(clippy::must_use_candidate)] // Most callers only want it gone.
    pub fn remove(&self, key: &str) -> Option<Value> {
        self.inner.entries.borrow_mut().remove(key)
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.entries.borrow().len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keys and values in the order of keys, as they are now; later changes do not disturb a loop over them.
    #[must_use]
    pub fn entries(&self) -> Vec<(Rc<str>, Value)> {
        self.inner.entries.borrow().iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Whether both are the same map, not only equal ones.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.inner, &other.inner)
    }

    /// Its contents, if the map has no other holder.
    pub(super) fn into_values(self) -> Vec<Value> {
        match Rc::try_unwrap(self.inner) {
            Ok(inner) => inner.take(),
            Err(_) => Vec::new(),
        }
    }
}

impl Inner {
    fn take(&self) -> Vec<Value> {
        self.entries.take().into_values().collect()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        dismantle(self.take());
    }
}

impl FromIterator<(Rc<str>, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (Rc<str>, Value)>>(entries: I) -> Self {
        Self::of(MapType::Any, entries)
    }
}
