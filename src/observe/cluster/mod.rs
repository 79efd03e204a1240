//! The settings of the cluster, always up to date: watches what they follow from and tells when something else follows.
//!
//! Reads only. As long as something could not be read, nothing is decided: a failed read is never taken for a default.

mod collection;
mod source;

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use kube::Client;
use thiserror::Error;
use tokio::sync::watch;

use self::collection::Collection;
use self::source::{Changes, Source};
use crate::plan::cluster::{ClusterFacts, Memory, Verdict, decide};

/// A list takes milliseconds or has trouble.
const READ_DEADLINE: Duration = Duration::from_secs(15);

/// The settings of the cluster could not be read.
#[derive(Debug, Error)]
#[error("cannot read {}{}", .what.join(", "), .trouble.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
pub struct Error {
    /// What is not known.
    what: Vec<String>,
    /// Why, as far as it was told.
    trouble: Option<String>,
}

/// What is known of the cluster at a time.
#[derive(Clone, Debug)]
pub struct Outlook {
    /// What follows from it.
    pub verdict: Arc<Verdict>,
    /// What was remembered when that was decided.
    pub remembered: Memory,
    /// Names of the users' filters that change the ingress gateway, or why they are not known.
    pub filters: Result<Vec<String>, Option<String>>,
}

/// State of the watches.
#[derive(Clone, Debug)]
enum State {
    Reading(Vec<(Source, Option<String>)>),
    Read(Outlook),
}

/// A view of the cluster's settings that is kept up to date.
#[derive(Clone, Debug)]
pub struct ClusterWatch {
    state: watch::Receiver<State>,
    changes: watch::Receiver<()>,
}

impl ClusterWatch {
    /// Starts to watch; ends when all views are gone. `namespace` is the operator's own.
    #[must_use]
    pub fn start(client: Client, namespace: &str) -> Self {
        let (publish, state) = watch::channel(State::Reading(Collection::default().missing()));
        let (announce, changes) = watch::channel(());
        tokio::spawn(run(client, namespace.to_owned(), publish, announce));
        Self { state, changes }
    }

    /// Wakes whenever something else follows from the settings than before.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.clone()
    }

    /// What is known now; waits a while for what has not been read yet.
    pub async fn outlook(&self) -> Result<Outlook, Error> {
        self.wait(|_| true).await
    }

    /// What is known of filters at the ingress gateway now; waits a while for those that have not been read yet.
    pub async fn filters(&self) -> Result<Vec<String>, Error> {
        match self.wait(|outlook| outlook.filters.is_ok()).await?.filters {
            Ok(filters) => Ok(filters),
            Err(trouble) => Err(Error { what: vec![Source::Filters.to_string()], trouble }),
        }
    }

    /// The state as soon as it fits, else as it is in the end.
    async fn wait(&self, fits: impl Fn(&Outlook) -> bool) -> Result<Outlook, Error> {
        let mut state = self.state.clone();
        let read = |state: &State| matches!(state, State::Read(outlook) if fits(outlook));
        let _ = tokio::time::timeout(READ_DEADLINE, state.wait_for(read)).await;
        let state = self.state.borrow().clone();
        match state {
            State::Read(outlook) => Ok(outlook),
            State::Reading(missing) => Err(Error {
                what: missing.iter().map(|(source, _)| source.to_string()).collect(),
                trouble: missing.into_iter().find_map(|(_, trouble)| trouble),
            }),
        }
    }
}

/// What a reconcile depends on; it is woken when this changes.
type Consequences = (ClusterFacts, Vec<String>, bool, Option<Vec<String>>);

/// Filters that are not known for a moment are taken to be those of `before`: that they are being listed is no news.
fn consequences(outlook: &Outlook, before: Option<&Consequences>) -> Consequences {
    let verdict = &outlook.verdict;
    let complaints = verdict.complaints.iter().map(ToString::to_string).collect();
    let filters = outlook.filters.clone().ok().or_else(|| before?.3.clone());
    (verdict.facts.clone(), complaints, verdict.is_decided, filters)
}

async fn run(client: Client, namespace: String, publish: watch::Sender<State>, announce: watch::Sender<()>) {
    let mut collection = Collection::default();
    let mut needed =
        stream::select_all(Source::NEEDED.map(|source| source::changes(source, &client, &namespace)));
    let mut filters: Option<Changes> = None;
    let mut before: Option<Consequences> = None;
    loop {
        let change = tokio::select! {
            change = needed.next() => change,
            change = next(&mut filters) => change,
            () = publish.closed() => return,
        };
        let Some((source, change)) = change else { return };
        if !collection.take_in(source, change) {
            continue;
        }
        follow_definition(&client, &mut collection, &mut filters);
        let state = state(&collection);
        if let State::Read(outlook) = &state {
            let now = consequences(outlook, before.as_ref());
            let is_other = before.as_ref().is_some_and(|before| *before != now);
            before = Some(now);
            publish.send_replace(state);
            if is_other {
                announce.send_replace(());
            }
        } else {
            publish.send_replace(state);
        }
    }
}

async fn next(changes: &mut Option<Changes>) -> Option<(Source, source::Change)> {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

/// Filters can be watched only while they are served.
fn follow_definition(client: &Client, collection: &mut Collection, filters: &mut Option<Changes>) {
    match (collection.serves_filters(), &filters) {
        (true, None) => *filters = Some(source::filters(client.clone())),
        (false, Some(_)) => {
            *filters = None;
            collection.forget(Source::Filters);
        }
        _ => {}
    }
}

fn state(collection: &Collection) -> State {
    let missing = collection.missing();
    if !missing.is_empty() {
        return State::Reading(missing);
    }
    let remembered = collection.memory();
    let verdict = Arc::new(decide(&collection.sightings(), &remembered));
    State::Read(Outlook { verdict, remembered, filters: collection.filters() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::cluster::Sightings;

    fn outlook(filters: Result<Vec<String>, Option<String>>) -> Outlook {
        let remembered = Memory::default();
        Outlook { verdict: Arc::new(decide(&Sightings::default(), &remembered)), remembered, filters }
    }

    #[test]
    fn that_filters_are_being_listed_is_no_news_but_what_is_found_then_is() {
        let none = consequences(&outlook(Ok(vec![])), None);
        let listing = consequences(&outlook(Err(None)), Some(&none));
        assert_eq!(listing, none);
        assert_eq!(consequences(&outlook(Ok(vec![])), Some(&listing)), none);
        assert_ne!(consequences(&outlook(Ok(vec!["mine".to_owned()])), Some(&listing)), none);
    }
}
