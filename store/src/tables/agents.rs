//! Agents: made by hand, registered with a gateway, connected directly, synced from a gateway's configuration.
//!
//! What a gateway says of its agents (a sync, its main agent) meets what is stored by the agent's name:
//!
//! | the stored agent of that name | what happens |
//! | --- | --- |
//! | there is none | created |
//! | of this gateway | updated where role or configuration differ |
//! | of no gateway, not of a CLI tool | joins this gateway, and is updated |
//! | of another gateway, or a CLI tool's | left alone |
//!
//! The configuration becomes the gateway's, except that what an operator has decided here stays: `gateway_config` always,
//! and in a sync, of an agent that was made by hand, every key that the gateway's doesn't name. Agents that a list lacks stay
//! as they are: a gateway that lost its configuration must not empty ours.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use diesel::sql_types::Text;
use gatewarden_core::error::{ErrorCode, Failure};
use gatewarden_core::gateway_record::GatewayRecord;
use gatewarden_core::ids::GatewayId;
use serde::Serialize;
use serde_json::{Map, Value};

use super::columns::{GatewayKey, Json, stored_enum};
use super::json_text;
use crate::connection::{Backend, on_either};
use crate::database::is_taken;
use crate::error::StoreError;
use crate::handle::{Db, StoreHandle, whole};
use crate::schema::{agents, direct_connections, gateways};

/// Agents in one page.
const MAX_LISTED: usize = 1_000;
/// At most this many are registered with a gateway (`api.md`).
const MAX_REGISTERED: usize = 50;
/// Agents of one list that are looked at.
const MAX_SYNCED: usize = 1_000;
/// Longest name in characters, as in the API.
const LONGEST_NAME: usize = 200;
const DEFAULT_ROLE: &str = "agent";
/// What a main agent is for, unless it says otherwise.
const MAIN_ROLE: &str = "gateway main";
/// The part of a configuration that routing reads and operators set here.
const OURS: &str = "gateway_config";

diesel::define_sql_function! {
    /// Both databases have it; SQLite's knows ASCII only.
    fn lower(text: Text) -> Text;
}

stored_enum! {
    /// What an agent is doing, as last heard.
    pub enum AgentStatus {
        Offline = "offline",
        Online = "online",
        /// There, without work.
        Idle = "idle",
        /// At work.
        Busy = "busy",
        /// In trouble, by its own account or its gateway's.
        Error = "error",
    } else Offline
}

stored_enum! {
    /// Who made an agent known.
    pub enum AgentSource {
        /// A person or a script, through the API.
        Manual = "manual",
        /// Registered together with its gateway.
        Gateway = "gateway",
        /// A CLI tool that connected directly.
        Cli = "cli",
        /// The configuration of its gateway.
        Sync = "sync",
    } else Manual
}

/// A stored agent.
#[derive(Debug, Clone, PartialEq, Serialize, Queryable, Selectable)]
#[diesel(table_name = agents)]
pub struct AgentRecord {
    /// The database's key; never used again after a delete.
    pub id: i64,
    /// Unique.
    pub name: String,
    /// What it is for, in its owner's words.
    pub role: String,
    pub status: AgentStatus,
    /// The gateway that it belongs to. The gateway that its work goes to may be another one: see
    /// [`AgentRecord::preferred_gateway`].
    #[diesel(deserialize_as = GatewayKey)]
    pub gateway_id: Option<GatewayId>,
    /// Who made it known; never changes.
    pub source: AgentSource,
    /// Always a JSON object.
    #[diesel(deserialize_as = Json)]
    pub config: Value,
    /// Whether it is the main agent of its gateway (document 003).
    pub is_gateway_main: bool,
    /// Unix seconds of the last sign of life.
    pub last_seen: Option<i64>,
    /// What it did last, in its own words.
    pub last_activity: Option<String>,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds of the last change but of `status`, `last_seen` and `last_activity`, which are observations.
    pub updated_at: i64,
}

impl AgentRecord {
    /// `gateway_config.preferred_gateway` of the configuration: a gateway's id (number or text) or name, as text.
    pub fn preferred_gateway(&self) -> Option<String> {
        match self.config.get(OURS)?.get("preferred_gateway")? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// Whether it is known from its gateway.
    pub fn is_told_of(&self) -> bool {
        matches!(self.source, AgentSource::Gateway | AgentSource::Sync)
    }

    /// Its gateway, and its id there where that is not its name here: another agent had the name.
    pub fn other_name(&self) -> Option<(GatewayId, &str)> {
        let id = self.config.get("id")?.as_str().filter(|id| self.is_told_of() && *id != self.name)?;
        Some((self.gateway_id?, id))
    }

    /// What its gateway may call it: its name here, its id there, the name that is shown there.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let there = ["id", "name"].into_iter().filter_map(|field| self.config.get(field)?.as_str());
        std::iter::once(self.name.as_str()).chain(there)
    }

    /// Whether a gateway may speak for it.
    fn may_belong_to(&self, gateway: GatewayId) -> bool {
        match self.gateway_id {
            Some(owner) => owner == gateway,
            None => self.source != AgentSource::Cli,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct NewAgent {
    pub name: String,
    /// `None` for the role `agent`.
    pub role: Option<String>,
    pub status: AgentStatus,
    pub gateway_id: Option<GatewayId>,
    pub source: AgentSource,
    /// Anything but a JSON object is stored as an empty object.
    pub config: Value,
    pub is_gateway_main: bool,
}

impl NewAgent {
    /// An agent that a person or a script makes known: offline, of no gateway, with no configuration.
    pub fn manual(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            role: None,
            status: AgentStatus::Offline,
            gateway_id: None,
            source: AgentSource::Manual,
            config: Value::Object(Map::new()),
            is_gateway_main: false,
        }
    }
}

/// A change of an agent: `None` leaves a field as it is, `Some(None)` clears it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AgentChange {
    pub name: Option<String>,
    pub role: Option<String>,
    pub status: Option<AgentStatus>,
    /// New gateway, or none.
    pub gateway_id: Option<Option<GatewayId>>,
    /// New configuration (the whole object).
    pub config: Option<Value>,
    /// Main agent of its gateway or not.
    pub is_gateway_main: Option<bool>,
    /// Unix seconds; an earlier one than the stored is stored too.
    pub last_seen: Option<i64>,
    /// What it did last, or nothing.
    pub last_activity: Option<Option<String>>,
}

impl AgentChange {
    /// Whether nothing would change: a request with no known field.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn is_more_than_an_observation(&self) -> bool {
        self.name.is_some()
            || self.role.is_some()
            || self.gateway_id.is_some()
            || self.config.is_some()
            || self.is_gateway_main.is_some()
    }
}

/// Which agents to list; all conditions hold together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AgentFilter {
    pub status: Option<AgentStatus>,
    /// With exactly this role.
    pub role: Option<String>,
    pub gateway_id: Option<GatewayId>,
    /// With this text in the name or the role; upper and lower case of ASCII letters are the same.
    pub search: Option<String>,
}

/// A sign of life of an agent, as heard from its gateway or itself.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentSeen {
    pub name: String,
    /// Only if it belongs to this gateway, so that a gateway speaks for its own agents alone; `None` for any.
    pub gateway_id: Option<GatewayId>,
    /// What it is doing, if that was said.
    pub status: Option<AgentStatus>,
    /// Unix seconds; an earlier one than the stored changes nothing.
    pub last_seen: Option<i64>,
    /// What it did last, if that was said.
    pub last_activity: Option<String>,
}

/// One agent of a gateway's own configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncedAgent {
    /// Its name: what a stored agent is matched by.
    pub name: String,
    /// Its role, if the configuration has one.
    pub role: Option<String>,
    /// Its configuration there, a JSON object.
    pub config: Value,
}

/// What a sync did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SyncStats {
    /// Agents of the list that belong to the gateway now: created, updated and unchanged.
    pub synced: usize,
    /// Of these, unknown before.
    pub created: usize,
    /// Of these, changed.
    pub updated: usize,
    /// Agents of the list that were left alone: another gateway's or a CLI tool's agent has the name, or the name is
    /// unusable, or the list is too long.
    pub skipped: usize,
}

/// The main agent of a gateway (document 003), as it was found or made there.
#[derive(Debug, Clone, PartialEq)]
pub struct MainAgent {
    /// Its id on the gateway, as `agents.list` says it there; 1 to 200 characters.
    pub agent_id: String,
    /// What it is for; none for `gateway main`.
    pub role: Option<String>,
    /// What is known of it there, a JSON object: becomes the stored agent's configuration, but `gateway_config` stays ours.
    pub config: Value,
}

impl StoreHandle {
    /// One page of the agents that pass the filter, by name, behind the first `offset`, and how many pass it in all. `limit` is
    /// 1 to 1,000, others are brought into that range.
    pub async fn list_agents_after(
        &self,
        filter: AgentFilter,
        offset: usize,
        limit: usize,
    ) -> Result<(Vec<AgentRecord>, usize), Failure> {
        let (offset, limit) = (whole(offset), whole(limit.clamp(1, MAX_LISTED)));
        self.read("list the agents", move |db| {
            let total: i64 = filtered(&filter).count().get_result(db.connection)?;
            let page = filtered(&filter).order(agents::name).offset(offset).limit(limit);
            let found = page.select(AgentRecord::as_select()).load(db.connection)?;
            Ok((found, usize::try_from(total).unwrap_or_default()))
        })
        .await
    }

    /// The ids of all main agents, by their gateways.
    pub async fn main_agents(&self) -> Result<HashMap<GatewayId, i64>, Failure> {
        self.read("look up the main agents", |db| {
            let main = agents::table.filter(agents::is_gateway_main.eq(true));
            let found: Vec<(Option<i64>, i64)> = main.select((agents::gateway_id, agents::id)).load(db.connection)?;
            Ok(found.into_iter().filter_map(|(gateway, agent)| Some((GatewayId(gateway?), agent))).collect())
        })
        .await
    }

    /// The agent with this id.
    pub async fn find_agent_by_id(&self, id: i64) -> Result<Option<AgentRecord>, Failure> {
        self.read("look up the agent", move |db| by_id(db, id)).await
    }

    /// The agent with exactly this name.
    pub async fn find_agent_by_name(&self, name: String) -> Result<Option<AgentRecord>, Failure> {
        self.read("look up the agent", move |db| by_name(db, &name)).await
    }

    /// Stores a new agent. `name_taken`, `gateway_not_found`.
    pub async fn create_agent(&self, new: NewAgent) -> Result<AgentRecord, Failure> {
        self.write("store the agent", move |db| {
            if let Some(gateway) = new.gateway_id {
                require_gateway(db, gateway)?;
            }
            insert(db, &new)
        })
        .await
    }

    /// Changes an agent; `None` where there is none. A change of nothing answers the record as it is. `name_taken`,
    /// `gateway_not_found`.
    pub async fn update_agent(&self, id: i64, change: AgentChange) -> Result<Option<AgentRecord>, Failure> {
        self.write("change the agent", move |db| {
            if let Some(Some(gateway)) = change.gateway_id {
                require_gateway(db, gateway)?;
            }
            update(db, id, &change)
        })
        .await
    }

    /// Deletes an agent; false where there was none.
    pub async fn delete_agent(&self, id: i64) -> Result<bool, Failure> {
        self.write("delete the agent", move |db| Ok(diesel::delete(agents::table.find(id)).execute(db.connection)? > 0))
            .await
    }

    /// Takes over a gateway's own list of agents, all or nothing: see above; at most 1,000 of the list are looked at.
    /// `gateway_not_found`.
    pub async fn sync_agents(&self, gateway: GatewayId, listed: Vec<SyncedAgent>) -> Result<SyncStats, Failure> {
        self.write("sync the agents", move |db| sync(db, gateway, &listed)).await
    }

    /// Notes signs of life, all at once; unknown agents, and those of another gateway than said, are skipped. Answers the
    /// agents that changed, as they are now.
    pub async fn observe_agents(&self, seen: Vec<AgentSeen>) -> Result<Vec<AgentRecord>, Failure> {
        if seen.is_empty() {
            return Ok(Vec::new());
        }
        self.write("note what agents do", move |db| {
            let mut changed = Vec::new();
            for sign in &seen {
                changed.extend(observe(db, sign)?);
            }
            Ok(changed)
        })
        .await
    }
}

pub(super) fn by_id(db: &mut Db<'_>, id: i64) -> Result<Option<AgentRecord>, StoreError> {
    Ok(agents::table.find(id).select(AgentRecord::as_select()).first(db.connection).optional()?)
}

fn by_name(db: &mut Db<'_>, name: &str) -> Result<Option<AgentRecord>, StoreError> {
    let named = agents::table.filter(agents::name.eq(name));
    Ok(named.select(AgentRecord::as_select()).first(db.connection).optional()?)
}

fn filtered(filter: &AgentFilter) -> agents::BoxedQuery<'_, Backend> {
    let mut query = agents::table.into_boxed();
    if let Some(status) = filter.status {
        query = query.filter(agents::status.eq(status));
    }
    if let Some(role) = &filter.role {
        query = query.filter(agents::role.eq(role));
    }
    if let Some(gateway) = filter.gateway_id {
        query = query.filter(agents::gateway_id.eq(gateway.0));
    }
    if let Some(text) = &filter.search {
        let pattern = contains_pattern(text);
        query = query.filter(
            lower(agents::name).like(pattern.clone()).escape('\\').or(lower(agents::role).like(pattern).escape('\\')),
        );
    }
    query
}

/// `LIKE` for "contains this text", whatever the text is.
fn contains_pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character.to_ascii_lowercase());
    }
    pattern.push('%');
    pattern
}

/// The database would refuse it too, but not say which gateway.
fn require_gateway(db: &mut Db<'_>, gateway: GatewayId) -> Result<(), StoreError> {
    let found: Option<i64> = gateways::table.find(gateway.0).select(gateways::id).first(db.connection).optional()?;
    found.map(drop).ok_or_else(|| Failure::gateway_not_found(gateway).into())
}

fn insert(db: &mut Db<'_>, new: &NewAgent) -> Result<AgentRecord, StoreError> {
    let now_s = db.now_s();
    let added = diesel::insert_into(agents::table).values((
        agents::name.eq(&new.name),
        agents::role.eq(new.role.as_deref().filter(|role| !role.is_empty()).unwrap_or(DEFAULT_ROLE)),
        agents::status.eq(new.status),
        agents::gateway_id.eq(new.gateway_id.map(|gateway| gateway.0)),
        agents::source.eq(new.source),
        agents::config.eq(config_text(&new.config)),
        agents::is_gateway_main.eq(new.is_gateway_main),
        agents::created_at.eq(now_s),
        agents::updated_at.eq(now_s),
    ));
    on_either!(db.connection, |inner| added.returning(AgentRecord::as_returning()).get_result(inner))
        .map_err(|error| or_taken(error, &new.name))
}

/// Changes an agent; `None` where there is none.
pub(super) fn update(db: &mut Db<'_>, id: i64, change: &AgentChange) -> Result<Option<AgentRecord>, StoreError> {
    if change.is_empty() {
        return by_id(db, id);
    }
    let changed = diesel::update(agents::table.find(id)).set((
        change.name.as_ref().map(|name| agents::name.eq(name)),
        change.role.as_ref().map(|role| agents::role.eq(role)),
        change.status.map(|status| agents::status.eq(status)),
        change.gateway_id.map(|gateway| agents::gateway_id.eq(gateway.map(|id| id.0))),
        change.config.as_ref().map(|config| agents::config.eq(config_text(config))),
        change.is_gateway_main.map(|is_main| agents::is_gateway_main.eq(is_main)),
        change.last_seen.map(|at| agents::last_seen.eq(at)),
        change.last_activity.as_ref().map(|activity| agents::last_activity.eq(activity)),
        change.is_more_than_an_observation().then(|| agents::updated_at.eq(db.now_s())),
    ));
    on_either!(db.connection, |inner| changed.returning(AgentRecord::as_returning()).get_result(inner))
        .optional()
        .map_err(|error| or_taken(error, change.name.as_deref().unwrap_or_default()))
}

/// A name that is taken is an answer; everything else stays what it is.
fn or_taken(error: diesel::result::Error, name: &str) -> StoreError {
    if !is_taken(&error, "agents.name") {
        return error.into();
    }
    Failure::new(ErrorCode::NameTaken, format!("Another agent is already named \"{name}\""))
        .with_help("Choose another name, or change the agent that has it (GET /api/agents lists them).")
        .into()
}

/// A configuration as stored: always an object.
fn config_text(config: &Value) -> String {
    if config.is_object() { json_text(config, usize::MAX) } else { "{}".to_owned() }
}

/// Notes a sign of life; answers the agent where it changed it.
fn observe(db: &mut Db<'_>, seen: &AgentSeen) -> Result<Option<AgentRecord>, StoreError> {
    let Some(stored) = by_name(db, &seen.name)? else { return Ok(None) };
    if seen.gateway_id.is_some() && seen.gateway_id != stored.gateway_id {
        return Ok(None);
    }
    let activity = seen.last_activity.as_ref().filter(|activity| stored.last_activity.as_ref() != Some(*activity));
    let change = AgentChange {
        status: seen.status.filter(|status| *status != stored.status),
        last_seen: seen.last_seen.filter(|at| stored.last_seen.is_none_or(|before| before < *at)),
        last_activity: activity.map(|activity| Some(activity.clone())),
        ..AgentChange::default()
    };
    if change.is_empty() { Ok(None) } else { update(db, stored.id, &change) }
}

/// The agent of a CLI tool that connects: made where it is unknown, else marked as online. The role of an agent that others
/// made known stays theirs. Answers whether it is new.
pub(super) fn upsert_cli(db: &mut Db<'_>, name: &str, role: Option<&str>) -> Result<(AgentRecord, bool), StoreError> {
    let role = role.filter(|role| !role.is_empty());
    let (stored, is_new) = match by_name(db, name)? {
        Some(stored) => (stored, false),
        None => {
            let new = NewAgent { source: AgentSource::Cli, role: role.map(str::to_owned), ..NewAgent::manual(name) };
            (insert(db, &new)?, true)
        }
    };
    let change = AgentChange {
        status: Some(AgentStatus::Online),
        last_seen: Some(db.now_s()),
        role: role.filter(|role| stored.source == AgentSource::Cli && *role != stored.role).map(str::to_owned),
        ..AgentChange::default()
    };
    Ok((update(db, stored.id, &change)?.unwrap_or(stored), is_new))
}

/// Registers agents of a new gateway: an unknown name becomes an agent, an agent without a gateway joins this one, an
/// agent of another gateway stays there. Answers how many are this gateway's now.
pub(super) fn register(
    db: &mut Db<'_>,
    gateway: GatewayId,
    wanted: &[(String, Option<String>)],
) -> Result<usize, StoreError> {
    let mut registered = 0;
    for (name, role) in wanted.iter().take(MAX_REGISTERED) {
        match by_name(db, name)? {
            None => {
                let new = NewAgent {
                    role: role.clone(),
                    gateway_id: Some(gateway),
                    source: AgentSource::Gateway,
                    ..NewAgent::manual(name)
                };
                insert(db, &new)?;
            }
            Some(stored) if stored.gateway_id.is_none() => {
                let joins = AgentChange { gateway_id: Some(Some(gateway)), ..AgentChange::default() };
                update(db, stored.id, &joins)?;
            }
            Some(_) => continue,
        }
        registered += 1;
    }
    Ok(registered)
}

/// Before a gateway is deleted: its main agent means nothing without it and goes, its other agents stay, without a gateway, and
/// offline but for those whose tool is connected.
pub(super) fn detach(db: &mut Db<'_>, gateway: GatewayId) -> Result<(), StoreError> {
    let of_gateway = agents::table.filter(agents::gateway_id.eq(gateway.0));
    let with_tool = direct_connections::table.filter(direct_connections::disconnected_at.is_null());
    diesel::update(of_gateway.filter(agents::id.ne_all(with_tool.select(direct_connections::agent_id))))
        .set(agents::status.eq(AgentStatus::Offline))
        .execute(db.connection)?;
    diesel::delete(of_gateway.filter(agents::is_gateway_main.eq(true))).execute(db.connection)?;
    diesel::update(of_gateway)
        .set((agents::gateway_id.eq(None::<i64>), agents::updated_at.eq(db.now_s())))
        .execute(db.connection)?;
    Ok(())
}

fn sync(db: &mut Db<'_>, gateway: GatewayId, listed: &[SyncedAgent]) -> Result<SyncStats, StoreError> {
    require_gateway(db, gateway)?;
    let mut stats = SyncStats { skipped: listed.len().saturating_sub(MAX_SYNCED), ..SyncStats::default() };
    let mut seen = HashSet::new();
    for agent in listed.iter().take(MAX_SYNCED) {
        if agent.name.trim().is_empty() || agent.name.chars().count() > LONGEST_NAME || !seen.insert(&agent.name) {
            stats.skipped += 1;
            continue;
        }
        match by_name(db, &agent.name)? {
            None => {
                let new = NewAgent {
                    role: agent.role.clone(),
                    gateway_id: Some(gateway),
                    source: AgentSource::Sync,
                    config: agent.config.clone(),
                    ..NewAgent::manual(&agent.name)
                };
                insert(db, &new)?;
                stats.created += 1;
            }
            Some(stored) if !stored.may_belong_to(gateway) => {
                stats.skipped += 1;
                continue;
            }
            Some(stored) => {
                // A gateway that names no role leaves the one that was set here.
                let role = agent.role.as_deref().filter(|role| !role.is_empty());
                let keeps_ours = stored.source == AgentSource::Manual;
                let change = difference(&stored, gateway, role, &agent.config, keeps_ours);
                if !change.is_empty() {
                    update(db, stored.id, &change)?;
                    stats.updated += 1;
                }
            }
        }
        stats.synced += 1;
    }
    Ok(stats)
}

/// Makes or refreshes the record of a gateway's main agent: at most one a gateway. An agent that may be this gateway's and has
/// the agent's name becomes the record; where the name belongs to somebody else's agent, the record is named after agent and
/// gateway.
pub(super) fn record_main(
    db: &mut Db<'_>,
    gateway: &GatewayRecord,
    main: &MainAgent,
) -> Result<AgentRecord, StoreError> {
    let short_uuid: String = gateway.uuid.chars().take(8).collect();
    let own_name = format!("{}-{short_uuid}", main.agent_id);
    let mut stored = None;
    let mut free_name = None;
    for name in [&main.agent_id, &own_name] {
        match by_name(db, name)? {
            None => free_name = free_name.or(Some(name)),
            Some(found) if found.may_belong_to(gateway.id) => {
                stored = Some(found);
                break;
            }
            Some(_) => {}
        }
    }
    // One main agent a gateway: whichever it was before.
    let others = agents::table
        .filter(agents::gateway_id.eq(gateway.id.0))
        .filter(agents::is_gateway_main.eq(true))
        .filter(agents::id.ne(stored.as_ref().map_or(0, |stored| stored.id)));
    diesel::update(others)
        .set((agents::is_gateway_main.eq(false), agents::updated_at.eq(db.now_s())))
        .execute(db.connection)?;
    let Some(stored) = stored else {
        let new = NewAgent {
            role: Some(main.role.clone().unwrap_or_else(|| MAIN_ROLE.to_owned())),
            gateway_id: Some(gateway.id),
            source: AgentSource::Gateway,
            config: main.config.clone(),
            is_gateway_main: true,
            ..NewAgent::manual(free_name.unwrap_or(&own_name))
        };
        return insert(db, &new);
    };
    let change = AgentChange {
        is_gateway_main: (!stored.is_gateway_main).then_some(true),
        ..difference(&stored, gateway.id, main.role.as_deref(), &main.config, false)
    };
    Ok(update(db, stored.id, &change)?.unwrap_or(stored))
}

/// What changes of a stored agent, where its gateway says so; `keeps_ours` keeps what the gateway's configuration doesn't name.
fn difference(
    stored: &AgentRecord,
    gateway: GatewayId,
    role: Option<&str>,
    theirs: &Value,
    keeps_ours: bool,
) -> AgentChange {
    let empty = Map::new();
    let ours = stored.config.as_object().unwrap_or(&empty);
    let mut merged = if keeps_ours { ours.clone() } else { Map::new() };
    merged.extend(theirs.as_object().unwrap_or(&empty).clone());
    if let Some(decided_here) = ours.get(OURS) {
        merged.insert(OURS.to_owned(), decided_here.clone());
    }
    let config = Value::Object(merged);
    AgentChange {
        role: role.filter(|role| *role != stored.role).map(str::to_owned),
        gateway_id: (stored.gateway_id != Some(gateway)).then_some(Some(gateway)),
        config: (config != stored.config).then_some(config),
        ..AgentChange::default()
    }
}
