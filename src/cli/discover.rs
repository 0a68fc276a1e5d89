//! `gatewarden discover`: the gateways that announce themselves in the daemon's network, or that a DNS domain names.

use std::time::Duration;

use clap::Args;
use gatewarden_api::gateway_record::{GatewayAnswer, GatewayFields};
use gatewarden_api::gateways::{DiscoverBody, DiscoveredGateway, DiscoveredGateways};

use super::daemon::{Daemon, DaemonArgs};
use super::error::CliError;
use super::output::{plain, print};
use super::table::{Cell, Table};
use super::{EXIT_FAILURE, EXIT_OK};

/// Longest search, milliseconds.
const MOST_MS: i64 = 10_000;
/// Gateways that aren't listed and are named.
const MOST_NAMED: usize = 20;

#[derive(Debug, Args)]
pub(super) struct DiscoverArgs {
    /// How long to listen, in milliseconds: a gateway answers once a second at most [default: the daemon's, two seconds]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(i64).range(1_000..=MOST_MS))]
    timeout: Option<i64>,
    /// Ask the daemon's resolver for the gateways of this DNS domain instead, such as openclaw.internal [default time: five seconds]
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// Register those that aren't yet, without a token: give it with `gatewarden gateways update`
    #[arg(long)]
    register: bool,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Prints them.
pub(super) fn run(args: &DiscoverArgs) -> u8 {
    args.daemon.run(|daemon| {
        let patience = daemon.within(Duration::from_millis(MOST_MS.unsigned_abs()) + Duration::from_secs(10));
        let body = DiscoverBody { timeout_ms: args.timeout, domain: args.domain.clone() };
        let answer = patience.send("POST", "/api/gateways/discover", &body)?;
        let found: DiscoveredGateways = daemon.read(&answer)?;
        daemon.warn(left_out(&found.left_out).as_deref());
        if !args.register {
            return daemon.list(&answer, "gateways", table);
        }
        let fresh: Vec<_> = found.gateways.iter().filter(|gateway| !gateway.already_registered).collect();
        if fresh.is_empty() && daemon.output.is_for_people() {
            print("No gateway was found that isn't registered.");
        }
        let mut code = EXIT_OK;
        for gateway in fresh {
            // What can't be registered is said, and the others are all the same.
            if let Err(error) = register(daemon, gateway) {
                if !error.is_of_one() {
                    return Err(error);
                }
                error.say(daemon.output);
                code = EXIT_FAILURE;
            }
        }
        Ok(code)
    })
}

fn left_out(names: &[String]) -> Option<String> {
    let named = names.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = match names.len().saturating_sub(MOST_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!names.is_empty()).then(|| {
        format!(
            "left out ({}): {named}{more}. An answer about them was refused, got lost or came too late (try again, with a longer \
             --timeout), they have no address that may be connected to, or there are too many",
            names.len()
        )
    })
}

fn register(daemon: &Daemon, gateway: &DiscoveredGateway) -> Result<(), CliError> {
    let (name, host) = (Some(gateway.name.clone()), Some(gateway.address.clone()));
    let body = GatewayFields { name, host, ..GatewayFields::default() };
    let answer = daemon.send("POST", "/api/gateways", &body).map_err(|error| error.about(&gateway.name))?;
    daemon.done(&answer, |said: &GatewayAnswer| {
        let (name, id) = (&said.gateway.name, said.gateway.id);
        format!(
            "added {name} with id {id} at {}; it needs a token: gatewarden gateways update {id} --token-file FILE",
            gateway.address
        )
    })?;
    Ok(())
}

fn table(found: &DiscoveredGateways) -> Table {
    let row = |gateway: &DiscoveredGateway| {
        vec![
            Cell::new(plain(&gateway.name)),
            Cell::new(&gateway.address),
            Cell::new(&gateway.host),
            Cell::maybe(gateway.gateway_id),
            Cell::maybe(gateway.tls_sha256.as_ref()),
        ]
    };
    let heading = ["NAME", "ADDRESS", "HOST", "GATEWAY", "CERTIFICATE"];
    let empty = "No gateway was found.";
    Table::of(&heading, found.gateways.iter().map(row), empty).leaving_out(&["CERTIFICATE", "HOST"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_that_are_left_out_are_named_and_nothing_is_said_where_there_are_none() {
        assert_eq!(left_out(&[]), None);
        let said = left_out(&["attic".to_owned(), "cellar".to_owned()]).unwrap();
        assert!(said.contains("(2): attic, cellar. ") && said.contains("--timeout"), "{said}");
        let said = left_out(&vec!["attic".to_owned(); 30]).unwrap();
        assert!(said.contains("(30): attic, ") && said.contains("attic and 10 more. "), "{said}");
    }
}
