//! Section `seed`: the gateway that is made where there is none.

use std::path::Path;

use gatewarden_actors::gateway_record::GatewaySpec;
use gatewarden_protocol::address::DEFAULT_GATEWAY_PORT;
use gatewarden_protocol::{GatewayAddress, ParsedHost, Secret};

use super::layers::read_file;
use super::reading::Reader;

/// The gateway to seed, always as primary.
pub(super) fn gateway(reader: &mut Reader<'_>) -> GatewaySpec {
    let name = reader.text("seed.name");
    if name.chars().count() > 200 || name.chars().any(char::is_control) {
        reader.wrong("seed.name", "must be 1 to 200 characters without control characters");
    }
    let local = openclaw_config(reader);
    let address = address(reader, local.port);
    let port = address.as_ref().map_or(DEFAULT_GATEWAY_PORT, ParsedHost::port);
    let (host, url_token) = address.map(|parsed| (parsed.host_text, parsed.url_token)).unwrap_or_default();
    let token = reader.optional_text("seed.token").map(Secret::new).or(local.token);
    GatewaySpec { token, url_token, is_primary: true, ..GatewaySpec::at(name, host, port) }
}

/// Where the gateway is. A URL given as `seed.url` wins over host and port.
fn address(reader: &mut Reader<'_>, local_port: Option<u16>) -> Option<ParsedHost> {
    let configured = u16::try_from(reader.number("seed.port", 1..=65535)).unwrap_or(DEFAULT_GATEWAY_PORT);
    let (key, text, port) = match reader.optional_text("seed.url") {
        Some(url) => ("seed.url", url, None),
        None => {
            let host = reader.text("seed.host");
            let given = if reader.is_set("seed.port") { Some(configured) } else { local_port };
            // The default port must not outdo the one that a URL's scheme means.
            let port = given.or((!host.contains("://")).then_some(configured));
            ("seed.host", host, port)
        }
    };
    match GatewayAddress::parse(&text, port) {
        Ok(parsed) => Some(parsed),
        Err(error) => {
            reader.wrong(key, error);
            None
        }
    }
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
            let origin = reader.origin("seed.openclaw_config").to_owned();
            reader.warnings.push(format!("{path} (from {origin}) is not used for the first gateway: {reason}"));
            LocalGateway::default()
        }
    }
}
