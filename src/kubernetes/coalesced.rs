//! A TCP connection whose reads are coalesced: it is read a few times a second, all that has come by then in one go.
//!
//! A watch of a busy kind tells something each few milliseconds. Who waits on the socket is woken for each bit, and to wake up
//! costs more than to read it. So the socket is not registered with the runtime; a timer decides when to look.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tower::BoxError;

/// Pauses after something was sent, whose answer is waited for, double from the first to the last and stay there.
const MIN_READ_DELAY: Duration = Duration::from_millis(1);
const MAX_READ_DELAY: Duration = Duration::from_millis(250);

/// Marks a request whose answer goes on, and may come up to a quarter of a second late.
#[derive(Clone, Copy, Debug)]
pub struct Coalesce;

/// The connection.
pub(super) struct CoalescedConnection {
    tcp: TcpStream,
    /// When the socket is looked at next.
    delay: Pin<Box<Sleep>>,
    next_delay: Duration,
}

impl CoalescedConnection {
    /// Takes the socket of an open connection from the runtime. The keepalive of the socket has to notice when the other end
    /// is gone.
    pub(super) fn new(tcp: tokio::net::TcpStream) -> io::Result<Self> {
        let pause = Box::pin(sleep_until(Instant::now()));
        Ok(Self { tcp: tcp.into_std()?, delay: pause, next_delay: MIN_READ_DELAY })
    }

    /// As [`CoalescedConnection::new`], for a connector.
    pub(super) fn connected<E: Into<BoxError>>(
        opened: Result<TokioIo<tokio::net::TcpStream>, E>,
    ) -> Result<TokioIo<Self>, BoxError> {
        let tcp = opened.map_err(Into::into)?;
        Ok(TokioIo::new(Self::new(tcp.into_inner())?))
    }

    fn delay_next_read(&mut self) {
        self.delay.as_mut().reset(Instant::now() + self.next_delay);
        self.next_delay = MAX_READ_DELAY.min(self.next_delay * 2);
    }

    /// Sets the pauses back: an answer comes soon.
    fn expect_response(&mut self) {
        self.next_delay = MIN_READ_DELAY;
        self.delay_next_read();
    }
}

impl AsyncRead for CoalescedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.initialize_unfilled();
        loop {
            ready!(self.delay.as_mut().poll(context));
            match self.tcp.read(room) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.delay_next_read(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(read) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for CoalescedConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            // Not after a pause, which begins anew with each write: it would never be over.
            let written = self.tcp.write(data);
            self.expect_response();
            match written {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(self.delay.as_mut().poll(context));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.tcp.shutdown(Shutdown::Write))
    }
}

impl Connection for CoalescedConnection {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (CoalescedConnection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (CoalescedConnection::new(near).unwrap(), listener.accept().await.unwrap().0)
    }

    /// Makes the pauses as long as they get.
    async fn rest(near: &mut CoalescedConnection) {
        let nothing = tokio::time::timeout(4 * MAX_READ_DELAY, near.read_u8()).await;
        assert!(nothing.is_err(), "{nothing:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn data_during_a_delay_is_read_at_once_after_it() {
        let (mut near, mut far) = pair().await;
        rest(&mut near).await;
        let mut buffer = [0; 8];
        for part in [b"ab", b"cd"] {
            far.write_all(part).await.unwrap();
            assert!(near.read(&mut buffer).now_or_never().is_none(), "read in a pause");
        }
        let before = Instant::now();
        assert_eq!(near.read(&mut buffer).await.unwrap(), 4);
        assert!(before.elapsed() <= MAX_READ_DELAY, "{:?}", before.elapsed());
        assert_eq!(&buffer[..4], b"abcd");
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_is_read_sooner_than_events() {
        let (mut near, mut far) = pair().await;
        rest(&mut near).await;
        assert!(near.write_all(b"?").now_or_never().is_some(), "sent after a pause");
        assert_eq!(far.read_u8().await.unwrap(), b'?');
        far.write_all(b"!").await.unwrap();
        let before = Instant::now();
        assert_eq!(near.read_u8().await.unwrap(), b'!');
        assert!(before.elapsed() <= 2 * MIN_READ_DELAY, "{:?}", before.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_connection_is_detected() {
        let (mut near, far) = pair().await;
        rest(&mut near).await;
        drop(far);
        assert_eq!(near.read_u8().await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
}
