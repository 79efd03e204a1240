//! The live state of what the inventory lists, as far as metadata tells it.

use std::collections::BTreeMap;

use kube::api::ObjectMeta;

use super::pause::PAUSE_ANNOTATION;
use crate::kubernetes::object::ObjectId;
use crate::ssa::apply::own_entry_digest;

/// One live object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectSnapshot {
    /// Its UID.
    pub uid: Option<String>,
    /// Digest of our entry in its managed fields.
    pub entry: Option<String>,
    /// The annotation that asks to leave it alone, as written.
    pub pause: Option<String>,
}

impl ObjectSnapshot {
    /// What matters of an object's metadata.
    #[must_use]
    pub fn of(kind: &str, metadata: &ObjectMeta) -> Self {
        let pause = metadata.annotations.as_ref().and_then(|all| all.get(PAUSE_ANNOTATION)).cloned();
        Self { uid: metadata.uid.clone(), entry: own_entry_digest(kind, metadata), pause }
    }
}

/// The live objects of the kinds in the inventory that carry the module's label, by identity.
pub type LiveObjects = BTreeMap<ObjectId, ObjectSnapshot>;
