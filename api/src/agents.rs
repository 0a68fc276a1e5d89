//! Agents, the tools that connect as one, and the tokens that they use.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::names::{AgentSource, AgentState, EndReason};
use crate::pages::Part;
use crate::request::{Fields, Rule, request};
use crate::rules::{
    action, check_text, clearable, id, integer, nested, number, object, over, rule, text, text_or_nothing,
    whole_number, word,
};

/// One page of agents, by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentList {
    /// The page.
    pub agents: Vec<Agent>,
    /// Which part it is.
    #[serde(flatten)]
    pub part: Part,
    /// Which page this is, from 1.
    pub page: usize,
}

/// One agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentAnswer {
    /// The agent.
    pub agent: Agent,
    /// Worth knowing: for instance that its preferred gateway is not registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Agent {
    /// Never used again after a delete.
    pub id: i64,
    /// Unique.
    #[schema(example = "researcher")]
    pub name: String,
    /// What it is for.
    #[schema(example = "agent")]
    pub role: String,
    /// `offline`, `online`, `idle`, `busy` or `error`, as last heard.
    #[schema(value_type = AgentState, example = "online")]
    pub status: String,
    /// The gateway that it belongs to.
    pub gateway_id: Option<i64>,
    /// Who made it known: `manual`, `gateway`, `cli` or `sync`.
    #[schema(value_type = AgentSource, example = "sync")]
    pub source: String,
    /// Its configuration: what an operator set, and what its gateway tells of it.
    #[schema(value_type = AgentConfig)]
    pub config: Value,
    /// Whether it is the main agent of its gateway.
    pub is_gateway_main: bool,
    /// The board that it works for: always null, since this daemon has no boards.
    #[serde(default)]
    pub board_id: Option<i64>,
    /// Unix seconds of the last sign of life.
    pub last_seen: Option<i64>,
    /// What it did last, in its own words.
    pub last_activity: Option<String>,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds.
    pub updated_at: i64,
}

/// Only the document's: the configuration is stored and shown as it was given.
enum AgentConfig {}

impl PartialSchema for AgentConfig {
    fn schema() -> RefOr<Schema> {
        let open = || {
            ObjectBuilder::new()
                .schema_type(Type::Object)
                .additional_properties(Some(AdditionalProperties::FreeForm(true)))
        };
        let gateway = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Integer, Type::Null]))
            .description(Some("The id or the name of the gateway that its work goes to first"));
        let ours = open().property("preferred_gateway", gateway);
        let ours = ours
            .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
            .description(Some("What the daemon reads"));
        open()
            .property("gateway_config", ours)
            .description(Some("An agent's configuration; other fields are kept as they are"))
            .into()
    }
}

impl ToSchema for AgentConfig {}

/// The agent is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentDeleted {
    /// Always true; a failure has the error shape.
    pub success: bool,
    /// Always true.
    pub deleted: bool,
}

/// The agent was heard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatAnswer {
    /// Always `HEARTBEAT_OK`.
    #[schema(example = "HEARTBEAT_OK")]
    pub status: String,
    /// The agent's name.
    pub agent: String,
    /// Unix seconds.
    pub checked_at: i64,
    /// Whether the tokens are stored; false where none were told, or the store could not take them.
    pub token_recorded: bool,
    /// The connection that was kept alive, if the agent has one.
    pub connection_id: Option<String>,
    /// Whether the connection had been given up for silence and is open again.
    pub revived: bool,
}

/// What a sync did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SyncAnswer {
    /// Agents of the list that belong to the gateway now: created, updated and unchanged.
    pub synced: usize,
    /// Of these, unknown before.
    pub created: usize,
    /// Of these, changed.
    pub updated: usize,
    /// Agents of the list that were left alone: another gateway's or a CLI tool's agent has the name, or it is unusable.
    pub skipped: usize,
    /// The gateway that was read.
    pub gateway_id: i64,
}

/// A tool that is connected now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConnectAnswer {
    /// What the tool names its connection by, in heartbeats and when it leaves.
    #[schema(example = "conn-0123456789abcdef0123456789abcdef")]
    pub connection_id: String,
    /// The agent that it works as.
    pub agent_id: i64,
    /// That agent's name.
    pub agent_name: String,
    /// Always `connected`.
    #[schema(example = "connected")]
    pub status: String,
    /// Where events are followed.
    #[schema(example = "/api/events")]
    pub sse_url: String,
    /// Where heartbeats go.
    #[schema(example = "/api/agents/7/heartbeat")]
    pub heartbeat_url: String,
    /// Where token usage may be reported besides.
    #[schema(example = "/api/tokens")]
    pub token_report_url: String,
    /// Seconds without a heartbeat after which the tool counts as gone.
    pub heartbeat_timeout_s: u64,
}

/// Direct connections, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConnectionList {
    /// All of them, or the part that was asked for.
    pub connections: Vec<Connection>,
    /// Which part it is.
    #[serde(flatten)]
    pub part: Part,
}

/// A connection that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Disconnected {
    /// Always `disconnected`.
    #[schema(example = "disconnected")]
    pub status: String,
    /// Which.
    pub connection_id: String,
}

/// A direct connection of a CLI tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Connection {
    /// Never used again.
    pub id: i64,
    /// The agent that the tool works as.
    pub agent_id: i64,
    /// Such as `claude-code` or `codex`.
    #[schema(example = "codex")]
    pub tool_name: String,
    /// Its version.
    pub tool_version: Option<String>,
    /// What the tool names its connection by.
    pub connection_id: String,
    /// `connected` or `disconnected`.
    #[schema(example = "connected")]
    pub status: String,
    /// Unix seconds of the last heartbeat, at first of the connection itself.
    pub last_heartbeat: Option<i64>,
    /// After so many seconds without a heartbeat it is disconnected.
    pub heartbeat_timeout_s: u64,
    /// What the tool told of itself: a JSON object, as text.
    pub metadata: Option<String>,
    /// Unix seconds.
    pub created_at: i64,
    /// Of its agent, now.
    pub agent_name: String,
    /// Of its agent, now.
    #[schema(value_type = AgentState)]
    pub agent_status: String,
    /// Of its agent, now.
    pub agent_role: String,
    /// Unix seconds; none while it is connected.
    pub disconnected_at: Option<i64>,
    /// `closed`, `replaced` or `silent`; none while it is connected.
    #[schema(value_type = Option<EndReason>)]
    pub end_reason: Option<String>,
}

/// A stored report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenReport {
    /// Unix milliseconds.
    pub at_ms: i64,
    /// The agent, by name.
    pub agent: String,
    /// The model.
    pub model: String,
    /// Tokens read.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// Both together.
    pub total_tokens: i64,
    /// In US dollars, where it was reported.
    pub cost: Option<f64>,
    /// The session, where it was reported.
    pub session_key: Option<String>,
    /// How the report came: `heartbeat` or `api`.
    #[schema(example = "api")]
    pub source: String,
}

/// A report that was taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokenAnswer {
    /// Always true.
    pub success: bool,
    /// As stored.
    pub record: TokenReport,
}

/// With `action=list`: reports. With `action=agent-costs`: sums.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokensAnswer {
    /// Reports, newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Vec<TokenReport>>,
    /// Sums by the agent's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents: Option<BTreeMap<String, AgentCosts>>,
    /// The time that is looked at; none for all that is kept.
    pub timeframe: Option<String>,
    /// With the list: how many reports there are of that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<usize>,
    /// With the list: largest size of this part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// With the list: how many come before this part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<usize>,
}

/// What one agent used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentCosts {
    /// The sums.
    pub stats: CostStats,
}

/// Sums.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CostStats {
    /// Both kinds together.
    pub total_tokens: i64,
    /// Tokens read.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// In US dollars, of the reports that named a cost.
    pub total_cost: f64,
    /// Reports.
    pub request_count: i64,
}

/// What an agent may be doing.
pub const AGENT_STATUSES: [&str; 5] = ["offline", "online", "idle", "busy", "error"];
/// Most tokens in one report.
const MAX_TOKENS: i64 = 1_000_000_000_000;

request! {
    /// A new agent.
    NewAgentBody {
        /// Unique; 1 to 200 characters, not digits alone.
        name: String = agent_name() => "researcher";
        /// What it is for; `agent` by default.
        role: Option<String> = text_or_nothing(200);
        /// `offline` (default), `online`, `idle`, `busy` or `error`.
        status: Option<String> = word(&AGENT_STATUSES);
        /// The gateway that it belongs to.
        gateway_id: Option<i64> = id();
        /// At most 64 KiB. `gateway_config.preferred_gateway` is the id or name of the gateway that its work goes to first.
        /// Everybody with a key can read it: no secrets.
        config: Option<Map<String, Value>> = agent_config();
    }
    /// What can be changed of an agent; what is left out stays as it is.
    AgentFields {
        /// New name.
        name: Option<String> = agent_name();
        /// New role.
        role: Option<String> = text(1..=200);
        /// New status, until it is heard otherwise.
        status: Option<String> = word(&AGENT_STATUSES);
        /// New gateway; null for none.
        gateway_id: Option<Option<i64>> = clearable(id());
        /// The whole configuration anew.
        config: Option<Map<String, Value>> = agent_config();
        /// What it did last; null for nothing.
        last_activity: Option<Option<String>> = clearable(text(0..=1000));
    }
    /// Which agents are wanted.
    ListAgentsQuery {
        /// Only with this status: offline, online, idle, busy or error
        status: Option<String> = word(&AGENT_STATUSES);
        /// Only with exactly this role
        role: Option<String> = text(1..=200);
        /// Only of this gateway
        gateway_id: Option<i64> = id();
        /// Only with this text in name or role; ASCII letters match in either case
        search: Option<String> = text(1..=200);
    }
    /// Which gateway to read.
    SyncBody {
        /// The gateway; else the acting primary.
        gateway_id: Option<i64> = id();
    }
    /// A heartbeat; everything in it may be left out.
    HeartbeatBody {
        /// The connection of `POST /api/connect`; else the one that the agent has open, if any.
        connection_id: Option<String> = text(1..=200);
        /// What the agent is doing: `online`, `idle`, `busy`, `error` or `offline`. Left out, an offline agent is online.
        status: Option<String> = word(&AGENT_STATUSES);
        /// Tokens used since the last report.
        tokens: Option<Tokens> = nested::<Tokens>();
        /// The same in other words; `tokens` wins.
        token_usage: Option<TokenUsageWords> = nested::<TokenUsageWords>();
    }
    /// Tokens used.
    Tokens {
        /// Tokens read.
        input: Option<i64> = tokens(&["output"]) => 1500;
        /// Tokens written.
        output: Option<i64> = integer(0..=MAX_TOKENS) => 800;
        /// The model.
        model: String = text(1..=200) => "claude-3-5-sonnet-20241022";
    }
    /// Tokens used.
    TokenUsageWords {
        /// The model.
        model: String = text(1..=200);
        /// Tokens read.
        input_tokens "inputTokens": Option<i64> = tokens(&["outputTokens"]);
        /// Tokens written.
        output_tokens "outputTokens": Option<i64> = integer(0..=MAX_TOKENS);
    }
    /// A tool that connects.
    ConnectBody {
        /// The agent that it works as; made where it is unknown. Not digits alone.
        agent_name: String = agent_name() => "codex-session-01";
        /// Such as `claude-code` or `codex`.
        tool_name: String = text(1..=200) => "codex";
        /// Its version.
        tool_version: Option<String> = text_or_nothing(200) => "2.1.0";
        /// The agent's role; changes only an agent that a tool made known.
        agent_role: Option<String> = text_or_nothing(200);
        /// What the tool tells of itself, at most 16 KiB. `heartbeat_interval_s` is how often it reports in: where one and a
        /// half of it is more than the daemon's timeout, that counts. Everybody with a key can read it: no secrets.
        metadata: Option<Map<String, Value>> = object(16 * 1024);
    }
    /// A connection to end.
    DisconnectBody {
        /// Which.
        connection_id: Option<String> = text(1..=200) => "conn-0123456789abcdef0123456789abcdef";
    }
    /// Which connection to end.
    DisconnectQuery {
        /// Instead of a body
        connection_id: Option<String> = text(1..=200);
    }
    /// Which connections are wanted.
    ListConnectionsQuery {
        /// connected: only those that are open; all (default)
        status: Option<String> = word(&["connected", "all"]);
    }
    /// A report of token usage. Tools write its fields in either spelling.
    TokenBody {
        /// The agent's name (`agent_name` works too). May be left out where the session's key names the agent.
        agent: Option<String> = spelled(&["agent", "agent_name", "agentName"], text(1..=200));
        /// The model.
        model: String = text(1..=200);
        /// Tokens read (`input_tokens` works too).
        input_tokens "inputTokens": Option<i64> =
            spelled(&["inputTokens", "input_tokens"], tokens(&["outputTokens", "output_tokens"]));
        /// Tokens written (`output_tokens` works too).
        output_tokens "outputTokens": Option<i64> = spelled(&["outputTokens", "output_tokens"], integer(0..=MAX_TOKENS));
        /// In US dollars.
        cost: Option<f64> = number(0.0..=1e9, "must be a number of US dollars from 0 to 1000000000");
        /// The session's key (`sessionId` works too).
        session_key "sessionKey": Option<String> = spelled(&["sessionKey", "sessionId", "session_key"], text(1..=512));
    }
    /// Which reports are wanted.
    TokensQuery {
        /// list (default) or agent-costs
        action: Option<String> = action(&["list", "agent-costs"], "Unknown action: it must be list or agent-costs");
        /// hour, day, week, month or all; by default all for list and day for agent-costs. Reports are kept for 90 days
        timeframe: Option<String> = word(&["hour", "day", "week", "month", "all"]);
    }
}

/// An agent's name as somebody wants to give it: none that would be taken for an id.
fn agent_name() -> impl Rule<Out = String> {
    over(text(1..=200), |text, fields, name| {
        let text = text.read(fields, name)?;
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            fields.wrong(name, "must not be digits alone: it would be taken for an id");
        }
        Some(text)
    })
}

fn agent_config() -> impl Rule<Out = Map<String, Value>> {
    rule(read_config, |schema| {
        if let RefOr::T(Schema::Object(form)) = AgentConfig::schema() {
            schema.properties = form.properties;
            schema.additional_properties = form.additional_properties;
        }
    })
}

fn read_config(fields: &mut Fields<'_>, name: &str) -> Option<Map<String, Value>> {
    let config = object(64 * 1024).read(fields, name)?;
    match config.get("gateway_config").filter(|value| !value.is_null()).map(Value::as_object) {
        Some(None) => fields.wrong("config.gateway_config", "must be an object"),
        // The form is checked here; whether there is such a gateway is only worth a warning.
        Some(Some(ours)) => match ours.get("preferred_gateway") {
            None | Some(Value::Null) => {}
            Some(value) if whole_number(value).is_some_and(|id| id > 0) => {}
            Some(Value::String(name)) if check_text(name, 1..=200).is_ok() => {}
            Some(_) => {
                fields.wrong("config.gateway_config.preferred_gateway", "must be the id or the name of a gateway");
            }
        },
        None => {}
    }
    Some(config)
}

/// A field under the first of these names that is there.
fn spelled<R: Rule>(names: &'static [&'static str], rule: R) -> impl Rule<Out = R::Out> {
    over(rule, move |rule, fields, name| {
        let there = names.iter().find(|name| fields.value(name).is_some());
        rule.read(fields, there.copied().unwrap_or(name))
    })
}

/// One of two counts of tokens, of which one must be there: the other is under one of these names.
fn tokens(others: &'static [&'static str]) -> impl Rule<Out = i64> {
    over(integer(0..=MAX_TOKENS), move |count, fields, name| {
        if fields.value(name).is_none() && !others.iter().any(|other| fields.value(other).is_some()) {
            let other = others.first().copied().unwrap_or_default();
            fields.wrong(name, format_args!("and {other} are missing: say at least one"));
        }
        count.read(fields, name)
    })
}
