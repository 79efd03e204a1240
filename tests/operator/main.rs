//! The operator as a process, under its own ServiceAccount and the permissions of its chart, on a real control plane.

mod bed;
mod boundaries;
mod bundle;
mod chart;
mod check;
mod cluster_kinds;
mod crash;
mod diff;
mod drift;
mod faults;
mod injected;
mod install;
mod interruption;
#[path = "../matrix_cases/mod.rs"]
mod matrix;
mod overrides;
mod packaging;
mod rejection;
mod removal;
#[path = "../rendered/mod.rs"]
mod rendered;
mod requests;
mod schema;
mod settings;
mod stages;
mod swap;
mod takeover;
mod upgrade;
mod whole;

use std::process::ExitCode;
use std::time::Duration;

use testbed::Test;

// A test is listed once, below; listing it here as well would only be one more place to forget.
#[allow(clippy::wildcard_imports)]
use {
    boundaries::*, check::*, cluster_kinds::*, crash::*, diff::*, drift::*, faults::*, install::*,
    interruption::*, overrides::*, packaging::*, rejection::*, removal::*, requests::*, schema::*,
    settings::*, stages::*, swap::*, takeover::*, upgrade::*, whole::*,
};

fn main() -> ExitCode {
    let shared = [first_installation(), settings(), commands_and_refusals(), keeping_and_removing()].concat();
    let own = [faults(), other_installations(), with_the_go_operator().to_vec()].concat();
    let shared = shared.into_iter().map(|test| test.within(Duration::from_secs(180)));
    let own = own.into_iter().map(|test| test.within(Duration::from_secs(240)).on_own_control_plane());
    testbed::run_tests(&shared.chain(own).collect::<Vec<_>>())
}

/// Run on demand, where there is a build of the Go operator.
fn with_the_go_operator() -> [Test; 1] {
    testbed::tests![the_go_operator_and_ours_pass_an_installation_on_to_each_other_and_back]
        .map(Test::ignored)
}

/// These come first, in this order: they begin without Istio, and leave it to all others.
fn first_installation() -> Vec<Test> {
    testbed::tests![
        a_check_of_a_cluster_without_the_operator_says_what_is_missing,
        a_diff_before_the_installation_shows_every_object_as_new,
        a_resource_is_installed_and_reported_ready,
        a_spec_stays_as_its_user_wrote_it,
        a_change_of_the_reason_is_an_event,
        a_pod_in_a_labelled_namespace_gets_a_sidecar,
        an_unchanged_cluster_is_left_alone_after_a_restart,
        a_reconcile_without_news_reads_nothing_that_is_watched,
        the_metrics_that_every_operator_has_tell_what_the_audit_log_tells,
        what_is_watched_is_not_listed_before,
        an_api_server_that_streams_no_lists_is_asked_for_lists,
    ]
    .to_vec()
}

/// What the resource and the cluster say takes effect.
fn settings() -> Vec<Test> {
    testbed::tests![
        a_changed_setting_reaches_its_object,
        an_edit_that_is_taken_back_at_once_does_not_stay_in_effect,
        a_component_that_is_turned_off_is_pruned,
        network_policies_are_made_and_taken_away_by_their_switch,
        a_feature_takes_effect_at_once_and_an_unreadable_one_leaves_the_last_in_force,
        settings_that_cannot_be_read_are_named_and_nothing_is_decided_until_they_can,
        the_last_good_settings_stay_in_force_while_they_cannot_be_read,
        vertical_autoscalers_come_with_their_definition_and_go_with_their_switch,
        a_filter_of_a_user_at_the_ingress_gateway_is_a_warning_until_it_goes,
        every_setting_of_the_mesh_is_accepted_by_istiod,
        a_value_reaches_the_cluster_and_an_unknown_one_is_refused,
        a_patch_is_followed_only_where_the_operator_allows_it,
        every_rendering_is_accepted_by_the_api_server,
        every_kind_of_installation_is_accepted_by_the_api_server,
    ]
    .to_vec()
}

/// What people are told before and instead of a change.
fn commands_and_refusals() -> Vec<Test> {
    testbed::tests![
        a_diff_of_an_unchanged_resource_is_empty,
        a_diff_shows_a_changed_setting_and_changes_nothing,
        a_diff_of_a_resource_that_would_be_refused_says_why,
        a_diff_as_a_user_who_may_not_look_says_what_is_forbidden,
        a_check_of_a_healthy_installation_finds_nothing,
        a_check_as_a_user_without_permissions_names_them,
        a_check_names_what_stands_in_the_way,
        a_check_names_the_neighbours_that_get_in_the_way,
        what_the_operator_must_not_do_is_refused_by_the_api_server,
        a_second_resource_is_told_which_one_is_in_charge,
        a_resource_in_another_namespace_is_refused,
        an_unusable_value_is_named_and_changes_nothing,
        values_that_are_nested_too_deeply_are_refused_and_the_resource_is_still_followed,
        every_rule_of_the_schema_lets_through_and_refuses,
        what_only_fails_together_with_the_defaults_is_a_warning_and_changes_nothing,
    ]
    .to_vec()
}

/// What is installed stays as it is, until it is removed.
fn keeping_and_removing() -> Vec<Test> {
    testbed::tests![
        a_resource_of_a_user_blocks_the_removal,
        a_deleted_resource_takes_istio_with_it_and_no_copy_of_its_objects,
        an_edited_object_is_put_back_with_an_event_and_a_count,
        every_object_comes_back_after_its_label_was_stripped,
        every_object_comes_back_after_it_was_deleted,
        every_object_comes_back_after_it_was_edited,
        an_object_of_any_kind_that_someone_recreated_is_ours_again,
        what_others_add_stays,
        injection_that_somebody_deletes_comes_back_at_once_while_new_istiods_do_not_start,
        a_workload_that_fails_after_the_installation_is_told_until_it_runs_again,
        a_paused_resource_writes_nothing_and_says_so,
        a_paused_object_is_left_alone_until_its_pause_is_over,
        one_who_keeps_changing_an_object_is_named_and_not_fought,
        a_value_that_admission_undoes_is_named_and_not_written_again_and_again,
        an_orphaned_installation_keeps_running_and_is_taken_up_by_the_next_resource,
        the_next_oldest_resource_is_taken_up_when_the_oldest_goes,
        a_resource_that_is_invalid_can_be_deleted_and_takes_istio_with_it,
        an_installation_that_was_taken_down_by_hand_can_still_be_deleted,
        an_installation_is_removed_although_the_access_to_it_is_gone,
        an_object_named_like_one_of_ours_blocks_the_removal,
    ]
    .to_vec()
}

/// The cluster, the network or the operator fails.
fn faults() -> Vec<Test> {
    testbed::tests![
        an_operator_that_is_killed_at_every_stage_installs_and_removes_what_one_does_that_is_not,
        an_installation_that_cannot_start_istiod_refuses_no_pod,
        an_edit_does_not_wait_for_an_installation_that_hangs,
        an_etcd_that_is_slow_delays_an_installation_and_a_removal_and_stops_neither,
        what_users_put_into_the_namespace_keeps_it,
        a_lossy_network_neither_stops_an_installation_nor_a_removal,
        an_api_server_that_restarts_neither_stops_an_installation_nor_a_removal,
        a_webhook_of_someone_else_that_is_down_is_named_at_each_stage_until_it_is_gone,
        whatever_keeps_the_pods_of_a_stage_from_running_is_told_in_their_words_and_ends_with_its_cause,
        a_definition_that_the_api_server_forgot_to_establish_is_established_without_help,
        a_leader_that_is_killed_while_installing_is_followed_and_nothing_of_it_arrives_later,
        a_leader_that_hangs_while_installing_is_followed_and_writes_nothing_when_it_wakes_up,
        a_leader_that_is_cut_off_while_installing_is_followed_and_writes_nothing_when_it_is_back,
    ]
    .to_vec()
}

/// Other installers, other versions, other clusters.
fn other_installations() -> Vec<Test> {
    testbed::tests![
        the_kustomization_runs_the_operator,
        the_chart_runs_the_operator,
        the_chart_and_the_kustomization_grant_the_same,
        an_installation_of_the_go_operator_is_taken_over_and_only_its_cni_agent_is_replaced,
        an_installation_of_istioctl_is_taken_over_while_istiod_is_down,
        a_helm_release_that_was_taken_over_is_a_warning_until_helm_forgets_it,
        webhooks_that_were_left_of_an_istio_that_is_gone_become_ours,
        an_installation_of_an_older_version_is_upgraded_in_place,
        an_upgrade_that_fails_says_how_to_go_back_and_going_back_works,
        an_installation_by_istioctl_is_taken_over_and_upgraded,
        an_object_that_was_there_before_is_released_and_not_deleted,
        one_node_more_or_less_does_not_change_the_size_but_another_cluster_does,
        the_load_balancer_decides_about_the_proxy_protocol,
        experiments_are_installed_where_they_are_allowed_and_end_with_their_cause,
        a_definition_that_would_lose_something_stays_and_is_named_until_it_is_mended,
    ]
    .to_vec()
}
