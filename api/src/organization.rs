//! The organization API: the same gateways by UUID, with times in RFC 3339.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::gateway_record::GatewayRead;
use crate::names::HealthStatus;
use crate::pages::Part;
use crate::request::request;
use crate::rules::{capped, flag, raw};
use crate::sessions::{HistoryEntry, Session};

/// A page of gateways: the configured primary first, then by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayPage {
    /// The page.
    pub items: Vec<GatewayRead>,
    /// Which part it is.
    #[serde(flatten)]
    pub part: Part,
}

/// It is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// Always true.
    pub ok: bool,
}

/// Whether a gateway can be worked with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayStatus {
    /// Whether it is connected and authenticated.
    pub connected: bool,
    /// Which gateway, without any token.
    pub gateway_url: String,
    /// Its UUID, where it is registered.
    pub gateway_id: Option<String>,
    /// Of a dial `online` or `offline`.
    #[schema(value_type = HealthStatus)]
    pub status: String,
    /// Its release, where known.
    pub version: Option<String>,
    /// Sessions, where known.
    pub sessions_count: Option<usize>,
    /// The newest 50 of them, as in the list of sessions; of a dial in the gateway's own form.
    #[schema(value_type = Option<Vec<Object>>)]
    pub sessions: Option<Vec<Value>>,
    /// The session of the main agent, where there is one.
    #[schema(value_type = Option<SessionRead>)]
    pub main_session: Option<Value>,
    /// Why not, in one sentence.
    pub error: Option<String>,
    /// Stable code of that.
    pub code: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

/// What a gateway offers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayCommands {
    /// The gateway's UUID.
    pub gateway_id: String,
    /// The protocol that was agreed on.
    pub protocol_version: Option<u32>,
    /// The gateway's release, where known.
    pub version: Option<String>,
    /// Its commands, as it describes them.
    #[schema(value_type = Vec<Object>)]
    pub commands: Vec<Value>,
}

/// Only the document's: `S` with other forms of these fields.
fn with_fields<S: PartialSchema>(about: &str, fields: &[(&str, SchemaType, &str)]) -> RefOr<Schema> {
    let mut schema = S::schema();
    if let RefOr::T(Schema::Object(object)) = &mut schema {
        object.description = Some(about.to_owned());
        for (name, kind, text) in fields {
            let field = ObjectBuilder::new().schema_type(kind.clone()).description(Some(*text));
            object.properties.insert((*name).to_owned(), field.into());
        }
    }
    schema
}

fn text_or_null() -> SchemaType {
    SchemaType::from_iter([Type::String, Type::Null])
}

/// A session as in `/api/sessions`, in the terms of this API.
pub enum SessionRead {}

impl PartialSchema for SessionRead {
    fn schema() -> RefOr<Schema> {
        let fields = [
            ("gateway_id", Type::String.into(), "The UUID of the gateway that holds it"),
            ("updatedAt", text_or_null(), "When it last changed, RFC 3339"),
            ("as_of", text_or_null(), "When its gateway last told of it, RFC 3339"),
        ];
        with_fields::<Session>("A session. What its gateway doesn't tell is null.", &fields)
    }
}

impl ToSchema for SessionRead {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Session::schemas(schemas);
    }
}

/// Something that was said, as in `/api/sessions/{key}/history`, in the terms of this API.
pub enum HistoryEntryRead {}

impl PartialSchema for HistoryEntryRead {
    fn schema() -> RefOr<Schema> {
        with_fields::<HistoryEntry>("Something that was said.", &[("timestamp", text_or_null(), "When, RFC 3339")])
    }
}

impl ToSchema for HistoryEntryRead {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        HistoryEntry::schemas(schemas);
    }
}

/// A page of sessions, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrganizationSessions {
    /// The page.
    #[schema(value_type = Vec<SessionRead>)]
    pub sessions: Vec<Value>,
    /// The session of the gateway's main agent, where one gateway was asked for and has one.
    #[schema(value_type = Option<SessionRead>)]
    pub main_session: Option<Value>,
    /// Which part it is.
    #[serde(flatten)]
    pub part: Part,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrganizationSession {
    /// As in the list.
    #[schema(value_type = SessionRead)]
    pub session: Value,
}

/// What was said in a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrganizationHistory {
    /// The newest entries, oldest first; `timestamp` in RFC 3339.
    #[schema(value_type = Vec<HistoryEntryRead>)]
    pub history: Vec<Value>,
}

/// The gateway took the message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrganizationMessageTaken {
    /// Always true.
    pub ok: bool,
    /// The run that the message starts, where the gateway says.
    pub run_id: Option<String>,
    /// What the gateway knows the message by: the same again is not said twice.
    pub idempotency_key: String,
}

/// What a sync did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TemplatesSyncAnswer {
    /// The gateway's UUID.
    #[schema(example = "55cc268a-4b45-400f-accf-201e025232ac")]
    pub gateway_id: String,
    /// As asked for.
    pub include_main: bool,
    /// As asked for.
    pub reset_sessions: bool,
    /// As asked for.
    pub overwrite: bool,
    /// Agents besides the main one whose files are as the templates say, or were left alone as somebody else's.
    pub agents_updated: usize,
    /// Agents that were left alone: the gateway takes none of their files or does not have them, or it is the main agent
    /// and was not asked for.
    pub agents_skipped: usize,
    /// The same of the main agent as `agents_updated`.
    pub main_updated: bool,
    /// Whether the main agent was made just now.
    pub main_created: bool,
    /// The main agent: the id of its record here, as in `/api/agents/{id}`.
    #[schema(example = "7")]
    pub gateway_agent_id: Option<String>,
    /// Main sessions that were begun anew.
    pub sessions_reset: usize,
    /// Whether our device token on this gateway was rotated.
    pub tokens_rotated: bool,
    /// The files of all agents.
    pub files: TemplatesSyncFiles,
    /// Agents that were not brought in line.
    pub errors: Vec<TemplatesSyncError>,
}

/// How many files, by what became of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TemplatesSyncFiles {
    /// Written.
    pub written: usize,
    /// Right already.
    pub unchanged: usize,
    /// Written or changed by somebody else, and so left alone.
    pub kept: usize,
    /// Not taken by this release.
    pub skipped: usize,
}

/// One agent that was not brought in line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TemplatesSyncError {
    /// Its id on the gateway.
    #[schema(example = "researcher")]
    pub agent_name: String,
    /// One sentence.
    pub message: String,
}

request! {
    /// What a sync is to do; the body goes before the query.
    TemplatesSyncBody {
        /// Also the gateway's main agent, which is made where there is none; true.
        include_main: Option<bool> = flag();
        /// Also files that somebody else has written or changed; false.
        overwrite: Option<bool> = flag();
        /// Begin each agent's main session anew, which ends what runs in it; false.
        reset_sessions: Option<bool> = flag();
        /// Rotate our device token on the gateway first; false.
        rotate_tokens: Option<bool> = flag();
    }
    /// Which gateway is meant.
    GatewayQuery {
        /// The gateway's UUID; with the key of one session needed where several gateways hold one of this key
        gateway_id: Option<String> = raw();
    }
    /// How much of a session's history is wanted.
    HistoryLimitQuery {
        /// The newest so many, 1 to 200 (more is capped); 50 by default
        limit: Option<usize> = capped(200);
    }
    /// What is to be dialled instead of a registered gateway.
    DialQuery {
        /// ws or wss URL to dial instead, without a token
        gateway_url: Option<String> = raw();
        /// With gateway_url: take any certificate
        gateway_allow_insecure_tls: Option<bool> = flag();
        /// With gateway_url: control-UI mode
        gateway_disable_device_pairing: Option<bool> = flag();
    }
}
