//! The status page at `controlUi.basePath`: one document without scripts. Without a login it tells what `/health` tells; the
//! numbers are for who shows the token.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::{SharedContext, bearer, caller, reading};
use crate::COMPATIBLE_VERSION;
use crate::clock::Now;
use crate::machine::GatewayMachine;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem;\
color:#1b1f24;background:#fff}h1{font-size:1.4rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.35rem .5rem;border-bottom:1px solid #d8dee4}th{font-weight:500;color:#57606a}\
td{font-variant-numeric:tabular-nums}p{color:#57606a}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}th,td{border-color:#30363d}th,p{color:#8b949e}}";

pub(super) fn routes(service: &mut ServiceConfig, base_path: &str) {
    let base = base_path.trim_end_matches('/');
    let paths = if base.is_empty() { vec!["/".to_owned()] } else { vec![base.to_owned(), format!("{base}/")] };
    for path in paths {
        service.service(reading(path).route(web::get().to(page)).route(web::head().to(page)));
    }
}

async fn page(request: HttpRequest, context: SharedContext) -> HttpResponse {
    let numbers = if bearer(&request).is_some() {
        if let Err(refusal) = caller(&request, &context).await {
            return refusal;
        }
        context.in_turn(|machine, _| Numbers::of(machine)).await.ok()
    } else {
        None
    };
    let up = uptime(context.uptime(Now::read()).as_secs());
    let hash = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((CONTENT_SECURITY_POLICY, policy))
        .content_type("text/html; charset=utf-8")
        .body(document(&up, numbers.map(|numbers| (numbers, context.metrics.connections.get()))))
}

#[derive(Clone, Copy)]
struct Numbers {
    agents: usize,
    sessions: usize,
    busy_sessions: usize,
}

impl Numbers {
    fn of(machine: &GatewayMachine) -> Self {
        let (agents, sessions) = (&machine.agents, &machine.sessions);
        Self { agents: agents.list().len(), sessions: sessions.len(), busy_sessions: sessions.busy() }
    }
}

/// Everything in it is a number or a constant: there is nothing to escape.
fn document(up: &str, numbers: Option<(Numbers, i64)>) -> String {
    let mut rows = vec![("Status", "ok".to_owned()), ("Version", COMPATIBLE_VERSION.to_owned()), ("Up", up.to_owned())];
    if let Some((numbers, connections)) = numbers {
        rows.push(("Connections", connections.to_string()));
        rows.push(("Agents", numbers.agents.to_string()));
        rows.push(("Sessions", numbers.sessions.to_string()));
        rows.push(("Sessions at work", numbers.busy_sessions.to_string()));
    }
    let table: String = rows.iter().map(|(name, value)| format!("<tr><th>{name}<td>{value}")).collect();
    let hint = if numbers.is_some() {
        ""
    } else {
        "<p>More is shown with the header <code>Authorization: Bearer</code> and the gateway's token, and by \
         <code>gatewarden gateway status</code>."
    };
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta http-equiv=\"refresh\" content=\"10\"><title>OpenClaw gateway (gatewarden)</title><style>{STYLE}</style>\
         <h1>OpenClaw gateway (gatewarden)</h1><table>{table}</table>{hint}"
    )
}

fn uptime(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_login_it_tells_no_numbers() {
        let page = document("1 min", None);
        assert!(page.contains(COMPATIBLE_VERSION) && !page.contains("Sessions"));
        let numbers = Numbers { agents: 1, sessions: 41, busy_sessions: 2 };
        assert!(document("1 min", Some((numbers, 3))).contains("<th>Sessions<td>41"));
    }

    #[test]
    fn uptime_is_told_in_the_units_that_matter() {
        for (seconds, text) in [(59, "59 s"), (60, "1 min"), (3_700, "1 h 1 min"), (200_000, "2 d 7 h")] {
            assert_eq!(uptime(seconds), text);
        }
    }
}
