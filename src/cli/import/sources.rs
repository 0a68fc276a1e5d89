//! Files that gateways come from, each as bodies for the daemon.

use std::io::Read as _;
use std::path::Path;

use gatewarden_actors::store::mission_control::{self, ForeignGateway};
use gatewarden_protocol::address::DEFAULT_GATEWAY_PORT;
use serde_json::{Map, Value, json};

use super::Kind;
use crate::cli::error::CliError;

/// Longest list or configuration, bytes; a database may be larger.
const MAX_FILE: u64 = 16 * 1024 * 1024;
/// Most gateways of one file.
const MAX_GATEWAYS: usize = 10_000;
const SQLITE: &[u8] = b"SQLite format 3\0";

/// What a daemon takes of a gateway.
const FIELDS: [&str; 10] =
    ["name", "host", "port", "token", "is_primary", "priority", "labels", "transport", "tls", "disable_device_pairing"];
/// What a daemon's own list has beside them: observations, which nobody can import.
const OBSERVED: &str = "id uuid token_set acting_primary status since as_of source healthy_since last_failure last_seen latency \
     sessions_count agents_count version protocol dialect phase breaker last_error reconnect_attempts \
     next_attempt pairing scopes created_at updated_at";
/// What reads show in place of a token.
const REDACTED: &str = "--------";

/// One gateway to register.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) host: String,
    /// For `POST` or `PUT`, name and host included.
    pub(super) body: Map<String, Value>,
    /// What couldn't be taken over.
    pub(super) remarks: Vec<String>,
    pub(super) drained: bool,
}

impl Wanted {
    fn new(name: &str, host: &str, port: Option<i64>) -> Self {
        let mut body = Map::new();
        body.insert("name".to_owned(), name.into());
        body.insert("host".to_owned(), host.into());
        if let Some(port) = port {
            body.insert("port".to_owned(), port.into());
        }
        Self { name: name.to_owned(), host: host.to_owned(), body, remarks: Vec::new(), drained: false }
    }
}

/// Reads a file of this kind.
pub(super) fn read(file: &Path, kind: Kind) -> Result<Vec<Wanted>, CliError> {
    let unreadable = |error: std::io::Error| CliError::usage(format!("{} cannot be read: {error}.", file.display()));
    let is_input = file == Path::new("-");
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
        return Err(CliError::usage(format!("{} is longer than {} MiB.", file.display(), MAX_FILE / 1024 / 1024)));
    }
    let document = parse(&text).map_err(|reason| CliError::usage(format!("{} is {reason}.", file.display())))?;
    let wanted = match kind {
        Kind::Openclaw => openclaw(&document),
        Kind::List => list(&document),
        _ if document.get("gateways").is_none() && document.get("gateway").is_some_and(Value::is_object) => {
            openclaw(&document)
        }
        _ => list(&document),
    };
    wanted.map_err(|reason| CliError::usage(format!("{} {reason}.", file.display())))
}

fn is_database(file: &Path) -> std::io::Result<bool> {
    let mut first = Vec::new();
    std::fs::File::open(file)?.take(16).read_to_end(&mut first)?;
    Ok(first == SQLITE)
}

/// JSON with whatever openclaw.json may have beyond it, else TOML.
fn parse(text: &str) -> Result<Value, String> {
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
    let mut wanted = Wanted::new(&gateway.name, &gateway.host, Some(gateway.port));
    match gateway.token {
        Some(token) if looks_sealed(token.expose()) => {
            wanted.remarks.push(
                "its token is encrypted there: give it with `gatewarden gateways update --token-file`".to_owned(),
            );
        }
        Some(token) => {
            wanted.body.insert("token".to_owned(), token.expose().into());
        }
        None => {}
    }
    wanted.body.insert("is_primary".to_owned(), gateway.is_primary.into());
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
    let fields = row.as_object().ok_or("it is no object")?;
    let word = |name: &str| fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let host = word("host").or_else(|| word("url")).ok_or("it has no host")?;
    let name = word("name").ok_or("it has no name")?;
    let mut wanted = Wanted::new(name, host, None);
    for (field, value) in fields {
        match field.as_str() {
            "name" | "host" | "url" => {}
            "token" if value.as_str().is_none_or(|token| token.is_empty() || token == REDACTED) => {}
            "port" if value.is_null() => {}
            "drained" => wanted.drained = value == &Value::Bool(true),
            known if FIELDS.contains(&known) => {
                wanted.body.insert(field.clone(), value.clone());
            }
            known if OBSERVED.split(' ').any(|observed| observed == known) => {}
            unknown => wanted.remarks.push(format!("the field {unknown} is unknown and left out")),
        }
    }
    if !wanted.body.contains_key("port") && !host.contains("://") {
        wanted.body.insert("port".to_owned(), DEFAULT_GATEWAY_PORT.into());
    }
    Ok(wanted)
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
            true => Wanted::new("local", &format!("wss://{host}:{port}"), Some(port)),
            false => Wanted::new("local", host, Some(port)),
        };
        if encrypted {
            local.remarks.push("it speaks TLS: `gatewarden check` shows the pin to trust it by".to_owned());
        }
        if word("/auth/mode") == Some("password") {
            local.remarks.push("it wants a password, which is not taken over".to_owned());
        }
        put_token(&mut local, gateway.pointer("/auth/token"));
        wanted.push(local);
    }
    if let Some(url) = word("/remote/url") {
        let mut remote = Wanted::new("remote", url, None);
        put_token(&mut remote, gateway.pointer("/remote/token"));
        if let Some(fingerprint) = word("/remote/tlsFingerprint") {
            let pin = fingerprint.trim().to_ascii_lowercase().replace("sha256:", "").replace(':', "");
            remote.body.insert("tls".to_owned(), json!({"trust": "pins", "pins": [pin]}));
        }
        wanted.push(remote);
    }
    Ok(wanted)
}

/// A token as it is written, or from the variable that it names.
fn put_token(wanted: &mut Wanted, written: Option<&Value>) {
    let variable = match written {
        None | Some(Value::Null) => return,
        Some(Value::String(token)) => match token.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
            Some(variable) => variable.to_owned(),
            None => {
                if !token.is_empty() {
                    wanted.body.insert("token".to_owned(), token.clone().into());
                }
                return;
            }
        },
        Some(reference) if reference.get("source").and_then(Value::as_str) == Some("env") => {
            reference.get("id").and_then(Value::as_str).unwrap_or_default().to_owned()
        }
        Some(_) => String::new(),
    };
    match std::env::var(&variable).ok().filter(|token| !token.is_empty() && !variable.is_empty()) {
        Some(token) => {
            wanted.body.insert("token".to_owned(), token.into());
        }
        None if variable.is_empty() => {
            wanted.remarks.push("its token is kept elsewhere and was not taken over".to_owned())
        }
        None => wanted.remarks.push(format!("its token is in ${variable}, which is not set here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words<'a>(wanted: &'a Wanted, field: &str) -> &'a str {
        wanted.body.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    #[test]
    fn lists_in_toml_and_json_say_the_same() {
        let as_toml = "[[gateways]]\nname = \"a\"\nhost = \"192.0.2.7\"\ndrained = true\n[gateways.labels]\nsite = \"x\"\n\n[[gateways]]\nname = \"b\"\nurl = \"wss://b.example\"\n";
        let as_json = r#"{"gateways": [{"name": "a", "host": "192.0.2.7", "drained": true, "labels": {"site": "x"}, "status": "online"},
            {"name": "b", "url": "wss://b.example", "token": "--------"}]}"#;
        let one = list(&parse(as_toml).unwrap()).unwrap();
        assert_eq!(one, list(&parse(as_json).unwrap()).unwrap());
        assert_eq!(one[0].body["port"], 18789);
        assert!(one[0].drained && !one[1].body.contains_key("port") && one[0].remarks.is_empty());
        let bare = list(&parse(r#"[{"name": "a", "host": "h", "lables": {}}]"#).unwrap()).unwrap();
        assert!(bare[0].remarks[0].contains("lables"));
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
        assert_eq!((words(&found[0], "host"), words(&found[0], "token")), ("127.0.0.1", "tok"));
        assert_eq!(found[0].body["port"], 18790);
        assert_eq!((words(&found[1], "host"), words(&found[1], "token")), ("wss://far.example", ""));
        assert_eq!(found[1].body["tls"]["pins"][0], "abcd");
        assert!(found[1].remarks[0].contains("kept elsewhere"));
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
        assert!(!wanted.body.contains_key("token") && wanted.remarks[0].contains("encrypted"));
        assert_eq!(words(&foreign(gateway("plain:tok:en")), "token"), "plain:tok:en");
    }
}
