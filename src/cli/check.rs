//! `gatewarden check HOST`: the way to one gateway step by step, by the dialing and the handshake that the daemon uses, without
//! a daemon. The first step that fails is the cause, and it comes with its cure.
//!
//! | file | does |
//! | --- | --- |
//! | `shown` | the report for people |
//! | `identity` | whose device and which stored credentials are used |

mod identity;
mod shown;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use gatewarden_protocol::{GatewayAddress, Secret};

use super::error::CliError;
use super::files::read_secret;
use super::gateway_target::{TrustArgs, host_and_port};
use super::output::{Output, complain, plain, print};
use super::{EXIT_FAILURE, EXIT_OK};
use crate::check::Asker;
use crate::check::steps::{self, Plan};
use crate::config::{Config, Inputs};

/// Holds the gateway's token where `--token-file` isn't given.
const TOKEN_VARIABLE: &str = "OPENCLAW_GATEWAY_TOKEN";

/// What to check, and how.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// HOST, HOST:PORT, or a ws, wss, http or https URL; the port is 18789 where none is given
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// File that holds the gateway's token, - for standard input [env: OPENCLAW_GATEWAY_TOKEN holds the token itself] [default:
    /// the stored one, where this address is registered here]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    /// Longest wait for each step
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=120))]
    timeout: u32,
    /// Log in with a device made for checks, not with the daemon's own
    #[arg(long)]
    own_device: bool,
    /// Configuration file of the daemon whose device and credentials are used [default: /etc/gatewarden/gatewarden.toml, where it
    /// exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// State directory of that daemon
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Print the code of the cause alone, ok where there is none
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

/// Goes the way and reports. 0: everything is fine.
pub(super) fn run(args: &CheckArgs) -> u8 {
    let output = Output::of_process(args.json, args.quiet);
    check(args, output).unwrap_or_else(|error| error.say(output))
}

fn check(args: &CheckArgs, output: Output) -> Result<u8, CliError> {
    let (host, port) = host_and_port(&args.address).map_err(CliError::usage)?;
    // The address is not repeated: it may hold a secret.
    let parsed = GatewayAddress::parse(&host, port)
        .map_err(|error| CliError::usage(format!("ADDRESS is unusable: {error}.")))?;
    let inputs = Inputs { config_file: args.config.clone(), state_dir: args.state_dir.clone(), ..Inputs::of_process() };
    let named_token = match &args.token_file {
        Some(file) => Some(read_secret(file)?),
        None => inputs.variable(TOKEN_VARIABLE).map(|token| Secret::new(token.trim())),
    };
    let named_trust = args.trust.chosen()?;
    // A configuration that was named must be right; without one, defaults have to do.
    let config = match Config::load(&inputs) {
        Ok(config) => Some(config),
        Err(error) if args.config.is_some() || args.state_dir.is_some() => {
            return Err(CliError::usage(error));
        }
        Err(_) => None,
    };
    let report = actix_rt::System::new().block_on(async {
        let known = identity::find(config.as_ref(), &parsed.address, args.own_device).await?;
        let plan = Plan {
            trust: named_trust.or_else(|| known.trust.clone()).unwrap_or_default(),
            token: named_token.or(parsed.query_token).or_else(|| known.token.clone()),
            address: parsed.address,
            patience: Duration::from_secs(u64::from(args.timeout)),
            known,
            asker: Asker::CommandLine,
        };
        let report = steps::go(plan, None).await;
        if report.cause().is_some()
            && output.is_for_people()
            && let Some(address) = identity::registered_as(config.as_ref(), &args.address).await
        {
            complain(&plain(&format!(
                "gateway {} is registered at {address}: `gatewarden check {address}`",
                args.address
            )));
        }
        Ok::<_, CliError>(report)
    })?;
    if args.json {
        print(&report.json().to_string());
    } else if args.quiet {
        print(report.cause().map_or("ok", |cause| cause.code.as_str()));
    } else {
        print(&shown::for_people(&report, output.paint));
    }
    Ok(if report.cause().is_some() { EXIT_FAILURE } else { EXIT_OK })
}
