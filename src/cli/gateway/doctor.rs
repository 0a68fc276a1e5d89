//! `gatewarden gateway doctor`: looks at everything a gateway stands on, and says what helps. Changes nothing.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use gatewarden_embedded_gateway::config::{Draft, GatewayConfig, load};
use gatewarden_embedded_gateway::lock_file::{Holder, running};
use gatewarden_embedded_gateway::processes::find_orphans;
use serde_json::Value;

use super::super::{EXIT_FAILURE, EXIT_OK, terminal};
use super::{PlaceArgs, state_dir};

/// Most findings of one kind that are listed.
const MOST: usize = 20;
/// Longest file of sessions or devices that is looked into, in bytes.
const LONGEST: u64 = 256 * 1024 * 1024;

/// What was found.
#[derive(Debug, Default)]
struct Report {
    lines: Vec<String>,
    problems: usize,
}

impl Report {
    fn fine(&mut self, area: &str, text: impl AsRef<str>) {
        self.lines.push(format!("ok       {area}: {}", text.as_ref()));
    }

    fn note(&mut self, area: &str, text: impl AsRef<str>) {
        self.lines.push(format!("note     {area}: {}", text.as_ref()));
    }

    fn problem(&mut self, area: &str, text: impl AsRef<str>, cure: impl AsRef<str>) {
        self.problems += 1;
        self.lines.push(format!("problem  {area}: {}\n         cure: {}", text.as_ref(), cure.as_ref()));
    }
}

/// Prints the report; 1 where there are problems.
pub(super) fn run(place: &PlaceArgs) -> u8 {
    let inputs = place.inputs();
    let state_dir = match state_dir(&inputs) {
        Ok(dir) => dir,
        Err(code) => return code,
    };
    let mut report = Report::default();
    let draft = match load(&inputs) {
        Ok(draft) => {
            let file = draft.settings().file.as_ref();
            report
                .fine("configuration", file.map_or("defaults, no file".to_owned(), |file| file.display().to_string()));
            for warning in &draft.warnings {
                report.note("configuration", warning);
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
    let holder = running(&state_dir).unwrap_or_else(|error| {
        report.problem("lock", error.to_string(), "let your user read the lock file");
        None
    });
    match &holder {
        Some(holder) => report.fine("gateway", format!("runs as process {}", holder.pid)),
        None => report.note("gateway", "does not run"),
    }
    if let Some(draft) = &draft {
        port(&mut report, draft.settings(), holder.as_ref());
        secrets(&mut report, draft);
        commands(&mut report, draft.settings());
    }
    if state_dir.is_dir() {
        permissions(&mut report, &state_dir);
        sessions(&mut report, &state_dir);
        for (name, cure) in [("devices.json", "devices must pair again"), ("agents.json", "created agents are lost")] {
            json_file(&mut report, &state_dir.join(name), cure);
        }
        if holder.is_none() {
            orphans(&mut report, &state_dir);
        }
    } else {
        report.note("state", format!("{} does not exist yet; the first start makes it", state_dir.display()));
    }
    report.lines.push(match report.problems {
        0 => "no problems found".to_owned(),
        1 => "1 problem found".to_owned(),
        many => format!("{many} problems found"),
    });
    terminal::print(&report.lines.join("\n"));
    if report.problems == 0 { EXIT_OK } else { EXIT_FAILURE }
}

fn port(report: &mut Report, config: &GatewayConfig, holder: Option<&Holder>) {
    let address = SocketAddr::new(config.bind.address(), config.port);
    let own =
        holder.and_then(|holder| holder.address.as_deref()).and_then(|address| address.parse::<SocketAddr>().ok());
    if own.is_some_and(|own| own.port() == config.port) {
        report.fine("port", format!("{} is the running gateway's", config.port));
        return;
    }
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
            report.note("credential", "the first start makes a token");
        }
        Ok(None) => {
            report.note("credential", "none: gateway.auth.mode is none, whoever is on this machine may connect")
        }
        Err(error) => report.problem("credential", error.to_string(), "as the sentence says"),
    }
    if let Some(tls) = &draft.settings().tls {
        for file in [&tls.cert, &tls.key] {
            if !file.is_file() {
                report.note("tls", format!("{} is made at the first start", file.display()));
            }
        }
        private(report, &tls.key);
    }
}

fn commands(report: &mut Report, config: &GatewayConfig) {
    let broken = config.commands.iter().filter(|(_, command)| !command.program.is_file());
    for (name, command) in broken.take(MOST) {
        report.problem(
            "commands",
            format!("gatewarden.commands.{name}: there is no {}", command.program.display()),
            "install the program, or write its absolute path",
        );
    }
}

/// Everything in the state directory is the owner's alone.
fn permissions(report: &mut Report, state_dir: &Path) {
    let before = report.problems;
    match std::fs::metadata(state_dir).map(|metadata| metadata.permissions().mode() & 0o777) {
        Ok(mode) if mode & 0o077 != 0 => report.problem(
            "permissions",
            format!("{} may be entered by others (mode {mode:04o})", state_dir.display()),
            format!("chmod 700 {}", state_dir.display()),
        ),
        Ok(_) => {}
        Err(error) => report.problem("permissions", error.to_string(), "give the directory to your user"),
    }
    for name in ["gateway-token", ".gateway.lock", "devices.json", "agents.json", "audit.log"] {
        private(report, &state_dir.join(name));
    }
    if !is_writable(state_dir) {
        let text = format!("{} cannot be written to", state_dir.display());
        report.problem(
            "permissions",
            text,
            "give the directory to your user (chown), or name another with --state-dir",
        );
    }
    if report.problems == before {
        report.fine("permissions", format!("{} is private", state_dir.display()));
    }
}

fn is_writable(dir: &Path) -> bool {
    rustix::fs::access(dir, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok()
}

fn private(report: &mut Report, file: &Path) {
    let Ok(metadata) = std::fs::metadata(file) else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let text = format!("{} may be read by others (mode {mode:04o})", file.display());
        report.problem("permissions", text, format!("chmod 600 {}", file.display()));
    }
}

/// Each transcript is JSON lines; a torn last line is what a power cut leaves and is repaired at the next start.
fn sessions(report: &mut Report, state_dir: &Path) {
    let dir = state_dir.join("sessions");
    let Ok(entries) = std::fs::read_dir(&dir) else {
        report.note("sessions", "none yet");
        return;
    };
    let files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    let before = report.problems;
    for file in &files {
        if report.problems - before >= MOST {
            break;
        }
        match broken_line(file) {
            Ok(None) => {}
            Ok(Some((line, true))) => {
                report.note(
                    "sessions",
                    format!("{} ends in half a line ({line}); the next start repairs it", file.display()),
                );
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
    json_file(report, &dir.join("index.json"), "it is made anew from the transcripts");
    if report.problems == before {
        report.fine("sessions", format!("{} transcripts", files.len()));
    }
}

/// The first line that is no JSON, and whether it is a torn last one.
fn broken_line(file: &Path) -> std::io::Result<Option<(usize, bool)>> {
    let opened = std::fs::File::open(file)?;
    let mut reader = BufReader::new(std::io::Read::take(opened, LONGEST));
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

fn json_file(report: &mut Report, file: &Path, without: &str) {
    let Ok(bytes) = std::fs::read(file) else { return };
    if serde_json::from_slice::<Value>(&bytes).is_err() {
        let cure = format!("put a backup in its place, or move it away ({without})");
        report.problem("state", format!("{} is no JSON", file.display()), cure);
    }
}

fn orphans(report: &mut Report, state_dir: &Path) {
    for orphan in find_orphans(state_dir).into_iter().take(MOST) {
        report.problem("orphans", orphan.sentence(), format!("kill -TERM -- -{}", orphan.group));
    }
}
