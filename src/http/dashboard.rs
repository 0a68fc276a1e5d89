//! The dashboard: pages for people. One document for all of them, which loads the modules in `web/` and asks the API like any
//! other client; and the login, which works without scripts.

mod login;
mod standby;

use std::sync::LazyLock;

use actix_web::dev::HttpServiceFactory;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, guard, web};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_assets::{DASHBOARD, Document};

pub(crate) use self::standby::Nodes;
use super::context::App;
use super::error::{Answer, ApiError};
use super::openapi::as_the_client_takes_it;

/// The pages: `web/app.js` has the same list. None is below `/api`.
const PAGES: [&str; 13] = [
    "/",
    r"/gateways/{id:\d+}",
    "/sessions",
    "/agents",
    "/spawns",
    "/connections",
    "/events",
    "/audit",
    "/devices",
    "/keys",
    "/nodes",
    "/status",
    "/help",
];

static SHELL: LazyLock<Shell> = LazyLock::new(Shell::new);

/// The pages, what they load, and the login.
pub(crate) fn routes(config: &mut web::ServiceConfig) {
    for path in PAGES {
        // Whoever doesn't ask for a page is answered as at any path without a route; at the start, whoever takes anything is
        // given it.
        let for_people = guard::All(guard::Get()).and(guard::fn_guard(|context| {
            let accepted = context.head().headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
            let is_start = context.head().uri.path() == "/";
            let takes = |accepted: &str| accepted.contains("text/html") || (is_start && accepted.contains("*/*"));
            accepted.map_or(is_start, takes)
        }));
        config.service(web::resource(path).guard(for_people).to(show_page));
    }
    config
        .service(web::resource("/login").guard(guard::Get()).to(login::show))
        .service(web::resource("/login").guard(guard::Post()).to(login::log_in))
        .service(assets());
}

fn assets() -> impl HttpServiceFactory {
    web::scope("/assets")
        .wrap(from_fn(as_the_client_takes_it))
        .service(web::resource("/{version}/{path:.*}").guard(guard::Get()).to(send_asset))
}

/// What a browser is shown where another node acts.
pub(crate) fn standby_page(status: StatusCode, failure: &Failure, url: Option<&str>, nodes: &Nodes) -> HttpResponse {
    let mut answer = HttpResponse::build(status);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.insert_header((header::RETRY_AFTER, "1"));
    }
    page(answer.body(standby::html(failure, url, nodes)))
}

async fn show_page() -> HttpResponse {
    page(HttpResponse::Ok().body(SHELL.html.as_str()))
}

/// A page of ours: never stored, under the policy of the dashboard.
fn page(mut answer: HttpResponse) -> HttpResponse {
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_SECURITY_POLICY, SHELL.policy.clone());
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    answer
}

async fn send_asset(app: App, request: HttpRequest) -> Answer {
    let (version, path) = (request.match_info().get("version"), request.match_info().get("path"));
    if !version.is_some_and(|version| DASHBOARD.is_of(version)) {
        let failure = Failure::new(ErrorCode::NotFound, "This file belongs to another release of the daemon");
        return Err(ApiError(failure.with_help("Reload the page.")));
    }
    let Some(asset) = version.zip(path).and_then(|(version, path)| DASHBOARD.get(version, path)) else {
        return Ok(app.routes.not_routed(&request));
    };
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, asset.kind))
        .insert_header((header::CONTENT_ENCODING, "gzip"))
        .insert_header((header::CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .insert_header((header::CONTENT_SECURITY_POLICY, "default-src 'none'"))
        .body(asset.compressed.clone()))
}

const WITHOUT_SCRIPTS: &str = "<p class=\"notice\">The dashboard needs JavaScript. Without it, use the command line \
(<code>gatewarden status</code>) or the <a href=\"/docs/\">REST API</a>.</p>";

/// The document of all pages.
struct Shell {
    document: Document,
    html: String,
    policy: HeaderValue,
}

impl Shell {
    fn new() -> Self {
        let document = Document::of(&DASHBOARD, "");
        let html = document.html("gatewarden", WITHOUT_SCRIPTS);
        // A hash in base64 is always a header value.
        let policy = HeaderValue::try_from(&document.policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
        Self { document, html, policy }
    }
}

/// The beginning of a document, up to what it loads of its own.
fn head(title: &str) -> String {
    SHELL.document.head(title)
}
