//! Which images an installation needs, as `istio-manager images` tells it to whoever fills a registry.

// Helpers of tests, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

mod matrix_cases;

use std::collections::BTreeSet;

use assert_cmd::Command;
use istio_manager::kubernetes::object::ObjectId;

use matrix_cases::Case;

const RESOURCE: &str =
    "{apiVersion: operator.kyma-project.io/v1alpha2, kind: Istio, metadata: {name: default}, spec: SPEC}";
const OWN: [(&str, &str); 4] = [
    ("pilot", "registry.example.com:5000/mesh/pilot:1.31.0-distroless@sha256:aa"),
    ("install-cni", "registry.example.com:5000/mesh/install-cni:1.31.0-distroless@sha256:bb"),
    ("proxyv2", "registry.example.com:5000/mesh/proxyv2:1.31.0-distroless@sha256:cc"),
    ("ztunnel", "registry.example.com:5000/mesh/ztunnel:1.31.0-distroless@sha256:dd"),
];

/// Whether it succeeded, the printed images and the errors for a spec in an environment.
fn images(spec: &str, cluster: &str, environment: &[(&str, &str)]) -> (bool, Vec<String>, String) {
    let folder = tempfile::tempdir().unwrap();
    let (resource, objects) = (folder.path().join("istio.yaml"), folder.path().join("cluster.yaml"));
    std::fs::write(&resource, RESOURCE.replace("SPEC", spec)).unwrap();
    std::fs::write(&objects, cluster).unwrap();
    let output = Command::new(assert_cmd::cargo::cargo_bin!("istio-manager"))
        .env_clear()
        .envs(environment.iter().copied())
        .args(["images", "--allow-experimental", "-f"])
        .arg(resource)
        .arg("--cluster")
        .arg(objects)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let lines = text(output.stdout).lines().map(str::to_owned).collect();
    (output.status.success(), lines, text(output.stderr))
}

fn listed(spec: &str, cluster: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let (success, lines, errors) = images(spec, cluster, environment);
    assert!(success, "{errors}");
    lines
}

const AMBIENT: &str = "{experimental: {enableAmbient: true}}";
const WITHOUT_CNI: &str = "{kind: ConfigMap, metadata: {name: istio-features, namespace: kyma-system}, \
                           data: {features: '{\"disableCni\": true}'}}";

#[test]
fn default_images_are_istios_own() {
    let official = |names: &[&str]| -> Vec<String> {
        names.iter().map(|name| format!("docker.io/istio/{name}:1.31.0-distroless")).collect()
    };
    assert_eq!(listed("{}", "", &[]), official(&["install-cni", "pilot", "proxyv2"]));
    assert_eq!(listed(AMBIENT, "", &[]), official(&["install-cni", "pilot", "proxyv2", "ztunnel"]));
    assert_eq!(listed("{}", WITHOUT_CNI, &[]), official(&["pilot", "proxyv2"]));
}

#[test]
fn a_registry_port_and_digests_are_kept_verbatim() {
    let mut expected: Vec<_> = OWN.iter().map(|(_, image)| (*image).to_owned()).collect();
    expected.sort();
    assert_eq!(listed(AMBIENT, "", &OWN), expected);
}

#[test]
fn fips_mode_has_images_of_its_own() {
    let fips = [
        ("KYMA_FIPS_MODE_ENABLED", "true"),
        ("pilot", "ignored"),
        ("pilot-fips", "r.example.com/pilot-fips:1.31.0-1"),
        ("install-cni-fips", "r.example.com/install-cni-fips:1.31.0-1"),
        ("proxyv2-fips", "r.example.com/proxy-fips:1.31.0-1"),
    ];
    let expected =
        ["install-cni-fips", "pilot-fips", "proxy-fips"].map(|name| format!("r.example.com/{name}:1.31.0-1"));
    assert_eq!(listed("{}", "", &fips), expected);
    let (success, _, errors) = images(AMBIENT, "", &fips);
    assert!(!success && errors.contains("ztunnel-fips"), "{errors}");
    let ztunnel = "r.example.com/ztunnel-fips:1.31.0-1";
    let ambient: Vec<_> = fips.into_iter().chain([("ztunnel-fips", ztunnel)]).collect();
    assert!(listed(AMBIENT, "", &ambient).contains(&ztunnel.to_owned()));
}

#[test]
fn the_agentgateway_is_listed_if_istiod_is_configured_to_run_it() {
    let with =
        |value: &str| format!("{{values: {{pilot: {{env: {{PILOT_ENABLE_AGENTGATEWAY: '{value}'}}}}}}}}");
    let image = "registry.example.com:5000/mesh/agentgateway:1.31.0-distroless".to_owned();
    assert!(listed(&with("true"), "", &OWN).contains(&image));
    for without in ["{}", AMBIENT, &with("false")] {
        assert!(!listed(without, "", &OWN).iter().any(|image| image.contains("agentgateway")), "{without}");
    }
}

/// Where the templates, from which istiod makes containers, take an image from. What is listed rests on these.
const SOURCES: [&str; 8] = [
    "{{ .ProxyImage }}",
    "{{ .ProxyInitImage }}",
    "{{ .AgentgatewayImage }}",
    "{{ annotation .ObjectMeta `sidecar.istio.io/proxyImage` .Values.global.proxy.image }}",
    "{{ annotation .ObjectMeta `sidecar.istio.io/proxyImage` .Values.global.proxy_init.image }}",
    "{{ annotation .ObjectMeta `gateway.istio.io/agentgatewayImage` .Values.global.agentgateway.image }}",
    // A pod asks for gateway injection by it.
    "auto",
    // Of an example that a pod may ask for by annotation; nothing in the resource makes istiod use it.
    "busybox:1.28",
];

#[test]
fn no_template_of_istiod_takes_an_image_from_somewhere_else() {
    let planned = Case::plain().with("ambient", 1).planned().unwrap();
    let is_injector = |id: &ObjectId| id.kind == "ConfigMap" && id.name == "istio-sidecar-injector";
    let (_, injector) = planned.iter().find(|(id, _)| is_injector(id)).unwrap();
    let templates = injector["data"]["config"].as_str().unwrap();
    let images = templates.lines().filter_map(|line| {
        let line = line.trim_start().trim_start_matches("- ");
        Some(line.strip_prefix("image:")?.trim().trim_matches('"'))
    });
    let images: BTreeSet<&str> = images.collect();
    let unknown: Vec<_> = images.iter().filter(|image| !SOURCES.contains(image)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(images.len() >= 6, "{images:?}");
}

#[test]
fn images_of_another_version_are_refused_by_name() {
    let other: Vec<_> = OWN.iter().map(|(name, image)| (*name, image.replace("1.31.0", "1.30.2"))).collect();
    let other: Vec<_> = other.iter().map(|(name, image)| (*name, image.as_str())).collect();
    let (success, _, errors) = images("{}", "", &other);
    assert!(!success && errors.contains("1.30.2-distroless, which is not Istio 1.31.0"), "{errors}");
}
