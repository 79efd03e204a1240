//! Classes of names that an author may choose: keys of labels and annotations, and variables.

/// Variables of istiod, of proxies and of ztunnel that decide neither who is trusted nor what runs.
const VARIABLES: &str = include_str!("variables.txt");

/// Labels without a domain that the charts, or Services and policies of users, select pods by.
const RESERVED_LABELS: [&str; 12] = [
    "app",
    "chart",
    "gateway",
    "heritage",
    "istio",
    "istio-injection",
    "k8s-app",
    "name",
    "release",
    "service",
    "topology",
    "version",
];
/// Domains of labels and annotations that nothing acts upon, or that only say how a pod is observed. On pods and workloads
/// the list is one of what is open, because runtimes, network plug-ins and injectors take orders from annotations.
const FREE_DOMAINS: [&str; 12] = [
    "ad.datadoghq.com",
    "app.kubernetes.io",
    "checksum",
    "cluster-autoscaler.kubernetes.io",
    "co.elastic.logs",
    "co.elastic.metrics",
    "fluentbit.io",
    "karpenter.sh",
    "logging.banzaicloud.io",
    "logging.coreos.com",
    "prometheus.io",
    "tags.datadoghq.com",
];
/// Domains below which every name is free: they are reserved for documentation (RFC 2606).
const DOCUMENTATION: [&str; 3] = ["example.com", "example.net", "example.org"];
/// Annotations of Istio on pods that only choose how much is observed.
const FREE_ANNOTATIONS: [&str; 7] = [
    "sidecar.istio.io/componentLogLevel",
    "sidecar.istio.io/extraStatTags",
    "sidecar.istio.io/logLevel",
    "sidecar.istio.io/statsEvictionInterval",
    "sidecar.istio.io/statsHistogramBuckets",
    "sidecar.istio.io/statsInclusionPrefixes",
    "sidecar.istio.io/statsInclusionSuffixes",
];
/// Domains of annotations of Services, with those below them: load balancers, DNS and monitoring. Others are orders, too,
/// such as to put a certificate into a Secret that istiod would take for its authority.
const SERVICE_DOMAINS: [&str; 28] = [
    "cloud.google.com",
    "cloud.tencent.com",
    "dns.gardener.cloud",
    "example.com",
    "example.net",
    "example.org",
    "external-dns.alpha.kubernetes.io",
    "external-dns.kubernetes.io",
    "io.cilium",
    "kube-vip.io",
    "kubernetes.civo.com",
    "kubernetes.digitalocean.com",
    "lb.stackit.cloud",
    "lbipam.cilium.io",
    "load-balancer.hetzner.cloud",
    "loadbalancer.openstack.org",
    "loadbalancer.ovhcloud.com",
    "metallb.io",
    "metallb.universe.tf",
    "networking.gke.io",
    "oci-network-load-balancer.oraclecloud.com",
    "oci.oraclecloud.com",
    "prometheus.io",
    "purelb.io",
    "service.beta.kubernetes.io",
    "service.kubernetes.io",
    "service.cloud.ibm.com",
    "yawol.stackit.cloud",
];
/// Longest name without its domain (Kubernetes, "Labels and Selectors").
const MAX_NAME: usize = 63;

/// A set of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameClass {
    /// Labels of workloads and their pods.
    Label,
    /// Labels of nodes.
    NodeLabel,
    /// Annotations of workloads.
    Annotation,
    /// Annotations of pods.
    PodAnnotation,
    /// Annotations of Services.
    ServiceAnnotation,
    /// The probes of a container.
    Probe,
    /// The numbers of a probe.
    ProbeNumber,
    /// Environment variables of this program, as in `variables.txt`.
    Variable(&'static str),
    /// No name at all.
    Nothing,
}

impl NameClass {
    pub fn parse(text: &'static str) -> Self {
        match text {
            "label" => Self::Label,
            "node-label" => Self::NodeLabel,
            "annotation" => Self::Annotation,
            "pod-annotation" => Self::PodAnnotation,
            "service-annotation" => Self::ServiceAnnotation,
            "probe" => Self::Probe,
            "probe-number" => Self::ProbeNumber,
            _ => text.strip_suffix("-variable").map_or(Self::Nothing, Self::Variable),
        }
    }

    pub fn takes(self, name: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Variable(program) => is_variable(program, name),
            Self::Probe => matches!(name, "livenessProbe" | "readinessProbe" | "startupProbe"),
            Self::ProbeNumber => matches!(
                name,
                "failureThreshold"
                    | "initialDelaySeconds"
                    | "periodSeconds"
                    | "successThreshold"
                    | "terminationGracePeriodSeconds"
                    | "timeoutSeconds"
            ),
            Self::NodeLabel => split(name).is_some(),
            Self::Label => match split(name) {
                Some((None, name)) => !RESERVED_LABELS.contains(&name),
                domain => is_free(domain),
            },
            Self::Annotation => is_free(split(name)),
            Self::PodAnnotation => FREE_ANNOTATIONS.contains(&name) || is_free(split(name)),
            Self::ServiceAnnotation => match split(name) {
                Some((Some(domain), _)) => is_within(domain, &SERVICE_DOMAINS),
                name => name.is_some(),
            },
        }
    }
}

/// A qualified name in its two parts; `None` if it is none.
fn split(name: &str) -> Option<(Option<&str>, &str)> {
    let (domain, name) = name.split_once('/').map_or((None, name), |(domain, name)| (Some(domain), name));
    let is_domain = domain.is_none_or(crate::kubernetes::object::is_dns_subdomain);
    (is_domain && is_label_text(name) && !name.is_empty()).then_some((domain, name))
}

/// Whether `text` can be the value of a label, or the name in the key of one.
pub(crate) fn is_label_text(text: &str) -> bool {
    let is_end = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= MAX_NAME
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && is_end(text.chars().next())
        && is_end(text.chars().next_back())
}

fn is_free(name: Option<(Option<&str>, &str)>) -> bool {
    match name {
        Some((Some(domain), _)) => FREE_DOMAINS.contains(&domain) || is_within(domain, &DOCUMENTATION),
        // Runtimes take annotations such as `io.kubernetes.cri-o.userns-mode`, whose domain is not set apart.
        Some((None, name)) => !name.contains('.'),
        None => false,
    }
}

fn is_within(domain: &str, domains: &[&str]) -> bool {
    domains
        .iter()
        .any(|parent| domain.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

fn is_variable(program: &str, name: &str) -> bool {
    VARIABLES.lines().filter_map(|line| line.split_once(' ')).any(|listed| listed == (program, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_others_act_upon_are_closed() {
        use NameClass::{Annotation, Label, NodeLabel, PodAnnotation, ServiceAnnotation};
        for (class, name, is_open) in [
            (Label, "team", true),
            (Label, "example.com/team", true),
            (Label, "mesh.example.com/team", true),
            (Label, "app", false),
            (Label, "istio", false),
            (Label, "istio.io/rev", false),
            (Label, "sidecar.istio.io/inject", false),
            (Label, "azure.workload.identity/use", false),
            (Label, "admission.datadoghq.com/enabled", false),
            (Label, "badexample.com/team", false),
            (Label, "a\nb", false),
            (Label, "", false),
            (Label, "$patch", false),
            (NodeLabel, "cloud.example/pool", true),
            (NodeLabel, "a: b\n", false),
            (Annotation, "keel.sh/policy", false),
            (Annotation, "deployment.kubernetes.io/revision", false),
            (PodAnnotation, "prometheus.io/scrape", true),
            (PodAnnotation, "sidecar.istio.io/statsEvictionInterval", true),
            (PodAnnotation, "sidecar.istio.io/inject", false),
            (PodAnnotation, "sidecar.istio.io/userVolume", false),
            (PodAnnotation, "sidecar.istio.io/proxyImage", false),
            (PodAnnotation, "proxy.istio.io/config", false),
            (PodAnnotation, "inject.istio.io/templates", false),
            (PodAnnotation, "vault.hashicorp.com/agent-inject", false),
            (PodAnnotation, "k8s.v1.cni.cncf.io/networks", false),
            (PodAnnotation, "team", true),
            (PodAnnotation, "io.kubernetes.cri-o.userns-mode", false),
            (PodAnnotation, "container.apparmor.security.beta.kubernetes.io/discovery", false),
            (ServiceAnnotation, "service.beta.kubernetes.io/aws-load-balancer-type", true),
            (ServiceAnnotation, "external-dns.alpha.kubernetes.io/hostname", true),
            (ServiceAnnotation, "service.beta.openshift.io/serving-cert-secret-name", false),
            (ServiceAnnotation, "networking.istio.io/exportTo", false),
            (ServiceAnnotation, "istios.operator.kyma-project.io/x", false),
            (ServiceAnnotation, "kubectl.kubernetes.io/last-applied-configuration", false),
        ] {
            assert_eq!(class.takes(name), is_open, "{class:?} {name}");
        }
    }

    #[test]
    fn variables_belong_to_one_program() {
        assert!(NameClass::Variable("istiod").takes("PILOT_PUSH_THROTTLE"));
        assert!(!NameClass::Variable("proxy").takes("PILOT_PUSH_THROTTLE"));
        for name in ["CA_TRUSTED_NODE_ACCOUNTS", "XDS_AUTH", "REVISION", "PATH", "HTTPS_PROXY", ""] {
            assert!(!NameClass::Variable("istiod").takes(name), "{name}");
        }
    }
}
