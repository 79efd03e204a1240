//! The charts that `build.rs` packed into this program, unpacked piece by piece.
//!
//! Keeps nothing unpacked: the caller owns the data.

use crate::bundle::BundleError;
use flate2::read::ZlibDecoder;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;

// `VERSION`, and packed JSON: `CHARTS` and `PROFILES` as maps of file name to text, `CRDS` as one object each.
include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The files of a chart by path.
pub(crate) fn chart(name: &str) -> Result<Option<BTreeMap<String, Vec<u8>>>, BundleError> {
    let Some((_, packed)) = CHARTS.iter().find(|(chart, _)| *chart == name) else { return Ok(None) };
    let files: BTreeMap<String, String> = unpack(packed, || format!("chart '{name}'"))?;
    Ok(Some(files.into_iter().map(|(path, text)| (path, text.into_bytes())).collect()))
}

/// The text of an installation profile.
pub(crate) fn profile(name: &str) -> Result<Option<String>, BundleError> {
    let mut profiles: BTreeMap<String, String> = unpack(PROFILES, || "the profiles".to_owned())?;
    Ok(profiles.remove(&format!("{name}.yaml")))
}

/// One of [`CRDS`].
pub(crate) fn definition(packed: &[u8]) -> Result<Value, BundleError> {
    unpack(packed, || "a CustomResourceDefinition".to_owned())
}

fn unpack<T: DeserializeOwned>(packed: &[u8], what: impl Fn() -> String) -> Result<T, BundleError> {
    let mut json = Vec::new();
    io::copy(&mut ZlibDecoder::new(packed), &mut json)
        .map_err(|source| BundleError::Unpack { what: what(), source })?;
    serde_json::from_slice(&json)
        .map_err(|source| BundleError::Unpack { what: what(), source: source.into() })
}
