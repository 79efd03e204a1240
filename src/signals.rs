//! Turns the signals that ask a process to stop into a value that everything can wait for. It stops nothing itself.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Why the signals cannot be received.
#[derive(Debug, thiserror::Error)]
#[error("the handler of {name} cannot be installed")]
pub struct ShutdownError {
    name: &'static str,
    source: io::Error,
}

/// A token that is cancelled by the first SIGTERM or SIGINT. A second signal ends the process at once, so that a
/// person at a terminal is never stuck.
///
/// Must be called inside a tokio runtime; handlers are in place when it returns.
pub fn on_signal() -> Result<CancellationToken, ShutdownError> {
    let install = |name, kind| signal(kind).map_err(|source| ShutdownError { name, source });
    let mut terminate = install("SIGTERM", SignalKind::terminate())?;
    let mut interrupt = install("SIGINT", SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let shutdown = token.clone();
    tokio::spawn(async move {
        let name = next_signal(&mut terminate, &mut interrupt).await;
        info!("{name} received, stopping; a second signal exits at once");
        shutdown.cancel();
        next_signal(&mut terminate, &mut interrupt).await;
        std::process::exit(1);
    });
    Ok(token)
}

async fn next_signal(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
