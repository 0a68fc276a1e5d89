//! What people are told of: when a condition is announced, repeated and taken back, for one destination.
//!
//! The machine compares what is seen with what was announced, so nothing depends on catching an event: whatever happened
//! while the daemon was away, or while it could not write, shows at the next look. What was announced ([`Episode`]) is
//! stored by the caller together with the notification, in one transaction, and handed back after a restart.
//!
//! ```text
//!            holds for `after`                     no longer seen for `after`, and not bouncing
//!  nothing -------------------> open: `opened` ------------------------------------------------> nothing: `closed`
//!                                |  every `remind_every`: `reminded`
//!                                |  another gateway acts: `moved`
//! ```
//!
//! - A look only proposes [`Step`]s; [`Watch::apply`] makes them true once they are stored. A failed write costs nothing.
//! - Who bounces stays announced: a hold-down ([`FlapDamper`]) delays what would take the announcement back, never the
//!   announcement. So no bouncing gateway makes a storm, and none hides behind its bouncing.
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
        /// Another gateway acts in place of the configured primary, or none does.
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

/// What is seen of a topic. A topic of somebody present that isn't among the sights is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// It holds.
    Holds {
        /// What about it may change while it holds: for a failover, who acts. Empty otherwise.
        detail: String,
        /// Whether it was waited for already, so that it is announced without delay.
        at_once: bool,
    },
    /// It holds, and isn't told now: what is behind it may be told as a whole. Once that is over it has held all the while.
    Withheld,
    /// Nothing can be said: an attempt is under way, the daemon has just started, the gateway is drained.
    Unclear,
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
    /// What was last announced about it; see [`Sight::Holds`].
    pub detail: String,
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
    Opened {
        /// Whether the subject bounces, so that its end will be told late.
        flapping: bool,
    },
    /// Another detail than before.
    Moved {
        /// The former one.
        from: String,
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
    /// For how long a condition that begins has held, or one that ends has been gone.
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

/// A detail that changes is told at most this often.
pub const MOVE_SPACING: Duration = Duration::from_secs(60);

/// So many gateways that turn alike are told of in one notification.
pub const DIGEST_FROM: usize = 5;

/// So long those that are due wait for others that are about to be.
pub const DIGEST_WAIT: Duration = Duration::from_secs(10);

/// What is known of a topic.
#[derive(Debug, Clone, Default)]
struct Entry {
    open: Option<Episode>,
    /// Since when what is seen differs from what was announced.
    turning: Option<Instant>,
    flaps: FlapDamper,
    /// The latest announcement or end, while its damper matters.
    turned: Option<Instant>,
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
        for entry in self.topics.values_mut() {
            entry.open = None;
        }
        for (topic, episode) in stored {
            self.topics.entry(topic).or_default().open = Some(episode);
        }
    }

    /// What was announced and lasts.
    pub fn open(&self) -> impl Iterator<Item = (&Topic, &Episode)> {
        self.topics.iter().filter_map(|(topic, entry)| Some((topic, entry.open.as_ref()?)))
    }

    /// What is to be done. The same is proposed again until it is applied.
    pub fn propose(&mut self, look: Look<'_>) -> Vec<Step> {
        let Look { now, now_ms, sights, present, mut room, undelivered, new_id } = look;
        for (topic, sight) in sights {
            // Something unclear of which nothing was announced needs no memory.
            if *sight != Sight::Unclear {
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
            let Some((change, episode)) = view.decide(entry, sights.get(topic), room, new_id) else {
                if entry.turning.is_some() {
                    *turning.entry((topic.condition, entry.open.is_some())).or_default() += 1;
                }
                continue;
            };
            let told = match change {
                Change::Closed { .. } => self.settings.recovered,
                Change::Opened { .. } | Change::Moved { .. } | Change::Reminded => {
                    room = room.saturating_sub(1);
                    true
                }
            };
            let held = entry.turning.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
            steps.push(Step { topic: *topic, change, episode, told, held, in_digest: false });
        }
        self.gather(&mut steps, &turning);
        self.topics.retain(|topic, entry| {
            let watched = match topic.subject {
                Subject::Gateway(id) => present.contains(&id),
                Subject::Fleet => true,
            };
            let lately = entry.turned.is_some_and(|at| now.saturating_duration_since(at) < DAMPER_KEPT);
            entry.open.is_some() || (watched && (entry.turning.is_some() || lately))
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
                Change::Opened { .. } => turning.get(&(step.topic.condition, false)),
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
        match step.change {
            Change::Opened { .. } => {
                entry.open = Some(step.episode.clone());
                entry.turn(now);
            }
            Change::Closed { .. } => {
                entry.open = None;
                entry.turn(now);
            }
            Change::Moved { .. } | Change::Reminded => entry.open = Some(step.episode.clone()),
        }
    }
}

impl Entry {
    fn turn(&mut self, now: Instant) {
        self.turning = None;
        self.turned = Some(now);
        self.flaps.on_transition(now);
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
    fn decide(
        &self,
        entry: &mut Entry,
        sight: Option<&Sight>,
        room: usize,
        new_id: &mut dyn FnMut() -> String,
    ) -> Option<(Change, Episode)> {
        match (entry.open.clone(), sight) {
            (None, Some(Sight::Holds { detail, at_once })) => {
                let held = self.turned_for(entry);
                if room == 0 || !(*at_once || held >= self.settings.after) {
                    return None;
                }
                let mut flaps = entry.flaps.clone();
                let flapping = flaps.on_transition(self.now) || flaps.is_held(self.now);
                let episode = Episode {
                    id: new_id(),
                    began_ms: self.now_ms.saturating_sub(i64::try_from(held.as_millis()).unwrap_or(i64::MAX)),
                    announced_ms: self.now_ms,
                    sequence: 0,
                    detail: detail.clone(),
                };
                Some((Change::Opened { flapping }, episode))
            }
            (_, Some(Sight::Unclear)) => None,
            (None, Some(Sight::Withheld)) => {
                self.turned_for(entry);
                None
            }
            (Some(_), Some(Sight::Withheld)) => {
                entry.turning = None;
                None
            }
            (None, None) => {
                entry.turning = None;
                None
            }
            (Some(episode), Some(Sight::Holds { detail, .. })) => {
                entry.turning = None;
                if room == 0 || self.waits {
                    return None;
                }
                // A clock that was set back must not silence anybody.
                let since = Duration::from_millis(self.now_ms.saturating_sub(episode.announced_ms).unsigned_abs());
                if *detail != episode.detail && since >= MOVE_SPACING {
                    let from = episode.detail.clone();
                    return Some((Change::Moved { from }, self.next_of(episode, detail)));
                }
                let due = self.settings.remind_every.is_some_and(|every| since >= every);
                due.then(|| (Change::Reminded, self.next_of(episode, detail)))
            }
            (Some(episode), None) => {
                let gone_for = self.turned_for(entry);
                let over = (self.ends_settled || gone_for >= self.settings.after) && !entry.flaps.is_held(self.now);
                let removed = !self.is_present;
                let detail = episode.detail.clone();
                (over || removed).then(|| (Change::Closed { removed }, self.next_of(episode, &detail)))
            }
        }
    }

    /// For how long what is seen has differed from what was announced.
    fn turned_for(&self, entry: &mut Entry) -> Duration {
        let since = *entry.turning.get_or_insert(self.now);
        self.now.saturating_duration_since(since)
    }

    fn next_of(&self, episode: Episode, detail: &str) -> Episode {
        Episode {
            announced_ms: self.now_ms,
            sequence: episode.sequence.saturating_add(1),
            detail: detail.to_owned(),
            ..episode
        }
    }
}

#[cfg(test)]
mod tests;
