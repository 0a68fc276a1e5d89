//! Waiting until gateways are online, and saying on the way how they are.

use std::time::Duration;

use clap::Args;
use gatewarden_actors::clock::Clock;
use serde_json::Value;

use crate::cli::client::{Daemon, Trouble, number, text};
use crate::cli::{EXIT_FAILURE, EXIT_OK, terminal};

/// Between the first two looks; twice as long each time, up to a bound: looks count against the limit of requests.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Args)]
pub(super) struct WaitArgs {
    /// Wait until it is online, so many seconds at most; ends with 1 and the cure if it isn't then
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "30", require_equals = true)]
    pub(super) wait: Option<u32>,
}

/// Waits until all of them are online. A refusal that only a change can cure ends it sooner.
pub(super) fn until_online(daemon: &Daemon, gateways: &[Value], args: &WaitArgs) -> Result<u8, Trouble> {
    let clock = Clock::system();
    let deadline = clock.now() + Duration::from_secs(u64::from(args.wait.unwrap_or_default()));
    let mut failed = false;
    for gateway in gateways {
        let id = number(gateway, "/id").unwrap_or_default();
        let mut said = String::new();
        let mut pause = FIRST_PAUSE;
        let last = loop {
            let answer = daemon.get(&format!("/api/gateways/{id}"))?;
            let seen = answer.json().get("gateway").cloned().unwrap_or_default();
            let (status, phase) =
                (text(&seen, "/status").unwrap_or_default(), text(&seen, "/phase").unwrap_or_default());
            let now = format!("{}: {status}, {phase}", text(&seen, "/name").unwrap_or_default());
            if now != said && !daemon.output.is_quiet() && !daemon.output.is_json() {
                terminal::complain_as_is(&terminal::plain(&now));
            }
            said = now;
            if status == "online" || phase == "blocked" || phase == "parked" || clock.now() >= deadline {
                break answer;
            }
            #[expect(clippy::disallowed_methods, reason = "between two looks at another process's state")]
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        let seen = last.json();
        let online = text(&seen, "/gateway/status").as_deref() == Some("online");
        failed |= !online;
        daemon.done(&last, |seen| outcome(seen.get("gateway").unwrap_or(&Value::Null), online));
    }
    Ok(if failed { EXIT_FAILURE } else { EXIT_OK })
}

fn outcome(gateway: &Value, online: bool) -> String {
    let name = text(gateway, "/name").unwrap_or_default();
    let said = if online {
        format!("{name} is online")
    } else {
        let problem = text(gateway, "/last_error/message").unwrap_or_else(|| format!("{name} is not online."));
        match text(gateway, "/last_error/help") {
            Some(help) => format!("{problem}\n  {help}"),
            None => problem,
        }
    };
    terminal::plain_lines(&said)
}
