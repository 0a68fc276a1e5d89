//! One turn of the machine: the time, chance, and the list of what is to be done.

use std::fmt;
use std::sync::Arc;

use gatewarden_protocol::Secret;
use serde_json::Value;

use crate::caller::{Caller, ConnectionId};
use crate::clock::{Chance, Now};
use crate::config::AUDIT_EVENTS;
use crate::effect::{AuditEntry, Effect, FileChange, LogLevel, LogLine};
use crate::reply::CallError;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReplyTo {
    pub connection: ConnectionId,
    /// The request's id as sent; none in the `rpc` dialect, where it may be missing.
    pub request: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub caller: Arc<Caller>,
    pub request: Option<String>,
    pub method: String,
    /// With what; always an object (missing parameters are an empty one).
    pub params: Value,
}

impl Call {
    pub fn reply_to(&self) -> ReplyTo {
        ReplyTo { connection: self.caller.connection, request: self.request.clone() }
    }
}

pub struct Turn<'a> {
    pub now: Now,
    chance: &'a mut dyn Chance,
    effects: Vec<Effect>,
}

impl fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("now", &self.now).field("effects", &self.effects).finish_non_exhaustive()
    }
}

impl<'a> Turn<'a> {
    pub fn new(now: Now, chance: &'a mut dyn Chance) -> Self {
        Self { now, chance, effects: Vec::new() }
    }

    pub fn into_effects(self) -> Vec<Effect> {
        self.effects
    }

    pub fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub fn uuid(&mut self) -> String {
        self.chance.uuid()
    }

    /// A fresh secret of 43 characters.
    pub fn secret(&mut self) -> Secret {
        self.chance.secret()
    }

    pub fn respond(&mut self, to: &ReplyTo, outcome: Result<Value, CallError>) {
        self.push(Effect::Respond { to: to.clone(), outcome });
    }

    pub fn tell(&mut self, to: Vec<ConnectionId>, event: &str, payload: Value) {
        if !to.is_empty() {
            self.push(Effect::Tell { to, event: event.to_owned(), payload: Arc::new(payload) });
        }
    }

    pub fn write(&mut self, change: FileChange) {
        self.push(Effect::Write(change));
    }

    pub fn audit(&mut self, event: &'static str, fields: Value) {
        // Else `audit.events` couldn't ask for it, and would leave it out without a word.
        debug_assert!(AUDIT_EVENTS.contains(&event), "{event} is not in AUDIT_EVENTS");
        self.push(Effect::Audit(AuditEntry { event, fields }));
    }

    pub fn log(&mut self, level: LogLevel, source: &str, session: Option<&str>, message: impl Into<String>) {
        self.push(Effect::Log(LogLine {
            level,
            source: source.to_owned(),
            session: session.map(str::to_owned),
            message: message.into(),
            extra: Value::Null,
        }));
    }
}
