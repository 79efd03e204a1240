//! A response body that ends with an error at its deadline, or after too long a silence in an initial list.
//!
//! Kept although `tower-http` has a `TimeoutBody`: that limits the pause between two frames, so that a server that sends one byte
//! every 29 s would hold a read forever. It has no absolute deadline, cannot tell an initial list (limited) from the events after
//! it (not limited), and its error does not name the request. 90 lines.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use kube::client::Body;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::BoxError;

use super::timeouts::RequestTimeout;

/// Annotation of the bookmark that ends the initial list of a watch.
const LIST_END_ANNOTATION: &[u8] = b"k8s.io/initial-events-end";

/// A body that must be complete at a deadline, or may continue forever.
pub struct DeadlineBody<B = Body> {
    body: B,
    deadline: Option<(Pin<Box<Sleep>>, RequestTimeout)>,
    list: Option<InitialList>,
}

/// The initial list of a body.
struct InitialList {
    timeout: Pin<Box<Sleep>>,
    error: RequestTimeout,
    /// The last bytes read: the annotation may be split between two frames.
    tail: Vec<u8>,
}

impl<B> DeadlineBody<B> {
    /// `body` without a limit.
    pub fn endless(body: B) -> Self {
        Self { body, deadline: None, list: None }
    }

    /// `body` until `deadline`, then `error`.
    pub fn until(body: B, deadline: Instant, error: RequestTimeout) -> Self {
        Self { deadline: Some((Box::pin(sleep_until(deadline)), error)), ..Self::endless(body) }
    }

    /// The body begins with a list, which ends with `error` after a silence of the length in `error`.
    #[must_use]
    pub fn with_list(self, error: RequestTimeout) -> Self {
        let over = Box::pin(sleep_until(Instant::now() + error.after));
        Self { list: Some(InitialList { timeout: over, error, tail: Vec::new() }), ..self }
    }

    /// The error of an expired limit.
    fn poll_expired(&mut self, context: &mut Context<'_>) -> Option<RequestTimeout> {
        let list = self.list.as_mut().map(|list| (&mut list.timeout, &list.error));
        let deadline = self.deadline.as_mut().map(|(over, error)| (over, &*error));
        let mut limits = [list, deadline].into_iter().flatten();
        limits.find_map(|(over, error)| over.as_mut().poll(context).is_ready().then(|| error.clone()))
    }
}

impl InitialList {
    /// Records the bytes of a frame; returns whether the list is complete.
    fn read(&mut self, data: &[u8]) -> bool {
        self.tail.extend_from_slice(data);
        let is_complete =
            self.tail.windows(LIST_END_ANNOTATION.len()).any(|window| window == LIST_END_ANNOTATION);
        self.tail.drain(..self.tail.len().saturating_sub(LIST_END_ANNOTATION.len() - 1));
        self.timeout.as_mut().reset(Instant::now() + self.error.after);
        is_complete
    }
}

impl<B> HttpBody for DeadlineBody<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(error) = self.poll_expired(context) {
            return Poll::Ready(Some(Err(error.into())));
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
            && self.list.as_mut().is_some_and(|list| list.read(data))
        {
            self.list = None;
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use http::Method;
    use tokio::time::sleep;

    use super::*;

    fn late() -> RequestTimeout {
        RequestTimeout { method: Method::GET, path: "/api".to_owned(), after: Duration::from_secs(1) }
    }

    async fn next(body: &mut DeadlineBody) -> Option<Result<Frame<Bytes>, BoxError>> {
        poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_in_time_is_passed_on() {
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut body = DeadlineBody::until(Body::from(b"text".to_vec()), deadline, late());
        assert_eq!(next(&mut body).await.unwrap().unwrap().into_data().unwrap(), "text");
        assert!(next(&mut body).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_body_ends_with_an_error_unless_endless() {
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut limited = DeadlineBody::until(Body::from(b"text".to_vec()), deadline, late());
        let mut endless = DeadlineBody::endless(Body::from(b"text".to_vec()));
        sleep(Duration::from_secs(2)).await;
        let error = next(&mut limited).await.unwrap().unwrap_err();
        assert_eq!(error.downcast_ref::<RequestTimeout>(), Some(&late()));
        assert!(next(&mut endless).await.unwrap().is_ok());
    }

    /// A body of parts that take a second each, followed by silence.
    struct Parts(Vec<&'static str>, Pin<Box<Sleep>>);

    impl HttpBody for Parts {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            if self.0.is_empty() || self.1.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.1.as_mut().reset(Instant::now() + Duration::from_secs(1));
            Poll::Ready(Some(Ok(Frame::data(self.0.remove(0).into()))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_list_is_accepted_but_a_silent_one_times_out() {
        let max_silence = Duration::from_millis(1500);
        for (parts, complete) in [
            (vec!["a", "b", "c"], false),
            (vec!["a", "b", "\"k8s.io/initial-events-end\": \"true\""], true),
            (vec!["a", "k8s.io/initial-ev", "ents-end"], true),
        ] {
            let count = parts.len();
            let body = Parts(parts, Box::pin(sleep(Duration::from_secs(1))));
            let error = RequestTimeout { after: max_silence, ..late() };
            let mut body = DeadlineBody::endless(body).with_list(error.clone());
            for _ in 0..count {
                assert!(poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await.unwrap().is_ok());
            }
            let rest = poll_fn(|context| Pin::new(&mut body).poll_frame(context));
            let rest = tokio::time::timeout(Duration::from_secs(3600), rest).await;
            let ended = rest.ok().map(|frame| frame.unwrap().unwrap_err());
            let ended = ended.as_ref().and_then(|error| error.downcast_ref::<RequestTimeout>());
            assert_eq!(ended, (!complete).then_some(&error));
        }
    }
}
