//! `gatewarden gateway status`: document 004's page.

use std::net::SocketAddr;
use std::path::Path;

use gatewarden_embedded_gateway::clock::Now;
use gatewarden_embedded_gateway::config::{Draft, load};
use gatewarden_embedded_gateway::lock_file::Holder;
use gatewarden_embedded_gateway::processes::Orphan;
use serde::Serialize;

use super::super::error::CliError;
use super::super::output::{complain, plain, print};
use super::super::{EXIT_FAILURE, EXIT_OK};
use super::ShowArgs;
use super::doctor;
use super::running::{Overview, Running, address_of};

/// Prints the page; 0 where the gateway runs and answers, else 1.
pub(super) fn run(args: &ShowArgs) -> Result<u8, CliError> {
    let (state_dir, holder, inputs) = args.place.with_holder()?;
    // Status works beside a configuration that has since been broken.
    let draft = load(&inputs);
    let seen = holder.as_ref().map(|holder| ask(holder, draft.as_ref().ok()));
    let left = doctor::orphans(&state_dir, holder.as_ref());
    let orphans = left.iter().map(Orphan::sentence).collect();
    let page = Page { orphans, ..Page::of(holder.as_ref().zip(seen), draft.as_ref().ok(), &state_dir) };
    if args.json {
        print(&serde_json::to_string(&page).map_err(CliError::new)?);
    } else {
        print(&page.for_people());
        if let Err(error) = &draft {
            complain(&error.to_string());
            if holder.is_some() {
                complain(
                    "the gateway goes on with what it read before; its sessions and channels can't be asked without its credential",
                );
            }
        }
    }
    let answers = page.process.is_some_and(|process| process.answers);
    Ok(if answers { EXIT_OK } else { EXIT_FAILURE })
}

/// What the gateway itself says. Err: why it doesn't.
fn ask(holder: &Holder, draft: Option<&Draft>) -> Result<Overview, String> {
    let listens = address_of(holder).ok_or("it is starting")?;
    let running = Running::new(holder, listens, draft)?;
    actix_rt::System::new().block_on(running.overview())
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    running: bool,
    state_dir: String,
    config_file: Option<String>,
    log_file: Option<String>,
    token_file: Option<String>,
    token_made: Option<bool>,
    /// What former gateways left running; sentences.
    orphans: Vec<String>,
    /// Of a gateway that runs.
    #[serde(flatten)]
    process: Option<ProcessPage>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessPage {
    pid: u32,
    uptime_ms: i64,
    port: Option<u16>,
    bind: String,
    url: Option<String>,
    answers: bool,
    #[serde(flatten)]
    overview: Overview,
    trouble: Option<String>,
}

impl Page {
    fn of(running: Option<(&Holder, Result<Overview, String>)>, draft: Option<&Draft>, state_dir: &Path) -> Self {
        let shown = |path: &Path| path.display().to_string();
        let token = draft.and_then(Draft::token_file);
        let settings = draft.map(Draft::settings);
        let of_start = running.as_ref().and_then(|(holder, _)| holder.config.as_deref());
        Self {
            running: running.is_some(),
            state_dir: shown(state_dir),
            config_file: settings.map_or(of_start, |settings| settings.file.as_deref()).map(shown),
            log_file: settings.map(|settings| shown(&settings.log.file)),
            token_file: token.map(shown),
            token_made: token.map(Path::exists),
            orphans: Vec::new(),
            process: running.map(|(holder, seen)| ProcessPage::of(holder, seen)),
        }
    }

    fn for_people(&self) -> String {
        let mut lines = vec!["Gateway Status".to_owned(), "--------------".to_owned()];
        let mut put = |name: &str, value: Option<String>| {
            lines.extend(value.map(|value| format!("{name}: {value}")));
        };
        put("Running", Some(if self.running { "Yes" } else { "No" }.to_owned()));
        if let Some(process) = &self.process {
            put("PID", Some(process.pid.to_string()));
            put("Uptime", Some(uptime(process.uptime_ms)));
            put("Port", process.port.map(|port| port.to_string()));
            put("Bind", Some(process.bind.clone()));
            put("Address", process.url.clone());
            let seen = &process.overview;
            put("Version", seen.version.clone());
            put("Channels", seen.channels.map(|channels| format!("{channels} connected")));
            seen.channel_troubles.iter().for_each(|said| put("Channel", Some(said.clone())));
            put("Tailscale", seen.tailscale.clone());
            let sessions = seen.active_sessions.zip(seen.sessions);
            put("Sessions", sessions.map(|(active, all)| format!("{active} active, {all} in all")));
            put("Trouble", process.trouble.clone());
        }
        let unapplied = self.process.iter().flat_map(|process| process.overview.configuration.clone());
        put("Configuration", Some(self.config_file.clone().unwrap_or_else(|| "defaults (no file)".to_owned())));
        unapplied.for_each(|said| put("Configuration", Some(said)));
        self.orphans.iter().for_each(|said| put("Orphan", Some(plain(said))));
        put("State", Some(self.state_dir.clone()));
        put("Log", self.log_file.clone());
        let made = if self.token_made == Some(true) { "in" } else { "made at the first start, in" };
        put("Token", self.token_file.as_ref().map(|file| format!("{made} {file}")));
        lines.join("\n")
    }
}

impl ProcessPage {
    fn of(holder: &Holder, seen: Result<Overview, String>) -> Self {
        let own: Option<SocketAddr> = holder.address.as_deref().and_then(|address| address.parse().ok());
        let (answers, overview, trouble) = match seen {
            Ok(overview) => (true, overview, None),
            Err(trouble) => (false, Overview::default(), Some(trouble)),
        };
        Self {
            pid: holder.pid,
            uptime_ms: Now::read().wall_ms.saturating_sub(holder.started_at).max(0),
            port: own.map(|address| address.port()),
            bind: holder.bind.clone(),
            url: address_of(holder).map(|address| format!("{}://{address}", holder.scheme)),
            answers,
            overview,
            trouble,
        }
    }
}

/// `2h 34m`
fn uptime(ms: i64) -> String {
    let seconds = ms / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptimes_read_as_people_say_them() {
        for (ms, text) in [(0, "0s"), (61_000, "1m 1s"), (9_240_000, "2h 34m"), (100_000_000, "1d 3h")] {
            assert_eq!(uptime(ms), text);
        }
    }

    #[test]
    fn the_page_is_document_004s() {
        let holder = Holder { address: Some("0.0.0.0:18789".to_owned()), bind: "lan".to_owned(), ..Holder::this(0) };
        let seen = Overview { sessions: Some(30), active_sessions: Some(12), ..Overview::default() };
        let text = Page::of(Some((&holder, Ok(seen))), None, Path::new("/s")).for_people();
        let start = format!("Gateway Status\n--------------\nRunning: Yes\nPID: {}\nUptime: ", std::process::id());
        assert!(text.starts_with(&start), "{text}");
        for line in ["Port: 18789", "Bind: lan", "Address: ws://127.0.0.1:18789", "Sessions: 12 active, 30 in all"] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
        assert!(Page::of(None, None, Path::new("/s")).for_people().contains("Running: No"));
    }
}
