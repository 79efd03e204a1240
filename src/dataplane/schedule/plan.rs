//! What follows from a scan: which restarts are made, whether they need approval, and when the next scan is due. Pure.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::stale_workload::{
    BlockReason, Decision, RestartPriority, RestartStrategy, Severity, StaleWorkload,
};
use super::throttle::{StopScope, needs_approval};
use crate::dataplane::clock::elapsed;
use crate::dataplane::model::MeshRevision;
use crate::dataplane::names::APPROVE_RESTARTS_ANNOTATION;
use crate::dataplane::restart_ledger::{ConvergedMesh, RestartLedger};
use crate::dataplane::schedule::scan_result::Assessment;
use crate::text::list_limited;
use crate::validate::ValidatedRestarter;

/// The time between two scans without a trigger.
pub const SCAN_INTERVAL: Duration = Duration::from_secs(600);
/// The time to the next scan if a block reason may be resolved soon, and the longest time after a failure.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// The time after which istiod is expected to use a changed configuration, so that what injection gives is final; a kubelet
/// needs up to a minute to update a mounted ConfigMap.
pub const CONFIG_PROPAGATION_TIMEOUT: Duration = Duration::from_secs(120);
/// The time to the next scan if an annotation may resolve a block reason.
const ANNOTATION_RECHECK_INTERVAL: Duration = Duration::from_secs(60);
/// What each workload adds to that: a scan reads all pods, page by page.
const SCAN_INTERVAL_PER_WORKLOAD: Duration = Duration::from_millis(20);

/// The time to the next scan after the first failure.
const MIN_RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// The time to the next scan after `failures` failures in a row.
#[must_use]
pub fn retry_delay(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    MIN_RETRY_INTERVAL.saturating_mul(doubled).min(RETRY_INTERVAL)
}

/// How long a failed restart is not retried, if the last delay was `before`, and the block reason to report meanwhile.
///
/// A request without a response is retried soon, with growing delays; after the longest delay it is reported as rejected, so
/// that somebody acts.
#[must_use]
pub fn back_off_failed_restart(why: BlockReason, before: Option<Duration>) -> (BlockReason, Duration) {
    let BlockReason::NoResponse(why) = why else { return (why, SCAN_INTERVAL) };
    let pause = before.map_or(RETRY_INTERVAL, |before| before.saturating_mul(2)).min(SCAN_INTERVAL);
    (if pause < SCAN_INTERVAL { BlockReason::NoResponse(why) } else { BlockReason::Refused(why) }, pause)
}

/// The restarts after a scan, in their order. Within one priority, the namespace with the most restarts goes first: if it were
/// last, its own limit alone would determine when the wave ends.
#[must_use]
pub fn plan_restarts(assessment: &Assessment) -> Vec<(StaleWorkload, RestartStrategy)> {
    let mut pending_per_namespace: HashMap<(RestartPriority, Option<&str>), usize> = HashMap::new();
    let mut restarts = Vec::new();
    for (stale, decision) in assessment.decisions.iter().rev() {
        let Decision::Restart(strategy) = decision else { continue };
        let priority = stale.priority();
        let rank = pending_per_namespace.entry((priority, stale.workload.namespace.as_deref())).or_default();
        *rank += 1;
        restarts.push(((priority, Reverse(*rank)), stale, *strategy));
    }
    restarts.reverse();
    restarts.sort_by_key(|(order, ..)| *order);
    restarts.into_iter().map(|(_, stale, strategy)| (stale.clone(), strategy)).collect()
}

/// Whether a restart is still to come. It then belongs to the change of the mesh that made it necessary, not to a later one.
#[must_use]
pub fn is_pending(decision: &Decision) -> bool {
    use BlockReason::{NoResponse, OutsideWindow, RestartsDisabled, WaveSuspended};
    matches!(
        decision,
        Decision::Restart(_)
            | Decision::Blocked(WaveSuspended | RestartsDisabled | OutsideWindow(_) | NoResponse(_))
    )
}

/// Records what is final after a scan that leads to no restart. `config_propagated` says whether every istiod is expected to
/// use the present configuration.
pub fn record_convergence(
    ledger: &mut RestartLedger,
    mesh: &MeshRevision,
    config_propagated: bool,
    assessment: &Assessment,
) {
    // Until the configuration has propagated, injection may give what it gave before the change. If the mesh never converged,
    // there was no such change.
    let is_final = config_propagated || ledger.converged_mesh == ConvergedMesh::Never;
    if is_final && !assessment.decisions.iter().any(|(_, decision)| is_pending(decision)) {
        ledger.converged_mesh = ConvergedMesh::At(mesh.clone());
    }
    // After a restart of the operator, the cheap check would miss workloads that only a dry run found; then all are proven.
    let all_are_candidates = assessment.scan.stale_owners.is_subset(&assessment.scan.candidate_owners);
    if config_propagated && all_are_candidates && assessment.scan.unknown.is_empty() {
        ledger.fully_scanned_mesh = Some(mesh.clone());
    }
}

/// Suspends restarts that were stopped for this mesh, and all restarts if no change explains how many they are.
///
/// `approved` is the value of the annotation on the `Istio` resource. Returns why restarts are on hold, if some are.
pub fn suspend_restarts(
    assessment: &mut Assessment,
    ledger: &mut RestartLedger,
    settings: &ValidatedRestarter,
    mesh: &MeshRevision,
    approved: Option<&str>,
) -> Option<String> {
    let mut texts = Vec::new();
    if let Some(stopped) =
        ledger.stopped.clone().filter(|stopped| stopped.approval_id.starts_with(mesh.as_str()))
    {
        let is_affected = |stale: &StaleWorkload| {
            stopped.scope.covers(stale.workload.namespace.as_deref().unwrap_or_default())
        };
        if count_pending(assessment, is_affected) > 0 && approved == Some(&stopped.approval_id) {
            ledger.stopped = None;
        } else {
            let why = format!(
                "{} stopped {}",
                describe_stopped_restarts(&stopped.scope),
                stop_cause(&stopped.scope, settings)
            );
            texts.extend(suspend(assessment, is_affected, &why, &stopped.approval_id));
        }
    }
    let (pending, total) = (count_pending(assessment, |_| true), assessment.scan.total);
    let explained = !ledger.converged_mesh.is_at(mesh);
    if needs_approval(pending, total, explained, settings) && approved != Some(mesh.as_str()) {
        let why = format!(
            "{pending} of {total} workloads are outdated without a change of Istio's version or configuration"
        );
        texts.extend(suspend(assessment, |_| true, &why, mesh.as_str()));
    }
    (!texts.is_empty()).then(|| texts.join(". "))
}

fn count_pending(assessment: &Assessment, is_affected: impl Fn(&StaleWorkload) -> bool) -> usize {
    let is_due = |(stale, decision): &&(StaleWorkload, Decision)| {
        matches!(decision, Decision::Restart(_)) && is_affected(stale)
    };
    assessment.decisions.iter().filter(is_due).count()
}

/// Suspends the restarts of the affected workloads. Returns why and how they are approved, if there are any.
fn suspend(
    assessment: &mut Assessment,
    is_affected: impl Fn(&StaleWorkload) -> bool,
    why: &str,
    approval_id: &str,
) -> Option<String> {
    let mut suspended = 0;
    for (stale, decision) in &mut assessment.decisions {
        if matches!(decision, Decision::Restart(_)) && is_affected(stale) {
            *decision = Decision::Blocked(BlockReason::WaveSuspended);
            suspended += 1;
        }
    }
    (suspended > 0).then(|| {
        format!(
            "{why}; {suspended} restarts are on hold. To approve them, annotate this resource with {APPROVE_RESTARTS_ANNOTATION}={approval_id}"
        )
    })
}

/// The beginning of a sentence about restarts that were stopped.
fn describe_stopped_restarts(scope: &StopScope) -> String {
    const MAX_NAMED_NAMESPACES: usize = 5;
    let StopScope::Namespaces(namespaces) = scope else { return "Restarts were".to_owned() };
    let noun = if namespaces.len() == 1 { "namespace" } else { "namespaces" };
    format!("Restarts in {noun} {} were", list_limited(namespaces, MAX_NAMED_NAMESPACES))
}

fn stop_cause(scope: &StopScope, settings: &ValidatedRestarter) -> String {
    match scope {
        StopScope::Wave => "after failed rollouts in several namespaces".to_owned(),
        StopScope::Namespaces(_) => format!("after {} failed rollouts", settings.failure_limit),
    }
}

/// The note of the Event that says that restarts were stopped.
#[must_use]
pub fn stopped_message(scope: &StopScope, settings: &ValidatedRestarter, approval_id: &str) -> String {
    format!(
        "{} stopped {}. Fix the workloads listed in status.dataPlane, then annotate this resource with {APPROVE_RESTARTS_ANNOTATION}={approval_id}",
        describe_stopped_restarts(scope),
        stop_cause(scope, settings),
    )
}

/// The shortest time between two scans that pods trigger, so that a tenant cannot make the operator scan continuously.
#[must_use]
pub fn scan_cost(assessment: &Assessment) -> Duration {
    SCAN_INTERVAL_PER_WORKLOAD
        .saturating_mul(u32::try_from(assessment.scan.total).unwrap_or(u32::MAX))
        .min(SCAN_INTERVAL)
}

/// The time to the next scan without a trigger. `mesh_age` is how long the mesh is known, if it is new.
#[must_use]
pub fn next_scan_delay(assessment: &Assessment, mesh_age: Option<Duration>, now: Timestamp) -> Duration {
    let cost = scan_cost(assessment);
    let retry = RETRY_INTERVAL + cost;
    let delay_for = |(_, decision): &(StaleWorkload, Decision)| match decision {
        Decision::Restart(_) => Duration::ZERO,
        Decision::Blocked(BlockReason::OutsideWindow(opens)) => elapsed(now, *opens) + Duration::from_secs(1),
        // Includes the cost, so that one workload that stays blocked does not make the operator scan continuously.
        Decision::Blocked(why) if why.severity() == Severity::Transient => retry,
        Decision::Blocked(_) => ANNOTATION_RECHECK_INTERVAL + cost,
    };
    let next = assessment.decisions.iter().map(delay_for).min().unwrap_or(SCAN_INTERVAL).min(SCAN_INTERVAL);
    // istiod may use its new configuration only now, and then give more workloads another sidecar.
    let may_be_propagating = mesh_age.is_some_and(|age| age < CONFIG_PROPAGATION_TIMEOUT);
    match (may_be_propagating, assessment.scan.unknown.is_empty()) {
        (true, _) => next.min(RETRY_INTERVAL),
        (false, false) => next.min(retry),
        (false, true) => next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::fixtures::{assessment, stale_workload};
    use crate::dataplane::schedule::scan_result::ScanResult;
    use crate::dataplane::workload::stateful_set;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn restarts(count: usize, total: usize) -> Assessment {
        let decisions = (0..count)
            .map(|index| (stale_workload(&format!("w{index}")), Decision::Restart(RestartStrategy::Template)))
            .collect();
        Assessment { scan: ScanResult { total, ..ScanResult::default() }, decisions }
    }

    #[test]
    fn an_unexplained_wave_waits_for_approval() {
        let converged =
            || RestartLedger { converged_mesh: ConvergedMesh::At("mesh".into()), ..RestartLedger::default() };
        let suspended = |ledger: &mut RestartLedger, approved| {
            let mut assessment = restarts(50, 100);
            let text = suspend_restarts(
                &mut assessment,
                ledger,
                &ValidatedRestarter::default(),
                &"mesh".into(),
                approved,
            );
            assert_eq!(text.is_some(), plan_restarts(&assessment).is_empty());
            text
        };
        let text = suspended(&mut converged(), None).unwrap();
        assert!(text.starts_with("50 of 100 workloads") && text.ends_with("approve-restarts=mesh"), "{text}");
        assert_eq!(suspended(&mut converged(), Some("mesh")), None);
        assert!(suspended(&mut converged(), Some("another")).is_some());
        assert_eq!(suspended(&mut RestartLedger::default(), None), None, "the mesh changed");
        let mut changed_back = converged();
        for mesh in ["another", "mesh"] {
            changed_back.observe_mesh(&mesh.into());
        }
        assert_eq!(suspended(&mut changed_back, None), None, "the mesh changed twice");
    }

    #[test]
    fn a_late_answer_of_istiod_to_a_change_needs_no_approval() {
        let record = |before: &ConvergedMesh, config_propagated, block_reasons: &[BlockReason]| {
            let mut ledger = RestartLedger { converged_mesh: before.clone(), ..RestartLedger::default() };
            let new = MeshRevision::from("new");
            record_convergence(&mut ledger, &new, config_propagated, &assessment(block_reasons));
            let suspended = suspend_restarts(
                &mut restarts(50, 100),
                &mut ledger,
                &ValidatedRestarter::default(),
                &new,
                None,
            );
            assert_eq!(suspended.is_some(), ledger.converged_mesh.is_at(&new));
            (suspended.is_some(), ledger.fully_scanned_mesh.is_some())
        };
        let old = &ConvergedMesh::At("old".into());
        assert_eq!(record(old, false, &[]), (false, false), "it may not know the change yet");
        assert_eq!(record(old, true, &[BlockReason::BarePod]), (true, true));
        assert_eq!(
            record(old, true, &[BlockReason::OutsideWindow(Timestamp::UNIX_EPOCH)]),
            (false, true),
            "restarts are to come"
        );
        assert_eq!(
            record(old, true, &[BlockReason::NoResponse("no".into())]),
            (false, true),
            "they are tried again"
        );
        assert_eq!(record(&ConvergedMesh::Never, false, &[]), (true, false), "there was no mesh before");
        assert_eq!(
            record(&ConvergedMesh::Superseded, false, &[]),
            (false, false),
            "there was one, and another since then"
        );
    }

    #[test]
    fn the_fullest_namespace_goes_first_within_the_same_priority() {
        type Case<'a> = (&'a str, &'a str, fn(&mut StaleWorkload));
        let plain = |_: &mut StaleWorkload| {};
        let kyma = |stale: &mut StaleWorkload| stale.kyma = true;
        let stateful = |stale: &mut StaleWorkload| stale.kind = stateful_set::KIND;
        let gateway = |stale: &mut StaleWorkload| stale.gateway = true;
        let decisions: [Case<'_>; 11] = [
            ("few", "a", plain),
            ("few", "b", gateway),
            ("many", "c", gateway),
            ("many", "d", plain),
            ("many", "e", plain),
            ("many", "f", plain),
            ("many", "g", gateway),
            ("many", "h", stateful),
            ("some", "i", kyma),
            ("some", "j", plain),
            ("some", "k", plain),
        ];
        let restart = |(namespace, name, change): Case<'_>| {
            let mut stale = stale_workload(name);
            stale.workload.namespace = Some(namespace.to_owned());
            change(&mut stale);
            (stale, Decision::Restart(RestartStrategy::Template))
        };
        let decisions = decisions.map(restart).to_vec();
        let names: Vec<_> = plan_restarts(&Assessment { scan: ScanResult::default(), decisions })
            .into_iter()
            .map(|(stale, _)| stale.workload.name)
            .collect();
        assert_eq!(names.concat(), "idejafkhcbg");
    }

    #[test]
    fn a_restart_without_response_is_retried_with_growing_delays() {
        let mut before = None;
        for (seconds, severity) in [
            (30, Severity::Transient),
            (60, Severity::Transient),
            (120, Severity::Transient),
            (240, Severity::Transient),
            (480, Severity::Transient),
            (600, Severity::ActionRequired),
            (600, Severity::ActionRequired),
        ] {
            let (why, pause) = back_off_failed_restart(BlockReason::NoResponse("no".into()), before);
            assert_eq!((pause.as_secs(), why.severity()), (seconds, severity));
            before = Some(pause);
        }
        let refused = BlockReason::Refused("no".into());
        assert_eq!(back_off_failed_restart(refused.clone(), None), (refused, SCAN_INTERVAL));
    }

    #[test]
    fn consecutive_failures_make_scans_less_frequent() {
        assert_eq!([1, 2, 3, 4, 99].map(|failures| retry_delay(failures).as_secs()), [5, 10, 20, 30, 30]);
    }

    #[test]
    fn a_stopped_wave_waits_for_approval_or_a_change_of_the_mesh() {
        let stopped = || {
            let mut ledger = RestartLedger::default();
            ledger.record_stop(&"mesh".into(), &StopScope::Wave, second(1));
            ledger
        };
        for (mesh, approved, is_suspended) in [
            ("mesh", None, true),
            ("mesh", Some("mesh"), true),
            ("mesh", Some("mesh-1"), false),
            ("new", None, false),
        ] {
            let text = suspend_restarts(
                &mut restarts(1, 100),
                &mut stopped(),
                &ValidatedRestarter::default(),
                &mesh.into(),
                approved,
            );
            assert_eq!(text.is_some(), is_suspended, "{mesh} {approved:?}");
        }
    }

    #[test]
    fn a_stopped_namespace_waits_and_the_others_go_on() {
        let mut ledger = RestartLedger::default();
        ledger.record_stop(&"mesh".into(), &StopScope::Namespaces(["a".to_owned()].into()), second(1));
        let in_namespaces = || {
            let mut assessment = restarts(3, 100);
            for ((stale, _), namespace) in assessment.decisions.iter_mut().zip(["a", "b", "a"]) {
                stale.workload.namespace = Some(namespace.to_owned());
            }
            assessment
        };
        let mut assessment = in_namespaces();
        let text = suspend_restarts(
            &mut assessment,
            &mut ledger,
            &ValidatedRestarter::default(),
            &"mesh".into(),
            None,
        )
        .unwrap();
        assert!(text.starts_with(
            "Restarts in namespace a were stopped after 3 failed rollouts; 2 restarts are on hold"
        ));
        assert!(text.ends_with("approve-restarts=mesh-1"), "{text}");
        let names: Vec<_> =
            plan_restarts(&assessment).into_iter().map(|(stale, _)| stale.workload.name).collect();
        assert_eq!(names, ["w1"]);
        let mut assessment = in_namespaces();
        assert_eq!(
            suspend_restarts(
                &mut assessment,
                &mut ledger,
                &ValidatedRestarter::default(),
                &"mesh".into(),
                Some("mesh-1")
            ),
            None
        );
        assert_eq!((plan_restarts(&assessment).len(), ledger.stopped), (3, None));
    }

    #[test]
    fn the_next_scan_is_due_when_something_may_have_changed() {
        for (block_reasons, age, seconds) in [
            (vec![], None, 600),
            (vec![], Some(CONFIG_PROPAGATION_TIMEOUT / 2), 30),
            (vec![], Some(CONFIG_PROPAGATION_TIMEOUT), 600),
            (vec![BlockReason::BarePod], None, 60),
            (vec![BlockReason::Unhealthy("x".into()), BlockReason::BarePod], None, 30),
            (vec![BlockReason::OutsideWindow(second(1010))], None, 11),
            (vec![BlockReason::OutsideWindow(second(900))], None, 1),
            (vec![BlockReason::OutsideWindow(second(9000))], None, 600),
        ] {
            let next = next_scan_delay(&assessment(&block_reasons), age, second(1000));
            assert_eq!(next.as_secs(), seconds, "{block_reasons:?} {age:?}");
        }
    }
}
