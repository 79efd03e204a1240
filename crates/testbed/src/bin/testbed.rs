//! The test bed for people: a Kubernetes control plane on this machine, and a shell in it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command as Program, ExitCode, ExitStatus};
use std::time::Duration;

use clap::{Parser, Subcommand};
use testbed::{Cluster, ControlPlane, Options, Size, Tools, namespace};
use tokio::signal::unix::{SignalKind, signal};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const EXAMPLES: &str = "\
Examples:
  A control plane until Ctrl-C, and kubectl in it from a second terminal:
    testbed up
    testbed shell
  A command on a fresh control plane, which ends with the command:
    testbed up -- kubectl get nodes

The programs come from `make tools`. Nothing outside the namespaces of the test bed is touched.";

/// A real Kubernetes control plane on this machine: API server, etcd, controllers, scheduler; nodes and pods without
/// containers; a real istiod behind each istiod pod.
#[derive(Parser)]
#[command(name = "testbed", after_help = EXAMPLES)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a control plane; it ends with Ctrl-C, with `down`, or with the command given
    Up {
        /// Size of the cluster: production or evaluation
        #[arg(long, default_value = "production", value_parser = size)]
        size: Size,
        /// Command to run in it, with KUBECONFIG and PATH set
        #[arg(last = true)]
        command: Vec<OsString>,
    },
    /// End the control plane that `up` started
    Down,
    /// Open a shell with kubectl in the running control plane
    Shell,
    /// Run a command in the running control plane
    Run {
        /// The command, behind `--`
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Run a command from inside the namespaces
    #[command(hide = true)]
    Inside {
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

fn size(text: &str) -> std::result::Result<Size, String> {
    match text {
        "production" => Ok(Size::Production),
        "evaluation" => Ok(Size::Evaluation),
        _ => Err("use production or evaluation".into()),
    }
}

fn main() -> ExitCode {
    let result = match CommandLine::parse().command {
        Command::Up { size, command } => up(size, &command),
        Command::Down => down(),
        Command::Shell => {
            let shell = std::env::var_os("SHELL").unwrap_or_else(|| "sh".into());
            join(&[shell])
        }
        Command::Run { command } => join(&command),
        Command::Inside { command } => inside(&command),
    };
    result.unwrap_or_else(|error| {
        eprintln!("testbed: {error}");
        ExitCode::FAILURE
    })
}

fn up(size: Size, command: &[OsString]) -> Result<ExitCode> {
    if !namespace::is_inside() {
        if let Ok(pid) = running() {
            return Err(format!(
                "a control plane is running already (process {pid}); end it with `testbed down`"
            )
            .into());
        }
        // unshare replaces this process and keeps its id.
        std::fs::write(pid_file()?, std::process::id().to_string())?;
    }
    namespace::enter()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupted, mut terminated) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let work = async {
            let control_plane = ControlPlane::start(&Options { size }).await?;
            eprintln!("control plane is up; `testbed shell` gives a shell in it");
            let status = match command.split_first() {
                Some((program, arguments)) => Some(child(&control_plane, program, arguments).await?),
                None => std::future::pending().await,
            };
            Ok::<_, Box<dyn std::error::Error>>(status)
        };
        // Dropping the work drops the control plane with all of its processes.
        let status = tokio::select! {
            status = work => status?,
            _ = interrupted.recv() => None,
            _ = terminated.recv() => None,
        };
        Ok(exit_code(status))
    })
}

async fn child(cluster: &Cluster, program: &OsString, arguments: &[OsString]) -> Result<ExitStatus> {
    let mut child =
        tokio::process::Command::from(within(cluster, program, arguments)).kill_on_drop(true).spawn()?;
    Ok(child.wait().await?)
}

/// The command with what `kubectl` needs.
fn within(cluster: &Cluster, program: &OsString, arguments: &[OsString]) -> Program {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut paths = vec![cluster.tools().bin()];
    paths.extend(std::env::split_paths(&path));
    let mut command = Program::new(program);
    command.args(arguments).env("KUBECONFIG", cluster.kubeconfig()).env("TESTBED_DIR", cluster.dir());
    command.env("PATH", std::env::join_paths(paths).unwrap_or(path)).env_remove("TESTBED_INSIDE");
    command
}

fn exit_code(status: Option<ExitStatus>) -> ExitCode {
    let code = status.map_or(Some(0), |status| status.code()).and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(1))
}

/// Runs a command in the namespaces of the running control plane.
fn join(command: &[OsString]) -> Result<ExitCode> {
    let inner = inner_process(running()?)?;
    let mut nsenter = Program::new("nsenter");
    nsenter.args([format!("--target={inner}"), "--net".into(), "--mount".into(), "--pid".into()]);
    if !rustix::process::geteuid().is_root() {
        nsenter.args(["--user", "--preserve-credentials"]);
    }
    nsenter.arg("--").arg(std::env::current_exe()?).args(["inside", "--"]).args(command);
    Err(nsenter.env("TESTBED_INSIDE", "1").exec().into())
}

fn inside(command: &[OsString]) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cluster = runtime.block_on(Cluster::attach())?;
    let Some((program, arguments)) = command.split_first() else { return Ok(ExitCode::SUCCESS) };
    Err(within(&cluster, program, arguments).exec().into())
}

fn down() -> Result<ExitCode> {
    let outer = running()?;
    let inner = rustix::process::Pid::from_raw(inner_process(outer)?).ok_or("no such process")?;
    rustix::process::kill_process(inner, rustix::process::Signal::TERM)?;
    while is_unshare(outer) {
        std::thread::sleep(Duration::from_millis(50));
    }
    std::fs::remove_file(pid_file()?)?;
    Ok(ExitCode::SUCCESS)
}

fn pid_file() -> Result<PathBuf> {
    Ok(Tools::locate()?.bin().with_file_name("testbed.pid"))
}

/// The process that `up` became, if it still runs.
fn running() -> Result<i32> {
    let nothing = "no control plane is running; start one with `testbed up`";
    let pid =
        std::fs::read_to_string(pid_file()?).ok().and_then(|text| text.trim().parse().ok()).ok_or(nothing)?;
    if is_unshare(pid) { Ok(pid) } else { Err(nothing.into()) }
}

/// Whether the process still is the one that `up` became, and not another that got its number.
fn is_unshare(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "unshare")
}

/// Process 1 of the namespaces, as seen from outside.
fn inner_process(outer: i32) -> Result<i32> {
    let children = std::fs::read_to_string(format!("/proc/{outer}/task/{outer}/children"))?;
    Ok(children.split_whitespace().next().ok_or("the control plane is about to end")?.parse()?)
}
