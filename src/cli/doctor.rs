//! `gatewarden doctor`: looks at everything that the daemon stands on, and says what helps. Changes nothing.
//!
//! | file | looks at |
//! | --- | --- |
//! | `state` | the state directory: modes, owners, what lies about |
//! | `database` | the database and its key |
//! | `daemon` | whether it runs, and what answers at its address |
//! | `machine` | disk, clock, open files, service manager |

mod daemon;
mod database;
mod machine;
mod state;

use std::path::PathBuf;

use clap::Args;
use gatewarden_actors::clock::Clock;

use super::findings::Report;
use super::installation::InstallationArgs;
use super::output::{Paint, print};
use crate::config::{Config, DEFAULT_FILE};

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Compare every index of the database with its table too: takes longer
    #[arg(long)]
    deep: bool,
    /// File of the encryption key, where the service gets it as a credential
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    installation: InstallationArgs,
}

/// Prints what was found; 1 where something is wrong.
pub(super) fn run(args: &DoctorArgs) -> u8 {
    let report = look(args);
    let text = if args.installation.json { report.json().to_string() } else { report.text(Paint::of_process()) };
    print(&text);
    report.exit_code()
}

fn look(args: &DoctorArgs) -> Report {
    let mut report = Report::default();
    let inputs = args.installation.config.inputs();
    let config = match Config::load(&inputs) {
        Ok(config) => config,
        Err(error) => {
            for problem in error.problems {
                let cure = "change it as the sentence says; `gatewarden config check` looks again";
                report.problem("configuration", problem.to_string(), cure);
            }
            return report;
        }
    };
    let file = inputs.config_file.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    report.fine(
        "configuration",
        if file.exists() { file.display().to_string() } else { "defaults and environment, no file".to_owned() },
    );
    for warning in &config.warnings {
        report.note("configuration", warning.clone(), "");
    }
    let now_ms = Clock::system().wall_ms();
    let holder = daemon::holder(&mut report, &config.state_dir);
    let there = state::look(&mut report, &config, holder.is_running());
    // A server's database may be there before the state directory is.
    let looks = there || config.store.database.file().is_none();
    let gateways = if looks { database::look(&mut report, &config, args, holder.is_running()) } else { 0 };
    machine::disk(&mut report, &config);
    machine::clock(&mut report, &config, now_ms);
    daemon::address(&mut report, &config, &holder);
    daemon::asked(&mut report, &inputs);
    machine::open_files(&mut report, &holder, gateways);
    machine::service(&mut report, &holder);
    if there {
        state::leftovers(&mut report, &config, now_ms);
    }
    report
}
