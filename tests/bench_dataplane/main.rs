//! Measures what it takes to bring 300 Deployments up to date. Not a test: `make bench-dataplane` runs it.
//!
//! Requests are counted by the API server's audit log, CPU time and memory are the kernel's word, with the release binary.

#[path = "../operator/chart.rs"]
mod chart;
#[path = "../bench/operator.rs"]
#[allow(dead_code, reason = "each program measures other things")]
mod operator;
#[path = "../bench/run.rs"]
mod run;
#[path = "../bench/table.rs"]
mod table;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt, TryStreamExt};
use istio_manager::api::Istio;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testbed::{ControlPlane, Options, namespace};

use self::operator::{NAMESPACE, Operator, release_binary};
use self::table::{Row, Table};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const NAMESPACES: usize = 10;
const PER_NAMESPACE: usize = 30;
const DEADLINE: Duration = Duration::from_secs(900);

fn main() -> ExitCode {
    run::run(measure)
}

fn measure() -> Result {
    namespace::enter()?;
    let binary = release_binary()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let table = runtime.block_on(on_control_plane(&binary))?;
    table.print();
    table.write("benchmarks-dataplane.md")
}

async fn on_control_plane(binary: &Path) -> Result<Table> {
    let control_plane = ControlPlane::start(&Options::default()).await?;
    chart::install(&control_plane).await?;
    let operator = Operator::start(&control_plane, binary, &[]).await?;
    // 600 proxies ask for more memory than the nodes of the test bed have.
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(control_plane.client());
    nodes.create(&PostParams::default(), &testbed::node("large", "256", "1Ti")).await?;
    operator.install().await?;
    wait_until_converged(&control_plane, |_| true).await?;
    populate(&control_plane).await?;
    operator.stop().await?;
    // A fresh process, so that its peak is that of the restarts.
    let operator = Operator::start(&control_plane, binary, &[]).await?;
    wait_until_converged(&control_plane, |status| status["total"] == NAMESPACES * PER_NAMESPACE).await?;

    let (mark, cpu) = (control_plane.audit().mark().await?, operator.cpu()?);
    let started = Instant::now();
    make_outdated(&control_plane).await?;
    wait_until_converged(&control_plane, |status| {
        status["restarted"] == NAMESPACES * PER_NAMESPACE && status["stale"] == 0
    })
    .await?;
    let took = started.elapsed();
    let requests = operator.requests_since(&mark).await?;
    let cpu = operator.cpu()?.saturating_sub(cpu);
    let peak = operator.memory()?.peak();
    println!("{requests}");
    operator.stop().await?;
    let plain = kubectl_restart(&control_plane).await?;

    let mut table = Table::default();
    let deployments = NAMESPACES * PER_NAMESPACE;
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    let per_deployment = requests.len() as f64 / deployments as f64;
    let row = |what, reference, bar, measured: String| Row::new(what, reference, bar, measured);
    table.push(row(
        "300 Deployments (600 pods): requests per Deployment",
        "7.0",
        "3.3",
        format!("{per_deployment:.2}"),
    ));
    table.push(row("CPU time for those restarts", "5.1 s", "0.5 s", format!("{:.2} s", cpu.as_secs_f64())));
    table.push(row("peak memory there (VmHWM)", "170 MiB", "25 MiB", peak));
    table.push(row("time until all are restarted, paced", "-", "-", format!("{:.0} s", took.as_secs_f64())));
    table.push(row(
        "the same by kubectl rollout restart, all at once",
        "-",
        "-",
        format!("{:.0} s", plain.as_secs_f64()),
    ));
    Ok(table)
}

async fn make_outdated(control_plane: &ControlPlane) -> Result {
    let api: Api<Istio> = Api::namespaced(control_plane.client(), NAMESPACE);
    let spec = json!({"spec": {"config": {"proxyStatsMatcher": {"inclusionRegexps": [".*bench.*"]}}}});
    api.patch("default", &PatchParams::default(), &Patch::Merge(spec)).await?;
    Ok(())
}

/// Waits until the sidecars are up to date and the status says what is asked for.
async fn wait_until_converged(control_plane: &ControlPlane, condition: impl Fn(&Value) -> bool) -> Result {
    let api: Api<Istio> = Api::namespaced(control_plane.client(), NAMESPACE);
    let is_converged = |resource: Option<&Istio>| {
        let Some(status) = resource.and_then(|resource| resource.status.as_ref()) else { return false };
        let succeeded =
            status.conditions.iter().flatten().any(|c| c.reason == "ProxySidecarRestartSucceeded");
        let data_plane = serde_json::to_value(&status.data_plane).unwrap_or_default();
        succeeded && condition(&data_plane)
    };
    control_plane.wait_for(api, "default", "settled data plane", DEADLINE, is_converged).await?;
    Ok(())
}

async fn populate(control_plane: &ControlPlane) -> Result {
    for index in 0..NAMESPACES {
        let name = format!("bench-{index}");
        control_plane.create_namespace(&name, &[("istio-injection", "enabled")]).await?;
    }
    let all = (0..NAMESPACES).flat_map(|ns| (0..PER_NAMESPACE).map(move |index| (ns, index)));
    stream::iter(all)
        .map(|(ns, index)| async move {
            let api: Api<Deployment> = Api::namespaced(control_plane.client(), &format!("bench-{ns}"));
            let name = format!("web-{index}");
            let deployment = json!({
                "metadata": {"name": name},
                "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {"containers": [{"name": "web", "image": "example.com/web:1",
                        "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}}}]},
                }},
            });
            api.create(&PostParams::default(), &serde_json::from_value(deployment)?).await?;
            Result::Ok(())
        })
        .buffer_unordered(8)
        .try_collect::<Vec<()>>()
        .await?;
    wait_until_rolled_out(control_plane).await
}

/// Waits until every Deployment of the bench is rolled out.
async fn wait_until_rolled_out(control_plane: &ControlPlane) -> Result {
    let api: Api<Deployment> = Api::all(control_plane.client());
    let started = Instant::now();
    loop {
        let list = api.list(&ListParams::default()).await?;
        let of_bench =
            |d: &&Deployment| d.metadata.namespace.as_deref().is_some_and(|ns| ns.starts_with("bench-"));
        let is_complete = |d: &Deployment| {
            let status = d.status.clone().unwrap_or_default();
            status.observed_generation == d.metadata.generation
                && status.updated_replicas == Some(2)
                && status.replicas == Some(2)
                && status.available_replicas == Some(2)
        };
        if list.items.iter().filter(of_bench).all(is_complete) {
            return Ok(());
        }
        if started.elapsed() > DEADLINE {
            return Err("the Deployments do not get ready".into());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn kubectl_restart(control_plane: &ControlPlane) -> Result<Duration> {
    let kubectl = control_plane.tools().program("kubectl")?;
    let started = Instant::now();
    for index in 0..NAMESPACES {
        let arguments = [
            "rollout".to_owned(),
            "restart".to_owned(),
            "deployment".to_owned(),
            format!("--namespace=bench-{index}"),
            format!("--kubeconfig={}", control_plane.kubeconfig().display()),
        ];
        let output = testbed::run(&kubectl, arguments, &[]).await?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
    }
    wait_until_rolled_out(control_plane).await?;
    Ok(started.elapsed())
}
