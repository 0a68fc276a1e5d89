//! What is at `controlUi.basePath`: to browsers the Control UI, a document that loads its modules and talks to the gateway over
//! the WebSocket like any other client; to all others the status page, one document without scripts. Without a login it tells
//! what `/health` tells; the numbers are for who shows the token.

use actix_web::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue,
};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatewarden_assets::{CONTROL_UI, Document};
use sha2::{Digest as _, Sha256};
use std::sync::OnceLock;

use super::{SharedContext, bearer, caller, not_found, reading};
use crate::COMPATIBLE_VERSION;
use crate::clock::Now;
use crate::machine::GatewayMachine;

const TITLE: &str = "OpenClaw gateway (gatewarden)";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem;\
color:#1b1f24;background:#fff}h1{font-size:1.4rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.35rem .5rem;border-bottom:1px solid #d8dee4}th{font-weight:500;color:#57606a}\
td{font-variant-numeric:tabular-nums}p{color:#57606a}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}th,td{border-color:#30363d}th,p{color:#8b949e}}";

/// The document of the Control UI, made when the first browser asks for it.
struct ControlUi {
    base: String,
    document: OnceLock<Document>,
}

pub(super) fn routes(service: &mut ServiceConfig, base_path: &str) {
    let base = base_path.trim_end_matches('/').to_owned();
    let paths = if base.is_empty() { vec!["/".to_owned()] } else { vec![base.clone(), format!("{base}/")] };
    let assets = format!("{base}/assets/{{version}}/{{path:.*}}");
    service.app_data(Data::new(ControlUi { base, document: OnceLock::new() }));
    for path in paths {
        service.service(reading(path).route(web::get().to(page)).route(web::head().to(page)));
    }
    service.service(reading(assets).route(web::get().to(asset)).route(web::head().to(asset)));
}

async fn page(request: HttpRequest, context: SharedContext, control_ui: Data<ControlUi>) -> HttpResponse {
    let numbers = if bearer(&request).is_some() {
        if let Err(refusal) = caller(&request, &context).await {
            return refusal;
        }
        context.in_turn(|machine, _| Numbers::of(machine)).await.ok()
    } else {
        None
    };
    let up = uptime(context.uptime(Now::read()).as_secs());
    let content = content(&up, numbers.map(|numbers| (numbers, context.metrics.connections.get())));
    let (html, policy) = if is_browser(&request) {
        let document = control_ui.document.get_or_init(|| Document::of(&CONTROL_UI, &control_ui.base));
        let without_scripts = format!("<main>{content}<p>To talk to agents, allow JavaScript for this page.</main>");
        (document.html(TITLE, &without_scripts), document.policy.clone())
    } else {
        let hash = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        (status_document(&content), policy)
    };
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((CONTENT_SECURITY_POLICY, policy))
        .insert_header((HeaderName::from_static("cross-origin-opener-policy"), "same-origin"))
        .content_type("text/html; charset=utf-8")
        .body(html)
}

/// Whoever asks for a page by that word, and not for anything at all.
fn is_browser(request: &HttpRequest) -> bool {
    let accepted = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("text/html"))
}

/// Every browser that runs these modules takes gzip.
async fn asset(request: HttpRequest) -> HttpResponse {
    let named = |name| request.match_info().get(name).unwrap_or_default();
    let Some(asset) = CONTROL_UI.get(named("version"), named("path")) else { return not_found().await };
    HttpResponse::Ok()
        .insert_header((CONTENT_ENCODING, HeaderValue::from_static("gzip")))
        .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .insert_header((CONTENT_SECURITY_POLICY, "default-src 'none'"))
        .content_type(asset.kind)
        .body(asset.compressed.clone())
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
fn content(up: &str, numbers: Option<(Numbers, i64)>) -> String {
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
    format!("<h1>{TITLE}</h1><table>{table}</table>{hint}")
}

fn status_document(content: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta http-equiv=\"refresh\" content=\"10\"><title>{TITLE}</title><style>{STYLE}</style>{content}"
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
        let page = content("1 min", None);
        assert!(page.contains(COMPATIBLE_VERSION) && !page.contains("Sessions"));
        let numbers = Numbers { agents: 1, sessions: 41, busy_sessions: 2 };
        assert!(content("1 min", Some((numbers, 3))).contains("<th>Sessions<td>41"));
    }

    #[test]
    fn uptime_is_told_in_the_units_that_matter() {
        for (seconds, text) in [(59, "59 s"), (60, "1 min"), (3_700, "1 h 1 min"), (200_000, "2 d 7 h")] {
            assert_eq!(uptime(seconds), text);
        }
    }
}
