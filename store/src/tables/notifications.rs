//! Announced episodes, and the outbox of notifications: a notification is stored with the move of its episode or not at all.

use diesel::prelude::*;

use crate::error::StoreError;
use crate::records::{EpisodeMove, EpisodeRecord, NotificationMove, OutboxRecord};
use crate::schema::{notification_episodes, notification_outbox};
use gatewarden_core::error::{ErrorCode, Failure};

#[derive(Queryable, Selectable)]
#[diesel(table_name = notification_episodes)]
struct EpisodeRow {
    destination: String,
    subject: String,
    condition: String,
    episode: String,
    began_ms: i64,
    announced_ms: i64,
    sequence: i64,
    detail: String,
    subject_name: String,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = notification_outbox)]
struct OutboxRow {
    id: i64,
    notification_id: String,
    destination: String,
    subject: String,
    condition: String,
    body: String,
    created_at_ms: i64,
    attempts: i64,
    next_attempt_ms: i64,
}

pub(crate) fn load(connection: &mut SqliteConnection) -> Result<(Vec<EpisodeRecord>, Vec<OutboxRecord>), StoreError> {
    let episodes: Vec<EpisodeRow> = notification_episodes::table.select(EpisodeRow::as_select()).load(connection)?;
    let waiting: Vec<OutboxRow> =
        notification_outbox::table.select(OutboxRow::as_select()).order(notification_outbox::id).load(connection)?;
    let episodes = episodes.into_iter().map(|row| EpisodeRecord {
        destination: row.destination,
        subject: row.subject,
        condition: row.condition,
        episode: row.episode,
        began_ms: row.began_ms,
        announced_ms: row.announced_ms,
        sequence: u32::try_from(row.sequence).unwrap_or(u32::MAX),
        detail: row.detail,
        subject_name: row.subject_name,
    });
    let waiting = waiting.into_iter().map(|row| OutboxRecord {
        row: row.id,
        notification_id: row.notification_id,
        destination: row.destination,
        subject: row.subject,
        condition: row.condition,
        body: row.body,
        created_at_ms: row.created_at_ms,
        attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
        next_attempt_ms: row.next_attempt_ms,
    });
    Ok((episodes.collect(), waiting.collect()))
}

/// Carries out all moves or none; the outbox row of each, where it has a notification.
pub(crate) fn carry_out(
    connection: &mut SqliteConnection,
    moves: &[NotificationMove],
    now_ms: i64,
) -> Result<Vec<Option<i64>>, StoreError> {
    let mut rows = Vec::with_capacity(moves.len());
    for one in moves {
        move_episode(connection, one)?;
        let row = match &one.notification {
            None => None,
            Some(notification) => Some(
                diesel::insert_into(notification_outbox::table)
                    .values((
                        notification_outbox::notification_id.eq(&notification.notification_id),
                        notification_outbox::destination.eq(&one.episode.destination),
                        notification_outbox::subject.eq(&one.episode.subject),
                        notification_outbox::condition.eq(&one.episode.condition),
                        notification_outbox::body.eq(&notification.body),
                        notification_outbox::created_at_ms.eq(now_ms),
                        notification_outbox::next_attempt_ms.eq(now_ms),
                    ))
                    .returning(notification_outbox::id)
                    .get_result(connection)?,
            ),
        };
        rows.push(row);
    }
    Ok(rows)
}

/// The number before tells a decision that was made on something else than what is stored: a write of which nobody knew
/// whether it happened. Such a decision must not be carried out.
fn move_episode(connection: &mut SqliteConnection, one: &NotificationMove) -> Result<(), StoreError> {
    let episode = &one.episode;
    let before = i64::from(episode.sequence) - 1;
    let stored = notification_episodes::table
        .find((&episode.destination, &episode.subject, &episode.condition))
        .filter(notification_episodes::episode.eq(&episode.episode))
        .filter(notification_episodes::sequence.eq(before));
    let changed = match one.kind {
        EpisodeMove::Begin => diesel::insert_or_ignore_into(notification_episodes::table)
            .values((
                notification_episodes::destination.eq(&episode.destination),
                notification_episodes::subject.eq(&episode.subject),
                notification_episodes::condition.eq(&episode.condition),
                notification_episodes::episode.eq(&episode.episode),
                notification_episodes::began_ms.eq(episode.began_ms),
                notification_episodes::announced_ms.eq(episode.announced_ms),
                notification_episodes::sequence.eq(i64::from(episode.sequence)),
                notification_episodes::detail.eq(&episode.detail),
                notification_episodes::subject_name.eq(&episode.subject_name),
            ))
            .execute(connection)?,
        EpisodeMove::GoOn => diesel::update(stored)
            .set((
                notification_episodes::announced_ms.eq(episode.announced_ms),
                notification_episodes::sequence.eq(i64::from(episode.sequence)),
                notification_episodes::detail.eq(&episode.detail),
            ))
            .execute(connection)?,
        EpisodeMove::End => diesel::delete(stored).execute(connection)?,
    };
    if changed == 1 {
        return Ok(());
    }
    Err(StoreError::Refused(Box::new(
        Failure::new(ErrorCode::StoreUnavailable, "What was announced is not what was thought")
            .with_help("It is read anew."),
    )))
}

/// Takes a notification out of the outbox: it was delivered, or given up.
pub(crate) fn settle(connection: &mut SqliteConnection, rows: &[i64]) -> Result<usize, StoreError> {
    Ok(diesel::delete(notification_outbox::table.filter(notification_outbox::id.eq_any(rows))).execute(connection)?)
}

/// Notes an attempt that failed.
pub(crate) fn note_attempt(
    connection: &mut SqliteConnection,
    row: i64,
    attempts: u32,
    next_attempt_ms: i64,
) -> Result<usize, StoreError> {
    Ok(diesel::update(notification_outbox::table.find(row))
        .set((
            notification_outbox::attempts.eq(i64::from(attempts)),
            notification_outbox::next_attempt_ms.eq(next_attempt_ms),
        ))
        .execute(connection)?)
}

/// Forgets what belongs to destinations that are no longer configured; how many notifications that were.
pub(crate) fn keep_only(connection: &mut SqliteConnection, destinations: &[String]) -> Result<usize, StoreError> {
    diesel::delete(
        notification_episodes::table.filter(notification_episodes::destination.ne_all(destinations.to_vec())),
    )
    .execute(connection)?;
    Ok(diesel::delete(
        notification_outbox::table.filter(notification_outbox::destination.ne_all(destinations.to_vec())),
    )
    .execute(connection)?)
}

/// Forgets an episode without a word: its condition is no longer wanted.
pub(crate) fn forget_episode(
    connection: &mut SqliteConnection,
    destination: &str,
    subject: &str,
    condition: &str,
) -> Result<usize, StoreError> {
    Ok(diesel::delete(notification_episodes::table.find((destination, subject, condition))).execute(connection)?)
}
