//! `sessions.*` and `chat.history`: conversations, without the runs in them.

mod changing;
mod reading;

use super::Method;
use crate::call::CallError;
use crate::caller::Scope;
use crate::machine::GatewayMachine;
use crate::params::Params;
use crate::sessions::SessionKey;

pub(super) const METHODS: &[Method] = &[
    Method { name: "sessions.list", scope: Scope::Read, run: reading::list },
    Method { name: "sessions.get", scope: Scope::Read, run: reading::get },
    Method { name: "sessions.preview", scope: Scope::Read, run: reading::preview },
    Method { name: "chat.history", scope: Scope::Read, run: reading::history },
    Method { name: "sessions.subscribe", scope: Scope::Read, run: reading::subscribe },
    Method { name: "sessions.unsubscribe", scope: Scope::Read, run: reading::unsubscribe },
    Method { name: "sessions.messages.subscribe", scope: Scope::Read, run: reading::messages_subscribe },
    Method { name: "sessions.messages.unsubscribe", scope: Scope::Read, run: reading::messages_unsubscribe },
    Method { name: "sessions.create", scope: Scope::Write, run: changing::create },
    Method { name: "sessions.patch", scope: Scope::Write, run: changing::patch },
    Method { name: "sessions.reset", scope: Scope::Admin, run: changing::reset },
    Method { name: "sessions.delete", scope: Scope::Admin, run: changing::delete },
    Method { name: "sessions.compact", scope: Scope::Admin, run: changing::compact },
];

/// The session that is named as `key` (real releases) or `sessionKey` (document 004).
fn key(machine: &GatewayMachine, params: &Params<'_>) -> Result<SessionKey, CallError> {
    let given = match params.name("key")? {
        Some(key) => key,
        None => params.name("sessionKey")?.ok_or_else(|| params.missing("key"))?,
    };
    SessionKey::read(given, machine.agents.default_id())
}

fn not_found(key: &SessionKey) -> CallError {
    CallError::invalid(format!("session not found: {key}"))
}
