//! Whether the daemon runs, and what answers at its address.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use gatewarden_api::ErrorBody;
use gatewarden_api::daemon::Health;

use crate::app::{Holder, StateDir};
use crate::cli::daemon::endpoint::{Endpoint, reachable};
use crate::cli::findings::Report;
use crate::cli::http_client::{HttpClient, Reply, words};
use crate::config::{Config, Inputs, URL_VARIABLE};

const AREA: &str = "daemon";
/// Longest wait for each piece of an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks who has the state directory.
pub(super) fn holder(report: &mut Report, state_dir: &Path) -> Holder {
    let holder = StateDir::holder(state_dir).unwrap_or_else(|error| {
        let cure = "run this as root or as the daemon's user";
        let place = state_dir.display();
        report.problem(AREA, format!("whether it runs in {place} cannot be told: {error}"), cure);
        Holder::Unknown
    });
    match holder {
        Holder::Nobody => report.note(AREA, format!("none works in {}", state_dir.display()), ""),
        Holder::Daemon { process, .. } => {
            let who = process.map(|process| format!(" as process {process}")).unwrap_or_default();
            report.fine(AREA, format!("works in {}{who}", state_dir.display()));
        }
        Holder::Unknown => {}
    }
    holder
}

/// What is found at the address.
#[derive(Debug, Clone, PartialEq, Eq)]
enum There {
    /// A gatewarden of this release.
    Gatewarden(String),
    /// Something else, in these words.
    Other(String),
    /// Nobody listens, and it could be listened on.
    Free,
    /// Nobody answers, and it can't be listened on either: the system's words.
    Blocked(String),
}

/// Looks at the address.
pub(super) fn address(report: &mut Report, config: &Config, holder: &Holder) {
    // Where it really listens: a flag may have said otherwise.
    let listen = match holder {
        Holder::Daemon { address: Some(noted), .. } => *noted,
        _ => config.listen,
    };
    if listen.port() == 0 {
        report.note("address", "port 0: the daemon takes any free port and prints it", "");
        return;
    }
    judge(report, listen, *holder, &find(listen), env!("CARGO_PKG_VERSION"));
    if holder.is_running() {
        readiness(report, listen);
    }
}

/// Looks at whom the commands ask, where a variable says so.
pub(super) fn asked(report: &mut Report, inputs: &Inputs) {
    let Some(url) = inputs.variable(URL_VARIABLE) else { return };
    let cure = format!("start the daemon there, or change or unset {URL_VARIABLE}");
    let endpoint = match Endpoint::parse(url) {
        Ok(endpoint) => endpoint,
        Err(reason) => return report.problem("address", format!("${URL_VARIABLE} {reason}"), cure),
    };
    match endpoint.plain_address().map(find) {
        Some(There::Gatewarden(version)) => {
            report.fine("address", format!("gatewarden {version} answers at ${URL_VARIABLE} ({endpoint})"));
        }
        Some(There::Other(words)) => report.problem("address", format!("${URL_VARIABLE} ({endpoint}): {words}"), cure),
        Some(There::Free | There::Blocked(_)) => {
            report.problem("address", format!("nobody answers at ${URL_VARIABLE} ({endpoint})"), cure);
        }
        None => report.note("address", format!("${URL_VARIABLE} ({endpoint}) is not looked at: it is behind TLS"), ""),
    }
}

fn ask(listen: SocketAddr, path: &str) -> Result<Reply, ureq::Error> {
    HttpClient::local(reachable(listen), PATIENCE)?.get(path)
}

fn find(listen: SocketAddr) -> There {
    match ask(listen, "/health") {
        Ok(reply) => match serde_json::from_str::<Health>(&reply.text) {
            Ok(health) if reply.status == 200 && health.status == "ok" => There::Gatewarden(health.version),
            _ => There::Other(format!("it answers /health with status {}", reply.status)),
        },
        Err(ureq::Error::ConnectionFailed) => free_or_blocked(listen),
        Err(ureq::Error::Io(error))
            if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::AddrNotAvailable) =>
        {
            free_or_blocked(listen)
        }
        Err(error) => There::Other(format!("it does not answer as a gatewarden does: {}", words(&error))),
    }
}

fn free_or_blocked(listen: SocketAddr) -> There {
    TcpListener::bind(listen).map_or_else(|error| There::Blocked(error.to_string()), |_| There::Free)
}

fn judge(report: &mut Report, listen: SocketAddr, holder: Holder, there: &There, own: &str) {
    const AREA: &str = "address";
    let see = format!(
        "see who has it with `ss -ltnp 'sport = :{}'` and stop that, or choose another port with http.listen or --listen",
        listen.port()
    );
    match (there, holder) {
        (There::Gatewarden(version), Holder::Nobody) => report.problem(
            AREA,
            format!("a gatewarden {version} answers at {listen}, and it works in another state directory"),
            format!("name that one's directory with --state-dir, or {see}"),
        ),
        (There::Gatewarden(version), _) if version != own => report.note(
            AREA,
            format!("the daemon at {listen} is release {version}, and this command is {own}"),
            "restart the daemon to run the installed release: `systemctl restart gatewarden`",
        ),
        (There::Gatewarden(version), _) => report.fine(AREA, format!("gatewarden {version} answers at {listen}")),
        (There::Other(words), _) => report.problem(AREA, format!("another program has {listen}: {words}"), see),
        (There::Free, Holder::Daemon { .. }) => report.problem(
            AREA,
            format!("the daemon runs, but does not listen on {listen}"),
            "it was started with another address (--listen, or before the configuration changed): restart it, or name that \
             configuration with --config",
        ),
        (There::Free, _) => report.fine(AREA, format!("{listen} is free")),
        (There::Blocked(words), _) => report.problem(AREA, format!("{listen} cannot be listened on: {words}"), see),
    }
}

fn readiness(report: &mut Report, listen: SocketAddr) {
    let Some(reply) = ask(listen, "/ready").ok().filter(|reply| reply.status == 503) else { return };
    let said = serde_json::from_str::<ErrorBody>(&reply.text).ok();
    if let Some(said) = said.as_ref().filter(|said| said.code == "standby") {
        return report.fine(AREA, said.error.clone());
    }
    let words = said.as_ref().map_or("it gives no reason", |said| &said.error);
    let cure = said.as_ref().and_then(|said| said.help.as_deref()).unwrap_or("look at its log");
    report.problem(AREA, format!("is not ready: {words}"), cure);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(process: Option<u32>) -> Holder {
        Holder::Daemon { process, address: None }
    }

    fn judged(holder: Holder, there: There) -> (usize, String) {
        let mut report = Report::default();
        judge(&mut report, SocketAddr::from(([127, 0, 0, 1], 3000)), holder, &there, "2.0.0");
        (report.problems(), report.json().to_string())
    }

    #[test]
    fn who_answers_is_judged_by_who_has_the_state_directory() {
        let ours = || There::Gatewarden("2.0.0".to_owned());
        assert_eq!(judged(running(Some(1)), ours()).0, 0);
        assert_eq!(judged(Holder::Nobody, There::Free).0, 0);
        for (holder, there, word) in [
            (Holder::Nobody, ours(), "another state directory"),
            (running(None), There::Free, "does not listen"),
            (Holder::Nobody, There::Other("hello".to_owned()), "another program"),
            (Holder::Nobody, There::Blocked("denied".to_owned()), "cannot be listened on"),
        ] {
            let (problems, said) = judged(holder, there);
            assert!(problems == 1 && said.contains(word), "{said}");
        }
    }

    #[test]
    fn a_daemon_of_another_release_is_worth_a_note() {
        let (problems, said) = judged(running(None), There::Gatewarden("1.0.0".to_owned()));
        assert!(problems == 0 && said.contains("\"note\"") && said.contains("restart"), "{said}");
    }
}
