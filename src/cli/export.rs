//! `gatewarden export`: the gateways of a daemon as a list that `import` reads.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use gatewarden_api::gateway_record::Gateway;
use gatewarden_api::gateways::{GatewayAddressAnswer, GatewayIdBody};
use gatewarden_api::request::Request as _;
use gatewarden_protocol::Secret;
use serde_json::{Value, json};
use url::Url;

use super::EXIT_OK;
use super::daemon::{Daemon, PlaceArgs, ShownArgs, path_part};
use super::error::CliError;
use super::files::write_private;
use super::output::{complain, complain_as_is, plain, print};

/// What goes out, and where to.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    shown: ShownArgs,
    /// Form of the list
    #[arg(long, short = 'o', value_name = "FORMAT", default_value = "toml")]
    format: Format,
    /// Put the gateways' tokens in, too; the daemon's audit log says who read them
    #[arg(long)]
    with_tokens: bool,
    /// Write to a new file (mode 0600) in place of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Toml,
    Json,
}

/// Writes the list.
pub(super) fn run(args: &ExportArgs) -> u8 {
    args.place.run(args.shown.output(), |daemon| {
        let gateways = daemon.gateways()?;
        let count = gateways.len();
        let with_password: Vec<String> =
            gateways.iter().filter(|gateway| gateway.password_set).map(|gateway| gateway.name.clone()).collect();
        let requests = gateways.into_iter().map(|gateway| request_of(daemon, gateway, args.with_tokens));
        let document = json!({ "gateways": requests.collect::<Result<Vec<_>, _>>()? });
        let written = if args.format == Format::Json || daemon.output.is_json() {
            serde_json::to_string_pretty(&document).map_err(CliError::new)?
        } else {
            let (url, version) = (daemon.url(), env!("CARGO_PKG_VERSION"));
            let body = toml::to_string(&document).map_err(CliError::new)?;
            format!("# The gateways of {url}, by gatewarden {version}. `gatewarden import` reads this.\n\n{body}")
        };
        if args.with_tokens && !with_password.is_empty() && !daemon.output.is_quiet() {
            complain(&plain(&format!(
                "passwords are never shown and not in the list: `gatewarden gateways update NAME --password-file FILE` gives one to {}",
                with_password.join(", ")
            )));
        }
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
            complain_as_is(&format!("{count} gateways, {tokens}, are in {}", path.display()));
        }
        Ok(EXIT_OK)
    })
}

/// The request that registers the same gateway again.
fn request_of(daemon: &Daemon, gateway: Gateway, with_token: bool) -> Result<Value, CliError> {
    let id = gateway.id;
    let mut request = gateway.into_request();
    if with_token {
        let answer = daemon.send("POST", "/api/gateways/connect", &GatewayIdBody { id })?;
        let GatewayAddressAnswer { ws_url, token: told, .. } = daemon.read(&answer)?;
        // One that came in its URL goes back there.
        let in_url = Url::parse(&ws_url)
            .ok()
            .and_then(|url| url.query_pairs().find(|(name, _)| name == "token").map(|(_, token)| token.into_owned()));
        match in_url.filter(|token| told.is_empty() && !token.is_empty()) {
            Some(in_url) => request.host = format!("{}?token={}", request.host, path_part(&in_url)),
            None => request.settings.token = (!told.is_empty()).then(|| Some(Secret::new(&told))),
        }
    }
    Ok(request.json())
}
