//! A follower of one gateway's log: its bounded queue, filled by the gateway's actor and read by whoever follows.
//!
//! The reader's end is also the lease: while it is held the gateway is asked for new lines, once it is dropped it isn't.

use std::sync::Arc;

use gatewarden_protocol::{LogEntry, LogLevel};
use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::lagging_queue::{Capacity, LaggingReceiver, LaggingSender, Lossy, lagging_queue};
pub use crate::machines::log_tail::{LogCursor, LogGap};
use crate::metrics::Metrics;

/// Entries that may wait for one follower; beyond that it loses the oldest.
const QUEUE_ENTRIES: usize = 5_000;
/// Bytes of entries that may wait for one follower.
const QUEUE_BYTES: usize = 1024 * 1024;

/// Where a follower begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogBegin {
    /// With what is written from now on.
    Now,
    /// With so many of the newest entries that it wants to see.
    Newest(usize),
    /// After the last entry that it saw.
    After(LogCursor),
}

/// What a follower wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRequest {
    /// Where it begins.
    pub begin: LogBegin,
    /// This level and graver ones; none for all.
    pub level: Option<LogLevel>,
}

impl LogRequest {
    fn wants(&self, entry: &LogEntry) -> bool {
        self.level.is_none_or(|level| entry.is_at_least(level))
    }
}

/// What a follower gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum LogDelivery {
    /// The next entry.
    Entry {
        /// The entry.
        entry: Arc<LogEntry>,
        /// The place after it, at the last entry of those that came together: whoever comes back with it goes on after it.
        cursor: Option<LogCursor>,
    },
    /// The follower was too slow: this many of its oldest entries were dropped.
    Lagged {
        /// How many.
        dropped: u64,
    },
    /// Entries may be missing here.
    Gap(LogGap),
    /// Nothing comes for now: the connection is gone, or the gateway doesn't answer.
    Interrupted,
    /// It goes on.
    Resumed,
    /// The gateway gives out no log any more: the last delivery.
    Over(Failure),
}

impl LogDelivery {
    /// A notice as a sentence; an entry's own message.
    pub fn sentence(&self, gateway: &str) -> String {
        match self {
            Self::Entry { entry, .. } => entry.message.clone(),
            Self::Lagged { dropped } => format!("{dropped} entries were dropped: they were not taken fast enough"),
            Self::Gap(gap) => gap.sentence(gateway),
            Self::Interrupted => {
                format!("Nothing comes from the log of gateway \"{gateway}\" for now; it goes on by itself")
            }
            Self::Resumed => format!("The log of gateway \"{gateway}\" goes on"),
            Self::Over(failure) => failure.message.clone(),
        }
    }
}

impl Lossy for LogDelivery {
    fn lagged(dropped: u64) -> Self {
        Self::Lagged { dropped }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Entry { entry, .. } => entry.weight(),
            _ => 0,
        }
    }
}

/// The end of the gateway's actor.
#[derive(Debug)]
pub(crate) struct LogFeed {
    queue: LaggingSender<LogDelivery>,
    request: LogRequest,
}

/// The follower's end. Dropping it ends the following.
#[derive(Debug)]
pub struct LogSubscription {
    queue: LaggingReceiver<LogDelivery>,
    begins_at: Option<LogCursor>,
    metrics: Arc<Metrics>,
}

/// Makes both ends, with what the follower begins with.
pub(crate) fn pair(
    request: LogRequest,
    metrics: &Arc<Metrics>,
    entries: &[Arc<LogEntry>],
    cursor: Option<LogCursor>,
    gap: Option<LogGap>,
) -> (LogFeed, LogSubscription) {
    let wanted: Vec<&Arc<LogEntry>> = entries.iter().filter(|entry| request.wants(entry)).collect();
    let surplus = match request.begin {
        LogBegin::Newest(newest) => wanted.len().saturating_sub(newest),
        LogBegin::Now | LogBegin::After(_) => 0,
    };
    let begins_at = cursor.filter(|_| wanted.len() == surplus);
    let shown = together(wanted.into_iter().skip(surplus).cloned(), cursor);
    let first = gap.map(LogDelivery::Gap).into_iter().chain(shown);
    // What a follower begins with is bounded by what a gateway gives out at once.
    let (sender, receiver) = lagging_queue(Capacity { items: QUEUE_ENTRIES, bytes: QUEUE_BYTES }, first);
    metrics.log_watcher_came();
    let subscription = LogSubscription { queue: receiver, begins_at, metrics: metrics.clone() };
    (LogFeed { queue: sender, request }, subscription)
}

/// Both ends of a log that another node follows for this one: what comes is chosen there.
pub(crate) fn relayed(
    request: LogRequest,
    metrics: &Arc<Metrics>,
    begins_at: Option<LogCursor>,
) -> (LogFeed, LogSubscription) {
    let (feed, mut subscription) = pair(request, metrics, &[], None, None);
    subscription.begins_at = begins_at;
    (feed, subscription)
}

/// Entries that came together: only the last one has the place after them all.
fn together(
    entries: impl Iterator<Item = Arc<LogEntry>>,
    cursor: Option<LogCursor>,
) -> impl Iterator<Item = LogDelivery> {
    let mut entries = entries.peekable();
    std::iter::from_fn(move || {
        let entry = entries.next()?;
        let is_last = entries.peek().is_none();
        Some(LogDelivery::Entry { entry, cursor: cursor.filter(|_| is_last) })
    })
}

impl LogFeed {
    /// Whether somebody still reads.
    pub(crate) fn is_read(&self) -> bool {
        self.queue.is_read()
    }

    /// Queues new entries that the follower wants to see.
    pub(crate) fn entries(&self, entries: &[Arc<LogEntry>], cursor: Option<LogCursor>) {
        let wanted = entries.iter().filter(|entry| self.request.wants(entry)).cloned();
        self.queue.send(together(wanted, cursor));
    }

    /// Queues a notice, or an entry that was chosen already.
    pub(crate) fn notice(&self, notice: LogDelivery) {
        self.queue.send([notice]);
    }
}

impl LogSubscription {
    /// The place in the log after which entries come; none where there were entries to begin with, which tell their place
    /// themselves, or where the log has no places.
    pub fn begins_at(&self) -> Option<LogCursor> {
        self.begins_at
    }

    /// The next delivery; `None` once the gateway's actor is gone and all is read.
    pub async fn next(&self) -> Option<LogDelivery> {
        self.queue.next().await
    }
}

impl Drop for LogSubscription {
    fn drop(&mut self) {
        self.metrics.log_watcher_left();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn entries(messages: &[&str]) -> Vec<Arc<LogEntry>> {
        messages.iter().map(|message| Arc::new(LogEntry::plain(message))).collect()
    }

    fn request(begin: LogBegin) -> LogRequest {
        LogRequest { begin, level: None }
    }

    /// What waits: messages, with `!` and the place behind the last of each batch; notices in words.
    fn waiting(subscription: &LogSubscription) -> Vec<String> {
        let mut shown = Vec::new();
        while let Some(Some(delivery)) = subscription.next().now_or_never() {
            shown.push(match delivery {
                LogDelivery::Entry { entry, cursor: None } => entry.message.clone(),
                LogDelivery::Entry { entry, cursor: Some(cursor) } => format!("{}!{}", entry.message, cursor.at),
                other => format!("{other:?}"),
            });
        }
        shown
    }

    fn place(at: u64) -> Option<LogCursor> {
        Some(LogCursor::new(None, at))
    }

    #[test]
    fn a_follower_begins_with_the_newest_entries_that_it_wants_to_see() {
        let metrics = Arc::new(Metrics::new());
        let of = |level, message: &str| Arc::new(LogEntry { level: Some(level), ..LogEntry::plain(message) });
        let log =
            [of(LogLevel::Error, "a"), of(LogLevel::Warn, "b"), of(LogLevel::Info, "c"), of(LogLevel::Fatal, "d")];
        let request = LogRequest { begin: LogBegin::Newest(2), level: Some(LogLevel::Warn) };
        let (feed, subscription) = pair(request, &metrics, &log, place(9), None);
        assert_eq!(waiting(&subscription), ["b", "d!9"]);
        feed.entries(&log, place(18));
        assert_eq!(waiting(&subscription), ["a", "b", "d!18"]);
    }

    #[test]
    fn notices_keep_their_place_among_the_entries() {
        let (feed, subscription) =
            pair(request(LogBegin::Now), &Arc::new(Metrics::new()), &[], None, Some(LogGap::NotThere));
        feed.entries(&entries(&["a"]), None);
        feed.notice(LogDelivery::Interrupted);
        feed.notice(LogDelivery::Resumed);
        feed.entries(&entries(&["b"]), None);
        assert_eq!(waiting(&subscription), ["Gap(NotThere)", "a", "Interrupted", "Resumed", "b"]);
    }

    #[test]
    fn a_slow_follower_loses_the_oldest_entries_and_hears_how_many() {
        let (feed, subscription) = pair(request(LogBegin::Now), &Arc::new(Metrics::new()), &[], None, None);
        for n in 0..QUEUE_ENTRIES + 7 {
            feed.entries(&entries(&[&n.to_string()]), None);
        }
        let heard = waiting(&subscription);
        assert_eq!(heard[..2], ["Lagged { dropped: 7 }", "7"]);
        assert_eq!(heard.len(), QUEUE_ENTRIES + 1);
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_too() {
        let (feed, subscription) = pair(request(LogBegin::Now), &Arc::new(Metrics::new()), &[], None, None);
        let long = "x".repeat(4_000);
        for _ in 0..2_000 {
            feed.entries(&entries(&[&long]), None);
        }
        let heard = waiting(&subscription);
        assert!(heard.len() * 4_000 <= QUEUE_BYTES, "{}", heard.len());
        assert_eq!(heard[0], format!("Lagged {{ dropped: {} }}", 2_000 - (heard.len() - 1)));
    }

    #[test]
    fn the_reader_ends_the_feed_and_the_feed_ends_the_reader() {
        let metrics = Arc::new(Metrics::new());
        let (feed, subscription) = pair(request(LogBegin::Now), &metrics, &[], None, None);
        feed.entries(&entries(&["a"]), None);
        drop(feed);
        assert_eq!(waiting(&subscription), ["a"]);
        assert_eq!(subscription.next().now_or_never(), Some(None));
        let (feed, subscription) = pair(request(LogBegin::Now), &metrics, &[], None, None);
        drop(subscription);
        assert!(!feed.is_read());
    }

    #[test]
    fn watchers_are_counted_while_they_hold_their_end() {
        let metrics = Arc::new(Metrics::new());
        let (feed, subscription) = pair(request(LogBegin::Now), &metrics, &[], None, None);
        assert!(feed.is_read());
        assert!(metrics.render().contains("gatewarden_log_watchers 1\n"));
        drop(subscription);
        assert!(!feed.is_read());
        assert!(metrics.render().contains("gatewarden_log_watchers 0\n"));
    }
}
