//! The body of an answer: a text, or the events of a watch for as long as it lasts.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use serde_json::{Value, json};
use tokio::time::Sleep;

use crate::error::ApiError;
use crate::request::ApiRequest;
use crate::selectors::is_selected;
use crate::store::{Shared, State, Target};

/// The body of an answer.
pub enum AnswerBody {
    /// A text.
    Text(Option<Bytes>),
    /// A watch.
    Watch(Box<WatchBody>),
}

impl AnswerBody {
    pub(crate) fn text(text: String) -> Self {
        Self::Text(Some(Bytes::from(text)))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Watch(watch) => watch.poll(context).map(|line| line.map(|line| Ok(Frame::data(line)))),
        }
    }
}

/// A watch that is open.
pub struct WatchBody {
    shared: Arc<Shared>,
    target: Target,
    labels: String,
    fields: String,
    metadata_only: bool,
    bookmarks: bool,
    /// Index of the first change that was not looked at.
    next: usize,
    /// Watches of an older epoch are ended.
    epoch: usize,
    lines: VecDeque<Bytes>,
    end: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl WatchBody {
    /// Opens a watch as `request` asks for it.
    pub(crate) fn open(shared: &Arc<Shared>, state: &State, request: &ApiRequest, target: Target) -> Self {
        let timeout = request.option("timeoutSeconds").parse().ok().map(Duration::from_secs);
        let mut watch = Self {
            shared: shared.clone(),
            target,
            labels: request.option("labelSelector").to_owned(),
            fields: request.option("fieldSelector").to_owned(),
            metadata_only: request.wants_metadata_only(),
            bookmarks: request.option("allowWatchBookmarks") == "true",
            next: state.history.len(),
            epoch: state.epoch,
            lines: VecDeque::new(),
            end: timeout.map(|timeout| Box::pin(tokio::time::sleep(timeout))),
            ended: false,
        };
        let version = request.option("resourceVersion").parse::<u64>().unwrap_or_default();
        if request.option("sendInitialEvents") == "true" {
            watch.push_initial(state);
            watch.push_bookmark(state, true);
        } else if version == 0 {
            watch.push_initial(state);
        } else if version < state.expired {
            watch.push("ERROR", &ApiError::expired().body);
            watch.ended = true;
        } else {
            watch.next = state.history.partition_point(|change| change.version <= version);
        }
        watch
    }

    fn push_initial(&mut self, state: &State) {
        let selected = state.select(&self.target, &self.labels, &self.fields);
        let objects: Vec<Value> =
            selected.map(|object| self.target.kind.present(object, self.metadata_only)).collect();
        for object in &objects {
            self.push("ADDED", object);
        }
    }

    fn push_bookmark(&mut self, state: &State, ends_list: bool) {
        let mut metadata = json!({"resourceVersion": state.version.to_string(), "creationTimestamp": null});
        if ends_list {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"metadata": metadata});
        self.push("BOOKMARK", &self.target.kind.present(&object, self.metadata_only));
    }

    fn push(&mut self, event: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": event, "object": object}));
        self.lines.push_back(Bytes::from(line));
    }

    fn push_changes(&mut self, state: &State) {
        for change in &state.history[self.next..] {
            if !self.target.contains(&change.key) {
                continue;
            }
            let selected = |object: &Option<Arc<Value>>| {
                object.as_deref().is_some_and(|object| is_selected(object, &self.labels, &self.fields))
            };
            let (event, object) = match (selected(&change.before), selected(&change.after)) {
                (false, true) => ("ADDED", change.after.as_deref()),
                (true, true) => ("MODIFIED", change.after.as_deref()),
                (true, false) => ("DELETED", change.before.as_deref()),
                (false, false) => continue,
            };
            let mut object = self.target.kind.present(object.unwrap_or(&Value::Null), self.metadata_only);
            object["metadata"]["resourceVersion"] = json!(change.version.to_string());
            let line = format!("{}\n", json!({"type": event, "object": object}));
            self.lines.push_back(Bytes::from(line));
        }
        self.next = state.history.len();
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(line) = self.lines.pop_front() {
            return Poll::Ready(Some(line));
        }
        let shared = self.shared.clone();
        let mut state = shared.lock();
        if self.ended || self.epoch != state.epoch {
            return Poll::Ready(None);
        }
        self.push_changes(&state);
        let is_over = self.end.as_mut().is_some_and(|end| end.as_mut().poll(context).is_ready());
        if is_over {
            self.ended = true;
            if self.bookmarks {
                self.push_bookmark(&state, false);
            }
        }
        match self.lines.pop_front() {
            Some(line) => Poll::Ready(Some(line)),
            None if is_over => Poll::Ready(None),
            None => {
                state.wakers.push(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
