//! A workload with an outdated sidecar, and what is done about it. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::maintenance_window::{InvalidWindow, Window};
use crate::dataplane::model::{Injected, RestartTarget, WorkloadUid};
use crate::dataplane::names::{ALLOW_INTERRUPTION_ANNOTATION, EXCLUDE_ANNOTATION, WINDOW_ANNOTATION};
use crate::dataplane::reasons::{StaleReason, requires_restart};
pub use crate::dataplane::workload::RestartStrategy;
use crate::dataplane::workload::disruption::{DisruptionBudget, PodReplacement};
use crate::dataplane::workload::rollout::RolloutStatus;
use crate::dataplane::workload::{NeverRestarted, WorkloadKind};
use crate::kubernetes::object::ObjectId;
use crate::validate::ValidatedRestarter;

/// A workload whose sidecars differ from what injection gives now.
#[derive(Clone, Debug)]
pub struct StaleWorkload {
    /// The workload.
    pub workload: ObjectId,
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its UID.
    pub uid: WorkloadUid,
    /// Its generation when it was read.
    pub generation: i64,
    /// Whether it belongs to Kyma; such workloads are restarted first.
    pub kyma: bool,
    /// Whether its proxy is a gateway; gateways are restarted last, one at a time.
    pub gateway: bool,
    /// Why it is outdated.
    pub reasons: Vec<StaleReason>,
    /// What it would be restarted for.
    pub target: RestartTarget,
    /// Number of pods that it wants.
    pub replicas: i64,
    /// How its pods are replaced.
    pub replacement: PodReplacement,
    /// How far its last rollout is.
    pub rollout: RolloutStatus,
    /// Whether its controller is paused.
    pub paused: bool,
    /// Creation time of its oldest outdated pod.
    pub pod_created: Timestamp,
    /// Labels of its pods.
    pub labels: BTreeMap<String, String>,
    /// The restart annotations of the workload and its namespace.
    pub restart_annotations: RestartAnnotations,
    /// What injection gives its pods now; set if pods are evicted, to choose among them.
    pub desired_injection: Option<Arc<Injected>>,
    /// Why the owner that the pod names is not trusted; the workload is then the pod itself.
    pub owner_unverified: Option<String>,
}

/// The order of restarts, most urgent first: Kyma's workloads before others and gateways last; among others, stateless
/// workloads before stateful ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RestartPriority {
    gateway: bool,
    not_kyma: bool,
    stateful: bool,
}

impl StaleWorkload {
    /// The priority of its restart.
    #[must_use]
    pub fn priority(&self) -> RestartPriority {
        RestartPriority { gateway: self.gateway, not_kyma: !self.kyma, stateful: self.kind.is_stateful() }
    }

    /// Approximate bytes that it holds, mostly texts that tenants write.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let labels: usize = self.labels.iter().map(|(key, value)| key.len() + value.len() + 48).sum();
        let reasons: usize = self.reasons.iter().map(|reason| reason.to_string().len() + 64).sum();
        let window = match &self.restart_annotations.window {
            Some(Ok(window)) => window.memory_bytes(),
            Some(Err(error)) => error.memory_bytes(),
            None => 0,
        };
        let wanted = self.desired_injection.as_ref().map_or(0, |wanted| wanted.memory_bytes());
        size_of::<Self>() + labels + reasons + window + wanted
    }

    /// Adds what another pod of the same workload shows.
    pub fn merge(&mut self, other: &Self) {
        self.reasons.extend(other.reasons.iter().cloned());
        self.reasons.sort();
        self.reasons.dedup();
        self.pod_created = self.pod_created.min(other.pod_created);
    }
}

/// What annotations say about restarts of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartAnnotations {
    /// It is never restarted.
    pub excluded: bool,
    /// It is restarted only while this window is open.
    pub window: Option<Result<Window, InvalidWindow>>,
    /// It is restarted even if that interrupts it.
    pub allow_interruption: bool,
}

impl RestartAnnotations {
    /// Reads the annotations of a workload, and those of its namespace where the workload has none.
    #[must_use]
    pub fn from_annotations(
        workload: &BTreeMap<String, String>,
        namespace: &BTreeMap<String, String>,
    ) -> Self {
        let annotation = |key: &str| workload.get(key).or_else(|| namespace.get(key));
        let is_true = |key: &str| annotation(key).is_some_and(|value| value == "true");
        let window = annotation(WINDOW_ANNOTATION).map(|text| text.parse());
        Self {
            excluded: is_true(EXCLUDE_ANNOTATION),
            window,
            allow_interruption: is_true(ALLOW_INTERRUPTION_ANNOTATION),
        }
    }

    /// Whether there is a window and it is open.
    #[must_use]
    pub fn is_window_open(&self, now: Timestamp) -> bool {
        matches!(&self.window, Some(Ok(window)) if window.contains(now))
    }
}

/// What is done about an outdated workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Restart it.
    Restart(RestartStrategy),
    /// Leave it, for this reason.
    Blocked(BlockReason),
}

/// Why an outdated workload is not restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockReason {
    /// An annotation on the workload or its namespace excludes it.
    Excluded,
    /// Its differences do not cause a restart by default.
    ReportOnly,
    /// Restarts are disabled.
    RestartsDisabled,
    /// It was restarted for this target already, without effect or the restart was reverted.
    AlreadyRestarted,
    /// Its maintenance window is closed; the time says when it opens.
    OutsideWindow(Timestamp),
    /// Its maintenance window cannot be parsed.
    WindowInvalid(String),
    /// A restart would interrupt it.
    WouldInterrupt,
    /// A restart would violate this `PodDisruptionBudget`.
    DisruptionBudget(String),
    /// It is paused.
    Paused,
    /// Its pods have an older template that an eviction would replace, too.
    TemplateUpdatePending,
    /// A rollout is in progress.
    RolloutInProgress(String),
    /// It is unhealthy; a restart would stop pods that still work.
    Unhealthy(String),
    /// Its pods run to completion.
    RunsToCompletion,
    /// The pods of its next run get a new sidecar.
    NextCronRun,
    /// No controller would recreate its pod.
    BarePod,
    /// Its owner is of a kind without a known way to replace pods.
    UnknownOwner,
    /// The owner that the pod names does not exist or does not own such pods.
    OwnerNotVerified(String),
    /// The restart wave was stopped or needs approval.
    WaveSuspended,
    /// The API server or an admission webhook rejected the restart.
    Refused(String),
    /// The API server did not respond or was overloaded, or an admission webhook failed.
    NoResponse(String),
    /// It was restarted, and its rollout failed.
    RolloutFailed(String),
}

impl From<NeverRestarted> for BlockReason {
    fn from(why: NeverRestarted) -> Self {
        match why {
            NeverRestarted::NoController => Self::BarePod,
            NeverRestarted::RunsToCompletion => Self::RunsToCompletion,
            NeverRestarted::NextRun => Self::NextCronRun,
        }
    }
}

/// How urgent a block reason is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Intended, or resolved without anybody's action.
    Info,
    /// May be resolved soon; retried.
    Transient,
    /// Somebody has to act.
    ActionRequired,
}

impl BlockReason {
    /// Whether somebody has to act.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::Excluded
            | Self::ReportOnly
            | Self::RestartsDisabled
            | Self::OutsideWindow(_)
            | Self::RunsToCompletion
            | Self::NextCronRun
            // Anybody who creates pods can name any owner, which must not cause a Warning for all.
            | Self::UnknownOwner
            | Self::OwnerNotVerified(_) => Severity::Info,
            Self::RolloutInProgress(_) | Self::Unhealthy(_) | Self::NoResponse(_) => Severity::Transient,
            Self::AlreadyRestarted
            | Self::WindowInvalid(_)
            | Self::WouldInterrupt
            | Self::DisruptionBudget(_)
            | Self::Paused
            | Self::TemplateUpdatePending
            | Self::BarePod
            | Self::WaveSuspended
            | Self::Refused(_)
            | Self::RolloutFailed(_) => Severity::ActionRequired,
        }
    }

    /// Name in metrics and in the output of the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Excluded => "excluded",
            Self::ReportOnly => "report_only",
            Self::RestartsDisabled => "disabled",
            Self::AlreadyRestarted => "already_restarted",
            Self::OutsideWindow(_) => "outside_window",
            Self::WindowInvalid(_) => "window_invalid",
            Self::WouldInterrupt => "would_interrupt",
            Self::DisruptionBudget(_) => "disruption_budget",
            Self::Paused => "paused",
            Self::TemplateUpdatePending => "template_update_pending",
            Self::RolloutInProgress(_) => "rollout_in_progress",
            Self::Unhealthy(_) => "unhealthy",
            Self::RunsToCompletion => "job",
            Self::NextCronRun => "cron_job",
            Self::BarePod => "bare_pod",
            Self::UnknownOwner => "unknown_owner",
            Self::OwnerNotVerified(_) => "owner_not_verified",
            Self::WaveSuspended => "wave_on_hold",
            Self::Refused(_) => "rejected",
            Self::NoResponse(_) => "no_response",
            Self::RolloutFailed(_) => "rollout_failed",
        }
    }
}

impl fmt::Display for BlockReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Excluded => write!(f, "excluded by annotation {EXCLUDE_ANNOTATION}"),
            Self::ReportOnly => f.write_str("the differences do not cause a restart by default"),
            Self::RestartsDisabled => f.write_str("restarts are disabled"),
            Self::AlreadyRestarted => {
                f.write_str("already restarted once; the sidecar is still outdated (restart ineffective or reverted)")
            }
            Self::OutsideWindow(opens) => write!(f, "outside of the maintenance window, which opens at {opens}"),
            Self::WindowInvalid(why) => write!(f, "invalid maintenance window: {why}"),
            Self::WouldInterrupt => write!(
                f,
                "a restart would interrupt it; set a maintenance window or the annotation {ALLOW_INTERRUPTION_ANNOTATION}"
            ),
            Self::DisruptionBudget(name) => write!(f, "a restart would violate PodDisruptionBudget {name}"),
            Self::Paused => f.write_str("rollouts are paused; resume them"),
            Self::TemplateUpdatePending => f.write_str(
                "update strategy OnDelete: pods have an older template that an eviction would replace, too; delete the pods to roll it out",
            ),
            Self::RolloutInProgress(what) => write!(f, "rollout in progress: {what}"),
            Self::Unhealthy(what) => write!(f, "workload is unhealthy: {what}"),
            Self::RunsToCompletion => f.write_str("pods run to completion"),
            Self::NextCronRun => f.write_str("the next run gets a new sidecar"),
            Self::BarePod => f.write_str("pod has no controller; recreate it manually"),
            Self::UnknownOwner => f.write_str("unsupported owner kind; restart it manually"),
            Self::OwnerNotVerified(why) => {
                write!(f, "owner is not verified: {why}. Correct the owner reference or delete the pod")
            }
            Self::WaveSuspended => f.write_str("restarts are on hold"),
            Self::Refused(why) => write!(f, "restart was rejected: {why}"),
            Self::NoResponse(why) => write!(f, "restart request failed: {why}"),
            Self::RolloutFailed(why) => write!(f, "rollout failed after the restart: {why}"),
        }
    }
}

/// What is done about an outdated workload. `already_restarted` says whether it was restarted for its target before.
#[must_use]
pub fn decide(
    stale: &StaleWorkload,
    settings: &ValidatedRestarter,
    budgets: &[DisruptionBudget],
    already_restarted: bool,
    now: Timestamp,
) -> Decision {
    match block_reason(stale, settings, budgets, already_restarted, now) {
        Some(block_reason) => Decision::Blocked(block_reason),
        None => {
            restart_strategy(stale).map_or(Decision::Blocked(BlockReason::UnknownOwner), Decision::Restart)
        }
    }
}

/// How a workload is restarted; `None` if it cannot be.
#[must_use]
pub fn restart_strategy(stale: &StaleWorkload) -> Option<RestartStrategy> {
    stale.kind.restart_strategy(&stale.replacement, stale.replicas)
}

fn block_reason(
    stale: &StaleWorkload,
    settings: &ValidatedRestarter,
    budgets: &[DisruptionBudget],
    already_restarted: bool,
    now: Timestamp,
) -> Option<BlockReason> {
    let annotations = &stale.restart_annotations;
    if let Some(why) = &stale.owner_unverified {
        return Some(BlockReason::OwnerNotVerified(why.clone()));
    }
    if annotations.excluded {
        return Some(BlockReason::Excluded);
    }
    if let Some(why) = stale.kind.never_restarted() {
        return Some(why.into());
    }
    if !requires_restart(&stale.reasons, &settings.restart_also_for) {
        return Some(BlockReason::ReportOnly);
    }
    if already_restarted {
        return Some(block_reason_after_restart(&stale.rollout));
    }
    if stale.paused {
        return Some(BlockReason::Paused);
    }
    if stale.replacement == PodReplacement::OnDeletePending {
        return Some(BlockReason::TemplateUpdatePending);
    }
    match &stale.rollout {
        RolloutStatus::Complete => {}
        RolloutStatus::InProgress(what) => return Some(BlockReason::RolloutInProgress(what.clone())),
        RolloutStatus::Failed(what) => return Some(BlockReason::Unhealthy(what.clone())),
    }
    match &annotations.window {
        Some(Err(error)) => return Some(BlockReason::WindowInvalid(error.to_string())),
        Some(Ok(window)) if !window.contains(now) => {
            return Some(BlockReason::OutsideWindow(window.next_opening(now)));
        }
        _ => {}
    }
    if let Some(disruption) = disruption_block_reason(stale, settings, budgets) {
        return Some(disruption);
    }
    // Last, so that a report shows every other block reason first.
    (!settings.enabled).then_some(BlockReason::RestartsDisabled)
}

/// Why a workload is still outdated after it was restarted for its target.
fn block_reason_after_restart(rollout: &RolloutStatus) -> BlockReason {
    match rollout {
        RolloutStatus::Complete => BlockReason::AlreadyRestarted,
        RolloutStatus::InProgress(what) => BlockReason::RolloutInProgress(what.clone()),
        RolloutStatus::Failed(what) => BlockReason::RolloutFailed(what.clone()),
    }
}

/// Whether a rollout would leave too few pods available. For evictions, the API server decides pod by pod.
fn disruption_block_reason(
    stale: &StaleWorkload,
    settings: &ValidatedRestarter,
    budgets: &[DisruptionBudget],
) -> Option<BlockReason> {
    if stale.replicas == 0 {
        return None;
    }
    let evicted = restart_strategy(stale) == Some(RestartStrategy::Evict);
    let min_available = match &stale.replacement {
        PodReplacement::Rolling { min_available } if !evicted => *min_available,
        PodReplacement::Recreate => 0,
        _ => stale.replicas - 1,
    };
    let may_interrupt = settings.allow_interruption
        || stale.restart_annotations.allow_interruption
        || stale.restart_annotations.window.is_some();
    let broken = budgets.iter().filter(|_| !evicted).find(|budget| {
        let namespace = stale.workload.namespace.as_deref().unwrap_or_default();
        budget.covers(namespace, &stale.labels) && min_available < budget.required_available(stale.replicas)
    });
    if let Some(budget) = broken {
        return Some(BlockReason::DisruptionBudget(budget.name().to_owned()));
    }
    let interrupts = min_available <= 0 && !stale.kind.is_node_agent();
    (interrupts && !may_interrupt).then_some(BlockReason::WouldInterrupt)
}
