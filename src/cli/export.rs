//! `gatewarden export`: the gateways of a daemon as a list that `import` reads.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use gatewarden_api::gateways::{Gateway, GatewayAddressAnswer, GatewayIdBody, Tls};
use serde::Serialize;
use url::Url;

use super::EXIT_OK;
use super::daemon::{Daemon, PlaceArgs, ShownArgs, path_part};
use super::error::CliError;
use super::files::write_private;
use super::output::{complain_as_is, print};

/// What goes out, and where to.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    shown: ShownArgs,
    /// Form of the list
    #[arg(long, value_name = "FORMAT", default_value = "toml")]
    format: Format,
    /// Put the gateways' tokens in, too; the daemon's audit log says who read them
    #[arg(long)]
    with_tokens: bool,
    /// Write to a new file (mode 0600) in place of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Toml,
    Json,
}

/// The settings of one gateway, as `import` reads them. Tables come last, as TOML wants them.
#[derive(Debug, Serialize)]
struct Exported {
    name: String,
    host: String,
    port: u16,
    is_primary: bool,
    priority: i32,
    transport: String,
    disable_device_pairing: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    drained: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    tls: Tls,
}

#[derive(Debug, Serialize)]
struct Document {
    gateways: Vec<Exported>,
}

/// Writes the list.
pub(super) fn run(args: &ExportArgs) -> u8 {
    args.place.run(args.shown.output(), |daemon| {
        let gateways = daemon.gateways()?.into_iter().map(|gateway| exported(daemon, gateway, args.with_tokens));
        let document = Document { gateways: gateways.collect::<Result<_, _>>()? };
        let written = if args.format == Format::Json || daemon.output.is_json() {
            serde_json::to_string_pretty(&document).map_err(CliError::new)?
        } else {
            let (url, version) = (daemon.url(), env!("CARGO_PKG_VERSION"));
            let body = toml::to_string(&document).map_err(CliError::new)?;
            format!("# The gateways of {url}, by gatewarden {version}. `gatewarden import` reads this.\n\n{body}")
        };
        let Some(path) = &args.output else {
            print(&written);
            return Ok(EXIT_OK);
        };
        write_private(path, &format!("{written}\n")).map_err(|error| {
            CliError::new(format!("The list cannot be written to {}: {error}.", path.display()))
                .cure("Name a file that does not exist.")
        })?;
        if !daemon.output.is_quiet() {
            let tokens = if args.with_tokens { "with their tokens" } else { "without tokens" };
            let count = document.gateways.len();
            complain_as_is(&format!("{count} gateways, {tokens}, are in {}", path.display()));
        }
        Ok(EXIT_OK)
    })
}

fn exported(daemon: &Daemon, gateway: Gateway, with_token: bool) -> Result<Exported, CliError> {
    let Gateway { id, name, mut host, port, is_primary, priority, transport, drained, labels, tls, .. } = gateway;
    let mut token = None;
    if with_token {
        let answer = daemon.send("POST", "/api/gateways/connect", &GatewayIdBody { id })?;
        let GatewayAddressAnswer { ws_url, token: told, .. } = daemon.read(&answer)?;
        token = Some(told).filter(|token| !token.is_empty());
        // One that came in its URL goes back there.
        let in_url = Url::parse(&ws_url)
            .ok()
            .and_then(|url| url.query_pairs().find(|(name, _)| name == "token").map(|(_, token)| token.into_owned()));
        if let (None, Some(in_url)) = (&token, in_url.filter(|token| !token.is_empty())) {
            host = format!("{host}?token={}", path_part(&in_url));
        }
    }
    let disable_device_pairing = gateway.disable_device_pairing;
    Ok(Exported {
        name,
        host,
        port,
        is_primary,
        priority,
        transport,
        disable_device_pairing,
        drained,
        token,
        labels,
        tls,
    })
}
