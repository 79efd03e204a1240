//! Waits for what nobody can be watched for: it is asked for again and again.

use std::error::Error;
use std::time::Duration;

/// How long it is waited between two questions.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Asks until there is an answer, at most `deadline`; the first error ends it. `what` completes the sentence "no … within 10 s".
pub async fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut ask: impl AsyncFnMut() -> Result<Option<T>, Box<dyn Error>>,
) -> Result<T, Box<dyn Error>> {
    let asking = async {
        loop {
            if let Some(answer) = ask().await? {
                return Ok(answer);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::time::timeout(deadline, asking).await.map_err(|_| format!("no {what} within {deadline:?}"))?
}
