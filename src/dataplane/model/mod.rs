//! Pods, workloads and injected containers as the data plane reads them, and the identities by which it remembers them: the
//! few fields that matter. Everything else is skipped during deserialization.
//! This module must not make requests or decisions.

mod container;
mod identity;
mod injected;
mod objects;
mod raw_json;
mod resources;

pub use self::container::{EnvVar, InjectedContainer, VolumeMount};
pub use self::identity::{MeshRevision, RestartTarget, WorkloadUid, hash};
pub use self::injected::Injected;
pub(super) use self::objects::null_as_empty;
pub use self::objects::{
    ListEnvelope, ListMeta, Meta, ObjectCondition, Owner, Pod, PodStatus, PodTemplate, PodTemplateMeta,
    RawPodSpec, Workload, WorkloadSpec, WorkloadStatus, collection_path, string_map,
};
pub use self::raw_json::RawJson;
pub use self::resources::{ResourceList, ResourceRequirements};
