//! What is rendered is accepted by the real Istio: its mesh configuration, and its injection templates with their values.

// Helpers of tests, which clippy does not take for tests.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

mod matrix_cases;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use istio_manager::kubernetes::object::ObjectId;
use serde_json::{Value, json};

use matrix_cases::{Case, pairwise, product, whole};

/// The packages of istiod, as a process that answers one request after the other; see `tools/istio/oracle`.
struct Istio {
    process: Child,
    answers: BufReader<ChildStdout>,
}

impl Istio {
    fn start() -> Self {
        let mut command = Command::new(program());
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap_or_else(|error| {
                panic!("{}: {error}; build it with tools/build.sh istiod", program().display())
            });
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { process, answers }
    }

    /// The containers that a plain pod has after injection, or why Istio takes the configuration not.
    fn containers(&mut self, mesh: &str, injector: &Value) -> Result<Vec<String>, String> {
        let request = json!({"mesh": mesh, "injection": injector["config"], "values": injector["values"]});
        writeln!(self.process.stdin.as_mut().unwrap(), "{request}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(serde_json::from_value(answer["containers"].clone()).unwrap()),
        }
    }
}

impl Drop for Istio {
    fn drop(&mut self) {
        // It ends when there are no more questions.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin/istio-oracle")
}

fn data(planned: &[(ObjectId, Value)], config_map: &str) -> Value {
    let is_it = |id: &ObjectId| id.kind == "ConfigMap" && id.name == config_map;
    planned.iter().find(|(id, _)| is_it(id)).unwrap().1["data"].clone()
}

#[test]
fn istiod_accepts_mesh_and_injection_of_every_kind_of_installation() {
    let mut checker = AcceptanceChecker::start();
    for case in pairwise() {
        checker.assert_accepted(&case, &case.planned().unwrap());
    }
    assert!(checker.checked.len() > 1);
}

/// Some minutes on two cores. Each case is rendered once, for all that is asked of it.
#[test]
#[ignore = "14 000 renderings; part of the full tests"]
fn istiod_accepts_the_installation_of_every_setting_combination() {
    let cases = product();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for part in cases.chunks(cases.len().div_ceil(threads)) {
            scope.spawn(move || {
                let mut checker = AcceptanceChecker::start();
                for case in part {
                    let planned = case.planned().unwrap_or_else(|error| panic!("{case:?}: {error}"));
                    whole::check(case, &planned);
                    checker.assert_accepted(case, &planned);
                }
            });
        }
    });
}

/// Asks Istio about each mesh configuration with its injection once: many cases differ in what neither depends on.
struct AcceptanceChecker {
    istio: Istio,
    checked: BTreeSet<u64>,
}

impl AcceptanceChecker {
    fn start() -> Self {
        Self { istio: Istio::start(), checked: BTreeSet::new() }
    }

    fn assert_accepted(&mut self, case: &Case, planned: &[(ObjectId, Value)]) {
        let (mesh, injector) = (data(planned, "istio"), data(planned, "istio-sidecar-injector"));
        let mut hasher = DefaultHasher::new();
        (mesh.to_string(), injector.to_string(), case.disables_cni()).hash(&mut hasher);
        if !self.checked.insert(hasher.finish()) {
            return;
        }
        let containers = self.istio.containers(mesh["mesh"].as_str().unwrap(), &injector);
        let containers = containers.unwrap_or_else(|error| panic!("{case:?}: {error}"));
        let setup = if case.disables_cni() { "istio-init" } else { "istio-validation" };
        assert_eq!(containers, [setup, "istio-proxy", "app"], "{case:?}");
    }
}

#[test]
fn istiod_does_not_accept_just_anything() {
    let mut istio = Istio::start();
    let planned = Case::plain().planned().unwrap();
    let injector = data(&planned, "istio-sidecar-injector");
    for (mesh, words) in [
        ("fieldOfTomorrow: 1", "fieldOfTomorrow"),
        ("trustDomain: a..b", "trust domain"),
        ("defaultConfig: {proxyMetadata: {A: true}}", "cannot unmarshal bool"),
    ] {
        let error = istio.containers(mesh, &injector).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    let mut broken = injector;
    broken["config"] = json!("templates: {sidecar: '{{ .NoSuchThing }}'}\ndefaultTemplates: [sidecar]");
    assert!(istio.containers("{}", &broken).is_err());
}

/// `UPDATE=1 cargo test --test accepted` writes the lists again.
#[test]
fn the_names_of_a_mesh_configuration_are_those_of_istio() {
    assert_is_current("mesh-names", "mesh_names.txt");
}

#[test]
fn the_oneofs_of_a_mesh_configuration_are_those_of_istio() {
    assert_is_current("mesh-oneofs", "mesh_oneofs.txt");
}

/// Compares what the oracle prints for `argument` with the committed `file`.
fn assert_is_current(argument: &str, file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/configuration").join(file);
    let output = Command::new(program()).arg(argument).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &output.stdout).unwrap();
    }
    let committed = std::fs::read(&path).unwrap();
    assert!(committed == output.stdout, "{} is not what Istio has, run: UPDATE=1 cargo test", path.display());
}
