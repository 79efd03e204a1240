//! Logs to standard error, as text for people or as JSON for collectors. It must not log what a request or a Secret
//! contains: the HTTP client's own spans, which carry addresses, are only shown when asked for by `RUST_LOG`.

mod causes;
mod time;

use std::str::FromStr;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::SubscriberBuilder;

pub use causes::{answer_code, causes, one_line};
pub use time::TimeEncoding;

/// How to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logging {
    /// The form of a line.
    pub encoder: Encoder,
    /// The least severity that is logged.
    pub level: Level,
    /// The form of a line's time.
    pub time: TimeEncoding,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Encoder {
    /// Text for people, in colour on a terminal
    Console,
    /// One JSON object per line
    Json,
}

/// The least severity that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(LevelFilter);

impl FromStr for Level {
    type Err = String;

    /// Reads the names of zap's levels and its verbosities; what is worse than an error there is an error here.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let level = match text.to_ascii_lowercase().as_str() {
            "error" | "dpanic" | "panic" | "fatal" => LevelFilter::ERROR,
            "warn" => LevelFilter::WARN,
            "info" => LevelFilter::INFO,
            "debug" => LevelFilter::DEBUG,
            other => match other.parse::<u8>() {
                Ok(1) => LevelFilter::DEBUG,
                Ok(2..) => LevelFilter::TRACE,
                _ => return Err("write error, warn, info, debug or a number above 0".to_owned()),
            },
        };
        Ok(Self(level))
    }
}

/// Sends all events of this process to standard error from now on. `refinement` holds further directives in the
/// syntax of `RUST_LOG` and wins over the level. Only the first call of a process has an effect.
pub fn init(logging: Logging, refinement: Option<&str>) {
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter(logging.level, refinement));
    // The only error is that a subscriber is set already, as when tests call this twice.
    let _ = match logging.encoder {
        Encoder::Console => console(builder, logging.time),
        Encoder::Json => builder.with_timer(logging.time).json().flatten_event(true).try_init(),
    };
}

fn console<F>(
    builder: SubscriberBuilder<
        tracing_subscriber::fmt::format::DefaultFields,
        tracing_subscriber::fmt::format::Format,
        EnvFilter,
        F,
    >,
    time: TimeEncoding,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    F: for<'writer> tracing_subscriber::fmt::MakeWriter<'writer> + Send + Sync + 'static,
{
    use std::io::IsTerminal;
    builder.with_timer(time).with_target(false).with_ansi(std::io::stderr().is_terminal()).try_init()
}

/// The client logs each failed request as an error of its own; the caller reports it with its object instead.
fn filter(level: Level, refinement: Option<&str>) -> EnvFilter {
    let base = format!("{},kube_client::client::builder=off,hyper=info,rustls=info", level.0);
    let directives = refinement.map_or(base.clone(), |more| format!("{base},{more}"));
    EnvFilter::builder().parse_lossy(directives)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_zap_are_understood() {
        for (text, expected) in [
            ("error", LevelFilter::ERROR),
            ("panic", LevelFilter::ERROR),
            ("warn", LevelFilter::WARN),
            ("info", LevelFilter::INFO),
            ("INFO", LevelFilter::INFO),
            ("debug", LevelFilter::DEBUG),
            ("1", LevelFilter::DEBUG),
            ("2", LevelFilter::TRACE),
            ("10", LevelFilter::TRACE),
        ] {
            assert_eq!(text.parse(), Ok(Level(expected)), "{text}");
        }
        for text in ["", "0", "-1", "loud"] {
            assert!(text.parse::<Level>().is_err(), "{text}");
        }
    }

    #[test]
    fn rust_log_wins_over_the_level() {
        let quiet = filter(Level(LevelFilter::INFO), None).to_string();
        assert!(quiet.contains("info") && quiet.contains("kube_client::client::builder=off"), "{quiet}");
        let loud = filter(Level(LevelFilter::INFO), Some("kube_client::client::builder=debug")).to_string();
        assert!(loud.contains("kube_client::client::builder=debug"), "{loud}");
    }
}
