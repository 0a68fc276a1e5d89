//! What is remembered of runs that have ended, for idempotency keys and `agent.wait`.

use std::collections::VecDeque;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::run::{Asked, Run};
use super::{Runs, replies};
use crate::call::ReplyTo;
use crate::call::{Answer, CallError, Outcome};
use crate::effect::RunId;
use crate::turn::Turn;

/// Answers that are remembered, in bytes together.
const FINISHED_BYTES: usize = 16 * 1024 * 1024;

/// The runs that ended, oldest first.
#[derive(Debug, Default)]
pub(super) struct Finished {
    ids: VecDeque<(RunId, usize)>,
    bytes: usize,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Replay {
    /// It wasn't used, as far as is remembered.
    New,
    Answer(Outcome),
}

pub(crate) fn fingerprint(method: &str, params: &Value) -> String {
    let digest = Sha256::digest(format!("{method}\n{params}").as_bytes());
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

impl Runs {
    /// Looks an idempotency key up. `asked` is how it is asked for this time.
    pub(crate) fn replay(
        &mut self,
        id: &RunId,
        fingerprint: &str,
        asked: Asked,
        reply: &ReplyTo,
        turn: &mut Turn<'_>,
    ) -> Result<Replay, CallError> {
        let Some(run) = self.by_id.get_mut(id) else { return Ok(Replay::New) };
        if run.fingerprint != fingerprint {
            return Err(CallError::invalid(format!(
                "idempotencyKey \"{}\" was used for another request; use a new key for each request",
                shown(&id.0)
            )));
        }
        let ended = run.state.end().is_some();
        Ok(Replay::Answer(match asked {
            Asked::Chat | Asked::Session => replies::sent_again(run).map(Answer::Payload),
            Asked::Agent if ended => replies::outcome(run).map(Answer::Payload),
            Asked::Agent => {
                turn.respond(reply, Ok(replies::accepted(run)));
                owe(run, reply)
            }
            Asked::AgentOnce if ended => replies::outcome(run).map(Answer::Payload),
            Asked::AgentOnce => owe(run, reply),
            Asked::Spawn if run.acknowledged.is_some() || ended => {
                Ok(Answer::Payload(replies::spawn_result(run, reply.request.as_deref().unwrap_or(&run.id.0))))
            }
            Asked::Spawn => owe(run, reply),
            Asked::Unasked => Ok(Answer::Payload(run.to_value())),
        }))
    }

    /// Remembers a run that has ended, and forgets the oldest ones beyond the bounds.
    pub(super) fn remember(&mut self, id: RunId, most: usize) {
        if let Some(run) = self.by_id.get(&id) {
            let weight = run.weight();
            self.finished.bytes += weight;
            self.finished.ids.push_back((id, weight));
        }
        while self.finished.ids.len() > most || (self.finished.bytes > FINISHED_BYTES && self.finished.ids.len() > 1) {
            let Some((oldest, weight)) = self.finished.ids.pop_front() else { break };
            self.finished.bytes = self.finished.bytes.saturating_sub(weight);
            self.by_id.remove(&oldest);
        }
    }
}

/// A reply that comes later, with the others that are owed. Bounded, since one key may be sent again and again.
fn owe(run: &mut Run, reply: &ReplyTo) -> Outcome {
    if run.replies.len() >= 32 {
        return Err(CallError::unavailable("too many requests with this idempotencyKey wait for its end already"));
    }
    run.replies.push(reply.clone());
    Ok(Answer::Later)
}

/// A caller's word, short and without control characters.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(100).map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}
