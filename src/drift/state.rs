//! The drift state of one object: compares its record with the plan and with its live snapshot.
//!
//! Pure.

use super::snapshot::ObjectSnapshot;
use crate::inventory::Record;

/// The drift state of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriftState {
    /// It was never written, or its first write is not confirmed.
    New,
    /// The planned manifest differs from the applied one.
    SpecChanged,
    /// The planned manifest was applied; since then others changed, replaced or deleted the object.
    Drifted,
    /// The planned manifest was applied, and nobody has changed the object since.
    InSync,
}

impl DriftState {
    /// Compares the record with the digest of the planned manifest, and with the live snapshot.
    #[must_use]
    pub fn of(record: Option<&Record>, digest: &str, snapshot: Option<&ObjectSnapshot>) -> Self {
        let Some(record) = record.filter(|record| record.uid.is_some()) else { return Self::New };
        if record.digest.as_deref() != Some(digest) {
            return Self::SpecChanged;
        }
        if is_in_sync(record, snapshot) { Self::InSync } else { Self::Drifted }
    }

    /// The state if a write of the object may be missing in the inventory: then the record proves nothing.
    #[must_use]
    pub fn after_write(self, is_pending: bool) -> Self {
        match self {
            Self::InSync | Self::Drifted if is_pending => Self::SpecChanged,
            state => state,
        }
    }
}

/// Whether an object is the recorded one, and nobody has taken a field of ours since.
#[must_use]
pub fn is_in_sync(record: &Record, snapshot: Option<&ObjectSnapshot>) -> bool {
    let Some(snapshot) = snapshot else { return false };
    record.uid == snapshot.uid && record.entry.is_some() && record.entry == snapshot.entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Stage;

    fn record(digest: &str, uid: Option<&str>, entry: Option<&str>) -> Record {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Record {
            uid: own(uid),
            digest: Some(digest.into()),
            entry: own(entry),
            ..Record::planned(Stage::Istiod)
        }
    }

    fn snapshot(uid: &str, entry: Option<&str>) -> ObjectSnapshot {
        ObjectSnapshot { uid: Some(uid.into()), entry: entry.map(str::to_owned), pause: None }
    }

    #[test]
    fn an_object_that_an_interrupted_apply_wrote_is_written_again() {
        use DriftState::{Drifted, InSync, New, SpecChanged};
        for (state, expected) in
            [(New, New), (SpecChanged, SpecChanged), (Drifted, SpecChanged), (InSync, SpecChanged)]
        {
            assert_eq!(state.after_write(true), expected);
            assert_eq!(state.after_write(false), state);
        }
    }

    #[test]
    fn an_object_is_in_sync_only_if_nothing_about_it_changed() {
        let same = record("d", Some("u"), Some("e"));
        for (name, record, snapshot, state) in [
            ("same", Some(&same), Some(snapshot("u", Some("e"))), DriftState::InSync),
            ("deleted, or its label removed", Some(&same), None, DriftState::Drifted),
            ("recreated", Some(&same), Some(snapshot("other", Some("e"))), DriftState::Drifted),
            ("edited", Some(&same), Some(snapshot("u", Some("other"))), DriftState::Drifted),
            ("taken", Some(&same), Some(snapshot("u", None)), DriftState::Drifted),
            (
                "new configuration",
                Some(&record("old", Some("u"), Some("e"))),
                Some(snapshot("u", Some("e"))),
                DriftState::SpecChanged,
            ),
            ("never confirmed", Some(&record("d", None, None)), None, DriftState::New),
            ("unknown", None, Some(snapshot("u", Some("e"))), DriftState::New),
        ] {
            assert_eq!(DriftState::of(record, "d", snapshot.as_ref()), state, "{name}");
        }
    }
}
