//! Checks whether the current user has all permissions of the operator's roles, in the same namespaces.
//!
//! The roles are those in the manifests, so the list cannot become outdated. It includes what the operator does and what it
//! grants to istiod, the gateways and the CNI agent: nobody can grant a permission that they do not have. Permissions that only
//! experimental options need are not checked.

use futures::stream::{self, StreamExt, TryStreamExt};
use gotemplate::yaml;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::PostParams;
use kube::{Api, Client};

use super::collect::{Error, failed};
use super::{CheckSubject, Finding, FindingSeverity};
use crate::api::names::{CONTROL_PLANE_ROLE, ISTIO_NAMESPACE};
use crate::text::list_limited;

const CLUSTER_ROLE: &str = include_str!("../../config/rbac/role.yaml");
const CONTROL_PLANE: &str = include_str!("../../config/rbac/control-plane-role.yaml");
const NAMESPACE_ROLE: &str = include_str!("../../config/rbac/operator-role.yaml");

const MAX_CONCURRENT_REVIEWS: usize = 16;
/// Missing permissions that a message names at most.
const MAX_NAMED_PERMISSIONS: usize = 8;

/// Checks all permissions at once first, which is enough for a cluster administrator, then each permission.
pub async fn find_missing(client: &Client, operator_namespace: &str) -> Result<Vec<Finding>, Error> {
    let everything = attributes("*", "*", "*", None, None);
    if is_allowed(client, everything).await? {
        return Ok(Vec::new());
    }
    let mut permissions = required_permissions(CLUSTER_ROLE, None);
    permissions.extend(self::required_permissions(NAMESPACE_ROLE, Some(operator_namespace)));
    if !can_get_access(client).await? {
        permissions.extend(self::required_permissions(CONTROL_PLANE, Some(ISTIO_NAMESPACE)));
    }
    let refused: Vec<String> = stream::iter(permissions)
        .map(|permission| async move {
            let text = describe(&permission);
            Ok::<_, Error>(if is_allowed(client, permission).await? { None } else { Some(text) })
        })
        .buffered(MAX_CONCURRENT_REVIEWS)
        .try_filter_map(|refused| std::future::ready(Ok(refused)))
        .try_collect()
        .await?;
    Ok(finding(&refused).into_iter().collect())
}

/// Whether the user can bind the control plane's role in its namespace, as the operator does when it creates that namespace.
///
/// Before that, the operator has no permissions there and needs none. The role must be read to see whether it is installed:
/// binding one that is missing is allowed.
async fn can_get_access(client: &Client) -> Result<bool, Error> {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let bind = attributes(GROUP, "clusterroles", "bind", None, Some(CONTROL_PLANE_ROLE));
    let create = attributes(GROUP, "rolebindings", "create", Some(ISTIO_NAMESPACE), None);
    if !is_allowed(client, bind).await? || !is_allowed(client, create).await? {
        return Ok(false);
    }
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let role = roles.get_opt(CONTROL_PLANE_ROLE).await;
    let role = role.map_err(failed(format!("ClusterRole {CONTROL_PLANE_ROLE}")))?;
    let installed = role.and_then(|role| role.rules).unwrap_or_default();
    Ok(rules(CONTROL_PLANE).iter().all(|rule| installed.contains(rule)))
}

fn finding(refused: &[String]) -> Option<Finding> {
    if refused.is_empty() {
        return None;
    }
    Some(Finding {
        severity: FindingSeverity::Error,
        subject: CheckSubject::Permissions,
        message: format!("the current user lacks permission to {}", list_limited(refused, MAX_NAMED_PERMISSIONS)),
        advice: "install the roles of the operator version (config/rbac, or the chart with rbac.create=true); to check \
                 the permissions of the operator itself, add \
                 --as=system:serviceaccount:kyma-system:istio-controller-manager"
            .to_owned(),
    })
}

/// The permissions of a role in the manifests, one per verb, resource and name, in one namespace or in all.
fn required_permissions(role: &str, namespace: Option<&str>) -> Vec<ResourceAttributes> {
    let mut permissions = Vec::new();
    for rule in rules(role) {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for verb in &rule.verbs {
                    let permission = |name: Option<&str>| attributes(group, resource, verb, namespace, name);
                    match rule.resource_names.as_deref().unwrap_or_default() {
                        [] => permissions.push(permission(None)),
                        names => permissions.extend(names.iter().map(|name| permission(Some(name)))),
                    }
                }
            }
        }
    }
    permissions
}

fn rules(role: &str) -> Vec<PolicyRule> {
    let documents = yaml::parse_json_documents(role).unwrap_or_default();
    documents
        .into_iter()
        .filter_map(|mut role| serde_json::from_value(role["rules"].take()).ok())
        .flat_map(|rules: Vec<PolicyRule>| rules)
        .collect()
}

fn attributes(
    group: &str,
    resource: &str,
    verb: &str,
    namespace: Option<&str>,
    name: Option<&str>,
) -> ResourceAttributes {
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (resource, None),
    };
    ResourceAttributes {
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource,
        verb: Some(verb.to_owned()),
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
        ..ResourceAttributes::default()
    }
}

fn describe(permission: &ResourceAttributes) -> String {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let group = Some(text(&permission.group)).filter(|group| !group.is_empty());
    let subresource = permission.subresource.as_ref().map(|part| format!("/{part}")).unwrap_or_default();
    let group = group.map(|group| format!(".{group}")).unwrap_or_default();
    let place = permission.namespace.as_ref().map(|namespace| format!(" in {namespace}")).unwrap_or_default();
    let name = permission.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    format!("{} {}{group}{subresource}{name}{place}", text(&permission.verb), text(&permission.resource))
}

async fn is_allowed(client: &Client, permission: ResourceAttributes) -> Result<bool, Error> {
    let what = format!("the permission to {}", describe(&permission));
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(permission), ..Default::default() },
        ..Default::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let response = api.create(&PostParams::default(), &review).await.map_err(failed(what))?;
    Ok(response.status.is_some_and(|status| status.allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_permission_of_the_shipped_roles_is_checked() {
        let mut required = required_permissions(CLUSTER_ROLE, None);
        required.extend(required_permissions(NAMESPACE_ROLE, Some("kyma-system")));
        required.extend(required_permissions(CONTROL_PLANE, Some(ISTIO_NAMESPACE)));
        let required: Vec<String> = required.iter().map(describe).collect();
        for expected in [
            "patch deployments.apps",
            "patch istios.operator.kyma-project.io/status",
            "create secrets in kyma-system",
            "patch secrets istio-manager-inventory in kyma-system",
            "create secrets in istio-system",
            "delete namespaces istio-system",
            "patch clusterroles.rbac.authorization.k8s.io istio-cni",
            "patch clusterroles.rbac.authorization.k8s.io istiod-clusterrole-istio-system",
        ] {
            assert!(required.iter().any(|permission| permission == expected), "{expected}");
        }
        assert!(
            !required
                .iter()
                .any(|permission| permission == "create secrets" || permission == "delete namespaces"),
            "{required:?}"
        );
        assert!(required.len() > 200, "{}", required.len());
    }

    #[test]
    fn some_missing_permissions_are_named_and_the_others_counted() {
        assert_eq!(finding(&[]), None);
        let refused: Vec<String> = (0..10).map(|i| format!("get thing{i}")).collect();
        let message = finding(&refused).unwrap().message;
        assert!(message.contains("get thing7 and 2 more"), "{message}");
    }
}
