//! Helm itself, as a process that answers one request after the other; see `tools/helm/oracle`.

#![allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "helpers of tests, of which each uses some")]

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What Helm is asked.
#[derive(Debug, Default, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Folder or archive of a chart.
    pub chart: String,
    /// Files of a chart made for the request, when there is no folder.
    pub templates: BTreeMap<String, String>,
    /// Texts of value files.
    pub values: Vec<String>,
    pub name: String,
    pub namespace: String,
    pub kube_version: String,
    pub api_versions: Vec<String>,
    pub include_crds: bool,
    pub is_upgrade: bool,
}

/// What Helm answers.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// What `helm template` prints.
    pub output: String,
    /// The output of each template.
    pub files: BTreeMap<String, String>,
    pub notes: String,
    pub error: String,
}

/// The running process; it ends with this value.
pub struct Oracle {
    process: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Oracle {
    pub fn start() -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin/helm-oracle");
        let mut process =
            Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap_or_else(
                |error| panic!("{}: {error}; build it with tools/build.sh helm", program.display()),
            );
        let questions = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { process, questions, answers }
    }

    pub fn ask(&mut self, request: &Request) -> Answer {
        let mut question = serde_json::to_vec(request).unwrap();
        question.push(b'\n');
        self.questions.as_mut().unwrap().write_all(&question).unwrap();
        let mut answer = Vec::new();
        self.answers.read_until(b'\n', &mut answer).unwrap();
        assert!(!answer.is_empty(), "Helm died of {request:?}");
        serde_json::from_slice(&answer).unwrap()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // It ends when there are no more questions.
        drop(self.questions.take());
        let _ = self.process.wait();
    }
}
