//! The parameters of `connect`, read against the closed schema of real releases and refused in their words.

use std::collections::BTreeMap;

use gatewarden_protocol::Secret;
use serde_json::Value;

use crate::call::CallError;
use crate::caller::Role;
use crate::devices::Surface;
use crate::params::Params;

/// Longest text of one field, in characters (tokens, user agents and paths included).
const MAX_TEXT: usize = 4_096;
const MAX_NAME: usize = 256;
/// Most entries of a list.
const MAX_ENTRIES: usize = 256;

/// Ids that protocol 3 knows.
const IDS_OF_3: &[&str] = &[
    "webchat-ui",
    "openclaw-control-ui",
    "webchat",
    "cli",
    "gateway-client",
    "openclaw-macos",
    "openclaw-ios",
    "openclaw-android",
    "node-host",
    "test",
    "fingerprint",
    "openclaw-probe",
];
/// Ids that protocol 4 knows besides.
const IDS_OF_4: &[&str] =
    &["openclaw-browser-copilot", "openclaw-tui", "openclaw-linux", "openclaw-watchos", "openclaw-worker"];
/// Modes that protocol 3 knows.
const MODES_OF_3: &[&str] = &["webchat", "cli", "ui", "backend", "node", "probe", "test"];
/// Modes that protocol 4 knows besides.
const MODES_OF_4: &[&str] = &["worker"];

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConnectParams {
    /// Lowest protocol that it speaks.
    pub min_protocol: u32,
    /// Highest protocol that it speaks.
    pub max_protocol: u32,
    pub client: Client,
    /// None: one that nobody knows.
    pub role: Option<Role>,
    /// The scopes that it asks for, in its order; unknown ones are kept, as real releases do.
    pub scopes: Vec<String>,
    pub credentials: Credentials,
    /// The device that it says to be, not yet proven.
    pub device: Option<DeviceClaim>,
    /// What a node says that it can do.
    pub surface: Surface,
    /// A node's `PATH`.
    pub path_env: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Client {
    pub id: String,
    pub mode: String,
    pub version: String,
    pub platform: String,
    /// Pinned at pairing, where sent.
    pub device_family: Option<String>,
    pub display_name: Option<String>,
    /// The hardware.
    pub model: Option<String>,
}

/// `params.auth`, and document 002's `params.deviceToken`. Empty texts are none.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Credentials {
    pub token: Option<Secret>,
    pub password: Option<Secret>,
    pub device_token: Option<Secret>,
    /// `auth.bootstrapToken`; never valid here, but the signature covers it.
    pub bootstrap_token: Option<Secret>,
    /// `params.deviceToken`, where document 002 has it.
    pub documented_device_token: Option<Secret>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceClaim {
    pub id: String,
    pub public_key: String,
    pub signature: String,
    /// `device.signedAt`, in wall ms.
    pub signed_at_ms: i64,
    pub nonce: String,
}

/// `minProtocol` and `maxProtocol`, where they can be read: they say in whose words everything else is refused.
pub(super) fn range(params: &Value) -> Option<(u32, u32)> {
    let of = |name: &str| params.get(name).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
    Some((of("minProtocol")?, of("maxProtocol")?))
}

/// Reads the parameters. `protocol` is the one whose closed lists and words count.
pub(super) fn read(params: &Value, protocol: u32) -> Result<ConnectParams, CallError> {
    let mut known = vec![
        "minProtocol",
        "maxProtocol",
        "client",
        "role",
        "scopes",
        "caps",
        "commands",
        "permissions",
        "pathEnv",
        "device",
        "auth",
        "locale",
        "userAgent",
        // Document 002; real releases refuse it.
        "deviceToken",
    ];
    if protocol >= 4 {
        known.push("computerUse");
    }
    let root = Params::strict("connect", params, &known, &["minProtocol", "maxProtocol", "client"])?;
    let version = |name: &str| {
        let number = root.value(name).and_then(Value::as_u64);
        let number = number.ok_or_else(|| root.fault(name, "must be integer"))?;
        let version = u32::try_from(number).ok().filter(|number| *number >= 1);
        version.ok_or_else(|| root.fault(name, "must be >= 1"))
    };
    let (min_protocol, max_protocol) = (version("minProtocol")?, version("maxProtocol")?);
    let client = client(root, root.value("client").unwrap_or(&Value::Null), protocol)?;
    let role = root.short("role", MAX_NAME)?.map_or(Some(Role::Operator), |role| Role::from_name(&role));
    let scopes = root.names("scopes", MAX_ENTRIES, MAX_NAME)?;
    let surface = surface(root)?;
    let path_env = root.short("pathEnv", MAX_TEXT)?;
    for name in ["locale", "userAgent"] {
        root.short(name, MAX_TEXT)?;
    }
    let device = root.value("device").map(|value| device(root, value)).transpose()?;
    let mut credentials = root.value("auth").map(|value| credentials(root, value)).transpose()?.unwrap_or_default();
    credentials.documented_device_token = secret(root.short("deviceToken", MAX_TEXT)?);
    Ok(ConnectParams { min_protocol, max_protocol, client, role, scopes, credentials, device, surface, path_env })
}

fn surface(root: Params<'_>) -> Result<Surface, CallError> {
    let (caps, commands) = (root.names("caps", MAX_ENTRIES, MAX_NAME)?, root.names("commands", MAX_ENTRIES, MAX_NAME)?);
    let permissions = match root.value("permissions") {
        None => BTreeMap::new(),
        Some(Value::Object(named)) if named.len() > MAX_ENTRIES => {
            return Err(root.fault("permissions", &format!("must NOT have more than {MAX_ENTRIES} properties")));
        }
        Some(Value::Object(named)) => {
            // What is no switch, or has a name that nobody reads, permits nothing.
            let switches = named.iter().filter(|(name, _)| name.len() <= MAX_NAME);
            switches.filter_map(|(name, value)| Some((name.clone(), value.as_bool()?))).collect()
        }
        Some(_) => return Err(root.fault("permissions", "must be object")),
    };
    Ok(Surface::new(caps, commands, permissions))
}

fn client(root: Params<'_>, value: &Value, protocol: u32) -> Result<Client, CallError> {
    let mut known =
        vec!["id", "displayName", "version", "platform", "deviceFamily", "modelIdentifier", "mode", "instanceId"];
    if protocol >= 4 {
        known.extend(["buildId", "timeZone"]);
    }
    let fields = root.inside("/client", value, &known, &["id", "version", "platform", "mode"])?;
    let one_of = |name: &str, of_3: &[&str], of_4: &[&str]| {
        let text = fields.value(name).and_then(Value::as_str).unwrap_or_default();
        match (of_3.contains(&text) || (protocol >= 4 && of_4.contains(&text)), protocol >= 4) {
            (true, _) => Ok(text.to_owned()),
            (false, true) => Err(fields.fault(name, "must be equal to one of the allowed values")),
            (false, false) => {
                let what = format!("must be equal to constant; at /client/{name}: must match a schema in anyOf");
                Err(fields.fault(name, &what))
            }
        }
    };
    let id = one_of("id", IDS_OF_3, IDS_OF_4)?;
    let mode = one_of("mode", MODES_OF_3, MODES_OF_4)?;
    for name in ["instanceId", "buildId", "timeZone"] {
        fields.short(name, MAX_NAME)?;
    }
    Ok(Client {
        id,
        mode,
        version: fields.short_name("version", MAX_NAME)?,
        platform: fields.short_name("platform", MAX_NAME)?,
        device_family: fields.short("deviceFamily", MAX_NAME)?,
        display_name: fields.short("displayName", MAX_NAME)?,
        model: fields.short("modelIdentifier", MAX_NAME)?,
    })
}

fn device(root: Params<'_>, value: &Value) -> Result<DeviceClaim, CallError> {
    let names = ["id", "publicKey", "signature", "signedAt", "nonce"];
    let fields = root.inside("/device", value, &names, &names)?;
    let signed_at = fields.value("signedAt").and_then(Value::as_i64).filter(|ms| *ms >= 0);
    Ok(DeviceClaim {
        id: fields.short_name("id", MAX_NAME)?,
        public_key: fields.short_name("publicKey", MAX_TEXT)?,
        signature: fields.short_name("signature", MAX_TEXT)?,
        signed_at_ms: signed_at.ok_or_else(|| fields.fault("signedAt", "must be integer"))?,
        nonce: fields.short_name("nonce", MAX_NAME)?,
    })
}

fn credentials(root: Params<'_>, value: &Value) -> Result<Credentials, CallError> {
    let fields = root.inside("/auth", value, &["token", "password", "deviceToken", "bootstrapToken"], &[])?;
    Ok(Credentials {
        token: secret(fields.short("token", MAX_TEXT)?),
        password: secret(fields.short("password", MAX_TEXT)?),
        device_token: secret(fields.short("deviceToken", MAX_TEXT)?),
        bootstrap_token: secret(fields.short("bootstrapToken", MAX_TEXT)?),
        documented_device_token: None,
    })
}

fn secret(text: Option<String>) -> Option<Secret> {
    text.map(Secret::new).filter(|secret| !secret.is_empty())
}

#[cfg(test)]
mod tests;
