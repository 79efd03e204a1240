//! `istio-manager restarts` beside an operator: what a person sees and does at the command line, on a real control plane
//! with real sidecars.

#[path = "../operator/bed.rs"]
#[allow(dead_code, reason = "each program needs other parts of it")]
mod bed;
#[path = "../operator/chart.rs"]
#[allow(dead_code, reason = "this program installs the chart with values only")]
mod chart;
#[path = "../dataplane/mesh.rs"]
#[allow(dead_code, reason = "each program needs other parts of it")]
mod mesh;
mod steps;

use std::process::ExitCode;
use std::time::Duration;

use istio_manager::api::conditions::State;
use serde_json::json;
use testbed::{ControlPlane, TestResult};

use self::bed::{Bed, command};
use self::mesh::{Mesh, workload};
use self::steps::{
    REPORT_ONLY, all_restarted_once, events, generations, interrupt, make_outdated, on_a_terminal, populate,
    sidecars, start_restarts, status,
};

fn main() -> ExitCode {
    let shared = testbed::tests![
        a_report_only_operator_restarts_nothing_and_reports_stale_workloads,
        the_command_restarts_reported_workloads_with_the_same_limits,
        an_interrupted_run_starts_no_more_restarts_and_can_be_resumed,
        the_command_refuses_to_run_while_the_operator_restarts,
    ]
    .map(|test| test.within(Duration::from_secs(240)));
    testbed::run_tests(&shared)
}

async fn a_report_only_operator_restarts_nothing_and_reports_stale_workloads(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start_with(control_plane, REPORT_ONLY).await?;
    bed.create("default", json!({"restarter": {"maxUnfinished": 1}})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    populate(&Mesh(control_plane)).await?;
    let before = generations(control_plane).await?;
    make_outdated(&bed, "reported").await?;
    let reported = |resource: &istio_manager::api::Istio| {
        let status = status(resource);
        status.stale == 7 && status.blocked_workloads.len() == 7
    };
    let resource = bed.wait_until("default", "a report of seven workloads", reported).await?;
    let report = status(&resource);
    let blocked_by = |name: &str| {
        let workload = report.blocked_workloads.iter().find(|workload| workload.name == name);
        workload.map(|left| left.blocked_by.clone()).unwrap_or_default()
    };
    assert_eq!(blocked_by("web-0"), "restarts are disabled");
    assert!(blocked_by("excluded").contains("excluded by annotation"), "{report:?}");
    assert!(blocked_by("weekend").contains("outside of the maintenance window"), "{report:?}");
    assert_eq!(
        (report.total, report.excluded, report.restarting, report.restarted, report.failed),
        (7, 1, 0, 0, 0)
    );
    // Nobody has to act: it is as somebody has ordered it.
    let (reason, message) = sidecars(&resource);
    assert_eq!(reason, "ProxySidecarRestartSucceeded");
    assert!(message.contains("7 workloads"), "{message}");
    assert_eq!(generations(control_plane).await?, before);

    let (code, table, stderr) = command(control_plane, &["restarts"]).await?;
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(table.contains("7 workloads with a sidecar, 7 of them outdated"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 120), "{table}");
    let metrics = bed.metrics().await?;
    for line in [
        "istio_restarter_workloads 7",
        "istio_restarter_stale_workloads 7",
        "istio_restarter_restart_pending{kind=\"Deployment\"} 2",
        "istio_restarter_blocked_workloads{reason=\"disabled\"} 5",
        "istio_restarter_restarts_total{kind=\"Deployment\",result=\"success\"} 0",
        "istio_restarter_maintenance_window_active 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is missing in:\n{metrics}");
    }
    for part in [
        "istio_restarter_skipped_total{reason=\"excluded\"} ",
        "istio_restarter_skipped_total{reason=\"maintenance_window\"} ",
        "istio_restarter_rule_evaluation_duration_seconds_count{kind=\"Deployment\"} ",
        ",istio_version=\"1.31.0\"} 1\n",
    ] {
        assert!(metrics.contains(part), "{part} is missing in:\n{metrics}");
    }
    bed.stop().await
}

async fn the_command_restarts_reported_workloads_with_the_same_limits(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start_with(control_plane, REPORT_ONLY).await?;
    let before = generations(control_plane).await?;
    let (code, table, progress) = command(control_plane, &["restarts", "--apply"]).await?;
    assert_eq!(code, 0, "{progress}");
    let row = table.lines().find(|line| line.contains("Deployment/web-0 "));
    assert!(row.is_some_and(|row| row.contains(" yes ")), "{table}");
    // One at a time, as the resource says, and a line only where something has changed.
    let lines: Vec<&str> = progress.lines().collect();
    assert_eq!(lines.last().copied(), Some("5 of 5 restarted, 0 in progress, 0 failed"), "{progress}");
    let paced = |line: &&str| line.contains(", 0 in progress") || line.contains(", 1 in progress");
    assert!(lines.iter().all(paced), "{progress}");
    assert!(lines.windows(2).all(|pair| pair[0] != pair[1]) && !progress.contains('\r'), "{progress}");
    let after = generations(control_plane).await?;
    all_restarted_once(&before, &after)?;
    assert!(events(control_plane, "web-0").await?.contains(&"RestartSuccess".to_owned()));

    let (code, _, stderr) = command(control_plane, &["restarts", "--apply"]).await?;
    assert_eq!((code, stderr.as_str()), (0, "nothing to restart\n"));
    assert_eq!(generations(control_plane).await?, after);
    let up_to_date = |resource: &istio_manager::api::Istio| status(resource).stale == 2;
    bed.wait_until("default", "two workloads that are left", up_to_date).await?;
    bed.stop().await
}

async fn an_interrupted_run_starts_no_more_restarts_and_can_be_resumed(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start_with(control_plane, REPORT_ONLY).await?;
    let before = generations(control_plane).await?;
    make_outdated(&bed, "interrupted").await?;
    let outdated = |resource: &istio_manager::api::Istio| status(resource).stale == 7;
    bed.wait_until("default", "seven outdated workloads", outdated).await?;
    let mut run = start_restarts(control_plane).await?;
    interrupt(&run).await?;
    let ended = run.wait(Duration::from_secs(120)).await?;
    assert_eq!(ended.code(), Some(130), "{}", run.log());
    assert!(run.log().contains("waiting for the restarts in progress"), "{}", run.log());
    let between = generations(control_plane).await?;
    let begun = between.iter().filter(|(name, generation)| before.get(*name) != Some(*generation)).count();
    assert!((1..5).contains(&begun), "{begun} were begun:\n{}", run.log());

    let shown = on_a_terminal(control_plane, "restarts --apply").await?;
    let bar = format!("\r[{}] {rest} of {rest} restarted", "#".repeat(30), rest = 5 - begun);
    assert!(shown.contains(&bar), "{shown:?}");
    all_restarted_once(&before, &generations(control_plane).await?)?;
    bed.stop().await
}

async fn the_command_refuses_to_run_while_the_operator_restarts(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    let mut slow = workload("Deployment", "a-slow-one", 1);
    slow["spec"]["minReadySeconds"] = json!(20);
    Mesh(control_plane).create(steps::NAMESPACE, slow).await?;
    let before = generations(control_plane).await?;
    make_outdated(&bed, "both").await?;
    let restarting = |resource: &istio_manager::api::Istio| status(resource).restarting > 0;
    bed.wait_until("default", "a restart under way", restarting).await?;
    let (code, report, stderr) = command(control_plane, &["restarts", "--apply"]).await?;
    assert_eq!((code, report.as_str()), (1, ""), "{stderr}");
    assert!(stderr.contains("restarts are in progress (1)"), "{stderr}");
    let done = |resource: &istio_manager::api::Istio| {
        let status = status(resource);
        status.stale == 2 && status.restarting == 0 && status.restarted == 6
    };
    bed.wait_until("default", "six restarts", done).await?;
    all_restarted_once(&before, &generations(control_plane).await?)?;
    let metrics = bed.metrics().await?;
    let line = "istio_restarter_restarts_total{kind=\"Deployment\",result=\"success\"} 6";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
    bed.stop().await
}
