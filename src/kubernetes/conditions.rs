//! Status conditions of live objects, looked up by type.
//! Pure; knows the shape of a condition (KEP-1623) and not what any type means.

use serde_json::Value;

/// One entry of `status.conditions`.
#[derive(Clone, Copy, Debug)]
pub struct ConditionRef<'a>(&'a Value);

impl<'a> ConditionRef<'a> {
    /// The condition of `object` with the given type, such as `Established`.
    #[must_use]
    pub fn find(object: &'a Value, type_: &str) -> Option<Self> {
        object.pointer("/status/conditions")?.as_array()?.iter().find(|c| c["type"] == type_).map(Self)
    }

    /// Whether its status is `True`.
    #[must_use]
    pub fn is_true(self) -> bool {
        self.0["status"] == "True"
    }

    /// Whether its status is `False`; `Unknown` is neither.
    #[must_use]
    pub fn is_false(self) -> bool {
        self.0["status"] == "False"
    }

    /// Its reason in CamelCase; empty if it has none.
    #[must_use]
    pub fn reason(self) -> &'a str {
        self.0.get("reason").and_then(Value::as_str).unwrap_or_default()
    }

    /// Its message for people; empty if it has none.
    #[must_use]
    pub fn message(self) -> &'a str {
        self.0.get("message").and_then(Value::as_str).unwrap_or_default()
    }

    /// Its message, or its reason if it has no message.
    #[must_use]
    pub fn text(self) -> &'a str {
        if self.message().is_empty() { self.reason() } else { self.message() }
    }
}

/// Whether `object` has a condition of the given type whose status is `True`.
#[must_use]
pub fn is_condition_true(object: &Value, type_: &str) -> bool {
    ConditionRef::find(object, type_).is_some_and(ConditionRef::is_true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_condition_is_found_by_its_type() {
        let object = json!({"status": {"conditions": [
            {"type": "Ready", "status": "False", "reason": "Waiting", "message": "for a node"},
            {"type": "Stale", "status": "Unknown", "reason": "NoNews"},
        ]}});
        let ready = ConditionRef::find(&object, "Ready").unwrap();
        assert!(ready.is_false() && !ready.is_true());
        assert_eq!((ready.reason(), ready.text()), ("Waiting", "for a node"));
        let stale = ConditionRef::find(&object, "Stale").unwrap();
        assert!(!stale.is_false() && !stale.is_true());
        assert_eq!(stale.text(), "NoNews");
        assert!(ConditionRef::find(&object, "Other").is_none());
        assert!(!is_condition_true(&json!({}), "Ready"));
    }
}
