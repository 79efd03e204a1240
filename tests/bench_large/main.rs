//! Measures what a large mesh with nothing outdated costs the operator. Not a test: `make bench-large` runs it.
//!
//! One pod is injected by the real istiod; all others are copies of it, with their node and status. The programs that would
//! look after them, and take most of the machine, stand still meanwhile.

#[path = "../operator/chart.rs"]
mod chart;
mod mesh;
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

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use testbed::{ControlPlane, Options, namespace};

use self::mesh::{Mesh, PODS_PER_WORKLOAD};
use self::operator::{Memory, NAMESPACE, Operator, release_binary};
use self::table::{Row, Table};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Pods in the mesh, step by step; the variable `BENCH_LARGE` names others, such as `1000,10000`.
const STEPS: [usize; 3] = [1_000, 10_000, 50_000];
/// What a look may take on a machine that is busy with other things.
const DEADLINE: Duration = Duration::from_secs(1800);
/// What it logs after a look.
const SCAN_FINISHED: &str = "scanned the data plane";
/// What the operator remembers of its looks and restarts.
const RESTART_LEDGER: &str = "istio-manager-restarts";

fn main() -> ExitCode {
    run::run(measure)
}

fn measure() -> Result {
    namespace::enter()?;
    let binary = release_binary()?;
    let steps = steps()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let table = runtime.block_on(on_control_plane(&binary, &steps))?;
    table.print();
    // What was measured with other steps is no figure for the documentation.
    if steps == STEPS { table.write("benchmarks-large.md") } else { Ok(()) }
}

fn steps() -> Result<Vec<usize>> {
    let Ok(text) = std::env::var("BENCH_LARGE") else { return Ok(STEPS.to_vec()) };
    let steps = text.split(',').map(|step| step.trim().parse()).collect::<std::result::Result<Vec<_>, _>>();
    steps.map_err(|error| format!("BENCH_LARGE={text} is no list of numbers: {error}").into())
}

async fn on_control_plane(binary: &Path, steps: &[usize]) -> Result<Table> {
    let control_plane = ControlPlane::start(&Options::default()).await?;
    chart::install(&control_plane).await?;
    let operator = Operator::start(&control_plane, binary, &[]).await?;
    operator.install().await?;
    let ledger = wait_for_ledger(&control_plane).await?;
    operator.stop().await?;
    let mut mesh = Mesh::model(&control_plane, steps.iter().copied().max().unwrap_or(0)).await?;
    let others = scan(&control_plane, binary).await?.workloads;
    let mut table = Table::default();
    for pods in steps {
        let started = Instant::now();
        mesh.grow(*pods).await?;
        println!("{pods} pods were written in {:.0} s", started.elapsed().as_secs_f64());
        delete_ledger(&control_plane).await?;
        restore_ledger(&control_plane, &ledger).await?;
        let warm = scan(&control_plane, binary).await?;
        delete_ledger(&control_plane).await?;
        let cold = scan(&control_plane, binary).await?;
        for scan in [&warm, &cold] {
            if scan.workloads != pods / PODS_PER_WORKLOAD + others {
                return Err(format!("{} workloads were seen of {pods} pods", scan.workloads).into());
            }
        }
        push(&mut table, *pods, &warm, &cold);
    }
    control_plane.stop().await?;
    Ok(table)
}

/// One complete look by an operator that starts.
struct Scan {
    workloads: usize,
    time: Duration,
    cpu: Duration,
    peak: Memory,
    rest: Memory,
}

async fn scan(control_plane: &ControlPlane, binary: &Path) -> Result<Scan> {
    let operator = Operator::start(control_plane, binary, &[]).await?;
    operator.reconciles(1).await?;
    let started = Instant::now();
    operator.says(SCAN_FINISHED, 1, DEADLINE).await?;
    let (time, cpu, peak) = (started.elapsed(), operator.cpu()?, operator.memory()?);
    let words = operator.last_words();
    let line = words.lines().find(|line| line.contains(SCAN_FINISHED)).unwrap_or_default();
    let (Some(workloads), Some(0), Some(0)) =
        (number(line, "total"), number(line, "outdated"), number(line, "unknown"))
    else {
        return Err(format!("not all is up to date: {words}").into());
    };
    let rest = operator.memory_at_rest().await?;
    operator.stop().await?;
    Ok(Scan { workloads, time, cpu, peak, rest })
}

/// The number that a line of the log gives for `name`.
fn number(line: &str, name: &str) -> Option<usize> {
    let (_, after) = line.split_once(&format!("{name}="))?;
    after.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

/// Waits until the operator need not ask about every workload any more; returns what it remembers then.
async fn wait_for_ledger(control_plane: &ControlPlane) -> Result<ConfigMap> {
    let api: Api<ConfigMap> = Api::namespaced(control_plane.client(), NAMESPACE);
    let is_complete = |ledger: Option<&ConfigMap>| {
        ledger
            .and_then(|memory| memory.data.as_ref())
            .is_some_and(|data| data.contains_key("fully-scanned-mesh"))
    };
    let found = control_plane
        .wait_for(api, RESTART_LEDGER, "memory of a mesh that was asked for", DEADLINE, is_complete)
        .await?;
    Ok(found.ok_or("the memory is gone")?)
}

/// Gives the operator its memory back, which the look before this one replaced.
async fn restore_ledger(control_plane: &ControlPlane, ledger: &ConfigMap) -> Result {
    let api: Api<ConfigMap> = Api::namespaced(control_plane.client(), NAMESPACE);
    let metadata = ObjectMeta {
        name: ledger.metadata.name.clone(),
        labels: ledger.metadata.labels.clone(),
        ..ObjectMeta::default()
    };
    api.create(&PostParams::default(), &ConfigMap { metadata, ..ledger.clone() }).await?;
    Ok(())
}

/// Has the next look ask injection about every workload, as after a change of the mesh.
async fn delete_ledger(control_plane: &ControlPlane) -> Result {
    let api: Api<ConfigMap> = Api::namespaced(control_plane.client(), NAMESPACE);
    api.delete(RESTART_LEDGER, &DeleteParams::default()).await?;
    Ok(())
}

fn push(table: &mut Table, pods: usize, warm: &Scan, cold: &Scan) {
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    let mut row = |what: &str, bar, measured: String| {
        table.push(Row::new(format!("{pods} pods: {what}"), "-", bar, measured));
    };
    row("peak memory of a look at all pods (VmHWM)", "25 MiB", warm.peak.peak());
    row("peak memory when injection is asked about every workload", "25 MiB", cold.peak.peak());
    row("memory at rest after it (VmRSS)", "-", cold.rest.resident());
    row("time of a look at all pods", "-", seconds(warm.time));
    row("time when injection is asked about every workload", "-", seconds(cold.time));
    row("CPU time since the start, the latter included", "-", seconds(cold.cpu));
}
