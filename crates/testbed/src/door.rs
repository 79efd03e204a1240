//! What stands before an istiod: the ports of its pod's address, passed on to the address where the process listens.
//!
//! istiod ends at once when it is told to, and cuts off what it is answering. The API server keeps its connections to
//! webhooks, goes on to use them when the endpoint is gone, and does not repeat a call that was cut off. So an istiod that
//! ends refuses a pod now and then where pods are created all the time, whoever installed it. Tests that no pod is refused
//! would say nothing about the operator; here an istiod ends when nobody talks to it any more.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use futures::future::select_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

/// How long the door stays open for an API server that has not heard yet that the endpoint is gone.
const CLOSE_DELAY: Duration = Duration::from_millis(500);
/// A connection without a word for so long is not in use.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections that are still in use by then are cut off. A kubelet waits 30 s; a test on a busy machine may take longer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(300);
/// The address may be that of a pod that is gone, whose door is still open.
const BIND_TIMEOUT: Duration = Duration::from_secs(5);
const BUFFER: usize = 16 << 10;

/// Passes connections on; dropping it cuts them off.
#[derive(Debug)]
pub(crate) struct Door {
    closing: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Door {
    /// Listens at `ports` of the address `outside` and passes on to the same ports of `inside`.
    pub(crate) async fn open(outside: IpAddr, inside: IpAddr, ports: &[u16]) -> io::Result<Self> {
        let mut listeners = Vec::new();
        for port in ports {
            let listener = bind(SocketAddr::new(outside, *port)).await?;
            listeners.push((listener, SocketAddr::new(inside, *port)));
        }
        let (closing, is_closing) = watch::channel(false);
        Ok(Self { closing, serving: tokio::spawn(serve(listeners, is_closing)) })
    }

    /// Lets nobody in any more, and returns when the last one has left.
    pub(crate) async fn close(mut self) {
        self.closing.send_replace(true);
        // Not in time: the connections that are left end with this value.
        let _closed = timeout(CLOSE_TIMEOUT, &mut self.serving).await;
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let started = Instant::now();
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && started.elapsed() < BIND_TIMEOUT => {
                sleep(Duration::from_millis(50)).await;
            }
            bound => return bound,
        }
    }
}

async fn serve(listeners: Vec<(TcpListener, SocketAddr)>, closing: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let mut closed = pin!(after(closing.clone(), CLOSE_DELAY));
    loop {
        tokio::select! {
            accepted = next(&listeners) => {
                if let Ok((client, inside)) = accepted {
                    connections.spawn(pass_on(client, inside, closing.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
            () = &mut closed => break,
        }
    }
    drop(listeners);
    while connections.join_next().await.is_some() {}
}

/// The next connection at any of the ports, and where it leads.
async fn next(listeners: &[(TcpListener, SocketAddr)]) -> io::Result<(TcpStream, SocketAddr)> {
    let accepted = listeners.iter().map(|(listener, inside)| {
        Box::pin(async move { listener.accept().await.map(|(client, _)| (client, *inside)) })
    });
    select_all(accepted).await.0
}

/// Ends when the door closes and `pause` is over.
async fn after(mut closing: watch::Receiver<bool>, pause: Duration) {
    // The value that is waited for is a lock.
    drop(closing.wait_for(|is_closing| *is_closing).await);
    sleep(pause).await;
}

/// Passes on what either side says, until one hangs up, or until the door closes and istiod has had the last word.
async fn pass_on(
    mut client: TcpStream,
    inside: SocketAddr,
    closing: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut istiod = TcpStream::connect(inside).await?;
    client.set_nodelay(true)?;
    istiod.set_nodelay(true)?;
    let mut is_answered = true;
    let (mut question, mut answer) = (vec![0; BUFFER], vec![0; BUFFER]);
    loop {
        tokio::select! {
            read = client.read(&mut question) => {
                let length = read?;
                if length == 0 {
                    return Ok(());
                }
                istiod.write_all(&question[..length]).await?;
                is_answered = false;
            }
            read = istiod.read(&mut answer) => {
                let length = read?;
                if length == 0 {
                    return Ok(());
                }
                client.write_all(&answer[..length]).await?;
                is_answered = true;
            }
            () = after(closing.clone(), IDLE_TIMEOUT), if is_answered => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use tokio::sync::Notify;

    use super::*;

    const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 9, 0, 1));
    const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 9, 0, 2));

    /// Answers each question of four bytes with the same, when told to.
    async fn answer(listener: TcpListener, received: Arc<Notify>, may_answer: Arc<Notify>) -> io::Result<()> {
        let (mut stream, _) = listener.accept().await?;
        let mut question = [0; 4];
        loop {
            stream.read_exact(&mut question).await?;
            received.notify_one();
            may_answer.notified().await;
            stream.write_all(&question).await?;
        }
    }

    #[tokio::test]
    async fn requests_received_before_closing_are_answered() -> io::Result<()> {
        let (received, may_answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let listener = TcpListener::bind((INSIDE, 0)).await?;
        let port = listener.local_addr()?.port();
        tokio::spawn(answer(listener, Arc::clone(&received), Arc::clone(&may_answer)));
        let door = Door::open(OUTSIDE, INSIDE, &[port]).await?;
        let mut client = TcpStream::connect((OUTSIDE, port)).await?;
        client.write_all(b"ping").await?;
        received.notified().await;

        let closing = tokio::spawn(door.close());
        let cut_off = timeout(CLOSE_DELAY + IDLE_TIMEOUT * 2, client.readable()).await;
        assert!(cut_off.is_err(), "cut off without an answer");
        may_answer.notify_one();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await?;
        assert_eq!(answer, b"ping");
        assert!(closing.await.is_ok());
        assert!(TcpStream::connect((OUTSIDE, port)).await.is_err(), "the door is still open");
        Ok(())
    }

    #[tokio::test]
    async fn the_address_can_be_reused_while_a_connection_is_still_open() -> io::Result<()> {
        let listener = TcpListener::bind((INSIDE, 0)).await?;
        let port = listener.local_addr()?.port();
        let first = Door::open(OUTSIDE, INSIDE, &[port]).await?;
        let mut client = TcpStream::connect((OUTSIDE, port)).await?;
        client.write_all(b"ping").await?;
        let (_connection, _) = listener.accept().await?;
        let closing = tokio::spawn(first.close());
        let second = Door::open(OUTSIDE, INSIDE, &[port]).await?;
        assert!(!closing.is_finished(), "cut off");
        drop(second);
        closing.abort();
        Ok(())
    }
}
