//! Spawns: what was asked for, where it went and what became of it. Recorded before they are sent and at each step, moved only as
//! [`SpawnState::may_follow`] allows, so that each ends in exactly one final state. And which spawn a client's idempotency key
//! stands for, for a day.

use std::time::Duration;

use diesel::prelude::*;
use gatewarden_core::error::Failure;
use gatewarden_core::ids::GatewayId;
use gatewarden_core::machines::spawn_book::SpawnMove;
use gatewarden_core::machines::spawn_state::SpawnState;
use gatewarden_protocol::Secret;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::columns::{GatewayKey, Json, StoredState, stored_enum};
use super::{cut_text, delete_beyond, delete_some, json_text, not_found};
use crate::error::StoreError;
use crate::handle::{Db, StoreHandle, span_ms, whole};
use crate::schema::{idempotency_keys, spawns};
use crate::sealing::Place;

/// Spawns in one answer.
const MAX_LISTED: usize = 1_000;
const LONGEST_SUMMARY: usize = 500;
const LONGEST_ERROR: usize = 4_000;
const LONGEST_REASON: usize = 1_000;
/// Largest result in bytes of JSON.
const LARGEST_RESULT: usize = 64 * 1024;

stored_enum! {
    /// What a spawn runs.
    pub enum SpawnKind {
        /// An agent with a task.
        Task = "task",
        /// A command with arguments.
        Command = "command",
    } else Command
}

/// A spawn to be recorded. Its id and its times come from the store.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSpawn {
    /// What it runs.
    pub kind: SpawnKind,
    /// The request as JSON text, whole. Stored sealed, as values of its environment are secrets.
    pub request: Secret,
    /// What of the request may be shown in lists and stored in the clear: the task's or the command's beginning, no
    /// environment. At most 500 characters are kept.
    pub summary: String,
    /// The model asked for.
    pub model: Option<String>,
    /// The gateway that it is to go to, where that is known already.
    pub gateway_id: Option<GatewayId>,
    /// Its name at this time.
    pub gateway_name: Option<String>,
    /// Why that one: `preferred`, `requested`, `primary`, `acting_primary` or `least_loaded`.
    pub route: Option<String>,
    /// The agent.
    pub agent: Option<String>,
    /// The caller's label.
    pub label: Option<String>,
    /// The API key that asked; `None` for the key of the configuration.
    pub key_id: Option<i64>,
}

/// A recorded spawn, without its request.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = spawns)]
pub struct SpawnRecord {
    /// A uuid, drawn when it was recorded.
    pub spawn_id: String,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// Unix milliseconds of the last change.
    pub updated_at_ms: i64,
    /// See [`NewSpawn::kind`].
    pub kind: SpawnKind,
    /// See [`NewSpawn::summary`].
    pub summary: String,
    /// See [`NewSpawn::model`].
    pub model: Option<String>,
    /// The gateway that it went to, or is to go to. That gateway may be gone.
    #[diesel(deserialize_as = GatewayKey)]
    pub gateway_id: Option<GatewayId>,
    /// Its name at that time.
    pub gateway_name: Option<String>,
    /// See [`NewSpawn::route`].
    pub route: Option<String>,
    /// See [`NewSpawn::agent`].
    pub agent: Option<String>,
    /// See [`NewSpawn::label`].
    pub label: Option<String>,
    /// The session that it runs in, as the gateway said.
    pub session_key: Option<String>,
    /// The gateway's own name for the run, or the one by which it was asked about it.
    pub run_id: Option<String>,
    /// Where it is in its life.
    #[diesel(deserialize_as = StoredState)]
    pub state: SpawnState,
    /// Process id at the gateway.
    pub pid: Option<i64>,
    /// The gateway's result; one above 64 KiB of JSON is left out, and says so.
    #[diesel(deserialize_as = Json)]
    pub result: Option<Value>,
    /// Stable code of what went wrong.
    pub error_code: Option<String>,
    /// What went wrong, for a person, with the gateway's words. At most 4,000 characters are kept.
    pub error: Option<String>,
    /// Unix milliseconds; set exactly where the state is final.
    pub completed_at_ms: Option<i64>,
    /// Why it is in this state, for a person. At most 1,000 characters are kept.
    pub reason: Option<String>,
    /// See [`NewSpawn::key_id`].
    pub key_id: Option<i64>,
}

impl SpawnRecord {
    /// A state that this release doesn't know: of a spawn that has ended it is lost, else it is asked about.
    fn with_known_state(mut self) -> Self {
        if self.completed_at_ms.is_some() && !self.state.is_final() {
            self.state = SpawnState::Lost;
        }
        self
    }
}

/// The `Idempotency-Key` of a request to spawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The API key that it belongs to; 0 for the key of the configuration.
    pub key_id: i64,
    /// What the client sent. Only its hash is stored.
    pub key: String,
    /// Hash of the request's body, made by the caller; the same for the same request.
    pub body_hash: String,
}

impl Idempotency {
    fn key_hash(&self) -> String {
        Sha256::digest(self.key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// How a request to record a spawn ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Recorded {
    /// Recorded; to be sent now.
    New(SpawnRecord),
    /// The same request was recorded before: this is what became of it. Nothing is to be sent.
    Replay(SpawnRecord),
    /// The idempotency key was used for another request. Nothing is recorded.
    Mismatch,
}

impl StoreHandle {
    /// How long an idempotency key is good for: 24 h.
    pub(crate) const IDEMPOTENCY_KEPT: Duration = Duration::from_secs(24 * 3_600);

    /// Records a spawn, to be called before anything is sent. With an idempotency key that was used in the last 24 hours it
    /// answers with that spawn, or with the mismatch, and records nothing; of two requests at the same time one is new.
    pub async fn record_spawn(&self, new: NewSpawn, idempotency: Option<Idempotency>) -> Result<Recorded, Failure> {
        let expired_ms = self.judged_ms(Self::IDEMPOTENCY_KEPT).saturating_sub(span_ms(Self::IDEMPOTENCY_KEPT));
        self.write("record the spawn", move |db| {
            let Some(idempotency) = idempotency else { return Ok(Recorded::New(insert(db, &new)?)) };
            let used: Option<(String, String)> = idempotency_keys::table
                .find((idempotency.key_id, idempotency.key_hash()))
                .filter(idempotency_keys::created_at_ms.gt(expired_ms))
                .select((idempotency_keys::spawn_id, idempotency_keys::body_hash))
                .first(db.connection)
                .optional()?;
            match used {
                Some((_, body)) if body != idempotency.body_hash => Ok(Recorded::Mismatch),
                // The reference in the database keeps the spawn there.
                Some((spawn_id, _)) => find(db, &spawn_id)?.map(Recorded::Replay).ok_or_else(not_found),
                None => {
                    let record = insert(db, &new)?;
                    remember(db, &idempotency, &record.spawn_id)?;
                    Ok(Recorded::New(record))
                }
            }
        })
        .await
    }

    /// Moves spawns that are in one of the states `from`, and notes what became known: all moves (by the spawn's id) in order and
    /// in one transaction. Answers the spawns as they are after each move that was done. A move changes nothing, and keeps none of
    /// the others from being done, where its spawn is in another state, where `to` may not follow
    /// ([`SpawnState::may_follow`]), or where there is no such spawn. With a final state the time of its end is set.
    pub async fn move_spawns(
        &self,
        from: &[SpawnState],
        moves: Vec<(String, SpawnMove)>,
    ) -> Result<Vec<SpawnRecord>, Failure> {
        let from = from.to_vec();
        self.write("write down the spawns' states", move |db| {
            let mut moved = Vec::with_capacity(moves.len());
            for (spawn_id, step) in &moves {
                moved.extend(carry_out(db, spawn_id, &from, step)?);
            }
            Ok(moved)
        })
        .await
    }

    /// All spawns that aren't final, oldest first: what is to be reconciled at the daemon's start.
    pub async fn open_spawns(&self) -> Result<Vec<SpawnRecord>, Failure> {
        self.read("load the open spawns", |db| {
            let open = spawns::table.filter(spawns::completed_at_ms.is_null()).order(spawns::id);
            Ok(open.select(SpawnRecord::as_select()).load(db.connection)?)
        })
        .await
    }

    /// Spawns newest first; `limit` is 1 to 1,000.
    pub async fn list_spawns(&self, limit: usize, offset: usize) -> Result<Vec<SpawnRecord>, Failure> {
        let (limit, offset) = (whole(limit.clamp(1, MAX_LISTED)), whole(offset));
        self.read("list the spawns", move |db| {
            let newest = spawns::table.order(spawns::id.desc()).limit(limit).offset(offset);
            let found = newest.select(SpawnRecord::as_select()).load(db.connection)?;
            Ok(found.into_iter().map(SpawnRecord::with_known_state).collect())
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

/// Where a request is sealed.
pub(crate) fn request_place(spawn_id: &str) -> Place<'_> {
    Place { table: "spawns", row: spawn_id, column: "request" }
}

fn insert(db: &mut Db<'_>, new: &NewSpawn) -> Result<SpawnRecord, StoreError> {
    let spawn_id = uuid::Uuid::new_v4().to_string();
    let request = db
        .sealer
        .seal(request_place(&spawn_id), new.request.expose().as_bytes())
        .map_err(|error| StoreError::Sealed { what: "the spawn's request cannot be sealed", error })?;
    Ok(diesel::insert_into(spawns::table)
        .values((
            spawns::spawn_id.eq(&spawn_id),
            spawns::created_at_ms.eq(db.now_ms),
            spawns::updated_at_ms.eq(db.now_ms),
            spawns::kind.eq(new.kind),
            spawns::request.eq(request),
            spawns::summary.eq(cut_text(&new.summary, LONGEST_SUMMARY)),
            spawns::model.eq(&new.model),
            spawns::gateway_id.eq(new.gateway_id.map(|id| id.0)),
            spawns::gateway_name.eq(&new.gateway_name),
            spawns::route.eq(&new.route),
            spawns::agent.eq(&new.agent),
            spawns::label.eq(&new.label),
            spawns::state.eq(SpawnState::Recorded.as_str()),
            spawns::key_id.eq(new.key_id),
        ))
        .returning(SpawnRecord::as_returning())
        .get_result(db.connection)?)
}

/// Stores what an idempotency key stands for, in the place of an expired one.
fn remember(db: &mut Db<'_>, idempotency: &Idempotency, spawn_id: &str) -> Result<(), StoreError> {
    let stands_for = (
        idempotency_keys::body_hash.eq(&idempotency.body_hash),
        idempotency_keys::spawn_id.eq(spawn_id),
        idempotency_keys::created_at_ms.eq(db.now_ms),
    );
    diesel::insert_into(idempotency_keys::table)
        .values((
            idempotency_keys::key_id.eq(idempotency.key_id),
            idempotency_keys::key_sha256.eq(idempotency.key_hash()),
            stands_for,
        ))
        .on_conflict((idempotency_keys::key_id, idempotency_keys::key_sha256))
        .do_update()
        .set(stands_for)
        .execute(db.connection)?;
    Ok(())
}

fn find(db: &mut Db<'_>, spawn_id: &str) -> Result<Option<SpawnRecord>, StoreError> {
    let found = spawns::table.filter(spawns::spawn_id.eq(spawn_id)).select(SpawnRecord::as_select());
    Ok(found.first(db.connection).optional()?.map(SpawnRecord::with_known_state))
}

/// Moves a spawn that is in one of these states, if the state may follow; answers it as it is then.
fn carry_out(
    db: &mut Db<'_>,
    spawn_id: &str,
    from: &[SpawnState],
    step: &SpawnMove,
) -> Result<Option<SpawnRecord>, StoreError> {
    let legal = from.iter().filter(|earlier| step.to.may_follow(**earlier)).map(|earlier| earlier.as_str());
    let result = step.result.as_ref().filter(|result| !result.is_null());
    Ok(diesel::update(spawns::table.filter(spawns::spawn_id.eq(spawn_id)).filter(spawns::state.eq_any(legal)))
        .set((
            spawns::state.eq(step.to.as_str()),
            spawns::updated_at_ms.eq(db.now_ms),
            step.gateway.as_ref().map(|(id, name)| (spawns::gateway_id.eq(id.0), spawns::gateway_name.eq(name))),
            step.session_key.as_ref().map(|key| spawns::session_key.eq(key)),
            step.run_id.as_ref().map(|id| spawns::run_id.eq(id)),
            step.pid.map(|pid| spawns::pid.eq(pid)),
            result.map(|result| spawns::result.eq(json_text(result, LARGEST_RESULT))),
            step.error_code.as_ref().map(|code| spawns::error_code.eq(code)),
            step.error.as_ref().map(|text| spawns::error.eq(cut_text(text, LONGEST_ERROR))),
            step.reason.as_ref().map(|text| spawns::reason.eq(cut_text(text, LONGEST_REASON))),
            step.to.is_final().then(|| spawns::completed_at_ms.eq(db.now_ms)),
        ))
        .returning(SpawnRecord::as_returning())
        .get_result(db.connection)
        .optional()?)
}

/// Removes some of the oldest beyond so many; 0 when there are none left. One that isn't final stays.
pub(super) fn cut(db: &mut Db<'_>, most: i64) -> Result<usize, StoreError> {
    Ok(delete_beyond!(db, spawns, most, spawns::table.filter(spawns::completed_at_ms.is_not_null())))
}
