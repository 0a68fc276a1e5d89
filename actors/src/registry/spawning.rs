//! Spawns: route, record, send, answer. Never run twice.
//!
//! A spawn is recorded before it is sent, however long that takes: once it is recorded it is sent or has ended, whether or not
//! its client still waits. It moves to another gateway only where the first one certainly didn't take it
//! because it couldn't be reached; a refusal in the gateway's own words is the answer. What was on the wire without an
//! answer is `unknown` and is asked about later (`reconciliation`), never sent again.

mod refusals;

use std::time::Duration;

use actix::prelude::*;
use tracing::info;

use self::refusals::{
    idempotency_mismatch, no_answer, nobody_knows, not_connected, replayed, still_under_way, with_spawn_id,
};
use super::RegistryActor;
use super::messages::{SpawnAnswer, SpawnWork};
use super::requests::GRACE;
use crate::error::{ErrorCode, Failure};
use crate::gateway::messages::{GatewayCommand, NoAnswer};
use crate::ids::GatewayId;
use crate::machines::routing::{self, NoRoute, RouteCandidate, RouteReason, RouteWish};
use crate::machines::spawn_state::SpawnState;
use crate::run::StartRun;
use crate::run::{Accepted, Certainty, NotAccepted, Work};
use crate::store::records::{Idempotency, NewSpawn, Recorded, SpawnRecord};

/// Gateways that are tried for one spawn.
const MOST_ATTEMPTS: usize = 3;

/// A spawn on its way to acceptance.
struct Attempt {
    record: SpawnRecord,
    wish: RouteWish,
    work: Work,
    timeout: Duration,
    gateway: GatewayId,
}

/// How one attempt ended.
enum Outcome {
    Taken(Accepted),
    Refused(NotAccepted),
}

impl Handler<SpawnWork> for RegistryActor {
    type Result = ResponseActFuture<Self, Result<SpawnAnswer, Failure>>;

    fn handle(&mut self, message: SpawnWork, _: &mut Self::Context) -> Self::Result {
        let SpawnWork { wish, work, mut record, idempotency, timeout } = message;
        if self.stopping {
            return Box::pin(async { Err(Failure::unavailable("daemon")) }.into_actor(self));
        }
        let route = self.route(&wish);
        if let Ok((gateway, reason)) = route {
            record.gateway_id = Some(gateway);
            record.gateway_name = self.name_of(gateway);
            record.route = Some(reason.as_str().to_owned());
        } else if idempotency.is_none() {
            let failure = self.no_route(route.err());
            return Box::pin(async { Err(failure) }.into_actor(self));
        }
        self.record_and_send(wish, work, record, idempotency, timeout, route)
    }
}

impl RegistryActor {
    fn record_and_send(
        &self,
        wish: RouteWish,
        work: Work,
        new: NewSpawn,
        idempotency: Option<Idempotency>,
        timeout: Duration,
        route: Result<(GatewayId, RouteReason), NoRoute>,
    ) -> ResponseActFuture<Self, Result<SpawnAnswer, Failure>> {
        let store = self.store.clone();
        let unroutable = route.as_ref().err().cloned();
        let write = async move { store.record_spawn(new, idempotency).await };
        let sent = write.into_actor(self).then(move |recorded, registry, ctx| match recorded {
            Err(failure) => done(registry, Err(failure)),
            Ok(Recorded::Mismatch) => done(registry, Err(idempotency_mismatch())),
            Ok(Recorded::Replay(mut record)) => {
                // What was decided may not be written yet.
                if let Some(spawn) = registry.spawns.get(&record.spawn_id) {
                    record.state = spawn.state;
                    record.run_id.get_or_insert_with(|| spawn.run_id.clone());
                    record.session_key = record.session_key.or_else(|| spawn.session_key.clone());
                } else if record.state == SpawnState::Recorded {
                    // Stored, and not sent or ended yet: there is nothing to replay.
                    return done(registry, Err(still_under_way(&record.spawn_id)));
                }
                done(registry, replayed(record))
            }
            Ok(Recorded::New(record)) => match route {
                Ok((gateway, _)) => {
                    registry.spawns.open(&record.spawn_id, gateway);
                    registry.write_spawns(false, ctx);
                    registry.attempt(Attempt { record, wish, work, timeout, gateway }, 1)
                }
                Err(_) => {
                    // Only with an idempotency key: its answer is on record, so the same request gets the same one.
                    let failure = registry.no_route(unroutable);
                    registry.spawns.open(&record.spawn_id, GatewayId(0));
                    registry.spawns.fail(&record.spawn_id, failure.code.as_str(), &failure.message);
                    registry.answer_failure(failure, &record.spawn_id, ctx)
                }
            },
        });
        Box::pin(sent)
    }

    /// Sends one attempt and deals with its end; goes on to another gateway where that is certainly harmless.
    fn attempt(&self, attempt: Attempt, number: usize) -> ResponseActFuture<Self, Result<SpawnAnswer, Failure>> {
        let name = self.name_of(attempt.gateway).unwrap_or_default();
        let timeout = attempt.timeout;
        let start = StartRun {
            spawn_id: attempt.record.spawn_id.clone(),
            work: attempt.work.clone(),
            timeout: attempt.timeout,
        };
        let sent = self.entries.get(&attempt.gateway).and_then(|entry| {
            let usable = entry.report.is_usable();
            let handle = entry.handle.as_ref().filter(|_| usable)?;
            Some(handle.ask(timeout + GRACE, |reply| GatewayCommand::StartRun(start, reply)))
        });
        let send = async move {
            let Some(sent) = sent else { return Outcome::Refused(not_connected(&name)) };
            match sent.await {
                Ok(Ok(accepted)) => Outcome::Taken(accepted),
                Ok(Err(refused)) => Outcome::Refused(refused),
                Err(NoAnswer::NotTaken) => Outcome::Refused(not_connected(&name)),
                // The actor died with the request in hand, or is stuck: nobody can tell whether it was sent.
                Err(NoAnswer::Ended | NoAnswer::Late) => {
                    Outcome::Refused(NotAccepted { failure: no_answer(&name, timeout), certainty: Certainty::Unknown })
                }
            }
        };
        let ended = send.into_actor(self).then(move |outcome, registry, ctx| match outcome {
            Outcome::Taken(accepted) => registry.accepted(attempt.record, attempt.gateway, accepted, ctx),
            Outcome::Refused(refused) => registry.not_accepted(attempt, number, refused, ctx),
        });
        Box::pin(ended)
    }

    fn accepted(
        &mut self,
        mut record: SpawnRecord,
        gateway: GatewayId,
        accepted: Accepted,
        ctx: &mut Context<Self>,
    ) -> ResponseActFuture<Self, Result<SpawnAnswer, Failure>> {
        let Accepted { run_id, session_key, pid, running, method, reply } = accepted;
        info!(spawn.id = %record.spawn_id, gateway.id = gateway.0, method, "spawn accepted");
        let now = self.clock.now();
        self.spawns.accept(now, &record.spawn_id, &run_id, session_key.clone(), pid, running);
        // A run under the spawn's own id is found again whatever happens; one under another id only if that is stored.
        let stored = (run_id != record.spawn_id).then(|| self.once_written(&record.spawn_id, ctx));
        self.write_spawns(false, ctx);
        record.state = self.spawns.get(&record.spawn_id).map_or(SpawnState::Accepted, |spawn| spawn.state);
        record.gateway_id = Some(gateway);
        record.gateway_name = self.name_of(gateway);
        record.run_id = Some(run_id);
        record.session_key = session_key;
        record.pid = pid;
        let answer = SpawnAnswer { record, replayed: false, reply };
        let answered = async move {
            if let Some(stored) = stored {
                // Stored or not, the gateway has it; what couldn't be written is tried again.
                let _ = stored.await;
            }
            Ok(answer)
        };
        Box::pin(answered.into_actor(self))
    }

    fn not_accepted(
        &mut self,
        mut attempt: Attempt,
        number: usize,
        refused: NotAccepted,
        ctx: &mut Context<Self>,
    ) -> ResponseActFuture<Self, Result<SpawnAnswer, Failure>> {
        let NotAccepted { failure, certainty } = refused;
        let spawn_id = attempt.record.spawn_id.clone();
        let unreachable = matches!(failure.code, ErrorCode::GatewayUnavailable | ErrorCode::GatewayBusy);
        if certainty == Certainty::NotTaken && unreachable && number < MOST_ATTEMPTS && attempt.wish.requested.is_none()
        {
            attempt.wish.excluded.push(attempt.gateway);
            if let Ok((gateway, reason)) = self.route(&attempt.wish) {
                let name = self.name_of(gateway).unwrap_or_default();
                info!(spawn.id = %spawn_id, from = attempt.gateway.0, to = gateway.0, reason = %failure.message,
                    "spawn moves to another gateway");
                self.spawns.divert(&spawn_id, gateway, &name, failure.message);
                attempt.record.route = Some(reason.as_str().to_owned());
                attempt.gateway = gateway;
                return self.attempt_once_written(attempt, number + 1, ctx);
            }
        }
        let failure = match certainty {
            Certainty::NotTaken => {
                self.spawns.fail(&spawn_id, failure.code.as_str(), &failure.message);
                failure
            }
            Certainty::Unknown => {
                self.spawns.lose_sight(self.clock.now(), &spawn_id, &failure.message);
                nobody_knows(failure)
            }
        };
        self.answer_failure(failure, &spawn_id, ctx)
    }

    /// Answers that it wasn't accepted, or that nobody knows, once the record says so too.
    fn answer_failure(
        &mut self,
        failure: Failure,
        spawn_id: &str,
        ctx: &mut Context<Self>,
    ) -> ResponseActFuture<Self, Result<SpawnAnswer, Failure>> {
        let stored = self.once_written(spawn_id, ctx);
        let failure = with_spawn_id(failure, spawn_id);
        let answered = async move {
            // What couldn't be written is tried again; the answer is true all the same.
            let _ = stored.await;
            Err(failure)
        };
        Box::pin(answered.into_actor(self))
    }

    /// Ends when all that was decided about a spawn is stored, or could not be.
    fn once_written(
        &mut self,
        spawn_id: &str,
        ctx: &mut Context<Self>,
    ) -> impl Future<Output = Result<(), Failure>> + use<> {
        let waits = self.spawns.has_unwritten(spawn_id).then(|| {
            let (written, stored) = tokio::sync::oneshot::channel();
            self.awaited_writes.insert(spawn_id.to_owned(), written);
            self.write_spawns(true, ctx);
            stored
        });
        async move {
            match waits {
                Some(stored) => stored.await.unwrap_or_else(|_| Err(Failure::unavailable("store"))),
                None => Ok(()),
            }
        }
    }

    /// Sends it to the next gateway once the record names that one: after a crash the right one is asked.
    fn attempt_once_written(
        &mut self,
        attempt: Attempt,
        number: usize,
        ctx: &mut Context<Self>,
    ) -> ResponseActFuture<Self, Result<SpawnAnswer, Failure>> {
        let stored = self.once_written(&attempt.record.spawn_id, ctx);
        Box::pin(stored.into_actor(self).then(move |stored, registry, ctx| match stored {
            Ok(()) => registry.attempt(attempt, number),
            Err(failure) => {
                let certainty = Certainty::NotTaken;
                registry.not_accepted(attempt, MOST_ATTEMPTS, NotAccepted { failure, certainty }, ctx)
            }
        }))
    }

    /// Chooses the gateway of a piece of work.
    fn route(&self, wish: &RouteWish) -> Result<(GatewayId, RouteReason), NoRoute> {
        let bound = self.routing.max_in_flight;
        let candidates: Vec<RouteCandidate<'_>> = self
            .entries
            .values()
            .filter(|entry| !entry.is_hidden())
            .map(|entry| {
                let in_flight = self.spawns.in_flight(entry.record.id);
                RouteCandidate {
                    id: entry.record.id,
                    name: &entry.record.name,
                    labels: &entry.record.labels,
                    configured: entry.record.is_primary,
                    usable: entry.report.is_usable() && entry.handle.is_some(),
                    drained: entry.record.drained,
                    full: in_flight >= bound,
                    load: entry.report.sessions_count.unwrap_or(0).max(u32::try_from(in_flight).unwrap_or(u32::MAX)),
                    priority: entry.record.priority,
                }
            })
            .collect();
        routing::choose(wish, self.routing.policy, self.election.acting(), &candidates)
    }

    fn name_of(&self, id: GatewayId) -> Option<String> {
        self.entries.get(&id).map(|entry| entry.record.name.clone())
    }
}

fn done(
    registry: &RegistryActor,
    answer: Result<SpawnAnswer, Failure>,
) -> ResponseActFuture<RegistryActor, Result<SpawnAnswer, Failure>> {
    Box::pin(async { answer }.into_actor(registry))
}
