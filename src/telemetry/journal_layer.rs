//! Events as entries of the journal, each field one of its own.

use std::fmt;

use gatewarden_line_writer::{JournalEntry, LineWriter};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Hands events to the writer of entries.
pub(super) struct JournalLayer(LineWriter);

impl JournalLayer {
    pub(super) fn new(writer: LineWriter) -> Self {
        Self(writer)
    }
}

impl<S: Subscriber> Layer<S> for JournalLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.write(entry(event));
    }
}

fn entry(event: &Event<'_>) -> JournalEntry {
    let metadata = event.metadata();
    let mut fields = Fields(JournalEntry::default());
    fields.0.field("PRIORITY", priority(*metadata.level()));
    fields.0.field("SYSLOG_IDENTIFIER", "gatewarden");
    fields.0.field("TARGET", metadata.target());
    if let Some(file) = metadata.file() {
        fields.0.field("CODE_FILE", file);
    }
    if let Some(line) = metadata.line() {
        fields.0.field("CODE_LINE", &line.to_string());
    }
    event.record(&mut fields);
    fields.0
}

/// The levels of syslog.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "5",
        Level::DEBUG => "6",
        Level::TRACE => "7",
    }
}

struct Fields(JournalEntry);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.field(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.field(field.name(), &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    struct Keep(Arc<Mutex<Vec<Vec<u8>>>>);

    impl<S: Subscriber> Layer<S> for Keep {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(entry(event).into());
        }
    }

    #[test]
    fn an_event_becomes_an_entry_with_its_level_and_fields() {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Keep(kept.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(gateway.id = 7, gateway.name = "a b", reason = %"x", "went away");
        });
        let kept = kept.lock().unwrap();
        let text = String::from_utf8_lossy(&kept[0]);
        for line in ["PRIORITY=4", "MESSAGE=went away", "GATEWAY_ID=7", "GATEWAY_NAME=a b", "REASON=x"] {
            assert!(text.lines().any(|one| one == line), "{line} in {text}");
        }
    }
}
