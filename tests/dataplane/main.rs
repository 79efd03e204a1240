//! The data plane on a real control plane: real sidecars from a real istiod, made outdated by what makes them outdated in
//! real clusters.

#[path = "../operator/bed.rs"]
#[allow(dead_code)]
mod bed;
#[path = "../operator/chart.rs"]
mod chart;
mod components;
mod faults;
mod held;
mod mesh;
mod report;
mod restart;

use std::process::ExitCode;
use std::time::Duration;

// A test is listed once, below; listing it here as well would only be one more place to forget.
#[allow(clippy::wildcard_imports)]
use {components::*, faults::*, held::*, report::*, restart::*};

fn main() -> ExitCode {
    let shared = testbed::tests![
        workloads_that_are_up_to_date_are_not_listed_whatever_their_settings,
        a_change_of_the_mesh_is_told_for_each_workload_that_it_concerns,
        outdated_workloads_are_restarted_and_the_rest_is_named,
        a_settled_mesh_is_left_alone_by_an_operator_that_starts,
        workloads_that_may_not_be_restarted_are_left_alone_and_listed,
        an_operator_that_is_killed_in_a_wave_restarts_nothing_twice_and_forgets_nothing,
        an_owner_that_takes_restarts_back_is_told_and_not_fought,
        rollouts_that_fail_stop_the_wave_until_somebody_releases_it,
        a_removal_takes_the_sidecars_out_before_istiod_goes,
    ]
    .map(|test| test.within(Duration::from_secs(240)));
    let own = testbed::tests![the_gateway_restarts_once_for_what_it_reads_at_its_start]
        .map(|test| test.within(Duration::from_secs(240)).on_own_control_plane());
    testbed::run_tests(&[&shared[..], &own[..]].concat())
}
