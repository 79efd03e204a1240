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
    let shared = [installation(), settings(), commands_and_refusals(), drift_and_removal()].concat();
    let own = [without_istio(), faults(), other_installations(), with_the_go_operator().to_vec()].concat();
    let shared = shared.into_iter().map(|test| test.within(Duration::from_secs(180)));
    let own = own.into_iter().map(|test| test.within(Duration::from_secs(240)).on_own_control_plane());
    testbed::run_tests(&shared.chain(own).collect::<Vec<_>>())
}

/// Run on demand, where there is a build of the Go operator.
fn with_the_go_operator() -> [Test; 1] {
    testbed::tests![an_installation_can_switch_between_the_go_operator_and_ours].map(Test::ignored)
}

/// A cluster on which neither the operator nor Istio was.
fn without_istio() -> Vec<Test> {
    testbed::tests![
        a_check_of_a_cluster_without_the_operator_reports_what_is_missing,
        a_diff_before_the_installation_shows_every_object_as_new,
        a_resource_is_installed_and_reported_ready,
    ]
    .to_vec()
}

/// What is true of an installation that is complete. Each test has one made where there is none.
fn installation() -> Vec<Test> {
    testbed::tests![
        the_operator_does_not_modify_the_spec,
        a_change_of_the_ready_reason_emits_an_event,
        a_pod_in_a_labelled_namespace_gets_a_sidecar,
        an_operator_restart_writes_nothing_to_an_unchanged_cluster,
        an_idle_reconcile_reads_nothing_that_is_watched,
        client_and_controller_metrics_match_the_audit_log,
        watched_kinds_are_not_listed_first,
        plain_lists_are_used_if_the_api_server_cannot_stream_them,
    ]
    .to_vec()
}

/// What the resource and the cluster say takes effect.
fn settings() -> Vec<Test> {
    testbed::tests![
        a_changed_setting_reaches_its_object,
        an_edit_that_is_reverted_at_once_does_not_stay_in_effect,
        a_component_that_is_turned_off_is_pruned,
        network_policies_are_created_and_deleted_by_their_setting,
        features_apply_at_once_and_unreadable_ones_keep_the_last_value,
        unreadable_settings_are_reported_and_block_the_reconcile,
        the_last_good_settings_stay_in_effect_while_reads_fail,
        vertical_autoscalers_need_their_crd_and_follow_their_switch,
        an_envoy_filter_on_the_ingress_gateway_is_a_warning_until_deleted,
        every_setting_of_the_mesh_is_accepted_by_istiod,
        a_value_reaches_the_cluster_and_an_unknown_one_is_refused,
        patches_are_applied_only_if_the_operator_allows_them,
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
        a_diff_of_an_invalid_resource_reports_why_it_is_refused,
        a_diff_without_read_permission_reports_what_is_forbidden,
        a_check_of_a_healthy_installation_finds_nothing,
        a_check_as_a_user_without_permissions_names_them,
        a_check_reports_a_dead_webhook_and_a_restricted_namespace,
        a_check_reports_conflicting_network_plugins_and_other_istios,
        what_the_operator_must_not_do_is_refused_by_the_api_server,
        a_second_resource_reports_which_resource_is_active,
        a_resource_in_another_namespace_is_refused,
        an_invalid_value_is_reported_and_changes_nothing,
        deeply_nested_values_are_refused_and_do_not_break_the_watch,
        every_schema_rule_accepts_and_rejects,
        values_that_conflict_with_defaults_are_a_warning_and_change_nothing,
    ]
    .to_vec()
}

/// What is installed stays as it is, until it is removed.
fn drift_and_removal() -> Vec<Test> {
    testbed::tests![
        a_resource_of_a_user_blocks_the_removal,
        deleting_the_resource_removes_istio_but_no_copies_of_its_objects,
        an_edited_object_is_reverted_with_an_event_and_a_metric,
        every_object_comes_back_after_its_label_was_stripped,
        every_object_comes_back_after_it_was_deleted,
        every_object_comes_back_after_it_was_edited,
        an_object_of_any_kind_recreated_by_others_is_adopted,
        fields_added_by_others_are_kept,
        a_deleted_injection_webhook_is_restored_during_a_stuck_rollout,
        a_workload_failing_after_the_install_is_reported_until_it_recovers,
        a_paused_resource_is_reported_and_nothing_is_written,
        a_paused_object_is_skipped_until_its_pause_expires,
        repeated_changes_by_another_manager_are_reported_with_a_backoff,
        a_value_reverted_by_admission_is_reported_and_not_rewritten,
        an_orphaned_installation_is_adopted_by_the_next_resource,
        the_next_oldest_resource_takes_over_when_the_oldest_is_deleted,
        an_invalid_resource_can_be_deleted_and_istio_is_uninstalled,
        a_manually_removed_installation_can_still_be_deleted,
        an_installation_is_removed_although_the_access_to_it_is_gone,
        an_object_named_like_one_of_ours_blocks_the_removal,
    ]
    .to_vec()
}

/// The cluster, the network or the operator fails.
fn faults() -> Vec<Test> {
    testbed::tests![
        an_operator_killed_at_every_stage_installs_and_uninstalls_the_same,
        an_installation_that_cannot_start_istiod_refuses_no_pod,
        an_edit_does_not_wait_for_an_installation_that_hangs,
        a_slow_etcd_delays_but_stops_neither_installation_nor_removal,
        user_objects_in_the_namespace_prevent_its_deletion,
        a_lossy_network_neither_stops_an_installation_nor_a_removal,
        an_api_server_restart_stops_neither_installation_nor_removal,
        a_failing_foreign_webhook_is_reported_at_each_stage,
        pod_failures_of_each_stage_are_reported_and_end_with_their_cause,
        a_crd_the_api_server_forgot_to_establish_gets_established,
        a_leader_killed_during_an_install_is_replaced_and_stops_writing,
        a_leader_that_hangs_during_an_install_is_replaced_and_stops_writing,
        a_leader_cut_off_during_an_install_is_replaced_and_stops_writing,
    ]
    .to_vec()
}

/// Other installers, other versions, other clusters.
fn other_installations() -> Vec<Test> {
    testbed::tests![
        the_kustomization_runs_the_operator,
        the_chart_runs_the_operator,
        the_chart_and_the_kustomization_grant_the_same,
        adopting_a_go_operator_installation_replaces_only_the_cni_agent,
        an_istioctl_installation_is_adopted_while_istiod_is_down,
        an_adopted_helm_release_is_a_warning_until_its_secrets_are_gone,
        orphaned_webhooks_of_a_removed_istio_are_adopted,
        an_installation_of_an_older_version_is_upgraded_in_place,
        a_failed_upgrade_reports_how_to_roll_back_and_can_be_rolled_back,
        an_istioctl_installation_is_adopted_and_upgraded,
        an_object_that_was_there_before_is_released_and_not_deleted,
        the_size_changes_with_the_cluster_but_not_with_a_single_node,
        the_load_balancer_determines_the_proxy_protocol,
        experimental_features_are_installed_if_allowed_and_can_be_removed,
        a_crd_that_would_lose_fields_is_kept_and_reported_until_fixed,
    ]
    .to_vec()
}
