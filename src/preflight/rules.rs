//! What is wrong with what was seen, and what to do about it.
//! Pure: each rule takes plain data and returns findings.

use serde_json::{Map, Value};

use super::collect::{
    ControlPlaneNamespace, DiscoveredIstiod, Installation, Network, PRIORITY_CLASS, Webhook,
};
use super::{CheckSubject, Finding, FindingSeverity};
use crate::api::names::ISTIO_NAMESPACE;
use crate::crds::compatibility::{CrdDecision, decide};
use crate::validate::version;

/// The oldest minor version of Kubernetes that Istio 1.31 works with; below it istiod logs a warning and goes on.
const MIN_KUBERNETES_VERSION: (u64, u64) = (1, 32);

fn finding(
    severity: FindingSeverity,
    subject: CheckSubject,
    message: impl Into<String>,
    advice: impl Into<String>,
) -> Finding {
    Finding { severity, subject, message: message.into(), advice: advice.into() }
}

/// The version of the API server, such as `v1.36.3` or `v1.33.1-gke.100`.
pub fn kubernetes(version: &str) -> Vec<Finding> {
    let mut numbers = version.trim_start_matches('v').split('.').map_while(|part| part.parse::<u64>().ok());
    let (major, minor) = MIN_KUBERNETES_VERSION;
    match (numbers.next(), numbers.next()) {
        (Some(have_major), Some(have_minor)) if (have_major, have_minor) >= MIN_KUBERNETES_VERSION => vec![],
        (Some(_), Some(_)) => vec![finding(
            FindingSeverity::Warning,
            CheckSubject::Kubernetes,
            format!("Kubernetes is {version}, and Istio is tested from {major}.{minor} on"),
            format!("upgrade Kubernetes to {major}.{minor} or newer before Istio"),
        )],
        _ => vec![finding(
            FindingSeverity::Warning,
            CheckSubject::Kubernetes,
            format!("the version {version:?} of the API server is not readable"),
            format!("make sure that it is at least {major}.{minor}"),
        )],
    }
}

/// The step from what is installed to what would be.
pub fn version(installation: &Installation, wanted: &str) -> Vec<Finding> {
    let installed = installation.installed.as_deref();
    match version::check_version_step(installed, wanted, installation.allowed_downgrade.as_deref()) {
        Err(rejection) => vec![finding(
            FindingSeverity::Error,
            CheckSubject::Version,
            rejection.message,
            "choose the version by --istio-version, or use an operator that has it built in",
        )],
        Ok(version::VersionStep::To { from, to }) => vec![finding(
            FindingSeverity::Note,
            CheckSubject::Version,
            format!("Istio would go from {from} to {to}"),
            "see what changes with: istio-manager diff -f <resource>",
        )],
        Ok(version::VersionStep::None) => vec![],
    }
}

/// A definition that exists already.
pub fn crd(ours: &Value, live: &Value, istio_version: &str) -> Option<Finding> {
    let name = live.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    match decide(ours, live) {
        CrdDecision::WouldLose(losses) => Some(finding(
            FindingSeverity::Warning,
            CheckSubject::Definitions,
            CrdDecision::WouldLose(losses).warning(name, istio_version).unwrap_or_default(),
            format!("see it with: kubectl get crd {name} -o yaml"),
        )),
        CrdDecision::KeepNewer(newer) => Some(finding(
            FindingSeverity::Note,
            CheckSubject::Definitions,
            format!("CustomResourceDefinition {name} is of Istio {newer} and stays as it is"),
            "nothing, newer definitions work with older control planes",
        )),
        CrdDecision::Replace => continuous_manager(live).map(|owner| {
            finding(
                FindingSeverity::Warning,
                CheckSubject::Definitions,
                format!("CustomResourceDefinition {name} is kept by {owner}, which would change it back"),
                format!("take the definition out of what {owner} keeps"),
            )
        }),
    }
}

/// Who else keeps writing a definition: a tool that applies in a loop. Helm, kubectl and `istioctl` write when told to.
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

/// Other control planes, and operators that could make some.
pub fn other_istio(istiods: &[DiscoveredIstiod], competitors: &[String]) -> Vec<Finding> {
    let istiod = |istiod: &DiscoveredIstiod| {
        let name = format!("Deployment {}/{}", istiod.namespace, istiod.name);
        if istiod.namespace != ISTIO_NAMESPACE || istiod.revision != "default" {
            return Some(finding(
                FindingSeverity::Warning,
                CheckSubject::OtherIstio,
                format!("{name} is another istiod, of revision {}", istiod.revision),
                "move its workloads to the default revision and remove it, or make sure that the two watch different \
                 namespaces",
            ));
        }
        istiod.helm_release.as_ref().map(|release| {
            finding(
                FindingSeverity::Warning,
                CheckSubject::OtherIstio,
                format!("{name} belongs to the Helm release {release}, and would be taken over"),
                format!(
                    "after the take-over do not upgrade or uninstall the release {release}; forget it by deleting its \
                     Secrets sh.helm.release.v1.{release}.*"
                ),
            )
        })
    };
    let competitor = |name: &String| {
        finding(
            FindingSeverity::Warning,
            CheckSubject::OtherIstio,
            format!("another operator of Istio is or was here: CustomResourceDefinition {name}"),
            "delete its resources, then the operator, then the definition",
        )
    };
    istiods.iter().filter_map(istiod).chain(competitors.iter().map(competitor)).collect()
}

/// The webhooks of one configuration that are called through a Service, with `answers` still to be found out.
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

/// Whether a webhook may be asked about objects in the namespace of the control plane, as far as the labels say that
/// Kubernetes itself sets there. A selector by other labels is taken to match: better one finding too many.
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

/// Whether an EndpointSlice has an endpoint that is ready. Unset counts as ready, as in its API.
pub fn has_ready_endpoint(slice: &Value) -> bool {
    let endpoints = slice.get("endpoints").and_then(Value::as_array).into_iter().flatten();
    endpoints.into_iter().any(|endpoint| endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false)))
}

/// Webhooks that would refuse what is to be written, or inject beside ours.
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
                format!("{configuration} injects sidecars as well (webhook {name})"),
                "make sure that no namespace is selected by both, or delete it",
            ));
        }
        let blocks = webhook.can_block && !webhook.has_ready_endpoint;
        (blocks && namespace != ISTIO_NAMESPACE).then(|| {
            finding(
                FindingSeverity::Error,
                CheckSubject::Webhooks,
                format!(
                    "{configuration} refuses objects when it gets no answer, and nothing answers behind Service \
                     {namespace}/{service} (webhook {name})"
                ),
                format!("bring the pods behind {namespace}/{service} up, or delete the {configuration}"),
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
            "wait until it is gone; what holds it: kubectl get namespace istio-system -o yaml",
        ));
    }
    if !control_plane.has_priority_class {
        findings.push(finding(
            FindingSeverity::Error,
            subject,
            format!("PriorityClass {PRIORITY_CLASS} does not exist, so no pod of Istio can be created"),
            "install the operator's chart with priorityClass.create=true",
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
            format!("PodSecurity enforces the level {level} in istio-system, which refuses the pods of the CNI agent"),
            "kubectl label namespace istio-system pod-security.kubernetes.io/enforce=privileged --overwrite",
        ));
    }
    findings
}

/// Settings of Cilium and Calico that Istio's own installer warns about.
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
                "Cilium's cni-exclusive=true removes the configuration of Istio's CNI agent",
                "set cni.exclusive=false in Cilium's Helm values",
            ));
        }
        if network.ambient && is("enable-bpf-masquerade", "true") {
            findings.push(warning(
                "Cilium's enable-bpf-masquerade=true breaks the health probes of pods in ambient mode",
                "set bpf.masquerade=false in Cilium's Helm values",
            ));
        }
        if !host_namespace_only && is("bpf-lb-sock", "true") {
            findings.push(warning(
                "Cilium's bpf-lb-sock=true resolves Services before the sidecar sees them",
                "set socketLB.hostNamespaceOnly=true in Cilium's Helm values",
            ));
        }
        if !host_namespace_only && is("kube-proxy-replacement", "strict") {
            findings.push(warning(
                "Cilium's kube-proxy-replacement=strict resolves Services before the sidecar sees them",
                "set socketLB.hostNamespaceOnly=true in Cilium's Helm values",
            ));
        }
    }
    if network.felix.as_ref().and_then(Value::as_object).is_some_and(balances_at_connect_time) {
        findings.push(warning(
            "Calico's eBPF data plane balances connections before the sidecar sees them (FelixConfiguration default)",
            "kubectl patch felixconfiguration default --type=merge -p '{\"spec\":{\"bpfConnectTimeLoadBalancing\":\"Disabled\"}}'",
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
