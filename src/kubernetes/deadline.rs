//! An answer's body that ends with an error when its time is over.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use kube::client::Body;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::BoxError;

use super::limits::RequestTimeout;

/// A body that has to be complete at a deadline, or may go on for ever.
pub struct DeadlineBody {
    body: Body,
    deadline: Option<(Pin<Box<Sleep>>, RequestTimeout)>,
}

impl DeadlineBody {
    /// `body` as it comes, for as long as it takes.
    pub fn endless(body: Body) -> Self {
        Self { body, deadline: None }
    }

    /// `body` until `deadline`, then `error`.
    pub fn until(body: Body, deadline: Instant, error: RequestTimeout) -> Self {
        Self { body, deadline: Some((Box::pin(sleep_until(deadline)), error)) }
    }
}

impl HttpBody for DeadlineBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some((over, error)) = &mut self.deadline
            && over.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Some(Err(error.clone().into())));
        }
        Pin::new(&mut self.body).poll_frame(context).map_err(Into::into)
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
    async fn a_body_that_is_late_ends_with_an_error_unless_it_is_endless() {
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut limited = DeadlineBody::until(Body::from(b"text".to_vec()), deadline, late());
        let mut endless = DeadlineBody::endless(Body::from(b"text".to_vec()));
        sleep(Duration::from_secs(2)).await;
        let error = next(&mut limited).await.unwrap().unwrap_err();
        assert_eq!(error.downcast_ref::<RequestTimeout>(), Some(&late()));
        assert!(next(&mut endless).await.unwrap().is_ok());
    }
}
