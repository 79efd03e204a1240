//! A child process with its output in a file: started, watched, paused and ended by name. Knows nothing of Kubernetes.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::time::Instant;

use crate::namespace::INSIDE;

/// What could not be done with a child process.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("cannot start {name} ({program})")]
    Start {
        /// The name it was given here.
        name: String,
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It could not be signalled or waited for.
    #[error("cannot {what} {name}")]
    Control {
        /// The name it was given here.
        name: String,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It ended although it should run.
    #[error("{name} ended ({how}); the end of its log:\n{log}")]
    Ended {
        /// The name it was given here.
        name: String,
        /// Exit code or signal.
        how: String,
        /// Its last lines.
        log: String,
    },
    /// It did not print in time what was waited for, or ended without.
    #[error("{name} did not say {words:?} {times} times; the end of its log:\n{log}")]
    Silent {
        /// The name it was given here.
        name: String,
        /// What was waited for.
        words: String,
        /// How often.
        times: usize,
        /// Its last lines.
        log: String,
    },
    /// It did not end in time.
    #[error("{name} still ran after {after:?}; the end of its log:\n{log}")]
    StillRuns {
        /// The name it was given here.
        name: String,
        /// How long was waited.
        after: Duration,
        /// Its last lines.
        log: String,
    },
}

/// A running or ended child. Dropping it kills the child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: tokio::process::Child,
    pid: u32,
    log: PathBuf,
    /// Where its output begins in the log, behind that of earlier processes of its name.
    log_start: u64,
    ended: Option<ExitStatus>,
}

/// What to start.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    clear_environment: bool,
    directory: Option<PathBuf>,
}

impl ProcessSpec {
    /// `program`, called `name` in messages and in the name of its log file.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            clear_environment: false,
            directory: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Gives the child only what [`ProcessSpec::env`] sets.
    #[must_use]
    pub fn only_given_env(mut self) -> Self {
        self.clear_environment = true;
        self
    }

    /// Runs it in `directory`.
    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Starts it with its output in `<log_dir>/<name>.log`, after what an earlier process of that name left there.
    pub fn start(self, log_dir: &Path) -> Result<Process, ProcessError> {
        let Self { name, program, arguments, environment, clear_environment, directory } = self;
        let log = log_dir.join(format!("{name}.log"));
        let failed = |source| ProcessError::Start { name: name.clone(), program: program.clone(), source };
        let output = File::options().create(true).append(true).open(&log).map_err(failed)?;
        let log_start = output.metadata().map_err(failed)?.len();
        let errors = output.try_clone().map_err(failed)?;
        let mut command = tokio::process::Command::new(&program);
        if clear_environment {
            command.env_clear();
        }
        if let Some(directory) = directory {
            command.current_dir(directory);
        }
        command.args(arguments).envs(environment).env_remove(INSIDE).stdin(Stdio::null());
        // Its own group: a Ctrl-C at the terminal is for the test bed alone, which ends its children in order.
        command.stdout(output).stderr(errors).process_group(0).kill_on_drop(true);
        let child = command.spawn().map_err(failed)?;
        let pid = child.id().unwrap_or_default();
        Ok(Process { name, child, pid, log, log_start, ended: None })
    }
}

impl Process {
    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, valid until it was waited for.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// All that it printed so far; nothing of an earlier process of that name.
    #[must_use]
    pub fn log(&self) -> String {
        let all = std::fs::read(&self.log).unwrap_or_default();
        let start = usize::try_from(self.log_start).unwrap_or_default();
        String::from_utf8_lossy(all.get(start..).unwrap_or_default()).into_owned()
    }

    /// How often it has printed `words`.
    #[must_use]
    pub fn count_in_log(&self, words: &str) -> usize {
        self.log().matches(words).count()
    }

    /// Waits until it has printed `words`, at most `deadline`; an error if it ended without.
    pub async fn wait_for_log(&self, words: &str, deadline: Duration) -> Result<(), ProcessError> {
        self.wait_for_log_times(words, 1, deadline).await
    }

    /// Waits until it has printed `words` so often, at most `deadline`; an error if it ended without.
    pub async fn wait_for_log_times(
        &self,
        words: &str,
        times: usize,
        deadline: Duration,
    ) -> Result<(), ProcessError> {
        let started = Instant::now();
        loop {
            let runs = self.runs();
            if self.count_in_log(words) >= times {
                return Ok(());
            }
            if !runs || started.elapsed() > deadline {
                let (name, words) = (self.name.clone(), words.to_owned());
                return Err(ProcessError::Silent { name, words, times, log: tail(&self.log(), 30) });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether it has not ended, as anybody can see: it is `Z` when it has and its owner has not looked yet, see proc(5).
    fn runs(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid));
        self.ended.is_none() && stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    /// The file with its output.
    #[must_use]
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it did.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().map_err(|source| self.control("wait for", source))?;
        }
        Ok(self.ended)
    }

    /// An error with its last words if it ended.
    pub fn check_running(&mut self) -> Result<(), ProcessError> {
        match self.try_wait()? {
            None => Ok(()),
            Some(status) => Err(ProcessError::Ended {
                name: self.name.clone(),
                how: describe(status),
                log: tail(&self.log(), 15),
            }),
        }
    }

    /// Waits until it ends by itself, at most `deadline`.
    pub async fn wait(&mut self, deadline: Duration) -> Result<ExitStatus, ProcessError> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        match tokio::time::timeout(deadline, self.child.wait()).await {
            Ok(Ok(status)) => {
                self.ended = Some(status);
                Ok(status)
            }
            Ok(Err(source)) => Err(self.control("wait for", source)),
            Err(_) => Err(ProcessError::StillRuns {
                name: self.name.clone(),
                after: deadline,
                log: tail(&self.log(), 15),
            }),
        }
    }

    /// SIGKILL: it ends where it stands, as in a crash of the machine. Returns when it is gone.
    pub async fn kill(&mut self) -> Result<(), ProcessError> {
        if self.try_wait()?.is_some() {
            return Ok(());
        }
        self.signal(Signal::KILL, "kill")?;
        self.wait(Duration::from_secs(10)).await.map(|_| ())
    }

    /// SIGKILL by one who does not own it; whoever does may find it ended.
    pub(crate) async fn kill_without_reaping(&self) -> Result<(), ProcessError> {
        self.signal(Signal::KILL, "kill")?;
        // Its ports are free when it is dead, though its owner has not looked yet. Its first thread tells that it is; as long as
        // there are others, they keep its files open.
        let threads = || std::fs::read_dir(format!("/proc/{}/task", self.pid)).map_or(0, Iterator::count);
        while self.runs() || threads() > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// SIGTERM, as the kubelet does; then waits at most `deadline` for its end.
    pub async fn terminate(&mut self, deadline: Duration) -> Result<ExitStatus, ProcessError> {
        if let Some(status) = self.try_wait()? {
            return Ok(status);
        }
        self.signal(Signal::TERM, "terminate")?;
        self.wait(deadline).await
    }

    /// SIGSTOP: it stands still but keeps its connections, as on a node that hangs.
    pub fn pause(&self) -> Result<(), ProcessError> {
        self.signal(Signal::STOP, "pause")
    }

    /// SIGCONT: goes on after [`Process::pause`].
    pub fn resume(&self) -> Result<(), ProcessError> {
        self.signal(Signal::CONT, "resume")
    }

    fn signal(&self, signal: Signal, what: &'static str) -> Result<(), ProcessError> {
        let pid = self.raw_pid().ok_or_else(|| self.control(what, io::ErrorKind::NotFound.into()))?;
        rustix::process::kill_process(pid, signal).map_err(|errno| self.control(what, errno.into()))
    }

    pub(crate) fn raw_pid(&self) -> Option<Pid> {
        i32::try_from(self.pid).ok().and_then(Pid::from_raw)
    }

    pub(crate) fn control(&self, what: &'static str, source: io::Error) -> ProcessError {
        ProcessError::Control { name: self.name.clone(), what, source }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".into(),
    }
}

/// The last `lines` lines of `text`.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Runs a program to its end and returns what it printed; for short commands such as `kubectl` and `helm`.
pub async fn run<S: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = S>,
    environment: &[(&str, String)],
) -> Result<std::process::Output, ProcessError> {
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value))).env_remove(INSIDE);
    command.stdin(Stdio::null()).kill_on_drop(true).output().await.map_err(|source| ProcessError::Start {
        name: program.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        program: program.into(),
        source,
    })
}
