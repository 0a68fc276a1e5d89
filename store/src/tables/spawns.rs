//! Spawns: what was asked for, where it went and what became of it. Recorded before they are sent and at each step, moved only as
//! [`SpawnState::may_follow`] allows, so that each ends in exactly one final state. And which spawn a client's idempotency key
//! stands for, for a day.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use diesel::prelude::*;
use gatewarden_core::error::{ErrorCode, Failure};
use gatewarden_core::ids::GatewayId;
use gatewarden_core::spawn::{SpawnKind, SpawnRecord, SpawnState};
use gatewarden_protocol::Secret;
use sha2::{Digest, Sha256};

use super::{cut_text, delete_beyond, delete_some, json_text, not_found};
use crate::connection::{ParsedOnce, on_either};
use crate::error::StoreError;
use crate::gathered::Gathered;
use crate::handle::{Db, NewSpawn, StoreHandle, span_ms, whole};
use crate::schema::{idempotency_keys, spawns};
use crate::sealing::Place;

/// Spawns in one answer.
const MAX_LISTED: usize = 1_000;
const MAX_SUMMARY: usize = 500;
const MAX_ERROR: usize = 4_000;
const MAX_REASON: usize = 1_000;
/// Largest result in bytes of JSON.
const MAX_RESULT: usize = 64 * 1024;
/// How often, and after which pause, it is asked what became of a record whose commit got no answer.
const MAX_QUESTIONS: usize = 5;
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(500);
const RECORD: &str = "record the spawn";

/// All but the sealed request, which may be large.
#[derive(Queryable, Selectable)]
#[diesel(table_name = spawns)]
struct Row {
    spawn_id: String,
    created_at_ms: i64,
    updated_at_ms: i64,
    kind: String,
    summary: String,
    model: Option<String>,
    gateway_id: Option<i64>,
    gateway_name: Option<String>,
    route: Option<String>,
    agent: Option<String>,
    label: Option<String>,
    session_key: Option<String>,
    run_id: Option<String>,
    state: String,
    pid: Option<i64>,
    result: Option<String>,
    error_code: Option<String>,
    error: Option<String>,
    completed_at_ms: Option<i64>,
    reason: Option<String>,
    key_id: Option<i64>,
}

impl From<Row> for SpawnRecord {
    fn from(row: Row) -> Self {
        let state = SpawnState::from_name(&row.state).unwrap_or_else(|| {
            tracing::error!(spawn.id = %row.spawn_id, state = %row.state, "a stored spawn has an unknown state");
            if row.completed_at_ms.is_some() { SpawnState::Lost } else { SpawnState::Unknown }
        });
        Self {
            state,
            result: row.result.as_deref().and_then(|text| serde_json::from_str(text).ok()),
            spawn_id: row.spawn_id,
            created_at_ms: row.created_at_ms,
            updated_at_ms: row.updated_at_ms,
            kind: SpawnKind::from_name(&row.kind).unwrap_or(SpawnKind::Command),
            summary: row.summary,
            model: row.model,
            gateway_id: row.gateway_id.map(GatewayId),
            gateway_name: row.gateway_name,
            route: row.route,
            agent: row.agent,
            label: row.label,
            key_id: row.key_id,
            session_key: row.session_key,
            run_id: row.run_id,
            pid: row.pid,
            error_code: row.error_code,
            error: row.error,
            // The gateway's clock may be behind.
            completed_at_ms: row.completed_at_ms.map(|at_ms| at_ms.max(row.created_at_ms)),
            reason: row.reason,
        }
    }
}

impl StoreHandle {
    /// How long an idempotency key is good for: 24 h.
    pub(crate) const IDEMPOTENCY_KEPT: Duration = Duration::from_secs(24 * 3_600);

    /// Records a new spawn under its id and, sealed, its request's text; to be called before anything is sent. With an idempotency key that
    /// the same API key used in the last 24 hours it answers with that spawn, or with nothing where that had another text, and records nothing; of two requests at the same time one is new. Where the server didn't say in time whether it is recorded, it is asked, some times.
    ///
    /// # Errors
    /// `outcome_unknown`: it may be recorded. Else it isn't.
    pub async fn record_spawn(
        &self,
        spawn: SpawnRecord,
        text: Secret,
        idempotency_key: Option<String>,
    ) -> Result<Option<SpawnRecord>, Failure> {
        // Shared by all tries: the text may be large.
        let spawn = Arc::new((spawn, text, idempotency_key));
        let mut recorded = self.record_with_others(spawn.clone()).await;
        for _ in 0..MAX_QUESTIONS {
            if !recorded.as_ref().is_err_and(|failure| failure.code == ErrorCode::OutcomeUnknown) {
                break;
            }
            tokio::time::sleep(BETWEEN_QUESTIONS).await;
            match self.record_alone(spawn.clone()).await {
                // The doubt stays; it will never be resolved by a node that acts no longer.
                Err(failure) if failure.code == ErrorCode::NotActing => break,
                Err(_) => {}
                known => recorded = known,
            }
        }
        recorded
    }

    /// Spawns that come while a commit is under way share the next one, and its fate: where its turn doesn't come, none is recorded. As many
    /// as are under way.
    async fn record_with_others(&self, spawn: Arc<NewSpawn>) -> Result<Option<SpawnRecord>, Failure> {
        let (is_first, recorded) = self.gathered_spawns().put(spawn.clone(), self.now_ms());
        if is_first {
            // A task of its own: the others' records don't depend on who came first.
            actix::spawn(self.clone().record_gathered());
        }
        match recorded.await {
            Ok(outcome) => outcome,
            Err(_) => self.record_alone(spawn).await,
        }
    }

    async fn record_gathered(self) {
        let (gathered, taken) = (self.gathered_spawns().clone(), Arc::new(Gathered::default()));
        let (taken_by_job, expired_ms, is_over) = (taken.clone(), self.expired_ms(), self.recording_is_over());
        let written = self
            .write(RECORD, move |db| {
                let mut taken = taken_by_job.all();
                // A job that is done again has them already.
                if taken.is_empty() {
                    taken.append(&mut gathered.all());
                }
                if is_over.load(Ordering::Acquire) {
                    return Err(Failure::unavailable("daemon").into());
                }
                let each = taken.iter().map(|waiting| {
                    db.now_ms = waiting.asked_ms;
                    match record(db, &waiting.row, expired_ms) {
                        Err(StoreError::Refused(failure)) => Ok(Err(*failure)),
                        recorded => recorded.map(Ok),
                    }
                });
                each.collect::<Result<Vec<_>, _>>()
            })
            .await;
        let mut taken = std::mem::take(&mut *taken.all());
        if taken.is_empty() {
            // The job never began.
            taken.append(&mut self.gathered_spawns().all());
        }
        let outcomes = match written {
            Ok(outcomes) => outcomes,
            // Which of them is to blame is not known: each is tried on its own.
            Err(failure) if failure.code == ErrorCode::Internal && taken.len() > 1 => Vec::new(),
            Err(failure) => taken.iter().map(|_| Err(failure.clone())).collect(),
        };
        let rows: Vec<Arc<NewSpawn>> = taken.iter().map(|waiting| waiting.row.clone()).collect();
        for (waiting, outcome) in taken.into_iter().zip(outcomes) {
            // One that has another's idempotency key is answered a turn later: whoever sends the first one has to know of it by then.
            if let Ok(Some(record)) = &outcome
                && record.spawn_id != waiting.row.0.spawn_id
                && rows.iter().any(|row| row.0.spawn_id == record.spawn_id)
            {
                continue;
            }
            // Who no longer waits needs no answer.
            let _ = waiting.reply.send(outcome);
        }
    }

    /// Records a spawn that may be recorded already.
    async fn record_alone(&self, spawn: Arc<NewSpawn>) -> Result<Option<SpawnRecord>, Failure> {
        let expired_ms = self.expired_ms();
        self.write(RECORD, move |db| {
            // Nobody else draws its id. A commit that is still under way is waited for by the insertion.
            match find(db, &spawn.0.spawn_id)? {
                Some(record) => Ok(Some(record)),
                None => record(db, &spawn, expired_ms),
            }
        })
        .await
    }

    /// Idempotency keys from before this wall time stand for nothing.
    fn expired_ms(&self) -> i64 {
        self.judged_ms(Self::IDEMPOTENCY_KEPT).saturating_sub(span_ms(Self::IDEMPOTENCY_KEPT))
    }

    /// Moves spawns that are in one of the states `from`, and notes what became known: all steps in order and in one
    /// transaction. Answers the spawns as they are after each step that was done. A step changes nothing, and keeps none of the
    /// others from being done, where its spawn is in another state, where `to` may not follow ([`SpawnState::may_follow`]), or
    /// where there is no such spawn. With a final state the time of its end is set.
    pub async fn move_spawns(&self, from: &[SpawnState], steps: Vec<SpawnRecord>) -> Result<Vec<SpawnRecord>, Failure> {
        let from = from.to_vec();
        self.write("write down the spawns' states", move |db| {
            let mut moved = Vec::with_capacity(steps.len());
            for step in &steps {
                moved.extend(carry_out(db, &from, step)?);
            }
            Ok(moved)
        })
        .await
    }

    /// All spawns that aren't final, oldest first: what is to be reconciled at the daemon's start.
    pub async fn open_spawns(&self) -> Result<Vec<SpawnRecord>, Failure> {
        self.read("load the open spawns", |db| {
            let open = spawns::table.filter(spawns::completed_at_ms.is_null()).order(spawns::id);
            Ok(records(open.select(Row::as_select()).load(db.connection)?))
        })
        .await
    }

    /// Spawns newest first, and how many are recorded; `limit` is 1 to 1,000.
    pub async fn list_spawns(&self, limit: usize, offset: usize) -> Result<(Vec<SpawnRecord>, usize), Failure> {
        let (limit, offset) = (whole(limit.clamp(1, MAX_LISTED)), whole(offset));
        self.read("list the spawns", move |db| {
            let total: i64 = spawns::table.count().get_result(db.connection)?;
            let newest = spawns::table.order(spawns::id.desc()).limit(limit).offset(offset);
            let page = records(newest.select(Row::as_select()).load(db.connection)?);
            Ok((page, usize::try_from(total).unwrap_or_default()))
        })
        .await
    }

    /// One spawn.
    pub async fn find_spawn(&self, spawn_id: String) -> Result<Option<SpawnRecord>, Failure> {
        self.read("look up the spawn", move |db| find(db, &spawn_id)).await
    }

    /// Forgets idempotency keys that are older than 24 hours; how many there were. To be called now and then; an expired key
    /// is not looked at anyway.
    pub async fn purge_idempotency_keys(&self, now_ms: i64) -> Result<usize, Failure> {
        let expired_ms = now_ms.saturating_sub(span_ms(Self::IDEMPOTENCY_KEPT));
        self.write("forget old idempotency keys", move |db| {
            let expired = idempotency_keys::table.filter(idempotency_keys::created_at_ms.le(expired_ms));
            Ok(diesel::delete(expired).execute(db.connection)?)
        })
        .await
    }

    /// Forgets spawns that ended longer than `keep` ago, with their idempotency keys; how many there were. One that isn't final
    /// is never forgotten.
    pub async fn thin_spawns(&self, now_ms: i64, keep: Duration) -> Result<usize, Failure> {
        let before = now_ms.saturating_sub(span_ms(keep));
        self.write_in_turns("forget old spawns", move |db| {
            Ok(delete_some!(db, spawns, spawns::table.filter(spawns::completed_at_ms.lt(before))))
        })
        .await
    }
}

/// SHA-256 of a key, of a session's token or of a request's text, 64 lowercase hex digits.
pub fn key_hash(key: &str) -> String {
    hex::encode(Sha256::digest(key.as_bytes()))
}

/// Where a request is sealed.
pub(crate) fn request_place(spawn_id: &str) -> Place<'_> {
    Place { table: "spawns", row: spawn_id, column: "request" }
}

/// Records a spawn, unless its idempotency key stands for another one.
fn record(db: &mut Db<'_>, new: &NewSpawn, expired_ms: i64) -> Result<Option<SpawnRecord>, StoreError> {
    let (spawn, text, idempotency_key) = new;
    let Some(key) = idempotency_key else { return insert(db, spawn, text).map(Some) };
    let (key_id, key, body_hash) = (spawn.key_id.unwrap_or(0), key_hash(key), key_hash(text.expose()));
    let used: Option<(String, String)> = idempotency_keys::table
        .find((key_id, &key))
        .filter(idempotency_keys::created_at_ms.gt(expired_ms))
        .select((idempotency_keys::spawn_id, idempotency_keys::body_hash))
        .first(db.connection)
        .optional()?;
    match used {
        Some((_, body)) if body != body_hash => Ok(None),
        // The reference in the database keeps the spawn there.
        Some((spawn_id, _)) => find(db, &spawn_id)?.ok_or_else(not_found).map(Some),
        None => {
            let record = insert(db, spawn, text)?;
            remember(db, (key_id, &key), &body_hash, &record.spawn_id)?;
            Ok(Some(record))
        }
    }
}

fn insert(db: &mut Db<'_>, spawn: &SpawnRecord, text: &Secret) -> Result<SpawnRecord, StoreError> {
    let (place, text) = (request_place(&spawn.spawn_id), text.expose().as_bytes());
    let request = db.sealer.seal_or("the spawn's request cannot be sealed", place, text)?;
    let added = diesel::insert_into(spawns::table).values((
        spawns::spawn_id.eq(&spawn.spawn_id),
        spawns::created_at_ms.eq(db.now_ms),
        spawns::updated_at_ms.eq(db.now_ms),
        spawns::kind.eq(spawn.kind.as_str()),
        spawns::request.eq(request),
        spawns::summary.eq(cut_text(&spawn.summary, MAX_SUMMARY)),
        spawns::model.eq(&spawn.model),
        spawns::gateway_id.eq(spawn.gateway_id.map(|id| id.0)),
        spawns::gateway_name.eq(&spawn.gateway_name),
        spawns::route.eq(&spawn.route),
        spawns::agent.eq(&spawn.agent),
        spawns::label.eq(&spawn.label),
        spawns::state.eq(SpawnState::Recorded.as_str()),
        spawns::key_id.eq(spawn.key_id),
    ));
    let row: Row = on_either!(db.connection, |inner| added.returning(Row::as_returning()).get_result(inner))?;
    Ok(row.into())
}

fn records(rows: Vec<Row>) -> Vec<SpawnRecord> {
    rows.into_iter().map(SpawnRecord::from).collect()
}

/// Stores what an idempotency key stands for, in the place of an expired one.
fn remember(db: &mut Db<'_>, key: (i64, &str), body_hash: &str, spawn_id: &str) -> Result<(), StoreError> {
    let stands_for = (
        idempotency_keys::body_hash.eq(body_hash),
        idempotency_keys::spawn_id.eq(spawn_id),
        idempotency_keys::created_at_ms.eq(db.now_ms),
    );
    let key = (idempotency_keys::key_id.eq(key.0), idempotency_keys::key_sha256.eq(key.1));
    on_either!(db.connection, |inner| {
        diesel::insert_into(idempotency_keys::table)
            .values((key, stands_for))
            .on_conflict((idempotency_keys::key_id, idempotency_keys::key_sha256))
            .do_update()
            .set(stands_for)
            .execute(inner)
    })?;
    Ok(())
}

fn find(db: &mut Db<'_>, spawn_id: &str) -> Result<Option<SpawnRecord>, StoreError> {
    let found = spawns::table.filter(spawns::spawn_id.eq(spawn_id)).select(Row::as_select());
    Ok(found.first(db.connection).optional()?.map(SpawnRecord::from))
}

/// Moves a spawn that is in one of these states, if the state may follow; answers it as it is then.
fn carry_out(db: &mut Db<'_>, from: &[SpawnState], step: &SpawnRecord) -> Result<Option<SpawnRecord>, StoreError> {
    let to = step.state;
    let ended_at_ms = step.completed_at_ms.map_or(db.now_ms, |at_ms| at_ms.min(db.now_ms));
    let mut legal = from.iter().filter(|earlier| to.may_follow(**earlier)).map(|earlier| earlier.as_str());
    // A state or none, as often as there are open ones: SQLite would have to parse what `eq_any` makes each time.
    let mut one_of = || spawns::state.eq(legal.next().unwrap_or_default());
    let is_legal = one_of().or(one_of()).or(one_of()).or(one_of()).or(one_of());
    let moved = diesel::update(spawns::table.filter(spawns::spawn_id.eq(&step.spawn_id)).filter(is_legal)).set((
        spawns::state.eq(to.as_str()),
        spawns::updated_at_ms.eq(db.now_ms),
        step.gateway_id.map(|id| (spawns::gateway_id.eq(id.0), spawns::gateway_name.eq(&step.gateway_name))),
        step.session_key.as_ref().map(|key| spawns::session_key.eq(key)),
        step.run_id.as_ref().map(|id| spawns::run_id.eq(id)),
        step.pid.map(|pid| spawns::pid.eq(pid)),
        step.result.as_ref().map(|result| spawns::result.eq(json_text(result, MAX_RESULT))),
        step.error_code.as_ref().map(|code| spawns::error_code.eq(code)),
        step.error.as_ref().map(|text| spawns::error.eq(cut_text(text, MAX_ERROR))),
        // The reason of an earlier state isn't one of an end, nor of a run that goes on after all.
        (step.reason.is_some() || to.is_final() || to == SpawnState::Running)
            .then(|| spawns::reason.eq(step.reason.as_ref().map(|text| cut_text(text, MAX_REASON)))),
        to.is_final().then(|| spawns::completed_at_ms.eq(ended_at_ms)),
    ));
    let moved: QueryResult<Row> =
        on_either!(db.connection, |inner| ParsedOnce(moved.returning(Row::as_returning())).get_result(inner));
    let moved = moved.optional()?;
    Ok(moved.map(SpawnRecord::from))
}

/// Removes some of the oldest beyond so many; 0 when there are none left. One that isn't final stays.
pub(super) fn cut(db: &mut Db<'_>, most: i64) -> Result<usize, StoreError> {
    Ok(delete_beyond!(db, spawns, most, spawns::table.filter(spawns::completed_at_ms.is_not_null())))
}
