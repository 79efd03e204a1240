//! Why a proxy is not what injection would give now: one value for each reason, with a sentence for people.
//!
//! Pure vocabulary. Whether a reason leads to a restart by default follows the Go operator: what it restarts for is
//! *restart*, everything else is *report*.

use std::fmt;

use crate::text::sanitized;

/// Bytes of a text of a pod that are shown.
const MAX_TEXT_BYTES: usize = 300;
/// Bytes of a name, and how many names are shown of a list.
const MAX_NAME_BYTES: usize = 64;
const MAX_NAMES: usize = 10;

/// What follows from a reason unless the `Istio` resource says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DefaultAction {
    /// Only shown.
    Report,
    /// The workload is restarted.
    Restart,
}

/// One difference between a live proxy and the one that injection would give.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StaleReason {
    /// Another proxy image.
    Image {
        /// Live.
        has: String,
        /// What injection gives.
        wants: String,
    },
    /// Other requests or limits of the proxy.
    Resources {
        /// Live, for people.
        has: String,
        /// What injection gives.
        wants: String,
    },
    /// Traffic is redirected in the other way: by an init container or by the CNI agent.
    Cni {
        /// Whether the CNI agent is to do it now.
        enabled: bool,
    },
    /// DNS capture is on where it should be off, or off where it should be on.
    DnsCapture,
    /// Other statistics are kept.
    StatsMatcher,
    /// Metrics of the application are merged where they should not be, or not where they should.
    PrometheusMerge,
    /// Other variables for the proxy (`proxyMetadata`), such as those of the compatibility mode.
    ProxyMetadata(Vec<String>),
    /// Another trust domain.
    TrustDomain {
        /// Live.
        has: String,
        /// What injection gives.
        wants: String,
    },
    /// The proxy is an ordinary container and should be a native sidecar, or the reverse.
    NativeSidecar {
        /// Whether it should be one.
        wanted: bool,
    },
    /// Another revision of the control plane would inject the pod.
    Revision {
        /// Live.
        has: String,
        /// The one that would inject now.
        wants: String,
    },
    /// Other parts of the proxy's configuration.
    ProxyConfig(Vec<String>),
    /// Other variables of the proxy container.
    Environment(Vec<String>),
    /// Other fields of an injected container or volume.
    Field(String),
    /// A restart would take the sidecar away.
    NoLongerInjected,
    /// The pod should have a sidecar and has none.
    MissingSidecar,
    /// Istio is being removed, and the sidecar with it.
    Removal,
}

impl StaleReason {
    /// What follows from this reason by default.
    #[must_use]
    pub fn default_action(&self) -> DefaultAction {
        match self {
            Self::Image { .. }
            | Self::Resources { .. }
            | Self::Cni { .. }
            | Self::DnsCapture
            | Self::StatsMatcher
            | Self::PrometheusMerge
            | Self::ProxyMetadata(_)
            | Self::Removal => DefaultAction::Restart,
            Self::TrustDomain { .. }
            | Self::NativeSidecar { .. }
            | Self::Revision { .. }
            | Self::ProxyConfig(_)
            | Self::Environment(_)
            | Self::Field(_)
            | Self::NoLongerInjected
            | Self::MissingSidecar => DefaultAction::Report,
        }
    }

    /// The same reason with the texts of the pod as they may be kept and shown: shortened and escaped.
    #[must_use]
    pub fn shortened(self) -> Self {
        let text = |text: String| sanitized(&text, MAX_TEXT_BYTES);
        match self {
            Self::Image { has, wants } => Self::Image { has: text(has), wants: text(wants) },
            Self::Resources { has, wants } => Self::Resources { has: text(has), wants: text(wants) },
            Self::TrustDomain { has, wants } => Self::TrustDomain { has: text(has), wants: text(wants) },
            Self::Revision { has, wants } => Self::Revision { has: text(has), wants: text(wants) },
            Self::ProxyMetadata(list) => Self::ProxyMetadata(shortened_names(&list)),
            Self::ProxyConfig(list) => Self::ProxyConfig(shortened_names(&list)),
            Self::Environment(list) => Self::Environment(shortened_names(&list)),
            Self::Field(field) => Self::Field(text(field)),
            Self::Cni { .. }
            | Self::DnsCapture
            | Self::StatsMatcher
            | Self::PrometheusMerge
            | Self::NativeSidecar { .. }
            | Self::NoLongerInjected
            | Self::MissingSidecar
            | Self::Removal => self,
        }
    }

    /// Name for metrics, logs and the resource.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Image { .. } => "Image",
            Self::Resources { .. } => "Resources",
            Self::Cni { .. } => "Cni",
            Self::DnsCapture => "DnsCapture",
            Self::StatsMatcher => "StatsMatcher",
            Self::PrometheusMerge => "PrometheusMerge",
            Self::ProxyMetadata(_) => "ProxyMetadata",
            Self::TrustDomain { .. } => "TrustDomain",
            Self::NativeSidecar { .. } => "NativeSidecar",
            Self::Revision { .. } => "Revision",
            Self::ProxyConfig(_) => "ProxyConfig",
            Self::Environment(_) => "Environment",
            Self::Field(_) => "Field",
            Self::NoLongerInjected => "NoLongerInjected",
            Self::MissingSidecar => "MissingSidecar",
            Self::Removal => "Removal",
        }
    }
}

impl fmt::Display for StaleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image { has, wants } => write!(f, "proxy image is {has}, should be {wants}"),
            Self::Resources { has, wants } => write!(f, "proxy resources are {has}, should be {wants}"),
            Self::Cni { enabled: true } => {
                f.write_str("traffic is redirected by istio-init, should be by the CNI agent")
            }
            Self::Cni { enabled: false } => {
                f.write_str("traffic is redirected by the CNI agent, should be by istio-init")
            }
            Self::DnsCapture => f.write_str("DNS capture is not as configured"),
            Self::StatsMatcher => f.write_str("the proxy's statistics are not as configured"),
            Self::PrometheusMerge => f.write_str("merging of Prometheus metrics is not as configured"),
            Self::ProxyMetadata(names) => write!(f, "proxy variables differ: {}", names.join(", ")),
            Self::TrustDomain { has, wants } => write!(f, "trust domain is {has}, should be {wants}"),
            Self::NativeSidecar { wanted: true } => f.write_str("the proxy should be a native sidecar"),
            Self::NativeSidecar { wanted: false } => f.write_str("the proxy should not be a native sidecar"),
            Self::Revision { has, wants } => write!(f, "revision is {has}, should be {wants}"),
            Self::ProxyConfig(names) => write!(f, "proxy configuration differs: {}", names.join(", ")),
            Self::Environment(names) => write!(f, "proxy environment differs: {}", names.join(", ")),
            Self::Field(field) => write!(f, "{field} differs"),
            Self::NoLongerInjected => f.write_str("a restart would take the sidecar away"),
            Self::MissingSidecar => f.write_str("the sidecar is missing"),
            Self::Removal => f.write_str("Istio is being removed"),
        }
    }
}

/// The first names of a list, and how many further ones there are.
fn shortened_names(all: &[String]) -> Vec<String> {
    let mut names: Vec<String> =
        all.iter().take(MAX_NAMES).map(|name| sanitized(name, MAX_NAME_BYTES)).collect();
    if all.len() > MAX_NAMES {
        names.push(format!("{} more", all.len() - MAX_NAMES));
    }
    names
}

/// What follows from several reasons: the strongest consequence, unless a restart would take the sidecar away.
#[must_use]
pub fn required_action(reasons: &[StaleReason], restart_also_for: &[String]) -> DefaultAction {
    if reasons.contains(&StaleReason::NoLongerInjected) {
        return DefaultAction::Report;
    }
    let action_of = |reason: &StaleReason| {
        let is_listed = restart_also_for.iter().any(|name| name == reason.name());
        if is_listed { DefaultAction::Restart } else { reason.default_action() }
    };
    reasons.iter().map(action_of).max().unwrap_or(DefaultAction::Report)
}

/// Bytes of all reasons of a workload that are shown.
const MAX_SENTENCE_BYTES: usize = 1000;

/// All reasons in one sentence.
#[must_use]
pub fn describe_reasons(reasons: &[StaleReason]) -> String {
    sanitized(&reasons.iter().map(StaleReason::to_string).collect::<Vec<_>>().join("; "), MAX_SENTENCE_BYTES)
}

/// Reasons as they may be kept: texts shortened, and no more of them than people read.
#[must_use]
pub fn shortened_reasons(reasons: impl IntoIterator<Item = StaleReason>) -> Vec<StaleReason> {
    const MAX_REASONS: usize = 30;
    reasons.into_iter().take(MAX_REASONS).map(StaleReason::shortened).collect()
}
