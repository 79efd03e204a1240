//! The time of a log line in the encodings of zap.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime as Rfc3339};

/// The format of the time of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TimeEncoding {
    /// Seconds since 1970
    Epoch,
    /// Milliseconds since 1970
    Millis,
    /// Nanoseconds since 1970
    Nano,
    /// As 2026-08-27T12:45:20.123456Z
    #[value(name = "rfc3339", alias = "rfc3339nano", alias = "iso8601")]
    Rfc3339,
}

impl FormatTime for TimeEncoding {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        // A clock before 1970 must not lose the line.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        match self {
            Self::Epoch => write!(writer, "{}.{:06}", since.as_secs(), since.subsec_micros()),
            Self::Millis => write!(writer, "{}", since.as_millis()),
            Self::Nano => write!(writer, "{}", since.as_nanos()),
            Self::Rfc3339 => Rfc3339.format_time(writer),
        }
    }
}
