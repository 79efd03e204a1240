//! A workload with an outdated proxy, and what is to be done about it. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::disruption::{Budget, Replacement};
use super::rollout::Rollout;
use super::settings::Settings;
use super::window::Window;
use crate::dataplane::injected::Injected;
use crate::dataplane::kind::Kind;
use crate::dataplane::names::{ALLOW_INTERRUPTION_ANNOTATION, EXCLUDE_ANNOTATION, WINDOW_ANNOTATION};
use crate::dataplane::reason::{Consequence, Reason, consequence};
use crate::object::ObjectId;

/// A workload whose proxies are not what injection would give them now.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The workload.
    pub workload: ObjectId,
    /// What can be done with it.
    pub kind: Kind,
    /// Its identity over time.
    pub uid: String,
    /// Its generation when it was looked at.
    pub generation: i64,
    /// Whether it belongs to Kyma; such workloads come first.
    pub kyma: bool,
    /// Whether its proxy is a gateway; these come last and alone.
    pub gateway: bool,
    /// Why it is outdated.
    pub reasons: Vec<Reason>,
    /// Identity of what it would be restarted for.
    pub target: String,
    /// Pods it wants.
    pub replicas: i64,
    /// How its pods are replaced.
    pub replacement: Replacement,
    /// How its last rollout went.
    pub rollout: Rollout,
    /// Whether its controller does nothing for now.
    pub paused: bool,
    /// When the pod was made that stands for it, in seconds since the epoch.
    pub pod_created: i64,
    /// Labels of its pods.
    pub labels: BTreeMap<String, String>,
    /// What its owner and its namespace say about restarts.
    pub steering: Steering,
    /// What injection gives its pods now, where they are evicted one by one.
    pub wanted: Option<Arc<Injected>>,
    /// Why the owner that the pod names is not believed; the finding is about the pod itself then.
    pub unverified: Option<String>,
}

/// How urgent a restart is, the most urgent first: Kyma before the rest and gateways last; in between, what has no state
/// before what has some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Urgency {
    gateway: bool,
    foreign: bool,
    stateful: bool,
}

impl Finding {
    /// How urgent its restart is.
    #[must_use]
    pub fn urgency(&self) -> Urgency {
        Urgency {
            gateway: self.gateway,
            foreign: !self.kyma,
            stateful: !matches!(self.kind, Kind::Deployment | Kind::ReplicaSet | Kind::Rollout),
        }
    }

    /// Bytes that it holds of texts that others write, roughly.
    #[must_use]
    pub fn weight(&self) -> usize {
        let labels: usize = self.labels.iter().map(|(key, value)| key.len() + value.len() + 48).sum();
        let reasons: usize = self.reasons.iter().map(|reason| reason.to_string().len() + 64).sum();
        let window = match &self.steering.window {
            Some(Ok(window)) => window.weight(),
            Some(Err(why)) => why.len(),
            None => 0,
        };
        let wanted = self.wanted.as_ref().map_or(0, |wanted| wanted.weight());
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
pub struct Steering {
    /// Never.
    pub excluded: bool,
    /// Only then.
    pub window: Option<Result<Window, String>>,
    /// Also if it interrupts.
    pub allow_interruption: bool,
}

impl Steering {
    /// What the annotations of a workload say, and those of its namespace where it says nothing.
    #[must_use]
    pub fn of(workload: &BTreeMap<String, String>, namespace: &BTreeMap<String, String>) -> Self {
        let says = |key: &str| workload.get(key).or_else(|| namespace.get(key));
        let is_true = |key: &str| says(key).is_some_and(|value| value == "true");
        let window =
            says(WINDOW_ANNOTATION).map(|text| text.parse::<Window>().map_err(|error| error.to_string()));
        Self {
            excluded: is_true(EXCLUDE_ANNOTATION),
            window,
            allow_interruption: is_true(ALLOW_INTERRUPTION_ANNOTATION),
        }
    }

    /// Whether there is a window, and it is open at this second since the epoch.
    #[must_use]
    pub fn is_open(&self, now: i64) -> bool {
        matches!(&self.window, Some(Ok(window)) if window.contains(now))
    }
}

/// How a workload is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
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
    Restart(Method),
    /// Leave it, for this reason.
    Hold(Hindrance),
}

/// Why an outdated workload is not restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// Its owner or namespace says so.
    Excluded,
    /// The differences are such that a restart is left to its owner.
    ReportOnly,
    /// Restarts are switched off.
    SwitchedOff,
    /// It was restarted for this target already, and that did not help or was taken back.
    AlreadyTried,
    /// Its maintenance window is closed; it opens at this second since the epoch.
    OutsideWindow(i64),
    /// Its maintenance window cannot be read.
    WindowInvalid(String),
    /// A restart would interrupt it.
    Interrupts,
    /// A restart would break this disruption budget.
    Budget(String),
    /// It is paused.
    Paused,
    /// Its pods are of an older template, and its owner decides when they go.
    TemplateWithheld,
    /// A rollout is under way.
    RolloutUnderWay(String),
    /// It is not healthy; a restart would take away pods that still work.
    Unhealthy(String),
    /// Its pods end by themselves.
    EndsByItself,
    /// Its next run gets a new proxy.
    NextRun,
    /// Nobody would replace its pod.
    BarePod,
    /// It is not known how its pods are replaced.
    UnknownOwner,
    /// The owner that the pod names does not exist, or does not own such pods, as this text tells.
    OwnerNotVerified(String),
    /// The wave was stopped or waits for a release.
    WaveHeld,
    /// The API server or somebody's webhook refused the restart.
    Refused(String),
    /// The API server did not answer, or was busy, or somebody's webhook failed.
    Unanswered(String),
    /// It was restarted, and its rollout failed.
    RolloutFailed(String),
}

/// How a hindrance is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// As wanted, or it passes without anybody's doing.
    Note,
    /// It may pass soon; looked at again.
    Passing,
    /// Somebody has to act.
    Manual,
}

impl Hindrance {
    /// Whether somebody has to act.
    #[must_use]
    pub fn weight(&self) -> Weight {
        match self {
            Self::Excluded
            | Self::ReportOnly
            | Self::SwitchedOff
            | Self::OutsideWindow(_)
            | Self::EndsByItself
            | Self::NextRun
            // Whoever may create a pod may write any owner into it, which must not become a Warning for all.
            | Self::UnknownOwner
            | Self::OwnerNotVerified(_) => Weight::Note,
            Self::RolloutUnderWay(_) | Self::Unhealthy(_) | Self::Unanswered(_) => Weight::Passing,
            Self::AlreadyTried
            | Self::WindowInvalid(_)
            | Self::Interrupts
            | Self::Budget(_)
            | Self::Paused
            | Self::TemplateWithheld
            | Self::BarePod
            | Self::WaveHeld
            | Self::Refused(_)
            | Self::RolloutFailed(_) => Weight::Manual,
        }
    }

    /// Name for metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Excluded => "excluded",
            Self::ReportOnly => "report_only",
            Self::SwitchedOff => "switched_off",
            Self::AlreadyTried => "already_tried",
            Self::OutsideWindow(_) => "outside_window",
            Self::WindowInvalid(_) => "window_invalid",
            Self::Interrupts => "interrupts",
            Self::Budget(_) => "disruption_budget",
            Self::Paused => "paused",
            Self::TemplateWithheld => "template_withheld",
            Self::RolloutUnderWay(_) => "rollout_under_way",
            Self::Unhealthy(_) => "unhealthy",
            Self::EndsByItself => "job",
            Self::NextRun => "cron_job",
            Self::BarePod => "bare_pod",
            Self::UnknownOwner => "unknown_owner",
            Self::OwnerNotVerified(_) => "owner_not_verified",
            Self::WaveHeld => "wave_held",
            Self::Refused(_) => "refused",
            Self::Unanswered(_) => "unanswered",
            Self::RolloutFailed(_) => "rollout_failed",
        }
    }
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Excluded => write!(f, "excluded by the annotation {EXCLUDE_ANNOTATION}"),
            Self::ReportOnly => f.write_str("the differences do not call for a restart; it is left to the owner"),
            Self::SwitchedOff => f.write_str("restarts are switched off"),
            Self::AlreadyTried => {
                f.write_str("was restarted for this before, and its proxy is outdated still: a restart does not help, or its owner took it back")
            }
            Self::OutsideWindow(second) => write!(f, "waits for its maintenance window, {}", time(*second)),
            Self::WindowInvalid(why) => write!(f, "its maintenance window cannot be read: {why}"),
            Self::Interrupts => write!(
                f,
                "a restart would interrupt it; give it a maintenance window or the annotation {ALLOW_INTERRUPTION_ANNOTATION}"
            ),
            Self::Budget(name) => write!(f, "a restart would break PodDisruptionBudget {name}"),
            Self::Paused => f.write_str("it is paused"),
            Self::TemplateWithheld => {
                f.write_str("its pods are of an older template, which an eviction would replace, too; delete them when that is wanted")
            }
            Self::RolloutUnderWay(what) => write!(f, "a rollout is under way: {what}"),
            Self::Unhealthy(what) => write!(f, "it is not healthy: {what}"),
            Self::EndsByItself => f.write_str("its pods end by themselves"),
            Self::NextRun => f.write_str("its next run gets a new proxy"),
            Self::BarePod => f.write_str("nobody would replace the pod; make it anew"),
            Self::UnknownOwner => f.write_str("it is not known how its owner replaces pods; restart it"),
            Self::OwnerNotVerified(why) => {
                write!(f, "its owner is not verified: {why}. Correct the owner reference or delete the pod")
            }
            Self::WaveHeld => f.write_str("restarts are held back for now"),
            Self::Refused(why) => write!(f, "the restart was refused: {why}"),
            Self::Unanswered(why) => write!(f, "the restart got no answer: {why}"),
            Self::RolloutFailed(why) => write!(f, "it was restarted, and its rollout failed: {why}"),
        }
    }
}

fn time(second: i64) -> String {
    let time = k8s_openapi::jiff::Timestamp::from_second(second);
    time.map_or_else(|_| "unknown".to_owned(), |time| time.to_string())
}

/// What is to be done about a finding. `tried` tells whether it was restarted for its target before.
#[must_use]
pub fn decide(finding: &Finding, settings: &Settings, budgets: &[Budget], tried: bool, now: i64) -> Decision {
    match hindrance(finding, settings, budgets, tried, now) {
        Some(hindrance) => Decision::Hold(hindrance),
        None => method(finding).map_or(Decision::Hold(Hindrance::UnknownOwner), Decision::Restart),
    }
}

/// How a workload of its kind is restarted, if at all.
#[must_use]
pub fn method(finding: &Finding) -> Option<Method> {
    match (finding.kind, &finding.replacement) {
        (_, Replacement::Withheld) => None,
        (Kind::StatefulSet | Kind::DaemonSet, Replacement::OnDelete | Replacement::Partitioned)
        | (Kind::ReplicaSet | Kind::ReplicationController, _) => Some(Method::Evict),
        (Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet, _) => Some(Method::Template),
        (Kind::Rollout, _) => Some(Method::RestartAt),
        // Known only by its scale; without one, nobody can tell when a pod was replaced.
        (Kind::Other, _) if finding.replicas > 0 => Some(Method::Evict),
        _ => None,
    }
}

fn hindrance(
    finding: &Finding,
    settings: &Settings,
    budgets: &[Budget],
    tried: bool,
    now: i64,
) -> Option<Hindrance> {
    let steering = &finding.steering;
    if let Some(why) = &finding.unverified {
        return Some(Hindrance::OwnerNotVerified(why.clone()));
    }
    if steering.excluded {
        return Some(Hindrance::Excluded);
    }
    match finding.kind {
        Kind::Pod => return Some(Hindrance::BarePod),
        Kind::Job => return Some(Hindrance::EndsByItself),
        Kind::CronJob => return Some(Hindrance::NextRun),
        _ => {}
    }
    if consequence(&finding.reasons, &settings.restart_also_for) == Consequence::Report {
        return Some(Hindrance::ReportOnly);
    }
    if tried {
        return Some(after_restart(&finding.rollout));
    }
    if finding.paused {
        return Some(Hindrance::Paused);
    }
    if finding.replacement == Replacement::Withheld {
        return Some(Hindrance::TemplateWithheld);
    }
    match &finding.rollout {
        Rollout::Complete => {}
        Rollout::UnderWay(what) => return Some(Hindrance::RolloutUnderWay(what.clone())),
        Rollout::Failed(what) => return Some(Hindrance::Unhealthy(what.clone())),
    }
    match &steering.window {
        Some(Err(why)) => return Some(Hindrance::WindowInvalid(why.clone())),
        Some(Ok(window)) if !window.contains(now) => {
            return Some(Hindrance::OutsideWindow(window.next_opening(now)));
        }
        _ => {}
    }
    if let Some(disruption) = disruption(finding, settings, budgets) {
        return Some(disruption);
    }
    // Last, so that a report tells what else would be in the way.
    (!settings.enabled).then_some(Hindrance::SwitchedOff)
}

/// Why a workload is outdated that was restarted for its target.
fn after_restart(rollout: &Rollout) -> Hindrance {
    match rollout {
        Rollout::Complete => Hindrance::AlreadyTried,
        Rollout::UnderWay(what) => Hindrance::RolloutUnderWay(what.clone()),
        Rollout::Failed(what) => Hindrance::RolloutFailed(what.clone()),
    }
}

/// Whether a rollout would take too many pods away. Evictions ask the API server themselves, pod by pod.
fn disruption(finding: &Finding, settings: &Settings, budgets: &[Budget]) -> Option<Hindrance> {
    if finding.replicas == 0 {
        return None;
    }
    let evicted = method(finding) == Some(Method::Evict);
    let keeps = match &finding.replacement {
        Replacement::Rolling { keeps } if !evicted => *keeps,
        Replacement::Recreate => 0,
        _ => finding.replicas - 1,
    };
    let may_interrupt = settings.allow_interruption
        || finding.steering.allow_interruption
        || finding.steering.window.is_some();
    let broken = budgets.iter().filter(|_| !evicted).find(|budget| {
        let namespace = finding.workload.namespace.as_deref().unwrap_or_default();
        budget.covers(namespace, &finding.labels) && keeps < budget.required(finding.replicas)
    });
    if let Some(budget) = broken {
        return Some(Hindrance::Budget(budget.name().to_owned()));
    }
    // An agent of a node is away for a moment in any case: its neighbours cannot stand in for it.
    let interrupts = keeps <= 0 && finding.kind != Kind::DaemonSet;
    (interrupts && !may_interrupt).then_some(Hindrance::Interrupts)
}
