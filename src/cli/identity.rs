//! The identity of this process among its replicas, and the namespace of the operator, from the environment.

use std::fs;

use crate::api::names::OPERATOR_NAMESPACE;

const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// The holder identity `<host name>_<uuid>`, as in client-go. In a Pod, the host name is the name of the Pod. The UUID
/// distinguishes a restarted container from its predecessor.
pub(super) fn identity() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = Some(host.trim()).filter(|host| !host.is_empty()).unwrap_or("istio-manager");
    format!("{host}_{}", uuid::Uuid::new_v4())
}

/// The namespace of the operator: the given one, the namespace of the Pod, or kyma-system, in this order.
pub(super) fn namespace(given: Option<&str>) -> String {
    let of_pod = || fs::read_to_string(NAMESPACE_FILE).ok();
    let non_empty = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    given
        .and_then(non_empty)
        .or_else(|| non_empty(&of_pod()?))
        .unwrap_or_else(|| OPERATOR_NAMESPACE.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_unique_and_contain_the_host_name() {
        let (first, second) = (identity(), identity());
        assert_ne!(first, second);
        let (host, uuid) = first.rsplit_once('_').unwrap();
        assert!(!host.is_empty());
        assert!(uuid::Uuid::parse_str(uuid).is_ok(), "{uuid}");
    }

    #[test]
    fn a_given_namespace_wins() {
        assert_eq!(namespace(Some("mesh")), "mesh");
        assert!(!namespace(Some("")).is_empty());
    }
}
