//! Announced episodes, and the outbox of notifications: a notification is stored with the move of its episode or not at all.

use diesel::prelude::*;
use gatewarden_core::error::{ErrorCode, Failure};

use crate::connection::on_either;
use crate::error::StoreError;
use crate::handle::{Db, StoreHandle};
use crate::schema::{notification_episodes, notification_outbox};

/// An episode that was announced to a destination and lasts.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = notification_episodes)]
pub struct EpisodeRecord {
    pub destination: String,
    /// `gateway-<id>` or `fleet`.
    pub subject: String,
    pub condition: String,
    pub episode: String,
    /// Wall ms at which its condition began to hold.
    pub began_ms: i64,
    /// Wall ms of its latest announcement.
    pub announced_ms: i64,
    /// Number of its latest notification, from 0.
    #[diesel(deserialize_as = i64, serialize_as = i64)]
    pub sequence: u32,
    /// What was last announced about it.
    pub detail: String,
    /// What the subject was called at its first announcement.
    pub subject_name: String,
    /// Ms for which the subject must be well before its end is told.
    pub hold_ms: i64,
}

/// A notification to be kept until it is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNotification {
    /// Unique: what the receiver tells duplicates by.
    pub notification_id: String,
    pub body: String,
}

/// What becomes of an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpisodeMove {
    /// It begins: none of its subject and condition may be stored.
    Begin,
    /// It goes on with the next number: the one before must be stored.
    GoOn,
    /// It ends: the number before must be stored.
    End,
}

/// One decision: the episode, and the notification that tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationMove {
    /// What happens to the episode.
    pub kind: EpisodeMove,
    /// The episode after it.
    pub episode: EpisodeRecord,
    /// None where nobody is told.
    pub notification: Option<NewNotification>,
}

/// A notification that waits.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = notification_outbox)]
pub struct OutboxRecord {
    /// The database's key; grows with time.
    #[diesel(column_name = id)]
    pub row: i64,
    pub notification_id: String,
    pub destination: String,
    /// `gateway-<id>` or `fleet`.
    pub subject: String,
    pub condition: String,
    pub body: String,
    /// Wall ms.
    pub created_at_ms: i64,
    /// Attempts that failed.
    #[diesel(deserialize_as = i64)]
    pub attempts: u32,
    /// Wall ms before which it is not tried again.
    pub next_attempt_ms: i64,
}

impl StoreHandle {
    /// Announced episodes, and notifications that wait, oldest first.
    pub async fn load_notifications(&self) -> Result<(Vec<EpisodeRecord>, Vec<OutboxRecord>), Failure> {
        self.read("read the notifications", |db| {
            let episodes = notification_episodes::table.select(EpisodeRecord::as_select()).load(db.connection)?;
            let waiting = notification_outbox::table.select(OutboxRecord::as_select()).order(notification_outbox::id);
            Ok((episodes, waiting.load(db.connection)?))
        })
        .await
    }

    /// Carries out decisions, all or none: each moves an episode from the state on which it was made, and stores the
    /// notification that tells of it. The outbox rows, in the same order. Fails where an episode is not in that state: then
    /// read anew.
    pub async fn announce(&self, moves: Vec<NotificationMove>) -> Result<Vec<Option<i64>>, Failure> {
        self.write("store the notifications", move |db| {
            let mut rows = Vec::with_capacity(moves.len());
            for one in &moves {
                move_episode(db, one)?;
                let row = one.notification.as_ref().map(|notification| put_out(db, &one.episode, notification));
                rows.push(row.transpose()?);
            }
            Ok(rows)
        })
        .await
    }

    /// Takes notifications out of the outbox: delivered, or given up. Rows that are gone already do no harm.
    pub async fn settle_notifications(&self, rows: Vec<i64>) -> Result<(), Failure> {
        self.write("settle the notifications", move |db| {
            diesel::delete(notification_outbox::table.filter(notification_outbox::id.eq_any(&rows)))
                .execute(db.connection)?;
            Ok(())
        })
        .await
    }

    /// Notes an attempt at delivery that failed: how many there were, and the wall ms before which none follows.
    pub async fn note_notification_attempt(&self, row: i64, attempts: u32, next_ms: i64) -> Result<(), Failure> {
        self.write("note the attempt at a notification", move |db| {
            diesel::update(notification_outbox::table.find(row))
                .set((
                    notification_outbox::attempts.eq(i64::from(attempts)),
                    notification_outbox::next_attempt_ms.eq(next_ms),
                ))
                .execute(db.connection)?;
            Ok(())
        })
        .await
    }

    /// Forgets what belongs to other destinations than these; how many notifications were dropped by that.
    pub async fn keep_notifications_of(&self, destinations: Vec<String>) -> Result<usize, Failure> {
        self.write("forget notifications of former destinations", move |db| {
            let episodes = notification_episodes::destination.ne_all(&destinations);
            diesel::delete(notification_episodes::table.filter(episodes)).execute(db.connection)?;
            let waiting = notification_outbox::destination.ne_all(&destinations);
            Ok(diesel::delete(notification_outbox::table.filter(waiting)).execute(db.connection)?)
        })
        .await
    }

    /// Forgets an announced episode without a word: its condition is no longer wanted.
    pub async fn forget_episode(&self, episode: EpisodeRecord) -> Result<(), Failure> {
        self.write("forget an announcement", move |db| {
            let key = (&episode.destination, &episode.subject, &episode.condition);
            diesel::delete(notification_episodes::table.find(key)).execute(db.connection)?;
            Ok(())
        })
        .await
    }
}

/// Stores a notification; its row.
fn put_out(db: &mut Db<'_>, episode: &EpisodeRecord, notification: &NewNotification) -> Result<i64, StoreError> {
    let added = diesel::insert_into(notification_outbox::table)
        .values((
            notification_outbox::notification_id.eq(&notification.notification_id),
            notification_outbox::destination.eq(&episode.destination),
            notification_outbox::subject.eq(&episode.subject),
            notification_outbox::condition.eq(&episode.condition),
            notification_outbox::body.eq(&notification.body),
            notification_outbox::created_at_ms.eq(db.now_ms),
            notification_outbox::next_attempt_ms.eq(db.now_ms),
        ))
        .returning(notification_outbox::id);
    Ok(on_either!(db.connection, |inner| added.get_result(inner))?)
}

/// The number before tells a decision that was made on something else than what is stored: a write of which nobody knew
/// whether it happened. Such a decision must not be carried out.
fn move_episode(db: &mut Db<'_>, one: &NotificationMove) -> Result<(), StoreError> {
    let episode = &one.episode;
    let stored = notification_episodes::table
        .find((&episode.destination, &episode.subject, &episode.condition))
        .filter(notification_episodes::episode.eq(&episode.episode))
        .filter(notification_episodes::sequence.eq(i64::from(episode.sequence) - 1));
    let changed = match one.kind {
        EpisodeMove::Begin => on_either!(db.connection, |inner| {
            let added = diesel::insert_into(notification_episodes::table).values(episode.clone());
            added.on_conflict_do_nothing().execute(inner)
        })?,
        EpisodeMove::GoOn => diesel::update(stored)
            .set((
                notification_episodes::announced_ms.eq(episode.announced_ms),
                notification_episodes::sequence.eq(i64::from(episode.sequence)),
                notification_episodes::detail.eq(&episode.detail),
            ))
            .execute(db.connection)?,
        EpisodeMove::End => diesel::delete(stored).execute(db.connection)?,
    };
    if changed == 1 {
        return Ok(());
    }
    let not_as_thought = Failure::new(ErrorCode::StoreUnavailable, "What was announced is not what was thought");
    Err(not_as_thought.with_help("It is read anew.").into())
}
