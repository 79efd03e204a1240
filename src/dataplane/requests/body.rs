//! Reads responses of the API server with a bound on memory, whatever tenants wrote into the objects.

use std::future::poll_fn;
use std::pin::Pin;

use bytes::Bytes;
use futures::stream::{self, Stream};
use http_body::Body as _;
use kube::Client;
use kube::client::Body;
use kube::core::{Status, WatchEvent};
use serde::de::{DeserializeOwned, Error as _};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::items::{self, ItemSplitter, ListItem};
use super::lines::{LineSplitter, WatchLine};
use crate::text::sanitized;

/// Bytes of the largest object that is read. etcd takes 1.5 MiB by default; characters that JSON escapes may make more of them.
pub const MAX_OBJECT_BYTES: usize = 2 << 20;
/// From this size on, a response is read alone.
pub const LARGE_OBJECT_BYTES: usize = 128 << 10;
/// Bytes of an error that are read. The API server repeats messages of webhooks at any length.
const MAX_ERROR_BYTES: usize = 64 << 10;
/// Bytes of a message that are kept.
const MAX_MESSAGE_BYTES: usize = 300;

/// Large responses that are held at the same time. The holder of a permit waits only for its own response.
static LARGE_RESPONSE_PERMITS: Semaphore = Semaphore::const_new(1);
/// Large events that are held at the same time. A watch may be abandoned within an event, so that no task waits for these.
static LARGE_EVENT_PERMITS: Semaphore = Semaphore::const_new(2);

/// A response of which the first bytes were read.
struct ResponseReader {
    body: Body,
    buffer: Bytes,
    permit: Option<SemaphorePermit<'static>>,
}

impl ResponseReader {
    fn new(body: Body) -> Self {
        Self { body, buffer: Bytes::new(), permit: None }
    }

    /// Whether there are bytes to read; they are in `rest`.
    async fn fill(&mut self) -> Result<bool, kube::Error> {
        while self.buffer.is_empty() {
            match poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await {
                None => return Ok(false),
                Some(Err(error)) => return Err(kube::Error::ReadEvents(std::io::Error::other(error))),
                Some(Ok(frame)) => self.buffer = frame.into_data().unwrap_or_default(),
            }
        }
        Ok(true)
    }

    /// Waits until no other large response is held.
    async fn acquire_permit(&mut self) {
        if self.permit.is_none() {
            // The only error is that it was closed, which never happens.
            self.permit = LARGE_RESPONSE_PERMITS.acquire().await.ok();
        }
    }
}

/// Sends a request. Errors are read only as far as they are shown.
async fn send(client: &Client, request: http::Request<Vec<u8>>) -> Result<Body, kube::Error> {
    let response = client.send(request.map(Body::from)).await?;
    let code = response.status();
    if !code.is_client_error() && !code.is_server_error() {
        return Ok(response.into_body());
    }
    let mut reader = ResponseReader::new(response.into_body());
    let mut text = Vec::new();
    while text.len() < MAX_ERROR_BYTES && reader.fill().await? {
        let part = std::mem::take(&mut reader.buffer);
        text.extend_from_slice(&part[..part.len().min(MAX_ERROR_BYTES - text.len())]);
    }
    Err(kube::Error::Api(Box::new(error_status(code.as_u16(), &text))))
}

/// The error of the API server, with a message that is safe to show.
fn error_status(code: u16, text: &[u8]) -> Status {
    let status = serde_json::from_slice::<Status>(text).unwrap_or_else(|_| {
        // Not every error is a `Status`: the kind may not be served, or the response is too long or comes from a proxy.
        Status::failure(&String::from_utf8_lossy(text), "Failed to parse error data").with_code(code)
    });
    Status { message: sanitized(status.message.trim(), MAX_MESSAGE_BYTES), ..status }
}

/// Reads one object.
pub(super) async fn read_object<T: DeserializeOwned>(
    client: &Client,
    request: http::Request<Vec<u8>>,
) -> Result<T, kube::Error> {
    let mut reader = ResponseReader::new(send(client, request).await?);
    let mut text = Vec::new();
    while reader.fill().await? {
        let part = std::mem::take(&mut reader.buffer);
        if text.len() + part.len() > MAX_OBJECT_BYTES {
            return Err(object_too_large());
        }
        if text.len() + part.len() > LARGE_OBJECT_BYTES {
            reader.acquire_permit().await;
        }
        text.extend_from_slice(&part);
    }
    serde_json::from_slice(&text).map_err(kube::Error::SerdeError)
}

fn object_too_large() -> kube::Error {
    kube::Error::SerdeError(serde_json::Error::custom(format_args!(
        "it is larger than {MAX_OBJECT_BYTES} bytes"
    )))
}

/// How far a list was read.
#[derive(Debug, Default)]
pub(super) struct ListProgress {
    /// The list without its objects.
    pub envelope: Vec<u8>,
    /// Bytes of all objects.
    pub bytes: usize,
    /// Number of objects, including those that were skipped.
    pub objects: usize,
    /// Objects that are too large or could not be parsed.
    pub skipped: usize,
}

/// Reads a list and passes each object on as it arrives, with its size in bytes.
///
/// `progress` is kept up to date for a list that ends early.
pub(super) async fn read_list<T: DeserializeOwned>(
    client: &Client,
    request: http::Request<Vec<u8>>,
    progress: &mut ListProgress,
    mut each: impl FnMut(T, usize),
) -> Result<(), kube::Error> {
    let mut reader = ResponseReader::new(send(client, request).await?);
    let mut items = ItemSplitter::new(MAX_OBJECT_BYTES);
    let failed = |error: items::Error| kube::Error::SerdeError(serde_json::Error::custom(error));
    while reader.fill().await? {
        let (used, complete) = items.feed(&reader.buffer).map_err(failed)?;
        drop(reader.buffer.split_to(used));
        progress.bytes += used;
        if items.buffered() > LARGE_OBJECT_BYTES {
            reader.acquire_permit().await;
        }
        if !complete {
            continue;
        }
        progress.objects += 1;
        match items.item() {
            ListItem::Complete(text) => match serde_json::from_slice(text) {
                Ok(object) => each(object, text.len()),
                Err(error) => {
                    tracing::debug!(%error, "skipped an object of a list that cannot be parsed");
                    progress.skipped += 1;
                }
            },
            ListItem::Truncated(_) => progress.skipped += 1,
        }
        reader.permit = None;
    }
    progress.envelope = items.envelope().map_err(failed)?.to_vec();
    Ok(())
}

/// Reads the events of a watch. An event that is too large is [`kube::Error::LinesCodecMaxLineLengthExceeded`], and the watch
/// continues; any other error ends it.
pub(super) async fn watch_events<T: DeserializeOwned + Clone>(
    client: &Client,
    request: http::Request<Vec<u8>>,
) -> Result<impl Stream<Item = Result<WatchEvent<T>, kube::Error>> + use<T>, kube::Error> {
    let reader = ResponseReader::new(send(client, request).await?);
    let watch = Some((reader, LineSplitter::new(MAX_OBJECT_BYTES)));
    Ok(stream::unfold(watch, |watch| async move {
        let (mut reader, mut lines) = watch?;
        match next_event(&mut reader, &mut lines).await {
            None => None,
            Some(Err(error)) if !is_too_large(&error) => Some((Err(error), None)),
            Some(event) => Some((event, Some((reader, lines)))),
        }
    }))
}

/// Whether an event was too large to be read.
#[must_use]
pub fn is_too_large(error: &kube::Error) -> bool {
    matches!(error, kube::Error::LinesCodecMaxLineLengthExceeded)
}

async fn next_event<T: DeserializeOwned + Clone>(
    reader: &mut ResponseReader,
    lines: &mut LineSplitter,
) -> Option<Result<WatchEvent<T>, kube::Error>> {
    loop {
        match reader.fill().await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => return Some(Err(error)),
        }
        let (used, complete) = lines.feed(&reader.buffer);
        drop(reader.buffer.split_to(used));
        if lines.buffered() > LARGE_OBJECT_BYTES && reader.permit.is_none() {
            reader.permit = LARGE_EVENT_PERMITS.try_acquire().ok();
            if reader.permit.is_none() {
                // A later watch that starts before this event reads it again.
                return Some(Err(kube::Error::ReadEvents(std::io::ErrorKind::OutOfMemory.into())));
            }
        }
        if !complete {
            continue;
        }
        let event = match lines.line() {
            WatchLine::Complete(text) if text.trim_ascii().is_empty() => None,
            WatchLine::Complete(text) => Some(serde_json::from_slice(text).map_err(kube::Error::SerdeError)),
            WatchLine::TooLarge => Some(Err(kube::Error::LinesCodecMaxLineLengthExceeded)),
        };
        if reader.permit.take().is_some() {
            lines.shrink(LARGE_OBJECT_BYTES);
        }
        if event.is_some() {
            return event;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use http::{Request, Response};
    use serde_json::{Value, json};

    use super::*;

    /// An API double with one response.
    fn server(code: u16, body: String) -> Client {
        let answer = move |_: Request<Body>| {
            let body = Body::from(body.clone().into_bytes());
            std::future::ready(Response::builder().status(code).body(body))
        };
        Client::new(tower::service_fn(answer), "default")
    }

    fn request() -> http::Request<Vec<u8>> {
        http::Request::get("/").body(Vec::new()).unwrap()
    }

    #[tokio::test]
    async fn an_object_is_read_up_to_a_bound() {
        for (size, read) in
            [(10, true), (LARGE_OBJECT_BYTES, true), (MAX_OBJECT_BYTES - 9, true), (MAX_OBJECT_BYTES, false)]
        {
            let client = server(200, json!({"a": "x".repeat(size)}).to_string());
            let object = read_object::<Value>(&client, request()).await;
            assert_eq!(object.is_ok(), read, "{size}");
            assert!(object.err().is_none_or(|error| error.to_string().contains("larger than")));
        }
    }

    #[tokio::test]
    async fn an_error_message_is_shortened_and_escaped() {
        let status = |message: &str| {
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": 403})
                .to_string()
        };
        let long = |size| format!("no\u{1b}[2K\n{}", "x".repeat(size));
        for body in [status(&long(10)), status(&long(9_000)), status(&long(9_000_000)), long(9_000_000)] {
            let error = read_object::<Value>(&server(403, body), request()).await.unwrap_err();
            let kube::Error::Api(status) = error else { panic!("{error}") };
            assert_eq!(status.code, 403);
            assert!(
                status.message.len() <= MAX_MESSAGE_BYTES && status.message.contains("no"),
                "{}",
                status.message
            );
            assert!(!status.message.chars().any(char::is_control), "{:?}", status.message);
        }
    }

    #[tokio::test]
    async fn an_event_that_is_too_large_is_reported_and_the_watch_goes_on() {
        let event = |size| format!("{}\n", json!({"type": "ADDED", "object": {"a": "x".repeat(size)}}));
        let text = [event(1), event(MAX_OBJECT_BYTES), event(LARGE_OBJECT_BYTES), event(2)].concat();
        let events = watch_events::<Value>(&server(200, text), request()).await.unwrap();
        let sizes: Vec<_> = events
            .map(|event| match event {
                Ok(WatchEvent::Added(object)) => object["a"].as_str().map(str::len),
                Err(error) if is_too_large(&error) => None,
                other => panic!("{other:?}"),
            })
            .collect()
            .await;
        assert_eq!(sizes, [Some(1), None, Some(LARGE_OBJECT_BYTES), Some(2)]);
    }

    #[tokio::test]
    async fn objects_of_a_list_that_cannot_be_read_are_counted() {
        let items =
            [json!({"a": 1}), json!({"a": "x".repeat(MAX_OBJECT_BYTES)}), json!("x"), json!({"a": 2})];
        let list_of = |indices: &[usize]| {
            let items: Vec<_> = indices.iter().map(|index| items[*index].clone()).collect();
            server(200, json!({"metadata": {"continue": "next"}, "items": items}).to_string())
        };
        let (mut read, mut found) = (ListProgress::default(), Vec::new());
        let each = |object: std::collections::BTreeMap<String, u8>, _| found.push(object["a"]);
        read_list(&list_of(&[0, 1, 3]), request(), &mut read, each).await.unwrap();
        assert_eq!((found, read.objects, read.skipped), (vec![1, 2], 3, 1));
        let strange = read_list::<Value>(&list_of(&[2]), request(), &mut read, |_, _| {}).await;
        assert!(strange.is_err());
    }
}
