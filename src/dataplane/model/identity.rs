//! Identities of things that are compared by a hash. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A short hash of several texts. The lengths of the texts are part of it, so that "a", "bc" differs from "ab", "c".
#[must_use]
pub fn hash(texts: &[&str]) -> String {
    let mut sha = Sha256::new();
    for text in texts {
        sha.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
        sha.update(text.as_bytes());
    }
    sha.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Characters of a mesh revision with which a restart target begins.
const TARGET_PREFIX_LENGTH: usize = 8;

/// Identity of everything on which injection depends: two revisions of the mesh differ if a pod may get another sidecar.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeshRevision(String);

/// Identity of what a workload is restarted for: the mesh, and what of the workload and its namespace injection depends on.
/// A workload is restarted at most once for each target.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RestartTarget(String);

/// The UID of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkloadUid(String);

impl MeshRevision {
    /// What of the revision is part of the targets for it.
    fn prefix(&self) -> &str {
        self.0.get(..TARGET_PREFIX_LENGTH).unwrap_or(&self.0)
    }
}

impl RestartTarget {
    /// The target of a workload in a mesh. `own` identifies what of the workload counts.
    #[must_use]
    pub fn new(mesh: &MeshRevision, own: &str) -> Self {
        Self(format!("{}.{own}", mesh.prefix()))
    }

    /// Whether this is the target of a workload in another mesh than `mesh`. Targets of Istio's own components belong to no
    /// mesh.
    #[must_use]
    pub fn is_for_other_mesh(&self, mesh: &MeshRevision) -> bool {
        self.0.split_once('.').is_some_and(|(prefix, _)| prefix != mesh.prefix())
    }
}

impl WorkloadUid {
    /// The UID that an unverified owner reference claims. It differs from every real UID.
    #[must_use]
    pub fn unverified(uid: &str) -> Self {
        Self(format!("?{uid}"))
    }
}

/// Conversions to and from the text in which an identity is stored and shown.
macro_rules! text_identity {
    ($($name:ident),*) => {$(
        impl $name {
            /// The identity as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

text_identity!(MeshRevision, RestartTarget, WorkloadUid);
