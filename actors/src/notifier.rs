//! The `Notifier` actor: tells people of what happens to gateways, by webhooks.
//!
//! ```text
//! roster --look, each second--> observing --sights--> Watch --steps--> store: episode and outbox in one transaction
//!                                                       ^                          |
//!                                                       +------- applied ----------+--> Outbox --> webhook --> settled
//! ```
//!
//! | file | decides or does |
//! | --- | --- |
//! | `destination` | a destination, and its URL, of which only the host is ever shown |
//! | `observing` | which conditions hold, which are over, of which nothing can be said |
//! | `rendering` | what a notification says |
//! | `webhook` | one attempt: request, signature, what the answer means |
//! | `destination_state` | the state of one destination, and what is logged of it |
//! | [`crate::machines::notification`] | when something is announced, repeated, taken back |
//! | [`crate::machines::notification_outbox`] | what is sent next, and when a failure is tried again |
//!
//! It looks at states, not at events: whatever changed while the daemon was away, or while the store couldn't write, shows
//! at the next look. A notification is on disk before it is sent and stays there until it was taken, so that it is
//! delivered at least once; its id tells the receiver of a second time.

pub mod destination;
mod destination_state;
mod observing;
mod rendering;
#[cfg(test)]
mod tests_support;
mod webhook;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use gatewarden_api::notifications::Notification;
use tracing::{info, warn};

use self::destination::Destination;
use self::destination_state::DestinationState;
use self::observing::{Fleet, observe};
use self::webhook::NotTaken;
use crate::clock::Clock;
use crate::dialing::Dialer;
use crate::error::Failure;
use crate::machines::notification::{Look, Step};
use crate::metrics::Metrics;
use crate::registry::roster::RosterReader;
use crate::store::handle::StoreHandle;
use crate::store::records::{EpisodeRecord, NotificationMove, OutboxRecord};

pub use self::webhook::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};

/// How often the fleet is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long after the election's own hold there must be an acting primary.
const ELECTION_MARGIN: Duration = Duration::from_secs(2);

/// From the daemon's stop: what follows is no failure of anybody. What waits is still sent while the process lives.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct EndLooks;

/// What a notifier is made of.
pub struct NotifierParts {
    /// Where to, which and when; at most [`destination::MAX_DESTINATIONS`].
    pub destinations: Vec<Destination>,
    /// What is announced, and what waits.
    pub store: StoreHandle,
    /// What is known of the gateways.
    pub roster: RosterReader,
    /// The way out.
    pub dialer: Arc<dyn Dialer>,
    /// How long after the start the election waits for the configured primary.
    pub startup_hold: Duration,
    /// Time.
    pub clock: Clock,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// Owns what was announced to each destination, and what waits for it.
pub struct NotifierActor {
    states: Vec<DestinationState>,
    store: StoreHandle,
    roster: RosterReader,
    dialer: Arc<dyn Dialer>,
    clock: Clock,
    elected_at: Instant,
    /// Decisions are being written, or what is stored is being read: nothing is decided meanwhile.
    writing: bool,
    /// The latest write failed, and nobody knows whether it happened: what is stored counts.
    stale: bool,
    /// Outbox rows that are done with and could not be deleted.
    unsettled: BTreeSet<i64>,
    /// The daemon stops: nothing is decided any more.
    stopping: bool,
}

impl NotifierActor {
    /// Reads what an earlier run announced and didn't deliver, and starts on the current arbiter.
    ///
    /// # Errors
    /// The store can't be read or written.
    pub async fn start(parts: NotifierParts) -> Result<Addr<Self>, Failure> {
        let NotifierParts { destinations, store, roster, dialer, startup_hold, clock, metrics } = parts;
        forget_others(&store, &destinations).await?;
        let (episodes, waiting) = store.load_notifications().await?;
        let installation: Arc<str> = store.installation_id().into();
        let mut states: Vec<DestinationState> = destinations
            .into_iter()
            .map(|destination| DestinationState::new(destination, installation.clone(), clock.clone(), metrics.clone()))
            .collect();
        for state in &mut states {
            for unwanted in state.restore(&episodes) {
                store.forget_episode(unwanted).await?;
            }
            state.take_waiting(&waiting, &BTreeSet::new());
        }
        let elected_at = clock.now() + startup_hold + ELECTION_MARGIN;
        let notifier = Self {
            states,
            store,
            roster,
            dialer,
            clock,
            elected_at,
            writing: false,
            stale: false,
            unsettled: BTreeSet::new(),
            stopping: false,
        };
        Ok(Actor::start(notifier))
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        self.settle_leftovers(ctx);
        for index in 0..self.states.len() {
            self.deliver(index, ctx);
        }
        if self.writing || self.stopping {
            return;
        }
        if self.stale {
            self.read_anew(ctx);
            return;
        }
        let decisions = self.decide();
        if !decisions.is_empty() {
            self.announce(decisions, ctx);
        }
    }

    fn decide(&mut self) -> Vec<Decision> {
        let (now, now_ms) = (self.clock.now(), self.clock.wall_ms());
        // The views later: a failover is shown only of a primary that they have.
        let (primary, views, doubt) = (self.roster.primary(), self.roster.list(), self.roster.self_doubt());
        let fleet = Fleet {
            views: &views,
            primary: &primary,
            elected: primary.acting.is_some() || now >= self.elected_at,
            doubts: doubt.is_some(),
            now_ms,
        };
        let doubt = doubt.as_deref().map(String::as_str);
        let mut decisions = Vec::new();
        for (index, state) in self.states.iter_mut().enumerate() {
            let seen = observe(&state.destination, &fleet);
            let undelivered = state.outbox.topics().collect();
            let look = Look {
                now,
                now_ms,
                sights: &seen.sights,
                present: &seen.present,
                room: state.room(),
                undelivered: &undelivered,
                new_id: &mut || uuid::Uuid::new_v4().simple().to_string(),
            };
            let steps = state.watch.propose(look);
            for (at, step) in steps.iter().enumerate() {
                let told = told_with(&steps, at);
                let (kept, body) = state.write_down(step, &told, &fleet, doubt);
                decisions.push(Decision { state: index, step: step.clone(), kept, body });
            }
        }
        decisions
    }

    /// Writes decisions down, then makes them true.
    fn announce(&mut self, decisions: Vec<Decision>, ctx: &mut Context<Self>) {
        self.writing = true;
        let store = self.store.clone();
        let moves = decisions.iter().map(|decision| decision.kept.clone()).collect();
        let write = async move { store.announce(moves).await };
        ctx.spawn(write.into_actor(self).map(move |written, notifier, ctx| {
            notifier.writing = false;
            match written {
                Ok(rows) => notifier.take_announced(decisions, rows, ctx),
                Err(failure) => {
                    if !std::mem::replace(&mut notifier.stale, true) {
                        warn!(%failure, "notifications could not be stored: they are decided anew once the store can write");
                    }
                }
            }
        }));
    }

    fn take_announced(&mut self, decisions: Vec<Decision>, rows: Vec<Option<i64>>, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        for (decision, row) in decisions.into_iter().zip(rows) {
            let Some(state) = self.states.get_mut(decision.state) else { continue };
            state.watch.apply(&decision.step, now);
            state.took_note(&decision.step, &decision.kept, &decision.body, row);
        }
        for index in 0..self.states.len() {
            self.deliver(index, ctx);
        }
    }

    /// After a write that failed: what is stored is what was announced.
    fn read_anew(&mut self, ctx: &mut Context<Self>) {
        self.writing = true;
        let store = self.store.clone();
        let read = async move {
            // A write of which nobody heard may still be on its way.
            store.flush().await?;
            store.load_notifications().await
        };
        ctx.spawn(read.into_actor(self).map(
            |stored: Result<(Vec<EpisodeRecord>, Vec<OutboxRecord>), Failure>, notifier, _| {
                notifier.writing = false;
                let Ok((episodes, waiting)) = stored else { return };
                for state in &mut notifier.states {
                    state.restore(&episodes);
                    state.take_waiting(&waiting, &notifier.unsettled);
                }
                notifier.stale = false;
            },
        ));
    }

    /// Sends the next notification of a destination, one at a time.
    fn deliver(&mut self, index: usize, ctx: &mut Context<Self>) {
        let now_ms = self.clock.wall_ms();
        let Some(state) = self.states.get_mut(index) else { return };
        if state.is_sending {
            return;
        }
        let expired = state.give_up_old(now_ms);
        self.unsettled.extend(expired);
        let Some(state) = self.states.get_mut(index) else { return };
        let Some(next) = state.outbox.due(now_ms).cloned() else { return };
        state.is_sending = true;
        let (dialer, store, destination) = (self.dialer.clone(), self.store.clone(), state.destination.clone());
        let (row, clock) = (next.row, self.clock.clone());
        let attempt = async move {
            let timestamp_s = clock.wall_ms().div_euclid(1000);
            let outcome = webhook::send(&*dialer, &destination, &next.id, next.body, timestamp_s).await;
            let settled = outcome.is_ok() && store.settle_notifications(vec![row]).await.is_ok();
            (outcome, settled)
        };
        ctx.spawn(attempt.into_actor(self).map(move |(outcome, settled), notifier, ctx| {
            if outcome.is_ok() && !settled {
                notifier.unsettled.insert(row);
            }
            notifier.take_outcome(index, row, outcome, ctx);
        }));
    }

    fn take_outcome(&mut self, index: usize, row: i64, outcome: Result<(), NotTaken>, ctx: &mut Context<Self>) {
        let Some(state) = self.states.get_mut(index) else { return };
        state.is_sending = false;
        match outcome {
            Ok(()) => state.delivered(row),
            Err(not_taken) => match state.failed(row, &not_taken) {
                Some((attempts, next_ms)) => {
                    let store = self.store.clone();
                    let note = async move { store.note_notification_attempt(row, attempts, next_ms).await };
                    // Without it the next run merely tries earlier.
                    ctx.spawn(note.into_actor(self).map(|_, _, _| ()));
                }
                None => {
                    self.unsettled.insert(row);
                }
            },
        }
        self.deliver(index, ctx);
    }

    /// Deletes rows that are done with.
    fn settle_leftovers(&mut self, ctx: &mut Context<Self>) {
        if self.unsettled.is_empty() {
            return;
        }
        let rows: Vec<i64> = self.unsettled.iter().copied().collect();
        let store = self.store.clone();
        let settled = rows.clone();
        let settle = async move { store.settle_notifications(settled).await };
        ctx.spawn(settle.into_actor(self).map(move |settled, notifier, _| {
            if settled.is_ok() {
                for row in rows {
                    notifier.unsettled.remove(&row);
                }
            }
        }));
    }
}

impl Actor for NotifierActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(LOOK_EVERY, Self::look);
    }
}

impl Handler<EndLooks> for NotifierActor {
    type Result = ();

    fn handle(&mut self, _: EndLooks, _: &mut Self::Context) {
        self.stopping = true;
    }
}

/// The steps that the notification of this one tells: all of its kind, where they are told together and it is the first of them.
fn told_with(steps: &[Step], at: usize) -> Vec<&Step> {
    let Some(step) = steps.get(at).filter(|step| step.told) else { return Vec::new() };
    if !step.in_digest {
        return vec![step];
    }
    let kind = step.kind();
    let is_of_kind = |other: &&Step| other.in_digest && other.kind() == kind;
    match steps.iter().take(at).any(|earlier| is_of_kind(&earlier)) {
        true => Vec::new(),
        false => steps.iter().filter(is_of_kind).collect(),
    }
}

/// A step of one destination, as it is written.
struct Decision {
    state: usize,
    step: Step,
    kept: NotificationMove,
    body: Option<Notification>,
}

/// Forgets what earlier runs announced to destinations that are no longer configured. To be called at each start, also
/// where no destination is left.
///
/// # Errors
/// The store can't write.
pub async fn forget_others(store: &StoreHandle, destinations: &[Destination]) -> Result<(), Failure> {
    let names = destinations.iter().map(|destination| destination.name.clone()).collect();
    let dropped = store.keep_notifications_of(names).await?;
    if dropped > 0 {
        info!(dropped, "notifications for destinations that are no longer configured were dropped");
    }
    Ok(())
}
