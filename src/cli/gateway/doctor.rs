//! `gatewarden gateway doctor`: looks at everything a gateway stands on, and says what helps. Changes nothing.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use gatewarden_embedded_gateway::channels::try_credentials;
use gatewarden_embedded_gateway::config::{ChannelAccount, Draft, GatewayConfig, load};
use gatewarden_embedded_gateway::lock_file::{Holder, running};
use gatewarden_embedded_gateway::look_at_state;
use gatewarden_embedded_gateway::processes::{Orphan, find_orphans};
use gatewarden_protocol::words;
use serde_json::Value;

use super::super::error::CliError;
use super::super::findings::Report;
use super::super::output::{Paint, counted, print};
use super::running::{Running, address_of};
use super::{PlaceArgs, state_dir};

/// Most findings of one kind that are listed.
const MAX_LISTED: usize = 20;
/// Longest transcript that is looked into, in bytes.
const MAX_FILE: u64 = 256 * 1024 * 1024;

/// Prints the report; 1 where there are problems.
pub(super) fn run(place: &PlaceArgs) -> Result<u8, CliError> {
    let inputs = place.inputs();
    let state_dir = state_dir(&inputs)?;
    let mut report = Report::default();
    let holder = running(&state_dir).unwrap_or_else(|error| {
        report.problem("lock", error.to_string(), "let your user read the lock file");
        None
    });
    let inputs = inputs.beside(holder.as_ref());
    let draft = match load(&inputs) {
        Ok(draft) => {
            let file = draft.settings().file.as_ref();
            let file = file.map_or("defaults, no file".to_owned(), |file| file.display().to_string());
            report.fine("configuration", file);
            for warning in &draft.warnings {
                report.note("configuration", warning, "");
            }
            Some(draft)
        }
        Err(error) => {
            for problem in error.problems {
                report.problem("configuration", problem.to_string(), "change the file as the sentence says");
            }
            None
        }
    };
    match &holder {
        Some(holder) => report.fine("gateway", format!("runs as process {}", holder.pid)),
        None => report.note("gateway", "does not run", ""),
    }
    if let Some(draft) = &draft {
        port(&mut report, draft.settings(), holder.as_ref());
        secrets(&mut report, draft);
        commands(&mut report, draft.settings());
        channels(&mut report, draft, holder.as_ref());
        tailscale(&mut report, draft.settings());
    }
    if state_dir.is_dir() {
        permissions(&mut report, &state_dir);
        sessions(&mut report, &state_dir);
        state_files(&mut report, &state_dir);
        set_aside(&mut report, &state_dir);
        for orphan in orphans(&state_dir, holder.as_ref()) {
            report.problem("orphans", orphan.sentence(), format!("kill -TERM -- -{}", orphan.group));
        }
    } else {
        report.note("state", format!("{} does not exist yet; the first start makes it", state_dir.display()), "");
    }
    print(&report.text(Paint::none()));
    Ok(report.exit_code())
}

fn port(report: &mut Report, config: &GatewayConfig, holder: Option<&Holder>) {
    // Flags and environment of its start may have said another one than the file.
    if let Some(own) = holder.and_then(|holder| holder.address.as_deref()) {
        report.fine("port", format!("the running gateway listens on {own}"));
        return;
    }
    let address = match config.bind.address() {
        Ok(address) => SocketAddr::new(address, config.port),
        Err(error) => return report.problem("port", error.to_string(), "as the sentence says"),
    };
    match TcpListener::bind(address) {
        Ok(_) => report.fine("port", format!("{address} is free")),
        Err(error) => report.problem(
            "port",
            format!("{address} cannot be listened on: {error}"),
            format!(
                "see who has it with `ss -ltnp 'sport = :{}'` and stop that, or set gateway.port or --port",
                config.port
            ),
        ),
    }
}

fn secrets(report: &mut Report, draft: &Draft) {
    match draft.credential() {
        Ok(Some(_)) => report.fine("credential", "there is one"),
        Ok(None) if draft.token_file().is_some() => {
            report.note("credential", "the first start makes a token", "");
        }
        Ok(None) => {
            report.note("credential", "none: gateway.auth.mode is none, whoever is on this machine may connect", "");
        }
        Err(error) => report.problem("credential", error.to_string(), "as the sentence says"),
    }
    if let Some(tls) = &draft.settings().tls {
        for file in [&tls.cert, &tls.key] {
            if !file.is_file() {
                report.note("tls", format!("{} is made at the first start", file.display()), "");
            }
        }
        report.must_be_private("permissions", &tls.key);
    }
}

fn commands(report: &mut Report, config: &GatewayConfig) {
    let commands = config.commands.iter().map(|(name, command)| (format!("gatewarden.commands.{name}"), command));
    let acp = config.agents.iter().filter_map(|(id, agent)| Some((id, &agent.acp.as_ref()?.command)));
    let acp = acp.map(|(id, command)| (format!("agents.entries.{id}.acp"), command));
    for (entry, command) in commands.chain(acp).filter(|(_, command)| !command.program.is_file()).take(MAX_LISTED) {
        report.problem(
            "commands",
            format!("{entry}: there is no {}", command.program.display()),
            "install the program, or write its absolute path",
        );
    }
}

/// What a running gateway says of its route is in `status`.
fn tailscale(report: &mut Report, config: &GatewayConfig) {
    const AREA: &str = "tailscale";
    let seen = actix_rt::System::new()
        .block_on(gatewarden_embedded_gateway::tailscale::look(&config.tailscale, &config.state_dir));
    match seen {
        None => {}
        Some(Ok(name)) => report.fine(AREA, format!("this machine can serve as {name}")),
        Some(Err((error, cure))) => report.problem(AREA, error, cure),
    }
}

/// Each token is tried at its service, which a gateway that uses it doesn't notice. Whether another program uses it is known to the
/// running gateway alone.
fn channels(report: &mut Report, draft: &Draft, holder: Option<&Holder>) {
    const AREA: &str = "channels";
    let system = actix_rt::System::new();
    let which = |account: &ChannelAccount| format!("{} {}", account.kind.label(), account.id);
    let used: Vec<_> =
        draft.settings().channels.iter().filter(|account| account.enabled && account.token.is_some()).collect();
    let mut found = Vec::new();
    for account in &used {
        match system.block_on(try_credentials(account)) {
            Ok(name) => {
                let bot = words::shown(&name);
                report.fine(
                    AREA,
                    format!("{}: its token is accepted, the bot is {}", which(account), account.kind.named_as(&bot)),
                );
            }
            Err((error, cure)) => {
                found.push(words::shown(&format!("{} {}: {error}", account.kind.id(), account.id)));
                report.problem(AREA, format!("{}: {error}", which(account)), cure);
            }
        }
    }
    let listens = holder.and_then(|holder| Some((holder, address_of(holder)?)));
    if let Some((holder, listens)) = listens.filter(|_| !used.is_empty()) {
        let running = Running::new(holder, listens, Some(draft));
        let seen = running.and_then(|running| system.block_on(running.overview()));
        let troubles = match seen {
            Ok(seen) => seen.channel_troubles,
            Err(error) => return report.problem(AREA, format!("the running gateway can't be asked: {error}"), ""),
        };
        for trouble in troubles.iter().filter(|trouble| !found.iter().any(|error| trouble.starts_with(error))) {
            report.problem(AREA, format!("the running gateway says: {trouble}"), "");
        }
    }
}

/// Everything in the state directory is the owner's alone.
fn permissions(report: &mut Report, state_dir: &Path) {
    const AREA: &str = "permissions";
    let before = report.problems();
    report.must_be_private(AREA, state_dir);
    for name in ["gateway-token", ".gateway.lock", "devices.json", "agents.json", "cron.jsonl", "audit.log"] {
        report.must_be_private(AREA, &state_dir.join(name));
    }
    let cure = "give the directory to your user (chown), or name another with --state-dir";
    report.must_be_writable(AREA, state_dir, cure);
    if report.problems() == before {
        report.fine(AREA, format!("{} is private", state_dir.display()));
    }
}

/// Each transcript is JSON lines; a torn last line is what a power cut leaves and is repaired at the next start.
fn sessions(report: &mut Report, state_dir: &Path) {
    let dir = state_dir.join("sessions");
    let Ok(entries) = std::fs::read_dir(&dir) else {
        report.note("sessions", "none yet", "");
        return;
    };
    let files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    let before = report.problems();
    for file in &files {
        if report.problems() - before >= MAX_LISTED {
            break;
        }
        match broken_line(file) {
            Ok(None) => {}
            Ok(Some((line, true))) => {
                let text = format!("{} ends in half a line ({line}); the next start repairs it", file.display());
                report.note("sessions", text, "");
            }
            Ok(Some((line, false))) => report.problem(
                "sessions",
                format!("{}: line {line} is no JSON", file.display()),
                "stop the gateway and delete that line, or move the file away to lose the session",
            ),
            Err(error) => {
                report.problem("sessions", format!("{}: {error}", file.display()), "give the file to your user");
            }
        }
    }
    if report.problems() == before {
        report.fine("sessions", counted(files.len() as u64, "transcript"));
    }
}

/// The first line that is no JSON, and whether it is a torn last one.
fn broken_line(file: &Path) -> std::io::Result<Option<(usize, bool)>> {
    let opened = std::fs::File::open(file)?;
    let mut reader = BufReader::new(std::io::Read::take(opened, MAX_FILE));
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        number += 1;
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        let whole = line.ends_with(b"\n");
        if !line.trim_ascii().is_empty() && serde_json::from_slice::<Value>(&line).is_err() {
            return Ok(Some((number, !whole)));
        }
    }
}

/// What the next start would make of the other files.
fn state_files(report: &mut Report, state_dir: &Path) {
    let (files, wrong) = look_at_state(state_dir);
    if files > 0 && wrong.is_empty() {
        report.fine("state", format!("{}, current, nothing to migrate", counted(files as u64, "file")));
    }
    for sentence in wrong.iter().take(MAX_LISTED) {
        let (text, cure) = sentence.rsplit_once("; ").unwrap_or((sentence, ""));
        report.problem("state", text, cure);
    }
}

/// What made no sense at a start, and was left out.
fn set_aside(report: &mut Report, state_dir: &Path) {
    let entries =
        [state_dir.to_owned(), state_dir.join("channels")].into_iter().filter_map(|dir| std::fs::read_dir(dir).ok());
    let files = entries.flatten().filter_map(|entry| Some(entry.ok()?.path()));
    for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "damaged")).take(MAX_LISTED) {
        let text = format!("a start found what makes no sense, left it out, and kept the file as {}", file.display());
        let cure = "what is missing can be taken from there by hand while the gateway is stopped; delete the file then";
        report.problem("state", text, cure);
    }
}

/// What former gateways left running.
pub(super) fn orphans(state_dir: &Path, holder: Option<&Holder>) -> Vec<Orphan> {
    let mut orphans = find_orphans(state_dir, holder.map(|holder| holder.pid));
    orphans.truncate(MAX_LISTED);
    orphans
}
