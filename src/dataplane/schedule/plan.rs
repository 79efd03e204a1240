//! What follows from a look: which restarts are made, whether they wait for a person, and when to look again. Pure.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use super::settings::RestartSettings;
use super::stale_workload::{
    BlockReason, Decision, RestartPriority, RestartStrategy, Severity, StaleWorkload,
};
use super::throttle::{StopScope, needs_approval};
use crate::dataplane::names::APPROVE_RESTARTS_ANNOTATION;
use crate::dataplane::restart_ledger::RestartLedger;
use crate::dataplane::schedule::scan_result::Assessment;

/// Looks without a trigger.
pub const SCAN_INTERVAL: Duration = Duration::from_secs(600);
/// The next look where something may pass soon, and after a failure.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// A "no" of injection is final when istiod had this long to take its configuration in; a kubelet takes a minute to
/// bring a ConfigMap to its pod.
pub const CONFIG_PROPAGATION_TIMEOUT: Duration = Duration::from_secs(120);
/// The next look where an annotation may have been set.
const ANNOTATION_RECHECK_INTERVAL: Duration = Duration::from_secs(60);
/// What each workload adds to that: a look reads all pods, page by page.
const SCAN_INTERVAL_PER_WORKLOAD: Duration = Duration::from_millis(20);

/// The next look after a failure, where the look before did not fail.
const MIN_RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// When to look again after so many failures in a row.
#[must_use]
pub fn retry_delay(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    MIN_RETRY_INTERVAL.saturating_mul(doubled).min(RETRY_INTERVAL)
}

/// How long a restart that did not come about is left alone, if it was left alone for `before` already, and what is told
/// meanwhile.
///
/// What may pass soon is tried again soon, and ever more seldom; in the end somebody has to know of it.
#[must_use]
pub fn back_off_failed_restart(why: BlockReason, before: Option<Duration>) -> (BlockReason, Duration) {
    let BlockReason::NoResponse(why) = why else { return (why, SCAN_INTERVAL) };
    let pause = before.map_or(RETRY_INTERVAL, |before| before.saturating_mul(2)).min(SCAN_INTERVAL);
    (if pause < SCAN_INTERVAL { BlockReason::NoResponse(why) } else { BlockReason::Refused(why) }, pause)
}

/// The restarts of a survey. Of equally urgent ones, those come first in whose namespace most are to come: a namespace that
/// is left over in the end goes no faster than its own limit lets it.
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

/// Whether a restart only waits for its time: it belongs to the change that made it necessary, not to the next.
#[must_use]
pub fn is_pending(decision: &Decision) -> bool {
    use BlockReason::{NoResponse, OutsideWindow, RestartsDisabled, WaveSuspended};
    matches!(
        decision,
        Decision::Restart(_)
            | Decision::Blocked(WaveSuspended | RestartsDisabled | OutsideWindow(_) | NoResponse(_))
    )
}

/// Notes what a look has settled after which nothing is restarted. `taken_in` tells whether istiod has had the time to take
/// the configuration of the mesh in.
pub fn record_convergence(
    ledger: &mut RestartLedger,
    mesh: &str,
    config_propagated: bool,
    assessment: &Assessment,
) {
    // Before that, injection may have answered as it did before the change; what it says later is no surprise then. Where
    // nothing was settled ever, there was no such change.
    let is_final = config_propagated || ledger.converged_mesh.is_none();
    if is_final && !assessment.decisions.iter().any(|(_, decision)| is_pending(decision)) {
        ledger.converged_mesh = Some(mesh.to_owned());
    }
    // What the pods do not show would be overlooked after a start, so that all are asked then.
    let all_are_candidates = assessment.scan.stale_owners.is_subset(&assessment.scan.candidate_owners);
    if config_propagated && all_are_candidates && assessment.scan.unknown.is_empty() {
        ledger.fully_scanned_mesh = Some(mesh.to_owned());
    }
}

/// Holds restarts back that were stopped for this mesh, and all of them where nothing explains how many they are.
///
/// `released` is what the resource's annotation says. Returns what the restarts wait for.
pub fn suspend_restarts(
    assessment: &mut Assessment,
    ledger: &mut RestartLedger,
    settings: &RestartSettings,
    mesh: &str,
    approved: Option<&str>,
) -> Option<String> {
    let mut texts = Vec::new();
    if let Some(stopped) = ledger.stopped.clone().filter(|stopped| stopped.approval_id.starts_with(mesh)) {
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
    let explained = ledger.converged_mesh.as_deref() != Some(mesh);
    if needs_approval(pending, total, explained, settings) && approved != Some(mesh) {
        let why = format!(
            "{pending} of {total} workloads are outdated without a change of Istio's version or configuration"
        );
        texts.extend(suspend(assessment, |_| true, &why, mesh));
    }
    (!texts.is_empty()).then(|| texts.join(". "))
}

fn count_pending(assessment: &Assessment, is_affected: impl Fn(&StaleWorkload) -> bool) -> usize {
    let is_due = |(stale, decision): &&(StaleWorkload, Decision)| {
        matches!(decision, Decision::Restart(_)) && is_affected(stale)
    };
    assessment.decisions.iter().filter(is_due).count()
}

/// Holds the restarts of what is concerned; tells why and how they are released, if there are any.
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
            "{why}; {suspended} restarts wait. To release them, annotate this resource with {APPROVE_RESTARTS_ANNOTATION}={approval_id}"
        )
    })
}

/// The restarts that were stopped, as the beginning of a sentence.
fn describe_stopped_restarts(scope: &StopScope) -> String {
    const MAX_NAMED_NAMESPACES: usize = 5;
    let StopScope::Namespaces(namespaces) = scope else { return "Restarts were".to_owned() };
    let names: Vec<&str> = namespaces.iter().take(MAX_NAMED_NAMESPACES).map(String::as_str).collect();
    let noun = if names.len() == 1 { "namespace" } else { "namespaces" };
    let more = namespaces.len() - names.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("Restarts in {noun} {}{more} were", names.join(", "))
}

fn stop_cause(scope: &StopScope, settings: &RestartSettings) -> String {
    match scope {
        StopScope::Wave => "after failed rollouts in several namespaces".to_owned(),
        StopScope::Namespaces(_) => format!("after {} failed rollouts", settings.failure_limit),
    }
}

/// What is announced when restarts were stopped.
#[must_use]
pub fn stopped_message(scope: &StopScope, settings: &RestartSettings, approval_id: &str) -> String {
    format!(
        "{} stopped {}. Correct the workloads listed in status.dataPlane, then annotate this resource with {APPROVE_RESTARTS_ANNOTATION}={approval_id}",
        describe_stopped_restarts(scope),
        stop_cause(scope, settings),
    )
}

/// How long a look at so many workloads is paused for at least, so that nobody can make the operator look all the time.
#[must_use]
pub fn scan_cost(assessment: &Assessment) -> Duration {
    SCAN_INTERVAL_PER_WORKLOAD
        .saturating_mul(u32::try_from(assessment.scan.total).unwrap_or(u32::MAX))
        .min(SCAN_INTERVAL)
}

/// When to look again without a trigger. `mesh_age` is how long the mesh is known, if it is new; `now` in seconds since
/// the epoch.
#[must_use]
pub fn next_scan_delay(assessment: &Assessment, mesh_age: Option<Duration>, now: i64) -> Duration {
    let cost = scan_cost(assessment);
    let retry = RETRY_INTERVAL + cost;
    let delay_for = |(_, decision): &(StaleWorkload, Decision)| match decision {
        Decision::Restart(_) => Duration::ZERO,
        Decision::Blocked(BlockReason::OutsideWindow(opens)) => {
            Duration::from_secs(u64::try_from(opens - now).unwrap_or_default() + 1)
        }
        // Also here: what does not pass for one workload must not make the operator look all the time.
        Decision::Blocked(why) if why.severity() == Severity::Transient => retry,
        Decision::Blocked(_) => ANNOTATION_RECHECK_INTERVAL + cost,
    };
    let next = assessment.decisions.iter().map(delay_for).min().unwrap_or(SCAN_INTERVAL).min(SCAN_INTERVAL);
    // istiod may take its configuration in only now; something that nobody could tell may be told now.
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
    use crate::dataplane::workload::kind::WorkloadKind;

    fn restarts(count: usize, total: usize) -> Assessment {
        let decisions = (0..count)
            .map(|index| (stale_workload(&format!("w{index}")), Decision::Restart(RestartStrategy::Template)))
            .collect();
        Assessment { scan: ScanResult { total, ..ScanResult::default() }, decisions }
    }

    #[test]
    fn an_unexplained_wave_waits_for_approval() {
        let converged = || RestartLedger { converged_mesh: Some("mesh".into()), ..RestartLedger::default() };
        let suspended = |ledger: &mut RestartLedger, approved| {
            let mut assessment = restarts(50, 100);
            let text =
                suspend_restarts(&mut assessment, ledger, &RestartSettings::default(), "mesh", approved);
            assert_eq!(text.is_some(), plan_restarts(&assessment).is_empty());
            text
        };
        let text = suspended(&mut converged(), None).unwrap();
        assert!(text.starts_with("50 of 100 workloads") && text.ends_with("release=mesh"), "{text}");
        assert_eq!(suspended(&mut converged(), Some("mesh")), None);
        assert!(suspended(&mut converged(), Some("another")).is_some());
        assert_eq!(suspended(&mut RestartLedger::default(), None), None, "the mesh changed");
        let mut changed_back = converged();
        for mesh in ["another", "mesh"] {
            changed_back.observe_mesh(mesh);
        }
        assert_eq!(suspended(&mut changed_back, None), None, "the mesh changed twice");
    }

    #[test]
    fn a_late_answer_of_istiod_to_a_change_needs_no_approval() {
        let record = |before: Option<&str>, config_propagated, block_reasons: &[BlockReason]| {
            let mut ledger =
                RestartLedger { converged_mesh: before.map(str::to_owned), ..RestartLedger::default() };
            record_convergence(&mut ledger, "new", config_propagated, &assessment(block_reasons));
            let suspended = suspend_restarts(
                &mut restarts(50, 100),
                &mut ledger,
                &RestartSettings::default(),
                "new",
                None,
            );
            assert_eq!(suspended.is_some(), ledger.converged_mesh.as_deref() == Some("new"));
            (suspended.is_some(), ledger.fully_scanned_mesh.is_some())
        };
        let old = Some("old");
        assert_eq!(record(old, false, &[]), (false, false), "it may not know the change yet");
        assert_eq!(record(old, true, &[BlockReason::BarePod]), (true, true));
        assert_eq!(
            record(old, true, &[BlockReason::OutsideWindow(0)]),
            (false, true),
            "restarts are to come"
        );
        assert_eq!(
            record(old, true, &[BlockReason::NoResponse("no".into())]),
            (false, true),
            "they are tried again"
        );
        assert_eq!(record(None, false, &[]), (true, false), "there was no mesh before");
        assert_eq!(record(Some(""), false, &[]), (false, false), "there was one, and another since then");
    }

    #[test]
    fn the_fullest_namespace_goes_first_within_the_same_priority() {
        type Case<'a> = (&'a str, &'a str, fn(&mut StaleWorkload));
        let plain = |_: &mut StaleWorkload| {};
        let kyma = |stale: &mut StaleWorkload| stale.kyma = true;
        let stateful = |stale: &mut StaleWorkload| stale.kind = WorkloadKind::StatefulSet;
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
            ledger.record_stop("mesh", &StopScope::Wave, 1);
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
                &RestartSettings::default(),
                mesh,
                approved,
            );
            assert_eq!(text.is_some(), is_suspended, "{mesh} {approved:?}");
        }
    }

    #[test]
    fn a_stopped_namespace_waits_and_the_others_go_on() {
        let mut ledger = RestartLedger::default();
        ledger.record_stop("mesh", &StopScope::Namespaces(["a".to_owned()].into()), 1);
        let in_namespaces = || {
            let mut assessment = restarts(3, 100);
            for ((stale, _), namespace) in assessment.decisions.iter_mut().zip(["a", "b", "a"]) {
                stale.workload.namespace = Some(namespace.to_owned());
            }
            assessment
        };
        let mut assessment = in_namespaces();
        let text = suspend_restarts(&mut assessment, &mut ledger, &RestartSettings::default(), "mesh", None)
            .unwrap();
        assert!(
            text.starts_with("Restarts in namespace a were stopped after 3 failed rollouts; 2 restarts wait")
        );
        assert!(text.ends_with("release=mesh-1"), "{text}");
        let names: Vec<_> =
            plan_restarts(&assessment).into_iter().map(|(stale, _)| stale.workload.name).collect();
        assert_eq!(names, ["w1"]);
        let mut assessment = in_namespaces();
        assert_eq!(
            suspend_restarts(
                &mut assessment,
                &mut ledger,
                &RestartSettings::default(),
                "mesh",
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
            (vec![BlockReason::OutsideWindow(1010)], None, 11),
            (vec![BlockReason::OutsideWindow(900)], None, 1),
            (vec![BlockReason::OutsideWindow(9000)], None, 600),
        ] {
            let next = next_scan_delay(&assessment(&block_reasons), age, 1000);
            assert_eq!(next.as_secs(), seconds, "{block_reasons:?} {age:?}");
        }
    }
}
