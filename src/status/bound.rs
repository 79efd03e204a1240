//! Keeps a status small enough to be written. Pure.
//!
//! Tenants write a part of its texts. A status that the API server rejects would hide all later errors and upgrades, so that
//! the list of workloads is shortened first, and texts of the control plane last.

use crate::api::IstioStatus;
use crate::api::v1alpha2::BlockedWorkload;

/// Maximum size of a status as JSON, in bytes. The API server accepts 3 MB per request, and etcd 1.5 MB per object.
pub(super) const MAX_STATUS_BYTES: usize = 256 << 10;
/// Maximum size of one text as JSON, in bytes, where texts have to be shortened.
const MAX_TEXT_BYTES: usize = 8 << 10;

/// The status, shortened where it would be larger than [`MAX_STATUS_BYTES`].
#[must_use]
pub(super) fn bounded(mut status: IstioStatus) -> IstioStatus {
    while size(&status) > MAX_STATUS_BYTES && shorten_list(&mut status) {}
    if size(&status) > MAX_STATUS_BYTES {
        shorten_texts(&mut status);
    }
    status
}

/// The status without the part of the data plane.
#[must_use]
pub(super) fn without_data_plane(status: &IstioStatus) -> IstioStatus {
    let mut status = IstioStatus { data_plane: None, ..status.clone() };
    shorten_texts(&mut status);
    status
}

fn size(status: &IstioStatus) -> usize {
    serde_json::to_string(status).map_or(0, |text| text.len())
}

/// Drops half of the listed workloads and appends how many were dropped. Returns whether more can be dropped.
fn shorten_list(status: &mut IstioStatus) -> bool {
    let Some(data_plane) = &mut status.data_plane else { return false };
    let list = &mut data_plane.blocked_workloads;
    let before = list.pop_if(|last| is_count(last)).and_then(|last| count(&last)).unwrap_or(0);
    if list.is_empty() {
        return false;
    }
    let remaining = list.len() / 2;
    let dropped = before + list.len() - remaining;
    list.truncate(remaining);
    list.push(BlockedWorkload {
        blocked_by: format!(
            "{dropped} more workloads are not listed, because the status would exceed {MAX_STATUS_BYTES} bytes"
        ),
        ..BlockedWorkload::default()
    });
    // Only the count remains.
    remaining > 0
}

fn is_count(entry: &BlockedWorkload) -> bool {
    entry.kind.is_empty() && entry.name.is_empty()
}

fn count(entry: &BlockedWorkload) -> Option<usize> {
    entry.blocked_by.split(' ').next()?.parse().ok()
}

fn shorten_texts(status: &mut IstioStatus) {
    if let Some(description) = &mut status.description {
        shorten(description, MAX_TEXT_BYTES);
    }
    for condition in status.conditions.iter_mut().flatten() {
        shorten(&mut condition.message, MAX_TEXT_BYTES);
    }
    if let Some(on_hold) = status.data_plane.as_mut().and_then(|data_plane| data_plane.on_hold.as_mut()) {
        shorten(on_hold, MAX_TEXT_BYTES);
    }
}

/// Truncates a text to `limit` bytes as JSON, in which one character may take six.
fn shorten(text: &mut String, limit: usize) {
    const ELLIPSIS: char = '…';
    let json = |character: char| match character {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        character if character.is_control() => 6,
        character => character.len_utf8(),
    };
    let mut bytes = 0;
    let cut = text.char_indices().find(|(_, character)| {
        bytes += json(*character);
        bytes + ELLIPSIS.len_utf8() > limit
    });
    if let Some((at, _)) = cut
        && text[at..].chars().map(json).sum::<usize>() > ELLIPSIS.len_utf8()
    {
        text.truncate(at);
        text.push(ELLIPSIS);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
    use k8s_openapi::jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::api::v1alpha2::DataPlaneStatus;

    /// A text of so many of one character, some of which JSON writes in six bytes.
    fn text() -> impl Strategy<Value = String> {
        let character =
            prop_oneof![Just('\u{1}'), Just('"'), Just('ü'), Just('🚀'), Just('x'), Just('\u{7f}')];
        (character, 0..100_000_usize).prop_map(|(character, count)| character.to_string().repeat(count))
    }

    fn blocked_workload() -> impl Strategy<Value = BlockedWorkload> {
        (text(), text()).prop_map(|(reasons, blocked_by)| BlockedWorkload {
            kind: "Deployment".to_owned(),
            namespace: "n".to_owned(),
            name: "w".to_owned(),
            reasons,
            blocked_by,
        })
    }

    fn condition(message: String) -> Condition {
        Condition {
            type_: "Ready".to_owned(),
            status: "True".to_owned(),
            reason: "R".to_owned(),
            message,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: Some(1),
        }
    }

    fn status() -> impl Strategy<Value = IstioStatus> {
        let parts = (
            prop::option::of(text()),
            prop::collection::vec(text(), 0..8),
            prop::option::of((prop::collection::vec(blocked_workload(), 0..6), prop::option::of(text()))),
        );
        parts.prop_map(|(description, messages, data_plane)| IstioStatus {
            description,
            conditions: Some(messages.into_iter().map(condition).collect()),
            data_plane: data_plane.map(|(blocked_workloads, on_hold)| DataPlaneStatus {
                blocked_workloads,
                on_hold,
                ..DataPlaneStatus::default()
            }),
            ..IstioStatus::default()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_status_is_never_larger_than_the_limit_and_the_conditions_stay(status in status()) {
            let bounded = bounded(status.clone());
            prop_assert!(size(&bounded) <= MAX_STATUS_BYTES, "{}", size(&bounded));
            let reasons = |status: &IstioStatus| {
                status.conditions.iter().flatten().map(|it| (it.type_.clone(), it.reason.clone())).collect::<Vec<_>>()
            };
            prop_assert_eq!(reasons(&bounded), reasons(&status));
            prop_assert_eq!(super::bounded(bounded.clone()), bounded, "a second time changes nothing");
            prop_assert!(size(&without_data_plane(&status)) <= MAX_STATUS_BYTES);
        }

        #[test]
        fn a_text_is_cut_to_its_size_as_json(text in text(), limit in 3..9_000_usize) {
            let mut cut = text.clone();
            shorten(&mut cut, limit);
            let bytes = serde_json::to_string(&cut).unwrap().len() - 2;
            prop_assert!(bytes <= limit, "{}", bytes);
            prop_assert!(cut == text || cut.ends_with('…'));
        }
    }

    #[test]
    fn a_small_status_stays_and_a_long_list_is_counted() {
        let entry = |text: &str| BlockedWorkload {
            name: "w".into(),
            kind: "Pod".into(),
            blocked_by: text.into(),
            ..BlockedWorkload::default()
        };
        let with = |blocked_workloads| IstioStatus {
            data_plane: Some(DataPlaneStatus { blocked_workloads, ..DataPlaneStatus::default() }),
            ..IstioStatus::default()
        };
        let small = with(vec![entry("x"); 50]);
        assert_eq!(bounded(small.clone()), small);
        let large = bounded(with(vec![entry(&"x".repeat(MAX_STATUS_BYTES / 20)); 50]));
        let listed = large.data_plane.unwrap_or_default().blocked_workloads;
        assert_eq!(listed.len(), 13, "two halvings and the count");
        assert!(listed[12].blocked_by.starts_with("38 more workloads are not listed"), "{:?}", listed[12]);
    }
}
