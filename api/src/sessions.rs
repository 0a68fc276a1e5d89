//! Sessions of all gateways.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use gatewarden_protocol::limits::MAX_NAME;

use crate::names::SessionState;
use crate::pages::Part;
use crate::request::{Fields, Rule, request};
use crate::rules::{action, as_text, by, capped, check_text, flag, id, kind_of, raw, text, word};

/// One page of the sessions of all gateways, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionList {
    /// The page.
    pub sessions: Vec<Session>,
    /// Which part it is.
    #[serde(flatten)]
    pub part: Part,
    /// The gateways whose sessions were looked at, and how fresh these are; left out with `gateways=false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateways: Option<Vec<GatewayAge>>,
}

/// A session. What its gateway doesn't tell is null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// The gateway's own key; two gateways may use the same.
    #[schema(example = "agent:main:main")]
    pub key: String,
    /// The agent's name on the gateway.
    pub agent: Option<String>,
    /// The model, without its provider.
    #[schema(example = "claude-sonnet-4")]
    pub model: Option<String>,
    /// `active` (a run is under way), `paused` or `completed` (the last run has ended); null where the gateway doesn't tell.
    #[schema(value_type = Option<SessionState>)]
    pub status: Option<String>,
    /// Tokens: real releases tell the size of the last prompt.
    #[serde(rename = "totalTokens")]
    pub total_tokens: Option<u64>,
    /// Unix milliseconds of the last change.
    #[serde(rename = "updatedAt")]
    pub updated_at: Option<i64>,
    /// The gateway that holds it.
    pub gateway_id: i64,
    /// That gateway's name.
    pub gateway: String,
    /// `direct`, `group` and so on, in the gateway's words.
    pub kind: Option<String>,
    /// Size of the context window.
    #[serde(rename = "contextTokens")]
    pub context_tokens: Option<u64>,
    /// Messages in it.
    #[serde(rename = "messageCount")]
    pub message_count: Option<u64>,
    /// US dollars so far.
    pub cost: Option<f64>,
    /// The name that people gave it.
    pub label: Option<String>,
    /// Unix seconds of the gateway's last news about its sessions.
    pub as_of: Option<i64>,
}

/// How fresh the sessions of a gateway are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayAge {
    /// The gateway.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Unix seconds of its last news about sessions; null where it never told any.
    pub as_of: Option<i64>,
    /// Whether its whole list was read since the connection was made.
    pub complete: bool,
    /// Whether the connection is up. Where it isn't, its sessions are as they were at `as_of`.
    pub reachable: bool,
}

/// What a gateway did with one session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionDone {
    /// Always true: what the gateway refuses is an error.
    pub success: bool,
    /// What was done.
    #[schema(example = "kill")]
    pub action: String,
    /// The session's key.
    #[schema(example = "agent:main:main")]
    pub session: String,
    /// The gateway's name.
    pub gateway: String,
    /// The gateway's id.
    pub gateway_id: i64,
    /// What the gateway answered, in its form.
    #[schema(value_type = Object)]
    pub result: Value,
}

/// What became of a delete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionDeleted {
    /// Whether the gateway deleted a session; false where it had none of this key any more.
    pub deleted: bool,
    /// The rest of the answer.
    #[serde(flatten)]
    pub done: SessionDone,
}

/// The newest entries of a session, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionHistory {
    /// Oldest first, as gateways tell it.
    pub history: Vec<HistoryEntry>,
    /// The session's key.
    pub session: String,
    /// The gateway's name.
    pub gateway: String,
    /// The gateway's id.
    pub gateway_id: i64,
}

/// Something that was said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    /// `user`, `assistant`, `system` or what else the gateway calls it.
    #[schema(example = "assistant")]
    pub role: String,
    /// The text; empty where there is none, for instance with a bare call of a tool.
    pub content: String,
    /// Unix milliseconds, as gateways tell it.
    pub timestamp: Option<i64>,
    /// Tools that were called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// The model that said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Why it ended there, in the gateway's words.
    #[serde(rename = "stopReason", skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// What went wrong, in the gateway's words.
    #[serde(rename = "errorMessage", skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// What it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Present and true where the text was cut.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// Tokens of one entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Tokens read.
    pub input_tokens: Option<u64>,
    /// Tokens written.
    pub output_tokens: Option<u64>,
    /// Both together.
    pub total_tokens: Option<u64>,
    /// US dollars.
    pub cost: Option<f64>,
}

/// The gateway took the message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MessageTaken {
    /// Always true.
    pub success: bool,
    /// The run that the message starts, where the gateway says.
    #[serde(rename = "runId", skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// In the gateway's words, for instance `started`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// What the gateway knows the message by: the same again is not said twice.
    pub idempotency_key: String,
    /// The session's key.
    pub session: String,
    /// The gateway's name.
    pub gateway: String,
    /// The gateway's id.
    pub gateway_id: i64,
}

/// Longest message, in characters.
const MAX_MESSAGE: usize = 200_000;
/// Longest label, in characters.
const MAX_LABEL: usize = 100;

request! {
    /// Which setting is changed.
    ChangeQuery {
        /// What is done
        action: String = action(
            &["set-thinking", "set-verbose", "set-label"],
            "Invalid action: ?action= must be set-thinking, set-verbose or set-label",
        );
    }
    /// A change of one setting.
    ChangeBody {
        /// The session's key.
        session_key "sessionKey": String = session_key() => "agent:main:main";
        /// With set-thinking: off, minimal, low, medium, high, xhigh, or another that the gateway lists. With set-verbose: off, on or
        /// full.
        level: Option<String> = raw();
        /// With set-label: up to 100 characters; empty or null clears.
        label: Option<Option<String>> = label();
        /// The gateway; needed where several hold a session of this key.
        gateway_id: Option<i64> = id();
    }
    /// Which session is to go.
    DeleteBody {
        /// The session's key.
        session_key "sessionKey": String = session_key() => "agent:main:old";
        /// The gateway; needed where several hold a session of this key.
        gateway_id: Option<i64> = id();
    }
    /// What is to be done.
    ControlBody {
        /// `pause`, `resume` or `kill` (`terminate` is the same).
        action: String = action(
            &["pause", "resume", "kill", "terminate"],
            "Invalid action: it must be pause, resume or kill (terminate is the same)",
        ) => "kill";
        /// The gateway; needed where several hold a session of this key.
        gateway_id: Option<i64> = id();
    }
    /// A message.
    MessageBody {
        /// What to say, up to 200,000 characters.
        content: String = message() => "How far are you?";
        /// The gateway; needed where several hold a session of this key.
        gateway_id: Option<i64> = id();
    }
    /// Something to say.
    OrganizationMessage {
        /// Up to 200,000 characters.
        content: String = message() => "How far are you?";
    }
    /// Which sessions are wanted.
    ListSessionsQuery {
        /// Only of this agent, by its name on the gateway
        agent: Option<String> = text(1..=512);
        /// Only of this gateway, by its id or its name
        gateway: Option<String> = text(1..=200);
        /// Only with this status: active, paused or completed
        status: Option<String> = word(&["active", "paused", "completed"]);
        /// false leaves the list of gateways out
        gateways: Option<bool> = flag();
    }
    /// What of a session's history is wanted.
    SessionHistoryQuery {
        /// The newest so many, 1 to 200 (more is capped); 50 by default
        limit: Option<usize> = capped(200);
        /// The gateway; needed where several hold a session of this key
        gateway_id: Option<i64> = id();
    }
}

/// What is wrong with a text as a session's key, which looks like `researcher:main` or `agent:main:telegram:default:user123`:
/// printable text that can't be taken for a path.
pub fn session_key_problem(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        Some("must not be empty")
    } else if key.chars().take(MAX_NAME + 1).count() > MAX_NAME {
        Some("must have at most 512 characters")
    } else if key.chars().any(char::is_control) {
        Some("must not contain control characters")
    } else if key.contains(char::REPLACEMENT_CHARACTER) {
        Some("must be valid UTF-8")
    } else if key.contains(['/', '\\']) {
        Some("must not contain / or \\")
    } else if key == "." || key.contains("..") {
        Some("must not be . or contain ..")
    } else if key.trim().is_empty() {
        Some("must not be blank")
    } else {
        None
    }
}

/// The rule of [`session_key_problem`].
pub(crate) fn session_key() -> impl Rule<Out = String> {
    struct Key;
    impl Rule for Key {
        type Out = String;

        fn read(&self, fields: &mut Fields<'_>, name: &str) -> Option<String> {
            let value = fields.value(name)?;
            let problem = match value.as_str().map(|key| (key, session_key_problem(key))) {
                Some((key, None)) => return Some(key.to_owned()),
                Some((_, Some(what))) => format!("is not a session key: it {what}"),
                None => format!("must be a session key, which is a text, not {}", kind_of(value)),
            };
            fields.wrong(name, problem);
            None
        }

        fn note_missing(&self, fields: &mut Fields<'_>, name: &str) {
            fields.wrong(name, "is missing: give the session key");
        }
    }
    Key
}

/// Read whether or not it is asked for: the daemon says that it is missing where it is.
fn label() -> impl Rule<Out = Option<String>> {
    by(|fields, name| {
        let problem = match fields.value(name).map(Value::as_str) {
            None if fields.has(name) => return Some(None),
            None => return None,
            Some(Some("")) => return Some(None),
            Some(Some(text)) => match check_text(text, 1..=MAX_LABEL) {
                Ok(()) => return Some(Some(text.to_owned())),
                Err(what) => format!("is wrong: Label {what}"),
            },
            Some(None) => "is wrong: Label must be a text".to_owned(),
        };
        fields.wrong(name, problem);
        None
    })
}

/// A message may have lines, so it is read by rules of its own.
fn message() -> impl Rule<Out = String> {
    by(|fields, name| {
        fields.value(name)?;
        let text = as_text(fields, name)?;
        if text.trim().is_empty() {
            fields.wrong(name, "must not be blank");
        } else if text.contains('\0') {
            fields.wrong(name, "must not contain the character NUL");
        } else if text.chars().take(MAX_MESSAGE + 1).count() > MAX_MESSAGE {
            fields.wrong(name, format_args!("must have at most {MAX_MESSAGE} characters"));
        }
        Some(text.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::session_key_problem;

    #[test]
    fn keys_of_real_gateways_pass() {
        for key in
            ["researcher:main", "agent:main:telegram:default:user123", "main", "a b", "ключ", "a.b", &"x".repeat(512)]
        {
            assert_eq!(session_key_problem(key), None, "{key}");
        }
    }

    #[test]
    fn a_key_that_could_be_a_path_or_break_a_line_does_not() {
        let long = "x".repeat(513);
        let wrong =
            ["", " ", ".", "..", "a..b", "a/b", "/", "a\\b", "a\nb", "a\u{0}", "\u{7f}", "\u{85}", "a\u{fffd}", &long];
        for key in wrong {
            assert!(session_key_problem(key).is_some(), "{key:?}");
        }
    }
}
