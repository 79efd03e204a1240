//! Files and clusters as a person gets them wrong: each is answered with what is wrong and where.

// Helpers of tests, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

mod program;

use self::program::{KUBECONFIG, istio_manager};

const HEAD: &str = "apiVersion: operator.kyma-project.io/v1alpha2\nkind: Istio\nmetadata: {name: NAME}\n";

fn istio(name: &str, spec: &str) -> String {
    format!("{}spec: {spec}\n", HEAD.replace("NAME", name))
}

/// Exit code, standard output and standard error of a command line that reads `input`.
fn run_with_input(line: &str, input: &str) -> (i32, String, String) {
    program::run(istio_manager(line).write_stdin(input))
}

#[test]
fn problems_of_the_spec_and_of_its_values_are_reported_together() {
    let spec = "{config: {trustDomain: under_score}, restarter: {maxUnfinished: 0}, values: {pilot: {autoscaleMni: 2}}}";
    let (code, _, stderr) = run_with_input("render -f -", &istio("default", spec));
    assert_eq!(code, 1);
    for field in ["spec.config.trustDomain", "spec.restarter.maxUnfinished", "spec.values.pilot.autoscaleMni"]
    {
        assert!(stderr.contains(field), "{field} is missing in: {stderr}");
    }
}

#[test]
fn an_unknown_restart_reason_is_refused_with_a_suggestion() {
    let spec = "{restarter: {restartAlsoFor: [TrustDomian]}}";
    let (code, _, stderr) = run_with_input("render -f -", &istio("default", spec));
    assert_eq!(code, 1);
    assert!(stderr.contains("did you mean TrustDomain?"), "{stderr}");
}

#[test]
fn input_without_exactly_one_resource_is_described_in_the_error() {
    let config_map = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}".to_owned();
    let older =
        "{apiVersion: operator.kyma-project.io/v1alpha1, kind: Istio, metadata: {name: a}}".to_owned();
    let two = istio("one", "{}") + "---\n" + &istio("two", "{}");
    for (input, because) in [
        (
            String::new(),
            "no resource of kind Istio (operator.kyma-project.io/v1alpha2) in standard input: found no Kubernetes object",
        ),
        (config_map, "found ConfigMap (v1)"),
        (older, "found Istio (operator.kyma-project.io/v1alpha1)"),
        ("a: [b".to_owned(), "standard input is not valid YAML"),
        ("just words".to_owned(), "found no Kubernetes object"),
        (two, "several resources of kind Istio in standard input: one, two. Keep one of them"),
    ] {
        for (command, failure) in [("render", 1), ("images", 1), ("diff", 2)] {
            let (code, stdout, stderr) = run_with_input(&format!("{command} -f -"), &input);
            assert_eq!((code, stdout.as_str()), (failure, ""), "{command}: {stderr}");
            assert!(stderr.contains(because), "{command}: {stderr}");
        }
    }
}

#[test]
fn every_field_of_the_wrong_type_is_reported() {
    let spec =
        "{config: {numTrustedProxies: '3', gatewayExternalTrafficPolicy: Foo}, compatibilityMode: 'yes'}";
    let (code, stdout, stderr) = run_with_input("render -f -", &istio("default", spec));
    assert_eq!((code, stdout.as_str()), (1, ""));
    for because in [
        "spec.config.numTrustedProxies: \"3\" is not of type integer",
        "spec.config.gatewayExternalTrafficPolicy: \"Foo\" is not one of",
        "spec.compatibilityMode: \"yes\" is not of type boolean",
    ] {
        assert!(stderr.contains(because), "{stderr}");
    }
}

#[test]
fn an_unknown_field_is_a_warning_with_a_suggestion() {
    let (code, stdout, stderr) =
        run_with_input("images -f -", &istio("default", "{config: {numTrustedProxy: 3}}"));
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("docker.io/istio/pilot:"), "{stdout}");
    assert!(
        stderr.starts_with("warning: spec.config.numTrustedProxy: the Istio resource has no such field, did you mean numTrustedProxies?"),
        "{stderr}"
    );
    let (_, _, stderr) = run_with_input("images -f -", &istio("default", "{config: {numTrustedProxies: 3}}"));
    assert_eq!(stderr, "");
}

#[test]
fn an_unreachable_cluster_is_named_in_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("config");
    std::fs::write(&kubeconfig, KUBECONFIG).unwrap();
    for (command, failure) in [("diff -f -", 2), ("check", 2), ("check -o json", 2), ("restarts", 1)] {
        let line = format!("{command} --kubeconfig {}", kubeconfig.display());
        let (code, stdout, stderr) = run_with_input(&line, &istio("default", "{}"));
        assert_eq!((code, stdout.as_str()), (failure, ""), "{command}: {stderr}");
        assert!(stderr.contains("cannot reach the API server at http://127.0.0.1:1/"), "{command}: {stderr}");
        assert!(stderr.contains("refused"), "{command}: {stderr}");
    }
}

#[test]
fn a_closed_output_pipe_is_no_error() {
    use std::process::{Command, Stdio};
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("istio.yaml");
    std::fs::write(&file, istio("default", "{}")).unwrap();
    for command in ["render", "images"] {
        let mut child = Command::new(assert_cmd::cargo::cargo_bin!("istio-manager"))
            .env_clear()
            .args([command, "-f"])
            .arg(&file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{command}");
    }
}
