//! Where the operator's work begins: waits for leadership, then runs the controllers until the process stops.
//! It starts and stops; what a controller does is decided in the modules after it.

use crate::context::Context;

/// Why the controllers ended before the process was told to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

/// Runs the controllers until `context.shutdown` is cancelled.
pub async fn run(context: Context) -> Result<(), Error> {
    context.shutdown.cancelled().await;
    Ok(())
}
