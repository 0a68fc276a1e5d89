//! Making the daemon know the gateway: by its own seeding at a first start, by its REST interface at later ones.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use gatewarden_api::ErrorBody;
use gatewarden_api::access::{LinkAnswer, LinkBody};
use gatewarden_api::gateway_record::{Gateway, GatewayList};
use gatewarden_api::request::Request as _;
use gatewarden_protocol::Secret;
use serde_json::{Value, json};

use super::super::http_client::{Ask, HttpClient, Reply};
use super::super::{sleep, wording};
use crate::config::Inputs;

/// Its name in the daemon.
const NAME: &str = "local";
/// Longest wait for each piece of an answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a listener on this machine may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// Between two looks at its status.
const LOOK: Duration = Duration::from_millis(200);
/// Looks until it should be online, until the known token is given to the daemon again, and until that may have helped.
const LOOKS: u32 = 100;
const LOOKS_BEFORE_TOKEN: u32 = 25;
const LOOKS_AFTER_TOKEN: u32 = 10;

/// How long the link is good that is printed: somebody has to read it first.
pub(super) const LINK_SECONDS: u32 = 300;

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

/// Registers it where it isn't, and waits until it is online. Where it was `started_here`, its record of an earlier port follows it.
/// Err: what the daemon says of it instead.
pub(super) fn ensure(
    daemon: SocketAddr,
    key: &Secret,
    gateway: SocketAddr,
    encrypted: bool,
    started_here: bool,
    credential: Option<&Secret>,
) -> Result<(), String> {
    let client = HttpClient::local(daemon, PATIENCE).map_err(|error| error.to_string())?;
    let call = |method: &str, body: Option<&Value>| {
        let ask = Ask { headers: &[("X-API-Key", key.expose())], body };
        let reply = client.send(method, "/api/gateways", ask);
        reply.map_err(|error| format!("the daemon does not answer: {error}"))
    };
    let mut seen = "the daemon has not tried it yet".to_owned();
    let mut registered = false;
    let mut token_given_at = None;
    for look in 0..LOOKS {
        let reply = call("GET", None)?;
        if reply.status != 200 {
            return Err(format!("the daemon answers with {}", reply.status));
        }
        let list: GatewayList = serde_json::from_str(&reply.text).map_err(|error| error.to_string())?;
        match list.gateways.iter().find(|row| is_at(&row.host, row.port, gateway)) {
            None if !registered => {
                let earlier = list.gateways.iter().find(|row| started_here && is_left(row, gateway));
                // What has our name may be somebody else's, or elsewhere.
                let is_free = earlier.is_some() || list.gateways.iter().all(|row| row.name != NAME);
                let name = if is_free { NAME.to_owned() } else { format!("{NAME}-{}", gateway.port()) };
                let mut body = json!({"name": name, "host": url(gateway, encrypted), "port": gateway.port()});
                if let (Some(earlier), Some(fields)) = (earlier, body.as_object_mut()) {
                    fields.insert("id".to_owned(), earlier.id.into());
                }
                put_token(&mut body, credential);
                let reply = call(if earlier.is_some() { "PUT" } else { "POST" }, Some(&body))?;
                if !(200..300).contains(&reply.status) {
                    return Err(format!("the daemon does not take it ({}): {}", reply.status, message_of(&reply)));
                }
                registered = true;
            }
            None => {}
            Some(row) => {
                if row.status == "online" {
                    return Ok(());
                }
                let is_refused = row.phase == "blocked";
                let may_help = credential.is_some() && token_given_at.is_none();
                if may_help && (is_refused || look == LOOKS_BEFORE_TOKEN) {
                    // Perhaps its state was deleted, and it has another token than the stored one.
                    let mut body = json!({"id": row.id});
                    put_token(&mut body, credential);
                    call("PUT", Some(&body))?;
                    token_given_at = Some(look);
                }
                seen = match &row.last_error {
                    Some(error) => format!("{}\n{}", error.message, wording::of_gateway(&error.help, &row.name)),
                    None => row.status.clone(),
                };
                // Nothing that is said of what was there before comes to pass by waiting.
                let is_settled = token_given_at.is_none_or(|given| look > given + LOOKS_AFTER_TOKEN);
                if is_settled && (is_refused || !started_here && row.last_error.is_some()) {
                    break;
                }
            }
        }
        sleep(LOOK);
    }
    Err(seen)
}

/// A path of the daemon's pages that logs a browser in once.
pub(super) fn login_link(daemon: SocketAddr, key: &Secret) -> Option<String> {
    let body = LinkBody { seconds: Some(LINK_SECONDS) }.json();
    let ask = Ask { headers: &[("X-API-Key", key.expose())], body: Some(&body) };
    let reply = HttpClient::local(daemon, PATIENCE).ok()?.send("POST", "/api/auth/link", ask).ok()?;
    serde_json::from_str::<LinkAnswer>(&reply.text).ok().map(|link| link.path)
}

fn put_token(body: &mut Value, credential: Option<&Secret>) {
    if let (Some(fields), Some(credential)) = (body.as_object_mut(), credential) {
        fields.insert("token".to_owned(), credential.expose().into());
    }
}

/// Whether a record is that of this gateway at an earlier port: it has our name, and nothing listens there any more.
fn is_left(row: &Gateway, gateway: SocketAddr) -> bool {
    let earlier = SocketAddr::new(gateway.ip(), row.port);
    (row.name == NAME || row.name == format!("{NAME}-{}", row.port))
        && is_at(&row.host, row.port, earlier)
        && TcpStream::connect_timeout(&earlier, CONNECT)
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn is_at(host: &str, port: u16, gateway: SocketAddr) -> bool {
    let host = host.split_once("://").map_or(host, |(_, rest)| rest);
    let host = host.split([':', '/']).next().unwrap_or_default();
    let same_host = host == gateway.ip().to_string() || (gateway.ip().is_loopback() && host == "localhost");
    same_host && port == gateway.port()
}

fn message_of(reply: &Reply) -> String {
    let said = serde_json::from_str::<ErrorBody>(&reply.text);
    said.map_or_else(|_| "it does not say why".to_owned(), |said| said.error)
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
            assert_eq!(is_at(host, port, gateway), is_it, "{host}");
        }
    }
}
