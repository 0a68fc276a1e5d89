//! Files that gateways come from, each as bodies for the daemon.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::sync::LazyLock;

use gatewarden_actors::store::mission_control::{self, ForeignGateway};
use gatewarden_api::gateway_record::{Gateway, GatewaySettings, NewGatewayBody, TlsBody};
use gatewarden_api::request;
use gatewarden_embedded_gateway::config::too_deep;
use gatewarden_protocol::Secret;
use gatewarden_protocol::address::DEFAULT_GATEWAY_PORT;
use serde_json::{Map, Value};

use super::Kind;
use crate::cli::error::CliError;

/// Longest list or configuration, bytes; a database may be larger.
const MAX_FILE: u64 = 16 * 1024 * 1024;
/// Most gateways of one file.
const MAX_GATEWAYS: usize = 10_000;
const SQLITE: &[u8] = b"SQLite format 3\0";

/// What a daemon takes or tells of a gateway: nothing of it is worth a remark.
static KNOWN: LazyLock<BTreeSet<String>> =
    LazyLock::new(|| request::field_names::<NewGatewayBody>().into_iter().chain(Gateway::field_names()).collect());

/// One gateway to register.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    /// For `POST` or `PUT`. Where a field can't be read: what is wrong.
    pub(super) body: Result<NewGatewayBody, String>,
    pub(super) name: String,
    pub(super) host: String,
    /// What couldn't be taken over.
    pub(super) remarks: Vec<String>,
}

impl Wanted {
    /// Read as a daemon reads a request, so that nothing of it is lost or taken for something else.
    fn read(name: &str, host: &str, mut fields: Map<String, Value>) -> Self {
        fields.insert("name".to_owned(), name.into());
        fields.insert("host".to_owned(), host.into());
        if fields.get("port").is_none_or(Value::is_null) && !host.contains("://") {
            fields.insert("port".to_owned(), DEFAULT_GATEWAY_PORT.into());
        }
        let unknown = fields.keys().filter(|field| !KNOWN.contains(*field));
        let remarks = unknown.map(|field| format!("the field {field} is unknown and left out")).collect();
        let body = request::read::<NewGatewayBody>(&fields).map(|mut body| {
            // A list without secrets says nothing about them.
            let settings = &mut body.settings;
            settings.token.take_if(|token| token.is_none());
            settings.password.take_if(|password| password.is_none());
            body
        });
        let body = body.map_err(|problems| problems.sentence());
        Self { body, name: name.to_owned(), host: host.to_owned(), remarks }
    }

    fn at(name: &str, host: &str, port: Option<i64>) -> Self {
        Self::read(name, host, port.map(|port| ("port".to_owned(), port.into())).into_iter().collect())
    }

    /// Sets more of it.
    fn set(&mut self, set: impl FnOnce(&mut GatewaySettings)) {
        if let Ok(body) = &mut self.body {
            set(&mut body.settings);
        }
    }
}

/// Reads a file of this kind.
pub(super) fn read(file: &Path, kind: Kind) -> Result<Vec<Wanted>, CliError> {
    let is_input = file == Path::new("-");
    let shown = if is_input { Path::new("The standard input") } else { file }.display();
    let unreadable = |error: std::io::Error| CliError::usage(format!("{shown} cannot be read: {error}."));
    if kind == Kind::MissionControl || (kind == Kind::Auto && !is_input && is_database(file).map_err(unreadable)?) {
        let found = mission_control::read(file).map_err(|sentence| CliError::usage(format!("{sentence}.")))?;
        return Ok(found.into_iter().map(foreign).collect());
    }
    let mut text = String::new();
    let limit = MAX_FILE + 1;
    if is_input {
        std::io::stdin().lock().take(limit).read_to_string(&mut text).map_err(unreadable)?;
    } else {
        std::fs::File::open(file).and_then(|file| file.take(limit).read_to_string(&mut text)).map_err(unreadable)?;
    }
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX_FILE) {
        return Err(CliError::usage(format!("{shown} is longer than {} MiB.", MAX_FILE / 1024 / 1024)));
    }
    let document = parse(&text).map_err(|reason| CliError::usage(format!("{shown} is {reason}.")))?;
    let wanted = match kind {
        Kind::Openclaw => openclaw(&document),
        Kind::List => list(&document),
        _ if document.get("gateways").is_none() && document.get("gateway").is_some_and(Value::is_object) => {
            openclaw(&document)
        }
        _ => list(&document),
    };
    wanted.map_err(|reason| CliError::usage(format!("{shown} {reason}.")))
}

fn is_database(file: &Path) -> std::io::Result<bool> {
    let mut first = Vec::new();
    std::fs::File::open(file)?.take(16).read_to_end(&mut first)?;
    Ok(first == SQLITE)
}

/// JSON with whatever openclaw.json may have beyond it, else TOML.
fn parse(text: &str) -> Result<Value, String> {
    if too_deep(text) {
        return Err("no list of gateways: its brackets are nested too deep".to_owned());
    }
    let first = |error: String| error.lines().next().unwrap_or_default().to_owned();
    let looks_like_json = text.trim_start().starts_with(['{', '/'])
        || text.trim_start().starts_with("[\n")
        || text.trim_start().starts_with("[{");
    let as_toml = toml::from_str::<Value>(text);
    match (json5::from_str::<Value>(text), as_toml) {
        (Ok(document), _) => Ok(document),
        (Err(_), Ok(document)) => Ok(document),
        (Err(error), Err(_)) if looks_like_json => Err(format!("no valid JSON: {}", first(error.to_string()))),
        (Err(_), Err(error)) => Err(format!("neither JSON nor valid TOML: {}", first(error.to_string()))),
    }
}

fn foreign(gateway: ForeignGateway) -> Wanted {
    let mut wanted = Wanted::at(&gateway.name, &gateway.host, Some(gateway.port));
    match gateway.token {
        Some(token) if looks_sealed(token.expose()) => wanted
            .remarks
            .push("its token is encrypted there: give it with `gatewarden gateways update --token-file`".to_owned()),
        token => wanted.set(|settings| settings.token = token.map(Some)),
    }
    wanted.set(|settings| settings.is_primary = Some(gateway.is_primary));
    wanted
}

/// Initialization vector, tag and ciphertext, as programs of this kind store what they encrypt.
fn looks_sealed(token: &str) -> bool {
    let parts: Vec<&str> = token.split(':').collect();
    let hex = |part: &&str| part.len() >= 16 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    token.starts_with("enc:") || (parts.len() >= 3 && parts.iter().filter(|part| hex(part)).count() >= 3)
}

/// A list of gateways: `gateways` of a document, or the document itself.
fn list(document: &Value) -> Result<Vec<Wanted>, String> {
    let rows = document.get("gateways").unwrap_or(document).as_array();
    let rows = rows.ok_or("holds no list of gateways: it must be one, or have one called gateways")?;
    if rows.len() > MAX_GATEWAYS {
        return Err(format!("holds more than {MAX_GATEWAYS} gateways"));
    }
    rows.iter()
        .enumerate()
        .map(|(index, row)| entry(row).map_err(|reason| format!("is wrong at gateway {}: {reason}", index + 1)))
        .collect()
}

fn entry(row: &Value) -> Result<Wanted, String> {
    let mut fields = row.as_object().ok_or("it is no object")?.clone();
    let url = fields.remove("url").unwrap_or_default();
    let word = |value: Option<&Value>| value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let host = word(fields.get("host")).or_else(|| word(Some(&url))).ok_or("it has no host")?;
    let name = word(fields.get("name")).ok_or("it has no name")?;
    Ok(Wanted::read(&name, &host, fields))
}

/// The gateway that a configuration is for, at this machine, and the remote one that its command line talks to.
fn openclaw(document: &Value) -> Result<Vec<Wanted>, String> {
    let gateway = document.get("gateway").filter(|section| section.is_object());
    let gateway = gateway.ok_or("is no openclaw.json: it has no section gateway")?;
    let word = |pointer: &str| gateway.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut wanted = Vec::new();
    if word("/mode") != Some("remote") {
        let port = gateway.get("port").and_then(Value::as_i64).unwrap_or_else(|| i64::from(DEFAULT_GATEWAY_PORT));
        let host = match (word("/bind"), word("/customBindHost")) {
            (Some("custom"), Some(host)) => host,
            _ => "127.0.0.1",
        };
        let encrypted = gateway.pointer("/tls/enabled") == Some(&Value::Bool(true));
        let mut local = match encrypted {
            true => Wanted::at("local", &format!("wss://{host}:{port}"), Some(port)),
            false => Wanted::at("local", host, Some(port)),
        };
        if encrypted {
            local.remarks.push("it speaks TLS: `gatewarden check` shows the pin to trust it by".to_owned());
        }
        take_secrets(&mut local, gateway.get("auth"));
        wanted.push(local);
    }
    if let Some(url) = word("/remote/url") {
        let mut remote = Wanted::at("remote", url, None);
        take_secrets(&mut remote, gateway.get("remote"));
        if let Some(fingerprint) = word("/remote/tlsFingerprint") {
            let pin = fingerprint.trim().to_ascii_lowercase().replace("sha256:", "").replace(':', "");
            let tls = TlsBody { trust: "pins".to_owned(), pins: Some(vec![pin]), ..TlsBody::default() };
            remote.set(|settings| settings.tls = Some(tls));
        }
        wanted.push(remote);
    }
    Ok(wanted)
}

/// Token and password of a section, as they are written or from the variables that they name.
fn take_secrets(wanted: &mut Wanted, section: Option<&Value>) {
    let mut written = |name: &str| {
        let secret = secret_of(section?.get(name)?, name);
        secret.map_err(|remark| wanted.remarks.push(remark)).ok().flatten()
    };
    let (token, password) = (written("token"), written("password"));
    wanted.set(|settings| (settings.token, settings.password) = (token.map(Some), password.map(Some)));
}

/// One of them; none where it is empty, a remark where it can't be taken over.
fn secret_of(written: &Value, name: &str) -> Result<Option<Secret>, String> {
    let variable = match written {
        Value::Null => return Ok(None),
        Value::String(text) => match text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
            Some(variable) => variable,
            None => return Ok((!text.is_empty()).then(|| Secret::new(text))),
        },
        reference if reference.get("source").and_then(Value::as_str) == Some("env") => {
            reference.get("id").and_then(Value::as_str).unwrap_or_default()
        }
        _ => "",
    };
    if variable.is_empty() {
        return Err(format!("its {name} is kept elsewhere and was not taken over"));
    }
    match std::env::var(variable).ok().filter(|secret| !secret.is_empty()) {
        Some(secret) => Ok(Some(Secret::new(&secret))),
        None => Err(format!("its {name} is in ${variable}, which is not set here")),
    }
}

#[cfg(test)]
mod tests {
    use gatewarden_api::request::Request as _;
    use serde_json::json;

    use super::*;

    /// A field as it would be sent.
    fn sent(wanted: &Wanted, field: &str) -> Value {
        wanted.body.as_ref().unwrap().json()[field].clone()
    }

    #[test]
    fn lists_in_toml_and_json_say_the_same() {
        let as_toml = "[[gateways]]\nname = \"a\"\nhost = \"192.0.2.7\"\ndrained = true\n[gateways.labels]\nsite = \"x\"\n\n[[gateways]]\nname = \"b\"\nurl = \"wss://b.example\"\n";
        let as_json = r#"{"gateways": [{"name": "a", "host": "192.0.2.7", "drained": true, "labels": {"site": "x"}, "status": "online"},
            {"name": "b", "url": "wss://b.example", "token": "--------"}]}"#;
        let one = list(&parse(as_toml).unwrap()).unwrap();
        assert_eq!(one, list(&parse(as_json).unwrap()).unwrap());
        assert_eq!(sent(&one[0], "port"), 18789);
        assert_eq!((sent(&one[0], "drained"), sent(&one[1], "port")), (json!(true), Value::Null));
        assert_eq!((one[0].remarks.len(), sent(&one[1], "token")), (0, Value::Null));
        let bare = list(&parse(r#"[{"name": "a", "host": "h", "lables": {}}]"#).unwrap()).unwrap();
        assert!(bare[0].remarks[0].contains("lables"));
    }

    #[test]
    fn brackets_without_end_are_refused_before_they_are_followed() {
        for deep in ["[".repeat(100_000), format!("{{a:{}", "{a:".repeat(100_000))] {
            assert!(parse(&deep).unwrap_err().contains("too deep"));
        }
    }

    #[test]
    fn a_field_that_no_daemon_takes_is_the_failure_of_its_gateway_alone() {
        let rows = json!([{"name": "a", "host": "h", "port": "x", "labels": 5}, {"name": "b", "host": "h"}]);
        let found = list(&rows).unwrap();
        let wrong = found[0].body.as_ref().unwrap_err();
        assert!(wrong.contains("port must be") && wrong.contains("labels must be"), "{wrong}");
        assert!(found[1].body.is_ok());
    }

    #[test]
    fn what_is_no_list_is_said_with_its_place() {
        for (text, said) in [
            ("{\"gateways\": [{\"name\": \"a\"}]}", "gateway 1: it has no host"),
            ("[[gateways]]\nname = \"a\"\nhost = \"x\"\n[[gateways]]\nhost = \"y\"\n", "gateway 2: it has no name"),
            ("x = 1", "no list of gateways"),
        ] {
            let error = list(&parse(text).unwrap()).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        assert!(parse("{\"gateways\": [").unwrap_err().contains("JSON"));
        assert!(parse("[[gateways]\nname").unwrap_err().contains("TOML"));
    }

    #[test]
    fn an_openclaw_json_gives_the_gateway_of_this_machine_and_the_remote_one() {
        let text = "{ // a comment\n gateway: { mode: 'local', port: 18790, bind: 'lan', auth: { mode: 'token', token: 'tok' },\n\
            remote: { url: 'wss://far.example', token: { source: 'file', id: '/x' }, tlsFingerprint: 'SHA256:AB:CD' }, }, }";
        let found = openclaw(&parse(text).unwrap()).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((sent(&found[0], "host"), sent(&found[0], "token")), (json!("127.0.0.1"), json!("tok")));
        assert_eq!(sent(&found[0], "port"), 18790);
        assert_eq!((sent(&found[1], "host"), sent(&found[1], "token")), (json!("wss://far.example"), Value::Null));
        assert_eq!(sent(&found[1], "tls")["pins"][0], "abcd");
        assert!(found[1].remarks[0].contains("kept elsewhere"));
        let with_password = json!({"gateway": {"auth": {"mode": "password", "password": "pass"}}});
        assert_eq!(sent(&openclaw(&with_password).unwrap()[0], "password"), "pass");
        let remote_only = openclaw(&json!({"gateway": {"mode": "remote", "remote": {"url": "ws://far:1"}}})).unwrap();
        assert_eq!(remote_only.len(), 1);
        assert!(openclaw(&json!({"agents": {}})).is_err());
    }

    #[test]
    fn an_encrypted_token_of_mission_control_is_left_out_and_said() {
        let gateway = |token: &str| ForeignGateway {
            name: "a".to_owned(),
            host: "h".to_owned(),
            port: 1,
            token: Some(gatewarden_protocol::Secret::new(token)),
            is_primary: true,
        };
        let sealed = format!("{}:{}:{}", "a1".repeat(12), "b2".repeat(16), "c3".repeat(20));
        let wanted = foreign(gateway(&sealed));
        assert!(sent(&wanted, "token").is_null() && wanted.remarks[0].contains("encrypted"));
        assert_eq!(sent(&foreign(gateway("plain:tok:en")), "token"), "plain:tok:en");
    }
}
