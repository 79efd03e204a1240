//! Metadata of recorded objects as a watch reports it, and as it should be.
//!
//! Pure.

use std::collections::BTreeMap;

use kube::api::ObjectMeta;

use super::pause::PAUSE_ANNOTATION;
use crate::inventory::Record;
use crate::kubernetes::object::ObjectId;
use crate::ssa::apply::own_entry_digest;

/// The metadata of an object that shows drift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectSnapshot {
    /// Its UID.
    pub uid: Option<String>,
    /// Digest of our entry in its managed fields.
    pub entry: Option<String>,
    /// Value of the annotation that pauses its reconciliation.
    pub pause: Option<String>,
}

impl ObjectSnapshot {
    /// Reduces the metadata of a live object.
    #[must_use]
    pub fn of(kind: &str, metadata: &ObjectMeta) -> Self {
        let pause = metadata.annotations.as_ref().and_then(|all| all.get(PAUSE_ANNOTATION)).cloned();
        Self { uid: metadata.uid.clone(), entry: own_entry_digest(kind, metadata), pause }
    }

    /// The snapshot of an object while nobody changes it. The pause is taken from `live`: it is not ours to set.
    #[must_use]
    pub fn expected(record: &Record, live: Option<&Self>) -> Self {
        let pause = live.and_then(|live| live.pause.clone());
        Self { uid: record.uid.clone(), entry: record.entry.clone(), pause }
    }
}

/// Live objects of recorded kinds that have the module's label, by identity.
pub type LiveObjects = BTreeMap<ObjectId, ObjectSnapshot>;
