//! The keys of labels and annotations that authors may set: names that no controller, webhook, runtime, or node agent takes
//! orders from.
//!
//! Pure. The allow-list of values and the rendering policy share this vocabulary; they differ in the places where they look
//! for it. The list is data (`keys.txt`).

use std::sync::LazyLock;

use crate::names::key_parts;
use crate::text::is_plain;

const KEYS: &str = include_str!("keys.txt");

static RULES: LazyLock<Vec<KeyRule>> = LazyLock::new(|| KEYS.lines().flat_map(KeyRule::parse).collect());

/// Longest value of an annotation, in bytes.
const MAX_ANNOTATION: usize = 8 * 1024;

/// Labels that the charts set, or that Services, policies, and Istio select pods by.
const RESERVED_LABELS: [&str; 19] = [
    "app",
    "app.kubernetes.io/component",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/name",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/version",
    "chart",
    "component",
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
/// Annotations that name a load balancer or a network that exists.
const RESERVED_ANNOTATIONS: [&str; 6] = [
    "kubernetes.digitalocean.com/load-balancer-id",
    "load-balancer.hetzner.cloud/id",
    "loadbalancer.openstack.org/load-balancer-id",
    "service.beta.kubernetes.io/alibaba-cloud-loadbalancer-id",
    "service.kubernetes.io/tke-existed-lbid",
    "yawol.stackit.cloud/existingFloatingIP",
];

/// What a key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyUse {
    /// Labels of workloads, of their pods, and of Services.
    Label,
    /// Annotations of workloads.
    WorkloadAnnotation,
    /// Annotations of pods.
    PodAnnotation,
    /// Annotations of the Services of gateways.
    ServiceAnnotation,
    /// Annotations of the Services of istiod, to which every proxy connects.
    IstiodServiceAnnotation,
}

impl KeyUse {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Label, "labels"),
        (Self::WorkloadAnnotation, "workloads"),
        (Self::PodAnnotation, "pods"),
        (Self::ServiceAnnotation, "services"),
        (Self::IstiodServiceAnnotation, "istiod"),
    ];

    /// Whether an author may set the key.
    pub fn accepts(self, key: &str) -> bool {
        let reserved: &[&str] = if self == Self::Label { &RESERVED_LABELS } else { &RESERVED_ANNOTATIONS };
        if reserved.contains(&key) {
            return false;
        }
        match key_parts(key) {
            // Container runtimes take keys such as `io.kubernetes.cri-o.userns-mode`, whose domain has no slash after it.
            Some((None, name)) => !name.contains('.'),
            Some((Some(domain), name)) => {
                RULES.iter().any(|rule| rule.is_for(self) && rule.accepts(domain, name))
            }
            None => false,
        }
    }

    /// Whether an author may set this value of an annotation under a key that is accepted.
    ///
    /// Agents replace variables in values (`%%env_X%%`, `${data.x}`) with what they know themselves, and the injection
    /// templates print the annotations of `sidecar.istio.io` without quotes.
    pub fn accepts_value(key: &str, value: &str) -> bool {
        let is_word = |c: char| c.is_ascii_alphanumeric() || "._:,-".contains(c);
        let is_harmless = match key.split_once('/') {
            Some(("sidecar.istio.io", _)) => value.chars().all(is_word),
            Some(("ad.datadoghq.com", _)) => !value.contains("path") && !value.contains('\\'),
            _ => true,
        };
        value.len() <= MAX_ANNOTATION
            && is_plain(value)
            && !value.contains("%%")
            && !value.contains("${")
            && is_harmless
    }

    /// A key for each line of the list.
    #[cfg(test)]
    pub fn samples(self) -> impl Iterator<Item = String> {
        let samples = RULES.iter().filter(move |rule| rule.is_for(self)).map(KeyRule::sample);
        samples.chain(["team".to_owned()])
    }
}

/// One line of the list for one use.
#[derive(Clone, Debug)]
struct KeyRule {
    key_use: KeyUse,
    domain: &'static str,
    /// Whether domains below this one are included.
    is_below: bool,
    /// What stands before and after the `*` in the name; `None` after it if there is no `*`.
    name: (&'static str, Option<&'static str>),
}

impl KeyRule {
    fn parse(line: &'static str) -> Vec<Self> {
        let Some((uses, key)) = line.split_once(' ').filter(|_| !line.starts_with('#')) else {
            return Vec::new();
        };
        let Some((domain, name)) = key.split_once('/') else { return Vec::new() };
        let (domain, is_below) = domain.strip_prefix("*.").map_or((domain, false), |domain| (domain, true));
        let name = name.split_once('*').map_or((name, None), |(before, after)| (before, Some(after)));
        let listed = |word: &str| uses.split(',').any(|listed| listed == word);
        let of_line = KeyUse::ALL.iter().filter(|(_, word)| listed(word));
        of_line.map(|(key_use, _)| Self { key_use: *key_use, domain, is_below, name }).collect()
    }

    fn is_for(&self, key_use: KeyUse) -> bool {
        self.key_use == key_use
            || (self.key_use == KeyUse::WorkloadAnnotation && key_use == KeyUse::PodAnnotation)
    }

    fn accepts(&self, domain: &str, name: &str) -> bool {
        let is_domain = domain
            .strip_suffix(self.domain)
            .is_some_and(|rest| rest.is_empty() || (self.is_below && rest.ends_with('.')));
        let is_name = match self.name {
            (name_before, Some(after)) => {
                name.len() >= name_before.len() + after.len()
                    && name.starts_with(name_before)
                    && name.ends_with(after)
            }
            (exact, None) => name == exact,
        };
        is_domain && is_name
    }

    #[cfg(test)]
    fn sample(&self) -> String {
        let (before, after) = self.name;
        format!("{}/{before}{}{}", self.domain, after.map_or("", |_| "x"), after.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::KeyUse::{
        IstiodServiceAnnotation, Label, PodAnnotation, ServiceAnnotation, WorkloadAnnotation,
    };
    use super::*;

    #[test]
    fn every_line_of_the_list_is_a_valid_rule() {
        for line in KEYS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let uses = line.split_once(' ').map_or(0, |(uses, _)| uses.split(',').count());
            let rules = KeyRule::parse(line);
            assert_eq!(rules.len(), uses, "{line}");
            for rule in rules {
                assert!(rule.key_use.accepts(&rule.sample()), "{line}: {}", rule.sample());
            }
        }
    }

    #[test]
    fn the_documentation_lists_the_keys() {
        let page = include_str!("../../../docs/user/README.md");
        for line in KEYS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (uses, key) = line.split_once(' ').unwrap();
            for used in uses.split(',') {
                let start = match used {
                    "labels" => "| labels |",
                    "workloads" => "| annotations of workloads and pods |",
                    "pods" => "| annotations of pods |",
                    "services" => "| annotations of the Services of gateways |",
                    _ => "| annotations of the Service of istiod |",
                };
                let row = page.lines().find(|line| line.starts_with(start)).unwrap();
                assert!(row.contains(&format!("`{key}`")), "docs/user/README.md: {used} {key}");
            }
        }
    }

    #[test]
    fn keys_that_others_act_on_are_refused() {
        for (key_use, key, is_accepted) in [
            (Label, "team", true),
            (Label, "example.com/team", true),
            (Label, "mesh.example.com/team", true),
            (Label, "app.kubernetes.io/owner", true),
            (Label, "app.kubernetes.io/name", false),
            (Label, "app", false),
            (Label, "version", false),
            (Label, "component", false),
            (Label, "istio.io/rev", false),
            (Label, "sidecar.istio.io/inject", false),
            (Label, "azure.workload.identity/use", false),
            (Label, "admission.datadoghq.com/enabled", false),
            (Label, "badexample.com/team", false),
            (Label, "a\nb", false),
            (Label, "", false),
            (Label, "$patch", false),
            (WorkloadAnnotation, "keel.sh/policy", false),
            (WorkloadAnnotation, "deployment.kubernetes.io/revision", false),
            (PodAnnotation, "prometheus.io/scrape", true),
            (PodAnnotation, "ad.datadoghq.com/discovery.logs", true),
            (PodAnnotation, "ad.datadoghq.com/discovery.checks", false),
            (PodAnnotation, "ad.datadoghq.com/discovery.instances", false),
            (PodAnnotation, "co.elastic.logs/json.keys_under_root", true),
            (PodAnnotation, "co.elastic.logs/raw", false),
            (PodAnnotation, "co.elastic.metrics/hosts", false),
            (PodAnnotation, "sidecar.istio.io/statsEvictionInterval", true),
            (PodAnnotation, "sidecar.istio.io/inject", false),
            (PodAnnotation, "sidecar.istio.io/userVolume", false),
            (PodAnnotation, "sidecar.istio.io/proxyImage", false),
            (PodAnnotation, "proxy.istio.io/config", false),
            (PodAnnotation, "inject.istio.io/templates", false),
            (PodAnnotation, "vault.hashicorp.com/agent-inject", false),
            (PodAnnotation, "k8s.v1.cni.cncf.io/networks", false),
            (PodAnnotation, "io.kubernetes.cri-o.userns-mode", false),
            (PodAnnotation, "container.apparmor.security.beta.kubernetes.io/discovery", false),
            (ServiceAnnotation, "service.beta.kubernetes.io/aws-load-balancer-type", true),
            (ServiceAnnotation, "external-dns.alpha.kubernetes.io/hostname", true),
            (ServiceAnnotation, "service.kubernetes.io/ibm-load-balancer-cloud-provider-ip-type", true),
            (ServiceAnnotation, "service.cloud.ibm.com/x", true),
            (ServiceAnnotation, "kubernetes.io/elb.class", true),
            (ServiceAnnotation, "kubernetes.io/elb.id", false),
            (ServiceAnnotation, "loadbalancer.openstack.org/keep-floatingip", true),
            (ServiceAnnotation, "loadbalancer.openstack.org/load-balancer-id", false),
            (ServiceAnnotation, "io.cilium/global-service", false),
            (ServiceAnnotation, "service.beta.openshift.io/serving-cert-secret-name", false),
            (ServiceAnnotation, "networking.istio.io/exportTo", false),
            (ServiceAnnotation, "istios.operator.kyma-project.io/x", false),
            (ServiceAnnotation, "kubectl.kubernetes.io/last-applied-configuration", false),
            (IstiodServiceAnnotation, "prometheus.io/scrape", true),
            (IstiodServiceAnnotation, "io.cilium/global-service", false),
            (IstiodServiceAnnotation, "external-dns.alpha.kubernetes.io/hostname", false),
            (IstiodServiceAnnotation, "service.beta.kubernetes.io/aws-load-balancer-type", false),
        ] {
            assert_eq!(key_use.accepts(key), is_accepted, "{key_use:?} {key}");
        }
    }

    #[test]
    fn values_that_agents_or_templates_expand_are_refused() {
        for (key, value, is_accepted) in [
            ("team", "any \"text\": {}", true),
            ("team", "a\u{200b}b", false),
            ("team", "%%env_DD_API_KEY%%", false),
            ("co.elastic.logs/json.message_key", "${data.x}", false),
            ("ad.datadoghq.com/discovery.logs", "[{\"source\": \"istio\"}]", true),
            ("ad.datadoghq.com/discovery.logs", "[{\"type\": \"file\", \"path\": \"/etc/x\"}]", false),
            ("ad.datadoghq.com/discovery.logs", "[{\"\\u0070ath\": \"/etc/x\"}]", false),
            ("sidecar.istio.io/logLevel", "debug", true),
            ("sidecar.istio.io/logLevel", "debug\" x", false),
        ] {
            assert_eq!(KeyUse::accepts_value(key, value), is_accepted, "{key}: {value}");
        }
    }
}
