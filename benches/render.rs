//! Istio's default installation, rendered by us and by `helm template`: time and peak memory, in one table.
//!
//! Run by `cargo bench`. Each rendering is a process of its own, started alike, so that both pay for what
//! they load; within ours, charts are also rendered again and again.

use helm_chart::{Chart, Options, render};
use istio_charts::{Bundle, Limits};
use serde_json::json;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const CHARTS: [&str; 3] = ["base", "istio-control/istio-discovery", "gateways/istio-ingress"];
const ROUNDS: usize = 11;

/// Tells this program, started by itself, to render once.
const ONCE: &str = "BENCH_RENDER_ONCE";

fn main() -> Result<()> {
    if std::env::var_os(ONCE).is_some() {
        return once();
    }
    // Without this, `cargo test` would run the benchmark as well.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    println!("| what | time | peak memory |\n|---|---:|---:|");
    let ours = measured(Ends::Told, command_of_ours)?;
    row("the default installation, this library, one process", ours);
    let helm = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin/helm");
    if helm.is_file() {
        let mut total = (Duration::ZERO, 0);
        for chart in CHARTS {
            let measured = measured(Ends::ByItself, || {
                let mut command = Command::new(&helm);
                command.args(["template", "istio"]).arg(folder(chart)).args(["-n", "istio-system"]);
                Ok(command)
            })?;
            total = (total.0 + measured.0, total.1.max(measured.1));
            row(&format!("`helm template` of {chart}"), measured);
        }
        row("`helm template` of all three, one after the other", total);
    }
    for chart in CHARTS {
        let time = median(|| {
            let started = Instant::now();
            let chart = Chart::load(&folder(chart))?;
            render(&chart, &json!({}), &Options::install("istio", "istio-system"))?.print(false)?;
            Ok(started.elapsed())
        })?;
        println!(
            "| this library, {chart} from its folder, printed, in a running process | {} | |",
            shown(time)
        );
    }
    Ok(())
}

fn folder(chart: &str) -> PathBuf {
    let charts = Path::new(env!("CARGO_MANIFEST_DIR")).join(".charts");
    charts.join(Bundle::embedded().version()).join("charts").join(chart)
}

fn command_of_ours() -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(ONCE, "1");
    Ok(command)
}

/// Renders the default installation, definitions included, and ends.
fn once() -> Result<()> {
    let bundle = Bundle::embedded();
    let operator = json!({"kind": "IstioOperator", "metadata": {"name": "default"}, "spec": {}});
    let components = istio_charts::render(&bundle, &operator, "v1.36.3", Limits::default())?;
    let mut objects = components.iter().map(|component| component.objects.len()).sum::<usize>();
    for definition in bundle.crds() {
        definition?;
        objects += 1;
    }
    // The process that measures reads this one's peak memory now, and then lets it end.
    println!("{objects}");
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

fn median(mut run: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    let mut times = (0..ROUNDS).map(|_| run()).collect::<Result<Vec<_>>>()?;
    times.sort();
    times.get(ROUNDS / 2).copied().ok_or_else(|| "no rounds".into())
}

/// How a process that is measured comes to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    ByItself,
    /// It prints one line when it is done, and waits for the end of its input.
    Told,
}

/// The median time until a process has printed everything, and its peak memory in KiB.
fn measured(ends: Ends, command: impl Fn() -> Result<Command>) -> Result<(Duration, u64)> {
    let mut peak = 0;
    let time = median(|| {
        let started = Instant::now();
        let mut process =
            command()?.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let status = format!("/proc/{}/status", process.id());
        let mut output = process.stdout.take().ok_or("no output")?;
        let mut buffer = [0; 1 << 13];
        let mut elapsed = started.elapsed();
        // As long as the process prints, its memory can be seen.
        while std::io::Read::read(&mut output, &mut buffer)? > 0 {
            elapsed = started.elapsed();
            peak = peak.max(peak_memory(&status));
            if ends == Ends::Told {
                break;
            }
        }
        drop(process.stdin.take());
        process.wait()?;
        Ok(elapsed)
    })?;
    Ok((time, peak))
}

fn peak_memory(status: &str) -> u64 {
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn row(what: &str, (time, peak): (Duration, u64)) {
    println!("| {what} | {} | {} MiB |", shown(time), peak / 1024);
}

fn shown(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
