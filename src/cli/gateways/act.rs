//! `gatewarden gateways rm`, `reconnect`, `drain` and `undrain`: the same for each that is named, in turn.

use clap::Args;
use serde_json::Value;

use super::waiting::{self, WaitArgs};
use crate::cli::client::{Daemon, Trouble, number, text};
use crate::cli::{EXIT_FAILURE, EXIT_OK, terminal};

#[derive(Debug, Args)]
pub(super) struct ReconnectArgs {
    /// Names or ids
    #[arg(value_name = "GATEWAY", required = true)]
    gateways: Vec<String>,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Removes each. What can't be removed is said, and the others go all the same.
pub(super) fn remove(daemon: &Daemon, named: &[String]) -> Result<u8, Trouble> {
    let mut code = EXIT_OK;
    for named in named {
        let removed = daemon.gateway(named).and_then(|gateway| {
            let id = number(&gateway, "/id").unwrap_or_default();
            let answer = daemon.call("DELETE", &format!("/api/gateways/{id}"), None)?;
            daemon.done(&answer, |_| format!("removed {}", name_of(&gateway)));
            Ok(())
        });
        match removed {
            Ok(()) => {}
            Err(trouble) if named_one_only(&trouble) => {
                trouble.say(daemon.output);
                code = EXIT_FAILURE;
            }
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(code)
}

/// Whether a trouble is about the one gateway and not about all that may follow.
fn named_one_only(trouble: &Trouble) -> bool {
    trouble.exit_code() == EXIT_FAILURE
}

fn name_of(gateway: &Value) -> String {
    terminal::plain(&text(gateway, "/name").unwrap_or_default())
}

/// Drops connections and dials again.
pub(super) fn reconnect(daemon: &Daemon, args: &ReconnectArgs) -> Result<u8, Trouble> {
    let gateways =
        each(daemon, &args.gateways, "reconnect", |name| format!("{name} is dialled again"), args.wait.wait.is_some())?;
    if args.wait.wait.is_some() { waiting::until_online(daemon, &gateways, &args.wait) } else { Ok(EXIT_OK) }
}

/// Routes no new work to them.
pub(super) fn drain(daemon: &Daemon, named: &[String]) -> Result<(), Trouble> {
    each(daemon, named, "drain", |name| format!("{name} gets no new work"), false).map(drop)
}

/// Routes work to them again.
pub(super) fn undrain(daemon: &Daemon, named: &[String]) -> Result<(), Trouble> {
    each(daemon, named, "undrain", |name| format!("{name} gets work again"), false).map(drop)
}

fn each(
    daemon: &Daemon,
    named: &[String],
    action: &str,
    words: impl Fn(&str) -> String,
    silent: bool,
) -> Result<Vec<Value>, Trouble> {
    // A name that is wrong must not leave half of them done.
    let ids = named.iter().map(|named| daemon.gateway_id(named)).collect::<Result<Vec<_>, _>>()?;
    let mut gateways = Vec::new();
    for id in ids {
        let answer = daemon.call("POST", &format!("/api/gateways/{id}/{action}"), None)?;
        let gateway = answer.json().get("gateway").cloned().unwrap_or_default();
        if !silent {
            daemon.done(&answer, |_| words(&name_of(&gateway)));
        }
        gateways.push(gateway);
    }
    Ok(gateways)
}
