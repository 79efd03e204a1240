//! The report of `restarts`, for people and for programs. Pure.

use serde_json::{Value, json};

use super::apply::Applied;
use crate::dataplane::decide::finding::{Decision, Finding, Hindrance, Method};
use crate::dataplane::decide::found::Survey;
use crate::dataplane::reason::sentence;
use crate::object::ObjectId;

/// Columns of a terminal that the table takes at most.
const WIDTH: usize = 120;
const GAP: &str = "  ";
/// Longer namespaces and names are folded, so that room is left for the texts.
const NAMESPACE_WIDTH: usize = 24;
const WORKLOAD_WIDTH: usize = 40;

/// The report as one JSON object.
pub(super) fn json(survey: &Survey, held: Option<&str>) -> Value {
    let unknown = |(id, why): &(ObjectId, String)| {
        let mut entry = identity(id);
        entry["error"] = json!(why);
        entry
    };
    json!({
        "total": survey.found.total,
        "stale": stale(survey),
        "held": held,
        "workloads": survey.decisions.iter().map(workload).collect::<Vec<_>>(),
        "unknown": survey.found.unproven.iter().map(unknown).collect::<Vec<_>>(),
    })
}

/// What came of the restarts, as JSON.
pub(super) fn outcome(applied: &Applied) -> Value {
    let left = |(finding, why): &(Finding, Hindrance)| {
        let mut entry = identity(&finding.workload);
        entry["prevented"] = prevention(why);
        entry
    };
    json!({
        "done": applied.done,
        "failed": applied.failed,
        "interrupted": applied.interrupted,
        "leftToOperator": applied.yielded,
        "left": applied.left.iter().map(left).collect::<Vec<_>>(),
    })
}

fn workload((finding, decision): &(Finding, Decision)) -> Value {
    let reasons = finding.reasons.iter();
    let mut entry = identity(&finding.workload);
    entry["outdated"] =
        reasons.map(|reason| json!({"reason": reason.name(), "message": reason.to_string()})).collect();
    let (restart, prevented) = match decision {
        Decision::Restart(Method::Template) => (json!("rollout"), Value::Null),
        Decision::Restart(Method::RestartAt) => (json!("restartAt"), Value::Null),
        Decision::Restart(Method::Evict) => (json!("eviction"), Value::Null),
        Decision::Hold(why) => (Value::Null, prevention(why)),
    };
    entry["restart"] = restart;
    entry["prevented"] = prevented;
    entry
}

fn identity(id: &ObjectId) -> Value {
    json!({"kind": id.kind, "namespace": id.namespace, "name": id.name})
}

fn prevention(why: &Hindrance) -> Value {
    json!({"reason": why.name(), "message": why.to_string()})
}

fn stale(survey: &Survey) -> usize {
    survey.decisions.len() + survey.found.more
}

/// The report as a table, with what the restarts wait for below it.
pub(super) fn table(survey: &Survey, held: Option<&str>) -> String {
    let mut rows = vec![["NAMESPACE", "WORKLOAD", "RESTART", "OUTDATED"].map(str::to_owned)];
    rows.extend(
        survey
            .decisions
            .iter()
            .map(|(finding, decision)| row(&finding.workload, restart(decision), sentence(&finding.reasons))),
    );
    let unproven = survey.found.unproven.iter();
    rows.extend(unproven.map(|(id, why)| row(id, "not known yet".to_owned(), why.clone())));
    let mut parts = Vec::new();
    if rows.len() > 1 {
        parts.push(aligned(&rows));
    }
    parts.push(format!(
        "{} workloads with a sidecar, {} of them outdated",
        survey.found.total,
        stale(survey)
    ));
    parts.extend(held.map(|held| fold(held, WIDTH).join("\n")));
    parts.join("\n\n")
}

fn row(id: &ObjectId, restart: String, outdated: String) -> [String; 4] {
    [id.namespace.clone().unwrap_or_default(), format!("{}/{}", id.kind, id.name), restart, outdated]
}

fn restart(decision: &Decision) -> String {
    match decision {
        Decision::Restart(Method::Evict) => "yes, by evicting its pods one by one".to_owned(),
        Decision::Restart(Method::Template | Method::RestartAt) => "yes".to_owned(),
        Decision::Hold(why) => format!("no, {why}"),
    }
}

/// Rows of folded cells that together are no wider than a terminal.
fn aligned(rows: &[[String; 4]]) -> String {
    let longest = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (namespace, workload) = (longest(0).min(NAMESPACE_WIDTH), longest(1).min(WORKLOAD_WIDTH));
    let rest = WIDTH - namespace - workload - 3 * GAP.len();
    let restart = longest(2).min(rest / 2);
    let widths = [namespace, workload, restart, rest - restart];
    let lines = rows.iter().flat_map(|row| lines(row, widths));
    lines.collect::<Vec<_>>().join("\n")
}

fn lines(row: &[String; 4], widths: [usize; 4]) -> Vec<String> {
    let cells: Vec<Vec<String>> = row.iter().zip(widths).map(|(cell, width)| fold(cell, width)).collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    let line = |index: usize| {
        let parts = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{:width$}", cell.get(index).map_or("", String::as_str)));
        parts.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
    };
    (0..height).map(line).collect()
}

/// Lines of at most `width` characters, broken between words where that is possible.
fn fold(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let length = |text: &str| text.chars().count();
        let last = lines.last().map_or(0, |line| length(line));
        let fits = last + usize::from(last > 0) + length(word) <= width;
        if !fits && last > 0 {
            lines.push(String::new());
        }
        let mut rest: Vec<char> = word.chars().collect();
        while let Some(line) = lines.last_mut() {
            let space = usize::from(!line.is_empty());
            let room = width.saturating_sub(length(line) + space).max(1);
            if space == 1 {
                line.push(' ');
            }
            let tail = rest.split_off(rest.len().min(room));
            line.extend(rest);
            rest = tail;
            if rest.is_empty() {
                break;
            }
            lines.push(String::new());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dataplane::fixtures::{finding, survey};

    #[test]
    fn a_table_tells_of_each_workload_why_it_is_outdated_and_what_would_be_done() {
        let mut survey = survey(&[Hindrance::BarePod]);
        survey.decisions.push((finding("web"), Decision::Restart(Method::Template)));
        survey.decisions.push((finding("old"), Decision::Restart(Method::Evict)));
        let expected = "\
NAMESPACE  WORKLOAD        RESTART                                        OUTDATED
ns         Deployment/w1   no, nobody would replace the pod; make it      DNS capture is not as configured
                           anew
ns         Deployment/web  yes                                            DNS capture is not as configured
ns         Deployment/old  yes, by evicting its pods one by one           DNS capture is not as configured

10 workloads with a sidecar, 3 of them outdated";
        assert_eq!(table(&survey, None), expected);
    }

    #[test]
    fn a_mesh_that_is_up_to_date_has_no_table() {
        assert_eq!(table(&survey(&[]), None), "10 workloads with a sidecar, 0 of them outdated");
    }

    #[test]
    fn what_the_restarts_wait_for_is_told_below_the_table_and_in_json() {
        let survey = survey(&[Hindrance::WaveHeld]);
        assert!(table(&survey, Some("released by x")).ends_with("\n\nreleased by x"));
        assert_eq!(json(&survey, Some("released by x"))["held"], "released by x");
    }

    #[test]
    fn json_has_names_that_do_not_change_with_the_words() {
        let mut survey = survey(&[Hindrance::Excluded]);
        survey.decisions.push((finding("web"), Decision::Restart(Method::Evict)));
        let report = json(&survey, None);
        assert_eq!(report["workloads"][0]["prevented"]["reason"], "excluded");
        assert_eq!(report["workloads"][0]["restart"], Value::Null);
        assert_eq!(report["workloads"][0]["outdated"][0]["reason"], "DnsCapture");
        assert_eq!(report["workloads"][1]["restart"], "eviction");
        let applied = Applied {
            done: 2,
            failed: 1,
            left: vec![(finding("w"), Hindrance::RolloutFailed("x".into()))],
            ..Applied::default()
        };
        let outcome = outcome(&applied);
        assert_eq!((&outcome["done"], &outcome["failed"]), (&json!(2), &json!(1)));
        assert_eq!(outcome["left"][0]["prevented"]["reason"], "rollout_failed");
    }

    proptest! {
        /// Whatever the names and texts: no line is wider than a terminal, and no word is lost.
        #[test]
        fn a_table_fits_a_terminal_and_loses_nothing(
            cells in prop::collection::vec(prop::array::uniform4("[a-zé/:.-]{0,70}( [a-z]{1,60}){0,6}"), 1..5),
        ) {
            let text = aligned(&cells);
            prop_assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{}", text);
            let letters = |text: &str| text.chars().filter(|letter| !letter.is_whitespace()).count();
            let all: usize = cells.iter().flatten().map(|cell| letters(cell)).sum();
            prop_assert_eq!(letters(&text), all);
        }
    }
}
