//! What a cloud provider needs: load balancer annotations, and the folders of the network plugins.
//!
//! Pure. Part of the base configuration: values of the resource win over it.

use serde_json::{Value, json};

use super::{LoadBalancer, Provider, merge};

const AWS_PROXY_PROTOCOL: &str = "service.beta.kubernetes.io/aws-load-balancer-proxy-protocol";
const OPENSTACK_PROXY_PROTOCOL: &str = "loadbalancer.openstack.org/proxy-protocol";

/// Merges what `provider` needs into the document.
pub(super) fn merge(document: &mut Value, provider: Provider, dual_stack: bool) {
    let values = match provider {
        Provider::Unknown | Provider::OpenStack { garden_linux: false } => return,
        Provider::K3d => json!({"cni": {
            "cniBinDir": "/var/lib/rancher/k3s/data/cni",
            "cniConfDir": "/var/lib/rancher/k3s/agent/etc/cni/net.d",
        }}),
        Provider::Gke => json!({"cni": {
            "cniBinDir": "/home/kubernetes/bin",
            // The pods have a critical priority, which GKE allows only where a quota says so.
            "resourceQuotas": {"enabled": true},
        }}),
        Provider::Aws { load_balancer } => ingress_annotations(&aws_annotations(load_balancer, dual_stack)),
        Provider::OpenStack { garden_linux: true } => {
            ingress_annotations(&json!({OPENSTACK_PROXY_PROTOCOL: "v1"}))
        }
    };
    merge::merge(document, &json!({"spec": {"values": values}}));
}

/// Whether the load balancer in front of the ingress gateway is configured to pass the client's address by the PROXY protocol:
/// by an annotation of the gateway's Service in the finished document, whoever set it.
///
/// A gateway that expects it must not stand behind a load balancer that does not speak it, nor the other way round.
#[must_use]
pub fn uses_proxy_protocol(document: &Value) -> bool {
    let annotations = document.pointer("/spec/values/gateways/istio-ingressgateway/serviceAnnotations");
    let is_enabled = |annotation: &str| {
        let value = annotations.and_then(|annotations| annotations.get(annotation)).and_then(Value::as_str);
        value.is_some_and(|value| !matches!(value, "" | "false"))
    };
    is_enabled(AWS_PROXY_PROTOCOL) || is_enabled(OPENSTACK_PROXY_PROTOCOL)
}

fn ingress_annotations(annotations: &Value) -> Value {
    json!({"gateways": {"istio-ingressgateway": {"serviceAnnotations": annotations}}})
}

fn aws_annotations(load_balancer: LoadBalancer, dual_stack: bool) -> Value {
    match (load_balancer, dual_stack) {
        (LoadBalancer::Network, false) => json!({
            "service.beta.kubernetes.io/aws-load-balancer-type": "nlb",
            "service.beta.kubernetes.io/aws-load-balancer-scheme": "internet-facing",
            "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type": "instance",
        }),
        (LoadBalancer::Network, true) => json!({
            "service.beta.kubernetes.io/aws-load-balancer-type": "external",
            "service.beta.kubernetes.io/aws-load-balancer-scheme": "internet-facing",
            "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type": "instance",
            AWS_PROXY_PROTOCOL: "*",
        }),
        (LoadBalancer::Classic, _) => json!({
            AWS_PROXY_PROTOCOL: "*",
            "service.beta.kubernetes.io/aws-load-balancer-connection-idle-timeout": "4000",
        }),
    }
}
