//! What people see of the data plane in the status. Pure.

use crate::api::conditions::Reason;
use crate::api::v1alpha2::{DataPlaneStatus, Leftover};
use crate::dataplane::decide::finding::{Decision, Finding, Hindrance, Weight};
use crate::dataplane::decide::found::Survey;
use crate::dataplane::decide::pace::Progress;
use crate::dataplane::reason::sentence;
use crate::dataplane::requests::LARGEST;
use crate::object::ObjectId;
use crate::status::{Condition, DataPlane};
use crate::text::sanitized;

/// Leftovers that the status lists.
const LISTED: usize = 50;
/// Bytes of a text about one workload.
const SHOWN: usize = 1000;
/// Workloads that the condition names, as in the Go operator.
const NAMED: usize = 5;

/// The status after a look, while `progress` is how far restarts are and `held` why they wait.
#[must_use]
pub fn report(survey: &Survey, progress: &Progress, held: Option<&str>) -> DataPlane {
    let left: Vec<(&Finding, &Hindrance)> = survey
        .decisions
        .iter()
        .filter_map(|(finding, decision)| match decision {
            Decision::Restart(_) => None,
            Decision::Hold(hindrance) => Some((finding, hindrance)),
        })
        .collect();
    let status = status(survey, &left, progress, held);
    let condition = condition(survey, &left, progress, held);
    DataPlane { condition, status }
}

fn status(
    survey: &Survey,
    left: &[(&Finding, &Hindrance)],
    progress: &Progress,
    held: Option<&str>,
) -> DataPlaneStatus {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let count = |is: fn(&Hindrance) -> bool| number(left.iter().filter(|(_, why)| is(why)).count());
    let unproven = survey.found.unproven.iter().map(|(id, why)| entry(id, "unknown", why));
    let mut ordered: Vec<&(&Finding, &Hindrance)> = left.iter().collect();
    ordered.sort_by_key(|(_, why)| std::cmp::Reverse(why.weight()));
    let listed = ordered.into_iter().map(|(finding, why)| leftover(finding, why));
    let troubles = progress.troubles.iter().map(|it| entry(&it.workload, &it.outdated, &it.why));
    DataPlaneStatus {
        total: number(survey.found.total),
        stale: number((survey.decisions.len() + survey.found.more).saturating_sub(progress.done)),
        restarting: number(progress.running),
        done: number(progress.done),
        excluded: count(|why| *why == Hindrance::Excluded),
        failed: number(progress.failed) + count(|why| matches!(why, Hindrance::RolloutFailed(_))),
        leftovers: troubles.chain(unproven).chain(listed).take(LISTED).collect(),
        held: held.map(str::to_owned),
    }
}

/// How the status lists a workload that is left.
#[must_use]
pub fn leftover(finding: &Finding, why: &Hindrance) -> Leftover {
    entry(&finding.workload, &sentence(&finding.reasons), &why.to_string())
}

fn entry(id: &ObjectId, outdated: &str, prevented: &str) -> Leftover {
    Leftover {
        kind: id.kind.clone(),
        namespace: id.namespace.clone().unwrap_or_default(),
        name: id.name.clone(),
        outdated: outdated.to_owned(),
        prevented: sanitized(prevented, SHOWN),
    }
}

fn condition(
    survey: &Survey,
    left: &[(&Finding, &Hindrance)],
    progress: &Progress,
    held: Option<&str>,
) -> Condition {
    if progress.running + progress.waiting > 0 {
        let text = format!(
            "Restarting workloads with outdated sidecars: {} under way, {} done, {} to come, {} failed",
            progress.running, progress.done, progress.waiting, progress.failed
        );
        return told(Reason::ProxySidecarRestartPartiallySucceeded, text);
    }
    if let Some(held) = held {
        return told(Reason::ProxySidecarManualRestartRequired, held.to_owned());
    }
    let manual: Vec<&ObjectId> = left
        .iter()
        .filter(|(_, why)| why.weight() == Weight::Manual)
        .map(|(finding, _)| &finding.workload)
        .collect();
    if !manual.is_empty() {
        return told(Reason::ProxySidecarManualRestartRequired, names(&manual));
    }
    let waiting = left.iter().filter(|(_, why)| why.weight() == Weight::Passing).count();
    let unproven = survey.found.unproven.len() + survey.found.more_unproven;
    if waiting + unproven > 0 {
        let text = format!("{} outdated workloads are looked at again", waiting + unproven);
        return told(Reason::ProxySidecarRestartPartiallySucceeded, text);
    }
    Condition {
        reason: Reason::ProxySidecarRestartSucceeded,
        message: remark(left.len(), survey.found.skipped),
    }
}

/// The text of the Go operator, which people and tools look for.
fn names(workloads: &[&ObjectId]) -> String {
    let named: Vec<String> = workloads
        .iter()
        .take(NAMED)
        .map(|id| format!("{}/{}", id.namespace.as_deref().unwrap_or_default(), id.name))
        .collect();
    let mut text =
        format!("The sidecars of the following workloads could not be restarted: {}", named.join(", "));
    if workloads.len() > NAMED {
        text += &format!(" and {} additional workload(s)", workloads.len() - NAMED);
    }
    text
}

fn remark(left: usize, skipped: usize) -> Option<String> {
    let left = (left > 0).then(|| {
        format!("Every sidecar is up to date, except those of {left} workloads that are not to be restarted now; see status.dataPlane")
    });
    let skipped = (skipped > 0).then(|| {
        format!(
            "Pods skipped: {skipped} are larger than {LARGEST} bytes, and their sidecars are not looked at"
        )
    });
    let texts: Vec<String> = left.into_iter().chain(skipped).collect();
    (!texts.is_empty()).then(|| texts.join(". "))
}

fn told(reason: Reason, message: String) -> Condition {
    Condition { reason, message: Some(message) }
}

/// The status when the data plane could not be looked at.
#[must_use]
pub fn failure(text: String, last: DataPlaneStatus) -> DataPlane {
    DataPlane { condition: told(Reason::ProxySidecarRestartFailed, text), status: last }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::decide::finding::Method;
    use crate::dataplane::decide::pace::Trouble;
    use crate::dataplane::fixtures::{finding, survey};

    fn message(holds: &[Hindrance]) -> (Reason, String) {
        let condition = report(&survey(holds), &Progress::default(), None).condition;
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
            let (reason, text) = message(&vec![Hindrance::BarePod; count]);
            assert_eq!((reason, text), (Reason::ProxySidecarManualRestartRequired, format!("{TEXT}{names}")));
        }
        assert_eq!(message(&[]), (Reason::ProxySidecarRestartSucceeded, String::new()));
    }

    #[test]
    fn what_nobody_has_to_mend_is_no_warning() {
        for why in
            [Hindrance::Excluded, Hindrance::ReportOnly, Hindrance::EndsByItself, Hindrance::OutsideWindow(0)]
        {
            let (reason, text) = message(std::slice::from_ref(&why));
            assert_eq!(reason, Reason::ProxySidecarRestartSucceeded, "{why:?}");
            assert!(text.contains("1 workloads"), "{text}");
        }
        let (reason, _) = message(&[Hindrance::RolloutUnderWay("x".into())]);
        assert_eq!(reason, Reason::ProxySidecarRestartPartiallySucceeded);
    }

    #[test]
    fn a_wave_tells_how_far_it_is_before_it_tells_what_is_left() {
        let mut survey = survey(&[Hindrance::BarePod]);
        survey.decisions.push((finding("r"), Decision::Restart(Method::Template)));
        let trouble = Trouble {
            workload: finding("slow").workload,
            outdated: "old".to_owned(),
            why: "it takes long: no pod comes".to_owned(),
        };
        let progress = Progress { waiting: 3, running: 2, done: 4, failed: 1, troubles: vec![trouble] };
        let part = report(&survey, &progress, None);
        assert_eq!(part.condition.reason, Reason::ProxySidecarRestartPartiallySucceeded);
        assert_eq!((part.status.restarting, part.status.done, part.status.failed), (2, 4, 1));
        let listed: Vec<_> = part.status.leftovers.iter().map(|left| left.name.as_str()).collect();
        assert_eq!(listed, ["slow", "w1"]);
        assert_eq!(part.status.leftovers[0].prevented, "it takes long: no pod comes");
        let held = report(&survey, &Progress::default(), Some("released by x")).condition;
        assert_eq!(held.message.as_deref(), Some("released by x"));
    }

    #[test]
    fn the_status_stays_small_and_lists_first_what_somebody_has_to_do() {
        let mut holds = vec![Hindrance::Excluded; 60];
        holds.push(Hindrance::BarePod);
        let status = report(&survey(&holds), &Progress::default(), None).status;
        assert_eq!((status.leftovers.len(), status.excluded), (50, 60));
        assert_eq!(status.leftovers.first().map(|left| left.name.as_str()), Some("w61"));
    }
}
