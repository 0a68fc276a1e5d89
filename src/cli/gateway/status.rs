//! `gatewarden gateway status`: document 004's page.

use std::net::SocketAddr;
use std::path::Path;

use gatewarden_embedded_gateway::clock::Now;
use gatewarden_embedded_gateway::config::{Draft, load};
use gatewarden_embedded_gateway::lock_file::Holder;
use serde_json::{Value, json};

use super::super::http_client::{Request, Trust};
use super::super::{EXIT_FAILURE, EXIT_OK, terminal};
use super::{StatusArgs, holder_of, state_dir};

/// Prints the page; 0 where the gateway runs and answers, else 1.
pub(super) fn run(args: &StatusArgs) -> u8 {
    let inputs = args.place.inputs();
    let state_dir = match state_dir(&inputs) {
        Ok(dir) => dir,
        Err(code) => return code,
    };
    let holder = match holder_of(&state_dir) {
        Ok(holder) => holder,
        Err(code) => return code,
    };
    // Status works beside a configuration that has since been broken.
    let draft = load(&inputs);
    let seen = holder.as_ref().map(|holder| ask(holder, draft.as_ref().ok()));
    let page = page(holder.as_ref(), seen.as_ref(), draft.as_ref().ok(), &state_dir);
    if args.json {
        terminal::print(&page.to_string());
    } else {
        terminal::print(&for_people(&page));
        if let Err(error) = &draft {
            terminal::complain(&error.to_string());
        }
    }
    if page.get("answers") == Some(&Value::Bool(true)) { EXIT_OK } else { EXIT_FAILURE }
}

/// What the gateway itself says.
#[derive(Debug, Default)]
struct Seen {
    answers: bool,
    version: Option<String>,
    sessions: Option<usize>,
    trouble: Option<String>,
}

/// The address on which this machine reaches a listener.
pub(super) fn reachable(address: &str) -> Option<SocketAddr> {
    let mut address: SocketAddr = address.parse().ok()?;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    Some(address)
}

fn ask(holder: &Holder, draft: Option<&Draft>) -> Seen {
    let Some(to) = holder.address.as_deref().and_then(reachable) else {
        return Seen { trouble: Some("it is starting".to_owned()), ..Seen::default() };
    };
    let certificate = draft.and_then(|draft| draft.settings().tls.as_ref()).map(|tls| tls.cert.clone());
    let encrypted = holder.scheme == "wss";
    if encrypted && certificate.is_none() {
        let trouble = "it speaks TLS, and the configuration names no certificate to know it by".to_owned();
        return Seen { trouble: Some(trouble), ..Seen::default() };
    }
    let credential = draft.and_then(|draft| draft.credential().ok().flatten());
    let bearer = credential.map(|secret| format!("Bearer {}", secret.expose()));
    let get = |path: &str, credential: Option<&str>| {
        let trust = certificate.as_deref().filter(|_| encrypted).map_or(Trust::Plain, Trust::Only);
        let headers: Vec<_> = credential.map(|value| ("Authorization", value)).into_iter().collect();
        let answer = Request { trust, headers: &headers, ..Request::get(&[to], path) }.send()?;
        Ok::<_, std::io::Error>((answer.status(), answer.json()))
    };
    match get("/health", None) {
        Ok((200, health)) => {
            let sessions = get("/sessions", bearer.as_deref()).ok().filter(|(status, _)| *status == 200);
            Seen {
                answers: true,
                version: health.get("version").and_then(Value::as_str).map(str::to_owned),
                sessions: sessions.and_then(|(_, body)| body.get("sessions")?.as_array().map(Vec::len)),
                trouble: None,
            }
        }
        Ok((status, _)) => Seen { trouble: Some(format!("it answers with {status}")), ..Seen::default() },
        Err(error) => Seen { trouble: Some(format!("it does not answer at {to}: {error}")), ..Seen::default() },
    }
}

fn page(holder: Option<&Holder>, seen: Option<&Seen>, draft: Option<&Draft>, state_dir: &Path) -> Value {
    let token = draft.and_then(Draft::token_file);
    let mut page = json!({
        "running": holder.is_some(),
        "stateDir": state_dir,
        "configFile": draft.and_then(|draft| draft.settings().file.clone()),
        "logFile": draft.map(|draft| draft.settings().log.file.clone()),
        "tokenFile": token,
        "tokenMade": token.map(Path::exists),
    });
    let (Some(fields), Some(holder)) = (page.as_object_mut(), holder) else { return page };
    let now = Now::read().wall_ms;
    let address = holder.address.as_deref();
    let port = address.and_then(|address| address.parse::<SocketAddr>().ok()).map(|address| address.port());
    let more = json!({
        "pid": holder.pid,
        "uptimeMs": now.saturating_sub(holder.started_at).max(0),
        "port": port,
        "bind": holder.bind,
        "url": address.and_then(reachable).map(|address| format!("{}://{address}", holder.scheme)),
        "answers": seen.is_some_and(|seen| seen.answers),
        "version": seen.and_then(|seen| seen.version.clone()),
        "channels": 0,
        "sessions": seen.and_then(|seen| seen.sessions),
        "trouble": seen.and_then(|seen| seen.trouble.clone()),
    });
    if let Value::Object(more) = more {
        fields.extend(more);
    }
    page
}

fn for_people(page: &Value) -> String {
    let text = |key: &str| page.get(key).and_then(Value::as_str).map(str::to_owned);
    let number = |key: &str| page.get(key).and_then(Value::as_u64);
    let mut lines = vec!["Gateway Status".to_owned(), "--------------".to_owned()];
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            lines.push(format!("{name}: {value}"));
        }
    };
    let running = page.get("running") == Some(&Value::Bool(true));
    put("Running", Some(if running { "Yes" } else { "No" }.to_owned()));
    if running {
        put("PID", number("pid").map(|pid| pid.to_string()));
        put("Uptime", number("uptimeMs").map(uptime));
        put("Port", number("port").map(|port| port.to_string()));
        put("Bind", text("bind"));
        put("Address", text("url"));
        put("Version", text("version"));
        put("Channels", Some("0 connected (this gateway has none)".to_owned()));
        put("Sessions", number("sessions").map(|sessions| sessions.to_string()));
        put("Trouble", text("trouble"));
    }
    put("Configuration", Some(text("configFile").unwrap_or_else(|| "defaults (no file)".to_owned())));
    put("State", text("stateDir"));
    put("Log", text("logFile"));
    let made = page.get("tokenMade") == Some(&Value::Bool(true));
    put(
        "Token",
        text("tokenFile")
            .map(|file| if made { format!("in {file}") } else { format!("made at the first start, in {file}") }),
    );
    lines.join("\n")
}

/// `2h 34m`
fn uptime(ms: u64) -> String {
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
        let seen = Seen { answers: true, sessions: Some(12), ..Seen::default() };
        let text = for_people(&page(Some(&holder), Some(&seen), None, Path::new("/s")));
        let start = format!("Gateway Status\n--------------\nRunning: Yes\nPID: {}\nUptime: ", std::process::id());
        assert!(text.starts_with(&start), "{text}");
        for line in ["Port: 18789", "Bind: lan", "Address: ws://127.0.0.1:18789", "Sessions: 12"] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
        assert!(for_people(&page(None, None, None, Path::new("/s"))).contains("Running: No"));
    }
}
