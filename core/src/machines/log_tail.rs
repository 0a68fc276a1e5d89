//! Following a gateway's log, as a pure machine: who watches, what is due to be asked, and what came of it.
//!
//! Rules that hold whatever comes in:
//!
//! 1. Nothing is asked unless somebody watches or wants to, and one request is under way at most.
//! 2. All watchers share one position in the log. Whoever comes later is brought up to it with a read of its own, and of the
//!    lines that follow misses none and gets none twice.
//! 3. The position survives a lost connection as long as somebody watches. Wherever lines may be missing, watchers are told
//!    so with a [`LogGap`]; nothing is passed over in silence.
//!
//! What `logs.tail` does: it gives the lines after a cursor, which is an offset in a file, and the next cursor. The file's
//! name changes at midnight, it keeps the last lines where there are more than the limit, and says `reset` where the cursor
//! is of no use.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use gatewarden_protocol::LogTail as TailReply;
use gatewarden_protocol::capabilities::LogSource;
use gatewarden_protocol::logs::line_bytes;
use serde::{Deserialize, Serialize};

/// Between an answer and the next question, while somebody watches.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The same after a question that came to nothing.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Lines asked for at once: the most that gateways give.
pub const POLL_LIMIT: usize = gatewarden_protocol::limits::MAX_LOG_LINES;
/// Bytes of the log asked for at once. Half of what gateways give, so that the reply stays below a large frame.
pub const POLL_BYTES: usize = 500_000;
/// What the lines may take that watchers have beyond the common place; who would go beyond it comes again, bytes.
const MAX_GIVEN_BYTES: usize = 6 * 1024 * 1024;
/// Watchers of one gateway, joining ones included.
pub const MAX_WATCHERS: usize = 64;

/// Names a watcher in the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchToken(pub u64);

/// A place in a gateway's log. As text (`<offset>-<file>`) it serves as the id of a log stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogCursor {
    /// Offset, bytes.
    pub at: u64,
    /// Stands for the file's name.
    pub file: u64,
}

impl LogCursor {
    /// The place at an offset of a file.
    pub fn new(file: Option<&str>, at: u64) -> Self {
        // FNV-1a: only has to tell yesterday's file from today's, and be the same after a restart.
        let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self { at, file: file.unwrap_or_default().bytes().fold(0xcbf2_9ce4_8422_2325, fold) }
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        let (at, file) = text.split_once('-')?;
        let plain = text.len() <= 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        plain.then(|| Some(Self { at: at.parse().ok()?, file: u64::from_str_radix(file, 16).ok()? })).flatten()
    }
}

impl fmt::Display for LogCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.at, self.file)
    }
}

/// Where a watcher begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With what is written from now on.
    Now,
    /// With so many of the newest lines.
    Newest(usize),
    /// After the last line that it saw.
    After(LogCursor),
}

gatewarden_protocol::named! {
    /// Why lines may be missing.
    pub enum LogGap {
        /// The gateway began another file: the last lines of the former one may be missing.
        FileChanged = "file_changed",
        /// The file became shorter: it was emptied or replaced.
        FileReplaced = "file_replaced",
        /// More was written than the gateway gives out at once.
        TooMuch = "too_much",
        /// The place that was asked for is not in the log any more.
        NotThere = "not_there",
        /// The gateway pushes entries, and nobody listened for a while.
        NotConnected = "not_connected",
        /// The record leads to another gateway now.
        OtherGateway = "other_gateway",
    }
}

impl LogGap {
    /// A sentence for people.
    pub fn sentence(self, gateway: &str) -> String {
        let gateway = format!("Gateway \"{gateway}\"");
        match self {
            Self::FileChanged => {
                format!("{gateway} began another log file: the last lines of the former may be missing")
            }
            Self::FileReplaced => format!("{gateway} emptied or replaced its log file: lines may be missing"),
            Self::TooMuch => format!("{gateway} wrote more than it gives out at once: lines are missing"),
            Self::NotThere => format!(
                "The place to go on from is not in the log of {}: lines may be missing",
                gateway.replacen('G', "g", 1)
            ),
            Self::NotConnected => format!("{gateway} was not connected: what it logged meanwhile may be missing"),
            Self::OtherGateway => format!("{gateway} leads to another address now: this is another log"),
        }
    }
}

/// One question to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailQuestion {
    /// After this offset; none for the end of the log.
    pub cursor: Option<u64>,
    /// So many lines at most.
    pub limit: usize,
}

/// What is to be told, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogStep {
    /// A watcher is in, with what it begins with.
    Welcome {
        /// Who.
        watch: WatchToken,
        /// Its first lines.
        lines: Vec<String>,
        /// The place after them.
        cursor: Option<LogCursor>,
        /// Why lines may be missing before them.
        gap: Option<LogGap>,
    },
    /// A watcher could not be let in.
    Refused(WatchToken),
    /// New lines for all watchers, except for those who have the first of them already.
    Lines {
        /// As written.
        lines: Vec<String>,
        /// The place after them.
        cursor: LogCursor,
        /// Who has how many of them.
        known: Vec<(WatchToken, usize)>,
    },
    /// Lines may be missing here, for all watchers.
    Gap(LogGap),
    /// Nothing comes for now, for all watchers: the connection is gone, or the gateway doesn't answer.
    Interrupted,
    /// It goes on.
    Resumed,
    /// The gateway gives out no log: it is over for all watchers.
    Over,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    file: Option<String>,
    at: u64,
}

impl Place {
    fn cursor(&self) -> LogCursor {
        LogCursor::new(self.file.as_deref(), self.at)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Joining {
    watch: WatchToken,
    begin: Begin,
    gap: Option<LogGap>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Poll,
    Join(Joining),
    /// Whoever wanted to know is gone.
    ForNobody,
}

/// See the module.
#[derive(Debug, Default)]
pub struct LogTail {
    /// Where the log of the connected gateway comes from; none without a connection.
    source: Option<LogSource>,
    /// Each watcher, with the lines that it was given beyond the common place.
    watchers: BTreeMap<WatchToken, Vec<String>>,
    joining: VecDeque<Joining>,
    place: Option<Place>,
    asked: Option<Asked>,
    next_poll: Option<Instant>,
    interrupted: bool,
    steps: Vec<LogStep>,
}

impl LogTail {
    /// What is to be told now.
    pub fn take_steps(&mut self) -> Vec<LogStep> {
        std::mem::take(&mut self.steps)
    }

    /// Watchers, joining ones included.
    pub fn watchers(&self) -> usize {
        // One is between the queue and the watchers while its question is under way.
        let asked = matches!(self.asked, Some(Asked::Join(_)));
        self.watchers.len() + self.joining.len() + usize::from(asked)
    }

    /// What is kept of lines, bytes.
    pub fn held_bytes(&self) -> usize {
        self.watchers.values().flatten().map(|line| line_bytes(line)).sum()
    }

    /// Whether pushed entries are wanted.
    pub fn wants_events(&self) -> bool {
        self.source == Some(LogSource::Events) && !self.watchers.is_empty()
    }

    /// Somebody wants to watch. Answered with [`LogStep::Welcome`] or [`LogStep::Refused`].
    pub fn join(&mut self, now: Instant, watch: WatchToken, begin: Begin) {
        match self.source {
            None | Some(LogSource::Nowhere) => self.steps.push(LogStep::Refused(watch)),
            Some(_) if self.watchers() >= MAX_WATCHERS => self.steps.push(LogStep::Refused(watch)),
            Some(LogSource::Events) => {
                let gap = matches!(begin, Begin::After(_)).then_some(LogGap::NotThere);
                self.welcome(Joining { watch, begin, gap }, Vec::new(), None);
            }
            Some(LogSource::Tail) => {
                self.joining.push_back(Joining { watch, begin, gap: None });
                self.let_in_at_once();
                if !self.joining.is_empty() {
                    self.next_poll = Some(now);
                }
            }
        }
    }

    /// A watcher is gone. With the last one the place is forgotten, and nothing is asked any more.
    pub fn leave(&mut self, watch: WatchToken) {
        self.watchers.remove(&watch);
        self.joining.retain(|joining| joining.watch != watch);
        if matches!(self.asked, Some(Asked::Join(joining)) if joining.watch == watch) {
            self.asked = Some(Asked::ForNobody);
        }
        if self.watchers.is_empty() {
            self.place = None;
            self.interrupted = false;
            if self.asked == Some(Asked::Poll) {
                self.asked = Some(Asked::ForNobody);
            }
        }
    }

    /// The gateway let us in, and its log comes from here.
    pub fn on_connected(&mut self, now: Instant, source: LogSource) {
        self.source = Some(source);
        self.next_poll = Some(now);
        if self.watchers.is_empty() {
            return;
        }
        match source {
            LogSource::Tail if self.place.is_some() => {}
            LogSource::Tail => self.steps.push(LogStep::Gap(LogGap::NotConnected)),
            LogSource::Events => {
                self.place = None;
                self.resume();
                self.steps.push(LogStep::Gap(LogGap::NotConnected));
            }
            LogSource::Nowhere => self.end(),
        }
    }

    /// The connection is gone, and with it the question under way.
    pub fn on_disconnected(&mut self) {
        self.source = None;
        self.next_poll = None;
        self.refuse_joining();
        self.interrupt();
    }

    /// The gateway taught that it has no `logs.tail` after all.
    pub fn on_unsupported(&mut self) {
        self.source = Some(LogSource::Nowhere);
        self.refuse_joining();
        if !self.watchers.is_empty() {
            self.end();
        }
    }

    /// Another gateway stands behind the record: what is known of the old one's log is of no use.
    pub fn forget(&mut self) {
        if self.place.take().is_some() && !self.watchers.is_empty() {
            self.watchers.values_mut().for_each(Vec::clear);
            self.steps.push(LogStep::Gap(LogGap::OtherGateway));
        }
    }

    /// When [`LogTail::on_deadline`] has something to ask.
    pub fn next_deadline(&self) -> Option<Instant> {
        let idle = self.asked.is_none() && self.source == Some(LogSource::Tail);
        let wanted = !self.watchers.is_empty() || !self.joining.is_empty();
        (idle && wanted).then_some(self.next_poll).flatten()
    }

    /// The question that is due. It must be answered with [`LogTail::on_reply`], [`LogTail::on_failure`],
    /// [`LogTail::on_unsupported`] or [`LogTail::on_disconnected`].
    pub fn on_deadline(&mut self, now: Instant) -> Option<TailQuestion> {
        if self.next_deadline().is_none_or(|due| now < due) {
            return None;
        }
        self.let_in_at_once();
        if let Some(joining) = self.joining.pop_front() {
            self.asked = Some(Asked::Join(joining));
            return Some(match joining.begin {
                Begin::Now => TailQuestion { cursor: None, limit: 1 },
                Begin::Newest(lines) => TailQuestion { cursor: None, limit: lines.clamp(1, POLL_LIMIT) },
                Begin::After(cursor) => TailQuestion { cursor: Some(cursor.at), limit: POLL_LIMIT },
            });
        }
        self.asked = Some(Asked::Poll);
        Some(match &self.place {
            Some(place) => TailQuestion { cursor: Some(place.at), limit: POLL_LIMIT },
            None => TailQuestion { cursor: None, limit: 1 },
        })
    }

    /// The gateway answered.
    pub fn on_reply(&mut self, now: Instant, reply: TailReply) {
        let Some(asked) = self.asked.take() else { return };
        self.next_poll = Some(now + POLL_INTERVAL);
        self.resume();
        match asked {
            Asked::Join(joining) => self.brought_up(now, joining, reply),
            Asked::Poll => self.polled(now, reply),
            Asked::ForNobody => {}
        }
        if !self.joining.is_empty() {
            self.next_poll = Some(now);
        }
    }

    /// The question came to nothing: refused, not answered in time, or answered with nonsense.
    pub fn on_failure(&mut self, now: Instant) {
        match self.asked.take() {
            None => return,
            Some(Asked::Join(joining)) => self.steps.push(LogStep::Refused(joining.watch)),
            Some(Asked::Poll) => self.interrupt(),
            Some(Asked::ForNobody) => {}
        }
        let wait = if self.joining.is_empty() { RETRY_INTERVAL } else { Duration::ZERO };
        self.next_poll = Some(now + wait);
    }

    fn polled(&mut self, now: Instant, reply: TailReply) {
        let TailReply { file, cursor, lines, reset, .. } = reply;
        let after = Place { file, at: cursor };
        let Some(before) = self.place.replace(after.clone()) else { return };
        let other_file = before.file != after.file;
        if other_file {
            self.steps.push(LogStep::Gap(LogGap::FileChanged));
            if !reset && before.at > 0 {
                // These lines are from the midst of the new file: it is read from its beginning instead.
                self.place = Some(Place { at: 0, ..after });
                self.next_poll = Some(now);
                return;
            }
        }
        if !other_file && cursor < before.at {
            self.steps.push(LogStep::Gap(LogGap::FileReplaced));
        } else if !other_file && reset || lines.len() >= POLL_LIMIT {
            self.steps.push(LogStep::Gap(LogGap::TooMuch));
        }
        let known = self.watchers.iter_mut().filter_map(|(watch, given)| {
            let known = repeated(&std::mem::take(given), &lines);
            (known > 0).then_some((*watch, known))
        });
        let known = known.collect();
        if !lines.is_empty() {
            self.steps.push(LogStep::Lines { lines, cursor: after.cursor(), known });
        }
    }

    /// What a new watcher begins with.
    fn brought_up(&mut self, now: Instant, mut joining: Joining, reply: TailReply) {
        let TailReply { file, cursor, lines, reset, .. } = reply;
        let here = Place { file, at: cursor };
        if let Begin::After(wanted) = joining.begin {
            let other_file = wanted.file != here.cursor().file;
            if other_file && !reset && wanted.at > 0 {
                let begin = Begin::After(LogCursor { at: 0, ..here.cursor() });
                self.joining.push_front(Joining { begin, gap: Some(LogGap::NotThere), ..joining });
                self.next_poll = Some(now);
                return;
            }
            let lost = other_file || reset || cursor < wanted.at;
            joining.gap = joining.gap.or_else(|| {
                let cut = lines.len() >= POLL_LIMIT;
                (lost || cut).then_some(if lost { LogGap::NotThere } else { LogGap::TooMuch })
            });
        }
        let lines = if joining.begin == Begin::Now { Vec::new() } else { lines };
        let cursor = here.cursor();
        match &self.place {
            // The others are behind, maybe by a file: what they get next has these lines at its beginning.
            Some(place) if *place != here => {
                let bytes: usize = lines.iter().map(|line| line_bytes(line)).sum();
                if self.held_bytes().saturating_add(bytes) > MAX_GIVEN_BYTES {
                    return self.steps.push(LogStep::Refused(joining.watch));
                }
                self.watchers.insert(joining.watch, lines.clone());
            }
            Some(_) => {}
            None => self.place = Some(here),
        }
        self.welcome(joining, lines, Some(cursor));
    }

    /// Whoever begins where the others are needs no read.
    fn let_in_at_once(&mut self) {
        let Some(here) = self.place.as_ref().map(Place::cursor) else { return };
        let (at_once, others) = self.joining.drain(..).partition::<VecDeque<_>, _>(|joining| match joining.begin {
            Begin::Now => true,
            Begin::After(cursor) => cursor == here,
            Begin::Newest(_) => false,
        });
        self.joining = others;
        for joining in at_once {
            self.welcome(joining, Vec::new(), Some(here));
        }
    }

    fn welcome(&mut self, joining: Joining, lines: Vec<String>, cursor: Option<LogCursor>) {
        let Joining { watch, gap, .. } = joining;
        self.watchers.entry(watch).or_default();
        self.steps.push(LogStep::Welcome { watch, lines, cursor, gap });
    }

    fn refuse_joining(&mut self) {
        if let Some(Asked::Join(joining)) = self.asked.take() {
            self.steps.push(LogStep::Refused(joining.watch));
        }
        let refused = self.joining.drain(..).map(|joining| LogStep::Refused(joining.watch));
        self.steps.extend(refused);
    }

    fn interrupt(&mut self) {
        if !self.watchers.is_empty() && !std::mem::replace(&mut self.interrupted, true) {
            self.steps.push(LogStep::Interrupted);
        }
    }

    fn resume(&mut self) {
        if std::mem::replace(&mut self.interrupted, false) {
            self.steps.push(LogStep::Resumed);
        }
    }

    fn end(&mut self) {
        self.watchers.clear();
        self.place = None;
        self.interrupted = false;
        self.steps.push(LogStep::Over);
    }
}

/// How many of `lines` a watcher has that was given `given` before: the lines up to the last one given. None where the
/// last one given isn't among them, or what stands before it differs: rather a line twice than one missed.
fn repeated(given: &[String], lines: &[String]) -> usize {
    let Some(last) = given.last() else { return 0 };
    let ends_here = |place: &usize| {
        let known = lines.iter().take(place + 1).rev();
        known.zip(given.iter().rev()).all(|(one, other)| one == other)
    };
    let candidates = lines.iter().enumerate().filter(|(_, line)| *line == last).map(|(place, _)| place);
    candidates.into_iter().find(ends_here).map_or(0, |place| place + 1)
}

#[cfg(test)]
mod tests;
