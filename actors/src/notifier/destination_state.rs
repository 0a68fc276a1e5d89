//! The state of one destination: its machines, the names under which subjects were announced, and what is logged of it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatewarden_api::notifications::Notification;
use tracing::{debug, error, info, warn};

use super::destination::Destination;
use super::observing::Fleet;
use super::rendering::{Story, render, widen};
use super::webhook::NotTaken;
use crate::clock::Clock;
use crate::machines::notification::{Change, Condition, Episode, StandIn, Step, Subject, Topic, Watch};
use crate::machines::notification_outbox::{Blame, MAX_WAITING, Next, Outbox, Queued};
use crate::metrics::{Attempt, Metrics};
use crate::store::records::{EpisodeMove, EpisodeRecord, NewNotification, NotificationMove, OutboxRecord};

/// One destination.
pub(super) struct DestinationState {
    pub(super) destination: Arc<Destination>,
    pub(super) watch: Watch,
    pub(super) outbox: Outbox,
    /// An attempt is under way.
    pub(super) is_sending: bool,
    /// What subjects were called when they were announced; bounded by what is announced.
    names: HashMap<Topic, String>,
    installation: Arc<str>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl DestinationState {
    pub(super) fn new(destination: Destination, installation: Arc<str>, clock: Clock, metrics: Arc<Metrics>) -> Self {
        let destination = Self {
            watch: Watch::new(destination.timing.clone()),
            outbox: Outbox::new(destination.give_up_after),
            destination: Arc::new(destination),
            is_sending: false,
            names: HashMap::new(),
            installation,
            clock,
            metrics,
        };
        destination.publish();
        destination
    }

    /// Takes over what is stored as announced; those whose condition is no longer wanted are handed back.
    pub(super) fn restore(&mut self, stored: &[EpisodeRecord]) -> Vec<EpisodeRecord> {
        let mut unwanted = Vec::new();
        let mut wanted = Vec::new();
        self.names.clear();
        for record in stored.iter().filter(|record| record.destination == self.destination.name) {
            match topic_of(&record.subject, &record.condition) {
                Some(topic) if self.destination.conditions.contains(&topic.condition) => {
                    self.names.insert(topic, record.subject_name.clone());
                    wanted.push((topic, episode_of(record)));
                }
                _ => unwanted.push(record.clone()),
            }
        }
        self.watch.restore(wanted);
        unwanted
    }

    /// Takes over what is stored as waiting, but for what is known to be done with.
    pub(super) fn take_waiting(&mut self, stored: &[OutboxRecord], done: &BTreeSet<i64>) {
        for record in stored.iter().filter(|record| record.destination == self.destination.name) {
            // A row of another release may name what this one doesn't know: it is delivered all the same.
            let topic = topic_of(&record.subject, &record.condition)
                .unwrap_or(Topic { subject: Subject::Fleet, condition: Condition::Failover });
            if !done.contains(&record.row) {
                self.outbox.push(Queued {
                    row: record.row,
                    id: record.notification_id.clone(),
                    topic,
                    body: Bytes::from(record.body.clone()),
                    created_ms: record.created_at_ms,
                    attempts: record.attempts,
                    next_ms: record.next_attempt_ms,
                });
            }
        }
        self.publish();
    }

    /// How many announcements and reminders may still be made.
    pub(super) fn room(&self) -> usize {
        MAX_WAITING.saturating_sub(self.outbox.len())
    }

    /// A step as it is stored, and what is told by it: of itself, of many, or nothing.
    pub(super) fn write_down(
        &self,
        step: &Step,
        told: &[&Step],
        fleet: &Fleet<'_>,
        doubt: Option<&str>,
    ) -> (NotificationMove, Option<Notification>) {
        let name = |step: &Step| self.names.get(&step.topic).cloned().unwrap_or_else(|| name_of(step.topic, fleet));
        let names: Vec<String> = told.iter().map(|step| name(step)).collect();
        let stories: Vec<Story<'_>> = names
            .iter()
            .map(|subject_name| Story {
                destination: &self.destination.name,
                installation: &self.installation,
                subject_name,
                fleet,
                doubt,
            })
            .collect();
        let mut body = stories.first().map(|story| render(step, story));
        if let Some(body) = body.as_mut().filter(|_| told.len() > 1) {
            widen(body, told, &stories);
        }
        let subject_name = name(step);
        let episode = &step.episode;
        let kept = NotificationMove {
            kind: match step.change {
                Change::Opened => EpisodeMove::Begin,
                Change::Moved { .. } | Change::Reminded => EpisodeMove::GoOn,
                Change::Closed { .. } => EpisodeMove::End,
            },
            notification: body.as_ref().map(|body| NewNotification {
                notification_id: episode.notification_id(),
                // It always renders.
                body: serde_json::to_string(body).unwrap_or_default(),
            }),
            episode: EpisodeRecord {
                destination: self.destination.name.clone(),
                subject: step.topic.subject.to_string(),
                condition: step.topic.condition.as_str().to_owned(),
                episode: episode.id.clone(),
                began_ms: episode.began_ms,
                announced_ms: episode.announced_ms,
                sequence: episode.sequence,
                detail: episode.stand_in.map(|stand_in| stand_in.to_string()).unwrap_or_default(),
                subject_name,
                hold_ms: i64::try_from(episode.hold.as_millis()).unwrap_or(i64::MAX),
            },
        };
        (kept, body)
    }

    /// A step is stored: its notification waits.
    pub(super) fn took_note(
        &mut self,
        step: &Step,
        kept: &NotificationMove,
        body: &Option<Notification>,
        row: Option<i64>,
    ) {
        match step.change {
            Change::Opened => {
                self.names.insert(step.topic, kept.episode.subject_name.clone());
            }
            Change::Closed { .. } => {
                self.names.remove(&step.topic);
            }
            Change::Moved { .. } | Change::Reminded => {}
        }
        let (Some(row), Some(notification)) = (row, &kept.notification) else { return };
        let text = body.as_ref().map(|body| body.text.as_str());
        info!(
            notification.id = %notification.notification_id,
            notification.destination = %self.destination.name,
            text,
            "notification stored for delivery"
        );
        let now_ms = self.clock.wall_ms();
        self.outbox.push(Queued {
            row,
            id: notification.notification_id.clone(),
            topic: step.topic,
            body: Bytes::from(notification.body.clone()),
            created_ms: now_ms,
            attempts: 0,
            next_ms: now_ms,
        });
        self.publish();
    }

    /// The destination took it.
    pub(super) fn delivered(&mut self, row: i64) {
        let now_ms = self.clock.wall_ms();
        let name = &self.destination.name;
        if self.outbox.failures() > 0 {
            info!(notification.destination = %name, "notifications get through again");
        }
        debug!(notification.destination = %name, "notification delivered");
        self.outbox.delivered(row, now_ms);
        self.metrics.count_notification(name, Attempt::Delivered, now_ms);
        self.publish();
    }

    /// It did not; attempts so far and the time of the next one, or none where it is given up.
    pub(super) fn failed(&mut self, row: i64, not_taken: &NotTaken) -> Option<(u32, i64)> {
        let now_ms = self.clock.wall_ms();
        let next = self.outbox.failed(row, not_taken.blame, not_taken.retry_after, now_ms, self.clock.random_unit());
        let (name, url) = (&self.destination.name, self.destination.url.shown());
        let NotTaken { reason, help, .. } = not_taken;
        let first = match (not_taken.blame, next) {
            (Blame::Destination, _) => self.outbox.failures() == 1,
            (Blame::Notification, Some(Next::Again { attempts, .. })) => attempts == 1,
            (Blame::Notification, _) => false,
        };
        if first {
            warn!(notification.destination = %name, url, reason, help, "a notification was not taken: tried again");
        } else {
            debug!(notification.destination = %name, url, reason, "a notification was not taken again");
        }
        self.metrics.count_notification(name, Attempt::Failed, now_ms);
        let answer = match next {
            Some(Next::Again { attempts, at_ms }) => Some((attempts, at_ms)),
            Some(Next::GivenUp) => {
                error!(notification.destination = %name, url, reason, help, "a notification was given up: too old, or tried too often");
                self.metrics.count_notification(name, Attempt::GivenUp, now_ms);
                None
            }
            None => None,
        };
        self.publish();
        answer
    }

    /// Gives up what is too old; the outbox rows.
    pub(super) fn give_up_old(&mut self, now_ms: i64) -> Vec<i64> {
        let expired = self.outbox.take_expired(self.clock.judged_ms(self.destination.give_up_after));
        for one in &expired {
            error!(notification.id = %one.id, notification.destination = %self.destination.name, attempts = one.attempts,
                help = "The log says why each attempt failed; correct that, or give_up_after.",
                "a notification was given up: it is too old");
            self.metrics.count_notification(&self.destination.name, Attempt::GivenUp, now_ms);
        }
        if !expired.is_empty() {
            self.publish();
        }
        expired.into_iter().map(|one| one.row).collect()
    }

    fn publish(&self) {
        self.metrics.set_notifications_pending(&self.destination.name, self.outbox.len());
    }
}

fn topic_of(subject: &str, condition: &str) -> Option<Topic> {
    Some(Topic { subject: Subject::from_name(subject)?, condition: Condition::from_name(condition)? })
}

fn episode_of(record: &EpisodeRecord) -> Episode {
    Episode {
        id: record.episode.clone(),
        began_ms: record.began_ms,
        announced_ms: record.announced_ms,
        sequence: record.sequence,
        stand_in: StandIn::from_name(&record.detail),
        hold: Duration::from_millis(u64::try_from(record.hold_ms).unwrap_or_default()),
    }
}

/// What a subject is called now.
fn name_of(topic: Topic, fleet: &Fleet<'_>) -> String {
    let Subject::Gateway(id) = topic.subject else { return String::new() };
    let found = fleet.views.iter().find(|view| view.record.id == id);
    found.map(|view| view.record.name.clone()).unwrap_or_default()
}
