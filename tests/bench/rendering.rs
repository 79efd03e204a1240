//! How long a whole installation takes to render, and with how much memory.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

use super::{Result, root};

const RUNS: usize = 10;

/// The best of several runs.
pub struct Rendering {
    time: Duration,
    peak_kib: i64,
}

impl Rendering {
    pub fn time(&self) -> String {
        format!("{} ms", self.time.as_millis())
    }

    pub fn memory(&self) -> String {
        format!("{} MiB", self.peak_kib / 1024)
    }
}

/// Renders the sample in processes of its own; no other child may have run before.
pub fn measure(binary: &Path) -> Result<Rendering> {
    let mut time = Duration::MAX;
    for _ in 0..RUNS {
        let started = Instant::now();
        let status = Command::new(binary)
            .args(["render", "-f"])
            .arg(root().join("config/samples/istio.yaml"))
            .stdout(Stdio::null())
            .status()?;
        time = time.min(started.elapsed());
        if !status.success() {
            return Err("the sample does not render".into());
        }
    }
    let peak_kib = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
    Ok(Rendering { time, peak_kib })
}
