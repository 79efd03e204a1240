//! Logs to standard error, as text or as JSON. It must not log the content of requests or Secrets: the spans of the HTTP client,
//! which contain addresses, are only logged if `RUST_LOG` enables them. Text of others is on one line and bounded: see
//! [`line`].

mod error_chain;
mod line;
mod time;

use std::io::IsTerminal;
use std::str::FromStr;

use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use self::error_chain::{error_chain, format_error_chain, status_code};
use self::line::{JsonLine, TextFields};
pub use self::time::TimeEncoding;

/// The configuration of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logging {
    /// The encoding of a line.
    pub encoder: Encoder,
    /// The minimum level.
    pub level: Level,
    /// The format of the time.
    pub time: TimeEncoding,
}

/// The encoding of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Encoder {
    /// Text, in color on a terminal
    Console,
    /// One JSON object per line
    Json,
}

/// The minimum level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(LevelFilter);

impl FromStr for Level {
    type Err = String;

    /// Parses zap's levels and verbosities. Levels above error are error here.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let level = match text.to_ascii_lowercase().as_str() {
            "error" | "dpanic" | "panic" | "fatal" => LevelFilter::ERROR,
            "warn" => LevelFilter::WARN,
            "info" => LevelFilter::INFO,
            "debug" => LevelFilter::DEBUG,
            other => match other.parse::<u8>() {
                Ok(1) => LevelFilter::DEBUG,
                Ok(2..) => LevelFilter::TRACE,
                _ => return Err("use error, warn, info, debug or a number above 0".to_owned()),
            },
        };
        Ok(Self(level))
    }
}

/// Logs all events of this process to standard error. `refinement` has further directives in the syntax of `RUST_LOG`, a target
/// and a level each, which take precedence over the level. Only the first call of a process has an effect.
pub fn init(logging: Logging, rust_log: Option<&str>) {
    // The only error is that a subscriber is already set, as when tests call this twice.
    let _ = build_subscriber(logging, rust_log, std::io::stderr().is_terminal(), std::io::stderr).try_init();
    for directive in directives(rust_log).filter(|directive| directive.parse::<Targets>().is_err()) {
        tracing::warn!(directive, "ignored a directive of RUST_LOG that is not target=level");
    }
}

/// A subscriber that writes events to `writer`, with colors if `is_colored`.
fn build_subscriber<W>(
    logging: Logging,
    rust_log: Option<&str>,
    is_colored: bool,
    writer: W,
) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = fmt::layer().fmt_fields(TextFields).with_writer(writer);
    let layer = match logging.encoder {
        Encoder::Console => layer.with_timer(logging.time).with_target(false).with_ansi(is_colored).boxed(),
        Encoder::Json => layer.with_ansi(false).event_format(JsonLine { time: logging.time }).boxed(),
    };
    tracing_subscriber::registry().with(build_filter(logging.level, rust_log)).with(layer)
}

/// The parts of `RUST_LOG`.
fn directives(rust_log: Option<&str>) -> impl Iterator<Item = &str> {
    rust_log.unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// The client logs each failed request as an error, which the caller reports with its object.
fn build_filter(level: Level, rust_log: Option<&str>) -> Targets {
    let base = Targets::new()
        .with_default(level.0)
        .with_target("kube_client::client::builder", LevelFilter::OFF)
        .with_target("hyper", LevelFilter::INFO)
        .with_target("rustls", LevelFilter::INFO);
    let further = directives(rust_log).filter_map(|directive| directive.parse::<Targets>().ok());
    further.fold(base, |filter, further| match further.default_level() {
        Some(level) => filter.with_default(level),
        None => filter.with_targets(further),
    })
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
        let enabled = |refinement: Option<&str>, target: &str, level: tracing::Level| {
            build_filter(Level(LevelFilter::INFO), refinement).would_enable(target, &level)
        };
        let (builder, own) = ("kube_client::client::builder", "istio_manager::apply");
        for (refinement, target, level, expected) in [
            (None, own, tracing::Level::INFO, true),
            (None, own, tracing::Level::DEBUG, false),
            (None, builder, tracing::Level::ERROR, false),
            (Some("kube_client::client::builder=debug"), builder, tracing::Level::DEBUG, true),
            (Some("kube_client::client::builder=debug"), own, tracing::Level::DEBUG, false),
            (Some("debug"), own, tracing::Level::DEBUG, true),
            (Some("debug"), builder, tracing::Level::ERROR, false),
            (Some("a=b=c,istio_manager=trace"), own, tracing::Level::TRACE, true),
            (Some(""), own, tracing::Level::INFO, true),
        ] {
            assert_eq!(enabled(refinement, target, level), expected, "{refinement:?} {target} {level}");
        }
    }
}
