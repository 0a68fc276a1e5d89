//! What came from Discord and wasn't taken yet, and where it is gone on after what was.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::conversation::Session;
use super::wire::Received;
use crate::channels::access;
use crate::channels::service::{Fault, Reply, Update};
use crate::config::ChannelAccess;

/// Messages that wait to be taken. While there are as many, nothing is listened to, nor fetched: those of one chat are put in at once,
/// so that there may be that many more.
const MOST: usize = 128;
/// Direct chats that are remembered. Those of strangers go first, and then the one that was quiet longest.
const MOST_DIRECT: usize = 50;

/// What is kept between two starts of the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Place {
    pub session: Option<Session>,
    /// The session was begun with the words of all messages.
    pub with_content: bool,
    /// The one that was heard of last is last.
    pub direct: Vec<Direct>,
}

/// A channel of direct messages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Direct {
    pub user: String,
    pub channel: String,
    /// The last message that was taken; 0 where none was.
    pub last: u64,
    /// What was written after this message was missed, and isn't taken yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_after: Option<u64>,
    /// And before this one, the first that came by the session that had missed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_before: Option<u64>,
}

impl Place {
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// A session has the intents with which it was begun: with others there has to be a new one.
    pub(super) fn with_content(self, with_content: bool) -> Self {
        let session = self.session.filter(|_| self.with_content == with_content);
        Self { session, with_content, direct: self.direct }
    }

    fn put(&mut self, user: &str, channel: &str, last: u64, known: &Known) {
        let before = self.direct.iter().position(|direct| direct.user == user).map(|at| self.direct.remove(at));
        let before = before.unwrap_or_default();
        let (user, channel, last) = (user.to_owned(), channel.to_owned(), before.last.max(last));
        self.direct.push(Direct { user, channel, last, ..before });
        if self.direct.len() > MOST_DIRECT {
            let stranger = self.direct.iter().position(|direct| !known.has(direct));
            self.direct.remove(stranger.unwrap_or(0));
        }
    }

    fn of_channel(&mut self, channel: &str) -> Option<&mut Direct> {
        self.direct.iter_mut().find(|direct| direct.channel == channel)
    }

    fn caught_up(&mut self, channel: &str) {
        if let Some(direct) = self.of_channel(channel) {
            (direct.missed_after, direct.missed_before) = (None, None);
        }
    }
}

struct Waiting {
    received: Received,
    /// The event of the session that it came by; none: the session doesn't send it again.
    seq: Option<u64>,
    /// The last one of those that were missed in its chat.
    is_last_missed: bool,
}

#[derive(Default)]
struct State {
    /// After what was taken.
    place: Place,
    waiting: VecDeque<Waiting>,
    /// The connection as it is now.
    session: Option<Session>,
    is_open: bool,
    /// It was opened, which nobody was told yet.
    has_opened: bool,
    fault: Option<Fault>,
    /// The last one, while it isn't open.
    last_fault: Option<Fault>,
    known: Known,
}

/// Who may talk.
#[derive(Default)]
struct Known {
    access: ChannelAccess,
    approved: Arc<BTreeSet<String>>,
}

impl Known {
    fn has(&self, direct: &Direct) -> bool {
        access::is_heard(&self.access, &self.approved, &direct.user)
    }
}

#[derive(Default)]
pub(super) struct Inbox {
    state: RefCell<State>,
    /// Something came.
    came: Notify,
    /// There is room again.
    taken: Notify,
}

impl Inbox {
    pub(super) fn begin(&self, place: Place) {
        let mut state = self.state.borrow_mut();
        state.session.clone_from(&place.session);
        state.place = place;
    }

    pub(super) fn configure(&self, access: &ChannelAccess) {
        self.state.borrow_mut().known.access = access.clone();
    }

    pub(super) fn are_approved(&self, approved: Arc<BTreeSet<String>>) {
        self.state.borrow_mut().known.approved = approved;
    }

    /// False: it isn't heard, whatever its channel is a thread of.
    pub(super) fn may_be_heard(&self, update: &Update) -> bool {
        let state = self.state.borrow();
        update.message.as_ref().is_some_and(|message| access::may_be_heard(&state.known.access, message))
    }

    /// The session that can be gone on with.
    pub(super) fn session(&self) -> Option<Session> {
        self.state.borrow().session.clone()
    }

    /// How it stands with the session, after each event. None: it is over.
    pub(super) fn is_at(&self, session: Option<Session>) {
        let mut state = self.state.borrow_mut();
        if session.is_none() {
            state.waiting.iter_mut().for_each(|waiting| waiting.seq = None);
        }
        state.session = session;
    }

    pub(super) fn opened(&self) {
        let mut state = self.state.borrow_mut();
        (state.is_open, state.has_opened) = (true, true);
        (state.fault, state.last_fault) = (None, None);
        self.came.notify_one();
    }

    /// The connection has ended, which is told once.
    pub(super) fn failed(&self, fault: Fault) {
        let mut state = self.state.borrow_mut();
        (state.is_open, state.has_opened) = (false, false);
        (state.fault, state.last_fault) = (Some(fault.clone()), Some(fault));
        self.came.notify_one();
    }

    pub(super) fn put(&self, received: Received, seq: Option<u64>) {
        self.state.borrow_mut().waiting.push_back(Waiting { received, seq, is_last_missed: false });
        self.came.notify_one();
    }

    pub(super) fn is_full(&self) -> bool {
        self.state.borrow().waiting.len() >= MOST
    }

    pub(super) async fn has_room(&self) {
        while self.is_full() {
            self.taken.notified().await;
        }
    }

    /// A session begins that has nothing of what was written in direct chats since the last messages that were taken.
    pub(super) fn has_missed(&self) {
        let mut state = self.state.borrow_mut();
        for direct in state.place.direct.iter_mut().filter(|direct| direct.last > 0) {
            direct.missed_after.get_or_insert(direct.last);
            direct.missed_before = None;
        }
        // What was missed before, and waits here, is only a part of it now.
        state.waiting.iter_mut().for_each(|waiting| waiting.is_last_missed = false);
    }

    /// The direct chats of which something was missed and isn't fetched yet, those of strangers last.
    pub(super) fn missed(&self) -> Vec<Direct> {
        let state = self.state.borrow();
        let is_here = |direct: &Direct| {
            let mut last = state.waiting.iter().filter(|waiting| waiting.is_last_missed);
            last.any(|waiting| waiting.received.channel == direct.channel)
        };
        let missed = state.place.direct.iter().filter(|direct| direct.missed_after.is_some() && !is_here(direct));
        let mut missed: Vec<Direct> = missed.cloned().collect();
        missed.sort_by_key(|direct| !state.known.has(direct));
        missed
    }

    /// All that was missed in a direct chat, as far as it can be had. What waits already doesn't come twice.
    pub(super) fn fetched(&self, channel: &str, missed: Vec<Received>) {
        let mut state = self.state.borrow_mut();
        let known: Vec<u64> = state.waiting.iter().map(|waiting| waiting.received.update.id).collect();
        let end = state.place.of_channel(channel).and_then(|direct| direct.missed_before).unwrap_or(u64::MAX);
        let is_new = |id: u64| id < end && !known.contains(&id);
        let new = missed.into_iter().filter(|received| is_new(received.update.id));
        let new = new.map(|received| Waiting { received, seq: None, is_last_missed: false });
        let before = state.waiting.len();
        state.waiting.extend(new);
        let is_more = state.waiting.len() > before;
        match state.waiting.back_mut() {
            Some(last) if is_more => last.is_last_missed = true,
            _ => state.place.caught_up(channel),
        }
        self.came.notify_one();
    }

    pub(super) fn direct_channel(&self, user: &str) -> Option<String> {
        let state = self.state.borrow();
        let known = state.place.direct.iter().find(|direct| direct.user == user)?;
        Some(known.channel.clone())
    }

    pub(super) fn met(&self, user: &str, channel: &str) {
        let state = &mut *self.state.borrow_mut();
        state.place.put(user, channel, 0, &state.known);
    }

    /// What there is to say now.
    fn take(&self, most: u8) -> Option<Result<Reply, Fault>> {
        let state = &mut *self.state.borrow_mut();
        if state.waiting.is_empty() && !std::mem::take(&mut state.has_opened) {
            return state.fault.take().map(Err);
        }
        let count = state.waiting.len().min(usize::from(most));
        let taken: Vec<Waiting> = state.waiting.drain(..count).collect();
        for Waiting { received, seq, is_last_missed } in &taken {
            let direct = received.update.message.as_ref().filter(|message| message.is_direct);
            if let Some(message) = direct {
                state.place.put(&message.sender, &received.channel, received.update.id, &state.known);
            }
            let direct = state.place.of_channel(&received.channel).filter(|direct| direct.missed_after.is_some());
            if let Some(direct) = direct.filter(|_| seq.is_some()) {
                direct.missed_before.get_or_insert(received.update.id);
            }
            if *is_last_missed {
                state.place.caught_up(&received.channel);
            }
        }
        self.taken.notify_one();
        // What waits here is lost with this program, so the session is gone on with before it. What it wouldn't send again is
        // fetched where a new one begins.
        let is_repeated = state.waiting.iter().all(|waiting| waiting.seq.is_some());
        let before = state.waiting.front().and_then(|waiting| waiting.seq).map(|seq| seq.saturating_sub(1));
        let session = state.session.clone().filter(|_| is_repeated);
        state.place.session = session.map(|session| Session { seq: before.unwrap_or(session.seq), ..session });
        let place = serde_json::to_string(&state.place).unwrap_or_default();
        let updates: Vec<Update> = taken.into_iter().map(|waiting| waiting.received.update).collect();
        Some(Ok(Reply::Received { updates, place }))
    }

    /// What came, or comes within the time. An error is told once; a connection that isn't there is one.
    pub(super) async fn next(&self, most: u8, patience: Duration) -> Result<Reply, Fault> {
        let waited = async {
            loop {
                match self.take(most) {
                    Some(said) => return said,
                    None => self.came.notified().await,
                }
            }
        };
        match tokio::time::timeout(patience, waited).await {
            Ok(said) => said,
            Err(_) => {
                let mut state = self.state.borrow_mut();
                if !state.is_open {
                    let silence = || Fault::Unanswered("its gateway hasn't let the bot in yet".to_owned());
                    return Err(state.last_fault.clone().unwrap_or_else(silence));
                }
                state.place.session = state.session.clone();
                let place = serde_json::to_string(&state.place).unwrap_or_default();
                Ok(Reply::Received { updates: Vec::new(), place })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::service::Inbound;
    use crate::effect::Chat;

    fn session(seq: u64) -> Option<Session> {
        Some(Session { id: "s".to_owned(), url: "wss://r".to_owned(), seq })
    }

    fn received(id: u64, sender: &str, channel: &str) -> Received {
        let message = Inbound {
            sender: sender.to_owned(),
            sender_name: String::new(),
            chat: Chat { id: sender.to_owned(), thread: None },
            is_direct: true,
            text: Some("hi".to_owned()),
            is_for_me: true,
            id: None,
            guild: None,
        };
        Received { channel: channel.to_owned(), update: Update { id, message: Some(message) }, is_thread: None }
    }

    fn direct(user: &str, channel: &str, last: u64, missed_after: Option<u64>) -> Direct {
        Direct { user: user.to_owned(), channel: channel.to_owned(), last, missed_after, missed_before: None }
    }

    fn taken(said: Result<Reply, Fault>) -> (Vec<u64>, Place) {
        match said {
            Ok(Reply::Received { updates, place }) => {
                (updates.iter().map(|update| update.id).collect(), Place::read(&place).unwrap())
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_place_is_behind_what_was_taken_and_before_what_was_not() {
        let inbox = Inbox::default();
        inbox.is_at(session(1));
        inbox.opened();
        let (updates, place) = taken(inbox.next(20, POLL).await);
        assert_eq!((updates, place.session), (vec![], session(1)), "a new session is told at once");
        for (id, seq) in [(10, 2), (11, 4), (12, 5)] {
            inbox.is_at(session(seq));
            inbox.put(received(id, "1", "77"), Some(seq));
        }
        inbox.is_at(session(9));
        let (updates, place) = taken(inbox.next(2, POLL).await);
        assert_eq!((updates, &place.session), (vec![10, 11], &session(4)));
        assert_eq!(place.direct, [direct("1", "77", 11, None)]);
        let (updates, place) = taken(inbox.next(2, POLL).await);
        assert_eq!((updates, &place.session), (vec![12], &session(9)));
        inbox.is_at(session(30));
        let (updates, place) = taken(inbox.next(2, POLL).await);
        assert_eq!((updates, &place.session), (vec![], &session(30)), "a quiet while moves it, too");
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_does_not_have_what_waits_is_not_gone_on_with_after_a_kill() {
        let inbox = Inbox::default();
        inbox.is_at(session(2));
        inbox.put(received(10, "1", "77"), Some(1));
        inbox.put(received(11, "1", "77"), Some(2));
        inbox.is_at(None);
        inbox.is_at(Some(Session { id: "next".to_owned(), url: String::new(), seq: 1 }));
        inbox.opened();
        let (updates, place) = taken(inbox.next(1, POLL).await);
        assert_eq!((updates, place.session), (vec![10], None), "11 is fetched where a new one begins");
        let (updates, place) = taken(inbox.next(1, POLL).await);
        assert_eq!((updates, place.session.unwrap().id.as_str()), (vec![11], "next"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_missed_stays_so_until_it_is_taken_whatever_comes_before() {
        let inbox = Inbox::default();
        inbox
            .begin(Place { direct: vec![direct("1", "77", 10, None), direct("2", "78", 0, None)], ..Place::default() });
        inbox.put(received(11, "1", "77"), None);
        inbox.has_missed();
        assert_eq!(inbox.missed(), [direct("1", "77", 10, Some(10))], "of the other one nothing is known");
        // It can't be fetched at once, and somebody goes on writing.
        inbox.is_at(session(5));
        inbox.put(received(20, "1", "77"), Some(5));
        let (updates, place) = taken(inbox.next(2, POLL).await);
        let missed = (place.direct[1].missed_after, place.direct[1].missed_before);
        assert_eq!((updates, missed), (vec![11, 20], (Some(10), Some(20))), "also after a kill");
        inbox.put(received(21, "1", "77"), Some(6));
        inbox.fetched("77", [11, 12, 13, 20, 21].map(|id| received(id, "1", "77")).into());
        assert_eq!(inbox.missed(), [], "it is here");
        let (updates, place) = taken(inbox.next(3, POLL).await);
        assert_eq!(
            (updates, &place.session),
            (vec![21, 11, 12], &None),
            "11 is known by its number when it comes again"
        );
        assert_eq!(place.direct[1].missed_after, Some(10));
        let (updates, place) = taken(inbox.next(3, POLL).await);
        assert_eq!((updates, place.session), (vec![13], session(5)));
        assert_eq!(place.direct[1], direct("1", "77", 21, None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_missed_while_what_was_missed_waits_is_fetched_too() {
        let inbox = Inbox::default();
        inbox.begin(Place { direct: vec![direct("1", "77", 10, None)], ..Place::default() });
        inbox.has_missed();
        inbox.fetched("77", vec![received(11, "1", "77")]);
        inbox.has_missed();
        assert_eq!(inbox.missed(), [direct("1", "77", 10, Some(10))]);
        inbox.fetched("77", [11, 12].map(|id| received(id, "1", "77")).into());
        assert_eq!(taken(inbox.next(20, POLL).await).1.direct, [direct("1", "77", 12, None)]);
        inbox.has_missed();
        inbox.fetched("77", Vec::new());
        assert_eq!(inbox.missed(), [], "there was nothing");
    }

    const POLL: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_failed_connection_is_told_after_what_came_by_it_and_once() {
        let inbox = Inbox::default();
        assert!(matches!(inbox.next(2, POLL).await, Err(Fault::Unanswered(_))), "nothing is there yet");
        inbox.opened();
        inbox.put(received(1, "1", "77"), Some(2));
        inbox.failed(Fault::Trouble("gone".to_owned()));
        assert_eq!(taken(inbox.next(2, POLL).await).0, [1]);
        assert_eq!(inbox.take(2), Some(Err(Fault::Trouble("gone".to_owned()))));
        assert_eq!(inbox.take(2), None);
        assert_eq!(inbox.next(2, POLL).await, Err(Fault::Trouble("gone".to_owned())), "it stays so");
        inbox.opened();
        assert!(inbox.next(2, POLL).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_full_until_something_is_taken() {
        let inbox = Inbox::default();
        for id in 0..MOST as u64 {
            inbox.put(received(id, "1", "77"), Some(id));
        }
        assert!(inbox.is_full());
        tokio::join!(inbox.has_room(), async { taken(inbox.next(1, POLL).await) });
        assert!(!inbox.is_full());
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_push_out_nobody_who_may_talk_and_are_looked_after_last() {
        let inbox = Inbox::default();
        inbox.configure(&ChannelAccess { allow_from: vec!["1".to_owned()], ..ChannelAccess::default() });
        inbox.are_approved(Arc::new(["2".to_owned()].into()));
        let users = ["1", "2"].map(str::to_owned).into_iter().chain((100..180).map(|user| user.to_string()));
        for (id, user) in (10_u64..).zip(users) {
            inbox.put(received(id, &user, &format!("7{user}")), None);
        }
        for _ in 0..5 {
            taken(inbox.next(20, POLL).await);
        }
        inbox.has_missed();
        let missed: Vec<String> = inbox.missed().into_iter().map(|direct| direct.user).collect();
        assert_eq!((missed.len(), &missed[..3]), (MOST_DIRECT, ["1", "2", "132"].map(str::to_owned).as_slice()));
    }

    #[test]
    fn only_so_many_direct_chats_are_remembered() {
        let (mut place, known) = (Place::default(), Known::default());
        for user in 0..=MOST_DIRECT {
            place.put(&user.to_string(), "7", 1, &known);
        }
        assert!(place.direct.len() == MOST_DIRECT && place.direct[0].user == "1");
        place.put("1", "7", 0, &known);
        assert_eq!(place.direct.last().unwrap(), &direct("1", "7", 1, None));
        assert_eq!(Place::read("garbage"), None);
        let place = Place { session: session(1), with_content: true, direct: Vec::new() };
        assert_eq!(place.clone().with_content(true), place);
        assert_eq!(place.with_content(false).session, None, "it was begun with another intent");
    }
}
