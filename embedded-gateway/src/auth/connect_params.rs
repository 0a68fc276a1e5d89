//! The parameters of `connect`, read against the closed schema of real releases and refused in their words.

use gatewarden_protocol::Secret;
use serde_json::{Map, Value};

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
pub struct ConnectParams {
    /// Lowest protocol that it speaks.
    pub min_protocol: u32,
    /// Highest protocol that it speaks.
    pub max_protocol: u32,
    pub client: Client,
    pub role: String,
    /// The scopes that it asks for, in its order; unknown ones are kept, as real releases do.
    pub scopes: Vec<String>,
    pub credentials: Credentials,
    /// The device that it says to be, not yet proven.
    pub device: Option<DeviceClaim>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    pub id: String,
    pub mode: String,
    pub version: String,
    pub platform: String,
    /// Pinned at pairing, where sent.
    pub device_family: Option<String>,
    pub display_name: Option<String>,
}

/// `params.auth`, and document 002's `params.deviceToken`. Empty texts are none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Credentials {
    pub token: Option<Secret>,
    pub password: Option<Secret>,
    pub device_token: Option<Secret>,
    /// `auth.bootstrapToken`; never valid here, but the signature covers it.
    pub bootstrap_token: Option<Secret>,
    /// `params.deviceToken`, where document 002 has it.
    pub documented_device_token: Option<Secret>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceClaim {
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

/// Reads the parameters. `protocol` is the one whose closed lists and words count. The error is the sentence after
/// `invalid connect params: `.
pub(super) fn read(params: &Value, protocol: u32) -> Result<ConnectParams, String> {
    let root = Object::at("root", params)?;
    root.closed(&[
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
    ])?;
    root.required(&["minProtocol", "maxProtocol", "client"])?;
    let min_protocol = root.version("minProtocol")?;
    let max_protocol = root.version("maxProtocol")?;
    let client = client(root.value("client").unwrap_or(&Value::Null), protocol)?;
    let role = root.text("role", MAX_NAME)?.unwrap_or_else(|| "operator".to_owned());
    let scopes = root.names("scopes")?;
    root.names("caps")?;
    root.names("commands")?;
    for name in ["pathEnv", "locale", "userAgent"] {
        root.text(name, MAX_TEXT)?;
    }
    if root.value("permissions").is_some_and(|value| !value.is_object()) {
        return Err("at /permissions: must be object".to_owned());
    }
    let device = root.value("device").map(device).transpose()?;
    let mut credentials = root.value("auth").map(credentials).transpose()?.unwrap_or_default();
    credentials.documented_device_token = secret(root.text("deviceToken", MAX_TEXT)?);
    Ok(ConnectParams { min_protocol, max_protocol, client, role, scopes, credentials, device })
}

fn client(value: &Value, protocol: u32) -> Result<Client, String> {
    let fields = Object::at("/client", value)?;
    let mut allowed =
        vec!["id", "displayName", "version", "platform", "deviceFamily", "modelIdentifier", "mode", "instanceId"];
    if protocol >= 4 {
        allowed.extend(["buildId", "timeZone"]);
    }
    fields.closed(&allowed)?;
    fields.required(&["id", "version", "platform", "mode"])?;
    let id = fields.one_of("id", IDS_OF_3, IDS_OF_4, protocol)?;
    let mode = fields.one_of("mode", MODES_OF_3, MODES_OF_4, protocol)?;
    for name in ["modelIdentifier", "instanceId", "buildId", "timeZone"] {
        fields.text(name, MAX_NAME)?;
    }
    Ok(Client {
        id,
        mode,
        version: fields.needed("version", MAX_NAME)?,
        platform: fields.needed("platform", MAX_NAME)?,
        device_family: fields.text("deviceFamily", MAX_NAME)?,
        display_name: fields.text("displayName", MAX_NAME)?,
    })
}

fn device(value: &Value) -> Result<DeviceClaim, String> {
    let fields = Object::at("/device", value)?;
    fields.closed(&["id", "publicKey", "signature", "signedAt", "nonce"])?;
    fields.required(&["id", "publicKey", "signature", "signedAt", "nonce"])?;
    let signed_at = fields.value("signedAt").and_then(Value::as_i64).filter(|ms| *ms >= 0);
    Ok(DeviceClaim {
        id: fields.needed("id", MAX_NAME)?,
        public_key: fields.needed("publicKey", MAX_TEXT)?,
        signature: fields.needed("signature", MAX_TEXT)?,
        signed_at_ms: signed_at.ok_or("at /device/signedAt: must be integer")?,
        nonce: fields.needed("nonce", MAX_NAME)?,
    })
}

fn credentials(value: &Value) -> Result<Credentials, String> {
    let fields = Object::at("/auth", value)?;
    fields.closed(&["token", "password", "deviceToken", "bootstrapToken"])?;
    Ok(Credentials {
        token: secret(fields.text("token", MAX_TEXT)?),
        password: secret(fields.text("password", MAX_TEXT)?),
        device_token: secret(fields.text("deviceToken", MAX_TEXT)?),
        bootstrap_token: secret(fields.text("bootstrapToken", MAX_TEXT)?),
        documented_device_token: None,
    })
}

fn secret(text: Option<String>) -> Option<Secret> {
    text.map(Secret::new).filter(|secret| !secret.is_empty())
}

struct Object<'a> {
    place: &'static str,
    fields: &'a Map<String, Value>,
}

impl<'a> Object<'a> {
    fn at(place: &'static str, value: &'a Value) -> Result<Self, String> {
        value.as_object().map(|fields| Self { place, fields }).ok_or_else(|| format!("at {place}: must be object"))
    }

    fn path(&self, name: &str) -> String {
        if self.place == "root" { format!("/{name}") } else { format!("{}/{name}", self.place) }
    }

    fn value(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name)
    }

    fn closed(&self, allowed: &[&str]) -> Result<(), String> {
        match self.fields.keys().find(|name| !allowed.contains(&name.as_str())) {
            Some(name) => {
                let name: String = name.chars().take(64).collect();
                Err(format!("at {}: unexpected property '{name}'", self.place))
            }
            None => Ok(()),
        }
    }

    fn required(&self, names: &[&str]) -> Result<(), String> {
        match names.iter().find(|name| !self.fields.contains_key(**name)) {
            Some(name) => Err(format!("at {}: must have required property '{name}'", self.place)),
            None => Ok(()),
        }
    }

    fn version(&self, name: &str) -> Result<u32, String> {
        let number = self.value(name).and_then(Value::as_u64).ok_or_else(|| format!("at /{name}: must be integer"))?;
        u32::try_from(number).ok().filter(|number| *number >= 1).ok_or_else(|| format!("at /{name}: must be >= 1"))
    }

    fn text(&self, name: &str, most: usize) -> Result<Option<String>, String> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let text = value.as_str().ok_or_else(|| format!("at {}: must be string", self.path(name)))?;
        if text.len() > most && text.chars().count() > most {
            return Err(format!("at {}: must NOT have more than {most} characters", self.path(name)));
        }
        Ok(Some(text.to_owned()))
    }

    /// A text that must be there and not be empty.
    fn needed(&self, name: &str, most: usize) -> Result<String, String> {
        self.text(name, most)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| format!("at {}: must NOT have fewer than 1 characters", self.path(name)))
    }

    fn one_of(&self, name: &str, of_3: &[&str], of_4: &[&str], protocol: u32) -> Result<String, String> {
        let path = self.path(name);
        let text = self.value(name).and_then(Value::as_str).unwrap_or_default();
        let known = of_3.contains(&text) || (protocol >= 4 && of_4.contains(&text));
        match (known, protocol >= 4) {
            (true, _) => Ok(text.to_owned()),
            (false, true) => Err(format!("at {path}: must be equal to one of the allowed values")),
            (false, false) => {
                Err(format!("at {path}: must be equal to constant; at {path}: must match a schema in anyOf"))
            }
        }
    }

    fn names(&self, name: &str) -> Result<Vec<String>, String> {
        let Some(value) = self.value(name) else { return Ok(Vec::new()) };
        let path = self.path(name);
        let entries = value.as_array().ok_or_else(|| format!("at {path}: must be array"))?;
        if entries.len() > MAX_ENTRIES {
            return Err(format!("at {path}: must NOT have more than {MAX_ENTRIES} items"));
        }
        let mut names = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            let text = entry.as_str().ok_or_else(|| format!("at {path}/{index}: must be string"))?;
            if text.is_empty() {
                return Err(format!("at {path}/{index}: must NOT have fewer than 1 characters"));
            }
            if text.len() > MAX_NAME {
                return Err(format!("at {path}/{index}: must NOT have more than {MAX_NAME} characters"));
            }
            names.push(text.to_owned());
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests;
