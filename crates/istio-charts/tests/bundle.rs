//! What a bundle hands out, embedded or from a folder.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like the tests")]

use istio_charts::{Bundle, BundleError};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// The folder that `make charts` fills.
fn exported() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.charts")
}

fn names(bundle: &Bundle) -> BTreeSet<String> {
    bundle
        .crds()
        .map(|crd| crd.unwrap().pointer("/metadata/name").and_then(Value::as_str).unwrap().to_owned())
        .collect()
}

#[test]
fn the_embedded_bundle_has_the_definitions_of_istios_kinds() {
    let names = names(&Bundle::embedded());
    assert_eq!(names.len(), 15);
    assert!(
        names.contains("virtualservices.networking.istio.io")
            && names.contains("telemetries.telemetry.istio.io")
    );
}

#[test]
fn a_bundle_from_a_folder_is_the_same_as_the_embedded_one() {
    let embedded = Bundle::embedded();
    let opened = Bundle::open(&exported(), embedded.version()).unwrap();
    for profile in ["default", "empty", "ambient"] {
        assert_eq!(opened.profile(profile).unwrap(), embedded.profile(profile).unwrap());
    }
    assert!(opened.crds().map(Result::unwrap).eq(embedded.crds().map(Result::unwrap)));
}

#[test]
fn a_missing_version_is_an_error_that_names_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let message = |version: &str| Bundle::open(folder.path(), version).unwrap_err().to_string();
    assert!(
        message("1.31.1").ends_with("'1.31.1/charts/base/Chart.yaml' is missing; versions found: none"),
        "{}",
        message("1.31.1")
    );
    for version in ["1.30.3", "1.31.0"] {
        fs::create_dir_all(folder.path().join(version).join("charts")).unwrap();
    }
    assert!(message("1.31.1").ends_with("versions found: 1.30.3, 1.31.0"), "{}", message("1.31.1"));
    assert!(message("../1.31.0").contains("is missing"));
}

#[test]
fn an_unknown_profile_or_chart_is_an_error_that_names_it() {
    let bundle = Bundle::embedded();
    assert!(matches!(bundle.profile("nope"), Err(BundleError::NoProfile { name, .. }) if name == "nope"));
    assert!(matches!(bundle.chart("nope"), Err(BundleError::NoChart { name, .. }) if name == "nope"));
}
