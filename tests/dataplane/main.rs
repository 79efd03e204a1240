//! The data plane on a real control plane: real sidecars from a real istiod, made outdated by what makes them outdated in
//! real clusters.

mod asked;
#[path = "../operator/bed.rs"]
#[allow(dead_code, reason = "each program needs other parts of it")]
mod bed;
#[path = "../operator/bundle.rs"]
#[allow(dead_code, reason = "each program needs other parts of it")]
mod bundle;
#[path = "../operator/chart.rs"]
mod chart;
mod components;
mod evictions;
mod faults;
mod held;
mod large;
mod mesh;
mod newcomers;
mod owners;
mod pages;
mod refused;
mod report;
mod restart;
mod tenants;
mod told;
mod upgrade;
mod waves;

use std::process::ExitCode;
use std::time::Duration;

use testbed::ControlPlane;

use crate::bed::{Bed, Result};

// A test is listed once, below; listing it here as well would only be one more place to forget.
#[allow(clippy::wildcard_imports)]
use {
    asked::*, components::*, evictions::*, faults::*, held::*, large::*, newcomers::*, pages::*, refused::*,
    report::*, restart::*, tenants::*, told::*, upgrade::*, waves::*,
};

/// An operator on a control plane with Istio, whatever earlier tests left: each test runs alone as well.
pub async fn installed(control_plane: &ControlPlane) -> Result<Bed<'_>> {
    let bed = Bed::start(control_plane).await?;
    ensure_installed(&bed).await?;
    Ok(bed)
}

/// Has Istio installed if there is no resource. With one, its state may be a Warning about workloads of earlier tests.
pub async fn ensure_installed(bed: &Bed<'_>) -> Result {
    if bed.resources().get_opt("default").await?.is_none() {
        bed.ensure_installed().await?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let shared = testbed::tests![
        workloads_that_are_up_to_date_are_not_listed_whatever_their_settings,
        a_mesh_change_is_reported_for_each_affected_workload,
        outdated_workloads_are_restarted_and_the_rest_is_reported,
        a_converged_mesh_is_left_unchanged_by_a_starting_operator,
        each_mesh_setting_is_reported_with_its_own_reason,
        workloads_whose_pods_are_rejected_are_evaluated_through_istiod,
        an_evicted_old_istiod_pod_does_not_stop_restarts,
        workloads_that_must_not_be_restarted_are_skipped_and_listed,
        an_operator_killed_during_a_wave_restarts_everything_once,
        a_restart_failed_by_a_broken_webhook_is_retried_once_fixed,
        a_recreated_workload_is_neither_restarted_nor_reported_as_refused,
        an_owner_that_reverts_restarts_is_reported_and_not_retried,
        failed_rollouts_suspend_the_wave_until_it_is_approved,
        outdated_pods_are_found_by_the_watch_or_else_by_the_full_scan,
        an_unready_workload_is_restarted_once_it_is_ready,
        an_eviction_delayed_by_a_budget_continues_one_pod_at_a_time,
        the_reason_for_a_slow_restart_is_reported_while_it_runs,
        a_set_scaled_down_during_eviction_does_not_block_the_wave,
        a_deployment_on_several_pages_restarts_once_if_its_list_expires,
        a_mesh_change_during_a_wave_causes_no_needless_second_restart,
        a_lossy_network_in_a_wave_neither_repeats_nor_forgets_a_restart,
        a_wave_waits_for_an_unreachable_api_server,
        an_istiod_without_the_latest_config_is_queried_again,
        the_operator_can_create_pods_only_in_dry_runs,
        an_uninstall_removes_sidecars_before_istiod,
    ]
    .map(|test| test.within(Duration::from_secs(400)));
    let own = testbed::tests![
        an_upgrade_reaches_every_workload_in_the_way_that_its_owner_allows,
        unexpected_drift_of_much_of_the_mesh_waits_for_approval,
        a_change_reverted_during_a_wave_is_rolled_back_without_approval,
        an_edit_and_a_deletion_do_not_wait_for_a_wave_that_hangs,
        enabling_network_policies_restarts_istio_workloads_once,
        the_gateway_restarts_once_for_settings_it_reads_at_startup,
        a_forged_owner_restarts_nothing_and_raises_no_warning,
        a_window_of_any_length_does_not_freeze_the_status,
        failures_in_one_namespace_do_not_stop_another,
    ]
    .map(|test| test.within(Duration::from_secs(600)).on_own_control_plane());
    let large = testbed::tests![large_pods_do_not_fill_the_memory_of_the_operator]
        .map(|test| test.within(Duration::from_secs(1500)).on_own_control_plane());
    testbed::run_tests(&[&shared[..], &own[..], &large[..]].concat())
}
