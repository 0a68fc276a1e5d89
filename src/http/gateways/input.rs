//! What clients of both APIs say of a gateway, made into the records that are stored: the one place where they are.

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::gateway_record::{
    GatewayChange, GatewayRecord, GatewaySpec, NewGateway, ProcessSource, TlsTrust, Transport,
};
use gatewarden_actors::processes::naming::{self, NameFault};
use gatewarden_actors::settings::ProcessSettings;
use gatewarden_api::gateways::{GatewayFields, NewGatewayBody, TlsBody};
use gatewarden_api::organization::{GatewayCreate, GatewayUpdate};
use gatewarden_api::request::{Fields, Request as _};
use gatewarden_protocol::{AddressError, GatewayAddress, ParsedHost, Secret};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::http::error::ApiError;
use crate::http::input::JsonBody;

/// A host is examined with this port where its own can't be read.
const STAND_IN_PORT: u16 = 18_789;
/// Longest path, characters.
const MAX_PATH: usize = 1_000;

/// An address that was read, or why it can't be dialled.
type ReadAddress = Option<Result<ParsedHost, AddressError>>;

/// Reads a new gateway.
pub(crate) fn new_gateway(body: &JsonBody, processes: &ProcessSettings) -> Result<NewGateway, ApiError> {
    let mut fields = body.fields();
    let new = NewGatewayBody::read(&mut fields);
    let host = fields.value("host").and_then(Value::as_str);
    // A port that can't be read hides nothing that is wrong with the host.
    let stand_in = fields.value("port").map(|_| STAND_IN_PORT);
    // Without a readable host nothing says yet whether a port is needed.
    if host.is_none() && fields.value("port").is_none() {
        fields.wrong("port", "is missing");
    }
    let address = host.map(|host| GatewayAddress::parse(host, new.port.or(stand_in)));
    let address = note_address(&mut fields, address);
    let tls = tls(&mut fields, new.tls);
    let process = process(&mut fields, new.unit, new.command, processes);
    let address = finish(fields, "host", address)?;
    let agents = new.agents.unwrap_or_default();
    let spec = GatewaySpec {
        token: new.token.flatten(),
        is_primary: new.is_primary.unwrap_or(false),
        priority: new.priority.unwrap_or_default(),
        labels: new.labels.unwrap_or_default(),
        transport: new.transport.map(|name| transport(&name)).unwrap_or_default(),
        tls: tls.unwrap_or_default(),
        disable_device_pairing: new.disable_device_pairing.unwrap_or(false),
        process: process?.flatten(),
        ..at(new.name, address)
    };
    Ok(NewGateway { spec, agents: agents.into_iter().map(|agent| (agent.name, agent.role)).collect() })
}

/// Reads a change of a gateway that is stored as `present`. The change may turn out empty.
pub(crate) fn change(
    body: &JsonBody,
    present: &GatewayRecord,
    processes: &ProcessSettings,
) -> Result<GatewayChange, ApiError> {
    let mut fields = body.fields();
    let new = GatewayFields::read(&mut fields);
    let address = match (&new.host, new.port) {
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
    let tls = tls(&mut fields, new.tls);
    let process = process(&mut fields, new.unit, new.command, processes);
    let address = finish(fields, "host", address)?;
    let mut change = GatewayChange {
        name: new.name,
        token: new.token,
        is_primary: new.is_primary,
        priority: new.priority,
        labels: new.labels,
        transport: new.transport.map(|name| transport(&name)),
        tls,
        disable_device_pairing: new.disable_device_pairing,
        process: process?,
        drained: new.drained,
        status: new.status,
        last_seen: new.last_seen,
        latency: new.latency,
        sessions_count: new.sessions_count,
        agents_count: new.agents_count,
        ..GatewayChange::default()
    };
    if let Some(address) = address {
        change.port = Some(address.port());
        if new.host.is_some() {
            change.host = Some(address.host_text);
            change.url_token = Some(address.url_token);
        }
    }
    Ok(change)
}

/// Reads a new gateway of the organization API.
pub(crate) fn organization_gateway(body: &JsonBody) -> Result<GatewaySpec, ApiError> {
    let mut fields = body.fields();
    let new = GatewayCreate::read(&mut fields);
    let address = url(&mut fields);
    let address = finish(fields, "url", address)?;
    let (insecure, pairing) = (new.allow_insecure_tls, new.disable_device_pairing);
    let spec = to_dial(new.name, address, new.token.flatten(), insecure, pairing);
    Ok(GatewaySpec { workspace_root: Some(workspace_root(new.workspace_root)?), ..spec })
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
pub(crate) fn organization_change(body: &JsonBody, present: &GatewayRecord) -> Result<GatewayChange, ApiError> {
    let mut fields = body.fields();
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
        url_token: address.as_ref().map(|address| address.url_token.clone()),
        host: address.map(|address| address.host_text),
        token: new.token,
        tls,
        disable_device_pairing: new.disable_device_pairing,
        workspace_root: new.workspace_root.map(workspace_root).transpose()?.map(Some),
        ..GatewayChange::default()
    })
}

fn at(name: String, address: Option<ParsedHost>) -> GatewaySpec {
    match address {
        Some(address) => {
            let port = address.port();
            GatewaySpec { url_token: address.url_token, ..GatewaySpec::at(name, address.host_text, port) }
        }
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

fn transport(name: &str) -> Transport {
    match name {
        "ws" => Transport::Ws,
        "http" => Transport::Http,
        _ => Transport::Auto,
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

#[cfg(test)]
mod tests;
