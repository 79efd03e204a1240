//! The data plane on a real control plane: real sidecars from a real istiod, made outdated by what makes them outdated in
//! real clusters.

#[path = "../operator/bed.rs"]
#[allow(dead_code)]
mod bed;
#[path = "../operator/chart.rs"]
mod chart;
mod mesh;
mod report;
mod restart;

use std::process::ExitCode;
use std::time::Duration;

// A test is listed once, below; listing it here as well would only be one more place to forget.
#[allow(clippy::wildcard_imports)]
use {report::*, restart::*};

fn main() -> ExitCode {
    let shared = testbed::tests![
        workloads_that_are_up_to_date_are_not_listed_whatever_their_settings,
        a_change_of_the_mesh_is_told_for_each_workload_that_it_concerns,
        outdated_workloads_are_restarted_and_the_rest_is_named,
        a_settled_mesh_is_left_alone_by_an_operator_that_starts,
    ]
    .map(|test| test.within(Duration::from_secs(240)));
    testbed::run_tests(&shared)
}
