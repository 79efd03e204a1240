//! The report of `restarts` as a table or as JSON. Pure.

use serde_json::{Value, json};

use super::apply::RestartSummary;
use crate::dataplane::reasons::describe_reasons;
use crate::dataplane::schedule::scan_result::Assessment;
use crate::dataplane::schedule::stale_workload::{BlockReason, Decision, RestartStrategy, StaleWorkload};
use crate::kubernetes::object::ObjectId;

/// Maximum width of the table, in columns of a terminal.
const TABLE_WIDTH: usize = 120;
const COLUMN_GAP: &str = "  ";
/// Longer namespaces and names are wrapped, so that room is left for the texts.
const MAX_NAMESPACE_WIDTH: usize = 24;
const MAX_WORKLOAD_WIDTH: usize = 40;

/// The report as one JSON object.
pub(super) fn json(scan: &Assessment, on_hold: Option<&str>) -> Value {
    let unknown = |(id, why): &(ObjectId, String)| {
        let mut entry = identity(id);
        entry["error"] = json!(why);
        entry
    };
    json!({
        "total": scan.scan.total,
        "stale": count_stale(scan),
        "onHold": on_hold,
        "workloads": scan.decisions.iter().map(workload).collect::<Vec<_>>(),
        "unknown": scan.scan.unknown.iter().map(unknown).collect::<Vec<_>>(),
    })
}

/// The outcome of the restarts as JSON.
pub(super) fn outcome(summary: &RestartSummary) -> Value {
    let remaining = |(finding, why): &(StaleWorkload, BlockReason)| {
        let mut entry = identity(&finding.workload);
        entry["blockedBy"] = block_reason_json(why);
        entry
    };
    json!({
        "restarted": summary.done,
        "failed": summary.failed,
        "interrupted": summary.interrupted,
        "leftToOperator": summary.yielded,
        "remaining": summary.remaining.iter().map(remaining).collect::<Vec<_>>(),
    })
}

fn workload((finding, decision): &(StaleWorkload, Decision)) -> Value {
    let reasons = finding.reasons.iter();
    let mut entry = identity(&finding.workload);
    entry["reasons"] =
        reasons.map(|reason| json!({"reason": reason.name(), "message": reason.to_string()})).collect();
    let (restart, blocked_by) = match decision {
        Decision::Restart(RestartStrategy::Template) => (json!("rollout"), Value::Null),
        Decision::Restart(RestartStrategy::RestartAt) => (json!("restartAt"), Value::Null),
        Decision::Restart(RestartStrategy::Evict) => (json!("eviction"), Value::Null),
        Decision::Blocked(why) => (Value::Null, block_reason_json(why)),
    };
    entry["restart"] = restart;
    entry["blockedBy"] = blocked_by;
    entry
}

fn identity(id: &ObjectId) -> Value {
    json!({"kind": id.kind, "namespace": id.namespace, "name": id.name})
}

fn block_reason_json(reason: &BlockReason) -> Value {
    json!({"reason": reason.name(), "message": reason.to_string()})
}

fn count_stale(scan: &Assessment) -> usize {
    scan.decisions.len() + scan.scan.more_stale
}

/// The report as a table, followed by the reason why restarts are on hold.
pub(super) fn table(scan: &Assessment, on_hold: Option<&str>) -> String {
    let mut rows = vec![["NAMESPACE", "WORKLOAD", "RESTART", "OUTDATED"].map(str::to_owned)];
    rows.extend(scan.decisions.iter().map(|(finding, decision)| {
        row(&finding.workload, restart(decision), describe_reasons(&finding.reasons))
    }));
    let unproven = scan.scan.unknown.iter();
    rows.extend(unproven.map(|(id, why)| row(id, "unknown".to_owned(), why.clone())));
    let mut parts = Vec::new();
    if rows.len() > 1 {
        parts.push(format_table(&rows));
    }
    parts.push(format!(
        "{} workloads with a sidecar, {} of them outdated",
        scan.scan.total,
        count_stale(scan)
    ));
    parts.extend(on_hold.map(|held| fold(held, TABLE_WIDTH).join("\n")));
    parts.join("\n\n")
}

fn row(id: &ObjectId, restart: String, outdated: String) -> [String; 4] {
    [id.namespace.clone().unwrap_or_default(), format!("{}/{}", id.kind, id.name), restart, outdated]
}

fn restart(decision: &Decision) -> String {
    match decision {
        Decision::Restart(RestartStrategy::Evict) => "yes, by evicting its pods one by one".to_owned(),
        Decision::Restart(RestartStrategy::Template | RestartStrategy::RestartAt) => "yes".to_owned(),
        Decision::Blocked(why) => format!("no, {why}"),
    }
}

/// Rows of wrapped cells that together are no wider than a terminal.
fn format_table(rows: &[[String; 4]]) -> String {
    let longest = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (namespace, workload) = (longest(0).min(MAX_NAMESPACE_WIDTH), longest(1).min(MAX_WORKLOAD_WIDTH));
    let rest = TABLE_WIDTH - namespace - workload - 3 * COLUMN_GAP.len();
    let restart = longest(2).min(rest / 2);
    let widths = [namespace, workload, restart, rest - restart];
    let lines = rows.iter().flat_map(|row| format_row(row, widths));
    lines.collect::<Vec<_>>().join("\n")
}

fn format_row(row: &[String; 4], widths: [usize; 4]) -> Vec<String> {
    let cells: Vec<Vec<String>> = row.iter().zip(widths).map(|(cell, width)| fold(cell, width)).collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    let line = |index: usize| {
        let parts = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{:width$}", cell.get(index).map_or("", String::as_str)));
        parts.collect::<Vec<_>>().join(COLUMN_GAP).trim_end().to_owned()
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
    use crate::dataplane::fixtures::{assessment, stale_workload};

    #[test]
    fn the_table_shows_reasons_and_planned_restarts() {
        let mut scan = assessment(&[BlockReason::BarePod]);
        scan.decisions.push((stale_workload("web"), Decision::Restart(RestartStrategy::Template)));
        scan.decisions.push((stale_workload("old"), Decision::Restart(RestartStrategy::Evict)));
        let text = table(&scan, None);
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.starts_with("NAMESPACE  WORKLOAD        RESTART "), "{text}");
        assert!(text.contains("\nns         Deployment/web  yes "), "{text}");
        assert!(
            text.contains("\nns         Deployment/old  yes, by evicting its pods one by one "),
            "{text}"
        );
        assert!(words.contains("Deployment/w1 no, "), "{text}");
        assert!(words.contains(&describe_reasons(&stale_workload("web").reasons)), "{text}");
        assert!(text.ends_with("\n\n10 workloads with a sidecar, 3 of them outdated"), "{text}");
    }

    #[test]
    fn long_cells_are_wrapped_between_words() {
        let long = "one two three four five six seven eight nine ten eleven twelve thirteen".to_owned();
        let rows = [
            ["NS", "WORKLOAD", "RESTART", "WHY"].map(str::to_owned),
            ["a", "b", &long, "c"].map(str::to_owned),
        ];
        let expected = "\
NS  WORKLOAD  RESTART                                               WHY
a   b         one two three four five six seven eight nine ten      c
              eleven twelve thirteen";
        assert_eq!(format_table(&rows), expected);
    }

    #[test]
    fn a_mesh_that_is_up_to_date_has_no_table() {
        assert_eq!(table(&assessment(&[]), None), "10 workloads with a sidecar, 0 of them outdated");
    }

    #[test]
    fn a_hold_is_shown_below_the_table_and_in_json() {
        let scan = assessment(&[BlockReason::WaveSuspended]);
        assert!(table(&scan, Some("released by x")).ends_with("\n\nreleased by x"));
        assert_eq!(json(&scan, Some("released by x"))["onHold"], "released by x");
    }

    #[test]
    fn json_has_stable_reason_names() {
        let mut scan = assessment(&[BlockReason::Excluded]);
        scan.decisions.push((stale_workload("web"), Decision::Restart(RestartStrategy::Evict)));
        let report = json(&scan, None);
        assert_eq!(report["workloads"][0]["blockedBy"]["reason"], "excluded");
        assert_eq!(report["workloads"][0]["restart"], Value::Null);
        assert_eq!(report["workloads"][0]["reasons"][0]["reason"], "DnsCapture");
        assert_eq!(report["workloads"][1]["restart"], "eviction");
        let summary = RestartSummary {
            done: 2,
            failed: 1,
            remaining: vec![(stale_workload("w"), BlockReason::RolloutFailed("x".into()))],
            ..RestartSummary::default()
        };
        let outcome = outcome(&summary);
        assert_eq!((&outcome["restarted"], &outcome["failed"]), (&json!(2), &json!(1)));
        assert_eq!(outcome["remaining"][0]["blockedBy"]["reason"], "rollout_failed");
    }

    proptest! {
        /// Whatever the names and texts: no line is wider than a terminal, and no word is lost.
        #[test]
        fn a_table_fits_a_terminal_without_losing_text(
            cells in prop::collection::vec(prop::array::uniform4("[a-zé/:.-]{0,70}( [a-z]{1,60}){0,6}"), 1..5),
        ) {
            let text = format_table(&cells);
            prop_assert!(text.lines().all(|line| line.chars().count() <= TABLE_WIDTH), "{}", text);
            let letters = |text: &str| text.chars().filter(|letter| !letter.is_whitespace()).count();
            let all: usize = cells.iter().flatten().map(|cell| letters(cell)).sum();
            prop_assert_eq!(letters(&text), all);
        }
    }
}
