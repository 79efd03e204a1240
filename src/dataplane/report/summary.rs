//! What people see of the data plane in the status. Pure.

use crate::api::conditions::Reason;
use crate::api::v1alpha2::{BlockedWorkload, DataPlaneStatus};
use crate::dataplane::reasons::describe_reasons;
use crate::dataplane::requests::MAX_OBJECT_BYTES;
use crate::dataplane::schedule::scan_result::Assessment;
use crate::dataplane::schedule::stale_workload::{BlockReason, Decision, Severity, StaleWorkload};
use crate::dataplane::schedule::throttle::RestartProgress;
use crate::kubernetes::object::ObjectId;
use crate::status::{ConditionUpdate, DataPlaneReport};
use crate::text::sanitized;

/// Leftovers that the status lists.
const MAX_LISTED: usize = 50;
/// Bytes of a text about one workload.
const MAX_TEXT_BYTES: usize = 1000;
/// Workloads that the condition names, as in the Go operator.
const MAX_NAMED_WORKLOADS: usize = 5;

/// The status after a look, while `progress` is how far restarts are and `held` why they wait.
#[must_use]
pub fn data_plane_report(
    assessment: &Assessment,
    progress: &RestartProgress,
    suspended: Option<&str>,
) -> DataPlaneReport {
    let blocked: Vec<(&StaleWorkload, &BlockReason)> = assessment
        .decisions
        .iter()
        .filter_map(|(stale, decision)| match decision {
            Decision::Restart(_) => None,
            Decision::Blocked(block_reason) => Some((stale, block_reason)),
        })
        .collect();
    let status = status(assessment, &blocked, progress, suspended);
    let condition = condition(assessment, &blocked, progress, suspended);
    DataPlaneReport { condition, status }
}

fn status(
    assessment: &Assessment,
    blocked: &[(&StaleWorkload, &BlockReason)],
    progress: &RestartProgress,
    suspended: Option<&str>,
) -> DataPlaneStatus {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let count = |is: fn(&BlockReason) -> bool| number(blocked.iter().filter(|(_, why)| is(why)).count());
    let unknown = assessment.scan.unknown.iter().map(|(id, why)| blocked_entry(id, "unknown", why));
    let mut ordered: Vec<&(&StaleWorkload, &BlockReason)> = blocked.iter().collect();
    ordered.sort_by_key(|(_, why)| std::cmp::Reverse(why.severity()));
    let listed = ordered.into_iter().map(|(stale, why)| blocked_workload(stale, why));
    let issues = progress.issues.iter().map(|it| blocked_entry(&it.workload, &it.stale_reasons, &it.message));
    DataPlaneStatus {
        total: number(assessment.scan.total),
        stale: number(
            (assessment.decisions.len() + assessment.scan.more_stale).saturating_sub(progress.done),
        ),
        restarting: number(progress.running),
        restarted: number(progress.done),
        excluded: count(|why| *why == BlockReason::Excluded),
        failed: number(progress.failed) + count(|why| matches!(why, BlockReason::RolloutFailed(_))),
        blocked_workloads: issues.chain(unknown).chain(listed).take(MAX_LISTED).collect(),
        on_hold: suspended.map(str::to_owned),
    }
}

/// How the status lists a workload that is left.
#[must_use]
pub fn blocked_workload(stale: &StaleWorkload, why: &BlockReason) -> BlockedWorkload {
    blocked_entry(&stale.workload, &describe_reasons(&stale.reasons), &why.to_string())
}

fn blocked_entry(id: &ObjectId, stale_reasons: &str, blocked_by: &str) -> BlockedWorkload {
    BlockedWorkload {
        kind: id.kind.clone(),
        namespace: id.namespace.clone().unwrap_or_default(),
        name: id.name.clone(),
        reasons: stale_reasons.to_owned(),
        blocked_by: sanitized(blocked_by, MAX_TEXT_BYTES),
    }
}

fn condition(
    assessment: &Assessment,
    blocked: &[(&StaleWorkload, &BlockReason)],
    progress: &RestartProgress,
    suspended: Option<&str>,
) -> ConditionUpdate {
    if progress.running + progress.pending > 0 {
        let text = format!(
            "Restarting workloads with outdated sidecars: {} under way, {} done, {} to come, {} failed",
            progress.running, progress.done, progress.pending, progress.failed
        );
        return condition_with(Reason::ProxySidecarRestartPartiallySucceeded, text);
    }
    if let Some(suspended) = suspended {
        return condition_with(Reason::ProxySidecarManualRestartRequired, suspended.to_owned());
    }
    let manual: Vec<&ObjectId> = blocked
        .iter()
        .filter(|(_, why)| why.severity() == Severity::ActionRequired)
        .map(|(stale, _)| &stale.workload)
        .collect();
    if !manual.is_empty() {
        return condition_with(Reason::ProxySidecarManualRestartRequired, manual_restart_message(&manual));
    }
    let transient = blocked.iter().filter(|(_, why)| why.severity() == Severity::Transient).count();
    let unknown = assessment.scan.unknown.len() + assessment.scan.more_unknown;
    if transient + unknown > 0 {
        let text = format!("{} outdated workloads are looked at again", transient + unknown);
        return condition_with(Reason::ProxySidecarRestartPartiallySucceeded, text);
    }
    ConditionUpdate {
        reason: Reason::ProxySidecarRestartSucceeded,
        message: success_message(blocked.len(), assessment.scan.skipped_pods),
    }
}

/// The text of the Go operator, which people and tools look for.
fn manual_restart_message(workloads: &[&ObjectId]) -> String {
    let named: Vec<String> = workloads
        .iter()
        .take(MAX_NAMED_WORKLOADS)
        .map(|id| format!("{}/{}", id.namespace.as_deref().unwrap_or_default(), id.name))
        .collect();
    let mut text =
        format!("The sidecars of the following workloads could not be restarted: {}", named.join(", "));
    if workloads.len() > MAX_NAMED_WORKLOADS {
        text += &format!(" and {} additional workload(s)", workloads.len() - MAX_NAMED_WORKLOADS);
    }
    text
}

fn success_message(blocked: usize, skipped: usize) -> Option<String> {
    let blocked = (blocked > 0).then(|| {
        format!("Every sidecar is up to date, except those of {blocked} workloads that are not to be restarted now; see status.dataPlane")
    });
    let skipped = (skipped > 0).then(|| {
        format!(
            "Pods skipped: {skipped} are larger than {MAX_OBJECT_BYTES} bytes, and their sidecars are not looked at"
        )
    });
    let texts: Vec<String> = blocked.into_iter().chain(skipped).collect();
    (!texts.is_empty()).then(|| texts.join(". "))
}

fn condition_with(reason: Reason, message: String) -> ConditionUpdate {
    ConditionUpdate { reason, message: Some(message) }
}

/// The status when the data plane could not be looked at.
#[must_use]
pub fn failure_report(text: String, last: DataPlaneStatus) -> DataPlaneReport {
    DataPlaneReport { condition: condition_with(Reason::ProxySidecarRestartFailed, text), status: last }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::fixtures::{assessment, stale_workload};
    use crate::dataplane::schedule::stale_workload::RestartStrategy;
    use crate::dataplane::schedule::throttle::Issue;

    fn message(block_reasons: &[BlockReason]) -> (Reason, String) {
        let condition =
            data_plane_report(&assessment(block_reasons), &RestartProgress::default(), None).condition;
        (condition.reason, condition.message.unwrap_or_default())
    }

    #[test]
    fn the_first_five_workloads_are_named_and_the_others_counted() {
        const TEXT: &str = "The sidecars of the following workloads could not be restarted: ";
        for (count, names) in [
            (2, "ns/w1, ns/w2"),
            (5, "ns/w1, ns/w2, ns/w3, ns/w4, ns/w5"),
            (6, "ns/w1, ns/w2, ns/w3, ns/w4, ns/w5 and 1 additional workload(s)"),
        ] {
            let (reason, text) = message(&vec![BlockReason::BarePod; count]);
            assert_eq!((reason, text), (Reason::ProxySidecarManualRestartRequired, format!("{TEXT}{names}")));
        }
        assert_eq!(message(&[]), (Reason::ProxySidecarRestartSucceeded, String::new()));
    }

    #[test]
    fn workloads_that_need_no_action_raise_no_warning() {
        for why in [
            BlockReason::Excluded,
            BlockReason::ReportOnly,
            BlockReason::RunsToCompletion,
            BlockReason::OutsideWindow(0),
        ] {
            let (reason, text) = message(std::slice::from_ref(&why));
            assert_eq!(reason, Reason::ProxySidecarRestartSucceeded, "{why:?}");
            assert!(text.contains("1 workloads"), "{text}");
        }
        let (reason, _) = message(&[BlockReason::RolloutInProgress("x".into())]);
        assert_eq!(reason, Reason::ProxySidecarRestartPartiallySucceeded);
    }

    #[test]
    fn progress_is_reported_before_blocked_workloads() {
        let mut assessment = assessment(&[BlockReason::BarePod]);
        assessment.decisions.push((stale_workload("r"), Decision::Restart(RestartStrategy::Template)));
        let issue = Issue {
            workload: stale_workload("slow").workload,
            stale_reasons: "old".to_owned(),
            message: "it takes long: no pod comes".to_owned(),
        };
        let progress = RestartProgress { pending: 3, running: 2, done: 4, failed: 1, issues: vec![issue] };
        let part = data_plane_report(&assessment, &progress, None);
        assert_eq!(part.condition.reason, Reason::ProxySidecarRestartPartiallySucceeded);
        assert_eq!((part.status.restarting, part.status.restarted, part.status.failed), (2, 4, 1));
        let listed: Vec<_> =
            part.status.blocked_workloads.iter().map(|workload| workload.name.as_str()).collect();
        assert_eq!(listed, ["slow", "w1"]);
        assert_eq!(part.status.blocked_workloads[0].blocked_by, "it takes long: no pod comes");
        let suspended =
            data_plane_report(&assessment, &RestartProgress::default(), Some("released by x")).condition;
        assert_eq!(suspended.message.as_deref(), Some("released by x"));
    }

    #[test]
    fn the_status_is_bounded_and_lists_actionable_workloads_first() {
        let mut block_reasons = vec![BlockReason::Excluded; 60];
        block_reasons.push(BlockReason::BarePod);
        let status = data_plane_report(&assessment(&block_reasons), &RestartProgress::default(), None).status;
        assert_eq!((status.blocked_workloads.len(), status.excluded), (50, 60));
        assert_eq!(status.blocked_workloads.first().map(|workload| workload.name.as_str()), Some("w61"));
    }
}
