//! The workloads behind one page of pods, read with as few requests as possible and dropped with the page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::Client;

use crate::dataplane::model::Workload;
use crate::dataplane::requests::{self, LARGE_OBJECT_BYTES, Pages};
use crate::dataplane::workload::WorkloadKind;
use crate::dataplane::workload::owner::{OwnerRef, owner_identity};
use crate::kubernetes::object::ObjectId;

/// From this many workloads of one kind in one namespace on, they are listed.
const MIN_LISTED: usize = 3;
/// One page is listed for this many workloads: what else is in the namespace is up to its tenant.
const WANTED_PER_PAGE: usize = 4;
/// Bytes of listed workloads that are kept; further ones are read one by one.
const MAX_BYTES: usize = 4 << 20;

/// Workloads by identity.
#[derive(Debug, Default)]
pub struct Workloads {
    listed: BTreeMap<ObjectId, Arc<Workload>>,
    bytes: usize,
}

impl Workloads {
    /// Lists the workloads of these owners, if a namespace has several of one kind.
    ///
    /// A failed list is ignored: what it lacks is read one by one, and that error names the object.
    pub(crate) async fn read(client: &Client, owner_refs: impl Iterator<Item = &OwnerRef>) -> Self {
        let mut groups: BTreeMap<(String, WorkloadKind), BTreeSet<ObjectId>> = BTreeMap::new();
        for owner_ref in owner_refs {
            let (kind, id) = owner_identity(owner_ref);
            if kind.is_listed() {
                let namespace = id.namespace.clone().unwrap_or_default();
                groups.entry((namespace, kind)).or_default().insert(id.clone());
            }
        }
        let mut workloads = Self::default();
        for ((namespace, _), wanted) in groups.into_iter().filter(|(_, ids)| ids.len() >= MIN_LISTED) {
            workloads.list(client, &namespace, &wanted).await;
        }
        workloads
    }

    async fn list(&mut self, client: &Client, namespace: &str, wanted: &BTreeSet<ObjectId>) {
        let Some(first) = wanted.first() else { return };
        let mut pages = Pages::new(client, &first.api_resource(), Some(namespace));
        let mut missing = wanted.clone();
        for _ in 0..wanted.len().div_ceil(WANTED_PER_PAGE) {
            let more = pages
                .next(|workload: Workload, bytes| {
                    let id = ObjectId { name: workload.metadata.name.clone(), ..first.clone() };
                    if missing.remove(&id) && bytes <= LARGE_OBJECT_BYTES && self.bytes + bytes <= MAX_BYTES {
                        self.bytes += bytes;
                        self.listed.insert(id, Arc::new(workload));
                    }
                })
                .await;
            if missing.is_empty() || !matches!(more, Ok(true)) {
                return;
            }
        }
    }

    /// The workload, read now if it was not listed; `None` if it does not exist.
    pub(crate) async fn get(
        &self,
        client: &Client,
        id: &ObjectId,
    ) -> Result<Option<Arc<Workload>>, kube::Error> {
        match self.listed.get(id) {
            Some(workload) => Ok(Some(workload.clone())),
            None => Ok(requests::get(client, id).await?.map(Arc::new)),
        }
    }
}
