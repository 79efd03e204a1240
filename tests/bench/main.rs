//! Measures what people ask of an operator, and prints and writes the table. Not a test: `make bench` runs it.
//!
//! Requests are counted by the API server's audit log, memory is the kernel's word, and everything is measured with the
//! release binary on a control plane of its own.

#[path = "../operator/chart.rs"]
mod chart;
mod operator;
mod rendering;
mod run;
mod table;

use std::path::Path;
use std::process::ExitCode;

use testbed::{ControlPlane, Options, namespace};

use self::operator::{Install, Operator, release_binary};
use self::table::{Row, Table};

/// The median of them counts: a machine is never quite quiet.
const INSTALLATIONS: usize = 3;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    run::run(measure)
}

fn measure() -> Result {
    namespace::enter()?;
    let binary = release_binary()?;
    // First, while no larger child process has set the peak.
    let rendering = rendering::measure(&binary)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut table = runtime.block_on(on_control_plane(&binary))?;
    table.push(Row::new("default install rendered offline: best time", "220 ms", "30 ms", rendering.time()));
    table.push(Row::new(
        "default install rendered offline: peak memory",
        "115 MiB",
        "20 MiB",
        rendering.memory(),
    ));
    table.push(Row::new(
        "binaries in the image",
        "270 MB",
        "20 MB",
        megabytes(std::fs::metadata(&binary)?.len()),
    ));
    table.push(Row::new("memory limit that the chart asks for", "4 GiB", "128 MiB", memory_limit()?));
    table.print();
    table.write("benchmarks.md")
}

/// One more installation, on a control plane of its own.
async fn install(binary: &Path) -> Result<Install> {
    let control_plane = ControlPlane::start(&Options::default()).await?;
    chart::install(&control_plane).await?;
    let operator = Operator::start(&control_plane, binary, &[]).await?;
    let install = operator.install().await?;
    operator.stop().await?;
    control_plane.stop().await?;
    Ok(install)
}

async fn on_control_plane(binary: &Path) -> Result<Table> {
    let mut installs = Vec::new();
    for _ in 1..INSTALLATIONS {
        installs.push(install(binary).await?);
    }
    let control_plane = ControlPlane::start(&Options::default()).await?;
    chart::install(&control_plane).await?;
    let mut table = Table::default();

    let operator = Operator::start(&control_plane, binary, &[]).await?;
    installs.push(operator.install().await?);
    installs.sort_by_key(|install| install.time);
    let install = installs.swap_remove(INSTALLATIONS / 2);
    println!("requests from the create of the resource to Ready:\n{}", install.requests);
    let memory = operator.memory_at_rest().await?;
    operator.stop().await?;
    table.push(Row::new(
        "create of the resource to Ready, production size",
        "11.5 s",
        "3 s",
        install.seconds(),
    ));
    table.push(Row::new("API requests in that window", "254", "90", install.requests.len()));
    table.push(Row::new("memory at rest after the install (VmRSS)", "135 MiB", "15 MiB", memory.resident()));
    table.push(Row::new("peak memory of the install (VmHWM)", "276 MiB", "30 MiB", memory.peak()));

    let mark = control_plane.audit().mark().await?;
    let operator = Operator::start(&control_plane, binary, &[]).await?;
    operator.wait_for_reconciles(1).await?;
    let restart = operator.requests_since(&mark).await?;
    println!("requests after a restart:\n{restart}");
    operator.stop().await?;
    table.push(Row::new(
        "requests of an operator restarted on an unchanged cluster",
        "220",
        "60",
        restart.len(),
    ));
    table.push(Row::new("writes among them, Lease not counted", "110", "0", restart.writes().len()));

    let operator = Operator::start(&control_plane, binary, &["--reconciliation-interval=2s"]).await?;
    let idle = operator.idle_reconcile().await?;
    println!("requests of a reconcile with nothing new to do:\n{idle}");
    operator.stop().await?;
    table.push(Row::new("requests of a reconcile with nothing new to do", "210", "2", idle.len()));
    table.push(Row::new("writes among them", "105", "0", idle.writes().len()));
    control_plane.stop().await?;
    Ok(table)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn memory_limit() -> Result<String> {
    let values = std::fs::read_to_string(root().join("charts/istio-manager/values.yaml"))?;
    let values = gotemplate::yaml::parse_json(&values)?;
    let limit = values.pointer("/resources/limits/memory").and_then(|limit| limit.as_str());
    Ok(limit.ok_or("the chart has no memory limit")?.replace("Mi", " MiB"))
}

#[expect(clippy::cast_precision_loss, reason = "sizes for people")]
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
