//! Why a sidecar is outdated. One file per reason has all of it: what a pod has, what is expected, by the cheap check
//! (against the mesh) and by the proof (against a dry run), whether it causes a restart, its text and its documentation.
//! This module must not read anything from the cluster.
//!
//! To add a reason, see `docs/development/add-stale-reason.md`.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde_json::{Map, Value};

use crate::dataplane::discovery::mesh::Mesh;
use crate::dataplane::model::{Injected, InjectedContainer, string_map};
use crate::text::sanitized;

mod cni;
pub mod dns_capture;
mod environment;
pub mod field;
pub mod image;
mod json;
pub mod missing_sidecar;
mod native_sidecar;
pub mod no_longer_injected;
pub mod prometheus_merge;
mod proxy_config;
pub mod proxy_metadata;
pub mod removal;
pub mod resources;
pub mod revision;
pub mod stats_matcher;
pub mod trust_domain;

/// Every reason, in the order in which the reasons of one workload are listed.
pub const REASONS: &[&ReasonSpec] = &[
    &image::SPEC,
    &resources::SPEC,
    &cni::SPEC,
    &dns_capture::SPEC,
    &stats_matcher::SPEC,
    &prometheus_merge::SPEC,
    &proxy_metadata::SPEC,
    &trust_domain::SPEC,
    &native_sidecar::SPEC,
    &revision::SPEC,
    &proxy_config::SPEC,
    &environment::SPEC,
    &field::SPEC,
    &no_longer_injected::SPEC,
    &missing_sidecar::SPEC,
    &removal::SPEC,
];

/// Bytes of a text of a pod that are shown.
const MAX_TEXT_BYTES: usize = 300;
/// Bytes of a name, and how many names of a list are shown.
const MAX_NAME_BYTES: usize = 64;
const MAX_NAMES: usize = 10;
/// Bytes of all reasons of a workload that are shown.
const MAX_SENTENCE_BYTES: usize = 1000;
/// Reasons of one pod that are kept.
const MAX_REASONS: usize = 30;

/// Whether a reason causes a restart. The reasons for which the Go operator restarts have the policy `Restart`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// The workload is restarted.
    Restart,
    /// The workload is reported, and restarted if `spec.restarter.restartAlsoFor` names the reason.
    OptIn,
    /// The workload is reported, and restarted only for other reasons.
    ReportOnly,
    /// The workload is reported and never restarted, whatever other reasons there are.
    PreventsRestart,
}

/// What there is to know about one reason.
pub struct ReasonSpec {
    /// Name in the resource, metrics and logs.
    pub name: &'static str,
    /// Whether it causes a restart.
    pub policy: RestartPolicy,
    /// What differs, for the table in `docs/user/sidecars.md`.
    pub description: &'static str,
    /// One sentence about a difference, for the status and Events.
    pub text: fn(&Detail) -> String,
    /// The cheap check: whether a pod may differ from what the mesh gives, as far as the pod alone shows.
    pub check: fn(&CheapCheck<'_>) -> Option<Detail>,
    /// The proof: whether a pod differs from what injection gives in a dry run.
    pub prove: fn(&Proof<'_>) -> Option<Detail>,
    /// Environment variables that this reason covers. They are left out of the reason `Environment`.
    pub variables: &'static [&'static str],
    /// Keys of the proxy configuration that this reason covers. They are left out of the reason `ProxyConfig`.
    pub config_keys: &'static [&'static str],
}

impl ReasonSpec {
    /// A reason that only the operator itself states. The specs of the other reasons start from this.
    pub(super) const fn stated(
        name: &'static str,
        policy: RestartPolicy,
        description: &'static str,
        text: fn(&Detail) -> String,
    ) -> Self {
        Self {
            name,
            policy,
            description,
            text,
            check: |_| None,
            prove: |_| None,
            variables: &[],
            config_keys: &[],
        }
    }
}

/// What exactly differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Detail {
    /// The reason says it all.
    Plain,
    /// Two texts.
    Mismatch {
        /// What the pod has.
        actual: String,
        /// What injection gives.
        expected: String,
    },
    /// Something should be on or off.
    ShouldBe(bool),
    /// Names of variables, keys or fields.
    Names(Vec<String>),
}

impl Detail {
    /// A mismatch, unless both texts are equal.
    pub(super) fn mismatch(actual: &str, expected: &str) -> Option<Self> {
        let [actual, expected] = [actual, expected].map(str::to_owned);
        (actual != expected).then_some(Self::Mismatch { actual, expected })
    }

    /// These names, unless there are none.
    pub(super) fn names(names: Vec<String>) -> Option<Self> {
        (!names.is_empty()).then_some(Self::Names(names))
    }

    /// "`subject` is a, expected b" or "`subject`: a, b", without a subject of its own for the other details.
    pub(super) fn about(&self, subject: &str) -> String {
        match self {
            Self::Mismatch { actual, expected } => format!("{subject} is {actual}, expected {expected}"),
            Self::Names(names) => format!("{subject}: {}", names.join(", ")),
            Self::Plain | Self::ShouldBe(_) => subject.to_owned(),
        }
    }

    /// The same with texts that may be kept and shown: shortened and escaped.
    fn shortened(self) -> Self {
        let text = |text: &str| sanitized(text, MAX_TEXT_BYTES);
        match self {
            Self::Mismatch { actual, expected } => {
                Self::Mismatch { actual: text(&actual), expected: text(&expected) }
            }
            Self::Names(all) => {
                let mut names: Vec<String> =
                    all.iter().take(MAX_NAMES).map(|name| sanitized(name, MAX_NAME_BYTES)).collect();
                if all.len() > MAX_NAMES {
                    names.push(format!("{} more", all.len() - MAX_NAMES));
                }
                Self::Names(names)
            }
            Self::Plain | Self::ShouldBe(_) => self,
        }
    }
}

/// The injected part of a pod, prepared for comparisons.
pub struct Sidecar<'a> {
    /// All that injection added.
    pub injected: &'a Injected,
    /// The proxy container.
    pub proxy: &'a InjectedContainer,
    /// The proxy configuration in its environment, if it can be parsed.
    pub config: Option<Map<String, Value>>,
    /// `proxyMetadata` of that configuration.
    pub metadata: BTreeMap<String, String>,
}

impl<'a> Sidecar<'a> {
    /// Prepares the injected part of a pod; `None` if it has no proxy.
    #[must_use]
    pub fn new(injected: &'a Injected) -> Option<Self> {
        let proxy = injected.proxy()?;
        let text = proxy.variable(proxy_config::VARIABLE);
        let config: Option<Map<String, Value>> = text.and_then(|text| serde_json::from_str(text).ok());
        let metadata = string_map(config.as_ref().and_then(|config| config.get("proxyMetadata")));
        Some(Self { injected, proxy, config, metadata })
    }

    /// A value of the proxy configuration.
    pub(super) fn config(&self, key: &str) -> Option<&Value> {
        self.config.as_ref()?.get(key)
    }
}

/// What the cheap check of a pod has: the pod itself and what the mesh gives a pod that asks for nothing special.
pub struct CheapCheck<'a> {
    /// Annotations of the pod.
    pub annotations: &'a BTreeMap<String, String>,
    /// Its injected part.
    pub live: Sidecar<'a>,
    /// What injection gives.
    pub mesh: &'a Mesh,
}

impl CheapCheck<'_> {
    /// Whether the pod uses the proxy configuration of the mesh.
    pub(super) fn has_mesh_config(&self) -> bool {
        /// Annotation with which a pod overrides the proxy configuration of the mesh.
        const PROXY_CONFIG_ANNOTATION: &str = "proxy.istio.io/config";
        self.live.config.is_some() && !self.annotations.contains_key(PROXY_CONFIG_ANNOTATION)
    }

    /// Why the pod may be outdated.
    #[must_use]
    pub fn reasons(&self) -> Vec<StaleReason> {
        let reason =
            |spec: &&'static ReasonSpec| (spec.check)(self).map(|detail| StaleReason { spec, detail });
        shortened_reasons(REASONS.iter().filter_map(reason))
    }
}

/// The two sides of a proof. Both went through the same admission, so that API server defaults and other webhooks make no
/// difference.
pub struct Proof<'a> {
    /// Annotations of the pod.
    pub annotations: &'a BTreeMap<String, String>,
    /// What the pod has.
    pub live: Sidecar<'a>,
    /// What injection gives.
    pub wanted: Sidecar<'a>,
}

impl Proof<'_> {
    /// Why the pod is outdated.
    #[must_use]
    pub fn reasons(&self) -> Vec<StaleReason> {
        let reason =
            |spec: &&'static ReasonSpec| (spec.prove)(self).map(|detail| StaleReason { spec, detail });
        shortened_reasons(REASONS.iter().filter_map(reason))
    }
}

/// One difference between a live sidecar and the one that injection would give.
#[derive(Clone)]
pub struct StaleReason {
    spec: &'static ReasonSpec,
    detail: Detail,
}

impl StaleReason {
    /// A reason with its detail.
    #[must_use]
    pub fn new(spec: &'static ReasonSpec, detail: Detail) -> Self {
        Self { spec, detail }
    }

    /// A reason without a detail.
    #[must_use]
    pub fn plain(spec: &'static ReasonSpec) -> Self {
        Self::new(spec, Detail::Plain)
    }

    /// Name in the resource, metrics and logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.spec.name
    }

    fn key(&self) -> (Option<usize>, &Detail) {
        (REASONS.iter().position(|spec| spec.name == self.spec.name), &self.detail)
    }
}

impl fmt::Display for StaleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&(self.spec.text)(&self.detail))
    }
}

impl fmt::Debug for StaleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:?})", self.spec.name, self.detail)
    }
}

impl PartialEq for StaleReason {
    fn eq(&self, other: &Self) -> bool {
        self.spec.name == other.spec.name && self.detail == other.detail
    }
}

impl Eq for StaleReason {}

impl PartialOrd for StaleReason {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for StaleReason {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Hash for StaleReason {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.spec.name, &self.detail).hash(state);
    }
}

/// Whether a workload is to be restarted for these reasons. `restart_also_for` names reasons of the policy `OptIn`.
#[must_use]
pub fn requires_restart(reasons: &[StaleReason], restart_also_for: &[String]) -> bool {
    let is_cause = |reason: &StaleReason| match reason.spec.policy {
        RestartPolicy::Restart => true,
        RestartPolicy::OptIn => restart_also_for.iter().any(|name| name == reason.name()),
        RestartPolicy::ReportOnly | RestartPolicy::PreventsRestart => false,
    };
    let is_prevented = reasons.iter().any(|reason| reason.spec.policy == RestartPolicy::PreventsRestart);
    !is_prevented && reasons.iter().any(is_cause)
}

/// All reasons in one sentence.
#[must_use]
pub fn describe_reasons(reasons: &[StaleReason]) -> String {
    sanitized(&reasons.iter().map(StaleReason::to_string).collect::<Vec<_>>().join("; "), MAX_SENTENCE_BYTES)
}

/// Reasons as they may be kept: texts shortened, and no more of them than people read.
fn shortened_reasons(reasons: impl IntoIterator<Item = StaleReason>) -> Vec<StaleReason> {
    let shortened = |reason: StaleReason| StaleReason { detail: reason.detail.shortened(), ..reason };
    reasons.into_iter().take(MAX_REASONS).map(shortened).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_reason_has_a_name_of_its_own_and_one_sentence() {
        let names: BTreeSet<_> = REASONS.iter().map(|spec| spec.name).collect();
        assert_eq!(names.len(), REASONS.len());
        let mismatch = Detail::Mismatch { actual: "a".into(), expected: "b".into() };
        for spec in REASONS {
            for detail in [Detail::Plain, mismatch.clone(), Detail::ShouldBe(true), Detail::Names(vec![])] {
                let text = (spec.text)(&detail);
                assert!(!text.is_empty() && !text.ends_with('.') && !text.contains(';'), "{text}");
            }
        }
    }

    #[test]
    fn the_user_guide_lists_every_reason() {
        let guide = include_str!("../../../docs/user/sidecars.md");
        let row = |spec: &&ReasonSpec| {
            let action = match spec.policy {
                RestartPolicy::Restart => "restart",
                RestartPolicy::OptIn => "report; restart if listed in `restartAlsoFor`",
                RestartPolicy::ReportOnly | RestartPolicy::PreventsRestart => "report",
            };
            format!("| `{}` | {} | {action} |\n", spec.name, spec.description)
        };
        let table: String = REASONS.iter().map(row).collect();
        assert!(guide.contains(&table), "docs/user/sidecars.md must contain this table:\n{table}");
    }

    #[test]
    fn only_some_reasons_cause_a_restart_by_default() {
        let mismatch = |spec| {
            StaleReason::new(spec, Detail::Mismatch { actual: String::new(), expected: String::new() })
        };
        let (image, trust) = (mismatch(&image::SPEC), mismatch(&trust_domain::SPEC));
        let gone = StaleReason::plain(&no_longer_injected::SPEC);
        for (reasons, restart_also_for, expected) in [
            (vec![image.clone()], "", true),
            (vec![image.clone(), gone.clone()], "", false),
            (vec![trust.clone()], "", false),
            (vec![trust, image], "", true),
            (vec![mismatch(&revision::SPEC)], "Revision", true),
            (vec![gone], "NoLongerInjected", false),
        ] {
            let listed = [restart_also_for.to_owned()];
            assert_eq!(requires_restart(&reasons, &listed), expected, "{reasons:?}");
        }
    }

    #[test]
    fn the_schema_accepts_the_reasons_that_can_be_opted_into() {
        let is_opt_in = |spec: &&&ReasonSpec| matches!(spec.policy, RestartPolicy::OptIn);
        let mut names: Vec<&str> = REASONS.iter().filter(is_opt_in).map(|spec| spec.name).collect();
        names.sort_unstable();
        assert_eq!(names, crate::api::v1alpha2::RESTART_REASONS);
    }
}
