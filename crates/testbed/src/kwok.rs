//! What kwok is told about pods: how they get ready, how they fail on demand, and how istiod pods start.
//!
//! kwok's own stages stand for nodes, for the end of a Job's pod and for deletion. Its stage for ready pods cannot be told
//! to leave some alone, hence ours. No stage makes an istiod pod ready: that is the shim's.

use serde_json::{Value, json};

use crate::failures::{FAIL_LABEL, Failure};

/// The label that keeps a pod of a Job running; others end as soon as they run.
pub const KEEP_RUNNING_LABEL: &str = "testbed.dev/lasts";

/// The configuration file of kwok: its options and our stages, as YAML documents written in JSON.
pub(crate) fn configuration() -> String {
    let failing = Failure::ALL.into_iter().map(failing_stage);
    let documents = [
        options(),
        ready_stage(),
        istiod_stage(),
        recovered_stage(),
        ready_again_stage(),
        keep_running_stage(),
    ]
    .into_iter()
    .chain(failing);
    documents.map(|document| document.to_string()).collect::<Vec<_>>().join("\n---\n")
}

fn options() -> Value {
    // kwok refuses to start with the parallelism that its own command line defaults to, which is none.
    json!({
        "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
        "kind": "KwokConfiguration",
        "options": {
            "podPlayStageParallelism": 8,
            "nodePlayStageParallelism": 4,
            "nodeLeaseParallelism": 4,
        },
    })
}

fn stage(name: &str, mut expressions: Vec<Value>, status_template: &str) -> Value {
    expressions.push(json!({"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}));
    json!({
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
            "selector": {"matchExpressions": expressions},
            "next": {"statusTemplate": status_template},
        },
    })
}

fn is_in(key: &str, value: &str) -> Value {
    json!({"key": key, "operator": "In", "values": [value]})
}

fn is_not_in(key: &str, value: &str) -> Value {
    json!({"key": key, "operator": "NotIn", "values": [value]})
}

const PHASE: &str = ".status.phase";
const WAITING_REASON: &str = ".status.containerStatuses.[].state.waiting.reason";
const READY: &str = r#".status.conditions.[] | select( .type == "Ready" ) | .status"#;
const READY_REASON: &str = r#".status.conditions.[] | select( .type == "Ready" ) | .reason"#;
const APP: &str = r#".metadata.labels["app"]"#;

fn fail_key() -> String {
    format!(r#".metadata.labels["{FAIL_LABEL}"]"#)
}

fn not_failing() -> Value {
    json!({"key": fail_key(), "operator": "DoesNotExist"})
}

/// Any other pod is ready as soon as it is scheduled.
fn ready_stage() -> Value {
    let template = [ALL_READY, RUNNING_READY, INIT_DONE, ADDRESSES, "phase: Running\n"].concat();
    stage("pod-ready", vec![is_not_in(APP, "istiod"), is_in(PHASE, "Pending"), not_failing()], &template)
}

/// An istiod pod runs but is not ready.
fn istiod_stage() -> Value {
    let template = [NOT_READY, RUNNING_NOT_READY, ADDRESSES, "phase: Running\n"].concat();
    stage("istiod-started", vec![is_in(APP, "istiod"), is_in(PHASE, "Pending"), not_failing()], &template)
}

/// A pod that crashed goes back to where the usual stages pick it up, once it is no longer told to fail.
fn recovered_stage() -> Value {
    let selector = vec![not_failing(), is_in(PHASE, "Running"), is_in(WAITING_REASON, "CrashLoopBackOff")];
    stage("recovered", selector, "phase: Pending\n")
}

/// The same for a pod whose readiness probe was told to fail; an istiod pod is not ready for reasons of its own.
fn ready_again_stage() -> Value {
    let selector = vec![
        not_failing(),
        is_not_in(APP, "istiod"),
        is_in(PHASE, "Running"),
        is_in(READY_REASON, "ContainersNotReady"),
    ];
    stage("ready-again", selector, "phase: Pending\n")
}

/// Outweighs kwok's own stage for the end of a Job's pod, and is not due for a day.
fn keep_running_stage() -> Value {
    let label = json!({"key": format!(r#".metadata.labels["{KEEP_RUNNING_LABEL}"]"#), "operator": "Exists"});
    let mut stage = stage("lasting", vec![label, is_in(PHASE, "Running")], "phase: Running\n");
    stage["spec"]["weight"] = json!(1);
    stage["spec"]["delay"] = json!({"durationMilliseconds": 24 * 3600 * 1000});
    stage
}

fn failing_stage(failure: Failure) -> Value {
    let (containers, phase, already) = match failure {
        Failure::Hang => (HANGING, "Pending", is_not_in(WAITING_REASON, "ContainerCreating")),
        Failure::Crash => (CRASHING, "Running", is_not_in(WAITING_REASON, "CrashLoopBackOff")),
        Failure::Pull => (PULLING, "Pending", is_not_in(WAITING_REASON, "ImagePullBackOff")),
        Failure::Unready => (RUNNING_NOT_READY, "Running", is_not_in(READY, "False")),
    };
    let template = format!("{NOT_READY}{containers}{ADDRESSES}phase: {phase}\n");
    stage(
        &format!("fail-{}", failure.as_str()),
        vec![is_in(&fail_key(), failure.as_str()), already],
        &template,
    )
}

/// The kubelet's words for a pod with containers that are not ready.
const NOT_READY: &str = r#"
{{ $now := Now }}
{{ $root := . }}
{{ $names := "" }}
{{ range .spec.containers }}{{ $names = printf "%s %s" $names .name }}{{ end }}
{{ $message := printf "containers with unready status: [%s]" (trim $names) }}
conditions:
- {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: PodReadyToStartContainers, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: Ready, status: "False", reason: ContainersNotReady, message: {{ $message | Quote }}, lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "False", reason: ContainersNotReady, message: {{ $message | Quote }}, lastTransitionTime: {{ $now | Quote }}}
startTime: {{ $now | Quote }}
"#;

const ALL_READY: &str = r#"
{{ $now := Now }}
conditions:
{{ range $type := list "Initialized" "PodReadyToStartContainers" "Ready" "ContainersReady" }}
- {type: {{ $type }}, status: "True", reason: null, message: null, lastTransitionTime: {{ $now | Quote }}}
{{ end }}
{{ range .spec.readinessGates }}
- {type: {{ .conditionType | Quote }}, status: "True", lastTransitionTime: {{ $now | Quote }}}
{{ end }}
startTime: {{ $now | Quote }}
"#;

const RUNNING_READY: &str = r"
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: true
  started: true
  restartCount: 0
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ end }}
";

/// Init containers have ended, but those that are sidecars run on.
const INIT_DONE: &str = r#"
initContainerStatuses:
{{ range .spec.initContainers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: true
  restartCount: 0
{{ if eq .restartPolicy "Always" }}
  started: true
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ else }}
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}
{{ end }}
{{ end }}
"#;

const RUNNING_NOT_READY: &str = r"
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: false
  started: true
  restartCount: 0
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ end }}
";

const HANGING: &str = r"
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: false
  started: false
  restartCount: 0
  state: {waiting: {reason: ContainerCreating}}
{{ end }}
";

const CRASHING: &str = r#"
containerStatuses:
{{ range .spec.containers }}
{{ $message := printf "back-off 40s restarting failed container=%s pod=%s_%s(%s)" .name $root.metadata.name $root.metadata.namespace $root.metadata.uid }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: false
  started: false
  restartCount: 3
  state: {waiting: {reason: CrashLoopBackOff, message: {{ $message | Quote }}}}
  lastState: {terminated: {exitCode: 1, reason: Error, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}
{{ end }}
"#;

const PULLING: &str = r#"
containerStatuses:
{{ range .spec.containers }}
{{ $message := printf "Back-off pulling image %q: ErrImagePull: failed to pull and unpack image %q: not found" .image .image }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: false
  started: false
  restartCount: 0
  state: {waiting: {reason: ImagePullBackOff, message: {{ $message | Quote }}}}
{{ end }}
"#;

/// An address is given once; kwok would give another one each time.
const ADDRESSES: &str = r#"
{{ if not .status.podIP }}
{{ with NodeIPsWith .spec.nodeName }}
hostIP: {{ index . 0 | Quote }}
hostIPs:
{{ range . }}
- ip: {{ . | Quote }}
{{ end }}
{{ end }}
{{ with PodIPsWith .spec.nodeName ( or .spec.hostNetwork false ) ( or .metadata.uid "" ) ( or .metadata.name "" ) ( or .metadata.namespace "" ) }}
podIP: {{ index . 0 | Quote }}
podIPs:
{{ range . }}
- ip: {{ . | Quote }}
{{ end }}
{{ end }}
{{ end }}
"#;
