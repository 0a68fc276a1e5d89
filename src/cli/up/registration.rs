//! Making the daemon know the gateway: by its own seeding at a first start, by its REST interface at later ones.

use std::net::SocketAddr;
use std::time::Duration;

use gatewarden_protocol::Secret;
use serde_json::{Value, json};

use super::super::http_client::Request;
use crate::config::Inputs;

/// Its name in the daemon.
const NAME: &str = "local";
/// Between two looks at its status.
const LOOK: Duration = Duration::from_millis(200);
/// Looks until it should be online, and until the known token is given to the daemon again.
const LOOKS: u32 = 100;
const LOOKS_BEFORE_TOKEN: u32 = 25;

/// Makes the daemon seed this gateway where it knows none. A seed that somebody configured stays.
pub(super) fn seed(inputs: &mut Inputs, address: SocketAddr, encrypted: bool, credential: Option<&Secret>) {
    let configured = ["GATEWAY_URL", "GATEWARDEN_SEED__URL", "GATEWARDEN_SEED__HOST", "OPENCLAW_GATEWAY_HOST"]
        .iter()
        .any(|name| inputs.variable(name).is_some());
    if configured {
        return;
    }
    let mut set = |name: &str, value: String| {
        inputs.environment.insert(name.to_owned(), value.into());
    };
    set("GATEWARDEN_SEED__NAME", NAME.to_owned());
    set("GATEWARDEN_SEED__URL", url(address, encrypted));
    if let Some(credential) = credential {
        set("GATEWARDEN_SEED__TOKEN", credential.expose().to_owned());
    }
}

fn url(address: SocketAddr, encrypted: bool) -> String {
    format!("{}://{address}", if encrypted { "wss" } else { "ws" })
}

/// Registers it where it isn't, and waits until it is online. Err: what the daemon says of it instead.
pub(super) fn ensure(
    daemon: SocketAddr,
    key: &Secret,
    gateway: SocketAddr,
    encrypted: bool,
    credential: Option<&Secret>,
) -> Result<(), String> {
    let call = |method: &str, body: Option<&Value>| {
        let headers = [("X-API-Key", key.expose())];
        let answer = Request { method, headers: &headers, body, ..Request::get(&[daemon], "/api/gateways") }.send();
        let answer = answer.map_err(|error| format!("the daemon does not answer: {error}"))?;
        Ok::<_, String>((answer.status(), answer.json()))
    };
    let mut seen = "the daemon has not tried it yet".to_owned();
    let mut registered = false;
    for look in 0..LOOKS {
        let (status, list) = call("GET", None)?;
        if status != 200 {
            return Err(format!("the daemon answers with {status}"));
        }
        match find(&list, gateway) {
            None if !registered => {
                let mut body = json!({"name": NAME, "host": url(gateway, encrypted), "port": gateway.port()});
                put_token(&mut body, credential);
                let (status, answer) = call("POST", Some(&body))?;
                if status != 201 {
                    return Err(format!("the daemon does not take it ({status}): {}", message_of(&answer)));
                }
                registered = true;
            }
            None => {}
            Some(row) => {
                if row.get("status") == Some(&Value::String("online".to_owned())) {
                    return Ok(());
                }
                seen = words_of(row);
                if look == LOOKS_BEFORE_TOKEN && credential.is_some() {
                    // Perhaps its state was deleted, and it has another token than the stored one.
                    let mut body = json!({"id": row.get("id")});
                    put_token(&mut body, credential);
                    call("PUT", Some(&body))?;
                }
            }
        }
        #[expect(clippy::disallowed_methods, reason = "a thread of its own that looks at another party's state")]
        std::thread::sleep(LOOK);
    }
    Err(seen)
}

fn put_token(body: &mut Value, credential: Option<&Secret>) {
    if let (Some(fields), Some(credential)) = (body.as_object_mut(), credential) {
        fields.insert("token".to_owned(), credential.expose().into());
    }
}

fn find(list: &Value, gateway: SocketAddr) -> Option<&Value> {
    list.get("gateways")?.as_array()?.iter().find(|row| {
        let host = row.get("host").and_then(Value::as_str).unwrap_or_default();
        let host = host.split_once("://").map_or(host, |(_, rest)| rest);
        let host = host.split([':', '/']).next().unwrap_or_default();
        let same_host = host == gateway.ip().to_string() || (gateway.ip().is_loopback() && host == "localhost");
        same_host && row.get("port").and_then(Value::as_u64) == Some(u64::from(gateway.port()))
    })
}

fn words_of(row: &Value) -> String {
    let status = row.get("status").and_then(Value::as_str).unwrap_or("unknown");
    let message = row.pointer("/last_error/message").and_then(Value::as_str);
    message.map_or_else(|| status.to_owned(), |message| format!("{status}: {message}"))
}

fn message_of(answer: &Value) -> String {
    let message = answer.pointer("/error/message").or_else(|| answer.get("error")).and_then(Value::as_str);
    message.unwrap_or("it does not say why").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_found_however_its_host_is_written() {
        let gateway = SocketAddr::from(([127, 0, 0, 1], 18789));
        for (host, port, is_it) in [
            ("127.0.0.1", 18789, true),
            ("localhost", 18789, true),
            ("ws://127.0.0.1:18789", 18789, true),
            ("127.0.0.1", 18790, false),
            ("192.0.2.7", 18789, false),
        ] {
            let list = json!({"gateways": [{"host": host, "port": port}]});
            assert_eq!(find(&list, gateway).is_some(), is_it, "{host}");
        }
    }
}
