//! Spawns: route, record, send, answer. Never run twice.
//!
//! A spawn is recorded before it is sent. It moves to another gateway only where the first one certainly didn't take it
//! because it couldn't be reached; a refusal in the gateway's own words is the answer. What was on the wire without an
//! answer is `unknown` and is asked about later (`reconciliation`), never sent again.

use std::time::Duration;

use actix::prelude::*;
use serde_json::{Value, json};
use tracing::info;

use super::RegistryActor;
use super::messages::{SpawnAnswer, SpawnWork};
use super::requests::GRACE;
use crate::error::{ErrorCode, Failure};
use crate::gateway::run_messages::StartRun;
use crate::ids::GatewayId;
use crate::machines::routing::{self, NoRoute, RouteCandidate, RouteReason, RouteWish};
use crate::machines::spawn_state::SpawnState;
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
            Ok(Recorded::Replay(record)) => {
                done(registry, Ok(SpawnAnswer { record, replayed: true, reply: Value::Null }))
            }
            Ok(Recorded::New(record)) => match route {
                Ok((gateway, _)) => {
                    registry.spawns.open(&record.spawn_id, gateway);
                    registry.write_spawn(&record.spawn_id, ctx);
                    registry.attempt(Attempt { record, wish, work, timeout, gateway }, 1)
                }
                Err(_) => {
                    // Only with an idempotency key: its answer is on record, so the same request gets the same one.
                    let failure = with_spawn_id(registry.no_route(unroutable), &record.spawn_id);
                    registry.close_unsent(&record, &failure, ctx);
                    done(registry, Err(failure))
                }
            },
        });
        Box::pin(sent)
    }

    /// Sends one attempt and deals with its end; goes on to another gateway where that is certainly harmless.
    fn attempt(&self, attempt: Attempt, number: usize) -> ResponseActFuture<Self, Result<SpawnAnswer, Failure>> {
        let name = self.name_of(attempt.gateway).unwrap_or_default();
        let start = StartRun {
            spawn_id: attempt.record.spawn_id.clone(),
            work: attempt.work.clone(),
            timeout: attempt.timeout,
        };
        let sent = self.entries.get(&attempt.gateway).and_then(|entry| {
            let usable = entry.report.is_usable();
            entry.door.as_ref().filter(|_| usable).map(|door| door.start_run.send(start))
        });
        let timeout = attempt.timeout;
        let send = async move {
            let Some(sent) = sent else { return Outcome::Refused(not_connected(&name)) };
            match tokio::time::timeout(timeout + GRACE, sent).await {
                Ok(Ok(Ok(accepted))) => Outcome::Taken(accepted),
                Ok(Ok(Err(refused))) => Outcome::Refused(refused),
                // The actor died with the request in hand, or is stuck: nobody can tell whether it was sent.
                Ok(Err(_)) | Err(_) => {
                    Outcome::Refused(NotAccepted { failure: no_answer(&name, timeout), certainty: Certainty::Unknown })
                }
            }
        };
        let ended = send.into_actor(self).then(move |outcome, registry, ctx| match outcome {
            Outcome::Taken(accepted) => {
                let answer = registry.accepted(attempt.record, attempt.gateway, accepted, ctx);
                done(registry, Ok(answer))
            }
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
    ) -> SpawnAnswer {
        let Accepted { run_id, session_key, pid, running, method, reply } = accepted;
        info!(spawn.id = %record.spawn_id, gateway.id = gateway.0, method, "spawn accepted");
        let now = self.clock.now();
        self.spawns.accept(now, &record.spawn_id, &run_id, session_key.clone(), pid, running);
        self.write_spawn(&record.spawn_id, ctx);
        record.state = self.spawns.get(&record.spawn_id).map_or(SpawnState::Accepted, |spawn| spawn.state);
        record.gateway_id = Some(gateway);
        record.gateway_name = self.name_of(gateway);
        record.run_id = Some(run_id);
        record.session_key = session_key;
        record.pid = pid;
        SpawnAnswer { record, replayed: false, reply }
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
                self.write_spawn(&spawn_id, ctx);
                attempt.record.route = Some(reason.as_str().to_owned());
                attempt.gateway = gateway;
                return self.attempt(attempt, number + 1);
            }
        }
        match certainty {
            Certainty::NotTaken => self.spawns.fail(&spawn_id, failure.code.as_str(), &failure.message),
            Certainty::Unknown => self.spawns.lose_sight(self.clock.now(), &spawn_id, &failure.message),
        }
        self.write_spawn(&spawn_id, ctx);
        done(self, Err(with_spawn_id(failure, &spawn_id)))
    }

    /// A recorded spawn that nobody could take.
    fn close_unsent(&mut self, record: &SpawnRecord, failure: &Failure, ctx: &mut Context<Self>) {
        self.spawns.open(&record.spawn_id, GatewayId(0));
        self.spawns.fail(&record.spawn_id, failure.code.as_str(), &failure.message);
        self.write_spawn(&record.spawn_id, ctx);
    }

    /// Chooses the gateway of a piece of work.
    fn route(&self, wish: &RouteWish) -> Result<(GatewayId, RouteReason), NoRoute> {
        let bound = self.routing.max_in_flight;
        let candidates: Vec<RouteCandidate<'_>> = self
            .entries
            .values()
            .map(|entry| {
                let in_flight = self.spawns.in_flight(entry.record.id);
                RouteCandidate {
                    id: entry.record.id,
                    name: &entry.record.name,
                    labels: &entry.record.labels,
                    configured: entry.record.is_primary,
                    usable: entry.report.is_usable() && entry.door.is_some(),
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

    fn no_route(&self, reason: Option<NoRoute>) -> Failure {
        let soon = Duration::from_secs(5);
        let named = |id: GatewayId| self.name_of(id).unwrap_or_else(|| id.to_string());
        match reason {
            Some(NoRoute::UnknownGateway(id)) => Failure::gateway_not_found(id),
            Some(NoRoute::NotUsable(id)) => match self.entries.get(&id) {
                Some(entry) => super::requests::unusable(&entry.record.name, &entry.report),
                None => Failure::gateway_not_found(id),
            },
            Some(NoRoute::Drained(id)) => Failure::new(
                ErrorCode::GatewayUnavailable,
                format!("Gateway \"{}\" is drained: it takes no new work", named(id)),
            )
            .with_help(format!("POST /api/gateways/{id}/undrain, or leave out gateway_id.")),
            Some(NoRoute::Full(id)) => Failure::new(
                ErrorCode::GatewayBusy,
                format!("Gateway \"{}\" already has {} spawns under way", named(id), self.routing.max_in_flight),
            )
            .with_help("Wait for one to end, or raise routing.max_in_flight.")
            .with_retry_after(soon),
            Some(NoRoute::NotSelected(id)) => Failure::new(
                ErrorCode::InvalidRequest,
                format!("Gateway \"{}\" does not have the labels that the selector asks for", named(id)),
            )
            .with_help("Leave out gateway_id or selector."),
            Some(NoRoute::NothingSelected) => {
                Failure::new(ErrorCode::NoUsableGateway, "No gateway has the labels that the selector asks for")
                    .with_help("GET /api/gateways shows each gateway's labels.")
                    .with_retry_after(soon)
            }
            Some(NoRoute::AllFull) => {
                Failure::new(ErrorCode::NoUsableGateway, "Every usable gateway is at its bound of spawns under way")
                    .with_help("Wait for one to end, or raise routing.max_in_flight.")
                    .with_retry_after(soon)
            }
            Some(NoRoute::NoneUsable) | None => {
                Failure::new(ErrorCode::NoUsableGateway, "No gateway can take the work: none is usable")
                    .with_help("GET /api/gateways shows each gateway's state and what to do about it.")
                    .with_retry_after(soon)
            }
        }
    }
}

fn done(
    registry: &RegistryActor,
    answer: Result<SpawnAnswer, Failure>,
) -> ResponseActFuture<RegistryActor, Result<SpawnAnswer, Failure>> {
    Box::pin(async { answer }.into_actor(registry))
}

fn with_spawn_id(failure: Failure, spawn_id: &str) -> Failure {
    let mut details = failure.details.clone().filter(Value::is_object).unwrap_or_else(|| json!({}));
    if let Some(details) = details.as_object_mut() {
        details.insert("spawnId".to_owned(), Value::from(spawn_id));
    }
    failure.with_details(details)
}

fn idempotency_mismatch() -> Failure {
    Failure::new(ErrorCode::IdempotencyMismatch, "This Idempotency-Key was used for another request")
        .with_help("Use a new key for a new request; the same key only with the very same body.")
}

fn not_connected(name: &str) -> NotAccepted {
    NotAccepted {
        failure: Failure::new(ErrorCode::GatewayUnavailable, format!("Gateway \"{name}\" is not connected"))
            .with_help("Try again in a second.")
            .with_retry_after(Duration::from_secs(1)),
        certainty: Certainty::NotTaken,
    }
}

fn no_answer(name: &str, timeout: Duration) -> Failure {
    Failure::new(
        ErrorCode::GatewayTimeout,
        format!("Gateway \"{name}\" did not say within {} ms whether it took the work", timeout.as_millis()),
    )
    .with_help("It may be under way: GET /api/spawn/{spawnId} tells what became of it. It is never sent twice.")
}
