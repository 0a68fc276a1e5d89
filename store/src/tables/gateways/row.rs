//! The row of a gateway, and its way from and to a `GatewayRecord`: sealing, JSON, names.

use diesel::prelude::*;
use gatewarden_protocol::{Dialect, Secret};
use serde::de::DeserializeOwned;

use crate::error::StoreError;
use crate::schema::gateways;
use crate::sealing::{Place, Sealer};
use gatewarden_core::gateway_record::{GatewayChange, GatewayRecord, NewGateway, Observed, ProcessSource, Transport};
use gatewarden_core::ids::GatewayId;

#[derive(Queryable, Selectable)]
#[diesel(table_name = gateways)]
pub(super) struct Row {
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
}

impl Row {
    /// Reads a row. What doesn't open or parse is logged and left at its strictest: no token, TLS by the system's
    /// authorities. One damaged row must not keep the daemon from the other gateways.
    pub(super) fn into_record(self, sealer: &Sealer) -> GatewayRecord {
        GatewayRecord {
            token: self.open(sealer, "token", self.token.as_deref()),
            url_token: self.open(sealer, "url_token", self.url_token.as_deref()),
            labels: self.parse("labels", &self.labels),
            transport: transport_from(&self.transport),
            tls: self.parse("tls", &self.tls),
            port: u16::try_from(self.port).unwrap_or_default(),
            id: GatewayId(self.id),
            uuid: self.uuid,
            name: self.name,
            host: self.host,
            is_primary: self.is_primary,
            priority: self.priority,
            disable_device_pairing: self.disable_device_pairing,
            workspace_root: self.workspace_root,
            gateway_agent_id: self.gateway_agent_id,
            provisioning: self.provisioning,
            process: process_from(self.unit, self.command),
            drained: self.drained,
            dialect: self.dialect.as_deref().and_then(Dialect::from_name),
            observed: Observed {
                status: self.status,
                last_seen: self.last_seen,
                latency: self.latency,
                sessions_count: self.sessions_count,
                agents_count: self.agents_count,
            },
            created_at: self.created_at,
            updated_at: self.updated_at,
            revision: self.revision,
        }
    }

    fn open(&self, sealer: &Sealer, column: &'static str, sealed: Option<&str>) -> Option<Secret> {
        match sealer.open(place(&self.uuid, column), sealed?) {
            Ok(plain) => Some(Secret::new(String::from_utf8_lossy(&plain))),
            Err(error) => {
                tracing::error!(
                    gateway.id = self.id, gateway.name = %self.name, column, %error,
                    "a stored secret of gateway {} does not open and is not used: set its token again", self.name
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

#[derive(Insertable)]
#[diesel(table_name = gateways)]
pub(super) struct NewRow {
    uuid: String,
    name: String,
    host: String,
    port: i32,
    token: Option<String>,
    url_token: Option<String>,
    is_primary: bool,
    priority: i32,
    labels: String,
    transport: &'static str,
    tls: String,
    disable_device_pairing: bool,
    workspace_root: Option<String>,
    provisioning: bool,
    unit: Option<String>,
    command: Option<String>,
    created_at: i64,
    updated_at: i64,
}

impl NewRow {
    pub(super) fn of(new: &NewGateway, uuid: String, sealer: &Sealer, now_s: i64) -> Result<Self, StoreError> {
        Ok(Self {
            token: seal(sealer, &uuid, "token", new.token.as_ref())?,
            url_token: seal(sealer, &uuid, "url_token", new.url_token.as_ref())?,
            uuid,
            name: new.name.clone(),
            host: new.host.clone(),
            port: i32::from(new.port),
            is_primary: new.is_primary,
            priority: new.priority,
            labels: json(&new.labels)?,
            transport: transport_name(new.transport),
            tls: json(&new.tls)?,
            disable_device_pairing: new.disable_device_pairing,
            workspace_root: None,
            provisioning: false,
            unit: unit_of(new.process.as_ref()),
            command: command_of(new.process.as_ref()),
            created_at: now_s,
            updated_at: now_s,
        })
    }

    /// The same gateway while it is being created through the organization API.
    pub(super) fn provisional(self, workspace_root: &str) -> Self {
        Self { workspace_root: Some(workspace_root.to_owned()), provisioning: true, ..self }
    }
}

/// The columns that a change sets; `None` leaves a column, `Some(None)` clears it.
#[derive(AsChangeset)]
#[diesel(table_name = gateways)]
pub(super) struct Changes {
    name: Option<String>,
    host: Option<String>,
    port: Option<i32>,
    token: Option<Option<String>>,
    url_token: Option<Option<String>>,
    is_primary: Option<bool>,
    priority: Option<i32>,
    labels: Option<String>,
    transport: Option<&'static str>,
    tls: Option<String>,
    disable_device_pairing: Option<bool>,
    workspace_root: Option<String>,
    unit: Option<Option<String>>,
    command: Option<Option<String>>,
    drained: Option<bool>,
    dialect: Option<&'static str>,
    status: Option<String>,
    last_seen: Option<i64>,
    latency: Option<i64>,
    sessions_count: Option<i64>,
    agents_count: Option<i64>,
    updated_at: Option<i64>,
    revision: i64,
}

impl Changes {
    pub(super) fn of(change: &GatewayChange, present: &Row, sealer: &Sealer, now_s: i64) -> Result<Self, StoreError> {
        let seal_change = |column, token: &Option<Option<Secret>>| match token {
            None => Ok(None),
            Some(token) => seal(sealer, &present.uuid, column, token.as_ref()).map(Some),
        };
        Ok(Self {
            name: change.name.clone(),
            host: change.host.clone(),
            port: change.port.map(i32::from),
            token: seal_change("token", &change.token)?,
            url_token: seal_change("url_token", &change.url_token)?,
            is_primary: change.is_primary,
            priority: change.priority,
            labels: change.labels.as_ref().map(json).transpose()?,
            transport: change.transport.map(transport_name),
            tls: change.tls.as_ref().map(json).transpose()?,
            disable_device_pairing: change.disable_device_pairing,
            workspace_root: change.workspace_root.clone(),
            unit: change.process.as_ref().map(|process| unit_of(process.as_ref())),
            command: change.process.as_ref().map(|process| command_of(process.as_ref())),
            drained: change.drained,
            dialect: change.dialect.map(Dialect::as_str),
            status: change.status.clone(),
            last_seen: change.last_seen,
            latency: change.latency,
            sessions_count: change.sessions_count,
            agents_count: change.agents_count,
            updated_at: sets_what_an_operator_sets(change).then_some(now_s),
            revision: present.revision.saturating_add(1),
        })
    }
}

/// Whether anything but observations and the dialect is in the change.
fn sets_what_an_operator_sets(change: &GatewayChange) -> bool {
    let observations_only = GatewayChange {
        dialect: change.dialect,
        status: change.status.clone(),
        last_seen: change.last_seen,
        latency: change.latency,
        sessions_count: change.sessions_count,
        agents_count: change.agents_count,
        ..GatewayChange::default()
    };
    *change != observations_only
}

fn place<'a>(uuid: &'a str, column: &'static str) -> Place<'a> {
    Place { table: "gateways", row: uuid, column }
}

/// An empty secret is no secret, here as everywhere.
fn seal(
    sealer: &Sealer,
    uuid: &str,
    column: &'static str,
    secret: Option<&Secret>,
) -> Result<Option<String>, StoreError> {
    secret
        .filter(|secret| !secret.is_empty())
        .map(|secret| sealer.seal(place(uuid, column), secret.expose().as_bytes()))
        .transpose()
        .map_err(|error| StoreError::Sealed { what: "the gateway's token cannot be sealed", error })
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Database(diesel::result::Error::SerializationError(Box::new(error))))
}

fn unit_of(process: Option<&ProcessSource>) -> Option<String> {
    match process {
        Some(ProcessSource::Unit(name)) => Some(name.clone()),
        Some(ProcessSource::Command(_)) | None => None,
    }
}

fn command_of(process: Option<&ProcessSource>) -> Option<String> {
    match process {
        Some(ProcessSource::Command(name)) => Some(name.clone()),
        Some(ProcessSource::Unit(_)) | None => None,
    }
}

fn process_from(unit: Option<String>, command: Option<String>) -> Option<ProcessSource> {
    unit.map(ProcessSource::Unit).or(command.map(ProcessSource::Command))
}

fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Auto => "auto",
        Transport::Ws => "ws",
        Transport::Http => "http",
    }
}

fn transport_from(name: &str) -> Transport {
    match name {
        "ws" => Transport::Ws,
        "http" => Transport::Http,
        _ => Transport::Auto,
    }
}
