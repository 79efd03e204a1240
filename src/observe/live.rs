//! The live state of what the inventory lists, as far as metadata tells it.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt, TryStreamExt};
use kube::api::{DynamicObject, ListParams, ObjectMeta};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use thiserror::Error;

use crate::apply::inventory::Inventory;
use crate::apply::pause::PAUSE_ANNOTATION;
use crate::apply::server_side::our_entry;
use crate::kubernetes::is_not_found;
use crate::object::ObjectId;
use crate::plan::MODULE_SELECTOR;

/// Objects of one page; keeps the memory for a list bounded.
const PAGE: u32 = 100;
const LISTS_AT_ONCE: usize = 4;

/// The objects of one kind could not be listed.
#[derive(Debug, Error)]
#[error("cannot list objects of kind {kind}")]
pub struct Error {
    /// The kind.
    pub kind: String,
    /// What the API server said.
    pub source: Box<kube::Error>,
}

/// One live object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its UID.
    pub uid: Option<String>,
    /// Digest of our entry in its managed fields.
    pub entry: Option<String>,
    /// The annotation that asks to leave it alone, as written.
    pub pause: Option<String>,
}

impl Seen {
    /// What matters of an object's metadata.
    #[must_use]
    pub fn of(kind: &str, metadata: &ObjectMeta) -> Self {
        let pause = metadata.annotations.as_ref().and_then(|all| all.get(PAUSE_ANNOTATION)).cloned();
        Self { uid: metadata.uid.clone(), entry: our_entry(kind, metadata), pause }
    }
}

/// The live objects of the kinds in the inventory that carry the module's label, by identity.
pub type Live = BTreeMap<ObjectId, Seen>;

/// Lists the metadata of the inventory's kinds, one list a kind.
///
/// Nothing is asked about an empty inventory: all objects are to be written anyway.
pub async fn live(client: &Client, inventory: &Inventory) -> Result<Live, Error> {
    let kinds: BTreeSet<(String, String, String)> =
        inventory.iter().map(|(id, _)| (id.group.clone(), id.version.clone(), id.kind.clone())).collect();
    stream::iter(kinds)
        .map(|(group, version, kind)| list(client.clone(), GroupVersionKind::gvk(&group, &version, &kind)))
        .buffer_unordered(LISTS_AT_ONCE)
        .try_fold(Live::new(), |mut all, listed| async move {
            all.extend(listed);
            Ok(all)
        })
        .await
}

async fn list(client: Client, gvk: GroupVersionKind) -> Result<Live, Error> {
    let api: Api<DynamicObject> = Api::all_with(client, &ApiResource::from_gvk(&gvk));
    let mut params = ListParams::default().labels(MODULE_SELECTOR).limit(PAGE);
    let mut live = Live::new();
    loop {
        let page = match api.list_metadata(&params).await {
            Ok(page) => page,
            // The kind itself is gone, and with it all of its objects.
            Err(error) if is_not_found(&error) => return Ok(live),
            Err(source) => return Err(Error { kind: gvk.kind, source: Box::new(source) }),
        };
        for object in page.items {
            let metadata = object.metadata;
            let seen = Seen::of(&gvk.kind, &metadata);
            let id = ObjectId {
                group: gvk.group.clone(),
                version: gvk.version.clone(),
                kind: gvk.kind.clone(),
                namespace: metadata.namespace,
                name: metadata.name.unwrap_or_default(),
            };
            live.insert(id, seen);
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(live),
        }
    }
}
