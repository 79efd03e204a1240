//! Formats the fields of a log line: on one line, without control characters and bounded in size.
//!
//! A field can quote text of others, such as an admission webhook, which could forge a log line with a line break.

use std::fmt::{self, Debug};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::{MakeExt, RecordFields};
use tracing_subscriber::fmt::format::{self, FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::TimeEncoding;
use crate::text::sanitized;

/// Maximum size of one field, in bytes. Longer than a rejection, which names ten problems of a kibibyte each.
const MAX_FIELD_BYTES: usize = 16 << 10;

/// Writes the fields of an event or a span as text: the message, and everything else as `name=value`.
pub(super) struct TextFields;

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let one = |writer: &mut Writer<'_>, field: &Field, value: &dyn Debug| {
            let text = sanitized(&format!("{value:?}"), MAX_FIELD_BYTES);
            match field.name() {
                "message" => writer.write_str(&text),
                name => write!(writer, "{name}={text}"),
            }
        };
        format::debug_fn(one).delimited(" ").format_fields(writer, fields)
    }
}

/// Writes an event as one JSON object: `timestamp`, `level`, the fields of the event, `target`, and in `spans` those that
/// it happened in, outermost first.
pub(super) struct JsonLine {
    /// The format of `timestamp`.
    pub time: TimeEncoding,
}

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        self.time.format_time(&mut Writer::new(&mut time))?;
        let mut line = Map::new();
        line.insert("timestamp".to_owned(), time.into());
        line.insert("level".to_owned(), event.metadata().level().as_str().into());
        event.record(&mut JsonFields(&mut line));
        line.entry("target").or_insert_with(|| event.metadata().target().into());
        let spans: Vec<Value> = context
            .event_scope()
            .into_iter()
            .flat_map(tracing_subscriber::registry::Scope::from_root)
            .map(|span| match span.extensions().get::<FormattedFields<N>>() {
                Some(fields) if !fields.is_empty() => format!("{}{{{fields}}}", span.name()).into(),
                _ => span.name().into(),
            })
            .collect();
        if !spans.is_empty() {
            line.entry("spans").or_insert(spans.into());
        }
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// Collects fields as JSON. A field never replaces an existing one, such as the level.
struct JsonFields<'m>(&'m mut Map<String, Value>);

impl JsonFields<'_> {
    fn add(&mut self, field: &Field, value: Value) {
        self.0.entry(field.name()).or_insert(value);
    }
}

impl Visit for JsonFields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, sanitized(value, MAX_FIELD_BYTES).into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, sanitized(&format!("{value:?}"), MAX_FIELD_BYTES).into());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;
    use crate::telemetry::{Encoder, Logging, build_subscriber};
    use crate::text::is_unsafe;

    #[derive(Clone, Default)]
    struct LogBuffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for LogBuffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'w> MakeWriter<'w> for LogBuffer {
        type Writer = Self;

        fn make_writer(&'w self) -> Self {
            self.clone()
        }
    }

    /// What is logged by `events`.
    fn logged(encoder: Encoder, events: impl FnOnce()) -> String {
        let buffer = LogBuffer::default();
        let logging = Logging { encoder, level: "2".parse().unwrap(), time: TimeEncoding::Rfc3339 };
        tracing::subscriber::with_default(build_subscriber(logging, None, false, buffer.clone()), events);
        String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap()
    }

    const HOSTILE: &str =
        "denied\n2026-01-01T00:00:00Z  INFO reconciled\r\u{1b}[2J\u{7}\u{85}\u{9b}\u{2028}\u{202e}\0";

    #[test]
    fn no_field_of_an_event_or_span_breaks_a_line_or_hides_text() {
        for encoder in [Encoder::Console, Encoder::Json] {
            let text = logged(encoder, || {
                let span = tracing::info_span!("reconciling", object = HOSTILE, other = %HOSTILE);
                let _entered = span.enter();
                let error = io::Error::other(HOSTILE);
                tracing::info!(text = HOSTILE, shown = %HOSTILE, debugged = ?HOSTILE, failed = &error as &dyn std::error::Error, "{HOSTILE}");
                tracing::info!("the next");
            });
            assert_eq!(text.matches('\n').count(), 2, "{encoder:?}: {text}");
            let shown = text.replace('\n', "");
            assert!(!shown.chars().any(is_unsafe), "{encoder:?}: {text:?}");
            assert!(text.contains("denied 2026"), "{encoder:?}: {text}");
            for line in text.lines().filter(|_| encoder == Encoder::Json) {
                let line: Value = serde_json::from_str(line).unwrap();
                let texts = line.as_object().unwrap().values().filter_map(Value::as_str);
                assert!(texts.flat_map(str::chars).all(|shown| !is_unsafe(shown)), "{line}");
            }
        }
    }

    #[test]
    fn a_field_is_bounded() {
        let long = "x".repeat(4 << 20);
        for encoder in [Encoder::Console, Encoder::Json] {
            let text = logged(encoder, || tracing::info!(text = long, "{long}"));
            assert!(text.len() < 3 * MAX_FIELD_BYTES, "{encoder:?}: {}", text.len());
        }
    }

    #[test]
    fn a_json_line_has_the_fields_with_their_types() {
        let text = logged(Encoder::Json, || {
            let span = tracing::info_span!("reconciling", object = "default");
            let _entered = span.enter();
            tracing::warn!(
                count = 3_u64,
                delta = -1,
                ratio = 0.5,
                done = true,
                name = "a",
                level = "forged",
                "it \"is\" {}",
                1
            );
        });
        let mut line: Value = serde_json::from_str(&text).unwrap();
        let time = line.as_object_mut().unwrap().shift_remove("timestamp").unwrap();
        assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
        let expected = serde_json::json!({
            "level": "WARN", "message": "it \"is\" 1", "count": 3, "delta": -1, "ratio": 0.5, "done": true, "name": "a",
            "target": module_path!(), "spans": ["reconciling{object=\"default\"}"],
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn a_text_line_shows_message_and_fields() {
        let text = logged(Encoder::Console, || {
            tracing::info!(count = 3, name = "a", object = %"b", "done");
        });
        assert!(text.ends_with(" INFO done count=3 name=\"a\" object=b\n"), "{text}");
    }
}
