//! The settings of the cluster, kept up to date by watches, with a signal when they change.
//!
//! Reads only. Nothing is decided until everything is read: a failed read is never treated as a default.

mod collection;
mod source;

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use kube::Client;
use thiserror::Error;
use tokio::sync::watch;

use self::collection::Collection;
use self::source::{Source, SourceEvents};
use crate::plan::cluster::{ClusterDecision, ClusterFacts, RememberedFacts, decide};

/// Timeout of the first lists. A list takes milliseconds unless there is a problem.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// The settings of the cluster could not be read.
#[derive(Debug, Error)]
#[error("failed to read {}{}", .what.join(", "), .trouble.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
pub struct Error {
    /// The sources that were not read.
    what: Vec<String>,
    /// The cause, if known.
    trouble: Option<String>,
}

/// The settings of the cluster at one time.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// The decision that follows from the observed facts.
    pub decision: Arc<ClusterDecision>,
    /// The remembered facts on which the decision is based.
    pub remembered: RememberedFacts,
    /// Names of `EnvoyFilter`s of users that change the ingress gateway, or why they are not known.
    pub filters: Result<Vec<String>, Option<String>>,
}

/// State of the watches.
#[derive(Clone, Debug)]
enum WatchState {
    Pending(Vec<(Source, Option<String>)>),
    Synced(ClusterView),
}

/// The watches of the settings. Cheap to clone; all clones share the watches.
#[derive(Clone, Debug)]
pub struct ClusterWatch {
    state: watch::Receiver<WatchState>,
    changes: watch::Receiver<()>,
}

impl ClusterWatch {
    /// Starts the watches, which end when the last clone is dropped. `namespace` is the operator's own.
    #[must_use]
    pub fn start(client: Client, namespace: &str) -> Self {
        let (publish, state) = watch::channel(WatchState::Pending(Collection::default().missing()));
        let (announce, changes) = watch::channel(());
        tokio::spawn(run(client, namespace.to_owned(), publish, announce));
        Self { state, changes }
    }

    /// A signal for each change of the settings.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.clone()
    }

    /// The current settings; waits for a limited time until all are read.
    pub async fn view(&self) -> Result<ClusterView, Error> {
        self.wait(|_| true).await
    }

    /// The current `EnvoyFilter`s that change the ingress gateway; waits for a limited time until they are read.
    pub async fn filters(&self) -> Result<Vec<String>, Error> {
        match self.wait(|view| view.filters.is_ok()).await?.filters {
            Ok(filters) => Ok(filters),
            Err(trouble) => Err(Error { what: vec![Source::EnvoyFilters.to_string()], trouble }),
        }
    }

    /// The settings as soon as `accepts` returns true, else those at the timeout.
    async fn wait(&self, accepts: impl Fn(&ClusterView) -> bool) -> Result<ClusterView, Error> {
        let mut state = self.state.clone();
        let read = |state: &WatchState| matches!(state, WatchState::Synced(view) if accepts(view));
        let _ = tokio::time::timeout(READ_TIMEOUT, state.wait_for(read)).await;
        let state = self.state.borrow().clone();
        match state {
            WatchState::Synced(view) => Ok(view),
            WatchState::Pending(missing) => Err(Error {
                what: missing.iter().map(|(source, _)| source.to_string()).collect(),
                trouble: missing.into_iter().find_map(|(_, trouble)| trouble),
            }),
        }
    }
}

/// The part of the settings whose changes trigger a reconcile.
type ReconcileTrigger = (ClusterFacts, Vec<String>, bool, Option<Vec<String>>);

/// While the filters are being listed they count as unchanged since `before`.
fn reconcile_trigger(view: &ClusterView, before: Option<&ReconcileTrigger>) -> ReconcileTrigger {
    let decision = &view.decision;
    let problems = decision.errors.iter().map(ToString::to_string).collect();
    let filters = view.filters.clone().ok().or_else(|| before?.3.clone());
    (decision.facts.clone(), problems, decision.is_decided, filters)
}

async fn run(
    client: Client,
    namespace: String,
    publish: watch::Sender<WatchState>,
    announce: watch::Sender<()>,
) {
    let mut collection = Collection::default();
    let mut needed =
        stream::select_all(Source::REQUIRED.map(|source| source::watch_source(source, &client, &namespace)));
    let mut filters: Option<SourceEvents> = None;
    let mut before: Option<ReconcileTrigger> = None;
    loop {
        let change = tokio::select! {
            change = needed.next() => change,
            change = next_event(&mut filters) => change,
            () = publish.closed() => return,
        };
        let Some((source, change)) = change else { return };
        if !collection.apply_event(source, change) {
            continue;
        }
        follow_crd(&client, &mut collection, &mut filters);
        let state = watch_state(&collection);
        if let WatchState::Synced(view) = &state {
            let now = reconcile_trigger(view, before.as_ref());
            let has_changed = before.as_ref().is_some_and(|before| *before != now);
            before = Some(now);
            publish.send_replace(state);
            if has_changed {
                announce.send_replace(());
            }
        } else {
            publish.send_replace(state);
        }
    }
}

async fn next_event(changes: &mut Option<SourceEvents>) -> Option<(Source, source::SourceEvent)> {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

/// Watches the `EnvoyFilter`s only while the API server serves them.
fn follow_crd(client: &Client, collection: &mut Collection, filters: &mut Option<SourceEvents>) {
    match (collection.serves_filters(), &filters) {
        (true, None) => *filters = Some(source::watch_envoy_filters(client.clone())),
        (false, Some(_)) => {
            *filters = None;
            collection.remove(Source::EnvoyFilters);
        }
        _ => {}
    }
}

fn watch_state(collection: &Collection) -> WatchState {
    let missing = collection.missing();
    if !missing.is_empty() {
        return WatchState::Pending(missing);
    }
    let remembered = collection.remembered();
    let decision = Arc::new(decide(&collection.observed(), &remembered));
    WatchState::Synced(ClusterView { decision, remembered, filters: collection.filters() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::cluster::ObservedCluster;

    fn view(filters: Result<Vec<String>, Option<String>>) -> ClusterView {
        let remembered = RememberedFacts::default();
        ClusterView {
            decision: Arc::new(decide(&ObservedCluster::default(), &remembered)),
            remembered,
            filters,
        }
    }

    #[test]
    fn a_list_of_filters_under_way_is_no_change_but_its_result_is() {
        let none = reconcile_trigger(&view(Ok(vec![])), None);
        let listing = reconcile_trigger(&view(Err(None)), Some(&none));
        assert_eq!(listing, none);
        assert_eq!(reconcile_trigger(&view(Ok(vec![])), Some(&listing)), none);
        assert_ne!(reconcile_trigger(&view(Ok(vec!["mine".to_owned()])), Some(&listing)), none);
    }
}
