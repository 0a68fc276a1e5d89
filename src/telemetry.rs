//! Log lines: for people, as JSON, or to the journal; always on standard error or past it, never on standard output. They are
//! written on a thread of their own: where nobody takes them they are dropped and counted, and nothing else notices.
//!
//! The rules for what is written stand in `CONTRIBUTING.md`.

mod journal_layer;

use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::Duration;

use gatewarden_actors::metrics::Metrics;
use gatewarden_line_writer::{LineWriter, Lost};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use self::journal_layer::JournalLayer;
use crate::config::{LogFormat, LogSettings};

/// How long what is queued may take to be written at the end of the process.
const FLUSH: Duration = Duration::from_secs(1);

/// Changes which lines are written while the daemon runs.
#[derive(Debug, Clone)]
pub(crate) struct LogControl {
    filter: reload::Handle<EnvFilter, Registry>,
    writer: LineWriter,
}

impl LogControl {
    /// Writes by a new filter from now on.
    pub(crate) fn set_filter(&self, filter: &str) -> Result<(), String> {
        let filter = read_filter(filter)?;
        self.filter.reload(filter).map_err(|error| error.to_string())
    }

    /// Waits until what is queued is written, a second at most: at the end of the process.
    pub(crate) fn flush(&self) {
        self.writer.flush(FLUSH);
    }
}

/// Starts logging. Once a process.
pub(crate) fn start(settings: &LogSettings) -> Result<LogControl, String> {
    let (filter, handle) = reload::Layer::new(read_filter(&settings.filter)?);
    let stderr = Surroundings::of_process();
    let output = resolve(settings.format, &stderr);
    let writer = match output {
        Output::Journal => LineWriter::to_journal(Lost::Call(say_lost))
            .map_err(|error| format!("The journal cannot be reached ({error}). Set log.format to json or pretty."))?,
        Output::Pretty | Output::Json => LineWriter::to_standard_error(Lost::Call(say_lost))
            .map_err(|error| format!("Logging cannot be started: {error}"))?,
    };
    let lines = writer.clone();
    let lines: Box<dyn Layer<_> + Send + Sync> = match output {
        Output::Pretty => fmt::layer().with_writer(move || lines.clone()).with_ansi(stderr.is_terminal).boxed(),
        Output::Json => fmt::layer().json().flatten_event(true).with_writer(move || lines.clone()).boxed(),
        Output::Journal => JournalLayer::new(lines).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .map_err(|error| format!("Logging cannot be started: {error}"))?;
    Ok(LogControl { filter: handle, writer })
}

/// By the writer's thread, once lines are taken again.
fn say_lost(lines: u64) {
    tracing::warn!(log.lines_lost = lines, "log lines were dropped: nobody took them fast enough");
}

/// The server library reports each of its threads at `info`, which tells an operator nothing, and each connection that speaks no
/// HTTP as an error, which lets every stranger fill the log. What the configuration says of it comes later and wins.
fn read_filter(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(format!("actix_server=warn,actix_http=off,{filter}"))
        .map_err(|error| format!("log.level: {error}"))
}

/// Counts what goes wrong with the log itself, and each panic; a panic is logged, then the process goes on without the actor or request that it cost.
pub(crate) fn watch(logs: &LogControl, metrics: Arc<Metrics>) {
    metrics.set_log_lines_lost(logs.writer.lost().clone());
    std::panic::set_hook(Box::new(move |panic| {
        metrics.count_panic();
        let thread = std::thread::current();
        tracing::error!(
            thread = thread.name().unwrap_or("unnamed"),
            location = panic.location().map(ToString::to_string),
            reason = panic.payload_as_str().unwrap_or("(no text)"),
            "a thread panicked; please report this as a bug"
        );
    }));
}

/// What the choice of a format depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Surroundings {
    is_terminal: bool,
    /// Device and inode of standard error.
    stderr: Option<(u64, u64)>,
    /// `$JOURNAL_STREAM`: device and inode of the journal's socket, as systemd set it up.
    journal_stream: Option<String>,
}

impl Surroundings {
    fn of_process() -> Self {
        Self {
            is_terminal: std::io::stderr().is_terminal(),
            stderr: std::fs::metadata("/proc/self/fd/2").ok().map(|meta| (meta.dev(), meta.ino())),
            journal_stream: std::env::var("JOURNAL_STREAM").ok(),
        }
    }

    /// Whether standard error goes to the journal. The variable alone proves nothing: children inherit it.
    fn is_journal(&self) -> bool {
        let named = self.journal_stream.as_deref().and_then(|stream| stream.split_once(':'));
        let named = named.and_then(|(device, inode)| Some((device.parse().ok()?, inode.parse().ok()?)));
        named.is_some() && named == self.stderr
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    Pretty,
    Json,
    Journal,
}

fn resolve(format: LogFormat, surroundings: &Surroundings) -> Output {
    match format {
        LogFormat::Pretty => Output::Pretty,
        LogFormat::Json => Output::Json,
        LogFormat::Journald => Output::Journal,
        LogFormat::Auto if surroundings.is_journal() => Output::Journal,
        LogFormat::Auto if surroundings.is_terminal => Output::Pretty,
        LogFormat::Auto => Output::Json,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(is_terminal: bool, journal_stream: Option<&str>) -> Surroundings {
        Surroundings { is_terminal, stderr: Some((8, 12345)), journal_stream: journal_stream.map(str::to_owned) }
    }

    #[test]
    fn the_journal_is_used_only_where_standard_error_is_its_socket() {
        assert_eq!(resolve(LogFormat::Auto, &surroundings(false, Some("8:12345"))), Output::Journal);
        for other in [Some("8:12346"), Some("nonsense"), Some(""), None] {
            assert_eq!(resolve(LogFormat::Auto, &surroundings(false, other)), Output::Json, "{other:?}");
        }
    }

    #[test]
    fn a_terminal_gets_lines_for_people() {
        assert_eq!(resolve(LogFormat::Auto, &surroundings(true, None)), Output::Pretty);
    }

    #[test]
    fn a_chosen_format_is_not_overruled() {
        assert_eq!(resolve(LogFormat::Json, &surroundings(true, Some("8:12345"))), Output::Json);
        assert_eq!(resolve(LogFormat::Pretty, &surroundings(false, Some("8:12345"))), Output::Pretty);
        assert_eq!(resolve(LogFormat::Journald, &surroundings(true, None)), Output::Journal);
    }
}
