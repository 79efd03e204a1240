//! The memory of a child process: its peak as the kernel counts it, and a limit on it.

use std::io;

use rustix::process::{Resource, Rlimit};

use crate::process::{Process, ProcessError};

/// What resets the peak of a process, see `proc_pid_clear_refs(5)`.
const RESET_PEAK: &str = "5";

impl Process {
    /// The most memory that it has held since its start or the last [`Process::reset_peak_memory`], in bytes: `VmHWM`, which
    /// includes the pages of its program file.
    pub fn peak_memory(&self) -> Result<u64, ProcessError> {
        self.memory("VmHWM:")
    }

    /// The pages of its program file that it holds now, in bytes: `RssFile`. The kernel takes them back when memory is scarce.
    pub fn program_memory(&self) -> Result<u64, ProcessError> {
        self.memory("RssFile:")
    }

    /// A field of `proc_pid_status(5)`, in bytes.
    fn memory(&self, field: &str) -> Result<u64, ProcessError> {
        const WHAT: &str = "read the memory of";
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.map_err(|source| self.control(WHAT, source))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.map(|kib| kib << 10).ok_or_else(|| self.control(WHAT, io::ErrorKind::InvalidData.into()))
    }

    /// Sets its peak to what it holds now.
    pub fn reset_peak_memory(&self) -> Result<(), ProcessError> {
        let written = std::fs::write(format!("/proc/{}/clear_refs", self.pid()), RESET_PEAK);
        written.map_err(|source| self.control("reset the peak memory of", source))
    }

    /// Lets it allocate no more than `bytes` from now on: an allocation beyond them fails, which ends a Rust program. Its
    /// program file and shared mappings do not count, see `RLIMIT_DATA` in getrlimit(2).
    pub fn limit_memory(&self, bytes: u64) -> Result<(), ProcessError> {
        const WHAT: &str = "limit the memory of";
        let pid = self.raw_pid().ok_or_else(|| self.control(WHAT, io::ErrorKind::NotFound.into()))?;
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        let limited = rustix::process::prlimit(Some(pid), Resource::Data, limit);
        limited.map(|_| ()).map_err(|errno| self.control(WHAT, errno.into()))
    }
}
