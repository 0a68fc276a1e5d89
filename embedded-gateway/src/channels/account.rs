//! One account of a channel, as far as it can be decided without IO: when it asks its service what, what becomes of messages, and
//! what is on disk before anything is done.
//!
//! - A message is acknowledged (the next poll's cursor is beyond it) only when it is on disk.
//! - Its run begins only when it is on disk that it does. One that was under way when the gateway was killed isn't begun again:
//!   its sender is told.
//! - A part of an answer is sent only when it is on disk that it is. It is sent again only where it is certain that it wasn't.

mod delivery;
mod messages;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::flood::Flood;
use super::record::{Record, Work};
use super::service::{Fault, Reply, RequestKind};
use crate::config::{ChannelAccount, NOT_BUILT};
use crate::cron::delivery::Fate;
use crate::effect::{
    AwaitedBy, ChannelIdentity, ChannelKey, ChannelOrder, ChannelRequest, Chat, Effect, FileChange, LogLevel, RunId,
};
use crate::payload::digest;
use crate::turn::Turn;

/// Updates asked for at a time.
const BATCH: u8 = 20;
/// Messages that wait for their run, and answers that wait to be delivered; while there are as many, nothing is asked for.
const MOST_WAITING: usize = 64;
/// Between two polls that are answered at once without anything.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Longest that a service can have the gateway wait.
const LONGEST_WISH: u64 = 3_600;
/// A service shows that somebody types for a little longer than this.
const TYPING_EVERY: Duration = Duration::from_secs(4);
/// Of an account whose gateway stops: what is for it is kept for the next start.
pub(super) const STOPPING: &str = "the gateway is stopping";
/// Where messages come by a connection of its own, another program that uses the same bot is known by what it writes alone. When it has
/// written nothing for so long, it counts as gone.
const CONFLICT: Duration = Duration::from_secs(600);
/// After so long without an update the numbers of Telegram begin anywhere.
const NUMBERS_LAST_MS: i64 = 6 * 24 * 3_600 * 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not used; why, for people.
    Off(&'static str),
    /// Who the bot is has to be learnt.
    Connecting,
    Online,
    /// It can't go on until a person has done something.
    Blocked,
}

/// What went wrong last, and what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) said: String,
    pub(super) cure: &'static str,
    pub(super) at_ms: i64,
    /// Until then nothing that works shows that it is over.
    until: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Account {
    key: ChannelKey,
    pub(super) settings: Arc<ChannelAccount>,
    pub(super) record: Record,
    pub(super) phase: Phase,
    /// Polls are answered.
    pub(super) connected_since_ms: Option<i64>,
    pub(super) trouble: Option<Trouble>,
    pub(super) last_start_ms: Option<i64>,
    pub(super) last_inbound_ms: Option<i64>,
    pub(super) last_outbound_ms: Option<i64>,
    pub(super) me: Option<Arc<ChannelIdentity>>,
    life: u64,
    /// It has changed in this turn, at whose end it is written.
    is_changed: bool,
    /// How often what is kept was wanted on disk, and how often it got there.
    wanted: u64,
    written: u64,
    /// Up to here it can't be said that it got there.
    lost: u64,
    under_way: BTreeSet<RequestKind>,
    /// Nothing is asked before; what a failure or an empty answer has as its consequence.
    ask_at: Instant,
    asked_at: Instant,
    batch: u8,
    failures: u32,
    send_at: Instant,
    tries: u32,
    typing_at: Instant,
    typing_turn: usize,
    /// The session or the gateway has no room for a run before.
    begin_at: Option<Instant>,
    flood: Flood,
    /// Runs that were begun, by their updates.
    pub(super) running: BTreeMap<u64, RunId>,
    /// What became of answers of jobs' runs, until somebody asks.
    pub(super) told: Vec<(RunId, Fate)>,
}

impl Account {
    pub(super) fn new(
        key: ChannelKey,
        settings: Arc<ChannelAccount>,
        record: Record,
        life: u64,
        turn: &mut Turn<'_>,
    ) -> Self {
        let at = turn.now.at;
        let mut account = Self {
            key,
            settings,
            record,
            phase: Phase::Off(""),
            connected_since_ms: None,
            trouble: None,
            last_start_ms: None,
            last_inbound_ms: None,
            last_outbound_ms: None,
            me: None,
            life,
            is_changed: false,
            wanted: 0,
            written: 0,
            lost: 0,
            under_way: BTreeSet::new(),
            ask_at: at,
            asked_at: at,
            batch: BATCH,
            failures: 0,
            send_at: at,
            tries: 0,
            typing_at: at,
            typing_turn: 0,
            begin_at: None,
            flood: Flood::default(),
            running: BTreeMap::new(),
            told: Vec::new(),
        };
        account.after_a_crash(turn);
        account.phase = account.wanted_phase();
        account.open(turn);
        account
    }

    /// What was under way when the gateway ended is not done twice.
    fn after_a_crash(&mut self, turn: &mut Turn<'_>) {
        let (begun, waiting): (Vec<Work>, Vec<Work>) =
            std::mem::take(&mut self.record.waiting).into_iter().partition(|work| work.begun);
        self.record.waiting = waiting.into();
        let mut is_changed = !begun.is_empty();
        for work in begun {
            let start: String = work.text.chars().take(60).collect();
            self.reply(
                work.chat,
                &format!(
                    "The gateway was restarted while it worked on your message \"{start}\". Please send it again."
                ),
            );
        }
        if self.unsettle_reply() {
            is_changed = true;
            let said = "a part of an answer was being sent when the gateway ended, and isn't sent again";
            self.log(LogLevel::Warn, said, turn);
        }
        if is_changed {
            self.save();
        }
    }

    fn wanted_phase(&self) -> Phase {
        match self.settings.off(NOT_BUILT) {
            Some(why) => Phase::Off(why),
            None if self.record.logged_out == self.fingerprint() => {
                Phase::Off("it is logged out: channels.start logs it in")
            }
            None => Phase::Connecting,
        }
    }

    /// What tells one token from another without telling it.
    fn fingerprint(&self) -> Option<String> {
        Some(digest(self.settings.token.as_ref()?.expose()))
    }

    fn open(&mut self, turn: &mut Turn<'_>) {
        if self.phase != Phase::Connecting {
            return;
        }
        self.last_start_ms = Some(turn.now.wall_ms);
        (self.ask_at, self.send_at, self.failures) = (turn.now.at, turn.now.at, 0);
        self.order(ChannelOrder::Open(Arc::clone(&self.settings)), turn);
    }

    /// Why nothing can be sent from it, where nothing can until a person has done something.
    pub(super) fn out_of_use(&self) -> Option<String> {
        match self.phase {
            Phase::Off(why) => Some(why.to_owned()).filter(|why| why != STOPPING),
            Phase::Blocked => Some(self.trouble.as_ref().map(|trouble| trouble.said.clone()).unwrap_or_default()),
            Phase::Connecting | Phase::Online => None,
        }
    }

    pub(super) fn is_online(&self) -> bool {
        self.connected_since_ms.is_some()
    }

    /// Gives up everything at the service.
    pub(super) fn close(&mut self, phase: Phase, turn: &mut Turn<'_>) {
        let was_open = !matches!(self.phase, Phase::Off(_));
        self.phase = phase;
        self.connected_since_ms = None;
        self.under_way.clear();
        self.unsettle_reply();
        if was_open {
            self.order(ChannelOrder::Close, turn);
        }
    }

    /// Connects anew where it is to be used.
    fn reopen(&mut self, life: u64, turn: &mut Turn<'_>) {
        (self.life, self.trouble) = (life, None);
        self.phase = self.wanted_phase();
        self.open(turn);
    }

    /// Uses the account again, whatever it was. Err: why it can't.
    pub(super) fn restart(&mut self, life: u64, turn: &mut Turn<'_>) -> Result<(), &'static str> {
        self.close(Phase::Off(""), turn);
        if self.record.logged_out.take().is_some() {
            self.save();
        }
        self.reopen(life, turn);
        match self.phase {
            Phase::Off(why) => Err(why),
            _ => Ok(()),
        }
    }

    /// Its token isn't used any more, also after a restart of the gateway.
    pub(super) fn log_out(&mut self, turn: &mut Turn<'_>) {
        self.record.logged_out = self.fingerprint();
        self.close(Phase::Off("it is logged out: channels.start logs it in"), turn);
        self.save();
    }

    /// Settings have changed. Only another way to the service makes it connect anew.
    pub(super) fn configure(&mut self, settings: Arc<ChannelAccount>, life: u64, turn: &mut Turn<'_>) {
        let way = |account: &ChannelAccount| {
            let of_kind = (account.message_content, account.cloud.clone());
            (account.enabled, account.token.clone(), account.api_root.clone(), of_kind)
        };
        let is_same = way(&self.settings) == way(&settings);
        self.settings = settings;
        if is_same {
            return self.order(ChannelOrder::Configure(Arc::clone(&self.settings)), turn);
        }
        self.close(Phase::Off(""), turn);
        self.reopen(life, turn);
    }

    /// Has what is kept written at the end of the turn.
    pub(super) fn save(&mut self) {
        if !std::mem::replace(&mut self.is_changed, true) {
            self.wanted += 1;
        }
    }

    /// Has what has changed in this turn written once, and says when it is.
    pub(super) fn write(&mut self, turn: &mut Turn<'_>) {
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        let file = Record::file(&self.key);
        let text = serde_json::to_string(&self.record).unwrap_or_default();
        turn.write(FileChange::Replace { file: file.clone(), text });
        turn.push(Effect::Confirm { file, awaited_by: AwaitedBy::Account(self.wanted) });
    }

    /// It is on disk as it was at a mark; without one, as it is now.
    pub(super) fn settled(&mut self, mark: Option<u64>) {
        let mark = mark.unwrap_or(self.wanted + 1);
        if mark > self.lost {
            self.written = self.written.max(mark.min(self.wanted));
        }
    }

    pub(super) fn unwritten(&mut self, error: &str, turn: &Turn<'_>) {
        self.lost = self.wanted;
        let said = format!("what it keeps can't be written: {error}");
        self.fails(said, "make room on the disk, or correct the permissions of the state directory", turn);
    }

    fn is_written(&self) -> bool {
        self.written == self.wanted
    }

    fn order(&self, order: ChannelOrder, turn: &mut Turn<'_>) {
        turn.push(Effect::Channel { account: self.key.clone(), order });
    }

    fn ask(&mut self, request: ChannelRequest, turn: &mut Turn<'_>) {
        self.under_way.insert(RequestKind::of(&request));
        self.order(ChannelOrder::Ask { life: self.life, request }, turn);
    }

    fn log(&self, level: LogLevel, said: &str, turn: &mut Turn<'_>) {
        turn.log(level, &self.key.to_string(), None, said);
    }

    /// Everything that can be done now. `fits`: there is room for the run of a message, which is taken by asking.
    pub(super) fn advance(&mut self, fits: &mut dyn FnMut(&ChannelKey, &Work) -> bool, turn: &mut Turn<'_>) {
        let now = turn.now.at;
        match self.phase {
            Phase::Connecting if now >= self.ask_at && !self.under_way.contains(&RequestKind::Identify) => {
                self.ask(ChannelRequest::Identify, turn);
            }
            Phase::Online => {
                self.poll(turn);
                self.mark_next_work(fits, turn);
                self.send(turn);
                self.type_on(turn);
            }
            Phase::Connecting | Phase::Off(_) | Phase::Blocked => {}
        }
    }

    fn has_room(&self) -> bool {
        self.record.waiting.len() + usize::from(BATCH) <= MOST_WAITING && self.record.replies.len() <= MOST_WAITING
    }

    fn poll(&mut self, turn: &mut Turn<'_>) {
        let Some(me) = self.me.clone() else { return };
        let now = turn.now;
        if self.under_way.contains(&RequestKind::Poll) || now.at < self.ask_at || !self.is_written() || !self.has_room()
        {
            return;
        }
        let is_known = now.wall_ms.saturating_sub(self.record.last_update_ms) < NUMBERS_LAST_MS;
        let cursor = self.record.cursor.filter(|_| is_known);
        self.asked_at = now.at;
        let (place, approved) = (self.record.place.clone(), Arc::new(self.record.pairing.approved().clone()));
        self.ask(ChannelRequest::Poll { cursor, place, most: self.batch, me, approved }, turn);
    }

    fn type_on(&mut self, turn: &mut Turn<'_>) {
        if self.running.is_empty() || self.under_way.contains(&RequestKind::Typing) || turn.now.at < self.typing_at {
            return;
        }
        self.typing_at = turn.now.at + TYPING_EVERY;
        let chats: BTreeSet<&Chat> = self
            .record
            .waiting
            .iter()
            .filter(|work| self.running.contains_key(&work.update))
            .map(|work| &work.chat)
            .collect();
        let Some(to) = chats.iter().nth(self.typing_turn % chats.len().max(1)).map(|chat| (*chat).clone()) else {
            return;
        };
        self.typing_turn = self.typing_turn.wrapping_add(1);
        // Of many chats each one's turn comes as often as there is time.
        self.typing_at = turn.now.at + TYPING_EVERY / u32::try_from(chats.len().clamp(1, 8)).unwrap_or(8);
        self.ask(ChannelRequest::Typing { to }, turn);
    }

    /// When it has to be looked at again. What waits for something else than the time isn't due: that brings a turn with it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let asks = |kind| !self.under_way.contains(&kind);
        let times = match self.phase {
            Phase::Off(_) | Phase::Blocked => return None,
            Phase::Connecting => [asks(RequestKind::Identify).then_some(self.ask_at), None, None, None],
            Phase::Online => {
                let first = self.record.replies.front();
                let sends = asks(RequestKind::Send) && first.is_some_and(|first| !first.attempted || self.is_written());
                [
                    (asks(RequestKind::Poll) && self.is_written() && self.has_room()).then_some(self.ask_at),
                    sends.then_some(self.send_at),
                    self.begin_at,
                    (asks(RequestKind::Typing) && !self.running.is_empty()).then_some(self.typing_at),
                ]
            }
        };
        times.into_iter().flatten().min()
    }

    /// What the service said to a request.
    pub(super) fn hear(&mut self, life: u64, kind: RequestKind, outcome: Result<Reply, Fault>, turn: &mut Turn<'_>) {
        if life != self.life || !self.under_way.remove(&kind) {
            return;
        }
        match (kind, outcome) {
            (RequestKind::Identify, Ok(Reply::Identity(me))) => self.came_in(me, turn),
            (RequestKind::Poll, Ok(Reply::Updates(updates))) => self.take(updates, None, turn),
            (RequestKind::Poll, Ok(Reply::Received { updates, place })) => self.take(updates, Some(place), turn),
            (RequestKind::Send, Ok(_)) => self.sent(turn),
            (RequestKind::Typing, Ok(_)) => {}
            (RequestKind::Typing, Err(fault)) => {
                if let Fault::Slow(seconds) = fault {
                    self.typing_at = turn.now.at + Duration::from_secs(seconds.clamp(1, LONGEST_WISH));
                }
                self.log(LogLevel::Debug, &format!("typing isn't shown: {fault}"), turn)
            }
            (RequestKind::Send, Err(fault)) => self.not_sent(fault, turn),
            (RequestKind::Identify | RequestKind::Poll, Err(fault)) => self.not_reached(fault, turn),
            (RequestKind::Identify | RequestKind::Poll, Ok(_)) => {
                self.not_reached(Fault::Trouble("it answered something else than it was asked".to_owned()), turn);
            }
        }
    }

    fn came_in(&mut self, me: ChannelIdentity, turn: &mut Turn<'_>) {
        let before = (self.record.bot.clone(), self.record.root.clone());
        if let Some(earlier) = self.record.is_of(&me.id) {
            let said = format!(
                "the token is of another bot than before ({}): {} approvals, {} messages and {} answers of that one are forgotten",
                earlier.bot.as_deref().unwrap_or_default(),
                earlier.pairing.approved().len(),
                earlier.waiting.len(),
                earlier.replies.len()
            );
            self.log(LogLevel::Warn, &said, turn);
            for reply in earlier.replies {
                self.done_with(reply, Some("the token is of another bot than when the answer was given".to_owned()));
            }
        }
        self.record.is_at(&self.settings.api_root);
        if before != (self.record.bot.clone(), self.record.root.clone()) {
            self.save();
        }
        self.log(
            LogLevel::Info,
            &format!("connected as {}", self.key.kind.named_as(&gatewarden_protocol::words::shown(&me.name))),
            turn,
        );
        self.me = Some(Arc::new(me));
        (self.phase, self.trouble) = (Phase::Online, None);
        if self.key.kind.channel().has_connection {
            (self.ask_at, self.failures) = (turn.now.at, 0);
        } else {
            self.is_well(turn);
        }
    }

    fn is_well(&mut self, turn: &mut Turn<'_>) {
        let is_over = |trouble: &mut Trouble| trouble.until.is_none_or(|until| turn.now.at >= until);
        if self.trouble.take_if(is_over).is_some() {
            self.log(LogLevel::Info, "works again", turn);
        }
        self.failures = 0;
        self.ask_at = turn.now.at;
        self.connected_since_ms.get_or_insert(turn.now.wall_ms);
    }

    fn not_reached(&mut self, fault: Fault, turn: &mut Turn<'_>) {
        self.failures = self.failures.saturating_add(1);
        self.ask_at = turn.now.at + pause(self.failures);
        let (said, cure) = (fault.to_string(), fault.cure(self.key.kind));
        match &fault {
            Fault::Credentials(_) | Fault::Setup(..) => self.close(Phase::Blocked, turn),
            Fault::Slow(seconds) => self.ask_at = turn.now.at + Duration::from_secs((*seconds).clamp(1, LONGEST_WISH)),
            // A batch that can't be read may have one message alone that can't: the others get through.
            Fault::Trouble(_) => self.batch = 1,
            Fault::Conflict(_)
            | Fault::Refused(_)
            | Fault::Forbidden(_)
            | Fault::Unreached(_)
            | Fault::Unanswered(_) => {}
        }
        if self.trouble.as_ref().is_none_or(|trouble| trouble.said != said) {
            let level = if self.phase == Phase::Blocked { LogLevel::Error } else { LogLevel::Warn };
            self.log(level, &format!("{said}. {cure}"), turn);
        }
        // Messages come as before, and that they do doesn't show that the other program is gone.
        let goes_on = matches!(fault, Fault::Conflict(_)) && self.key.kind.channel().has_connection;
        let since = self.connected_since_ms.filter(|_| goes_on);
        self.fails(said, cure, turn);
        self.connected_since_ms = since;
        self.trouble.iter_mut().for_each(|trouble| trouble.until = goes_on.then(|| turn.now.at + CONFLICT));
    }

    fn fails(&mut self, said: String, cure: &'static str, turn: &Turn<'_>) {
        self.connected_since_ms = None;
        self.trouble = Some(Trouble { said, cure, at_ms: turn.now.wall_ms, until: None });
    }
}

/// 1, 2, 4 s and so on, at most a minute.
fn pause(failures: u32) -> Duration {
    PAUSE.saturating_mul(1_u32 << failures.saturating_sub(1).min(6)).min(LONGEST_PAUSE)
}
