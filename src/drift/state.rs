//! What to do about one object: how it stands, told from what was applied and what was seen.
//!
//! Pure.

use serde_json::Value;

use super::snapshot::ObjectSnapshot;
use crate::inventory::Record;

/// How an object stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriftState {
    /// Its first write is not confirmed, or it was never written.
    New,
    /// It is as the last apply left it, but something else is planned now.
    SpecChanged,
    /// What is planned was applied, and since then someone changed or replaced it, or took it away.
    Drifted,
    /// It is as the last apply left it, and that is what is planned now.
    InSync,
}

impl DriftState {
    /// Compares what is recorded with what is planned, by its digest, and what was seen.
    #[must_use]
    pub fn of(record: Option<&Record>, digest: &str, snapshot: Option<&ObjectSnapshot>) -> Self {
        let Some(record) = record.filter(|record| record.uid.is_some()) else { return Self::New };
        if record.digest.as_deref() != Some(digest) {
            return Self::SpecChanged;
        }
        if is_in_sync(record, snapshot) { Self::InSync } else { Self::Drifted }
    }

    /// How it stands if we may have written it in a way that is not recorded: what is recorded tells nothing then.
    #[must_use]
    pub fn after_write(self, is_pending: bool) -> Self {
        match self {
            Self::InSync | Self::Drifted if is_pending => Self::SpecChanged,
            state => state,
        }
    }
}

/// Whether an object is the one that was recorded, and nobody has taken a field of ours since.
#[must_use]
pub fn is_in_sync(record: &Record, snapshot: Option<&ObjectSnapshot>) -> bool {
    let Some(snapshot) = snapshot else { return false };
    record.uid == snapshot.uid && record.entry.is_some() && record.entry == snapshot.entry
}

/// The path of the first field in which two values differ, below `at`.
#[must_use]
pub fn first_difference(before: &Value, after: &Value, at: &str) -> Option<String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
            names.into_iter().find_map(|name| {
                let mut path = at.to_owned();
                crate::ssa::managed_fields::push_field(&mut path, name);
                let side = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or_default();
                first_difference(&side(before), &side(after), &path)
            })
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            let mut pairs = before.iter().zip(after).enumerate();
            pairs.find_map(|(index, (before, after))| {
                let element =
                    before.get("name").and_then(Value::as_str).map(|name| format!("{at}[name={name}]"));
                first_difference(before, after, &element.unwrap_or_else(|| format!("{at}[{index}]")))
            })
        }
        _ => (before != after).then(|| at.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
            ("gone, or its label stripped", Some(&same), None, DriftState::Drifted),
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

    #[test]
    fn the_first_difference_is_named_by_its_path() {
        let template =
            |image: &str| json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "image": image}]}});
        assert_eq!(
            first_difference(&template("1"), &template("2"), "spec.template").as_deref(),
            Some("spec.template.spec.containers[name=b].image")
        );
        assert_eq!(first_difference(&template("1"), &template("1"), "spec.template"), None);
        let labels = |labels: Value| json!({"labels": labels});
        assert_eq!(
            first_difference(&labels(json!({"a/b": "1"})), &labels(json!({})), "metadata").as_deref(),
            Some("metadata.labels[a/b]")
        );
    }
}
