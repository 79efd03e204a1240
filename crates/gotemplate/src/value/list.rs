//! Lists, by reference.

use std::cell::{Ref, RefCell};
use std::rc::Rc;

use super::Value;
use super::walk::dismantle;

/// Go's type of a list's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    /// `[]interface {}`
    Any,
    /// `[]string`
    String,
    /// `[]int`
    Int,
    /// `[][]interface {}`
    List,
}

impl Element {
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Any => "[]interface {}",
            Self::String => "[]string",
            Self::Int => "[]int",
            Self::List => "[][]interface {}",
        }
    }
}

/// A list, by reference.
#[derive(Clone)]
pub struct List(Rc<Inner>);

struct Inner {
    element: Element,
    /// Go distinguishes a list that was never made from an empty one, and so does its JSON.
    is_nil: bool,
    values: RefCell<Vec<Value>>,
}

impl List {
    /// A list of values.
    #[must_use]
    pub fn new(values: Vec<Value>) -> Self {
        Self::of(Element::Any, values)
    }

    pub(crate) fn of(element: Element, values: Vec<Value>) -> Self {
        Self(Rc::new(Inner { element, is_nil: false, values: RefCell::new(values) }))
    }

    /// Go's nil of a list type: an empty list that JSON writes as null.
    pub(crate) fn nil(element: Element) -> Self {
        Self(Rc::new(Inner { element, is_nil: true, values: RefCell::default() }))
    }

    pub(crate) fn element(&self) -> Element {
        self.0.element
    }

    /// Whether the list has other holders.
    pub(super) fn is_shared(&self) -> bool {
        Rc::strong_count(&self.0) > 1
    }

    pub(crate) fn is_nil(&self) -> bool {
        self.0.is_nil
    }

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.values.borrow().len()
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at a position.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Value> {
        self.0.values.borrow().get(index).cloned()
    }

    /// The values. They must not be held while a template is executed, which may sort them.
    #[must_use]
    pub fn values(&self) -> Ref<'_, Vec<Value>> {
        self.0.values.borrow()
    }

    /// Sorts the values, for every holder of this list.
    pub(crate) fn sort_by(&self, compare: impl FnMut(&Value, &Value) -> std::cmp::Ordering) {
        self.0.values.borrow_mut().sort_by(compare);
    }

    /// Its contents, if the list has no other holder.
    pub(super) fn into_values(self) -> Vec<Value> {
        match Rc::try_unwrap(self.0) {
            Ok(inner) => inner.values.take(),
            Err(_) => Vec::new(),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        dismantle(self.values.take());
    }
}
