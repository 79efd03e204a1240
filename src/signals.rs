//! Translates the signals that stop a process into a cancellation token. It stops nothing itself.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// A signal handler could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("failed to install a handler for {name}")]
pub struct ShutdownError {
    name: &'static str,
    source: io::Error,
}

/// A token that is cancelled by the first SIGTERM or SIGINT. A second signal exits immediately, so that a terminal is never
/// blocked.
///
/// Must be called inside a tokio runtime. The handlers are installed when it returns.
pub fn on_signal() -> Result<CancellationToken, ShutdownError> {
    let install = |name, kind| signal(kind).map_err(|source| ShutdownError { name, source });
    let mut terminate = install("SIGTERM", SignalKind::terminate())?;
    let mut interrupt = install("SIGINT", SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let shutdown = token.clone();
    tokio::spawn(async move {
        let name = next_signal(&mut terminate, &mut interrupt).await;
        info!("received {name}, stopping. A second signal exits immediately");
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
