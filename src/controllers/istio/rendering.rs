//! Runs CPU-bound work on a thread of its own, so that the thread of the runtime renews the Lease and answers probes
//! meanwhile. It must not be given work that waits.

use std::io;
use std::sync::Arc;
use std::thread;

use thiserror::Error;
use tokio::sync::{Semaphore, oneshot};

/// Stack of the thread, in bytes of address space: the template engine uses up to 1 MiB in a release build, and several times
/// that without optimization. The memory is released when the thread ends.
const STACK_SIZE: usize = 8 << 20;

/// The work has no result.
#[derive(Debug, Error)]
pub enum Error {
    /// The operating system refused a thread.
    #[error("failed to start a thread for rendering")]
    Spawn {
        /// Cause.
        #[from]
        source: io::Error,
    },
    /// The work panicked.
    #[error("rendering panicked")]
    NoResult,
}

/// Runs one piece of work at a time.
///
/// A thread exists only while there is work, because an idle one would hold memory. The process does not wait for it when it
/// exits.
#[derive(Clone, Debug)]
pub struct Renderer {
    permit: Arc<Semaphore>,
}

impl Default for Renderer {
    fn default() -> Self {
        Self { permit: Arc::new(Semaphore::new(1)) }
    }
}

impl Renderer {
    /// The result of `work`, after all earlier work has ended.
    ///
    /// Work that has started runs to its end even if its result is no longer needed, so that a resource that is edited
    /// continuously does not start a thread with each edit.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let permit = self.permit.clone().acquire_owned().await.map_err(|_| Error::NoResult)?;
        let (send, result) = oneshot::channel();
        let thread =
            thread::Builder::new().name("rendering".to_owned()).stack_size(STACK_SIZE).spawn(move || {
                let _turn = permit;
                // The receiver is gone if the resource has changed meanwhile.
                let _ = send.send(work());
            })?;
        // Paused time in tests does not pass while a blocking task runs.
        #[cfg(test)]
        tokio::task::spawn_blocking(|| thread.join());
        #[cfg(not(test))]
        drop(thread);
        result.await.map_err(|_| Error::NoResult)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::server::{Readiness, Server};

    /// Ends work that is never released, so that a blocked runtime fails the test instead of hanging it.
    const STUCK_TIMEOUT: Duration = Duration::from_secs(20);

    async fn healthz(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// The runtime of the operator: one thread.
    #[tokio::test(flavor = "current_thread")]
    async fn probes_are_answered_and_timers_fire_during_long_work() {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::health(loopback, Readiness::default(), CancellationToken::new()).unwrap();
        let address = server.address().unwrap();
        server.spawn();
        let (release, released) = mpsc::channel::<()>();
        let renderer = Renderer::default();
        let work = renderer.run(move || released.recv_timeout(STUCK_TIMEOUT));
        let meanwhile = async {
            // As the election waits between two renewals of its Lease.
            tokio::time::sleep(Duration::from_millis(1)).await;
            let answer = healthz(address).await;
            release.send(()).unwrap();
            answer
        };
        let (result, answer) = tokio::join!(work, meanwhile);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(result.unwrap(), Ok(()), "the runtime was blocked");
    }

    #[tokio::test]
    async fn work_runs_sequentially_even_if_its_result_is_dropped() {
        let renderer = Renderer::default();
        let (release, released) = mpsc::channel::<()>();
        let (started, has_started) = oneshot::channel();
        let running = Arc::new(AtomicUsize::new(0));
        let first = {
            let running = running.clone();
            renderer.run(move || {
                running.fetch_add(1, Ordering::SeqCst);
                let _ = started.send(());
                let _ = released.recv_timeout(STUCK_TIMEOUT);
                running.fetch_sub(1, Ordering::SeqCst);
            })
        };
        let mut first = Box::pin(first);
        tokio::select! {
            _ = &mut first => unreachable!("nothing has released it"),
            started = has_started => started.unwrap(),
        }
        drop(first);
        let second = renderer.run(move || running.load(Ordering::SeqCst));
        let mut second = Box::pin(second);
        assert!(futures::poll!(&mut second).is_pending());
        release.send(()).unwrap();
        assert_eq!(second.await.unwrap(), 0);
    }
}
