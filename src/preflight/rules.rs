//! The rules of the checks: which collected facts are problems, and their remedies.
//! Pure: each rule takes plain data and returns findings.

use serde_json::{Map, Value};

use super::collect::{
    ControlPlaneNamespace, DiscoveredIstiod, Installation, Network, PRIORITY_CLASS, Webhook,
};
use super::{CheckSubject, Finding, FindingSeverity};
use crate::api::names::ISTIO_NAMESPACE;
use crate::crds::compatibility::{CrdDecision, decide};
use crate::istio_release::MinorVersion;
use crate::validate::version;

fn finding(
    severity: FindingSeverity,
    subject: CheckSubject,
    message: impl Into<String>,
    advice: impl Into<String>,
) -> Finding {
    Finding { severity, subject, message: message.into(), advice: advice.into() }
}

/// The version of the API server, such as `v1.36.3` or `v1.33.1-gke.100`, against the oldest one that Istio supports.
pub fn kubernetes(version: &str, oldest: Option<MinorVersion>) -> Vec<Finding> {
    let Some(oldest) = oldest else { return Vec::new() };
    let mut numbers = version.trim_start_matches('v').split('.').map_while(|part| part.parse::<u64>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if MinorVersion { major, minor } >= oldest => vec![],
        (Some(_), Some(_)) => vec![finding(
            FindingSeverity::Warning,
            CheckSubject::Kubernetes,
            format!(
                "Kubernetes {version} is older than {oldest}, the oldest version that this Istio supports"
            ),
            format!("upgrade Kubernetes to {oldest} or newer before you install Istio"),
        )],
        _ => vec![finding(
            FindingSeverity::Warning,
            CheckSubject::Kubernetes,
            format!("the API server reports the unknown version {version:?}"),
            format!("make sure that Kubernetes is {oldest} or newer"),
        )],
    }
}

/// The upgrade from the installed version to `wanted`.
pub fn version(installation: &Installation, wanted: &str) -> Vec<Finding> {
    let installed = installation.installed.as_deref();
    match version::check_version_step(installed, wanted, installation.allowed_downgrade.as_deref()) {
        Err(rejection) => vec![finding(
            FindingSeverity::Error,
            CheckSubject::Version,
            rejection.message,
            "select the version with --istio-version, or use an operator version that contains it",
        )],
        Ok(version::VersionStep::To { from, to }) => vec![finding(
            FindingSeverity::Note,
            CheckSubject::Version,
            format!("Istio would be upgraded from {from} to {to}"),
            "to see the changes, run: istio-manager diff -f <resource>",
        )],
        Ok(version::VersionStep::None) => vec![],
    }
}

/// A CRD that exists already.
pub fn crd(ours: &Value, live: &Value, istio_version: &str) -> Option<Finding> {
    let name = live.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    match decide(ours, live) {
        CrdDecision::WouldLose(losses) => Some(finding(
            FindingSeverity::Warning,
            CheckSubject::Crds,
            CrdDecision::WouldLose(losses).warning(name, istio_version).unwrap_or_default(),
            format!("to see it, run: kubectl get crd {name} -o yaml"),
        )),
        CrdDecision::KeepNewer(newer) => Some(finding(
            FindingSeverity::Note,
            CheckSubject::Crds,
            format!("CustomResourceDefinition {name} of Istio {newer} is not replaced"),
            "none: newer CustomResourceDefinitions work with older control planes",
        )),
        CrdDecision::Replace => continuous_manager(live).map(|owner| {
            finding(
                FindingSeverity::Warning,
                CheckSubject::Crds,
                format!("CustomResourceDefinition {name} is managed by {owner}, which would revert it"),
                format!("remove the CustomResourceDefinition from what {owner} manages"),
            )
        }),
    }
}

/// A tool that applies a CRD in a loop. Helm, kubectl and `istioctl` write only on command.
fn continuous_manager(live: &Value) -> Option<String> {
    const CONTINUOUS_MANAGERS: [&str; 4] =
        ["argocd", "kustomize-controller", "helm-controller", "sail-operator"];
    let managers = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    let managers = managers.into_iter().flatten().filter_map(|entry| entry.get("manager")?.as_str());
    managers
        .into_iter()
        .find(|manager| CONTINUOUS_MANAGERS.iter().any(|name| manager.starts_with(name)))
        .map(str::to_owned)
}

/// Other control planes, and operators that could create some.
pub fn other_istio(istiods: &[DiscoveredIstiod], competitors: &[String]) -> Vec<Finding> {
    let istiod = |istiod: &DiscoveredIstiod| {
        let name = format!("Deployment {}/{}", istiod.namespace, istiod.name);
        if istiod.namespace != ISTIO_NAMESPACE || istiod.revision != "default" {
            return Some(finding(
                FindingSeverity::Warning,
                CheckSubject::OtherIstio,
                format!("{name} is another istiod, with revision {}", istiod.revision),
                "move its workloads to the default revision and delete it, or make sure that the two watch different \
                 namespaces",
            ));
        }
        istiod.helm_release.as_ref().map(|release| {
            finding(
                FindingSeverity::Warning,
                CheckSubject::OtherIstio,
                format!("{name} belongs to Helm release {release}, and would be adopted"),
                format!(
                    "after the adoption do not upgrade or uninstall release {release}; delete its Secrets \
                     sh.helm.release.v1.{release}.* instead"
                ),
            )
        })
    };
    let competitor = |name: &String| {
        finding(
            FindingSeverity::Warning,
            CheckSubject::OtherIstio,
            format!("another Istio operator is or was installed: CustomResourceDefinition {name} exists"),
            "delete its resources, then the operator, then the CustomResourceDefinition",
        )
    };
    istiods.iter().filter_map(istiod).chain(competitors.iter().map(competitor)).collect()
}

/// The webhooks of one configuration that are called through a Service, before the endpoints of that are known.
pub fn webhooks_of(kind: &str, name: &str, configuration: &Value) -> Vec<Webhook> {
    let webhook = |webhook: &Value| {
        let text =
            |pointer: &str| webhook.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let service = (text("/clientConfig/service/namespace"), text("/clientConfig/service/name"));
        let resources = rule_values(webhook, "resources");
        let any_of = |wanted: &[&str]| resources.iter().any(|resource| wanted.contains(&resource.as_str()));
        let is_injector =
            kind.starts_with("Mutating") && text("/clientConfig/service/path").starts_with("/inject");
        (!service.1.is_empty()).then(|| Webhook {
            configuration: format!("{kind} {name}"),
            name: text("/name"),
            can_block: text("/failurePolicy") != "Ignore"
                && any_of(&[
                    "*",
                    "*/*",
                    "pods",
                    "deployments",
                    "daemonsets",
                    "services",
                    "configmaps",
                    "namespaces",
                ])
                && selects_control_plane(webhook),
            injects: is_injector && any_of(&["*", "pods"]),
            service,
            has_ready_endpoint: false,
        })
    };
    configuration
        .get("webhooks")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(webhook)
        .collect()
}

fn rule_values(webhook: &Value, field: &str) -> Vec<String> {
    let rules = webhook.get("rules").and_then(Value::as_array).into_iter().flatten();
    let values = rules.filter_map(|rule| rule.get(field)?.as_array()).flatten();
    values.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Whether a webhook may be called for objects in the namespace of the control plane, as far as the labels show that Kubernetes
/// itself sets there. A selector by other labels counts as a match: one finding too many is better than one too few.
fn selects_control_plane(webhook: &Value) -> bool {
    const NAME: &str = "kubernetes.io/metadata.name";
    let selector = webhook.get("namespaceSelector");
    let label = selector.and_then(|s| s.get("matchLabels")?.get(NAME));
    let expressions = selector.and_then(|s| s.get("matchExpressions")?.as_array()).into_iter().flatten();
    let excluded = expressions.filter(|e| e.get("key").is_some_and(|key| key == NAME)).any(|expression| {
        let listed = expression
            .get("values")
            .and_then(Value::as_array)
            .is_some_and(|values| values.iter().any(|value| value == ISTIO_NAMESPACE));
        match expression.get("operator").and_then(Value::as_str) {
            Some("In") => !listed,
            Some("NotIn") => listed,
            _ => false,
        }
    });
    label.is_none_or(|label| label == ISTIO_NAMESPACE) && !excluded
}

/// Webhooks that would reject objects of the installation, or inject in addition to ours.
pub fn webhooks(webhooks: &[Webhook]) -> Vec<Finding> {
    const OURS: [&str; 2] = [
        "MutatingWebhookConfiguration istio-sidecar-injector",
        "MutatingWebhookConfiguration istio-revision-tag-default",
    ];
    let check_webhook = |webhook: &Webhook| {
        let (namespace, service) = &webhook.service;
        let Webhook { configuration, name, .. } = webhook;
        if webhook.injects && !OURS.contains(&configuration.as_str()) {
            return Some(finding(
                FindingSeverity::Warning,
                CheckSubject::Webhooks,
                format!("{configuration} injects sidecars, too (webhook {name})"),
                "make sure that it selects no namespace that Istio selects, or delete it",
            ));
        }
        let blocks = webhook.can_block && !webhook.has_ready_endpoint;
        (blocks && namespace != ISTIO_NAMESPACE).then(|| {
            finding(
                FindingSeverity::Error,
                CheckSubject::Webhooks,
                format!(
                    "{configuration} rejects objects if it does not respond, and Service {namespace}/{service} has no ready \
                     endpoint (webhook {name})"
                ),
                format!("make the pods of Service {namespace}/{service} ready, or delete {configuration}"),
            )
        })
    };
    webhooks.iter().filter_map(check_webhook).collect()
}

/// The namespace of the control plane.
pub fn namespace(control_plane: &ControlPlaneNamespace) -> Vec<Finding> {
    let mut findings = Vec::new();
    let subject = CheckSubject::Namespace;
    if control_plane.is_terminating {
        findings.push(finding(
            FindingSeverity::Error,
            subject,
            "namespace istio-system is being deleted",
            "wait until it is gone; to see what blocks it, run: kubectl get namespace istio-system -o yaml",
        ));
    }
    if !control_plane.has_priority_class {
        findings.push(finding(
            FindingSeverity::Error,
            subject,
            format!("PriorityClass {PRIORITY_CLASS} does not exist, so that no pod of Istio can be created"),
            "install the chart of the operator with priorityClass.create=true",
        ));
    }
    let enforced =
        control_plane.labels.as_ref().and_then(|labels| labels.get("pod-security.kubernetes.io/enforce"));
    if let Some(level) = enforced.filter(|level| *level != "privileged")
        && control_plane.cni
    {
        findings.push(finding(
            FindingSeverity::Error,
            subject,
            format!("Pod Security Admission enforces level {level} in istio-system, which rejects the pods of the CNI agent"),
            "run: kubectl label namespace istio-system pod-security.kubernetes.io/enforce=privileged --overwrite",
        ));
    }
    findings
}

/// Settings of Cilium and Calico about which Istio's own installer warns.
pub fn network(network: &Network) -> Vec<Finding> {
    let warning = |message: &str, advice: &str| {
        finding(FindingSeverity::Warning, CheckSubject::Network, message, advice)
    };
    let mut findings = Vec::new();
    if let Some(cilium) = &network.cilium {
        let is = |key: &str, value: &str| cilium.get(key).is_some_and(|found| found == value);
        let host_namespace_only = is("bpf-lb-sock-hostns-only", "true");
        if network.cni && is("cni-exclusive", "true") {
            findings.push(warning(
                "Cilium setting cni-exclusive=true removes the configuration of Istio's CNI agent",
                "set cni.exclusive=false in Cilium's Helm values",
            ));
        }
        if network.ambient && is("enable-bpf-masquerade", "true") {
            findings.push(warning(
                "Cilium setting enable-bpf-masquerade=true breaks the health probes of pods in ambient mode",
                "set bpf.masquerade=false in Cilium's Helm values",
            ));
        }
        if !host_namespace_only && is("bpf-lb-sock", "true") {
            findings.push(warning(
                "Cilium setting bpf-lb-sock=true resolves Services before the sidecar sees them",
                "set socketLB.hostNamespaceOnly=true in Cilium's Helm values",
            ));
        }
        if !host_namespace_only && is("kube-proxy-replacement", "strict") {
            findings.push(warning(
                "Cilium setting kube-proxy-replacement=strict resolves Services before the sidecar sees them",
                "set socketLB.hostNamespaceOnly=true in Cilium's Helm values",
            ));
        }
    }
    if network.felix.as_ref().and_then(Value::as_object).is_some_and(balances_at_connect_time) {
        findings.push(warning(
            "Calico's eBPF data plane balances connections before the sidecar sees them (FelixConfiguration default)",
            "run: kubectl patch felixconfiguration default --type=merge -p '{\"spec\":{\"bpfConnectTimeLoadBalancing\":\"Disabled\"}}'",
        ));
    }
    findings
}

fn balances_at_connect_time(felix: &Map<String, Value>) -> bool {
    let mode = felix.get("bpfConnectTimeLoadBalancing").and_then(Value::as_str);
    let legacy = felix.get("bpfConnectTimeLoadBalancingEnabled").and_then(Value::as_bool);
    mode.is_some_and(|mode| mode != "Disabled") || legacy == Some(true)
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
