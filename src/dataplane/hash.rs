//! Identities of what is compared by its hash only. Pure.

use sha2::{Digest, Sha256};

/// A short hash of several texts, each apart from the others.
#[must_use]
pub fn hash(texts: &[&str]) -> String {
    let mut sha = Sha256::new();
    for text in texts {
        sha.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
        sha.update(text.as_bytes());
    }
    sha.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
