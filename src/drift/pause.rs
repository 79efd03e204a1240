//! The annotation that pauses reconciliation of one object or, on the `Istio` resource, of everything.
//!
//! Pure; the time is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

/// `"true"`, or the time (RFC 3339) at which the pause ends.
pub const PAUSE_ANNOTATION: &str = "istios.operator.kyma-project.io/pause";

/// A pause that is in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When it ends; `None` if it lasts until the annotation is removed.
    pub until: Option<Timestamp>,
}

impl Pause {
    /// Reads the annotation; `None` if it is over or `"false"`.
    ///
    /// Any other text is a pause without end: whoever wrote it wants a pause.
    #[must_use]
    pub fn parse(text: &str, now: Timestamp) -> Option<Self> {
        match text.trim() {
            "false" => None,
            text => match text.parse::<Timestamp>() {
                Ok(until) if until <= now => None,
                Ok(until) => Some(Self { until: Some(until) }),
                Err(_) => Some(Self { until: None }),
            },
        }
    }

    /// The pause among the annotations of an object.
    #[must_use]
    pub fn from_annotations(annotations: Option<&BTreeMap<String, String>>, now: Timestamp) -> Option<Self> {
        Self::parse(annotations?.get(PAUSE_ANNOTATION)?, now)
    }

    /// Time until it ends, if it has an end.
    #[must_use]
    pub fn remaining(&self, now: Timestamp) -> Option<Duration> {
        Some(self.until?.duration_since(now).try_into().unwrap_or(Duration::ZERO))
    }
}

impl std::fmt::Display for Pause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.until {
            Some(until) => write!(f, "paused until {until} by the annotation {PAUSE_ANNOTATION}"),
            None => write!(f, "paused until the annotation {PAUSE_ANNOTATION} is removed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_at_its_time_or_lasts_until_it_is_removed() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let later: Timestamp = "2026-03-01T12:30:00Z".parse().unwrap();
        for (text, expected) in [
            ("true", Some(Pause { until: None })),
            ("2026-03-01T12:30:00Z", Some(Pause { until: Some(later) })),
            ("2026-03-01T13:30:00+01:00", Some(Pause { until: Some(later) })),
            ("2026-03-01T12:00:00Z", None),
            ("2025-01-01T00:00:00Z", None),
            ("false", None),
            ("until tomorrow", Some(Pause { until: None })),
            ("", Some(Pause { until: None })),
        ] {
            assert_eq!(Pause::parse(text, now), expected, "{text:?}");
        }
    }

    #[test]
    fn the_remaining_time_lasts_until_the_end_of_the_pause() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let pause = Pause::parse("2026-03-01T12:30:00Z", now).unwrap();
        assert_eq!(pause.remaining(now), Some(Duration::from_secs(1800)));
        assert_eq!(Pause { until: None }.remaining(now), None);
    }
}
