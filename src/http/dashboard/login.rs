//! `/login`: a form in which a person gives an API key, for a browser session as `POST /api/auth/login` opens it.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_protocol::Secret;
use url::form_urlencoded;

use super::{head, page};
use crate::http::access::{open_session, open_session_once};
use crate::http::auth::{cross_origin, is_from_elsewhere};
use crate::http::context::App;
use crate::http::error::{ApiError, status_of};
use crate::http::input::read_small;

pub(super) async fn show(request: HttpRequest) -> HttpResponse {
    let query = form_urlencoded::parse(request.query_string().as_bytes());
    let (mut next, mut once, mut ended) = (String::new(), Secret::new(""), false);
    for (name, value) in query {
        match &*name {
            "next" => next = value.into_owned(),
            "once" => once = Secret::new(value),
            "ended" => ended = true,
            _ => {}
        }
    }
    if !once.is_empty() {
        return link_form(&once);
    }
    let why = ended
        .then(|| Failure::new(ErrorCode::Unauthorized, "The browser session has ended").with_help("Log in again."));
    form(StatusCode::OK, &next, why.as_ref())
}

pub(super) async fn log_in(app: App, request: HttpRequest, body: web::Payload) -> HttpResponse {
    let mut next = String::new();
    match try_to(&app, &request, body, &mut next).await {
        Ok(answer) => answer,
        Err(ApiError(failure)) => {
            let mut answer = form(status_of(failure.code), &next, Some(&failure));
            if let Some(after) = failure.retry_after {
                let seconds = after.as_millis().div_ceil(1000).to_string();
                if let Ok(value) = header::HeaderValue::try_from(seconds) {
                    answer.headers_mut().insert(header::RETRY_AFTER, value);
                }
            }
            answer
        }
    }
}

async fn try_to(
    app: &App,
    request: &HttpRequest,
    body: web::Payload,
    next: &mut String,
) -> Result<HttpResponse, ApiError> {
    // Nobody may log somebody else's browser in.
    if is_from_elsewhere(request) {
        return Err(cross_origin());
    }
    let bytes = read_small(request, body.into_inner()).await?;
    let (mut key, mut once) = (Secret::new(""), Secret::new(""));
    for (name, value) in form_urlencoded::parse(&bytes) {
        match &*name {
            "api_key" => key = Secret::new(value),
            "once" => once = Secret::new(value),
            "next" => *next = value.into_owned(),
            _ => {}
        }
    }
    let (cookie, _) = if once.is_empty() {
        open_session(app, request, key.expose().trim()).await?
    } else {
        open_session_once(app, request, once.expose()).await?
    };
    let onwards = (header::LOCATION, local(next));
    Ok(page(HttpResponse::SeeOther().cookie(cookie).insert_header(onwards).finish()))
}

/// Where to go on: a path of ours, whatever was asked for.
fn local(next: &str) -> &str {
    let is_ours = next.starts_with('/')
        && !next.starts_with("//")
        && !next.starts_with("/login")
        && next.len() <= 1_000
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_ours { next } else { "/" }
}

fn form(status: StatusCode, next: &str, why: Option<&Failure>) -> HttpResponse {
    let head = head("Log in – gatewarden");
    let next = escaped(local(next));
    let why = why.map_or_else(String::new, |failure| {
        let help = failure.help.as_deref().unwrap_or_default();
        format!(
            "<div class=\"notice bad\" role=\"alert\"><strong>{}</strong><br>{}</div>\n",
            escaped(&failure.message),
            escaped(
                &help
                    .replace("Send a good key in the header X-API-Key, or as Authorization: Bearer <key>.", HELP)
                    // Marks of code, which other readers draw.
                    .replace('`', "")
            )
        )
    });
    let html = format!(
        "{head}</head>\n<body class=\"login\">\n<main>\n<h1>gatewarden</h1>\n{why}<form method=\"post\" action=\"/login\">\n\
         <input type=\"hidden\" name=\"next\" value=\"{next}\">\n<input type=\"text\" name=\"username\" value=\"gatewarden\" \
         autocomplete=\"username\" hidden>\n<label for=\"api_key\">API key</label>\n\
         <input id=\"api_key\" name=\"api_key\" type=\"password\" required autofocus autocomplete=\"current-password\" \
         maxlength=\"1000\" spellcheck=\"false\">\n<button type=\"submit\" class=\"main\">Log in</button>\n</form>\n\
         <p class=\"quiet\">The admin key of a new installation is in the file <code>admin.key</code> of the state directory. \
         An admin creates further keys. <code>gatewarden dashboard</code> prints a link that logs in without one.</p>\n\
         </main>\n</body>\n</html>\n"
    );
    page(HttpResponse::build(status).body(html))
}

/// A link that logs in once: only the button uses it up, so that whoever loads links ahead does no harm.
fn link_form(once: &Secret) -> HttpResponse {
    let (head, once) = (head("Log in – gatewarden"), escaped(once.expose()));
    let html = format!(
        "{head}</head>\n<body class=\"login\">\n<main>\n<h1>gatewarden</h1>\n<form method=\"post\" action=\"/login\">\n\
         <input type=\"hidden\" name=\"once\" value=\"{once}\">\n<p>This link logs this browser in to the dashboard, once.</p>\n\
         <button type=\"submit\" class=\"main\" autofocus>Open the dashboard</button>\n</form>\n</main>\n</body>\n</html>\n"
    );
    page(HttpResponse::Ok().body(html))
}

/// In place of what concerns requests.
const HELP: &str = "Check that the whole key was pasted, or ask an admin for another one.";

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_goes_on_to_our_own_pages_only() {
        for ours in ["/", "/gateways/3", "/?status=offline&q=a%20b"] {
            assert_eq!(local(ours), ours);
        }
        for foreign in ["", "//evil.example", "https://evil.example", "/\\evil", "/a\r\nb", "/login?next=/", "evil"] {
            assert_eq!(local(foreign), "/", "{foreign:?}");
        }
    }
}
