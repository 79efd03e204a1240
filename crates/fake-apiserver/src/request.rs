//! One request as the API server understands it: verb, resource, name, options. Pure; it answers nothing.

use std::collections::BTreeMap;

use http::{HeaderMap, Method, Uri};
use serde_json::Value;

/// What a request asks for, by Kubernetes' names of the verbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Reads one object.
    Get,
    /// Reads a collection.
    List,
    /// Reads a collection and follows it.
    Watch,
    /// Creates an object, a review or an eviction.
    Create,
    /// Replaces an object.
    Update,
    /// Changes an object: merge patch, JSON patch or server-side apply.
    Patch,
    /// Deletes one object.
    Delete,
    /// Deletes a collection.
    DeleteCollection,
}

/// A request that reached the API server.
#[derive(Clone, Debug)]
pub struct ApiRequest {
    /// What it asks for.
    pub verb: Verb,
    /// Its path, without the query.
    pub path: String,
    /// Its query, decoded.
    pub query: BTreeMap<String, String>,
    /// API group; empty for the core group and for paths that are not resources.
    pub group: String,
    /// API version, such as `v1`.
    pub version: String,
    /// Plural of the resource, such as `pods`; empty for paths that are not resources.
    pub resource: String,
    /// Namespace; empty for cluster-wide requests.
    pub namespace: String,
    /// Name of the object; empty for collections.
    pub name: String,
    /// Subresource, such as `status`; empty for the object itself.
    pub subresource: String,
    /// The body, if it is JSON.
    pub body: Value,
    /// The client.
    pub user_agent: String,
    /// Media type of the body, which tells the kind of a patch.
    pub content_type: String,
    /// Media types that the client accepts.
    pub accept: String,
}

impl ApiRequest {
    pub(crate) fn new(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Self {
        let query = parse_query(uri.query().unwrap_or_default());
        let header = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
        let text = |name| header(name).unwrap_or_default().to_owned();
        let target = Target::of(uri.path());
        Self {
            verb: verb(method, !target.name.is_empty(), &query),
            path: uri.path().to_owned(),
            query,
            group: target.group,
            version: target.version,
            resource: target.resource,
            namespace: target.namespace,
            name: target.name,
            subresource: target.subresource,
            body: serde_json::from_slice(body).unwrap_or_default(),
            user_agent: text(http::header::USER_AGENT),
            content_type: text(http::header::CONTENT_TYPE),
            accept: text(http::header::ACCEPT),
        }
    }

    /// Whether nothing is stored, because the request is a dry run.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.query.get("dryRun").is_some_and(|value| value == "All")
    }

    /// Whether the request may store something: no read, no dry run, no review.
    #[must_use]
    pub fn is_write(&self) -> bool {
        let reads = matches!(self.verb, Verb::Get | Verb::List | Verb::Watch);
        !reads && !self.is_dry_run() && !self.resource.ends_with("reviews")
    }

    /// One line for messages of failed assertions.
    #[must_use]
    pub fn summary(&self) -> String {
        format!("{:?} {}", self.verb, self.path)
    }

    pub(crate) fn option(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    pub(crate) fn wants_metadata_only(&self) -> bool {
        self.accept.contains("as=PartialObjectMetadata")
    }

    /// Name of the client in managed fields, by the rule of the API server.
    pub(crate) fn field_manager(&self) -> String {
        match self.option("fieldManager") {
            "" => self
                .user_agent
                .split('/')
                .next()
                .filter(|name| !name.is_empty())
                .unwrap_or("unknown")
                .to_owned(),
            manager => manager.to_owned(),
        }
    }
}

fn verb(method: &Method, has_name: bool, query: &BTreeMap<String, String>) -> Verb {
    let is_watch = query.get("watch").is_some_and(|value| value == "true" || value == "1");
    match *method {
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE if has_name => Verb::Delete,
        Method::DELETE => Verb::DeleteCollection,
        _ if is_watch => Verb::Watch,
        _ if has_name => Verb::Get,
        _ => Verb::List,
    }
}

/// The parts of a path.
#[derive(Debug, Default, PartialEq, Eq)]
struct Target {
    group: String,
    version: String,
    resource: String,
    namespace: String,
    name: String,
    subresource: String,
}

impl Target {
    fn of(path: &str) -> Self {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Self::default(),
        };
        let (namespace, rest) = match rest {
            ["namespaces", _, "status" | "finalize"] => ("", rest),
            ["namespaces", namespace, _, ..] => (*namespace, &rest[2..]),
            _ => ("", rest),
        };
        let at = |index: usize| rest.get(index).copied().map(decode).unwrap_or_default();
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            namespace: decode(namespace),
            resource: at(0),
            name: at(1),
            subresource: at(2),
        }
    }
}

fn parse_query(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect()
}

/// Decodes percent signs, and plus signs as the query of a form has them.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        let decoded = code.filter(|_| byte == b'%').and_then(|code| u8::from_str_radix(code, 16).ok());
        rest = if decoded.is_some() { &after[2..] } else { after };
        bytes.push(decoded.unwrap_or(if byte == b'+' { b' ' } else { byte }));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> [String; 6] {
        let Target { group, version, resource, namespace, name, subresource } = Target::of(path);
        [group, version, resource, namespace, name, subresource]
    }

    #[test]
    fn a_path_names_resource_namespace_name_and_subresource() {
        for (path, expected) in [
            ("/api/v1/nodes", ["", "v1", "nodes", "", "", ""]),
            ("/api/v1/namespaces", ["", "v1", "namespaces", "", "", ""]),
            ("/api/v1/namespaces/a", ["", "v1", "namespaces", "", "a", ""]),
            ("/api/v1/namespaces/a/status", ["", "v1", "namespaces", "", "a", "status"]),
            ("/api/v1/namespaces/a/pods", ["", "v1", "pods", "a", "", ""]),
            ("/api/v1/namespaces/a/pods/b/eviction", ["", "v1", "pods", "a", "b", "eviction"]),
            ("/apis/apps/v1/deployments", ["apps", "v1", "deployments", "", "", ""]),
            ("/apis/apps/v1/namespaces/a/deployments/b", ["apps", "v1", "deployments", "a", "b", ""]),
            (
                "/apis/rbac/v1/clusterroles/system%3Anode",
                ["rbac", "v1", "clusterroles", "", "system:node", ""],
            ),
            ("/version", [""; 6]),
        ] {
            assert_eq!(target(path), expected.map(str::to_owned), "{path}");
        }
    }

    #[test]
    fn a_query_is_decoded() {
        let query = parse_query("&labelSelector=a%3Db%2Cc&x=1+2&watch=true");
        assert_eq!(query["labelSelector"], "a=b,c");
        assert_eq!(query["x"], "1 2");
        assert_eq!(query["watch"], "true");
    }
}
