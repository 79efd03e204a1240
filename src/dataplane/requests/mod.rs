//! The requests of the data plane, for the slim objects that it reads. This module must not decide anything.
//!
//! Tenants write the objects, so that no response is held as a whole: lists are read object by object, events and single
//! objects up to a bound.

mod body;
mod items;
mod lines;

use futures::stream::Stream;
use kube::Client;
use kube::api::{DynamicObject, GetParams, ListParams, Patch, PatchParams, PostParams, WatchParams};
use kube::core::{ApiResource, Request, WatchEvent};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::body::{LARGE_OBJECT_BYTES, MAX_OBJECT_BYTES, is_too_large};
use super::model::{ListEnvelope, ListMeta, collection_path};
use crate::api::names::OWN_FIELD_MANAGER;
use crate::kubernetes::object::{ObjectId, resource};
pub use crate::kubernetes::retry::is_transient;

/// Objects of one page, unless they are large.
pub const MAX_PAGE_ITEMS: u32 = 125;
/// Bytes that a page should have at most, so that it arrives within the timeout of a read.
const MAX_PAGE_BYTES: usize = 8 << 20;
/// Attempts at a page that does not arrive in time, each with fewer objects.
const MAX_ATTEMPTS: u32 = 3;

/// Reads one object; `None` if it does not exist.
pub async fn get<T: DeserializeOwned>(client: &Client, id: &ObjectId) -> Result<Option<T>, kube::Error> {
    let request = Request::new(collection_path(&id.api_resource(), id.namespace.as_deref()))
        .get(&id.name, &GetParams::default())
        .map_err(kube::Error::BuildRequest)?;
    not_found_as_none(body::read_object(client, request).await)
}

/// Reads the metadata of one object; `None` if it does not exist.
pub async fn metadata<T: DeserializeOwned>(client: &Client, id: &ObjectId) -> Result<Option<T>, kube::Error> {
    let request = Request::new(collection_path(&id.api_resource(), id.namespace.as_deref()))
        .get_metadata(&id.name, &GetParams::default())
        .map_err(kube::Error::BuildRequest)?;
    not_found_as_none(body::read_object(client, request).await)
}

/// What a page has of each object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PageContent {
    Objects,
    Metadata,
}

/// A list that is read page by page. Pages of large objects have fewer of them.
pub struct Pages<'c> {
    client: &'c Client,
    path: String,
    params: ListParams,
    content: PageContent,
    limit: PageLimit,
    /// Resource version from which a watch continues, once a page was read.
    pub resource_version: String,
    /// Objects that were too large or could not be parsed.
    pub skipped: usize,
}

impl<'c> Pages<'c> {
    /// The objects of a kind, in one namespace or in all.
    #[must_use]
    pub fn new(client: &'c Client, resource: &ApiResource, namespace: Option<&str>) -> Self {
        Self {
            client,
            path: collection_path(resource, namespace),
            params: ListParams::default(),
            content: PageContent::Objects,
            limit: PageLimit(MAX_PAGE_ITEMS),
            resource_version: String::new(),
            skipped: 0,
        }
    }

    /// The same list with a label selector.
    #[must_use]
    pub fn labels(self, selector: &str) -> Self {
        Self { params: self.params.labels(selector), ..self }
    }

    /// The same list with metadata only.
    #[must_use]
    pub fn metadata(self) -> Self {
        Self { content: PageContent::Metadata, ..self }
    }

    /// Reads the next page: `each` gets every object as it arrives, with its size in bytes. Returns whether another page follows.
    ///
    /// After an error the same page is read again, so that `each` may get an object twice.
    pub async fn next<T: DeserializeOwned>(
        &mut self,
        mut each: impl FnMut(T, usize),
    ) -> Result<bool, kube::Error> {
        let mut attempts = 1;
        let read = loop {
            let mut read = body::ListProgress::default();
            match body::read_list(self.client, self.request()?, &mut read, &mut each).await {
                Ok(()) => break read,
                // It started to arrive and did not complete in time; fewer objects may.
                Err(error) if read.bytes > 0 && attempts < MAX_ATTEMPTS && is_transient(&error) => {
                    self.limit.record_failure();
                    attempts += 1;
                }
                Err(error) => return Err(error),
            }
        };
        self.limit.record_page(read.objects, read.bytes);
        self.skipped += read.skipped;
        let ListEnvelope { metadata } =
            serde_json::from_slice(&read.envelope).map_err(kube::Error::SerdeError)?;
        let ListMeta { continue_token, resource_version } = metadata;
        self.resource_version = resource_version;
        self.params.continue_token = Some(continue_token).filter(|token| !token.is_empty());
        Ok(self.params.continue_token.is_some())
    }

    /// Restarts with the first page.
    pub fn reset(&mut self) {
        self.params.continue_token = None;
    }

    fn request(&self) -> Result<http::Request<Vec<u8>>, kube::Error> {
        let params = self.params.clone().limit(self.limit.0);
        let request = Request::new(&self.path);
        let request = match self.content {
            PageContent::Objects => request.list(&params),
            PageContent::Metadata => request.list_metadata(&params),
        };
        request.map_err(kube::Error::BuildRequest)
    }
}

/// The number of objects of the next page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PageLimit(u32);

impl PageLimit {
    /// Adapts to the size of the last page.
    fn record_page(&mut self, objects: usize, bytes: usize) {
        let fitting = (MAX_PAGE_BYTES / (bytes / objects.max(1)).max(1)).max(1);
        // Large objects are neighbors, because they have the same author; the limit grows again step by step.
        self.0 = u32::try_from(fitting)
            .unwrap_or(MAX_PAGE_ITEMS)
            .min(self.0.saturating_mul(2))
            .min(MAX_PAGE_ITEMS);
    }

    /// Adapts to a page that did not arrive.
    fn record_failure(&mut self) {
        self.0 = (self.0 / 4).max(1);
    }
}

/// Reads a list that is known to be short.
pub async fn list_small<T: DeserializeOwned>(
    client: &Client,
    resource: &ApiResource,
    namespace: Option<&str>,
    params: &ListParams,
) -> Result<Vec<T>, kube::Error> {
    let request =
        Request::new(collection_path(resource, namespace)).list(params).map_err(kube::Error::BuildRequest)?;
    let mut objects = Vec::new();
    body::read_list(client, request, &mut body::ListProgress::default(), |object, _| objects.push(object))
        .await?;
    Ok(objects)
}

/// Watches the objects of a kind, of one namespace or of all, from a resource version on.
///
/// An event that is too large is an error for which [`is_too_large`] holds, and the watch continues; any other error ends it.
pub async fn watch<T: DeserializeOwned + Clone + 'static>(
    client: &Client,
    resource: &ApiResource,
    namespace: Option<&str>,
    params: &WatchParams,
    version: &str,
) -> Result<impl Stream<Item = Result<WatchEvent<T>, kube::Error>> + use<T>, kube::Error> {
    body::watch_events(client, watch_request(resource, namespace, params, version)?).await
}

fn watch_request(
    resource: &ApiResource,
    namespace: Option<&str>,
    params: &WatchParams,
    version: &str,
) -> Result<http::Request<Vec<u8>>, kube::Error> {
    let mut request = Request::new(collection_path(resource, namespace))
        .watch(params, version)
        .map_err(kube::Error::BuildRequest)?;
    // As kube does: newer API servers compress each event separately, which clients do not support.
    request.headers_mut().insert(http::header::ACCEPT_ENCODING, http::HeaderValue::from_static("identity"));
    Ok(request)
}

/// Changes an object with a merge patch and returns its new metadata.
pub async fn merge_patch<T: DeserializeOwned>(
    client: &Client,
    id: &ObjectId,
    patch: &Value,
) -> Result<T, kube::Error> {
    let params = PatchParams { field_manager: Some(OWN_FIELD_MANAGER.into()), ..PatchParams::default() };
    let request = Request::new(collection_path(&id.api_resource(), id.namespace.as_deref()))
        .patch_metadata(&id.name, &params, &Patch::Merge(patch))
        .map_err(kube::Error::BuildRequest)?;
    body::read_object(client, request).await
}

/// Creates an object, or returns in a dry run what would be created.
pub async fn create<T: DeserializeOwned>(
    client: &Client,
    url: &str,
    object: &impl Serialize,
    dry_run: bool,
) -> Result<T, kube::Error> {
    let params = PostParams { dry_run, field_manager: Some(OWN_FIELD_MANAGER.into()) };
    let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    let request = Request::new(url).create(&params, body).map_err(kube::Error::BuildRequest)?;
    body::read_object(client, request).await
}

/// Reads a subresource as JSON; `None` if it does not exist.
pub async fn subresource(
    client: &Client,
    url: &str,
    name: &str,
    subresource: &str,
) -> Result<Option<Value>, kube::Error> {
    let request = Request::new(url).get_subresource(subresource, name).map_err(kube::Error::BuildRequest)?;
    not_found_as_none(body::read_object(client, request).await)
}

fn not_found_as_none<T>(answer: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The path of the pods of a namespace.
#[must_use]
pub fn pods_path(namespace: &str) -> String {
    use kube::Resource;
    DynamicObject::url_path(&resource("", "v1", "Pod"), Some(namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_large_objects_have_few_of_them_and_grow_again() {
        let mut limit = PageLimit(MAX_PAGE_ITEMS);
        for (objects, bytes, expected) in [
            (125, 125 * 15_000, 125),
            (125, 125 * 900_000, 9),
            (9, 9 * 2_000_000, 4),
            (4, 4 * 9_000_000, 1),
            (1, 1_000, 2),
            (2, 2_000, 4),
            (4, 4_000, 8),
            (0, 300, 16),
        ] {
            limit.record_page(objects, bytes);
            assert_eq!(limit, PageLimit(expected), "{objects} objects of {bytes} bytes");
        }
        limit.record_failure();
        assert_eq!(limit, PageLimit(4));
    }
}
