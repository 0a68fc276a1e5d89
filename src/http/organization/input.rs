//! Reads what a client of the organization API says of a gateway. A field that is missing or malformed is a 400 that names it; a
//! workspace root that is none is a 422, as document 003 has it.

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::gateway_record::{GatewayChange, GatewayRecord, GatewaySpec, TlsTrust};
use gatewarden_protocol::{AddressError, GatewayAddress, ParsedHost, Secret};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::gateway_read::is_ws_url;
use crate::http::error::{ApiError, invalid};
use crate::http::fields::{Fields, kind_of};
use crate::http::gateways::input::{REDACTED, token};

/// Longest path, characters.
const LONGEST_PATH: usize = 1_000;

/// A new gateway.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct GatewayCreate {
    /// Unique; 1 to 200 characters.
    #[schema(example = "Production Gateway", min_length = 1, max_length = 200)]
    name: String,
    /// `ws://` or `wss://` with a host. Without a port: 18789, and 443 for wss. Link-local and cloud metadata addresses are
    /// refused.
    #[schema(example = "ws://gateway-host:18789", max_length = 2048)]
    url: String,
    /// An absolute path on the gateway's host.
    #[schema(example = "/home/ubuntu/.openclaw/workspaces", max_length = 1000)]
    workspace_root: String,
    /// Sealed at rest, never shown.
    #[schema(max_length = 4096)]
    token: Option<String>,
    /// Take any TLS certificate (development only); false by default.
    allow_insecure_tls: Option<bool>,
    /// Control-UI mode without a device; the gateway must allow it. False by default.
    disable_device_pairing: Option<bool>,
}

/// What can be changed of a gateway; what is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct GatewayUpdate {
    /// New name.
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    /// New URL.
    #[schema(max_length = 2048)]
    url: Option<String>,
    /// New root of the workspaces.
    #[schema(max_length = 1000)]
    workspace_root: Option<String>,
    /// New token; empty or null clears it.
    #[schema(max_length = 4096)]
    token: Option<String>,
    /// True: take any certificate. False: those of the system's authorities, unless others were set.
    allow_insecure_tls: Option<bool>,
    /// New pairing mode.
    disable_device_pairing: Option<bool>,
}

/// Reads a new gateway and its workspace root.
pub fn new_gateway(body: &Map<String, Value>) -> Result<(GatewaySpec, String), ApiError> {
    let mut fields = Fields::new(body);
    for name in ["name", "url", "workspace_root"] {
        if fields.value(name).is_none() {
            fields.missing(name);
        }
    }
    let name = fields.text("name", 1..=200).map(str::to_owned);
    let parsed = url(&mut fields, "url");
    if fields.value("token").and_then(Value::as_str) == Some(REDACTED) {
        fields.wrong("token", "is the placeholder that reads show, not a token");
    }
    let token = token(&mut fields).flatten();
    let insecure = fields.flag("allow_insecure_tls").unwrap_or(false);
    let disable_device_pairing = fields.flag("disable_device_pairing").unwrap_or(false);
    let root = workspace_root(&mut fields);
    let parsed = finish(fields, parsed)?;
    let (Some(name), Some(parsed), Some(root)) = (name, parsed, root) else {
        return Err(invalid("name, url and workspace_root are needed"));
    };
    let new = to_dial(name, parsed, token, insecure, disable_device_pairing);
    Ok((new, root?))
}

/// A gateway as it would be registered.
pub fn to_dial(
    name: String,
    parsed: ParsedHost,
    token: Option<Secret>,
    insecure: bool,
    disable_device_pairing: bool,
) -> GatewaySpec {
    let port = parsed.port();
    GatewaySpec {
        token,
        url_token: parsed.url_token,
        tls: if insecure { TlsTrust::None } else { TlsTrust::System },
        disable_device_pairing,
        ..GatewaySpec::at(name, parsed.host_text, port)
    }
}

/// Reads a change of the gateway that is stored as `present`. Empty where the body names none of its fields.
pub fn change(body: &Map<String, Value>, present: &GatewayRecord) -> Result<GatewayChange, ApiError> {
    let mut fields = Fields::new(body);
    let parsed = url(&mut fields, "url");
    let token = match fields.value("token").and_then(Value::as_str) {
        Some(REDACTED) => None,
        _ => token(&mut fields),
    };
    let name = fields.text("name", 1..=200).map(str::to_owned);
    let tls = fields.flag("allow_insecure_tls").map(|insecure| match (insecure, &present.tls) {
        (true, _) => TlsTrust::None,
        (false, TlsTrust::None) => TlsTrust::System,
        (false, kept) => kept.clone(),
    });
    let disable_device_pairing = fields.flag("disable_device_pairing");
    let root = workspace_root(&mut fields);
    let parsed = finish(fields, parsed)?;
    Ok(GatewayChange {
        name,
        port: parsed.as_ref().map(ParsedHost::port),
        url_token: parsed.as_ref().map(|parsed| parsed.url_token.clone()),
        host: parsed.map(|parsed| parsed.host_text),
        token,
        tls,
        disable_device_pairing,
        process: None,
        workspace_root: root.transpose()?.map(Some),
        ..GatewayChange::default()
    })
}

/// A URL that was read, or why it can't be dialled.
pub type ReadUrl = Option<Result<ParsedHost, AddressError>>;

/// Reads a URL, where there is one; what is wrong with it is noted, except that it is forbidden.
pub fn url(fields: &mut Fields<'_>, name: &str) -> ReadUrl {
    let value = fields.value(name)?;
    let Some(text) = value.as_str() else {
        fields.wrong(name, format_args!("must be a text: a ws or wss URL, not {}", kind_of(value)));
        return None;
    };
    let read = parse_url(text);
    if let Err(what) = &read {
        fields.wrong(name, what);
    }
    read.ok()
}

/// Reads the text of a URL; the sentence that is returned follows the field's name.
pub fn parse_url(text: &str) -> Result<Result<ParsedHost, AddressError>, String> {
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

/// One 400 for everything that is wrong; an address that must not be dialled has a code of its own.
pub fn finish(mut fields: Fields<'_>, parsed: ReadUrl) -> Result<Option<ParsedHost>, ApiError> {
    match parsed {
        Some(Err(fault)) => {
            let sentence = fault.to_string().replacen("host", "url", 1);
            if fields.problems.is_empty() {
                let help = "Loopback and private addresses are allowed; link-local and cloud metadata addresses are never dialled.";
                return Err(ApiError(Failure::new(ErrorCode::AddressForbidden, sentence).with_help(help)));
            }
            fields.problems.add("url", sentence);
            fields.problems.into_result().map(|()| None)
        }
        Some(Ok(parsed)) => fields.problems.into_result().map(|()| Some(parsed)),
        None => fields.problems.into_result().map(|()| None),
    }
}

/// The root of the workspaces. A text that is no absolute path is a 422, which comes after every 400.
fn workspace_root(fields: &mut Fields<'_>) -> Option<Result<String, ApiError>> {
    let value = fields.value("workspace_root")?;
    let Some(text) = value.as_str() else {
        fields.wrong("workspace_root", format_args!("must be a text, not {}", kind_of(value)));
        return None;
    };
    let text = text.trim();
    let problem = if text.is_empty() {
        "workspace_root is empty"
    } else if text.chars().any(char::is_control) || text.chars().take(LONGEST_PATH + 1).count() > LONGEST_PATH {
        "workspace_root must have at most 1000 characters and no control characters"
    } else if !is_absolute(text) {
        "workspace_root must be an absolute path on the gateway's host"
    } else {
        return Some(Ok(text.to_owned()));
    };
    Some(Err(ApiError(
        Failure::new(ErrorCode::ValidationFailed, problem)
            .with_help("Give the directory in which the gateway's host keeps the workspaces of agents, for instance /home/ubuntu/.openclaw/workspaces.")
            .with_details(json!({"fields": [{"field": "workspace_root", "problem": problem}]})),
    )))
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

#[cfg(test)]
mod tests;
