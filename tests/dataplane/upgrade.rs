//! An upgrade of Istio over workloads of every owner kind: each is restarted once in the way that its owner allows, or reported
//! with its block reason; nothing else is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use istio_manager::api::Istio;
use istio_manager::api::conditions::State;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::{ControlPlane, Requests, TestResult, eventually};

use crate::asked::injection_dry_runs;
use crate::bed::{Bed, Result, USER};
use crate::bundle::{Variant, derive};
use crate::mesh::{Mesh, entry};
use crate::owners::{Case, ExpectedOutcome, cases};
use crate::restart::counts;

const OLDER: &str = "1.30.3";
const CURRENT: &str = "1.31.0";
/// Far longer than the slowest chain of evictions takes, also on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(420);

/// Image and UID of each pod's proxy, by namespace and label `app`.
type Pods = BTreeMap<(String, String), BTreeMap<String, String>>;

pub async fn an_upgrade_reaches_every_workload_in_the_way_that_its_owner_allows(
    control_plane: &ControlPlane,
) -> TestResult {
    let cases = cases(&crate::held::closed_window());
    assert!(cases.len() >= 50, "{} workloads", cases.len());
    let mesh = Mesh(control_plane);
    let mut bed = install_older(control_plane).await?;
    mesh.make_cases(&cases, &crate::held::closed_window()).await?;
    let controllers = mesh.act_as_controllers();
    let test = async {
        wait_for_pods(&mesh, &cases).await?;
        mesh.act_as_owners().await?;
        wait_for_pods(&mesh, &cases).await?;
        let before = pods(&mesh).await?;
        assert!(proxies(&before, "shop", "plain-1").iter().all(|image| image.contains(OLDER)), "{before:#?}");
        let mark = control_plane.audit().mark().await?;
        bed.restart_with(&[]).await?;
        wait_until_converged(&bed, blocked_cases(&cases).count()).await?;
        let requests = control_plane.audit().since(&mark).await?.of(USER);
        assert_at_most_four_dry_runs_at_once(requests.clone());
        let requests = requests.writes();
        assert_every_case_ended_as_expected(&mesh, &cases, &before, &requests).await?;
        assert_restart_order(&requests);
        bed.stop().await
    };
    tokio::select! {
        done = test => done,
        ended = controllers => Err(format!("the controllers of the test ended: {ended:?}").into()),
    }
}

async fn install_older(control_plane: &ControlPlane) -> Result<Bed<'_>> {
    let charts = derive(control_plane.dir(), OLDER, Variant::Older)?;
    let arguments = [format!("--charts-dir={}", charts.display()), format!("--istio-version={OLDER}")];
    let bed = Bed::start_with(control_plane, &arguments.each_ref().map(String::as_str)).await?;
    // As many at once as there are, so that the test ends soon; the pace is another test's.
    let restarter = json!({"maxUnfinished": 60, "maxUnfinishedPerNamespace": 60});
    bed.create("default", json!({"restarter": restarter})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    Ok(bed)
}

fn blocked_cases(cases: &[Case]) -> impl Iterator<Item = &Case> {
    cases.iter().filter(|case| matches!(case.outcome, ExpectedOutcome::Blocked(_)))
}

async fn pods(mesh: &Mesh<'_>) -> Result<Pods> {
    let api: Api<Pod> = Api::all(mesh.0.client());
    let mut pods = Pods::new();
    for pod in api.list(&kube::api::ListParams::default()).await? {
        let Some(app) = pod.labels().get("app").cloned() else { continue };
        if pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let spec = pod.spec.clone().unwrap_or_default();
        let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let proxy = containers.find(|container| container.name == "istio-proxy");
        let image = proxy.and_then(|proxy| proxy.image.clone()).unwrap_or_default();
        let key = (pod.namespace().unwrap_or_default(), app);
        pods.entry(key).or_default().insert(pod.uid().unwrap_or_default(), image);
    }
    Ok(pods)
}

fn of<'a>(pods: &'a Pods, namespace: &str, name: &str) -> Option<&'a BTreeMap<String, String>> {
    pods.get(&(namespace.to_owned(), name.to_owned()))
}

fn uids(pods: &Pods, case: &Case) -> BTreeSet<String> {
    of(pods, case.namespace, case.name()).into_iter().flat_map(BTreeMap::keys).cloned().collect()
}

fn proxies<'a>(pods: &'a Pods, namespace: &str, name: &str) -> Vec<&'a String> {
    of(pods, namespace, name).into_iter().flat_map(BTreeMap::values).collect()
}

/// Waits until every workload has all its pods, running.
async fn wait_for_pods(mesh: &Mesh<'_>, cases: &[Case]) -> TestResult {
    for case in cases {
        let all = format!("{} running pods of {}/{}", case.pods, case.namespace, case.name());
        eventually(&all, DEADLINE, async || {
            let pods = mesh.pods(case.namespace, case.name()).await?;
            let running = pods.iter().filter(|pod| {
                let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
                phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
            });
            Ok((running.count() == case.pods && pods.len() == case.pods).then_some(()))
        })
        .await?;
        mesh.wait_until_ready(case.namespace, case.name()).await?;
    }
    Ok(())
}

async fn wait_until_converged(bed: &Bed<'_>, blocked: usize) -> TestResult {
    let is_converged = |resource: Option<&Istio>| {
        resource.is_some_and(|resource| {
            let (reason, _) = crate::restart::sidecars(resource);
            let counts = counts(resource);
            reason == "ProxySidecarManualRestartRequired"
                && counts["stale"] == blocked
                && counts["restarting"] == 0
        })
    };
    let what = format!("data plane with {blocked} leftovers");
    let found = bed.control_plane.wait_for(bed.resources(), "default", &what, DEADLINE, is_converged).await;
    found.map_err(|error| format!("{error}\noperator says:\n{}", bed.operator.log()))?;
    Ok(())
}

async fn assert_every_case_ended_as_expected(
    mesh: &Mesh<'_>,
    cases: &[Case],
    before: &Pods,
    requests: &Requests,
) -> TestResult {
    let after = pods(mesh).await?;
    let report = mesh.report(&[]).await?;
    let mut wrong = Vec::new();
    for case in cases {
        let entry = entry(&report, case.namespace, case.name()).cloned().unwrap_or_default();
        let expected = expected(case);
        let observed = ObservedCase {
            patches: patches(requests, case),
            evictions: evictions(requests, case),
            blocked_by: entry["blockedBy"]["reason"].as_str().unwrap_or_default().to_owned(),
            replaced: uids(before, case).is_disjoint(&uids(&after, case)),
            unchanged: uids(before, case) == uids(&after, case),
            current: proxies(&after, case.namespace, case.name()).iter().all(|image| image.contains(CURRENT)),
        };
        if observed != expected {
            wrong.push(format!(
                "{} {}/{}: {observed:?}, expected {expected:?}; {entry}",
                case.kind(),
                case.namespace,
                case.name()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let restarts = requests.iter().filter(|request| is_restart(&request.resource, &request.namespace));
    let expected: usize = cases.iter().map(self::expected).map(|e| e.patches + e.evictions).sum();
    assert_eq!(restarts.count(), expected, "something else was restarted: {requests:#?}");
    Ok(())
}

/// What is observed of one workload.
#[derive(Debug, PartialEq)]
struct ObservedCase {
    patches: usize,
    evictions: usize,
    blocked_by: String,
    replaced: bool,
    unchanged: bool,
    current: bool,
}

fn expected(case: &Case) -> ObservedCase {
    let restarted = |patches, evictions| ObservedCase {
        patches,
        evictions,
        blocked_by: String::new(),
        replaced: true,
        unchanged: false,
        current: true,
    };
    match case.outcome {
        ExpectedOutcome::RollsOut | ExpectedOutcome::RestartsAt => restarted(1, 0),
        ExpectedOutcome::Evicted => restarted(0, case.pods),
        ExpectedOutcome::Blocked(_) | ExpectedOutcome::UpToDate => ObservedCase {
            patches: 0,
            evictions: 0,
            blocked_by: if let ExpectedOutcome::Blocked(why) = case.outcome {
                why.to_owned()
            } else {
                String::new()
            },
            replaced: false,
            unchanged: true,
            current: false,
        },
    }
}

fn is_restart(resource: &str, namespace: &str) -> bool {
    const KINDS: [&str; 6] = [
        "deployments.apps",
        "statefulsets.apps",
        "daemonsets.apps",
        "rollouts.argoproj.io",
        "replicasets.apps",
        "pods/eviction",
    ];
    namespace != "istio-system" && KINDS.contains(&resource)
}

fn patches(requests: &Requests, case: &Case) -> usize {
    let resource = |kind: &str| format!("{}s", kind.to_lowercase());
    let patch = |request: &&testbed::Request| {
        request.verb == "patch"
            && request.namespace == case.namespace
            && request.name == case.name()
            && request.resource.starts_with(&resource(case.kind()))
    };
    requests.iter().filter(patch).count()
}

fn evictions(requests: &Requests, case: &Case) -> usize {
    let own = |pod: &str| {
        let rest = pod.strip_prefix(case.name()).and_then(|rest| rest.strip_prefix('-'));
        rest.is_some_and(|rest| !rest.contains('-'))
    };
    let eviction = |request: &&testbed::Request| {
        request.resource == "pods/eviction" && request.namespace == case.namespace && own(&request.name)
    };
    requests.iter().filter(eviction).count()
}

/// What injection gives is asked for a few workloads at once, as the API server saw it.
fn assert_at_most_four_dry_runs_at_once(requests: Requests) {
    let dry_runs = injection_dry_runs(requests);
    assert!(dry_runs.len() >= 40, "{} proofs", dry_runs.len());
    let most = dry_runs.most_at_once();
    assert!((2..=4).contains(&most), "{most} dry runs at once");
}

/// Workloads of Kyma first, those with a state after those without, gateways at the very end.
fn assert_restart_order(requests: &Requests) {
    // Several are written at once.
    const AT_ONCE: usize = 4;
    let patched: Vec<&str> = requests
        .iter()
        .filter(|request| request.verb == "patch" && is_restart(&request.resource, &request.namespace))
        .map(|request| request.name.as_str())
        .collect();
    for kyma in ["kyma", "module"] {
        let position = patched.iter().position(|name| *name == kyma);
        assert!(position.is_some_and(|position| position < 2 * AT_ONCE), "{patched:?}");
    }
    assert_eq!(patched.last(), Some(&"gateway"), "{patched:?}");
}
