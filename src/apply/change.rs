//! What to do about one object: how it stands, told from what was applied and what was seen.
//!
//! Pure.

use serde_json::Value;

use super::inventory::Record;
use super::live::Seen;

/// How an object stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its first write is not confirmed, or it was never written.
    New,
    /// It is as the last apply left it, but something else is planned now.
    Reconfigured,
    /// What is planned was applied, and since then someone changed or replaced it, or took it away.
    Drifted,
    /// It is as the last apply left it, and that is what is planned now.
    AsApplied,
}

impl Standing {
    /// Compares what is recorded with what is planned, by its digest, and what was seen.
    #[must_use]
    pub fn of(record: Option<&Record>, digest: &str, seen: Option<&Seen>) -> Self {
        let Some(record) = record.filter(|record| record.uid.is_some()) else { return Self::New };
        if record.digest.as_deref() != Some(digest) {
            return Self::Reconfigured;
        }
        if is_as_applied(record, seen) { Self::AsApplied } else { Self::Drifted }
    }

    /// How it stands if we may have written it in a way that is not recorded: what is recorded tells nothing then.
    #[must_use]
    pub fn after_write(self, is_unsaved: bool) -> Self {
        match self {
            Self::AsApplied | Self::Drifted if is_unsaved => Self::Reconfigured,
            standing => standing,
        }
    }
}

/// Whether an object is the one that was recorded, and nobody has taken a field of ours since.
#[must_use]
pub fn is_as_applied(record: &Record, seen: Option<&Seen>) -> bool {
    let Some(seen) = seen else { return false };
    record.uid == seen.uid && record.entry.is_some() && record.entry == seen.entry
}

/// The path of the first field in which two values differ, below `at`.
#[must_use]
pub fn first_difference(before: &Value, after: &Value, at: &str) -> Option<String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
            names.into_iter().find_map(|name| {
                let mut path = at.to_owned();
                super::fields::push_field(&mut path, name);
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

    fn seen(uid: &str, entry: Option<&str>) -> Seen {
        Seen { uid: Some(uid.into()), entry: entry.map(str::to_owned), pause: None }
    }

    #[test]
    fn an_object_that_an_interrupted_apply_wrote_is_written_again_however_it_looks() {
        use Standing::{AsApplied, Drifted, New, Reconfigured};
        for (standing, expected) in
            [(New, New), (Reconfigured, Reconfigured), (Drifted, Reconfigured), (AsApplied, Reconfigured)]
        {
            assert_eq!(standing.after_write(true), expected);
            assert_eq!(standing.after_write(false), standing);
        }
    }

    #[test]
    fn an_object_is_left_alone_only_when_nothing_about_it_changed() {
        let same = record("d", Some("u"), Some("e"));
        for (name, record, seen, standing) in [
            ("same", Some(&same), Some(seen("u", Some("e"))), Standing::AsApplied),
            ("gone, or its label stripped", Some(&same), None, Standing::Drifted),
            ("recreated", Some(&same), Some(seen("other", Some("e"))), Standing::Drifted),
            ("edited", Some(&same), Some(seen("u", Some("other"))), Standing::Drifted),
            ("taken", Some(&same), Some(seen("u", None)), Standing::Drifted),
            (
                "new configuration",
                Some(&record("old", Some("u"), Some("e"))),
                Some(seen("u", Some("e"))),
                Standing::Reconfigured,
            ),
            ("never confirmed", Some(&record("d", None, None)), None, Standing::New),
            ("unknown", None, Some(seen("u", Some("e"))), Standing::New),
        ] {
            assert_eq!(Standing::of(record, "d", seen.as_ref()), standing, "{name}");
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
