//! Section `seed`: the gateway that is made where there is none.

use std::path::Path;

use gatewarden_actors::gateway_record::GatewaySpec;
use gatewarden_embedded_gateway::config::read_tree_of;
use gatewarden_protocol::address::DEFAULT_GATEWAY_PORT;
use gatewarden_protocol::{GatewayAddress, ParsedHost, Secret};
use serde_json::Value;

use super::reader::{Reader, or};

const PORT_VARIABLES: [&str; 3] = ["OPENCLAW_GATEWAY_PORT", "GATEWAY_PORT", "NEXT_PUBLIC_GATEWAY_PORT"];

/// The gateway to seed, always as primary.
pub(super) fn gateway(reader: &mut Reader<'_>) -> GatewaySpec {
    let name = reader.text(or("seed.name", &["MC_DEFAULT_GATEWAY_NAME"]), "primary");
    if name.chars().count() > 200 || name.chars().any(char::is_control) {
        reader.wrong("seed.name", "must be 1 to 200 characters without control characters");
    }
    let host = reader.text(or("seed.host", &["OPENCLAW_GATEWAY_HOST"]), "127.0.0.1");
    let port = reader.number(or("seed.port", &PORT_VARIABLES), u32::from(DEFAULT_GATEWAY_PORT), 1..=65535);
    let port = u16::try_from(port).unwrap_or(DEFAULT_GATEWAY_PORT);
    let url = reader.optional_text(or("seed.url", &["GATEWAY_URL"]));
    let token = reader.secret(
        or("seed.token", &["OPENCLAW_GATEWAY_TOKEN", "GATEWAY_TOKEN"]),
        "seed.token_file",
        "gateway_token",
    );
    let local = openclaw_config(reader);
    let address = address(reader, url, host, port, local.port);
    let spec = match address {
        Some(read) => GatewaySpec::at_address(name, read),
        None => GatewaySpec::at(name, "", DEFAULT_GATEWAY_PORT),
    };
    GatewaySpec { token: token.or(local.token), password: local.password, is_primary: true, ..spec }
}

/// Where the gateway is. A URL wins over host and port.
fn address(
    reader: &mut Reader<'_>,
    url: Option<String>,
    host: String,
    configured: u16,
    local: Option<u16>,
) -> Option<ParsedHost> {
    let (key, text, port) = match url {
        Some(url) => ("seed.url", url, None),
        None => {
            let given = if reader.is_set("seed.port") { Some(configured) } else { local };
            // The default port must not outdo the one that a URL's scheme means.
            let port = given.or((!host.contains("://")).then_some(configured));
            ("seed.host", host, port)
        }
    };
    let parsed = GatewayAddress::parse(&text, port);
    parsed.map_err(|error| reader.wrong(key, error.to_string())).ok()
}

#[derive(Default)]
struct LocalGateway {
    port: Option<u16>,
    token: Option<Secret>,
    password: Option<Secret>,
}

/// Port, token and password of a gateway on this machine, from its own configuration. It isn't our file: what can't be read there
/// is passed over with a warning, and everything that was configured here wins.
fn openclaw_config(reader: &mut Reader<'_>) -> LocalGateway {
    let path = reader.optional_text(or("seed.openclaw_config", &["OPENCLAW_CONFIG"]));
    // A token of this machine's gateway must not travel to another one.
    let elsewhere = reader.is_set("seed.url") || reader.is_set("seed.host");
    let Some(path) = path.filter(|_| !elsewhere) else { return LocalGateway::default() };
    // JSON5 or YAML, as the gateway itself reads it.
    match read_tree_of(Path::new(&path)) {
        Ok(document) => {
            let port = document.pointer("/gateway/port").and_then(Value::as_u64);
            let secret = |pointer: &str| {
                let text = document.pointer(pointer).and_then(Value::as_str);
                // `${NAME}` is a variable of the gateway's own environment.
                text.filter(|text| !text.is_empty() && !text.contains("${")).map(Secret::new)
            };
            LocalGateway {
                port: port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0),
                token: secret("/gateway/auth/token"),
                password: secret("/gateway/auth/password"),
            }
        }
        Err(reason) => {
            let origin = reader.origin("seed.openclaw_config");
            let warning = format!("{path} (from {origin}) is not used for the first gateway: {reason}");
            reader.warnings.push(warning);
            LocalGateway::default()
        }
    }
}
