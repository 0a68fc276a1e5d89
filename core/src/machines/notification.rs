//! What people are told of: when a condition is announced, repeated and taken back, for one destination.
//!
//! The machine compares what is seen with what was announced, so nothing depends on catching an event: whatever happened
//! while the daemon was away, or while it could not write, shows at the next look. What was announced ([`Episode`]) is
//! stored by the caller together with the notification, in one transaction, and handed back after a restart.
//!
//! ```text
//!            holds for `after`                     not seen for `after` without a break, and for its hold-down
//!  nothing -------------------> open: `opened` --------------------------------------------------> nothing: `closed`
//!                                |  every `remind_every`: `reminded`
//!                                |  another gateway acts: `moved`
//! ```
//!
//! - A look only proposes [`Step`]s; [`Watch::apply`] makes them true once they are stored. A failed write costs nothing.
//! - Who bounces stays announced until it has been well for a hold-down ([`FlapDamper`]), which is stored with the episode. So no
//!   bouncing gateway makes a storm, and none hides behind its bouncing.
//! - A failover is a condition of the configured primary in whose place another acts: where an operator configures another
//!   primary meanwhile, one failover ends and another begins.
//! - Where many gateways turn alike, they are told of in one notification, for which those that are about to be due are
//!   waited for.
//! - A full outbox delays announcements and reminders, never the end of something that was announced.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::{Duration, Instant};

use super::flap::FlapDamper;
use crate::ids::GatewayId;

gatewarden_protocol::named! {
    /// What can be wrong.
    pub enum Condition {
        /// The gateway can't be reached, or doesn't answer.
        Down = "down",
        /// It refuses us until somebody changes something.
        Blocked = "blocked",
        /// Its process ended so often that it isn't started again.
        CrashLoop = "crash_loop",
        /// Another gateway acts in place of this one, the configured primary, or none does.
        Failover = "failover",
        /// Most gateways failed at once: the daemon doubts its own network.
        NetworkDoubt = "network_doubt",
    }
}

impl Condition {
    /// Whether its end was waited for where it was decided, as a failback is, so that it is told when it comes.
    fn ends_settled(self) -> bool {
        matches!(self, Self::Failover | Self::NetworkDoubt)
    }
}

/// Who something is wrong with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// One gateway.
    Gateway(GatewayId),
    /// All of them together.
    Fleet,
}

impl Subject {
    /// Reads what its `Display` writes.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.strip_prefix("gateway-") {
            Some(id) => id.parse().ok().map(|id| Self::Gateway(GatewayId(id))),
            None => (name == "fleet").then_some(Self::Fleet),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(id) => write!(f, "gateway-{id}"),
            Self::Fleet => f.write_str("fleet"),
        }
    }
}

/// A condition of somebody: what is announced and taken back as one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic {
    /// Who.
    pub subject: Subject,
    /// What.
    pub condition: Condition,
}

/// Who acts in place of the configured primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandIn {
    /// This gateway.
    Gateway(GatewayId),
    /// None can.
    Nobody,
}

impl StandIn {
    /// Reads what its `Display` writes.
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "none" { Some(Self::Nobody) } else { name.parse().ok().map(|id| Self::Gateway(GatewayId(id))) }
    }
}

impl fmt::Display for StandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(id) => id.fmt(f),
            Self::Nobody => f.write_str("none"),
        }
    }
}

/// What is seen of a topic. A topic of somebody present that isn't among the sights is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// It holds.
    Holds {
        /// Wall ms at which that began.
        since_ms: i64,
        /// Of a failover: who acts. It may change while it holds.
        stand_in: Option<StandIn>,
        /// Whether it was waited for already, so that it is announced without delay.
        at_once: bool,
    },
    /// It holds since then, and isn't told now: what is behind it may be told as a whole. Once that is over it has held all the
    /// while.
    Withheld {
        /// Wall ms.
        since_ms: i64,
    },
    /// Nothing can be said: an attempt is under way, the daemon has just started. What began goes on.
    Unclear,
    /// It isn't looked for: something else is wrong in its place, or somebody is at work on the gateway. What was announced stays so;
    /// what wasn't will begin anew.
    Aside,
}

/// When a destination is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchSettings {
    /// How long a condition must hold before it is announced, and be gone before that is.
    pub after: Duration,
    /// How often it is repeated while it lasts; none for never.
    pub remind_every: Option<Duration>,
    /// Whether its end is told.
    pub recovered: bool,
}

/// Something that was announced and lasts. Stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    /// Unique; the notifications of an episode are numbered after it.
    pub id: String,
    /// Wall ms at which the condition began to hold.
    pub began_ms: i64,
    /// Wall ms of the latest announcement.
    pub announced_ms: i64,
    /// Number of the latest notification, from 0.
    pub sequence: u32,
    /// Of a failover: who acts, as last announced.
    pub stand_in: Option<StandIn>,
    /// For so long it must be well before its end is told, since it bounces; zero where it doesn't.
    pub hold: Duration,
}

impl Episode {
    /// The id of the latest notification: unique, and the same however often that is sent.
    pub fn notification_id(&self) -> String {
        format!("{}-{}", self.id, self.sequence)
    }
}

/// What happens to an episode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It begins.
    Opened,
    /// Another stands in.
    Moved {
        /// The former one.
        from: Option<StandIn>,
    },
    /// It lasts.
    Reminded,
    /// It is over.
    Closed {
        /// Because the subject was deleted, or is no longer watched.
        removed: bool,
    },
}

/// One decision: to be stored, then applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What about.
    pub topic: Topic,
    /// What happens.
    pub change: Change,
    /// The episode after it; at its end, as it ends.
    pub episode: Episode,
    /// Whether anybody is told: the end of an episode may be a silent one.
    pub told: bool,
    /// For how long a condition that begins has been seen, or one that ends has been gone.
    pub held: Duration,
    /// Whether it is told together with the other steps of its [`Step::kind`]: many gateways turn alike.
    pub in_digest: bool,
}

impl Step {
    /// Steps of one kind can be told together. None for one that is told by itself always.
    pub fn kind(&self) -> Option<(Condition, std::mem::Discriminant<Change>)> {
        let is_own = matches!(self.change, Change::Moved { .. } | Change::Closed { removed: true });
        let is_alone = is_own || !self.told || self.topic.subject == Subject::Fleet;
        (!is_alone).then(|| (self.topic.condition, std::mem::discriminant(&self.change)))
    }
}

/// One look at everything.
pub struct Look<'a> {
    /// Monotonic now.
    pub now: Instant,
    /// Wall now, ms.
    pub now_ms: i64,
    /// What is seen.
    pub sights: &'a BTreeMap<Topic, Sight>,
    /// Gateways that exist and are watched.
    pub present: &'a BTreeSet<GatewayId>,
    /// How many announcements and reminders the outbox can take.
    pub room: usize,
    /// Topics of which a notification still waits for delivery: nothing is repeated over it.
    pub undelivered: &'a BTreeSet<Topic>,
    /// Gives ids that were never given before.
    pub new_id: &'a mut dyn FnMut() -> String,
}

/// That another stands in is told at most this often.
pub const MOVE_SPACING: Duration = Duration::from_secs(60);

/// So many gateways that turn alike are told of in one notification.
pub const DIGEST_FROM: usize = 5;

/// So long those that are due wait for others that are about to be.
pub const DIGEST_WAIT: Duration = Duration::from_secs(10);

/// What is known of a topic.
#[derive(Debug, Clone, Default)]
struct Entry {
    state: State,
    flaps: FlapDamper,
    /// The latest announcement or end, while its damper matters.
    turned: Option<Instant>,
}

/// Where a topic stands.
#[derive(Debug, Clone, Default)]
enum State {
    /// Nothing is seen, nothing is announced.
    #[default]
    Well,
    /// It holds and isn't announced yet.
    Beginning {
        /// When that was first seen.
        seen: Instant,
        /// Wall ms at which it began.
        since_ms: i64,
    },
    /// It is announced.
    Open {
        episode: Episode,
        /// Since when it has been well without a break.
        well_since: Option<Instant>,
    },
}

impl State {
    fn is_turning(&self) -> bool {
        matches!(self, Self::Beginning { .. } | Self::Open { well_since: Some(_), .. })
    }

    fn episode(&self) -> Option<&Episode> {
        match self {
            Self::Open { episode, .. } => Some(episode),
            Self::Well | Self::Beginning { .. } => None,
        }
    }
}

/// How long a damper is remembered after the latest turn.
const DAMPER_KEPT: Duration = Duration::from_secs(2 * 3600);

/// The machine of one destination. Remembers topics that are open, turning, or turned lately: bounded by the roster.
#[derive(Debug, Clone)]
pub struct Watch {
    settings: WatchSettings,
    topics: BTreeMap<Topic, Entry>,
}

impl Watch {
    /// A machine that has announced nothing.
    pub fn new(settings: WatchSettings) -> Self {
        Self { settings, topics: BTreeMap::new() }
    }

    /// Takes over what is stored as announced: after a restart, or after a write of which nobody knows whether it happened.
    pub fn restore(&mut self, stored: impl IntoIterator<Item = (Topic, Episode)>) {
        let mut stored: BTreeMap<Topic, Episode> = stored.into_iter().collect();
        for (topic, entry) in &mut self.topics {
            match stored.remove(topic) {
                Some(episode) => entry.state = State::Open { episode, well_since: None },
                None if entry.state.episode().is_some() => entry.state = State::Well,
                None => {}
            }
        }
        for (topic, episode) in stored {
            self.topics.entry(topic).or_default().state = State::Open { episode, well_since: None };
        }
    }

    /// What was announced and lasts.
    pub fn open(&self) -> impl Iterator<Item = (&Topic, &Episode)> {
        self.topics.iter().filter_map(|(topic, entry)| Some((topic, entry.state.episode()?)))
    }

    /// What is to be done. The same is proposed again until it is applied.
    pub fn propose(&mut self, look: Look<'_>) -> Vec<Step> {
        let Look { now, now_ms, sights, present, mut room, undelivered, new_id } = look;
        for (topic, sight) in sights {
            // Something unclear of which nothing was announced needs no memory.
            if matches!(sight, Sight::Holds { .. } | Sight::Withheld { .. }) {
                self.topics.entry(*topic).or_default();
            }
        }
        let mut steps = Vec::new();
        let mut turning = BTreeMap::<(Condition, bool), usize>::new();
        for (topic, entry) in &mut self.topics {
            let is_present = match topic.subject {
                Subject::Gateway(id) => present.contains(&id),
                Subject::Fleet => true,
            };
            let view = View {
                settings: &self.settings,
                now,
                now_ms,
                is_present,
                waits: undelivered.contains(topic),
                ends_settled: topic.condition.ends_settled(),
            };
            let Some((change, episode, held)) = view.decide(entry, sights.get(topic), room, new_id) else {
                if entry.state.is_turning() {
                    *turning.entry((topic.condition, entry.state.episode().is_some())).or_default() += 1;
                }
                continue;
            };
            let told = match change {
                Change::Closed { .. } => self.settings.recovered,
                Change::Opened | Change::Moved { .. } | Change::Reminded => {
                    room = room.saturating_sub(1);
                    true
                }
            };
            steps.push(Step { topic: *topic, change, episode, told, held, in_digest: false });
        }
        self.gather(&mut steps, &turning);
        self.topics.retain(|topic, entry| {
            let watched = match topic.subject {
                Subject::Gateway(id) => present.contains(&id),
                Subject::Fleet => true,
            };
            let lately = entry.turned.is_some_and(|at| now.saturating_duration_since(at) < DAMPER_KEPT);
            entry.state.episode().is_some() || (watched && (entry.state.is_turning() || lately))
        });
        steps
    }

    /// Marks steps that are told together, and puts those off that wait for others; `turning` counts the gateways that begin or
    /// end a condition and are not due.
    fn gather(&self, steps: &mut Vec<Step>, turning: &BTreeMap<(Condition, bool), usize>) {
        let mut alike = HashMap::<_, (usize, Duration)>::new();
        for step in steps.iter() {
            if let Some(kind) = step.kind() {
                let (count, longest) = alike.entry(kind).or_default();
                *count += 1;
                *longest = step.held.max(*longest);
            }
        }
        steps.retain_mut(|step| {
            let Some((due, longest)) = step.kind().and_then(|kind| alike.get(&kind)) else { return true };
            let others = match step.change {
                Change::Opened => turning.get(&(step.topic.condition, false)),
                Change::Closed { .. } => turning.get(&(step.topic.condition, true)),
                Change::Moved { .. } | Change::Reminded => None,
            };
            let others = others.copied().unwrap_or_default();
            if due.saturating_add(others) < DIGEST_FROM {
                return true;
            }
            step.in_digest = *due > 1;
            others == 0 || *longest >= self.settings.after.saturating_add(DIGEST_WAIT)
        });
    }

    /// Makes a step true, once it is stored.
    pub fn apply(&mut self, step: &Step, now: Instant) {
        let entry = self.topics.entry(step.topic).or_default();
        entry.state = match step.change {
            Change::Closed { .. } => State::Well,
            _ => State::Open { episode: step.episode.clone(), well_since: None },
        };
        if matches!(step.change, Change::Opened | Change::Closed { .. }) {
            entry.turned = Some(now);
            entry.flaps.on_transition(now);
        }
    }
}

/// What a decision about one topic depends on, beside the topic.
struct View<'a> {
    settings: &'a WatchSettings,
    now: Instant,
    now_ms: i64,
    is_present: bool,
    /// A notification of it still waits.
    waits: bool,
    /// See [`Condition::ends_settled`].
    ends_settled: bool,
}

impl View<'_> {
    /// What happens to it, the episode after that, and for how long what led to it has been seen.
    fn decide(
        &self,
        entry: &mut Entry,
        sight: Option<&Sight>,
        room: usize,
        new_id: &mut dyn FnMut() -> String,
    ) -> Option<(Change, Episode, Duration)> {
        match (&mut entry.state, sight) {
            (state @ State::Well, Some(Sight::Holds { since_ms, .. } | Sight::Withheld { since_ms })) => {
                *state = State::Beginning { seen: self.now, since_ms: self.now_ms.min(*since_ms) };
            }
            (state @ State::Beginning { .. }, None | Some(Sight::Aside)) => *state = State::Well,
            (State::Open { well_since, .. }, None) => {
                well_since.get_or_insert(self.now);
            }
            (State::Open { well_since, .. }, Some(_)) => *well_since = None,
            (State::Well | State::Beginning { .. }, _) => {}
        }
        let seen_for = |since: Instant| self.now.saturating_duration_since(since);
        match (&entry.state, sight) {
            (State::Beginning { seen, since_ms }, Some(Sight::Holds { stand_in, at_once, .. })) => {
                let held = seen_for(*seen);
                if room == 0 || !(*at_once || held >= self.settings.after) {
                    return None;
                }
                let mut flaps = entry.flaps.clone();
                flaps.on_transition(self.now);
                let episode = Episode {
                    id: new_id(),
                    began_ms: *since_ms,
                    announced_ms: self.now_ms,
                    sequence: 0,
                    stand_in: *stand_in,
                    hold: flaps.hold(self.now),
                };
                Some((Change::Opened, episode, held))
            }
            (State::Open { episode, .. }, Some(Sight::Holds { stand_in, .. })) if room > 0 && !self.waits => {
                // A clock that was set back must not silence anybody.
                let since = Duration::from_millis(self.now_ms.saturating_sub(episode.announced_ms).unsigned_abs());
                if *stand_in != episode.stand_in && since >= MOVE_SPACING {
                    let from = episode.stand_in;
                    return Some((Change::Moved { from }, self.next_of(episode, *stand_in), Duration::ZERO));
                }
                let due = self.settings.remind_every.is_some_and(|every| since >= every);
                due.then(|| (Change::Reminded, self.next_of(episode, *stand_in), Duration::ZERO))
            }
            (State::Open { episode, well_since: Some(since) }, None) => {
                let (gone_for, removed) = (seen_for(*since), !self.is_present);
                let over = (self.ends_settled || gone_for >= self.settings.after) && gone_for >= episode.hold;
                (over || removed)
                    .then(|| (Change::Closed { removed }, self.next_of(episode, episode.stand_in), gone_for))
            }
            _ => None,
        }
    }

    fn next_of(&self, episode: &Episode, stand_in: Option<StandIn>) -> Episode {
        Episode { announced_ms: self.now_ms, sequence: episode.sequence.saturating_add(1), stand_in, ..episode.clone() }
    }
}

#[cfg(test)]
mod tests;
