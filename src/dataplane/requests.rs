//! The few requests of the data plane, for the slim objects that it reads. No decisions.

use futures::io::AsyncReadExt;
use futures::stream::Stream;
use kube::Client;
use kube::api::{DynamicObject, GetParams, ListParams, Patch, PatchParams, PostParams, WatchParams};
use kube::core::{ApiResource, Request, WatchEvent};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::objects::{Page, path};
use crate::api::names::OWN_FIELD_MANAGER;
use crate::kubernetes::{Coalesce, write_denied};
use crate::object::{ObjectId, resource};

/// Objects of one page: large enough that requests do not count, small enough that memory does not.
pub const PAGE: u32 = 125;

/// Reads one object; `None` if it is not there.
pub async fn get<T: DeserializeOwned>(client: &Client, id: &ObjectId) -> Result<Option<T>, kube::Error> {
    let request = Request::new(path(&id.api_resource(), id.namespace.as_deref()))
        .get(&id.name, &GetParams::default())
        .map_err(kube::Error::BuildRequest)?;
    found(answer(client, request).await)
}

/// Reads one page of a list.
pub async fn page<T: DeserializeOwned>(
    client: &Client,
    resource: &ApiResource,
    namespace: Option<&str>,
    params: &ListParams,
) -> Result<Page<T>, kube::Error> {
    let request = Request::new(path(resource, namespace)).list(params).map_err(kube::Error::BuildRequest)?;
    answer(client, request).await
}

/// Reads one page of metadata only.
pub async fn metadata_page<T: DeserializeOwned>(
    client: &Client,
    resource: &ApiResource,
    params: &ListParams,
) -> Result<Page<T>, kube::Error> {
    let request =
        Request::new(path(resource, None)).list_metadata(params).map_err(kube::Error::BuildRequest)?;
    answer(client, request).await
}

/// Follows the objects of a kind, of one namespace or of all, from a version on.
pub async fn watch<T: DeserializeOwned + Clone + 'static>(
    client: &Client,
    resource: &ApiResource,
    namespace: Option<&str>,
    params: &WatchParams,
    version: &str,
) -> Result<impl Stream<Item = Result<WatchEvent<T>, kube::Error>> + use<T>, kube::Error> {
    client.request_events(watching(resource, namespace, params, version)?).await
}

/// As [`watch`], of all namespaces, for a kind with a great deal to tell of which nothing is urgent.
pub async fn watch_coalesced<T: DeserializeOwned + Clone + 'static>(
    client: &Client,
    resource: &ApiResource,
    version: &str,
) -> Result<impl Stream<Item = Result<WatchEvent<T>, kube::Error>> + use<T>, kube::Error> {
    let mut request = watching(resource, None, &WatchParams::default(), version)?;
    request.extensions_mut().insert(Coalesce);
    client.request_events(request).await
}

fn watching(
    resource: &ApiResource,
    namespace: Option<&str>,
    params: &WatchParams,
    version: &str,
) -> Result<http::Request<Vec<u8>>, kube::Error> {
    Request::new(path(resource, namespace)).watch(params, version).map_err(kube::Error::BuildRequest)
}

/// Changes an object by a merge patch and returns its new metadata.
pub async fn merge<T: DeserializeOwned>(
    client: &Client,
    id: &ObjectId,
    patch: &Value,
) -> Result<T, kube::Error> {
    let params = PatchParams { field_manager: Some(OWN_FIELD_MANAGER.into()), ..PatchParams::default() };
    let request = Request::new(path(&id.api_resource(), id.namespace.as_deref()))
        .patch_metadata(&id.name, &params, &Patch::Merge(patch))
        .map_err(kube::Error::BuildRequest)?;
    answer(client, request).await
}

/// Makes an object, or asks what it would become.
pub async fn create<T: DeserializeOwned>(
    client: &Client,
    url: &str,
    object: &impl Serialize,
    dry_run: bool,
) -> Result<T, kube::Error> {
    let params = PostParams { dry_run, field_manager: Some(OWN_FIELD_MANAGER.into()) };
    let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    let request = Request::new(url).create(&params, body).map_err(kube::Error::BuildRequest)?;
    answer(client, request).await
}

/// Reads a subresource as JSON; `None` if there is none.
pub async fn subresource(
    client: &Client,
    url: &str,
    name: &str,
    subresource: &str,
) -> Result<Option<Value>, kube::Error> {
    let request = Request::new(url).get_subresource(subresource, name).map_err(kube::Error::BuildRequest)?;
    found(answer(client, request).await)
}

/// Reads an answer in one piece. Pages of pods are the largest of all answers, and kube's own way copies them twice.
async fn answer<T: DeserializeOwned>(
    client: &Client,
    request: http::Request<Vec<u8>>,
) -> Result<T, kube::Error> {
    let mut body = std::pin::pin!(client.request_stream(request).await?);
    let mut text = Vec::new();
    body.read_to_end(&mut text).await.map_err(kube::Error::ReadEvents)?;
    serde_json::from_slice(&text).map_err(kube::Error::SerdeError)
}

fn found<T>(answer: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the same request may succeed in a moment.
#[must_use]
pub fn is_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 500 | 502..=504),
        kube::Error::Service(_) => write_denied(error).is_none(),
        kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

/// The path of the pods of a namespace.
#[must_use]
pub fn pods(namespace: &str) -> String {
    use kube::Resource;
    DynamicObject::url_path(&resource("", "v1", "Pod"), Some(namespace))
}
