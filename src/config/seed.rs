//! Section `seed`: the gateway that is made where there is none.

use std::collections::BTreeMap;
use std::path::Path;

use gatewarden_actors::gateway_record::{NewGateway, TlsTrust, Transport};
use gatewarden_protocol::Secret;
use url::Url;

use super::layers::read_file;
use super::reading::Reader;

/// The port of gateways that speak without TLS, and what a secure URL without a port means.
const PLAIN_PORT: u16 = 18789;
const SECURE_PORT: u16 = 443;

/// The gateway to seed, always as primary.
pub(super) fn gateway(reader: &mut Reader<'_>) -> NewGateway {
    let name = reader.text("seed.name");
    if name.chars().count() > 200 || name.chars().any(char::is_control) {
        reader.wrong("seed.name", "must be 1 to 200 characters without control characters");
    }
    let local = openclaw_config(reader);
    let address = address(reader, local.port);
    let token = reader.optional_text("seed.token").map(Secret::new).or(local.token);
    NewGateway {
        name,
        host: address.host,
        port: address.port,
        token,
        url_token: address.url_token,
        is_primary: true,
        priority: 0,
        labels: BTreeMap::new(),
        transport: Transport::Auto,
        tls: TlsTrust::System,
        disable_device_pairing: false,
        agents: Vec::new(),
    }
}

struct Address {
    host: String,
    port: u16,
    url_token: Option<Secret>,
}

fn address(reader: &mut Reader<'_>, local_port: Option<u16>) -> Address {
    let configured = u16::try_from(reader.number("seed.port", 1..=65535)).unwrap_or(PLAIN_PORT);
    let port = local_port.filter(|_| !reader.is_set("seed.port")).unwrap_or(configured);
    // A URL given as such wins over host and port.
    let (key, text, port) = match reader.optional_text("seed.url") {
        Some(url) => ("seed.url", url, None),
        None => {
            let host = reader.text("seed.host");
            if !host.contains("://") {
                if host.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/' || c == '@') {
                    reader.wrong("seed.host", "must be a host name, an IP address, or a ws, wss, http or https URL");
                }
                return Address { host, port, url_token: None };
            }
            let port = reader.is_set("seed.port").then_some(port);
            ("seed.host", host, port)
        }
    };
    match from_url(&text, port) {
        Ok(address) => address,
        Err(expected) => {
            reader.wrong(key, expected);
            Address { host: String::new(), port: PLAIN_PORT, url_token: None }
        }
    }
}

/// A port in the URL wins, then `port`, then what the scheme means. A token in the query is taken out.
fn from_url(text: &str, port: Option<u16>) -> Result<Address, String> {
    let expected = || "must be a ws, wss, http or https URL, such as wss://gateway.example.com".to_owned();
    let mut url = Url::parse(text).map_err(|_| expected())?;
    let secure = match url.scheme() {
        "ws" | "http" => false,
        "wss" | "https" => true,
        _ => return Err(expected()),
    };
    if url.host_str().is_none_or(str::is_empty) {
        return Err(expected());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password; put the token into seed.token".to_owned());
    }
    let url_token = url.query_pairs().find(|(name, _)| name == "token").map(|(_, token)| Secret::new(token.as_ref()));
    let others: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| name != "token")
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    url.set_query(None);
    if !others.is_empty() {
        url.query_pairs_mut().extend_pairs(others);
    }
    // The URL crate drops a port that is the scheme's own, so a written `:80` or `:443` is looked for in the text.
    let written = url.port().or_else(|| written_port(text));
    Ok(Address {
        host: url.as_str().trim_end_matches('/').to_owned(),
        port: written.or(port).unwrap_or(if secure { SECURE_PORT } else { PLAIN_PORT }),
        url_token: url_token.filter(|token| !token.is_empty()),
    })
}

/// The port in a URL's text, even where it is the scheme's default.
fn written_port(text: &str) -> Option<u16> {
    let authority = text.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let (host, port) = authority.rsplit_once(':')?;
    // The last colon of `[::1]` belongs to the address.
    if host.contains('[') && !host.contains(']') { None } else { port.parse().ok() }
}

#[derive(Default)]
struct LocalGateway {
    port: Option<u16>,
    token: Option<Secret>,
}

/// Port and token of a gateway on this machine, from its own configuration. It isn't our file: what can't be read there
/// is passed over with a warning, and everything that was configured here wins.
fn openclaw_config(reader: &mut Reader<'_>) -> LocalGateway {
    // A token of this machine's gateway must not travel to another one.
    let elsewhere = reader.is_set("seed.url") || reader.is_set("seed.host");
    let path = reader.optional_text("seed.openclaw_config").filter(|_| !elsewhere);
    let Some(path) = path else { return LocalGateway::default() };
    let document: Result<serde_json::Value, String> = read_file(Path::new(&path))
        .map_err(|error| error.to_string())
        .and_then(|text| serde_json::from_str(&text).map_err(|_| "it is not JSON".to_owned()));
    match document {
        Ok(document) => LocalGateway {
            port: document
                .pointer("/gateway/port")
                .and_then(serde_json::Value::as_u64)
                .and_then(|port| u16::try_from(port).ok())
                .filter(|port| *port > 0),
            token: document
                .pointer("/gateway/auth/token")
                .and_then(serde_json::Value::as_str)
                .filter(|token| !token.is_empty())
                .map(Secret::new),
        },
        Err(reason) => {
            tracing::warn!(
                file = %path, %reason, source = reader.origin("seed.openclaw_config"),
                "the gateway's own configuration is not used for the first gateway"
            );
            LocalGateway::default()
        }
    }
}
