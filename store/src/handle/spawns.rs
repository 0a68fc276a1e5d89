//! Spawns: recorded before they are sent and at each step, so that each ends in exactly one final state.

use std::time::Duration;

use super::{StoreHandle, span_ms, whole};
use crate::records::{Idempotency, NewSpawn, Recorded, SpawnRecord, SpawnStep};
use crate::tables::{idempotency_keys, spawns};
use gatewarden_core::error::Failure;
use gatewarden_core::ids::GatewayId;
use gatewarden_core::machines::spawn_state::SpawnState;

/// Spawns in one answer.
const MOST_LISTED: usize = 1_000;

impl StoreHandle {
    /// How long an idempotency key is good for: 24 h.
    pub(super) const IDEMPOTENCY_KEPT: Duration = idempotency_keys::KEPT;

    /// Records a spawn, to be called before anything is sent. With an idempotency key that was used in the last 24 hours it
    /// answers with that spawn, or with the mismatch, and records nothing; of two requests at the same time one is new.
    pub async fn record_spawn(&self, new: NewSpawn, idempotency: Option<Idempotency>) -> Result<Recorded, Failure> {
        let (now, judged) = (self.now_ms(), self.shared.clock.judged_ms(Self::IDEMPOTENCY_KEPT));
        self.write("record the spawn", move |connection, sealer| {
            spawns::record(connection, sealer, &new, idempotency.as_ref(), now, judged)
        })
        .await
    }

    /// Moves spawns that are in one of the states `from`, and notes what became known: all steps in order and in one
    /// transaction. Answers the spawns as they are after each step that was done, without their requests. A step changes
    /// nothing, and keeps none of the others from being done, where its spawn is in another state, where `to` may not follow
    /// ([`SpawnState::may_follow`]), or where there is no such spawn. With a final state the time of its end is set.
    pub async fn move_spawns(&self, from: &[SpawnState], steps: Vec<SpawnStep>) -> Result<Vec<SpawnRecord>, Failure> {
        let (now, from) = (self.now_ms(), from.to_vec());
        self.write("write down the spawns' states", move |connection, _| {
            let mut moved = Vec::with_capacity(steps.len());
            for step in &steps {
                moved.extend(spawns::step(connection, &step.spawn_id, &from, step.to, &step.change, now)?);
            }
            Ok(moved)
        })
        .await
    }

    /// All spawns that aren't final, oldest first, without their requests: what is to be reconciled at the daemon's start.
    pub async fn open_spawns(&self) -> Result<Vec<SpawnRecord>, Failure> {
        self.read("load the open spawns", |connection, _| spawns::open(connection, None)).await
    }

    /// The same of one gateway: what is to be reconciled when its connection is back, or ended when it is deleted.
    pub async fn open_spawns_of(&self, gateway: GatewayId) -> Result<Vec<SpawnRecord>, Failure> {
        self.read("load the open spawns", move |connection, _| spawns::open(connection, Some(gateway))).await
    }

    /// Spawns newest first, without their requests; `limit` is 1 to 1,000.
    pub async fn list_spawns(&self, limit: usize, offset: usize) -> Result<Vec<SpawnRecord>, Failure> {
        let (limit, offset) = (whole(limit.clamp(1, MOST_LISTED)), whole(offset));
        self.read("list the spawns", move |connection, _| spawns::list(connection, limit, offset)).await
    }

    /// One spawn, with its request.
    pub async fn find_spawn(&self, spawn_id: String) -> Result<Option<SpawnRecord>, Failure> {
        self.read("look up the spawn", move |connection, sealer| spawns::find(connection, sealer, &spawn_id)).await
    }

    /// Forgets idempotency keys that are older than 24 hours; how many there were. To be called now and then; an expired key
    /// is not looked at anyway.
    pub async fn purge_idempotency_keys(&self, now_ms: i64) -> Result<usize, Failure> {
        self.write("forget old idempotency keys", move |connection, _| idempotency_keys::purge(connection, now_ms))
            .await
    }

    /// Forgets spawns that ended longer than `keep` ago; how many there were. One that isn't final is never forgotten.
    pub async fn thin_spawns(&self, now_ms: i64, keep: Duration) -> Result<usize, Failure> {
        let before = now_ms.saturating_sub(span_ms(keep));
        self.write_in_turns("forget old spawns", move |connection| spawns::remove(connection, before)).await
    }
}
