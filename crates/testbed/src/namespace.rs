//! Moves the current program into namespaces of its own, so that service and pod addresses are real and local.
//!
//! Must be the first thing a program does: it replaces the process, so no thread may have been started before.
//! It does not start Kubernetes; it only prepares the place where Kubernetes can run.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::tools::{Tools, ToolsError};

/// Set in the environment of a program that runs inside the namespaces, and taken away from its children.
pub(crate) const INSIDE: &str = "TESTBED_INSIDE";

/// Addresses of Services. Local in the namespace, so that a process can be bound to each of them.
pub const SERVICE_CIDR: &str = "10.96.0.0/16";
/// Further addresses of Services, for those that ask for both IP families; nothing answers there.
pub const SERVICE_CIDR_V6: &str = "fd00:10:96::/112";
/// Addresses of pods. Local in the namespace, so that a process can answer for a pod.
pub const POD_CIDR: &str = "10.244.0.0/16";

/// Why the program could not move into namespaces of its own.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// The kernel or the administrator forbids them; the text says what to change.
    #[error(
        "the test bed needs network, mount and process namespaces of its own, and this machine does not allow them; \
         run as root, or allow unprivileged user namespaces (sysctl user.max_user_namespaces and \
         kernel.unprivileged_userns_clone above 0, kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu; \
         for a container, seccomp and AppArmor unconfined). unshare said: {0}"
    )]
    NotAllowed(String),
    /// `ip`, `mount` or `unshare` could not be run or failed.
    #[error("`{command}` failed: {reason}")]
    Command {
        /// What was run.
        command: String,
        /// What it printed, or why it could not be started.
        reason: String,
    },
    /// The folder of the test bed could not be made.
    #[error("cannot make the folder {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The Go programs or their folder are missing.
    #[error(transparent)]
    Tools(#[from] ToolsError),
    /// The path of the running program is unknown.
    #[error("cannot find the path of the running program")]
    OwnPath(#[source] io::Error),
}

/// Whether this process already runs inside.
#[must_use]
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Continues inside namespaces of its own: replaces this process by the same program with the same arguments.
///
/// Returns only inside, after loopback, routes and an in-memory work folder were set up, or with an error. The program
/// becomes process 1 of its process namespace: whichever way it ends, the kernel ends all that it started, and the work
/// folder vanishes with the mount namespace.
pub fn enter() -> Result<(), NamespaceError> {
    let tools = Tools::locate()?;
    if is_inside() {
        return prepare(&tools.work_dir());
    }
    make_folder(&tools.work_dir())?;
    let program = std::env::current_exe().map_err(NamespaceError::OwnPath)?;
    let mut command = unshare(program.into_os_string(), std::env::args_os().skip(1))?;
    let error = command.exec();
    Err(NamespaceError::Command { command: "unshare".into(), reason: error.to_string() })
}

/// The command that runs `program` inside new namespaces; it ends all of them when it is killed.
pub(crate) fn unshare(
    program: OsString,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Command, NamespaceError> {
    let flags = unshare_flags()?;
    let mut command = Command::new("unshare");
    command.args(flags).arg("--").arg(program).args(arguments).env(INSIDE, "1");
    Ok(command)
}

/// The widest set of flags that works here. A container often forbids a fresh /proc; all but `ps` works without.
fn unshare_flags() -> Result<Vec<&'static str>, NamespaceError> {
    let mut flags = vec!["--net", "--mount", "--pid", "--fork", "--kill-child"];
    if !rustix::process::geteuid().is_root() {
        flags.extend(["--user", "--map-root-user"]);
    }
    let with_proc: Vec<_> = flags.iter().copied().chain(["--mount-proc"]).collect();
    if try_unshare(&with_proc).is_ok() {
        return Ok(with_proc);
    }
    try_unshare(&flags)?;
    Ok(flags)
}

fn try_unshare(flags: &[&str]) -> Result<(), NamespaceError> {
    let output =
        Command::new("unshare").args(flags).arg("true").stdin(Stdio::null()).output().map_err(|error| {
            NamespaceError::Command { command: "unshare (of util-linux)".into(), reason: error.to_string() }
        })?;
    if output.status.success() {
        Ok(())
    } else {
        Err(NamespaceError::NotAllowed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

fn prepare(work_dir: &Path) -> Result<(), NamespaceError> {
    make_folder(work_dir)?;
    run("mount", &["-t", "tmpfs", "-o", "mode=0700", "testbed", &work_dir.to_string_lossy()])?;
    run("ip", &["link", "set", "lo", "up"])?;
    run("ip", &["route", "add", "local", SERVICE_CIDR, "dev", "lo"])?;
    run("ip", &["route", "add", "local", POD_CIDR, "dev", "lo"])
}

fn make_folder(path: &Path) -> Result<(), NamespaceError> {
    std::fs::create_dir_all(path).map_err(|source| NamespaceError::Folder { path: path.into(), source })
}

fn run(program: &str, arguments: &[&str]) -> Result<(), NamespaceError> {
    let failed = |reason: String| NamespaceError::Command {
        command: format!("{program} {}", arguments.join(" ")),
        reason,
    };
    let output = Command::new(program).args(arguments).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}
