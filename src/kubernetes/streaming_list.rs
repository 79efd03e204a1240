//! Watches that receive the initial list and all changes with one request.
//!
//! Kept on top of kube's `watcher`, which does not fall back by itself: half of the requests of an installation (ADR 12).

use std::fmt::Debug;

use futures::stream::{self, BoxStream, Stream, StreamExt};
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::error_ext::is_not_found;

type EventStream<K> = BoxStream<'static, watcher::Result<Event<K>>>;

/// Like kube's `watcher`, with the list in the same request as the watch if the API server supports that (by default since
/// Kubernetes 1.34), else with one request for each.
pub fn streaming_watcher<K>(
    api: Api<K>,
    config: Config,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let first = watcher(api.clone(), config.clone().streaming_lists()).boxed();
    let listing = move || watcher(api, config).boxed();
    fall_back(first, listing)
}

/// The events of `first`, or those of `second` if the API server does not support the request of `first`.
fn fall_back<K: Send + 'static>(
    first: EventStream<K>,
    second: impl FnOnce() -> EventStream<K> + Send + 'static,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send {
    stream::unfold((first, Some(second)), |(mut events, mut second)| async move {
        let event = events.next().await?;
        match second.take_if(|_| event.as_ref().is_err_and(is_streaming_unsupported)) {
            Some(second) => {
                tracing::debug!(
                    "the API server does not support streaming lists, listing and watching instead"
                );
                let mut events = second();
                let event = events.next().await?;
                Some((event, (events, None)))
            }
            None => Some((event, (events, second))),
        }
    })
}

/// Whether a watch fails because the API server does not serve the kind (any more).
#[must_use]
pub fn is_not_served(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchStartFailed};
    matches!(error, InitialListFailed(error) | WatchStartFailed(error) if is_not_found(error))
}

/// Whether the API server knows the option, but its feature gate `WatchList` is off.
fn is_streaming_unsupported(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 422)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: u16) -> watcher::Result<Event<()>> {
        let status = kube::core::Status { code, ..Default::default() };
        Err(watcher::Error::WatchStartFailed(kube::Error::Api(Box::new(status))))
    }

    async fn outcome(first: Vec<watcher::Result<Event<()>>>) -> Vec<String> {
        let listing = || stream::iter([Ok(Event::Init), failure(422)]).boxed();
        let name = |event: watcher::Result<Event<()>>| match event {
            Ok(Event::Init) => "listing".to_owned(),
            Ok(Event::InitDone) => "streamed".to_owned(),
            Ok(event) => format!("{event:?}"),
            Err(_) => "failed".to_owned(),
        };
        fall_back(stream::iter(first).boxed(), listing).map(name).collect().await
    }

    #[tokio::test]
    async fn without_streaming_lists_the_watcher_lists_and_watches() {
        assert_eq!(outcome(vec![failure(422), Ok(Event::InitDone)]).await, ["listing", "failed"]);
    }

    #[tokio::test]
    async fn other_failures_are_passed_on() {
        let events = vec![failure(404), failure(503), Ok(Event::InitDone)];
        assert_eq!(outcome(events).await, ["failed", "failed", "streamed"]);
    }
}
