//! Decides which of several `Istio` resources is in charge of the cluster.
//! Depends on names, namespaces and ages only, not on the specs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::Rejection;
use crate::api::Istio;
use crate::api::conditions::{Reason, State};
use crate::messages;

/// Whether a resource is the active one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstanceStatus {
    /// It is the one to follow.
    Active,
    /// It is in a namespace where no resource is followed.
    WrongNamespace {
        /// The namespace of the resource.
        namespace: String,
        /// The namespace in which resources are followed.
        expected: String,
    },
    /// Another resource is the active one.
    OlderExists {
        /// Namespace of the active resource.
        namespace: String,
        /// Name of the active resource.
        name: String,
    },
}

impl InstanceStatus {
    /// Why the resource is not followed, if it is not.
    #[must_use]
    pub fn rejection(&self) -> Option<Rejection> {
        match self {
            Self::Active => None,
            Self::WrongNamespace { namespace, expected } => Some(Rejection::new(
                Reason::ReconcileFailed,
                State::Error,
                messages::wrong_namespace(namespace, expected),
            )),
            Self::OlderExists { namespace, name } => Some(Rejection::new(
                Reason::OlderCRExists,
                State::Warning,
                messages::older_resource(namespace, name),
            )),
        }
    }
}

/// Decides whether `this` is active, given all `Istio` resources of the cluster, in any order, and the namespace in which
/// they are followed. The oldest one is active, and of several of the same second the one with the smallest UID, so that
/// every observer comes to the same result.
#[must_use]
pub fn check_active_instance<'a>(
    all: impl IntoIterator<Item = &'a Istio>,
    this: &Istio,
    namespace: &str,
) -> InstanceStatus {
    let own_namespace = this.namespace().unwrap_or_default();
    if own_namespace != namespace {
        return InstanceStatus::WrongNamespace { namespace: own_namespace, expected: namespace.to_owned() };
    }
    let winner = all
        .into_iter()
        .filter(|istio| istio.metadata.namespace.as_deref() == Some(namespace))
        .min_by(|a, b| age(a).cmp(&age(b)));
    match winner {
        Some(winner) if winner.metadata.uid != this.metadata.uid && age(winner) < age(this) => {
            InstanceStatus::OlderExists { namespace: namespace.to_owned(), name: winner.name_any() }
        }
        _ => InstanceStatus::Active,
    }
}

/// The order of resources. One without a timestamp has not been created yet and comes last.
fn age(istio: &Istio) -> (bool, Option<&Time>, Option<&str>) {
    let created = istio.metadata.creation_timestamp.as_ref();
    (created.is_none(), created, istio.metadata.uid.as_deref())
}
