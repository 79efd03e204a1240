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

// A test is listed once, below; listing it here as well would only be one more place to forget.
#[allow(clippy::wildcard_imports)]
use {
    asked::*, components::*, evictions::*, faults::*, held::*, large::*, newcomers::*, pages::*, refused::*,
    report::*, restart::*, tenants::*, told::*, upgrade::*, waves::*,
};

fn main() -> ExitCode {
    let shared = testbed::tests![
        workloads_that_are_up_to_date_are_not_listed_whatever_their_settings,
        a_change_of_the_mesh_is_told_for_each_workload_that_it_concerns,
        outdated_workloads_are_restarted_and_the_rest_is_named,
        a_settled_mesh_is_left_alone_by_an_operator_that_starts,
        each_setting_of_the_mesh_is_told_by_its_own_reason,
        workloads_whose_pods_are_refused_are_judged_by_istiod_itself,
        an_istiod_of_before_that_was_evicted_does_not_stop_the_restarts,
        workloads_that_may_not_be_restarted_are_left_alone_and_listed,
        an_operator_that_is_killed_in_a_wave_restarts_nothing_twice_and_forgets_nothing,
        a_restart_that_a_broken_webhook_fails_is_made_when_that_is_mended,
        a_workload_that_was_made_anew_under_its_name_is_not_restarted_and_not_told_as_refused,
        an_owner_that_takes_restarts_back_is_told_and_not_fought,
        rollouts_that_fail_stop_the_wave_until_somebody_releases_it,
        a_sidecar_that_becomes_outdated_is_seen_at_once_and_one_without_its_label_by_the_slow_look,
        a_workload_that_is_not_ready_in_a_wave_is_restarted_when_it_is,
        an_eviction_that_a_budget_delays_goes_on_and_never_are_two_pods_missing,
        what_keeps_a_restart_from_its_end_is_told_while_it_goes_on,
        a_set_that_is_scaled_down_while_its_pods_are_evicted_is_not_waited_for,
        a_deployment_of_several_pages_is_restarted_once_though_its_list_expires,
        a_target_that_changes_in_a_wave_restarts_nothing_twice_for_nothing,
        a_lossy_network_in_a_wave_neither_repeats_nor_forgets_a_restart,
        an_api_server_that_is_cut_off_in_a_wave_is_waited_for,
        an_istiod_that_does_not_know_the_change_yet_is_asked_again,
        the_operator_can_make_pods_in_dry_runs_only,
        a_removal_takes_the_sidecars_out_before_istiod_goes,
    ]
    .map(|test| test.within(Duration::from_secs(400)));
    let own = testbed::tests![
        an_upgrade_reaches_every_workload_in_the_way_that_its_owner_allows,
        a_surprise_that_concerns_much_of_the_mesh_waits_for_a_person,
        a_change_that_is_taken_back_in_a_wave_is_rolled_back_without_a_release,
        an_edit_and_a_deletion_do_not_wait_for_a_wave_that_hangs,
        network_policies_that_come_into_force_cut_the_connections_of_before_once,
        the_gateway_restarts_once_for_what_it_reads_at_its_start,
        a_forged_owner_restarts_nothing_and_raises_no_warning,
        a_window_of_any_length_does_not_freeze_the_status,
        failures_in_one_namespace_do_not_stop_another,
    ]
    .map(|test| test.within(Duration::from_secs(600)).on_own_control_plane());
    let large = testbed::tests![large_pods_do_not_fill_the_memory_of_the_operator]
        .map(|test| test.within(Duration::from_secs(1500)).on_own_control_plane());
    testbed::run_tests(&[&shared[..], &own[..], &large[..]].concat())
}
