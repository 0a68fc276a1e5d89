//! Lines that code says through `tracing` go to the gateway's log file, beside those of its machine.

use std::fmt;

use gatewarden_embedded_gateway::clock::Now;
use gatewarden_embedded_gateway::effect::{LogLevel, LogLine};
use gatewarden_embedded_gateway::log_file::LogFile;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Longest message or field, in bytes: what others send ends up in some of them.
const MAX_FIELD: usize = 8 * 1024;

/// Starts logging. Once a process; a second call does nothing.
pub(super) fn start(log: LogFile) {
    let _ = tracing_subscriber::registry().with(LogLayer(log)).try_init();
}

struct LogLayer(LogFile);

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let level = match *metadata.level() {
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warn,
            Level::INFO => LogLevel::Info,
            Level::DEBUG | Level::TRACE => LogLevel::Debug,
        };
        if !self.0.takes(level) || !is_worth_a_line(metadata.target(), *metadata.level()) {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = LogLine {
            level,
            source: source(metadata.target()),
            session: None,
            message: fields.message,
            extra: if fields.more.is_empty() { Value::Null } else { Value::Object(fields.more) },
        };
        self.0.write(&line, Now::read().wall_ms);
    }
}

/// Libraries are heard when something is wrong, but not of each connection that speaks no HTTP: strangers would fill the log.
fn is_worth_a_line(target: &str, level: Level) -> bool {
    match target.split("::").next() {
        Some(name) if name.starts_with("gatewarden") => level < Level::TRACE,
        Some("actix_http") => false,
        _ => level <= Level::WARN,
    }
}

/// `gateway/connection` for `gatewarden_embedded_gateway::connection::socket`, as real releases name their parts.
fn source(target: &str) -> String {
    let mut parts = target.split("::");
    match parts.next() {
        Some("gatewarden_embedded_gateway") => {
            parts.next().map_or_else(|| "gateway".to_owned(), |part| format!("gateway/{part}"))
        }
        Some("gatewarden") => "gateway".to_owned(),
        _ => target.to_owned(),
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    more: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, text: String) {
        let text = if text.len() > MAX_FIELD { text.chars().take(MAX_FIELD / 4).collect() } else { text };
        if field.name() == "message" {
            self.message = text;
        } else {
            self.more.insert(field.name().to_owned(), text.into());
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.more.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.more.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.more.insert(field.name().to_owned(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::{is_worth_a_line, source};

    #[test]
    fn strangers_who_speak_no_http_get_no_line() {
        assert!(!is_worth_a_line("actix_http::h1::dispatcher", Level::ERROR));
        assert!(is_worth_a_line("rustls::conn", Level::WARN) && !is_worth_a_line("rustls::conn", Level::INFO));
        assert!(is_worth_a_line("gatewarden::cli", Level::DEBUG) && !is_worth_a_line("gatewarden::cli", Level::TRACE));
    }

    #[test]
    fn parts_are_named_as_real_releases_name_theirs() {
        assert_eq!(source("gatewarden_embedded_gateway::connection::socket"), "gateway/connection");
        assert_eq!(source("gatewarden_embedded_gateway"), "gateway");
        assert_eq!(source("gatewarden::cli::gateway::run"), "gateway");
        assert_eq!(source("actix_server::worker"), "actix_server::worker");
    }
}
