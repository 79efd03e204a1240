//! Finds the Go programs that `tools/build.sh` built, and the folders around them. Builds and downloads nothing.

use std::path::{Path, PathBuf};

/// What is missing and how to get it.
#[derive(Debug, thiserror::Error)]
pub enum ToolsError {
    /// A program or file was not built.
    #[error("{path} is missing; build the Go programs of the test bed with `make tools`")]
    Missing {
        /// The path that was looked at.
        path: PathBuf,
    },
}

/// The folder with what `tools/build.sh` made.
#[derive(Clone, Debug)]
pub struct Tools {
    root: PathBuf,
}

impl Tools {
    /// Looks at `TESTBED_TOOLS`, else at `.tools` in the project this crate was compiled in.
    pub fn locate() -> Result<Self, ToolsError> {
        let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools");
        let root = std::env::var_os("TESTBED_TOOLS").map_or_else(default, PathBuf::from);
        let root = root.canonicalize().map_err(|_| ToolsError::Missing { path: root })?;
        Ok(Self { root })
    }

    /// The path of a program, for example `kubectl`.
    pub fn program(&self, name: &str) -> Result<PathBuf, ToolsError> {
        existing(self.root.join("bin").join(name))
    }

    /// The folder of all programs, for `PATH`.
    #[must_use]
    pub fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// The stages that come with kwok: what nodes and pods do when nothing else was asked for.
    pub(crate) fn kwok_stages(&self) -> Result<PathBuf, ToolsError> {
        existing(self.root.join("kwok-stages.yaml"))
    }

    /// The mount point of the in-memory folder of a running test bed; empty when seen from outside its namespace.
    #[must_use]
    pub fn work_dir(&self) -> PathBuf {
        self.root.join("run")
    }

    pub(crate) fn control_plane_dir(&self) -> PathBuf {
        self.work_dir().join("control-plane")
    }
}

fn existing(path: PathBuf) -> Result<PathBuf, ToolsError> {
    if path.exists() { Ok(path) } else { Err(ToolsError::Missing { path }) }
}
