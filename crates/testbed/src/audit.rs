//! Counts requests from the API server's audit log: the API server's word, not the client's.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::Api;
use serde::Deserialize;
use tokio::time::Instant;

/// Why requests could not be counted.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The log could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The log.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line of the log is no audit event.
    #[error("{path} holds a line that is no audit event")]
    Parse {
        /// The log.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The mark itself never appeared in the log.
    #[error("the API server did not log a request within {0:?}")]
    NotLogged(Duration),
}

/// The audit log of one control plane.
#[derive(Clone)]
pub struct AuditLog {
    path: PathBuf,
    client: Client,
}

/// A point in time in the audit log.
#[derive(Clone, Debug)]
pub struct Mark {
    offset: u64,
    at: String,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asked, for example `system:serviceaccount:kyma-system:istio-controller-manager`.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, …
    pub verb: String,
    /// The resource with its group and subresource, for example `deployments.apps` or `pods/status`; else the path.
    pub resource: String,
    /// The namespace, if in one.
    pub namespace: String,
    /// The name, if of one.
    pub name: String,
    /// The HTTP status.
    pub code: u16,
    /// The path with its query.
    pub uri: String,
    /// When the API server received it; of fixed width, so the texts are ordered as the times are.
    pub received: String,
    /// When it had answered, or a long-running one had begun to.
    pub answered: String,
}

/// Requests since a mark.
#[derive(Clone, Debug, Default)]
pub struct Requests(Vec<Request>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
    request_received_timestamp: String,
    stage_timestamp: String,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    resource: String,
    namespace: String,
    name: String,
    api_group: String,
    subresource: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

impl AuditLog {
    pub(crate) fn new(path: PathBuf, client: Client) -> Self {
        Self { path, client }
    }

    /// The present, as the API server sees it.
    pub async fn mark(&self) -> Result<Mark, AuditError> {
        let offset = self.file()?.metadata().map_err(|source| self.read_error(source))?.len();
        let event = self.probe(offset).await?;
        Ok(Mark { offset, at: event.request_received_timestamp })
    }

    /// The requests that reached the API server after `mark`, each once, long-running ones when they began.
    pub async fn since(&self, mark: &Mark) -> Result<Requests, AuditError> {
        let end = self.probe(mark.offset).await?.request_received_timestamp;
        let mut seen = BTreeMap::new();
        for event in self.events(mark.offset)? {
            // Timestamps are of fixed width, so their texts are ordered as they are.
            if event.request_received_timestamp > mark.at && event.request_received_timestamp < end {
                seen.insert((event.request_received_timestamp.clone(), event.audit_id.clone()), event);
            }
        }
        Ok(Requests(seen.into_values().map(Request::from).collect()))
    }

    /// Makes a request of our own and returns its event: what came before it is then in the log.
    async fn probe(&self, from: u64) -> Result<Event, AuditError> {
        const DEADLINE: Duration = Duration::from_secs(10);
        let started = Instant::now();
        let name = format!("testbed-mark-{}", unique());
        // There is no such namespace; only the question counts.
        let _not_found = Api::<Namespace>::all(self.client.clone()).get_opt(&name).await;
        while started.elapsed() < DEADLINE {
            if let Some(event) = self.events(from)?.into_iter().find(|event| event.object_ref.name == name) {
                return Ok(event);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(AuditError::NotLogged(DEADLINE))
    }

    fn events(&self, offset: u64) -> Result<Vec<Event>, AuditError> {
        let mut file = self.file()?;
        file.seek(SeekFrom::Start(offset)).map_err(|source| self.read_error(source))?;
        let mut reader = BufReader::new(file);
        let mut events = Vec::new();
        let mut line = String::new();
        // A line without its end is still being written.
        while reader.read_line(&mut line).map_err(|source| self.read_error(source))? > 0
            && line.ends_with('\n')
        {
            let parse = |source| AuditError::Parse { path: self.path.clone(), source };
            events.push(serde_json::from_str(&line).map_err(parse)?);
            line.clear();
        }
        Ok(events)
    }

    fn file(&self) -> Result<File, AuditError> {
        File::open(&self.path).map_err(|source| self.read_error(source))
    }

    fn read_error(&self, source: io::Error) -> AuditError {
        AuditError::Read { path: self.path.clone(), source }
    }
}

fn unique() -> u128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |elapsed| elapsed.as_nanos())
}

impl From<Event> for Request {
    fn from(event: Event) -> Self {
        let ObjectRef { resource, namespace, name, api_group, subresource } = event.object_ref;
        let mut full = if resource.is_empty() {
            event.request_uri.split('?').next().unwrap_or_default().to_owned()
        } else {
            resource
        };
        if !api_group.is_empty() {
            full = format!("{full}.{api_group}");
        }
        if !subresource.is_empty() {
            full = format!("{full}/{subresource}");
        }
        Self {
            user: event.user.username,
            verb: event.verb,
            resource: full,
            namespace,
            name,
            code: event.response_status.code,
            uri: event.request_uri,
            received: event.request_received_timestamp,
            answered: event.stage_timestamp,
        }
    }
}

impl Requests {
    /// Those of one user.
    #[must_use]
    pub fn of(mut self, user: &str) -> Self {
        self.0.retain(|request| request.user == user);
        self
    }

    /// Without reads and renewals of Leases, which leader election makes all the time.
    #[must_use]
    pub fn without_leases(mut self) -> Self {
        self.0.retain(|request| request.resource != "leases.coordination.k8s.io");
        self
    }

    /// Those that change something; dry runs do not.
    #[must_use]
    pub fn writes(mut self) -> Self {
        self.0.retain(|request| {
            !matches!(request.verb.as_str(), "get" | "list" | "watch") && !request.uri.contains("dryRun=All")
        });
        self
    }

    /// Those for which this holds.
    #[must_use]
    pub fn only(mut self, is_wanted: impl Fn(&Request) -> bool) -> Self {
        self.0.retain(is_wanted);
        self
    }

    /// How many the API server worked on at the same time, at most.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        let begins = self.0.iter().map(|request| (request.received.as_str(), 1));
        let ends = self.0.iter().map(|request| (request.answered.as_str(), -1));
        let mut steps: Vec<(&str, isize)> = begins.chain(ends).collect();
        // What ends when another begins was not there at the same time.
        steps.sort_unstable();
        let mut under_way = 0;
        let counts = steps.into_iter().map(|(_, step)| {
            under_way += step;
            under_way
        });
        counts.max().and_then(|most| usize::try_from(most).ok()).unwrap_or(0)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them, in the order the API server received them.
    pub fn iter(&self) -> impl Iterator<Item = &Request> {
        self.0.iter()
    }

    /// How many of each verb, resource and code.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<(String, String, u16), usize> {
        let mut counts = BTreeMap::new();
        for request in &self.0 {
            *counts.entry((request.verb.clone(), request.resource.clone(), request.code)).or_default() += 1;
        }
        counts
    }
}

impl std::fmt::Display for Requests {
    /// A table for people, the most frequent first.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut counts: Vec<_> = self.counts().into_iter().collect();
        counts.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
        for ((verb, resource, code), count) in counts {
            writeln!(formatter, "{count:6} {verb:7} {code} {resource}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_overlap_are_counted() {
        let request = |received: &str, answered: &str| Request {
            user: String::new(),
            verb: String::new(),
            resource: String::new(),
            namespace: String::new(),
            name: String::new(),
            code: 200,
            uri: String::new(),
            received: received.to_owned(),
            answered: answered.to_owned(),
        };
        let most = |times: &[(&str, &str)]| {
            Requests(times.iter().map(|(received, answered)| request(received, answered)).collect())
                .most_at_once()
        };
        assert_eq!(most(&[]), 0);
        assert_eq!(most(&[("1", "2"), ("2", "3"), ("4", "5")]), 1);
        assert_eq!(most(&[("1", "4"), ("2", "3"), ("3", "5"), ("6", "7")]), 2);
        assert_eq!(most(&[("1", "4"), ("2", "5"), ("3", "6")]), 3);
    }
}
