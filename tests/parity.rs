//! The objects that `istio-manager render` prints are those of the Go operator's own configuration.
//!
//! Judged by the comparison that comes with the parity cases, where these are at hand; `renderings.rs` compares with
//! snapshots of our own in any case.

mod matrix_cases;
mod parity_cases;
mod rendered;

use std::error::Error;
use std::process::Command;

const CASES: [&str; 17] = [
    "01-default-production",
    "02-default-evaluation",
    "03-gateway-topology",
    "04-authorizers",
    "05-components",
    "06-egress-evaluation",
    "07-telemetry-dns-stats",
    "08-aws-nlb",
    "09-aws-elb",
    "10-gke",
    "11-k3d",
    "12-openstack-garden",
    "13-compatibility",
    "14-features",
    "15-ambient",
    "16-cni-settings",
    "17-dual-stack",
];
/// Cases of the Go operator's experimental flavour.
const EXPERIMENTAL: [&str; 2] = ["15-ambient", "17-dual-stack"];

#[test]
fn every_case_renders_to_the_expected_objects() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    for case in parity_cases::cases(&CASES)?.unwrap_or_default() {
        let rendered = folder.path().join("rendered.yaml");
        let is_experimental = EXPERIMENTAL.iter().any(|name| case.ends_with(name));
        std::fs::write(&rendered, rendered::render(&case, is_experimental)?)?;
        let compare = case.join("../compare.py");
        let output = Command::new("python3").arg(compare).arg(&case).arg(&rendered).arg("-v").output()?;
        assert!(output.status.success(), "{}\n{}", case.display(), String::from_utf8_lossy(&output.stdout));
    }
    Ok(())
}

#[test]
fn objects_are_printed_in_the_order_of_their_writing() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    matrix_cases::Case::plain().write(folder.path())?;
    let text = rendered::render(folder.path(), false)?;
    let kinds: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
    let first = |kind: &str| kinds.iter().position(|found| *found == kind).ok_or(kind.to_owned());
    let order = [
        "Namespace",
        "CustomResourceDefinition",
        "ServiceAccount",
        "ClusterRole",
        "ConfigMap",
        "Service",
        "Deployment",
        "MutatingWebhookConfiguration",
        "DaemonSet",
        "PeerAuthentication",
    ];
    let places: Vec<usize> = order.iter().map(|kind| first(kind)).collect::<Result<_, _>>()?;
    assert!(places.is_sorted(), "{order:?} {places:?}");
    Ok(())
}
