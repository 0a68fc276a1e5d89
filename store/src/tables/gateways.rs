//! Gateways: the writes that keep exactly what `GatewayRecord` promises. A row is sealed where a record is open.
//!
//! A gateway that is being created through the organization API is provisional: it reserves its name, is loaded by nobody, and
//! either becomes a gateway together with its main agent or leaves nothing behind.

use std::sync::Arc;
use std::time::Duration;

use diesel::prelude::*;
use gatewarden_core::error::{ErrorCode, Failure};
use gatewarden_core::gateway_record::{
    GatewayChange, GatewayRecord, GatewaySpec, HeldDown, NewGateway, Observed, ProcessSource, Transport,
};
use gatewarden_core::ids::GatewayId;
use gatewarden_protocol::{Dialect, Secret};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::agents::{self, AgentRecord, MainAgent};
use crate::connection::{ParsedOnce, on_either};
use crate::database::is_taken;
use crate::error::StoreError;
use crate::handle::{Db, StoreHandle, span_ms};
use crate::schema::gateways;
use crate::sealing::{Place, Sealer};

/// A committed new gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Created {
    pub record: GatewayRecord,
    /// The gateway that was the configured primary until now, where this one took that place.
    pub demoted: Option<GatewayRecord>,
    /// How many agents were registered with it.
    pub agents_registered: usize,
}

/// The main agent of a gateway was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct MainRecorded {
    /// The gateway, which is visible from now on.
    pub record: GatewayRecord,
    pub agent: AgentRecord,
}

/// How a request to delete a gateway ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteOutcome {
    Deleted,
    NotFound,
    /// It is the configured primary, which can't be deleted; nothing changed.
    IsPrimary,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = gateways)]
struct Row {
    id: i64,
    uuid: String,
    name: String,
    host: String,
    port: i32,
    token: Option<String>,
    url_token: Option<String>,
    is_primary: bool,
    priority: i32,
    labels: String,
    transport: String,
    tls: String,
    disable_device_pairing: bool,
    drained: bool,
    dialect: Option<String>,
    status: Option<String>,
    last_seen: Option<i64>,
    latency: Option<i64>,
    sessions_count: i64,
    agents_count: i64,
    created_at: i64,
    updated_at: i64,
    revision: i64,
    workspace_root: Option<String>,
    gateway_agent_id: Option<String>,
    provisioning: bool,
    unit: Option<String>,
    command: Option<String>,
    password: Option<String>,
    held_until_ms: Option<i64>,
    held_for_ms: Option<i64>,
    seeded: bool,
    node: Option<String>,
}

impl Row {
    /// What doesn't open or parse is logged and left at its strictest: no token, TLS by the system's authorities. One damaged
    /// row must not keep the daemon from the other gateways.
    fn into_record(self, sealer: &Sealer) -> GatewayRecord {
        GatewayRecord {
            id: GatewayId(self.id),
            spec: GatewaySpec {
                token: self.open(sealer, "token", self.token.as_deref()),
                url_token: self.open(sealer, "url_token", self.url_token.as_deref()),
                password: self.open(sealer, "password", self.password.as_deref()),
                labels: self.parse("labels", &self.labels),
                transport: Transport::from_name(&self.transport).unwrap_or_default(),
                tls: self.parse("tls", &self.tls),
                name: self.name,
                host: self.host,
                port: u16::try_from(self.port).unwrap_or_default(),
                is_primary: self.is_primary,
                priority: self.priority,
                disable_device_pairing: self.disable_device_pairing,
                workspace_root: self.workspace_root,
                process: self.unit.map(ProcessSource::Unit).or(self.command.map(ProcessSource::Command)),
                drained: self.drained,
                node: self.node,
            },
            uuid: self.uuid,
            gateway_agent_id: self.gateway_agent_id,
            provisioning: self.provisioning,
            seeded: self.seeded,
            dialect: self.dialect.as_deref().and_then(Dialect::from_name),
            observed: Observed {
                status: self.status,
                last_seen: self.last_seen,
                latency: self.latency,
                sessions_count: self.sessions_count,
                agents_count: self.agents_count,
                held: self.held_until_ms.zip(self.held_for_ms).map(|(until_ms, length)| HeldDown {
                    until_ms,
                    length: Duration::from_millis(u64::try_from(length).unwrap_or_default()),
                }),
            },
            created_at: self.created_at,
            updated_at: self.updated_at,
            revision: self.revision,
        }
    }

    fn open(&self, sealer: &Sealer, column: &'static str, sealed: Option<&str>) -> Option<Secret> {
        match sealer.open_text(place(&self.uuid, column), sealed?) {
            Ok(plain) => Some(plain),
            Err(error) => {
                tracing::error!(
                    gateway.id = self.id, gateway.name = %self.name, column, %error,
                    "a stored secret of gateway {} does not open and is not used: set its {column} again", self.name
                );
                None
            }
        }
    }

    fn parse<T: DeserializeOwned + Default>(&self, column: &'static str, json: &str) -> T {
        serde_json::from_str(json).unwrap_or_else(|error| {
            tracing::error!(
                gateway.id = self.id, gateway.name = %self.name, column, %error,
                "stored {column} of gateway {} are malformed; the default is used", self.name
            );
            T::default()
        })
    }
}

/// The columns that a change sets, of a new gateway all; `None` leaves a column, `Some(None)` clears it.
#[derive(Insertable, AsChangeset)]
#[diesel(table_name = gateways)]
struct Columns {
    name: Option<String>,
    host: Option<String>,
    port: Option<i32>,
    token: Option<Option<String>>,
    url_token: Option<Option<String>>,
    password: Option<Option<String>>,
    is_primary: Option<bool>,
    priority: Option<i32>,
    labels: Option<String>,
    transport: Option<&'static str>,
    tls: Option<String>,
    disable_device_pairing: Option<bool>,
    workspace_root: Option<Option<String>>,
    unit: Option<Option<String>>,
    command: Option<Option<String>>,
    drained: Option<bool>,
    node: Option<Option<String>>,
    dialect: Option<&'static str>,
    status: Option<String>,
    last_seen: Option<i64>,
    latency: Option<i64>,
    sessions_count: Option<i64>,
    agents_count: Option<i64>,
    updated_at: Option<i64>,
    seeded: Option<bool>,
}

impl Columns {
    fn of(change: GatewayChange, uuid: &str, db: &Db<'_>) -> Result<Self, StoreError> {
        let is_touched = change.touches_spec();
        let sealed = |column, token: Option<Option<Secret>>| {
            token.map(|token| seal(db.sealer, place(uuid, column), token)).transpose()
        };
        let (unit, command) = match change.process {
            None => (None, None),
            Some(None) => (Some(None), Some(None)),
            Some(Some(ProcessSource::Unit(name))) => (Some(Some(name)), Some(None)),
            Some(Some(ProcessSource::Command(name))) => (Some(None), Some(Some(name))),
        };
        Ok(Self {
            name: change.name,
            host: change.host,
            port: change.port.map(i32::from),
            token: sealed("token", change.token)?,
            url_token: sealed("url_token", change.url_token)?,
            password: sealed("password", change.password)?,
            is_primary: change.is_primary,
            priority: change.priority,
            labels: change.labels.as_ref().map(json).transpose()?,
            transport: change.transport.map(Transport::as_str),
            tls: change.tls.as_ref().map(json).transpose()?,
            disable_device_pairing: change.disable_device_pairing,
            workspace_root: change.workspace_root,
            unit,
            command,
            drained: change.drained,
            node: change.node,
            dialect: change.dialect.map(Dialect::as_str),
            status: change.status,
            last_seen: change.last_seen,
            latency: change.latency,
            sessions_count: change.sessions_count,
            agents_count: change.agents_count,
            updated_at: is_touched.then(|| db.now_s()),
            seeded: is_touched.then_some(false),
        })
    }
}

impl StoreHandle {
    /// All gateways by id. A token that doesn't open (changed or moved) is left out of its record and logged as an error:
    /// that gateway is supervised without it, and all others are not affected.
    pub async fn load_gateways(&self) -> Result<Vec<GatewayRecord>, Failure> {
        self.read("load the gateways", |db| {
            let seen = gateways::table.filter(gateways::provisioning.eq(false)).order(gateways::id);
            let rows: Vec<Row> = seen.select(Row::as_select()).load(db.connection)?;
            Ok(rows.into_iter().map(|row| row.into_record(db.sealer)).collect())
        })
        .await
    }

    /// Stores a new gateway and registers its agents. As primary it takes the place of the present one in the same
    /// transaction. `name_taken`.
    pub async fn create_gateway(&self, new: impl Into<NewGateway>) -> Result<Created, Failure> {
        let new = new.into();
        self.write("store the gateway", move |db| create(db, new.clone())).await
    }

    /// Changes a gateway. Answers the records that are changed by it, the gateway's own last; none where there is no such gateway.
    /// `is_primary: true` unsets the other one in the same transaction. The revision grows by one, on the demoted gateway too. `updated_at` follows only where something that an operator sets
    /// has changed: observations and the dialect leave it. A change of nothing answers the record as it is. `name_taken`.
    pub async fn update_gateway(&self, id: GatewayId, change: GatewayChange) -> Result<Vec<GatewayRecord>, Failure> {
        self.update_gateway_from(id, change, None).await
    }

    /// The same, only while the gateway is set as the record says. `precondition_failed`.
    pub async fn update_gateway_from(
        &self,
        id: GatewayId,
        change: GatewayChange,
        from: Option<Arc<GatewayRecord>>,
    ) -> Result<Vec<GatewayRecord>, Failure> {
        self.write("change the gateway", move |db| {
            let Some(present) = find(db, id)?.map(|row| row.into_record(db.sealer)) else { return Ok(Vec::new()) };
            if from.as_ref().is_some_and(|from| from.spec != present.spec) {
                return Err(Failure::changed_since(&present.name).into());
            }
            if change.is_empty() {
                return Ok(vec![present]);
            }
            let demoted = if change.is_primary == Some(true) { demote(db, Some(id))? } else { None };
            let name = change.name.clone().unwrap_or_default();
            let columns = Columns::of(change.clone(), &present.uuid, db)?;
            let changed = diesel::update(gateways::table.find(id.0))
                .set((columns, gateways::revision.eq(gateways::revision + 1)));
            let row: Row = on_either!(db.connection, |inner| changed.returning(Row::as_returning()).get_result(inner))
                .map_err(|error| or_taken(error, &name))?;
            Ok(demoted.into_iter().chain([row.into_record(db.sealer)]).collect())
        })
        .await
    }

    /// Deletes a gateway with its health log, unless it is the configured primary. Its agents stay, without a gateway.
    pub async fn delete_gateway(&self, id: GatewayId) -> Result<DeleteOutcome, Failure> {
        self.write("delete the gateway", move |db| {
            let is_primary = gateways::table.find(id.0).select(gateways::is_primary);
            match is_primary.first(db.connection).optional()? {
                None => Ok(DeleteOutcome::NotFound),
                Some(true) => Ok(DeleteOutcome::IsPrimary),
                Some(false) => {
                    agents::detach(db, id)?;
                    diesel::delete(gateways::table.find(id.0)).execute(db.connection)?;
                    Ok(DeleteOutcome::Deleted)
                }
            }
        })
        .await
    }

    /// Stores own observations, all at once. Ids that are gone are skipped; revisions and `updated_at` stay.
    pub async fn save_observed(&self, observed: Vec<(GatewayId, Observed)>) -> Result<(), Failure> {
        if observed.is_empty() {
            return Ok(());
        }
        self.write("store observations", move |db| {
            for (id, seen) in &observed {
                let saved = diesel::update(gateways::table.find(id.0)).set((
                    gateways::status.eq(&seen.status),
                    gateways::last_seen.eq(seen.last_seen),
                    gateways::latency.eq(seen.latency),
                    gateways::sessions_count.eq(seen.sessions_count),
                    gateways::agents_count.eq(seen.agents_count),
                    gateways::held_until_ms.eq(seen.held.map(|held| held.until_ms)),
                    gateways::held_for_ms.eq(seen.held.map(|held| span_ms(held.length))),
                ));
                on_either!(db.connection, |inner| ParsedOnce(saved).execute(inner))?;
            }
            Ok(())
        })
        .await
    }

    /// Stores a gateway if there is none at all; `None` where there was one.
    pub async fn seed_gateway_if_empty(&self, spec: GatewaySpec) -> Result<Option<GatewayRecord>, Failure> {
        self.write("store the first gateway", move |db| {
            let any = gateways::table.filter(gateways::provisioning.eq(false)).select(gateways::id);
            let any: Option<i64> = any.first(db.connection).optional()?;
            if any.is_some() {
                return Ok(None);
            }
            let created = create(db, spec.clone().into())?.record;
            diesel::update(gateways::table.find(created.id.0)).set(gateways::seeded.eq(true)).execute(db.connection)?;
            Ok(Some(GatewayRecord { seeded: true, ..created }))
        })
        .await
    }

    /// Stores a gateway as provisional: it reserves its name and is loaded by nobody until [`Self::record_main_agent`]. It is
    /// never primary: that is decided about gateways that everybody sees. `name_taken`.
    pub async fn create_provisional_gateway(&self, spec: GatewaySpec) -> Result<GatewayRecord, Failure> {
        let spec = GatewaySpec { is_primary: false, ..spec };
        self.write("reserve the gateway", move |db| insert(db, spec.clone(), true)).await
    }

    /// Records the main agent of a gateway; for a provisional one this is what makes it a gateway, all in one transaction.
    /// Again with the same agent it only refreshes the agent's record. `None` where there is no such gateway.
    pub async fn record_main_agent(&self, id: GatewayId, main: MainAgent) -> Result<Option<MainRecorded>, Failure> {
        self.write("record the gateway's main agent", move |db| {
            let Some(present) = find(db, id)?.map(|row| row.into_record(db.sealer)) else { return Ok(None) };
            let agent = agents::record_main(db, &present, &main)?;
            if !present.provisioning && present.gateway_agent_id.as_ref() == Some(&main.agent_id) {
                return Ok(Some(MainRecorded { record: present, agent }));
            }
            let changed = diesel::update(gateways::table.find(id.0)).set((
                gateways::gateway_agent_id.eq(&main.agent_id),
                gateways::provisioning.eq(false),
                gateways::updated_at.eq(db.now_s()),
                gateways::revision.eq(gateways::revision + 1),
            ));
            let row: Row = on_either!(db.connection, |inner| changed.returning(Row::as_returning()).get_result(inner))?;
            Ok(Some(MainRecorded { record: row.into_record(db.sealer), agent }))
        })
        .await
    }

    /// Removes a provisional gateway. False where there is none, or it has become a gateway.
    pub async fn abandon_provisional_gateway(&self, id: GatewayId) -> Result<bool, Failure> {
        self.write("remove the half-made gateway", move |db| {
            let provisional = gateways::table.find(id.0).filter(gateways::provisioning.eq(true));
            Ok(diesel::delete(provisional).execute(db.connection)? > 0)
        })
        .await
    }

    /// Removes all provisional gateways: those that a crash left half-made. Answers their names.
    pub async fn purge_provisional_gateways(&self) -> Result<Vec<String>, Failure> {
        self.write("remove half-made gateways", |db| {
            let provisional = gateways::table.filter(gateways::provisioning.eq(true));
            let removed = diesel::delete(provisional).returning(gateways::name);
            Ok(on_either!(db.connection, |inner| removed.get_results(inner))?)
        })
        .await
    }
}

fn find(db: &mut Db<'_>, id: GatewayId) -> Result<Option<Row>, StoreError> {
    Ok(gateways::table.find(id.0).select(Row::as_select()).first(db.connection).optional()?)
}

fn create(db: &mut Db<'_>, new: NewGateway) -> Result<Created, StoreError> {
    let demoted = if new.spec.is_primary { demote(db, None)? } else { None };
    let record = insert(db, new.spec, false)?;
    let agents_registered = agents::register(db, record.id, &new.agents)?;
    Ok(Created { record, demoted, agents_registered })
}

fn insert(db: &mut Db<'_>, spec: GatewaySpec, provisioning: bool) -> Result<GatewayRecord, StoreError> {
    // The uuid is drawn before the insert, so that the sealed columns can be bound to it.
    let uuid = uuid::Uuid::new_v4().to_string();
    let name = spec.name.clone();
    let columns = Columns::of(spec.into(), &uuid, db)?;
    let added = diesel::insert_into(gateways::table).values((
        columns,
        gateways::uuid.eq(&uuid),
        gateways::provisioning.eq(provisioning),
        gateways::created_at.eq(db.now_s()),
    ));
    let row: Row = on_either!(db.connection, |inner| added.returning(Row::as_returning()).get_result(inner))
        .map_err(|error| or_taken(error, &name))?;
    Ok(row.into_record(db.sealer))
}

/// Unsets the configured primary, unless it is `except`.
fn demote(db: &mut Db<'_>, except: Option<GatewayId>) -> Result<Option<GatewayRecord>, StoreError> {
    let spared = except.map_or(0, |id| id.0);
    let others = gateways::table.filter(gateways::is_primary.eq(true)).filter(gateways::id.ne(spared));
    let changed = diesel::update(others).set((
        gateways::is_primary.eq(false),
        gateways::revision.eq(gateways::revision + 1),
        gateways::updated_at.eq(db.now_s()),
    ));
    let row: Option<Row> =
        on_either!(db.connection, |inner| changed.returning(Row::as_returning()).get_result(inner)).optional()?;
    Ok(row.map(|row| row.into_record(db.sealer)))
}

/// A name that is taken is an answer; everything else stays what it is.
fn or_taken(error: diesel::result::Error, name: &str) -> StoreError {
    if !is_taken(&error, "gateways.name") {
        return error.into();
    }
    Failure::new(ErrorCode::NameTaken, format!("Another gateway is already named \"{name}\""))
        .with_help("Choose another name, or change the gateway that has it (GET /api/gateways lists them).")
        .into()
}

fn place<'a>(uuid: &'a str, column: &'static str) -> Place<'a> {
    Place { table: "gateways", row: uuid, column }
}

/// An empty secret is no secret, here as everywhere.
fn seal(sealer: &Sealer, place: Place<'_>, secret: Option<Secret>) -> Result<Option<String>, StoreError> {
    let seal = |secret: Secret| {
        sealer.seal_or("the gateway's token or password cannot be sealed", place, secret.expose().as_bytes())
    };
    secret.filter(|secret| !secret.is_empty()).map(seal).transpose()
}

fn json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(StoreError::serialization)
}

#[cfg(test)]
mod tests {
    use diesel::result::{DatabaseErrorKind, Error};

    use super::*;

    #[test]
    fn only_a_violation_of_the_name_means_a_taken_name() {
        let violated = |column: &str| {
            let words = format!("UNIQUE constraint failed: gateways.{column}");
            or_taken(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, Box::new(words)), "prod")
                .into_failure("store the gateway")
        };
        assert_eq!(violated("name").code, ErrorCode::NameTaken);
        assert!(violated("name").message.contains("\"prod\""));
        assert_eq!(violated("is_primary").code, ErrorCode::Internal);
    }
}
