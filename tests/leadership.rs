//! Several replicas of the operator on one API server: one leads, the others stand by without writing, and leadership
//! moves on when the leader stops, dies, hangs or loses its Lease.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testbed::{Cluster, ControlPlane, FaultProxy, Process, ProcessSpec, TestResult, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const NAMESPACE: &str = "kyma-system";
const LEASE: &str = "76223278.kyma-project.io";

/// Far longer than anything here takes, also on a loaded machine; far shorter than [`NEVER_EXPIRES`].
const DEADLINE: Duration = Duration::from_secs(60);
/// With it only a release lets another take over.
const NEVER_EXPIRES: &[&str] = &["--leader-elect-lease-duration=3600s", "--leader-elect-retry-period=200ms"];
const EXPIRES_SOON: &[&str] = &[
    "--leader-elect-lease-duration=3s",
    "--leader-elect-renew-deadline=2s",
    "--leader-elect-retry-period=300ms",
];

fn main() -> ExitCode {
    testbed::run_tests(&testbed::tests![
        a_standby_is_live_and_ready_and_does_not_write,
        a_leader_that_is_stopped_hands_over_at_once,
        a_killed_leader_is_replaced_when_its_lease_expires,
        a_leader_that_hung_does_not_write_when_it_wakes_up,
        a_leader_that_was_cut_off_is_replaced_and_stops_writing,
        a_killed_leader_is_replaced_in_twenty_seconds_by_default,
        a_stopped_leader_is_replaced_in_two_seconds_by_default,
        // Last, since it leaves the Lease to somebody who is not there.
        a_leader_whose_lease_was_taken_exits_with_an_error,
    ])
}

async fn a_standby_is_live_and_ready_and_does_not_write(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::new(control_plane).await?;
    let leader = bed.replica("a", NEVER_EXPIRES).await?;
    leader.wait_until_leading().await?;
    let standby = bed.replica("b", NEVER_EXPIRES).await?;
    standby.wait_for_log("waiting for the leader lease").await?;
    assert_eq!(standby.get(standby.probes, "/healthz").await?, (200, "ok\n".to_owned()));
    assert_eq!(standby.get(standby.probes, "/readyz").await?, (200, "ok\n".to_owned()));
    bed.wait_for_renewals(3).await?;
    assert!(!standby.is_leading().await?);
    assert_eq!(bed.writes_of("b").await?, Vec::<String>::new());
    let writes = bed.writes_of("a").await?;
    assert!(writes.iter().all(|write| write.ends_with(LEASE) || write.ends_with("/leases")), "{writes:?}");
    for mut replica in [standby, leader] {
        assert_eq!(replica.process.terminate(DEADLINE).await?.code(), Some(0));
    }
    Ok(())
}

async fn a_leader_that_is_stopped_hands_over_at_once(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::new(control_plane).await?;
    let mut leader = bed.replica("c", NEVER_EXPIRES).await?;
    leader.wait_until_leading().await?;
    let mut standby = bed.replica("d", NEVER_EXPIRES).await?;
    standby.wait_for_log("waiting for the leader lease").await?;
    let transitions = bed.transitions().await?;
    assert_eq!(leader.process.terminate(Duration::from_secs(5)).await?.code(), Some(0));
    standby.wait_until_leading().await?;
    assert_eq!(bed.transitions().await?, transitions + 1);
    assert_eq!(standby.process.terminate(Duration::from_secs(5)).await?.code(), Some(0));
    assert_eq!(bed.holder().await?, None, "a clean stop leaves the Lease without a holder");
    Ok(())
}

async fn a_killed_leader_is_replaced_when_its_lease_expires(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::new(control_plane).await?;
    let mut leader = bed.replica("e", EXPIRES_SOON).await?;
    leader.wait_until_leading().await?;
    let killed = bed.holder().await?;
    let mut standby = bed.replica("f", EXPIRES_SOON).await?;
    standby.wait_for_log("waiting for the leader lease").await?;
    leader.process.kill().await?;
    let mark = control_plane.audit().mark().await?;
    assert_eq!(bed.holder().await?, killed, "nobody takes over before the lease is over");
    standby.wait_until_leading().await?;
    assert_ne!(bed.holder().await?, killed);
    // By the time that the API server received them: what it received before may be logged later.
    let late = control_plane.audit().since(&mark).await?.of(&user("e")).writes();
    assert!(late.is_empty(), "writes of the one that was killed: {late:?}");
    assert_eq!(standby.process.terminate(Duration::from_secs(5)).await?.code(), Some(0));
    Ok(())
}

async fn a_leader_that_hung_does_not_write_when_it_wakes_up(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::new(control_plane).await?;
    let mut hung = bed.replica("g", EXPIRES_SOON).await?;
    hung.wait_until_leading().await?;
    let mut standby = bed.replica("h", EXPIRES_SOON).await?;
    standby.wait_for_log("waiting for the leader lease").await?;
    hung.process.pause()?;
    standby.wait_until_leading().await?;
    let holder = bed.holder().await?;
    hung.process.resume()?;
    assert_eq!(hung.process.wait(DEADLINE).await?.code(), Some(1));
    assert!(hung.process.log().contains("error: lost the leader lease"), "{}", hung.process.log());
    assert_eq!(bed.holder().await?, holder, "the one that hung must not take the Lease back");
    assert_eq!(standby.process.terminate(Duration::from_secs(5)).await?.code(), Some(0));
    Ok(())
}

async fn a_leader_whose_lease_was_taken_exits_with_an_error(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::new(control_plane).await?;
    let mut leader = bed.replica("i", NEVER_EXPIRES).await?;
    leader.wait_until_leading().await?;
    let new_holder = json!({"spec": {"holderIdentity": "istio-controller-manager-5d4f_0c1b"}});
    bed.leases.patch(LEASE, &PatchParams::default(), &Patch::Merge(new_holder)).await?;
    assert_eq!(leader.process.wait(DEADLINE).await?.code(), Some(1));
    let log = leader.process.log();
    assert!(log.contains("was acquired by istio-controller-manager-5d4f_0c1b"), "{log}");
    assert_eq!(bed.holder().await?.as_deref(), Some("istio-controller-manager-5d4f_0c1b"));
    Ok(())
}

async fn a_leader_that_was_cut_off_is_replaced_and_stops_writing(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::new(control_plane).await?;
    let proxy = FaultProxy::start(&control_plane.kubeconfig(), 1).await?;
    let through = proxy.kubeconfig(&bed.kubeconfig("k").await?)?;
    let mut cut_off = bed.start("k", &through, EXPIRES_SOON)?;
    cut_off.wait_until_leading().await?;
    let mut standby = bed.replica("l", EXPIRES_SOON).await?;
    standby.wait_for_log("waiting for the leader lease").await?;
    proxy.cut(true);
    standby.wait_until_leading().await?;
    let holder = bed.holder().await?;
    let written = bed.writes_of("k").await?;
    proxy.cut(false);
    assert_eq!(cut_off.process.wait(DEADLINE).await?.code(), Some(1));
    assert_eq!(bed.writes_of("k").await?, written);
    assert_eq!(bed.holder().await?, holder, "the one that was cut off must not take the Lease back");
    assert_eq!(standby.process.terminate(Duration::from_secs(5)).await?.code(), Some(0));
    Ok(())
}

/// The bound is what users are promised, so it is the deadline of the wait.
async fn a_killed_leader_is_replaced_in_twenty_seconds_by_default(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::new(control_plane).await?;
    let mut leader = bed.replica("m", &[]).await?;
    leader.wait_until_leading().await?;
    let mut standby = bed.replica("n", &[]).await?;
    standby.wait_for_log("waiting for the leader lease").await?;
    leader.process.kill().await?;
    standby.wait_until_leading_within(Duration::from_secs(20)).await?;
    assert_eq!(standby.process.terminate(Duration::from_secs(5)).await?.code(), Some(0));
    Ok(())
}

async fn a_stopped_leader_is_replaced_in_two_seconds_by_default(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::new(control_plane).await?;
    let mut leader = bed.replica("o", &[]).await?;
    leader.wait_until_leading().await?;
    let mut standby = bed.replica("p", &[]).await?;
    standby.wait_for_log("waiting for the leader lease").await?;
    assert_eq!(leader.process.terminate(Duration::from_secs(5)).await?.code(), Some(0));
    standby.wait_until_leading_within(Duration::from_secs(2)).await?;
    assert_eq!(standby.process.terminate(Duration::from_secs(5)).await?.code(), Some(0));
    Ok(())
}

/// The cluster with the operator's namespace, where a replica may do nothing but take part in the election.
struct Bed<'a> {
    cluster: &'a Cluster,
    leases: Api<Lease>,
}

/// One process of the operator, under a ServiceAccount of its own so that the audit log tells the replicas apart.
struct Replica {
    process: Process,
    probes: u16,
    metrics: u16,
}

impl<'a> Bed<'a> {
    async fn new(cluster: &'a Cluster) -> Result<Self> {
        let client = cluster.client();
        cluster.create_namespace(NAMESPACE, &[]).await?;
        let verbs = ["get", "list", "watch", "create", "update"];
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "leader-election"},
            "rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs}],
        });
        let everyone = format!("system:serviceaccounts:{NAMESPACE}");
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "leader-election"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "leader-election"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": everyone}],
        });
        let params = PatchParams::apply("test");
        let roles: Api<Role> = Api::namespaced(client.clone(), NAMESPACE);
        roles.patch("leader-election", &params, &Patch::Apply(role)).await?;
        let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), NAMESPACE);
        bindings.patch("leader-election", &params, &Patch::Apply(binding)).await?;
        Ok(Self { cluster, leases: Api::namespaced(client, NAMESPACE) })
    }

    async fn replica(&self, name: &str, timing: &[&str]) -> Result<Replica> {
        self.start(name, &self.kubeconfig(name).await?, timing)
    }

    fn start(&self, name: &str, kubeconfig: &Path, timing: &[&str]) -> Result<Replica> {
        let (probes, metrics) = (free_port()?, free_port()?);
        let process = ProcessSpec::new(format!("operator-{name}"), env!("CARGO_BIN_EXE_istio-manager"))
            .args([format!("--kubeconfig={}", kubeconfig.display()), "--leader-elect".to_owned()])
            .args([format!("--health-probe-bind-address=127.0.0.1:{probes}")])
            .args([format!("--metrics-bind-address=127.0.0.1:{metrics}")])
            .args(timing.iter().copied())
            .only_given_env()
            .start(self.cluster.dir())?;
        Ok(Replica { process, probes, metrics })
    }

    /// The administrator's kubeconfig with the token of a new ServiceAccount instead of the administrator's.
    async fn kubeconfig(&self, name: &str) -> Result<PathBuf> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.cluster.client(), NAMESPACE);
        let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        accounts.create(&PostParams::default(), &account).await?;
        let request = TokenRequest { spec: Some(TokenRequestSpec::default()), ..TokenRequest::default() };
        let answer = accounts.create_token_request(name, &PostParams::default(), &request).await?;
        let token = answer.status.ok_or("the API server gave no token")?.token;
        let mut kubeconfig: Value = serde_json::from_slice(&std::fs::read(self.cluster.kubeconfig())?)?;
        kubeconfig["users"][0]["user"] = json!({ "token": token });
        let path = self.cluster.dir().join(format!("{name}.kubeconfig"));
        std::fs::write(&path, kubeconfig.to_string())?;
        Ok(path)
    }

    async fn holder(&self) -> Result<Option<String>> {
        let spec = self.leases.get(LEASE).await?.spec.unwrap_or_default();
        Ok(spec.holder_identity.filter(|holder| !holder.is_empty()))
    }

    async fn transitions(&self) -> Result<i32> {
        Ok(self.leases.get(LEASE).await?.spec.and_then(|spec| spec.lease_transitions).unwrap_or(0))
    }

    /// Waits until the Lease was renewed this often.
    async fn wait_for_renewals(&self, count: usize) -> Result {
        let mut last = self.leases.get(LEASE).await?.metadata.resource_version;
        for _ in 0..count {
            last = eventually("renewal of the Lease", DEADLINE, async || {
                let now = self.leases.get(LEASE).await?.metadata.resource_version;
                Ok((now != last).then_some(now))
            })
            .await?;
        }
        Ok(())
    }

    /// The writes of a replica so far, as the API server logged them: verb and path.
    #[allow(clippy::unused_async)] // Read like the other questions to the cluster.
    async fn writes_of(&self, name: &str) -> Result<Vec<String>> {
        let user = user(name);
        let log = std::fs::read_to_string(self.cluster.dir().join("audit.log"))?;
        let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let theirs = events.filter(|event| event["user"]["username"] == user.as_str());
        let reads = ["get", "list", "watch"];
        let writes = theirs.filter(|event| !reads.iter().any(|read| event["verb"] == *read));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let path =
            |event: &Value| text(&event["requestURI"]).split('?').next().unwrap_or_default().to_owned();
        Ok(writes.map(|event| format!("{} {}", text(&event["verb"]), path(&event))).collect())
    }
}

/// Who a replica is for the API server.
fn user(name: &str) -> String {
    format!("system:serviceaccount:{NAMESPACE}:{name}")
}

impl Replica {
    /// Waits until this replica says of itself that it leads.
    async fn wait_until_leading(&self) -> Result {
        self.wait_for_log("acquired the leader lease").await?;
        assert!(self.is_leading().await?);
        Ok(())
    }

    /// Waits until this replica leads after another, and prints how long that took.
    async fn wait_until_leading_within(&self, deadline: Duration) -> Result {
        let started = Instant::now();
        self.process.wait_for_log("acquired the leader lease", deadline).await?;
        println!("followed after {:.1} s", started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Waits until the log has `text`.
    async fn wait_for_log(&self, text: &str) -> Result {
        Ok(self.process.wait_for_log(text, DEADLINE).await?)
    }

    async fn is_leading(&self) -> Result<bool> {
        let (_, metrics) = self.get(self.metrics, "/metrics").await?;
        Ok(metrics.contains(&format!("leader_election_master_status{{name=\"{LEASE}\"}} 1")))
    }

    /// The status code and the body of one HTTP answer.
    async fn get(&self, port: u16, path: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
        let code = head.split(' ').nth(1).ok_or("no status code")?.parse()?;
        Ok((code, body.to_owned()))
    }
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
