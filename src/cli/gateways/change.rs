//! `gatewarden gateways add` and `update`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use gatewarden_actors::gateway_record::TlsTrust;
use gatewarden_api::gateway_record::{GatewayAnswer, GatewayFields, GatewaySettings, TlsBody};

use super::{WaitArgs, label, until_online, warn_of_digits};
use crate::cli::daemon::{Answer, Daemon, address_of, some_change};
use crate::cli::error::CliError;
use crate::cli::files::read_secret;
use crate::cli::gateway_target::{TrustArgs, host_and_port};

#[derive(Debug, Args)]
pub(in crate::cli) struct AddArgs {
    /// Its name, not in use yet
    #[arg(value_name = "NAME")]
    name: String,
    /// HOST, HOST:PORT, or a ws, wss, http or https URL; the port is 18789 where none is given
    #[arg(value_name = "ADDRESS")]
    address: String,
    #[command(flatten)]
    fields: FieldArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct UpdateArgs {
    /// Name or id
    #[arg(value_name = "GATEWAY")]
    gateway: String,
    /// A new name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A new address: HOST, HOST:PORT or a URL
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Forget its token
    #[arg(long, conflicts_with = "token_file")]
    no_token: bool,
    /// Forget its password
    #[arg(long, conflicts_with = "password_file")]
    no_password: bool,
    /// Forget all its labels
    #[arg(long, conflicts_with = "labels")]
    no_labels: bool,
    /// It is no process of the daemon's machine any more; a command ends, a unit goes on
    #[arg(long, conflicts_with_all = ["unit", "command"])]
    no_process: bool,
    /// Any node may hold its connection
    #[arg(long, conflicts_with = "node")]
    no_node: bool,
    #[command(flatten)]
    fields: FieldArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Args)]
struct FieldArgs {
    /// File that holds its token, - for standard input; a token on the command line could be read by everybody here
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// File that holds its password, for a gateway whose gateway.auth.mode is password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Make it the configured primary
    #[arg(long)]
    primary: bool,
    /// Higher is preferred when a primary is elected
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// A label; several may be given, and all are set anew
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// How it is spoken to
    #[arg(long, value_name = "TRANSPORT", value_parser = ["auto", "ws", "http"])]
    transport: Option<String>,
    #[command(flatten)]
    trust: TrustArgs,
    /// The system unit on the daemon's machine that runs it
    #[arg(long, value_name = "UNIT", conflicts_with = "command")]
    unit: Option<String>,
    /// The command of the daemon's configuration that runs it
    #[arg(long, value_name = "NAME")]
    command: Option<String>,
    /// Whether it is used as a control UI without a device
    #[arg(long, value_name = "BOOL")]
    disable_device_pairing: Option<bool>,
    /// The node of a cluster that alone holds its connection
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

impl FieldArgs {
    /// The fields that are the same of a new gateway and of a change.
    fn fields(&self, name: Option<&str>, address: Option<&str>) -> Result<GatewayFields, CliError> {
        let address = address.map(host_and_port).transpose().map_err(CliError::usage)?;
        let (host, port) = address.unzip();
        let secret = |file: &Option<PathBuf>| file.as_deref().map(|file| read_secret(file).map(Some)).transpose();
        let settings = GatewaySettings {
            port: port.flatten(),
            token: secret(&self.token_file)?,
            password: secret(&self.password_file)?,
            is_primary: self.primary.then_some(true),
            priority: self.priority,
            labels: (!self.labels.is_empty()).then(|| self.labels.iter().cloned().collect()),
            transport: self.transport.clone(),
            tls: self.trust.chosen()?.map(tls_body),
            unit: self.unit.clone().map(Some),
            command: self.command.clone().map(Some),
            disable_device_pairing: self.disable_device_pairing,
            node: self.node.clone().map(Some),
            ..GatewaySettings::default()
        };
        Ok(GatewayFields { name: name.map(str::to_owned), host, settings, ..GatewayFields::default() })
    }
}

fn tls_body(trust: TlsTrust) -> TlsBody {
    let body = |trust: &str| TlsBody { trust: trust.to_owned(), ..TlsBody::default() };
    match trust {
        TlsTrust::System => body("system"),
        TlsTrust::None => body("none"),
        TlsTrust::Pins { pins } => TlsBody { pins: Some(pins), ..body("pins") },
        TlsTrust::Ca { ca_pem } => TlsBody { ca_pem: Some(ca_pem), ..body("ca") },
    }
}

/// Registers one.
pub(super) fn add(daemon: &Daemon, args: &AddArgs) -> Result<u8, CliError> {
    let body = args.fields.fields(Some(&args.name), Some(&args.address))?;
    let answer = daemon.send("POST", "/api/gateways", &body).map_err(|error| error.about(&args.name))?;
    daemon.warn(daemon.read::<GatewayAnswer>(&answer)?.warning.as_deref());
    warn_of_digits(daemon, &args.name);
    finish(daemon, &answer, &args.wait, |GatewayAnswer { gateway, .. }| {
        let address = address_of(&gateway.host, Some(gateway.port));
        format!("added {} with id {} at {address}; it is dialled now", args.name, gateway.id)
    })
}

/// Changes one.
pub(super) fn update(daemon: &Daemon, args: &UpdateArgs) -> Result<u8, CliError> {
    let mut fields = args.fields.fields(args.name.as_deref(), args.address.as_deref())?;
    if args.no_token {
        fields.settings.token = Some(None);
    }
    if args.no_password {
        fields.settings.password = Some(None);
    }
    if args.no_labels {
        fields.settings.labels = Some(BTreeMap::new());
    }
    if args.no_process {
        (fields.settings.unit, fields.settings.command) = (Some(None), Some(None));
    }
    if args.no_node {
        fields.settings.node = Some(None);
    }
    let fields = some_change(fields)?;
    let id = daemon.gateway_id(&args.gateway)?;
    let answer = daemon.send("PUT", &format!("/api/gateways/{id}"), &fields)?;
    warn_of_digits(daemon, args.name.as_deref().unwrap_or_default());
    finish(daemon, &answer, &args.wait, |said| format!("changed {}", said.gateway.name))
}

fn finish(
    daemon: &Daemon,
    answer: &Answer<GatewayAnswer>,
    wait: &WaitArgs,
    words: impl FnOnce(&GatewayAnswer) -> String,
) -> Result<u8, CliError> {
    match wait.wait {
        None => daemon.done(answer, words),
        Some(_) => until_online(daemon, &[daemon.read(answer)?.gateway], wait),
    }
}
