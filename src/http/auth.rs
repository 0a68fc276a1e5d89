//! Who asks, and whether they may: an extractor that every handler behind a key takes first.
//!
//! Order of the checks: key or session (401, or 429 after too many wrong keys), own pages for cookie requests that
//! change something or open a stream (403 `cross_origin`), role (403 `forbidden`), rate limit (429).

use std::marker::PhantomData;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::http::{Method, Uri};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use futures_util::future::{Either, LocalBoxFuture, Ready, ready};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::store::records::{Role, WebSession};

use super::audit::context::{AuditContext, concerns};
use super::context::{App, AppContext};
use super::door::{no_key, presented_key};
use super::error::ApiError;
use super::keyring::{KeyHolder, is_in_its_time, key_hash};
use super::peer;

/// The cookie of a browser session.
pub(crate) const SESSION_COOKIE: &str = "gatewarden_session";

/// Somebody with a key that is good.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) key: Arc<KeyHolder>,
    /// The browser session, where it came with a cookie.
    pub(crate) session: Option<Arc<WebSession>>,
}

impl Caller {
    pub(crate) fn is_at_least(&self, role: Role) -> bool {
        self.key.role >= role
    }

    /// Whether the key is still good, and the browser session, if there is one: for requests that last.
    pub(crate) async fn is_still_good(&self, app: &AppContext) -> bool {
        let now_s = app.now_s();
        if !app.keys.still_lets_in(&self.key, now_s) {
            return false;
        }
        let Some(session) = &self.session else {
            return true;
        };
        // While the store can't be asked, nobody can have logged out through it.
        let is_known =
            app.store.find_web_session(session.token_sha256.clone()).await.map_or(true, |found| found.is_some());
        is_known && is_in_its_time(session, now_s)
    }
}

/// What a route asks of its caller.
pub(crate) trait Requirement: 'static {
    const ROLE: Role;
    /// Whether the request counts as a gateway operation.
    const GATEWAY_OPERATION: bool = false;
    /// Whether it is answered with a stream, which a browser must ask for from our own pages even though it only reads.
    const STREAM: bool = false;
}

/// Roles, alone or with more that is asked.
macro_rules! requirements {
    ($($(#[$doc:meta])* $name:ident: $role:ident $(, $more:ident)?;)*) => {
        $($(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name;

        impl Requirement for $name {
            const ROLE: Role = Role::$role;
            $(const $more: bool = true;)?
        })*
    };
}

requirements! {
    Viewer: Viewer;
    Operator: Operator;
    Admin: Admin;
    StreamViewer: Viewer, STREAM;
    GatewayViewer: Viewer, GATEWAY_OPERATION;
    GatewayOperator: Operator, GATEWAY_OPERATION;
    GatewayAdmin: Admin, GATEWAY_OPERATION;
}

/// A caller who fulfils a requirement. It must be a handler's first argument: then a body is read only for callers who
/// may send one.
#[derive(Debug)]
pub(crate) struct Authorized<R: Requirement> {
    pub(crate) caller: Caller,
    /// Where the handler says what it acts on; only of requests that may change something.
    audit: Option<AuditContext>,
    requirement: PhantomData<R>,
}

impl<R: Requirement> Authorized<R> {
    /// The audit log names this as what the request acted on.
    pub(crate) fn acts_on(&self, id: impl std::fmt::Display) {
        if let Some(audit) = &self.audit {
            audit.acts_on(id.to_string());
        }
    }

    /// Where the handler says more for the audit log.
    pub(crate) fn audit(&self) -> Option<&AuditContext> {
        self.audit.as_ref()
    }

    /// Who it is, for log lines.
    pub(crate) fn key(&self) -> &KeyHolder {
        &self.caller.key
    }
}

impl<R: Requirement> FromRequest for Authorized<R> {
    type Error = ApiError;
    type Future = Either<Ready<Result<Self, ApiError>>, LocalBoxFuture<'static, Result<Self, ApiError>>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let Some(app) = request.app_data::<App>() else {
            return Either::Left(ready(Err(Failure::unavailable("HTTP front").into())));
        };
        let audit = AuditContext::of(request);
        if let Some(presented) = presented_key(request.headers()) {
            let caller = app.door().check(request, presented).map(|key| Caller { key, session: None });
            return Either::Left(ready(caller.and_then(|caller| admit(request, app, caller, audit))));
        }
        let Some(cookie) = request.cookie(SESSION_COOKIE) else {
            return Either::Left(ready(Err(no_key())));
        };
        let (request, app) = (request.clone(), app.clone());
        Either::Right(Box::pin(async move {
            let caller = check_session(&request, &app, cookie.value(), R::STREAM).await?;
            admit(&request, &app, caller, audit)
        }))
    }
}

fn admit<R: Requirement>(
    request: &HttpRequest,
    app: &AppContext,
    caller: Caller,
    audit: Option<AuditContext>,
) -> Result<Authorized<R>, ApiError> {
    peer::mark_known(request, &caller.key);
    request.extensions_mut().insert(Admitted);
    if let Some(audit) = &audit {
        audit.see_caller(&caller.key);
    }
    if !caller.is_at_least(R::ROLE) {
        return Err(ApiError(
            Failure::new(
                ErrorCode::Forbidden,
                format!(
                    "This needs a key with the role {}; yours has the role {}",
                    R::ROLE.as_str(),
                    caller.key.role.as_str()
                ),
            )
            .with_help("An admin creates keys with POST /api/keys."),
        ));
    }
    if R::ROLE >= Role::Operator && concerns(request.method()) {
        app.node.check(app.clock.uptime_ms())?;
    }
    if R::GATEWAY_OPERATION {
        // Whoever looks at a page must not use up what the key's other holders need.
        let counted = match &caller.session {
            Some(session) if reads(request) => app.limits.browser_read(&session.token_sha256),
            _ => app.limits.gateway_operation(caller.key.limit_key()),
        };
        counted.map_or(Ok(()), |counted| counted.settle(request))?;
    }
    Ok(Authorized { caller, audit, requirement: PhantomData })
}

/// Left with a request that came with a good key.
struct Admitted;

/// Whether a request came with a good key, as far as that is settled.
pub(crate) fn was_admitted(request: &HttpRequest) -> bool {
    request.extensions().get::<Admitted>().is_some()
}

/// For a route that only now and then does what a browser must ask for from our own pages: it answers with a stream, or dials
/// where the request says.
pub(crate) fn check_own_page(request: &HttpRequest, caller: &Caller) -> Result<(), ApiError> {
    if caller.session.is_some() && !is_same_origin(request) { Err(cross_origin()) } else { Ok(()) }
}

fn reads(request: &HttpRequest) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
}

async fn check_session(
    request: &HttpRequest,
    app: &AppContext,
    token: &str,
    is_stream: bool,
) -> Result<Caller, ApiError> {
    if (!reads(request) || is_stream) && !is_same_origin(request) {
        return Err(cross_origin());
    }
    let session = app.store.find_web_session(key_hash(token)).await?;
    session
        .and_then(|session| {
            let key = app.keys.holder_of_session(&session, app.now_s())?;
            Some(Caller { key, session: Some(Arc::new(session)) })
        })
        .ok_or_else(|| {
            ApiError(
                Failure::new(ErrorCode::Unauthorized, "The browser session has ended")
                    .with_help("Log in again with POST /api/auth/login."),
            )
        })
}

/// The refusal of a browser's request that doesn't come from our own pages.
pub(crate) fn cross_origin() -> ApiError {
    ApiError(
        Failure::new(ErrorCode::CrossOrigin, "The request does not come from a page of this daemon")
            .with_help("Scripts should send an API key in a header instead of the session cookie."),
    )
}

/// Whether the browser says that the request comes from our own pages. `Sec-Fetch-Site` decides where there is one,
/// else `Origin` must name the host that was asked.
pub(crate) fn is_same_origin(request: &HttpRequest) -> bool {
    let headers = request.headers();
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    let origin = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok());
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    match (origin, host) {
        (Some(origin), Some(host)) => is_origin_of(origin, host),
        _ => false,
    }
}

/// Whether a browser says that the request comes from elsewhere; scripts say nothing.
pub(crate) fn is_from_elsewhere(request: &HttpRequest) -> bool {
    let headers = request.headers();
    (headers.contains_key("sec-fetch-site") || headers.contains_key(header::ORIGIN)) && !is_same_origin(request)
}

fn is_origin_of(origin: &str, host: &str) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else {
        return false;
    };
    let default_port = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return false,
    };
    let Ok(host) = host.parse::<actix_web::http::uri::Authority>() else {
        return false;
    };
    uri.host().is_some_and(|name| name.eq_ignore_ascii_case(host.host()))
        && uri.port_u16().unwrap_or(default_port) == host.port_u16().unwrap_or(default_port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn a_key_is_read_from_either_header() {
        let presented = |name: &'static str, value: &str| {
            let request = TestRequest::default().insert_header((name, value)).to_http_request();
            presented_key(request.headers()).map(str::to_owned)
        };
        assert_eq!(presented("x-api-key", "abc").as_deref(), Some("abc"));
        assert_eq!(presented("authorization", "Bearer abc").as_deref(), Some("abc"));
        assert_eq!(presented("authorization", "bearer  abc ").as_deref(), Some("abc"));
        assert_eq!(presented("authorization", "Basic abc").as_deref(), Some(""));
        assert_eq!(presented("authorization", "abc").as_deref(), Some(""));
        assert_eq!(presented("accept", "abc"), None);
    }

    #[test]
    fn an_origin_is_ours_only_with_our_host_and_port() {
        assert!(is_origin_of("http://localhost:3000", "localhost:3000"));
        assert!(is_origin_of("https://warden.example.com", "warden.example.com"));
        assert!(is_origin_of("https://warden.example.com", "Warden.Example.com:443"));
        assert!(is_origin_of("http://[::1]:3000", "[::1]:3000"));
        for foreign in ["http://localhost:3001", "http://evil.example", "null", "", "file://", "localhost:3000"] {
            assert!(!is_origin_of(foreign, "localhost:3000"), "{foreign}");
        }
    }

    #[test]
    fn sec_fetch_site_decides_before_origin() {
        let request = TestRequest::default()
            .insert_header(("host", "localhost:3000"))
            .insert_header(("origin", "http://localhost:3000"))
            .insert_header(("sec-fetch-site", "same-site"))
            .to_http_request();
        assert!(!is_same_origin(&request));
        assert!(is_from_elsewhere(&request));
        let script = TestRequest::default().insert_header(("host", "localhost:3000")).to_http_request();
        assert!(!is_same_origin(&script));
        assert!(!is_from_elsewhere(&script));
    }
}
