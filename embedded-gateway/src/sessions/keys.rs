//! What sessions are called.

use std::fmt;

use gatewarden_protocol::sessions::agent_of_key;

use crate::call::CallError;

pub(crate) const KEY_BYTES: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionKey(String);

impl SessionKey {
    /// Reads what a caller names. `main` and everything else that doesn't begin with `agent:` belongs to `default_agent`.
    pub(crate) fn read(given: &str, default_agent: &str) -> Result<Self, CallError> {
        let given = given.trim();
        if given.is_empty() {
            return Err(CallError::invalid("session key required"));
        }
        if given.len() > KEY_BYTES || given.chars().any(char::is_control) {
            return Err(CallError::invalid(format!(
                "invalid session key: at most {KEY_BYTES} bytes, without control characters"
            )));
        }
        let Some(rest) = given.strip_prefix("agent:") else {
            return Ok(Self(format!("agent:{default_agent}:{given}")));
        };
        match rest.split_once(':') {
            Some((agent, rest)) if is_agent_id(agent) && !rest.is_empty() => Ok(Self(given.to_owned())),
            _ => Err(CallError::invalid(format!("invalid session key: {given} (form: agent:<agentId>:<name>)"))),
        }
    }

    pub(crate) fn main_of(agent: &str) -> Self {
        Self(format!("agent:{agent}:main"))
    }

    pub(crate) fn of(agent: &str, rest: &str) -> Self {
        Self(format!("agent:{agent}:{rest}"))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn agent(&self) -> String {
        agent_of_key(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether this can be an agent's id: 1 to 64 of `a-z`, `0-9`, `-`, `_`, beginning with a letter or digit. It names folders.
pub(crate) fn is_agent_id(id: &str) -> bool {
    let mut bytes = id.bytes();
    id.len() <= 64
        && bytes.next().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_keys_belong_to_the_default_agent() {
        for (given, whole) in [
            ("main", "agent:coder:main"),
            (" main ", "agent:coder:main"),
            ("agent1:chat", "agent:coder:agent1:chat"),
            ("agent:main:main", "agent:main:main"),
            ("agent:main:telegram:default:user123", "agent:main:telegram:default:user123"),
        ] {
            assert_eq!(SessionKey::read(given, "coder").map(|key| key.to_string()).as_deref(), Ok(whole));
        }
    }

    #[test]
    fn keys_that_name_no_session_are_refused() {
        let long = "k".repeat(KEY_BYTES + 1);
        for given in ["", "  ", "agent:", "agent:main", "agent:main:", "agent::x", "agent:../x:main", "a\nb", &long] {
            assert!(SessionKey::read(given, "main").is_err(), "{given:?}");
        }
    }

    #[test]
    fn the_agent_of_a_key_is_its_second_part() {
        assert_eq!(SessionKey::of("worker-one", "a:b").agent(), "worker-one");
        assert_eq!(SessionKey::main_of("main").as_str(), "agent:main:main");
    }
}
