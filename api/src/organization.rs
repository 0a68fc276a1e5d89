//! The organization API: the same gateways by UUID, with times in RFC 3339.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use gatewarden_protocol::Secret;

use crate::gateways::{new_token, token};
use crate::request::{Rule, request};
use crate::rules::{as_text, by, capped, flag, kind_of, long, raw, text};

/// A gateway. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayRead {
    /// A UUID; the same as `uuid` in `/api/gateways`.
    #[schema(example = "55cc268a-4b45-400f-accf-201e025232ac")]
    pub id: String,
    /// A UUID, the same for all gateways of this installation.
    pub organization_id: String,
    /// Unique.
    #[schema(example = "Production Gateway")]
    pub name: String,
    /// `ws://` or `wss://`, as given, without a token.
    #[schema(example = "ws://gateway-host:18789")]
    pub url: String,
    /// Where the gateway's host keeps the workspaces of agents; empty where the gateway was registered without one.
    #[schema(example = "/home/ubuntu/.openclaw/workspaces")]
    pub workspace_root: String,
    /// The main agent, by its id on the gateway; null where none was provisioned.
    #[schema(example = "main")]
    pub gateway_agent_id: Option<String>,
    /// Whether any TLS certificate is taken.
    pub allow_insecure_tls: bool,
    /// Control-UI mode without a device.
    pub disable_device_pairing: bool,
    /// Whether a token is set. The token itself is never shown.
    pub token_set: bool,
    /// `online`, `degraded`, `timeout`, `offline` or `unknown`.
    #[schema(example = "online")]
    pub status: String,
    /// The gateway's release, where known.
    pub version: Option<String>,
    /// When it was registered.
    #[schema(example = "2026-03-05T10:30:00Z")]
    pub created_at: String,
    /// When what an operator sets was last changed.
    #[schema(example = "2026-03-05T10:30:00Z")]
    pub updated_at: String,
    /// Worth knowing: the same address is registered twice, or the main agent could not be refreshed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// A page of gateways: the configured primary first, then by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayPage {
    /// The page.
    pub items: Vec<GatewayRead>,
    /// How many there are.
    pub total: usize,
    /// Largest size of the page.
    pub limit: usize,
    /// How many come before the page.
    pub offset: usize,
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
    /// `online`, `degraded`, `timeout`, `offline` or `unknown`; of a dial `online` or `offline`.
    pub status: String,
    /// Its release, where known.
    pub version: Option<String>,
    /// Sessions, where known.
    pub sessions_count: Option<usize>,
    /// The newest 50 of them.
    #[schema(value_type = Option<Vec<Object>>)]
    pub sessions: Option<Vec<Value>>,
    /// The session of the main agent, where there is one.
    #[schema(value_type = Option<Object>)]
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

/// A page of sessions, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrganizationSessions {
    /// As in `/api/sessions`, but with the gateway's UUID as `gateway_id` and with RFC 3339 times.
    #[schema(value_type = Vec<Object>)]
    pub sessions: Vec<Value>,
    /// The session of the gateway's main agent, where one gateway was asked for and has one.
    #[schema(value_type = Option<Object>)]
    pub main_session: Option<Value>,
    /// How many there are.
    pub total: usize,
    /// Largest size of the page.
    pub limit: usize,
    /// How many come before the page.
    pub offset: usize,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrganizationSession {
    /// As in the list.
    #[schema(value_type = Object)]
    pub session: Value,
}

/// What was said in a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrganizationHistory {
    /// The newest entries, oldest first; `timestamp` in RFC 3339.
    #[schema(value_type = Vec<Object>)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
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
    /// The main agent by its id on the gateway.
    #[schema(example = "main")]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
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
    /// A new gateway.
    GatewayCreate {
        /// Unique; 1 to 200 characters.
        name: String = text(1..=200) => "Production Gateway";
        /// `ws://` or `wss://` with a host. Without a port: 18789, and 443 for wss. Link-local and cloud metadata addresses are
        /// refused.
        url: String = long(2048, url()) => "ws://gateway-host:18789";
        /// An absolute path on the gateway's host.
        workspace_root: String = long(1000, workspace_root()) => "/home/ubuntu/.openclaw/workspaces";
        /// Sealed at rest, never shown.
        token: Option<Option<Secret>> = new_token();
        /// Take any TLS certificate (development only); false by default.
        allow_insecure_tls: Option<bool> = flag();
        /// Control-UI mode without a device; the gateway must allow it. False by default.
        disable_device_pairing: Option<bool> = flag();
    }
    /// What can be changed of a gateway; what is left out stays as it is.
    GatewayUpdate {
        /// New name.
        name: Option<String> = text(1..=200);
        /// New URL.
        url: Option<String> = long(2048, url());
        /// New root of the workspaces.
        workspace_root: Option<String> = long(1000, workspace_root());
        /// New token; empty or null clears it.
        token: Option<Option<Secret>> = token();
        /// True: take any certificate. False: those of the system's authorities, unless others were set.
        allow_insecure_tls: Option<bool> = flag();
        /// New pairing mode.
        disable_device_pairing: Option<bool> = flag();
    }
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

/// Whether a gateway can be at that address is for the daemon to say.
fn url() -> impl Rule<Out = String> {
    by(|fields, name| {
        let value = fields.value(name)?;
        let text = value.as_str();
        if text.is_none() {
            fields.wrong(name, format_args!("must be a text: a ws or wss URL, not {}", kind_of(value)));
        }
        text.map(str::to_owned)
    })
}

/// Whether it is an absolute path is for the daemon to say.
fn workspace_root() -> impl Rule<Out = String> {
    by(|fields, name| {
        fields.value(name)?;
        as_text(fields, name).map(|text| text.trim().to_owned())
    })
}
