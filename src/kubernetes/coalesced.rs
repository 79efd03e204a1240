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
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(250);

/// Marks a request whose answer goes on, and may come up to a quarter of a second late.
#[derive(Clone, Copy, Debug)]
pub struct Coalesce;

/// The connection.
pub(super) struct Coalesced {
    tcp: TcpStream,
    /// When the socket is looked at next.
    pause: Pin<Box<Sleep>>,
    next_pause: Duration,
}

impl Coalesced {
    /// Takes the socket of an open connection from the runtime. The keepalive of the socket has to notice when the other end
    /// is gone.
    pub(super) fn new(tcp: tokio::net::TcpStream) -> io::Result<Self> {
        let pause = Box::pin(sleep_until(Instant::now()));
        Ok(Self { tcp: tcp.into_std()?, pause, next_pause: FIRST_PAUSE })
    }

    /// As [`Coalesced::new`], for a connector.
    pub(super) fn connected<E: Into<BoxError>>(
        opened: Result<TokioIo<tokio::net::TcpStream>, E>,
    ) -> Result<TokioIo<Self>, BoxError> {
        let tcp = opened.map_err(Into::into)?;
        Ok(TokioIo::new(Self::new(tcp.into_inner())?))
    }

    fn pause(&mut self) {
        self.pause.as_mut().reset(Instant::now() + self.next_pause);
        self.next_pause = LAST_PAUSE.min(self.next_pause * 2);
    }

    /// Sets the pauses back: an answer comes soon.
    fn expect(&mut self) {
        self.next_pause = FIRST_PAUSE;
        self.pause();
    }
}

impl AsyncRead for Coalesced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.initialize_unfilled();
        loop {
            ready!(self.pause.as_mut().poll(context));
            match self.tcp.read(room) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.pause(),
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

impl AsyncWrite for Coalesced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            // Not after a pause, which begins anew with each write: it would never be over.
            let written = self.tcp.write(data);
            self.expect();
            match written {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(self.pause.as_mut().poll(context));
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

impl Connection for Coalesced {
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

    async fn pair() -> (Coalesced, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Coalesced::new(near).unwrap(), listener.accept().await.unwrap().0)
    }

    /// Makes the pauses as long as they get.
    async fn rest(near: &mut Coalesced) {
        let nothing = tokio::time::timeout(4 * LAST_PAUSE, near.read_u8()).await;
        assert!(nothing.is_err(), "{nothing:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_during_a_pause_is_read_after_it_in_one_go() {
        let (mut near, mut far) = pair().await;
        rest(&mut near).await;
        let mut buffer = [0; 8];
        for part in [b"ab", b"cd"] {
            far.write_all(part).await.unwrap();
            assert!(near.read(&mut buffer).now_or_never().is_none(), "read in a pause");
        }
        let before = Instant::now();
        assert_eq!(near.read(&mut buffer).await.unwrap(), 4);
        assert!(before.elapsed() <= LAST_PAUSE, "{:?}", before.elapsed());
        assert_eq!(&buffer[..4], b"abcd");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_not_waited_for_as_long_as_news() {
        let (mut near, mut far) = pair().await;
        rest(&mut near).await;
        assert!(near.write_all(b"?").now_or_never().is_some(), "sent after a pause");
        assert_eq!(far.read_u8().await.unwrap(), b'?');
        far.write_all(b"!").await.unwrap();
        let before = Instant::now();
        assert_eq!(near.read_u8().await.unwrap(), b'!');
        assert!(before.elapsed() <= 2 * FIRST_PAUSE, "{:?}", before.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_other_side_is_noticed() {
        let (mut near, far) = pair().await;
        rest(&mut near).await;
        drop(far);
        assert_eq!(near.read_u8().await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
}
