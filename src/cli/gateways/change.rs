//! `gatewarden gateways add` and `update`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::waiting::{self, WaitArgs};
use crate::cli::client::{Daemon, Trouble, address_of, number, read_secret, text};
use crate::cli::gateway_address::host_and_port;
use crate::cli::tls_trust::TrustArgs;
use crate::cli::{EXIT_OK, terminal};

#[derive(Debug, Args)]
pub(super) struct AddArgs {
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
pub(super) struct UpdateArgs {
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
    /// Forget all its labels
    #[arg(long, conflicts_with = "labels")]
    no_labels: bool,
    /// It is no process of the daemon's machine any more; a command ends, a unit goes on
    #[arg(long, conflicts_with_all = ["unit", "command"])]
    no_process: bool,
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
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl FieldArgs {
    fn put(&self, body: &mut Map<String, Value>) -> Result<(), Trouble> {
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        let token = self.token_file.as_deref().map(read_secret).transpose()?;
        put("token", token.map(|token| token.expose().into()));
        put("is_primary", self.primary.then_some(Value::Bool(true)));
        put("priority", self.priority.map(Value::from));
        let labels: Map<String, Value> = self.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        put("labels", (!labels.is_empty()).then_some(Value::Object(labels)));
        put("transport", self.transport.clone().map(Value::from));
        let trust = self.trust.chosen()?;
        put("tls", trust.and_then(|trust| serde_json::to_value(trust).ok()));
        put("unit", self.unit.clone().map(Value::from));
        put("command", self.command.clone().map(Value::from));
        put("disable_device_pairing", self.disable_device_pairing.map(Value::Bool));
        Ok(())
    }
}

fn put_address(body: &mut Map<String, Value>, address: &str) -> Result<(), Trouble> {
    let (host, port) = host_and_port(address).map_err(Trouble::usage)?;
    body.insert("host".to_owned(), host.into());
    if let Some(port) = port {
        body.insert("port".to_owned(), port.into());
    }
    Ok(())
}

/// Registers one.
pub(super) fn add(daemon: &Daemon, args: &AddArgs) -> Result<u8, Trouble> {
    let mut body = Map::new();
    body.insert("name".to_owned(), args.name.clone().into());
    put_address(&mut body, &args.address)?;
    args.fields.put(&mut body)?;
    let answer = daemon.call("POST", "/api/gateways", Some(&Value::Object(body)))?;
    let said = answer.json();
    if let Some(warning) = text(&said, "/warning").filter(|_| !daemon.output.is_quiet()) {
        terminal::complain(&terminal::plain(&warning));
    }
    let gateway = said.get("gateway").cloned().unwrap_or_default();
    if args.wait.wait.is_none() {
        daemon.done(&answer, |_| {
            let id = number(&gateway, "/id").unwrap_or_default();
            let name = terminal::plain(&args.name);
            format!("added {name} with id {id} at {}; it is dialled now", terminal::plain(&address_of(&gateway)))
        });
        return Ok(EXIT_OK);
    }
    waiting::until_online(daemon, &[gateway], &args.wait)
}

/// Changes one.
pub(super) fn update(daemon: &Daemon, args: &UpdateArgs) -> Result<u8, Trouble> {
    let mut body = Map::new();
    if let Some(name) = &args.name {
        body.insert("name".to_owned(), name.clone().into());
    }
    if let Some(address) = &args.address {
        put_address(&mut body, address)?;
    }
    args.fields.put(&mut body)?;
    if args.no_token {
        body.insert("token".to_owned(), Value::Null);
    }
    if args.no_labels {
        body.insert("labels".to_owned(), json!({}));
    }
    if args.no_process {
        body.extend([("unit".to_owned(), Value::Null), ("command".to_owned(), Value::Null)]);
    }
    if body.is_empty() {
        return Err(Trouble::usage("There is nothing to change: give at least one of the options."));
    }
    let id = daemon.gateway_id(&args.gateway)?;
    let answer = daemon.call("PUT", &format!("/api/gateways/{id}"), Some(&Value::Object(body)))?;
    let gateway = answer.json().get("gateway").cloned().unwrap_or_default();
    if args.wait.wait.is_none() {
        daemon.done(&answer, |_| format!("changed {}", terminal::plain(&text(&gateway, "/name").unwrap_or_default())));
        return Ok(EXIT_OK);
    }
    waiting::until_online(daemon, &[gateway], &args.wait)
}
