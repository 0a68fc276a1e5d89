//! Between the record of a gateway that is stored and what clients of both APIs say and see of it: the one place where both are.

use std::sync::Arc;

use actix_web::http::header::EntityTag;
use arc_swap::ArcSwapOption;
use bytes::{Bytes, BytesMut};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::event_data;
use gatewarden_actors::gateway_record::{
    GatewayChange, GatewayRecord, GatewaySpec, NewGateway, ProcessSource, TlsTrust, Transport,
};
use gatewarden_actors::gateway_report::{Phase, Status};
use gatewarden_actors::processes::naming::{self, NameFault};
use gatewarden_actors::registry::roster::{GatewayView, RosterReader};
use gatewarden_actors::settings::ProcessSettings;
use gatewarden_api::gateway_record::{
    Gateway, GatewayCreate, GatewayFields, GatewayRead, GatewaySettings, GatewayUpdate, NewGatewayBody, REDACTED, Tls,
    TlsBody,
};
use gatewarden_api::gateways::{Breaker, GatewayAddressAnswer};
use gatewarden_api::pages::{Page, Part};
use gatewarden_api::request::{Fields, Request as _};
use gatewarden_protocol::{AddressError, Dialect, GatewayAddress, ParsedHost, Secret, wall_time};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::http::error::ApiError;
use crate::http::process_view::{process as shown_process, seconds};

/// A host is examined with this port where its own can't be read.
const STAND_IN_PORT: u16 = 18_789;
/// How far the clock of an external health checker may be ahead, seconds.
const CLOCK_SLACK_S: i64 = 60;
/// Longest path, characters.
const MAX_PATH: usize = 1_000;

/// An address that was read, or why it can't be dialled.
type ReadAddress = Option<Result<ParsedHost, AddressError>>;

/// Reads a new gateway.
pub(crate) fn new_gateway(mut fields: Fields<'_>, processes: &ProcessSettings) -> Result<NewGateway, ApiError> {
    let new = NewGatewayBody::read(&mut fields);
    refuse_placeholders(&mut fields);
    let host = fields.value("host").and_then(Value::as_str);
    // A port that can't be read hides nothing that is wrong with the host.
    let stand_in = fields.value("port").map(|_| STAND_IN_PORT);
    // Without a readable host nothing says yet whether a port is needed.
    if host.is_none() && fields.value("port").is_none() {
        fields.wrong("port", "is missing");
    }
    let address = host.map(|host| GatewayAddress::parse(host, new.settings.port.or(stand_in)));
    let address = note_address(&mut fields, address);
    let settings = settings(&mut fields, new.settings, processes);
    let address = finish(fields, "host", address)?;
    let mut spec = at(new.name, address);
    settings?.apply(&mut spec);
    let agents = new.agents.unwrap_or_default();
    Ok(NewGateway { spec, agents: agents.into_iter().map(|agent| (agent.name, agent.role)).collect() })
}

/// A new gateway has no secrets that could stay as they are.
fn refuse_placeholders(fields: &mut Fields<'_>) {
    for secret in ["token", "password"] {
        if fields.value(secret).and_then(Value::as_str) == Some(REDACTED) {
            fields.wrong(secret, format_args!("is the placeholder that reads show, not a {secret}"));
        }
    }
}

/// Reads a change of a gateway that is stored as `present`. The change may turn out empty.
pub(crate) fn change(
    mut fields: Fields<'_>,
    present: &GatewayRecord,
    processes: &ProcessSettings,
    now_s: i64,
) -> Result<GatewayChange, ApiError> {
    let new = GatewayFields::read(&mut fields);
    if new.last_seen.is_some_and(|seen| seen > now_s.saturating_add(CLOCK_SLACK_S)) {
        fields.wrong("last_seen", "lies in the future: it is when the gateway was seen, in Unix seconds");
    }
    let address = match (&new.host, new.settings.port) {
        // A bare host keeps the port that is stored, a URL has one of its own.
        (Some(host), port) => {
            let kept = if host.contains("://") { None } else { Some(present.port) };
            Some(GatewayAddress::parse(host, port.or(kept)))
        }
        (None, Some(port)) => {
            let parsed = GatewayAddress::parse(&present.host, Some(port));
            if let Ok(parsed) = &parsed
                && parsed.port() != port
            {
                let url_port = parsed.port();
                fields.wrong("port", format_args!("cannot be {port}: the URL in host says {url_port}, change that"));
            }
            Some(parsed)
        }
        (None, None) => None,
    };
    let address = note_address(&mut fields, address);
    let settings = settings(&mut fields, new.settings, processes);
    let address = finish(fields, "host", address)?;
    let mut change = GatewayChange {
        name: new.name,
        status: new.status,
        last_seen: new.last_seen,
        latency: new.latency,
        sessions_count: new.sessions_count,
        agents_count: new.agents_count,
        ..settings?
    };
    if let Some(address) = address {
        change.port = Some(address.port());
        if new.host.is_some() {
            change.host = Some(address.host_text);
            change.url_token = Some(address.query_token);
        }
    }
    Ok(change)
}

/// What a request sets besides name and address.
fn settings(
    fields: &mut Fields<'_>,
    new: GatewaySettings,
    processes: &ProcessSettings,
) -> Result<GatewayChange, Failure> {
    let tls = tls(fields, new.tls);
    let process = process(fields, new.unit, new.command, processes)?;
    Ok(GatewayChange {
        token: new.token,
        password: new.password,
        is_primary: new.is_primary,
        priority: new.priority,
        labels: new.labels,
        transport: new.transport.as_deref().and_then(Transport::from_name),
        tls,
        disable_device_pairing: new.disable_device_pairing,
        process,
        drained: new.drained,
        node: new.node,
        ..GatewayChange::default()
    })
}

/// What is set of a gateway, in a word: the same as long as nobody sets anything else, whatever is observed. `key` keeps it from
/// telling anything of secrets.
pub(crate) fn settings_tag(record: &GatewayRecord, key: &Secret) -> EntityTag {
    // Each by name: a new field that is left out would let changes of it be lost.
    let GatewaySpec {
        name,
        host,
        port,
        token,
        password,
        url_token,
        is_primary,
        priority,
        labels,
        transport,
        tls,
        disable_device_pairing,
        workspace_root,
        process,
        drained,
        node,
    } = &record.spec;
    let secrets = [token, password, url_token].map(|secret| secret.as_ref().map(|secret| secret.expose().to_owned()));
    let process = process.as_ref().map(|process| (process.kind(), process.name()));
    let place = (&record.uuid, name, host, port, secrets);
    let settings = (is_primary, priority, labels, transport.as_str(), tls, disable_device_pairing);
    let text = json!([key.expose(), place, settings, workspace_root, process, drained, node]).to_string();
    let mut tag = hex::encode(Sha256::digest(text.as_bytes()));
    tag.truncate(32);
    EntityTag::new_strong(tag)
}

/// The change that drains a gateway or ends that, and the word for it.
pub(crate) fn draining(drains: bool) -> (GatewayChange, &'static str) {
    let change = GatewayChange { drained: Some(drains), ..GatewayChange::default() };
    (change, if drains { "drained" } else { "undrained" })
}

/// What is said of observations in a change: the daemon supervises every gateway, and shows what it sees itself.
pub(crate) fn observations_warning(change: &GatewayChange) -> Option<String> {
    let observations = [
        ("status", change.status.is_some()),
        ("last_seen", change.last_seen.is_some()),
        ("latency", change.latency.is_some()),
        ("sessions_count", change.sessions_count.is_some()),
        ("agents_count", change.agents_count.is_some()),
    ];
    let given: Vec<&str> = observations.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
    (!given.is_empty()).then(|| {
        format!(
            "The daemon supervises this gateway and shows what it sees itself: a status from outside is never shown, and figures only where it has none of its own (given were {})",
            given.join(", ")
        )
    })
}

/// What a browser needs to connect by itself, and whether a token is in it. The one place that ever gives a gateway's token
/// away, and only to whom it may be given.
pub(crate) fn connection_details(
    record: &GatewayRecord,
    browser_is_https: bool,
    may_see: bool,
) -> Result<(GatewayAddressAnswer, bool), Failure> {
    let address = GatewayAddress::parse(&record.host, Some(record.port)).map_err(|fault| {
        // Stored addresses were checked; a stricter release may refuse an old one.
        Failure::new(ErrorCode::Internal, format!("The stored address of gateway {} is not usable: {fault}", record.id))
            .with_help("Set the gateway's host anew.")
    })?;
    let url_token = record.url_token.as_ref().filter(|_| may_see);
    // A token in the URL stands for the other one.
    let token = record.token.as_ref().filter(|_| may_see && record.url_token.is_none());
    let answer = GatewayAddressAnswer {
        id: record.id.0,
        ws_url: address.address.ws_url(browser_is_https, url_token),
        token: token.map(|token| token.expose().to_owned()).unwrap_or_default(),
        token_set: token.is_some(),
    };
    Ok((answer, token.is_some() || url_token.is_some()))
}

/// Reads a new gateway of the organization API.
pub(crate) fn organization_gateway(mut fields: Fields<'_>) -> Result<GatewaySpec, ApiError> {
    let new = GatewayCreate::read(&mut fields);
    refuse_placeholders(&mut fields);
    let address = url(&mut fields);
    let address = finish(fields, "url", address)?;
    let (insecure, pairing) = (new.allow_insecure_tls, new.disable_device_pairing);
    let spec = to_dial(new.name, address, new.token.flatten(), insecure, pairing);
    let workspace_root = Some(workspace_root(new.workspace_root)?);
    Ok(GatewaySpec { workspace_root, password: new.password.flatten(), ..spec })
}

/// A gateway as it would be registered.
pub(crate) fn to_dial(
    name: String,
    address: Option<ParsedHost>,
    token: Option<Secret>,
    insecure: Option<bool>,
    disable_device_pairing: Option<bool>,
) -> GatewaySpec {
    GatewaySpec {
        token,
        tls: if insecure == Some(true) { TlsTrust::None } else { TlsTrust::System },
        disable_device_pairing: disable_device_pairing.unwrap_or(false),
        ..at(name, address)
    }
}

/// Reads a change through the organization API. Empty where the body names none of its fields.
pub(crate) fn organization_change(mut fields: Fields<'_>, present: &GatewayRecord) -> Result<GatewayChange, ApiError> {
    let new = GatewayUpdate::read(&mut fields);
    let address = url(&mut fields);
    let address = finish(fields, "url", address)?;
    let tls = new.allow_insecure_tls.map(|insecure| match (insecure, &present.tls) {
        (true, _) => TlsTrust::None,
        (false, TlsTrust::None) => TlsTrust::System,
        (false, kept) => kept.clone(),
    });
    Ok(GatewayChange {
        name: new.name,
        port: address.as_ref().map(ParsedHost::port),
        url_token: address.as_ref().map(|address| address.query_token.clone()),
        host: address.map(|address| address.host_text),
        token: new.token,
        password: new.password,
        tls,
        disable_device_pairing: new.disable_device_pairing,
        workspace_root: new.workspace_root.map(workspace_root).transpose()?.map(Some),
        ..GatewayChange::default()
    })
}

fn at(name: String, address: Option<ParsedHost>) -> GatewaySpec {
    match address {
        Some(address) => GatewaySpec::at_address(name, address),
        // Whoever has no address was refused before.
        None => GatewaySpec::at(name, String::new(), 0),
    }
}

/// Notes what is wrong with an address, except that it is a forbidden one: that has a code of its own.
fn note_address(fields: &mut Fields<'_>, address: ReadAddress) -> ReadAddress {
    if let Some(Err(fault)) = &address
        && !matches!(fault, AddressError::Forbidden(_))
    {
        fields.add(fault.field(), fault.to_string());
    }
    address
}

/// One 400 for everything that is wrong; an address that must not be dialled has a code of its own where nothing else is wrong.
fn finish(mut fields: Fields<'_>, name: &str, address: ReadAddress) -> Result<Option<ParsedHost>, ApiError> {
    if let Some(Err(fault @ AddressError::Forbidden(_))) = &address {
        let sentence = fault.to_string().replacen("host", name, 1);
        if fields.is_fine() {
            let help = "Loopback and private addresses are allowed; link-local and cloud metadata addresses are never dialled.";
            return Err(Failure::new(ErrorCode::AddressForbidden, sentence).with_help(help).into());
        }
        fields.add(name, sentence);
    }
    fields.finish()?;
    Ok(address.and_then(Result::ok))
}

/// Reads `url`, where there is one that is a text; what is wrong with it is noted, except that it is forbidden.
fn url(fields: &mut Fields<'_>) -> ReadAddress {
    let text = fields.value("url")?.as_str()?;
    match parse_url(text) {
        Ok(address) => Some(address),
        Err(what) => {
            fields.wrong("url", what);
            None
        }
    }
}

/// Reads the text of a URL; the sentence that is returned follows the field's name.
pub(crate) fn parse_url(text: &str) -> Result<Result<ParsedHost, AddressError>, String> {
    let text = text.trim_matches(' ');
    if !text.is_empty() && !is_ws_url(text) {
        return Err(
            "must be a WebSocket URL: ws:// or wss:// and a host, for instance ws://gateway-host:18789".to_owned()
        );
    }
    match GatewayAddress::parse(text, None) {
        Ok(parsed) => Ok(Ok(parsed)),
        Err(fault @ AddressError::Forbidden(_)) => Ok(Err(fault)),
        Err(AddressError::UrlPort | AddressError::PortOutOfRange) => {
            Err("has a port that is no number from 1 to 65535".to_owned())
        }
        Err(fault) => {
            let sentence = fault.to_string();
            Err(sentence.strip_prefix("host ").map_or(sentence.clone(), str::to_owned))
        }
    }
}

/// Whether a text begins like a WebSocket URL.
pub(crate) fn is_ws_url(text: &str) -> bool {
    text.split_once("://")
        .is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("ws") || scheme.eq_ignore_ascii_case("wss"))
}

/// The root of the workspaces. A text that is no absolute path is a 422, which comes after every 400.
fn workspace_root(text: String) -> Result<String, ApiError> {
    let problem = if text.is_empty() {
        "workspace_root is empty"
    } else if text.chars().any(char::is_control) || text.chars().take(MAX_PATH + 1).count() > MAX_PATH {
        "workspace_root must have at most 1000 characters and no control characters"
    } else if !is_absolute(&text) {
        "workspace_root must be an absolute path on the gateway's host"
    } else {
        return Ok(text);
    };
    let failure = Failure::new(ErrorCode::ValidationFailed, problem)
        .with_help("Give the directory in which the gateway's host keeps the workspaces of agents, for instance /home/ubuntu/.openclaw/workspaces.")
        .with_details(json!({"fields": [{"field": "workspace_root", "problem": problem}]}));
    Err(failure.into())
}

/// `/srv/work`, or `C:\work` on a host with Windows.
fn is_absolute(path: &str) -> bool {
    let mut bytes = path.bytes();
    match (bytes.next(), bytes.next(), bytes.next()) {
        (Some(b'/'), ..) => true,
        (Some(drive), Some(b':'), Some(b'/' | b'\\')) => drive.is_ascii_alphabetic(),
        _ => path.starts_with("\\\\"),
    }
}

/// Whom to trust; certificates must be some.
fn tls(fields: &mut Fields<'_>, tls: Option<TlsBody>) -> Option<TlsTrust> {
    let tls = tls?;
    match tls.trust.as_str() {
        "none" => Some(TlsTrust::None),
        "ca" => {
            let ca_pem = tls.ca_pem?;
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
                if certificate.ok().and_then(|certificate| roots.add(certificate).ok()).is_none() {
                    fields.wrong("tls.ca_pem", "holds something that is not a certificate in PEM form");
                    return None;
                }
            }
            if roots.is_empty() {
                fields.wrong("tls.ca_pem", "holds no certificate in PEM form");
            }
            Some(TlsTrust::Ca { ca_pem })
        }
        "pins" => Some(TlsTrust::Pins { pins: tls.pins? }),
        _ => Some(TlsTrust::System),
    }
}

/// Which unit or command runs a gateway, never both: `None` where neither is there, `Some(None)` where both are null or empty. A
/// unit of a user has a failure of its own.
fn process(
    fields: &mut Fields<'_>,
    unit: Option<Option<String>>,
    command: Option<Option<String>>,
    settings: &ProcessSettings,
) -> Result<Option<Option<ProcessSource>>, Failure> {
    let there = fields.has("unit") || fields.has("command");
    let (field, named) = match (unit.flatten(), command.flatten()) {
        (Some(_), Some(_)) => {
            fields.wrong("command", "can't be given together with unit: a gateway is run by one of them");
            return Ok(None);
        }
        (Some(name), None) => ("unit", naming::unit(&name, settings)),
        (None, Some(name)) => ("command", naming::command(&name, settings)),
        (None, None) => return Ok(there.then_some(None)),
    };
    match named {
        Ok(source) => Ok(Some(Some(source))),
        Err(NameFault::NotAllowed(what)) => {
            fields.wrong(field, what);
            Ok(None)
        }
        Err(NameFault::UserUnit) => Err(Failure::new(
            ErrorCode::NotImplemented,
            "Units of users are not managed: the daemon has no way to the service managers of users",
        )
        .with_help(
            "Run the gateway as a system unit, for instance gatewarden-gateway@NAME.service, or as a command of the configuration.",
        )),
    }
}

/// A gateway as readers see it; a token or password never gets in there.
pub(crate) fn gateway(view: &GatewayView) -> Gateway {
    let (record, report) = (&view.record, &view.report);
    Gateway {
        id: record.id.0,
        uuid: record.uuid.clone(),
        name: record.name.clone(),
        host: record.host.clone(),
        port: record.port,
        token: if record.token.is_some() { REDACTED.to_owned() } else { String::new() },
        token_set: record.token.is_some(),
        password_set: record.password.is_some(),
        is_primary: record.is_primary,
        acting_primary: view.acting_primary,
        priority: record.priority,
        status: report.status.as_str().to_owned(),
        since: seconds(report.since_ms),
        as_of: seconds(report.as_of_ms),
        source: report.source.as_str().to_owned(),
        healthy_since: report.ready_since_ms.map(seconds),
        last_failure: report.last_failure_ms.map(seconds),
        last_seen: report.last_seen_ms.map(seconds).or(record.observed.last_seen),
        held_down_until: view.held_until_ms.map(seconds),
        held_by: view.on_node.as_deref().map(str::to_owned),
        // A round trip of earlier says nothing of a gateway that gives no answer now.
        latency: (report.latency_ms.and_then(whole_ms).or(record.observed.latency))
            .filter(|_| !matches!(report.status, Status::Offline | Status::Timeout)),
        sessions_count: report.sessions_count.map_or(record.observed.sessions_count, i64::from),
        agents_count: report.agents_count.map_or(record.observed.agents_count, i64::from),
        version: report.version.clone(),
        protocol: report.protocol,
        dialect: report.dialect.or(record.dialect).map(|dialect: Dialect| dialect.as_str().to_owned()),
        phase: report.phase.as_str().to_owned(),
        breaker: Breaker {
            state: report.breaker.state.as_str().to_owned(),
            failures: report.breaker.failures,
            opened_at: report.breaker.opened_at_ms.map(seconds),
            changed_at: report.breaker.changed_at_ms.map(seconds),
        },
        last_error: report.last_error.as_ref().map(event_data::last_error),
        reconnect_attempts: report.reconnect_attempts,
        next_attempt: report.next_attempt_ms.filter(|_| report.phase != Phase::Ready).map(seconds),
        pairing: report.pairing.as_ref().map(event_data::pairing),
        scopes: report.scopes.to_vec(),
        drained: record.drained,
        node: record.node.clone(),
        labels: record.labels.clone(),
        transport: record.transport.as_str().to_owned(),
        tls: shown_tls(&record.tls),
        disable_device_pairing: record.disable_device_pairing,
        unit: named(record.process.as_ref(), "unit"),
        command: named(record.process.as_ref(), "command"),
        process: view.process.as_deref().map(shown_process),
        created_at: record.created_at,
        updated_at: record.updated_at,
    }
}

/// The object as JSON, made by the first reader of a view and kept for all later ones.
pub(crate) fn rendered(view: &GatewayView) -> &Bytes {
    view.rendered.get_or_init(|| Bytes::from(serde_json::to_vec(&gateway(view)).unwrap_or_default()))
}

/// The body of `GET /api/gateways`, put together from the gateways' renderings and kept while the roster stays the same: with the
/// roster's version that it was made from.
#[derive(Debug, Default)]
pub(crate) struct ListBody {
    kept: ArcSwapOption<(u64, Bytes)>,
}

impl ListBody {
    pub(crate) fn complete(&self, roster: &RosterReader) -> Bytes {
        // Taken before the list: a change in between makes the kept body look too old, never too new.
        let version = roster.version();
        if let Some(kept) = self.kept.load().as_ref()
            && kept.0 == version
        {
            return kept.1.clone();
        }
        let all = roster.list();
        let body = body_of(&all, Part::complete(all.len()));
        self.kept.store(Some(Arc::new((version, body.clone()))));
        body
    }
}

/// A part of the list, with its place in the whole.
pub(crate) fn part(roster: &RosterReader, page: Page) -> Bytes {
    let all = roster.list();
    let wanted: Vec<_> = all.iter().skip(page.offset).take(page.limit).cloned().collect();
    body_of(&wanted, page.of(all.len()))
}

fn body_of(views: &[Arc<GatewayView>], Part { total, limit, offset }: Part) -> Bytes {
    let rest = format!("],\"total\":{total},\"limit\":{limit},\"offset\":{offset}}}");
    let objects: usize = views.iter().map(|view| rendered(view).len().saturating_add(1)).sum();
    let mut body = BytesMut::with_capacity(objects.saturating_add(rest.len()).saturating_add(32));
    body.extend_from_slice(b"{\"gateways\":[");
    for (place, view) in views.iter().enumerate() {
        if place > 0 {
            body.extend_from_slice(b",");
        }
        body.extend_from_slice(rendered(view));
    }
    body.extend_from_slice(rest.as_bytes());
    body.freeze()
}

fn named(process: Option<&ProcessSource>, kind: &str) -> Option<String> {
    process.filter(|process| process.kind() == kind).map(|process| process.name().to_owned())
}

fn shown_tls(trust: &TlsTrust) -> Tls {
    let plain = |trust: &str| Tls { trust: trust.to_owned(), ca_pem: None, pins: None };
    match trust {
        TlsTrust::System => plain("system"),
        TlsTrust::None => plain("none"),
        TlsTrust::Ca { ca_pem } => Tls { ca_pem: Some(ca_pem.clone()), ..plain("ca") },
        TlsTrust::Pins { pins } => Tls { pins: Some(pins.clone()), ..plain("pins") },
    }
}

/// The same as the organization API shows it, with the id of its main agent among our records.
pub(crate) fn organization_view(view: &GatewayView, organization_id: &str, main_agent: Option<&i64>) -> GatewayRead {
    let record = &view.record;
    GatewayRead {
        id: record.uuid.clone(),
        organization_id: organization_id.to_owned(),
        name: record.name.clone(),
        url: url_of(record),
        workspace_root: record.workspace_root.clone().unwrap_or_default(),
        gateway_agent_id: main_agent.map(ToString::to_string),
        allow_insecure_tls: record.tls == TlsTrust::None,
        disable_device_pairing: record.disable_device_pairing,
        token_set: record.token.is_some(),
        password_set: record.password.is_some(),
        status: view.report.status.as_str().to_owned(),
        version: view.report.version.clone(),
        created_at: wall_time::of_seconds(record.created_at),
        updated_at: wall_time::of_seconds(record.updated_at),
        warning: None,
    }
}

/// The URL of a gateway: as it was given where it was a ws or wss URL that says everything, else made of host and port.
pub(crate) fn url_of(record: &GatewayRecord) -> String {
    let Ok(parsed) = GatewayAddress::parse(&record.host, Some(record.port)) else {
        return format!("ws://{}:{}", record.host, record.port);
    };
    let says_all = GatewayAddress::parse(&record.host, None).is_ok_and(|alone| alone.port() == record.port);
    if says_all && is_ws_url(&record.host) { record.host.clone() } else { parsed.address.dial_url() }
}

/// A latency in whole milliseconds.
pub(crate) fn whole_ms(ms: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be small; saturates anyway")]
    (ms.is_finite() && ms >= 0.0).then_some(ms.round() as i64)
}

#[cfg(test)]
mod tests;
