//! One turn of the machine: the time, chance, and the list of what is to be done.

use std::fmt;
use std::sync::Arc;

use gatewarden_protocol::Secret;
use serde_json::Value;

use crate::call::{CallError, ReplyTo};
use crate::caller::ConnectionId;
use crate::clock::{Chance, Now};
use crate::effect::{AUDIT_EVENTS, AuditEntry, Effect, FileChange, LogLevel, LogLine};

pub(crate) struct Turn<'a> {
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
    pub(crate) fn new(now: Now, chance: &'a mut dyn Chance) -> Self {
        Self { now, chance, effects: Vec::new() }
    }

    pub(crate) fn into_effects(self) -> Vec<Effect> {
        self.effects
    }

    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(crate) fn uuid(&mut self) -> String {
        self.chance.uuid()
    }

    /// A fresh secret of 43 characters.
    pub(crate) fn secret(&mut self) -> Secret {
        self.chance.secret()
    }

    pub(crate) fn respond(&mut self, to: &ReplyTo, outcome: Result<Value, CallError>) {
        self.push(Effect::Respond { to: to.clone(), outcome });
    }

    pub(crate) fn tell(&mut self, to: Vec<ConnectionId>, event: &str, payload: Value) {
        if !to.is_empty() {
            self.push(Effect::Tell { to, event: event.to_owned(), payload: Arc::new(payload) });
        }
    }

    pub(crate) fn write(&mut self, change: FileChange) {
        self.push(Effect::Write(change));
    }

    pub(crate) fn audit(&mut self, event: &'static str, fields: Value) {
        // Else `audit.events` couldn't ask for it, and would leave it out without a word.
        debug_assert!(AUDIT_EVENTS.contains(&event), "{event} is not in AUDIT_EVENTS");
        self.push(Effect::Audit(AuditEntry { event, fields }));
    }

    pub(crate) fn log(&mut self, level: LogLevel, source: &str, session: Option<&str>, message: impl Into<String>) {
        self.log_with(level, source, session, message, Value::Null);
    }

    pub(crate) fn log_with(
        &mut self,
        level: LogLevel,
        source: &str,
        session: Option<&str>,
        message: impl Into<String>,
        extra: Value,
    ) {
        let (source, session) = (source.to_owned(), session.map(str::to_owned));
        self.push(Effect::Log(LogLine { level, source, session, message: message.into(), extra }));
    }
}
