//! What is said of spawns that nobody took, or of which nobody knows whether somebody did.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::RegistryActor;
use super::super::messages::SpawnAnswer;
use crate::error::{ErrorCode, Failure};
use crate::ids::GatewayId;
use crate::machines::routing::NoRoute;
use crate::machines::spawn_book::NOT_ACCEPTED;
use crate::machines::spawn_state::SpawnState;
use crate::run::{Certainty, NotAccepted};
use crate::store::records::SpawnRecord;

impl RegistryActor {
    /// Why nobody takes a piece of work, for a person.
    pub(super) fn no_route(&self, reason: Option<NoRoute>) -> Failure {
        let soon = Duration::from_secs(5);
        let named = |id: GatewayId| self.name_of(id).unwrap_or_else(|| id.to_string());
        match reason {
            Some(NoRoute::UnknownGateway(id)) => Failure::gateway_not_found(id),
            Some(NoRoute::NotUsable(id)) => match self.entries.get(&id) {
                Some(entry) => crate::registry::requests::unusable(&entry.record.name, &entry.report),
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

pub(super) fn with_spawn_id(failure: Failure, spawn_id: &str) -> Failure {
    let mut details = failure.details.clone().filter(Value::is_object).unwrap_or_else(|| json!({}));
    if let Some(details) = details.as_object_mut() {
        details.insert("spawnId".to_owned(), Value::from(spawn_id));
    }
    failure.with_details(details)
}

/// What was answered before is answered again: a refusal as a refusal, anything else with what has become of it.
pub(super) fn replayed(record: SpawnRecord) -> Result<SpawnAnswer, Failure> {
    let refused = record.state == SpawnState::Failed && record.reason.as_deref() == Some(NOT_ACCEPTED);
    let code = record.error_code.as_deref().and_then(ErrorCode::from_name).filter(|_| refused);
    let Some(code) = code else {
        return Ok(SpawnAnswer { record, replayed: true, reply: Value::Null });
    };
    let words = record.error.clone().unwrap_or_else(|| "The spawn was not accepted".to_owned());
    let failure = Failure::new(code, words)
        .with_help("This is the recorded answer to this Idempotency-Key. Use a new key to try again.");
    Err(with_spawn_id(failure, &record.spawn_id))
}

/// The same request is stored and about to be sent, by whoever came first.
pub(super) fn still_under_way(spawn_id: &str) -> Failure {
    let failure =
        Failure::new(ErrorCode::Unavailable, "The first request with this Idempotency-Key has not been answered yet")
            .with_help("Send the same request again in a second: it is answered as the first one.")
            .with_retry_after(Duration::from_secs(1));
    with_spawn_id(failure, spawn_id)
}

pub(super) fn idempotency_mismatch() -> Failure {
    Failure::new(ErrorCode::IdempotencyMismatch, "This Idempotency-Key was used for another request")
        .with_help("Use a new key for a new request; the same key only with the very same body.")
}

pub(super) fn not_connected(name: &str) -> NotAccepted {
    NotAccepted {
        failure: Failure::new(ErrorCode::GatewayUnavailable, format!("Gateway \"{name}\" is not connected"))
            .with_help("Try again in a second.")
            .with_retry_after(Duration::from_secs(1)),
        certainty: Certainty::NotTaken,
    }
}

/// However the answer was lost, it is a timeout to the client: nothing may invite it to send the work again.
pub(super) fn nobody_knows(failure: Failure) -> Failure {
    Failure::new(ErrorCode::GatewayTimeout, failure.message)
        .with_help("It may be under way: GET /api/spawn/{spawnId} tells what became of it. It is never sent twice.")
}

pub(super) fn no_answer(name: &str, timeout: Duration) -> Failure {
    Failure::new(
        ErrorCode::GatewayTimeout,
        format!("Gateway \"{name}\" did not say within {} ms whether it took the work", timeout.as_millis()),
    )
}
