//! What a cloud provider needs: load balancer annotations, and the folders of the network plugins.
//! Merged last, over everything else, as in the Go operator.

use serde_json::{Value, json};

use super::{LoadBalancer, Provider, merge};

/// Merges what `provider` needs into the document.
pub(super) fn merge(document: &mut Value, provider: Provider, dual_stack: bool) {
    let values = match provider {
        Provider::Unknown | Provider::OpenStack { garden: false } => return,
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
        Provider::OpenStack { garden: true } => {
            ingress_annotations(&json!({"loadbalancer.openstack.org/proxy-protocol": "v1"}))
        }
    };
    merge::merge(document, &json!({"spec": {"values": values}}));
}

/// Whether the load balancer in front of the ingress gateway is asked, by the annotations set here, to tell the client's
/// address by the PROXY protocol. A gateway that expects it must not stand behind one that does not.
#[must_use]
pub fn speaks_proxy_protocol(provider: Provider, dual_stack: bool) -> bool {
    match provider {
        Provider::Unknown | Provider::K3d | Provider::Gke => false,
        Provider::Aws { load_balancer } => load_balancer == LoadBalancer::Classic || dual_stack,
        Provider::OpenStack { garden } => garden,
    }
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
            "service.beta.kubernetes.io/aws-load-balancer-proxy-protocol": "*",
        }),
        (LoadBalancer::Classic, _) => json!({
            "service.beta.kubernetes.io/aws-load-balancer-proxy-protocol": "*",
            "service.beta.kubernetes.io/aws-load-balancer-connection-idle-timeout": "4000",
        }),
    }
}
