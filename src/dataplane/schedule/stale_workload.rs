//! A workload with an outdated proxy, and what is to be done about it. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::maintenance_window::Window;
use super::settings::RestartSettings;
use crate::dataplane::injected::Injected;
use crate::dataplane::names::{ALLOW_INTERRUPTION_ANNOTATION, EXCLUDE_ANNOTATION, WINDOW_ANNOTATION};
use crate::dataplane::reasons::{DefaultAction, StaleReason, required_action};
use crate::dataplane::workload::disruption::{DisruptionBudget, PodReplacement};
use crate::dataplane::workload::kind::WorkloadKind;
use crate::dataplane::workload::rollout::RolloutStatus;
use crate::kubernetes::object::ObjectId;

/// A workload whose proxies are not what injection would give them now.
#[derive(Clone, Debug)]
pub struct StaleWorkload {
    /// The workload.
    pub workload: ObjectId,
    /// What can be done with it.
    pub kind: WorkloadKind,
    /// Its identity over time.
    pub uid: String,
    /// Its generation when it was looked at.
    pub generation: i64,
    /// Whether it belongs to Kyma; such workloads come first.
    pub kyma: bool,
    /// Whether its proxy is a gateway; these come last and alone.
    pub gateway: bool,
    /// Why it is outdated.
    pub reasons: Vec<StaleReason>,
    /// Identity of what it would be restarted for.
    pub target: String,
    /// Pods it wants.
    pub replicas: i64,
    /// How its pods are replaced.
    pub replacement: PodReplacement,
    /// How its last rollout went.
    pub rollout: RolloutStatus,
    /// Whether its controller does nothing for now.
    pub paused: bool,
    /// When the pod was made that stands for it, in seconds since the epoch.
    pub pod_created: i64,
    /// Labels of its pods.
    pub labels: BTreeMap<String, String>,
    /// What its owner and its namespace say about restarts.
    pub restart_annotations: RestartAnnotations,
    /// What injection gives its pods now, where they are evicted one by one.
    pub desired_injection: Option<Arc<Injected>>,
    /// Why the owner that the pod names is not believed; the finding is about the pod itself then.
    pub owner_unverified: Option<String>,
}

/// How urgent a restart is, the most urgent first: Kyma before the rest and gateways last; in between, what has no state
/// before what has some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RestartPriority {
    gateway: bool,
    not_kyma: bool,
    stateful: bool,
}

impl StaleWorkload {
    /// How urgent its restart is.
    #[must_use]
    pub fn priority(&self) -> RestartPriority {
        RestartPriority {
            gateway: self.gateway,
            not_kyma: !self.kyma,
            stateful: !matches!(
                self.kind,
                WorkloadKind::Deployment | WorkloadKind::ReplicaSet | WorkloadKind::Rollout
            ),
        }
    }

    /// Bytes that it holds of texts that others write, roughly.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let labels: usize = self.labels.iter().map(|(key, value)| key.len() + value.len() + 48).sum();
        let reasons: usize = self.reasons.iter().map(|reason| reason.to_string().len() + 64).sum();
        let window = match &self.restart_annotations.window {
            Some(Ok(window)) => window.memory_bytes(),
            Some(Err(why)) => why.len(),
            None => 0,
        };
        let wanted = self.desired_injection.as_ref().map_or(0, |wanted| wanted.memory_bytes());
        size_of::<Self>() + labels + reasons + window + wanted
    }

    /// Takes in what another pod of the same workload showed.
    pub fn merge(&mut self, other: &Self) {
        self.reasons.extend(other.reasons.iter().cloned());
        self.reasons.sort();
        self.reasons.dedup();
        self.pod_created = self.pod_created.min(other.pod_created);
    }
}

/// What people say about restarts of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartAnnotations {
    /// Never.
    pub excluded: bool,
    /// Only then.
    pub window: Option<Result<Window, String>>,
    /// Also if it interrupts.
    pub allow_interruption: bool,
}

impl RestartAnnotations {
    /// What the annotations of a workload say, and those of its namespace where it says nothing.
    #[must_use]
    pub fn from_annotations(
        workload: &BTreeMap<String, String>,
        namespace: &BTreeMap<String, String>,
    ) -> Self {
        let annotation = |key: &str| workload.get(key).or_else(|| namespace.get(key));
        let is_true = |key: &str| annotation(key).is_some_and(|value| value == "true");
        let window = annotation(WINDOW_ANNOTATION)
            .map(|text| text.parse::<Window>().map_err(|error| error.to_string()));
        Self {
            excluded: is_true(EXCLUDE_ANNOTATION),
            window,
            allow_interruption: is_true(ALLOW_INTERRUPTION_ANNOTATION),
        }
    }

    /// Whether there is a window, and it is open at this second since the epoch.
    #[must_use]
    pub fn is_window_open(&self, now: i64) -> bool {
        matches!(&self.window, Some(Ok(window)) if window.contains(now))
    }
}

/// How a workload is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartStrategy {
    /// By an annotation on its template.
    Template,
    /// By the time that Argo reads.
    RestartAt,
    /// By evicting its outdated pods one after the other.
    Evict,
}

/// What is to be done about a finding.
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
    /// Its owner or namespace says so.
    Excluded,
    /// The differences are such that a restart is left to its owner.
    ReportOnly,
    /// Restarts are switched off.
    RestartsDisabled,
    /// It was restarted for this target already, and that did not help or was taken back.
    AlreadyRestarted,
    /// Its maintenance window is closed; it opens at this second since the epoch.
    OutsideWindow(i64),
    /// Its maintenance window cannot be read.
    WindowInvalid(String),
    /// A restart would interrupt it.
    WouldInterrupt,
    /// A restart would break this disruption budget.
    DisruptionBudget(String),
    /// It is paused.
    Paused,
    /// Its pods are of an older template, and its owner decides when they go.
    TemplateUpdatePending,
    /// A rollout is under way.
    RolloutInProgress(String),
    /// It is not healthy; a restart would take away pods that still work.
    Unhealthy(String),
    /// Its pods end by themselves.
    RunsToCompletion,
    /// Its next run gets a new proxy.
    NextCronRun,
    /// Nobody would replace its pod.
    BarePod,
    /// It is not known how its pods are replaced.
    UnknownOwner,
    /// The owner that the pod names does not exist, or does not own such pods, as this text tells.
    OwnerNotVerified(String),
    /// The wave was stopped or waits for a release.
    WaveSuspended,
    /// The API server or somebody's webhook refused the restart.
    Refused(String),
    /// The API server did not answer, or was busy, or somebody's webhook failed.
    NoResponse(String),
    /// It was restarted, and its rollout failed.
    RolloutFailed(String),
}

/// How a hindrance is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As wanted, or it passes without anybody's doing.
    Info,
    /// It may pass soon; looked at again.
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
            // Whoever may create a pod may write any owner into it, which must not become a Warning for all.
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

    /// Name for metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Excluded => "excluded",
            Self::ReportOnly => "report_only",
            Self::RestartsDisabled => "switched_off",
            Self::AlreadyRestarted => "already_tried",
            Self::OutsideWindow(_) => "outside_window",
            Self::WindowInvalid(_) => "window_invalid",
            Self::WouldInterrupt => "interrupts",
            Self::DisruptionBudget(_) => "disruption_budget",
            Self::Paused => "paused",
            Self::TemplateUpdatePending => "template_withheld",
            Self::RolloutInProgress(_) => "rollout_under_way",
            Self::Unhealthy(_) => "unhealthy",
            Self::RunsToCompletion => "job",
            Self::NextCronRun => "cron_job",
            Self::BarePod => "bare_pod",
            Self::UnknownOwner => "unknown_owner",
            Self::OwnerNotVerified(_) => "owner_not_verified",
            Self::WaveSuspended => "wave_held",
            Self::Refused(_) => "refused",
            Self::NoResponse(_) => "unanswered",
            Self::RolloutFailed(_) => "rollout_failed",
        }
    }
}

impl fmt::Display for BlockReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Excluded => write!(f, "excluded by the annotation {EXCLUDE_ANNOTATION}"),
            Self::ReportOnly => f.write_str("the differences do not call for a restart; it is left to the owner"),
            Self::RestartsDisabled => f.write_str("restarts are switched off"),
            Self::AlreadyRestarted => {
                f.write_str("was restarted for this before, and its proxy is outdated still: a restart does not help, or its owner took it back")
            }
            Self::OutsideWindow(second) => write!(f, "waits for its maintenance window, {}", format_time(*second)),
            Self::WindowInvalid(why) => write!(f, "its maintenance window cannot be read: {why}"),
            Self::WouldInterrupt => write!(
                f,
                "a restart would interrupt it; give it a maintenance window or the annotation {ALLOW_INTERRUPTION_ANNOTATION}"
            ),
            Self::DisruptionBudget(name) => write!(f, "a restart would break PodDisruptionBudget {name}"),
            Self::Paused => f.write_str("it is paused"),
            Self::TemplateUpdatePending => {
                f.write_str("its pods are of an older template, which an eviction would replace, too; delete them when that is wanted")
            }
            Self::RolloutInProgress(what) => write!(f, "a rollout is under way: {what}"),
            Self::Unhealthy(what) => write!(f, "it is not healthy: {what}"),
            Self::RunsToCompletion => f.write_str("its pods end by themselves"),
            Self::NextCronRun => f.write_str("its next run gets a new proxy"),
            Self::BarePod => f.write_str("nobody would replace the pod; make it anew"),
            Self::UnknownOwner => f.write_str("it is not known how its owner replaces pods; restart it"),
            Self::OwnerNotVerified(why) => {
                write!(f, "its owner is not verified: {why}. Correct the owner reference or delete the pod")
            }
            Self::WaveSuspended => f.write_str("restarts are held back for now"),
            Self::Refused(why) => write!(f, "the restart was refused: {why}"),
            Self::NoResponse(why) => write!(f, "the restart got no answer: {why}"),
            Self::RolloutFailed(why) => write!(f, "it was restarted, and its rollout failed: {why}"),
        }
    }
}

fn format_time(second: i64) -> String {
    let time = k8s_openapi::jiff::Timestamp::from_second(second);
    time.map_or_else(|_| "unknown".to_owned(), |time| time.to_string())
}

/// What is to be done about a finding. `tried` tells whether it was restarted for its target before.
#[must_use]
pub fn decide(
    stale: &StaleWorkload,
    settings: &RestartSettings,
    budgets: &[DisruptionBudget],
    already_restarted: bool,
    now: i64,
) -> Decision {
    match block_reason(stale, settings, budgets, already_restarted, now) {
        Some(block_reason) => Decision::Blocked(block_reason),
        None => {
            restart_strategy(stale).map_or(Decision::Blocked(BlockReason::UnknownOwner), Decision::Restart)
        }
    }
}

/// How a workload of its kind is restarted, if at all.
#[must_use]
pub fn restart_strategy(stale: &StaleWorkload) -> Option<RestartStrategy> {
    match (stale.kind, &stale.replacement) {
        (_, PodReplacement::OnDeletePending) => None,
        (
            WorkloadKind::StatefulSet | WorkloadKind::DaemonSet,
            PodReplacement::OnDelete | PodReplacement::Partitioned,
        )
        | (WorkloadKind::ReplicaSet | WorkloadKind::ReplicationController, _) => Some(RestartStrategy::Evict),
        (WorkloadKind::Deployment | WorkloadKind::StatefulSet | WorkloadKind::DaemonSet, _) => {
            Some(RestartStrategy::Template)
        }
        (WorkloadKind::Rollout, _) => Some(RestartStrategy::RestartAt),
        // Known only by its scale; without one, nobody can tell when a pod was replaced.
        (WorkloadKind::Other, _) if stale.replicas > 0 => Some(RestartStrategy::Evict),
        _ => None,
    }
}

fn block_reason(
    stale: &StaleWorkload,
    settings: &RestartSettings,
    budgets: &[DisruptionBudget],
    already_restarted: bool,
    now: i64,
) -> Option<BlockReason> {
    let annotations = &stale.restart_annotations;
    if let Some(why) = &stale.owner_unverified {
        return Some(BlockReason::OwnerNotVerified(why.clone()));
    }
    if annotations.excluded {
        return Some(BlockReason::Excluded);
    }
    match stale.kind {
        WorkloadKind::Pod => return Some(BlockReason::BarePod),
        WorkloadKind::Job => return Some(BlockReason::RunsToCompletion),
        WorkloadKind::CronJob => return Some(BlockReason::NextCronRun),
        _ => {}
    }
    if required_action(&stale.reasons, &settings.restart_also_for) == DefaultAction::Report {
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
        Some(Err(why)) => return Some(BlockReason::WindowInvalid(why.clone())),
        Some(Ok(window)) if !window.contains(now) => {
            return Some(BlockReason::OutsideWindow(window.next_opening(now)));
        }
        _ => {}
    }
    if let Some(disruption) = disruption_block_reason(stale, settings, budgets) {
        return Some(disruption);
    }
    // Last, so that a report tells what else would be in the way.
    (!settings.enabled).then_some(BlockReason::RestartsDisabled)
}

/// Why a workload is outdated that was restarted for its target.
fn block_reason_after_restart(rollout: &RolloutStatus) -> BlockReason {
    match rollout {
        RolloutStatus::Complete => BlockReason::AlreadyRestarted,
        RolloutStatus::InProgress(what) => BlockReason::RolloutInProgress(what.clone()),
        RolloutStatus::Failed(what) => BlockReason::RolloutFailed(what.clone()),
    }
}

/// Whether a rollout would take too many pods away. Evictions ask the API server themselves, pod by pod.
fn disruption_block_reason(
    stale: &StaleWorkload,
    settings: &RestartSettings,
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
    // An agent of a node is away for a moment in any case: its neighbours cannot stand in for it.
    let interrupts = min_available <= 0 && stale.kind != WorkloadKind::DaemonSet;
    (interrupts && !may_interrupt).then_some(BlockReason::WouldInterrupt)
}
