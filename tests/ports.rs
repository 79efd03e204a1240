//! The ports of the operator under a flood of connections, as anyone may open them who reaches the pod.

// Helpers of tests, which clippy does not take for tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

#[allow(dead_code, reason = "only the kubeconfig is used")]
mod program;

/// Far longer than anything here takes, also on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// How many connections a flood has, if the limit of file descriptors allows it.
const FLOOD: u64 = 10_000;
/// File descriptors for everything else.
const SPARE: u64 = 200;

/// The operator alone, with a cluster that does not answer.
struct Operator {
    process: Child,
    probes: SocketAddr,
    metrics: SocketAddr,
}

impl Operator {
    fn start(dir: &Path) -> Self {
        let kubeconfig = dir.join("kubeconfig");
        std::fs::write(&kubeconfig, program::KUBECONFIG).unwrap();
        let (probes, metrics) = (free_address(), free_address());
        let process = Command::new(env!("CARGO_BIN_EXE_istio-manager"))
            .args(["run", &format!("--kubeconfig={}", kubeconfig.display())])
            .args([
                format!("--health-probe-bind-address={probes}"),
                format!("--metrics-bind-address={metrics}"),
            ])
            .env_clear()
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let operator = Self { process, probes, metrics };
        operator.becomes_healthy();
        operator
    }

    fn becomes_healthy(&self) {
        let started = Instant::now();
        while TcpStream::connect(self.probes).is_err() || TcpStream::connect(self.metrics).is_err() {
            assert!(started.elapsed() < DEADLINE, "the operator does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(get(self.probes, "/healthz"), "ok\n");
    }

    /// Bytes in memory.
    fn resident(&self) -> usize {
        let path = format!("/proc/{}/statm", self.process.id());
        let pages = std::fs::read_to_string(path).unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The body of the answer to one GET.
fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: operator\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

/// Half a request on each of many connections, which stay open on this side.
fn flood(address: SocketAddr, connections: u64) -> Vec<TcpStream> {
    let half = b"GET /metrics HTTP/1.1\r\nHost: operator\r\nX-Half: ";
    let open = |_| {
        let mut stream = TcpStream::connect(address).unwrap();
        // The server may have closed it already.
        let _ = stream.write_all(half);
        stream
    };
    (0..connections).map(open).collect()
}

/// As many connections as this process may have.
fn connections() -> u64 {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    FLOOD.min(hard.saturating_sub(SPARE))
}

#[test]
fn half_open_requests_take_no_memory_and_delay_no_probe() {
    let dir = tempfile::tempdir().unwrap();
    let operator = Operator::start(dir.path());
    let count = connections();
    for (port, path) in [(operator.metrics, "/metrics"), (operator.probes, "/healthz")] {
        // What is allocated once is no cost of the flood.
        drop(flood(port, 100));
        let before = operator.resident();
        let flood = flood(port, count);
        let after = operator.resident();
        assert_eq!(get(operator.probes, "/healthz"), "ok\n", "{count} half-open requests for {path}");
        assert!(!get(operator.metrics, "/metrics").is_empty());
        let growth = after.saturating_sub(before) >> 10;
        println!("{count} half-open requests for {path}: {growth} KiB");
        assert!(growth < 10 << 10, "{count} half-open requests for {path} take {growth} KiB");
        drop(flood);
    }
}
