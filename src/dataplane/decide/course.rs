//! What follows from a look: which restarts are made, whether they wait for a person, and when to look again. Pure.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use super::finding::{Decision, Finding, Hindrance, Method, Urgency, Weight};
use super::pace::{Extent, needs_release};
use super::settings::Settings;
use crate::dataplane::decide::found::Survey;
use crate::dataplane::memory::Memory;
use crate::dataplane::names::RELEASE_ANNOTATION;

/// Looks without a trigger.
pub const INTERVAL: Duration = Duration::from_secs(600);
/// The next look where something may pass soon, and after a failure.
pub const SOON: Duration = Duration::from_secs(30);
/// A "no" of injection is final when istiod had this long to take its configuration in; a kubelet takes a minute to
/// bring a ConfigMap to its pod.
pub const TAKEN_IN: Duration = Duration::from_secs(120);
/// The next look where an annotation may have been set.
const ANNOTATED: Duration = Duration::from_secs(60);
/// What each workload adds to that: a look reads all pods, page by page.
const LARGE: Duration = Duration::from_millis(20);

/// The next look after a failure, where the look before did not fail.
const AGAIN: Duration = Duration::from_secs(5);

/// When to look again after so many failures in a row.
#[must_use]
pub fn after_failure(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    AGAIN.saturating_mul(doubled).min(SOON)
}

/// How long a restart that did not come about is left alone, if it was left alone for `before` already, and what is told
/// meanwhile.
///
/// What may pass soon is tried again soon, and ever more seldom; in the end somebody has to know of it.
#[must_use]
pub fn missed(why: Hindrance, before: Option<Duration>) -> (Hindrance, Duration) {
    let Hindrance::Unanswered(why) = why else { return (why, INTERVAL) };
    let pause = before.map_or(SOON, |before| before.saturating_mul(2)).min(INTERVAL);
    (if pause < INTERVAL { Hindrance::Unanswered(why) } else { Hindrance::Refused(why) }, pause)
}

/// The restarts of a survey. Of equally urgent ones, those come first in whose namespace most are to come: a namespace that
/// is left over in the end goes no faster than its own limit lets it.
#[must_use]
pub fn plan(survey: &Survey) -> Vec<(Finding, Method)> {
    let mut to_come: HashMap<(Urgency, Option<&str>), usize> = HashMap::new();
    let mut restarts = Vec::new();
    for (finding, decision) in survey.decisions.iter().rev() {
        let Decision::Restart(method) = decision else { continue };
        let urgency = finding.urgency();
        let rank = to_come.entry((urgency, finding.workload.namespace.as_deref())).or_default();
        *rank += 1;
        restarts.push(((urgency, Reverse(*rank)), finding, *method));
    }
    restarts.reverse();
    restarts.sort_by_key(|(order, ..)| *order);
    restarts.into_iter().map(|(_, finding, method)| (finding.clone(), method)).collect()
}

/// Whether a restart only waits for its time: it belongs to the change that made it necessary, not to the next.
#[must_use]
pub fn is_to_come(decision: &Decision) -> bool {
    use Hindrance::{OutsideWindow, SwitchedOff, Unanswered, WaveHeld};
    matches!(
        decision,
        Decision::Restart(_) | Decision::Hold(WaveHeld | SwitchedOff | OutsideWindow(_) | Unanswered(_))
    )
}

/// Notes what a look has settled after which nothing is restarted. `taken_in` tells whether istiod has had the time to take
/// the configuration of the mesh in.
pub fn settle(memory: &mut Memory, mesh: &str, taken_in: bool, survey: &Survey) {
    // Before that, injection may have answered as it did before the change; what it says later is no surprise then. Where
    // nothing was settled ever, there was no such change.
    let is_final = taken_in || memory.settled.is_none();
    if is_final && !survey.decisions.iter().any(|(_, decision)| is_to_come(decision)) {
        memory.settled = Some(mesh.to_owned());
    }
    // What the pods do not show would be overlooked after a start, so that all are asked then.
    let shown = survey.found.stale.is_subset(&survey.found.suspects);
    if taken_in && shown && survey.found.unproven.is_empty() {
        memory.asked = Some(mesh.to_owned());
    }
}

/// Holds restarts back that were stopped for this mesh, and all of them where nothing explains how many they are.
///
/// `released` is what the resource's annotation says. Returns what the restarts wait for.
pub fn hold(
    survey: &mut Survey,
    memory: &mut Memory,
    settings: &Settings,
    mesh: &str,
    released: Option<&str>,
) -> Option<String> {
    let mut texts = Vec::new();
    if let Some(stopped) = memory.stopped.clone().filter(|stopped| stopped.release.starts_with(mesh)) {
        let concerns = |finding: &Finding| {
            stopped.extent.covers(finding.workload.namespace.as_deref().unwrap_or_default())
        };
        if waiting(survey, concerns) > 0 && released == Some(&stopped.release) {
            memory.stopped = None;
        } else {
            let why =
                format!("{} stopped {}", restarts_of(&stopped.extent), after(&stopped.extent, settings));
            texts.extend(hold_back(survey, concerns, &why, &stopped.release));
        }
    }
    let (waits, total) = (waiting(survey, |_| true), survey.found.total);
    let explained = memory.settled.as_deref() != Some(mesh);
    if needs_release(waits, total, explained, settings) && released != Some(mesh) {
        let why = format!(
            "{waits} of {total} workloads are outdated without a change of Istio's version or configuration"
        );
        texts.extend(hold_back(survey, |_| true, &why, mesh));
    }
    (!texts.is_empty()).then(|| texts.join(". "))
}

fn waiting(survey: &Survey, concerns: impl Fn(&Finding) -> bool) -> usize {
    let is_due = |(finding, decision): &&(Finding, Decision)| {
        matches!(decision, Decision::Restart(_)) && concerns(finding)
    };
    survey.decisions.iter().filter(is_due).count()
}

/// Holds the restarts of what is concerned; tells why and how they are released, if there are any.
fn hold_back(
    survey: &mut Survey,
    concerns: impl Fn(&Finding) -> bool,
    why: &str,
    release: &str,
) -> Option<String> {
    let mut waits = 0;
    for (finding, decision) in &mut survey.decisions {
        if matches!(decision, Decision::Restart(_)) && concerns(finding) {
            *decision = Decision::Hold(Hindrance::WaveHeld);
            waits += 1;
        }
    }
    (waits > 0).then(|| {
        format!(
            "{why}; {waits} restarts wait. To release them, annotate this resource with {RELEASE_ANNOTATION}={release}"
        )
    })
}

/// The restarts that were stopped, as the beginning of a sentence.
fn restarts_of(extent: &Extent) -> String {
    const NAMED: usize = 5;
    let Extent::Namespaces(namespaces) = extent else { return "Restarts were".to_owned() };
    let names: Vec<&str> = namespaces.iter().take(NAMED).map(String::as_str).collect();
    let noun = if names.len() == 1 { "namespace" } else { "namespaces" };
    let more = namespaces.len() - names.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("Restarts in {noun} {}{more} were", names.join(", "))
}

fn after(extent: &Extent, settings: &Settings) -> String {
    match extent {
        Extent::Wave => "after failed rollouts in several namespaces".to_owned(),
        Extent::Namespaces(_) => format!("after {} failed rollouts", settings.failure_limit),
    }
}

/// What is announced when restarts were stopped.
#[must_use]
pub fn stopped(extent: &Extent, settings: &Settings, release: &str) -> String {
    format!(
        "{} stopped {}. Correct the workloads listed in status.dataPlane, then annotate this resource with {RELEASE_ANNOTATION}={release}",
        restarts_of(extent),
        after(extent, settings),
    )
}

/// How long a look at so many workloads is paused for at least, so that nobody can make the operator look all the time.
#[must_use]
pub fn cost(survey: &Survey) -> Duration {
    LARGE.saturating_mul(u32::try_from(survey.found.total).unwrap_or(u32::MAX)).min(INTERVAL)
}

/// When to look again without a trigger. `mesh_age` is how long the mesh is known, if it is new; `now` in seconds since
/// the epoch.
#[must_use]
pub fn next_look(survey: &Survey, mesh_age: Option<Duration>, now: i64) -> Duration {
    let cost = cost(survey);
    let soon = SOON + cost;
    let wait = |(_, decision): &(Finding, Decision)| match decision {
        Decision::Restart(_) => Duration::ZERO,
        Decision::Hold(Hindrance::OutsideWindow(opens)) => {
            Duration::from_secs(u64::try_from(opens - now).unwrap_or_default() + 1)
        }
        // Also here: what does not pass for one workload must not make the operator look all the time.
        Decision::Hold(why) if why.weight() == Weight::Passing => soon,
        Decision::Hold(_) => ANNOTATED + cost,
    };
    let next = survey.decisions.iter().map(wait).min().unwrap_or(INTERVAL).min(INTERVAL);
    // istiod may take its configuration in only now; something that nobody could tell may be told now.
    let young = mesh_age.is_some_and(|age| age < TAKEN_IN);
    match (young, survey.found.unproven.is_empty()) {
        (true, _) => next.min(SOON),
        (false, false) => next.min(soon),
        (false, true) => next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::decide::found::Found;
    use crate::dataplane::fixtures::{finding, survey};
    use crate::dataplane::kind::Kind;

    fn restarts(count: usize, total: usize) -> Survey {
        let decisions = (0..count)
            .map(|index| (finding(&format!("w{index}")), Decision::Restart(Method::Template)))
            .collect();
        Survey { found: Found { total, ..Found::default() }, decisions }
    }

    #[test]
    fn an_unexplained_wave_waits_until_it_is_released() {
        let settled = || Memory { settled: Some("mesh".into()), ..Memory::default() };
        let held = |memory: &mut Memory, released| {
            let mut survey = restarts(50, 100);
            let text = hold(&mut survey, memory, &Settings::default(), "mesh", released);
            assert_eq!(text.is_some(), plan(&survey).is_empty());
            text
        };
        let text = held(&mut settled(), None).unwrap();
        assert!(text.starts_with("50 of 100 workloads") && text.ends_with("release=mesh"), "{text}");
        assert_eq!(held(&mut settled(), Some("mesh")), None);
        assert!(held(&mut settled(), Some("another")).is_some());
        assert_eq!(held(&mut Memory::default(), None), None, "the mesh changed");
        let mut taken_back = settled();
        for mesh in ["another", "mesh"] {
            taken_back.saw(mesh);
        }
        assert_eq!(held(&mut taken_back, None), None, "the mesh changed twice");
    }

    #[test]
    fn what_an_istiod_says_late_about_a_change_is_no_surprise() {
        let settled = |before: Option<&str>, taken_in, holds: &[Hindrance]| {
            let mut memory = Memory { settled: before.map(str::to_owned), ..Memory::default() };
            settle(&mut memory, "new", taken_in, &survey(holds));
            let held = hold(&mut restarts(50, 100), &mut memory, &Settings::default(), "new", None);
            assert_eq!(held.is_some(), memory.settled.as_deref() == Some("new"));
            (held.is_some(), memory.asked.is_some())
        };
        let old = Some("old");
        assert_eq!(settled(old, false, &[]), (false, false), "it may not know the change yet");
        assert_eq!(settled(old, true, &[Hindrance::BarePod]), (true, true));
        assert_eq!(settled(old, true, &[Hindrance::OutsideWindow(0)]), (false, true), "restarts are to come");
        assert_eq!(
            settled(old, true, &[Hindrance::Unanswered("no".into())]),
            (false, true),
            "they are tried again"
        );
        assert_eq!(settled(None, false, &[]), (true, false), "there was no mesh before");
        assert_eq!(settled(Some(""), false, &[]), (false, false), "there was one, and another since then");
    }

    #[test]
    fn the_fullest_namespace_comes_first_but_never_before_what_is_more_urgent() {
        type Case<'a> = (&'a str, &'a str, fn(&mut Finding));
        let plain = |_: &mut Finding| {};
        let kyma = |finding: &mut Finding| finding.kyma = true;
        let stateful = |finding: &mut Finding| finding.kind = Kind::StatefulSet;
        let gateway = |finding: &mut Finding| finding.gateway = true;
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
            let mut finding = finding(name);
            finding.workload.namespace = Some(namespace.to_owned());
            change(&mut finding);
            (finding, Decision::Restart(Method::Template))
        };
        let decisions = decisions.map(restart).to_vec();
        let names: Vec<_> = plan(&Survey { found: Found::default(), decisions })
            .into_iter()
            .map(|(finding, _)| finding.workload.name)
            .collect();
        assert_eq!(names.concat(), "idejafkhcbg");
    }

    #[test]
    fn a_restart_that_got_no_answer_is_tried_again_soon_and_ever_more_seldom() {
        let mut before = None;
        for (seconds, weight) in [
            (30, Weight::Passing),
            (60, Weight::Passing),
            (120, Weight::Passing),
            (240, Weight::Passing),
            (480, Weight::Passing),
            (600, Weight::Manual),
            (600, Weight::Manual),
        ] {
            let (why, pause) = missed(Hindrance::Unanswered("no".into()), before);
            assert_eq!((pause.as_secs(), why.weight()), (seconds, weight));
            before = Some(pause);
        }
        let refused = Hindrance::Refused("no".into());
        assert_eq!(missed(refused.clone(), None), (refused, INTERVAL));
    }

    #[test]
    fn failures_in_a_row_make_looks_rarer() {
        assert_eq!([1, 2, 3, 4, 99].map(|failures| after_failure(failures).as_secs()), [5, 10, 20, 30, 30]);
    }

    #[test]
    fn a_stopped_wave_waits_until_it_is_released_or_the_mesh_changes() {
        let stopped = || {
            let mut memory = Memory::default();
            memory.stop("mesh", &Extent::Wave, 1);
            memory
        };
        for (mesh, released, waits) in [
            ("mesh", None, true),
            ("mesh", Some("mesh"), true),
            ("mesh", Some("mesh-1"), false),
            ("new", None, false),
        ] {
            let text = hold(&mut restarts(1, 100), &mut stopped(), &Settings::default(), mesh, released);
            assert_eq!(text.is_some(), waits, "{mesh} {released:?}");
        }
    }

    #[test]
    fn a_stopped_namespace_waits_and_the_others_go_on() {
        let mut memory = Memory::default();
        memory.stop("mesh", &Extent::Namespaces(["a".to_owned()].into()), 1);
        let in_namespaces = || {
            let mut survey = restarts(3, 100);
            for ((finding, _), namespace) in survey.decisions.iter_mut().zip(["a", "b", "a"]) {
                finding.workload.namespace = Some(namespace.to_owned());
            }
            survey
        };
        let mut survey = in_namespaces();
        let text = hold(&mut survey, &mut memory, &Settings::default(), "mesh", None).unwrap();
        assert!(
            text.starts_with("Restarts in namespace a were stopped after 3 failed rollouts; 2 restarts wait")
        );
        assert!(text.ends_with("release=mesh-1"), "{text}");
        let names: Vec<_> = plan(&survey).into_iter().map(|(finding, _)| finding.workload.name).collect();
        assert_eq!(names, ["w1"]);
        let mut survey = in_namespaces();
        assert_eq!(hold(&mut survey, &mut memory, &Settings::default(), "mesh", Some("mesh-1")), None);
        assert_eq!((plan(&survey).len(), memory.stopped), (3, None));
    }

    #[test]
    fn the_next_look_is_as_soon_as_something_may_have_changed() {
        for (holds, age, seconds) in [
            (vec![], None, 600),
            (vec![], Some(TAKEN_IN / 2), 30),
            (vec![], Some(TAKEN_IN), 600),
            (vec![Hindrance::BarePod], None, 60),
            (vec![Hindrance::Unhealthy("x".into()), Hindrance::BarePod], None, 30),
            (vec![Hindrance::OutsideWindow(1010)], None, 11),
            (vec![Hindrance::OutsideWindow(900)], None, 1),
            (vec![Hindrance::OutsideWindow(9000)], None, 600),
        ] {
            let next = next_look(&survey(&holds), age, 1000);
            assert_eq!(next.as_secs(), seconds, "{holds:?} {age:?}");
        }
    }
}
