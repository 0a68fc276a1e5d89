//! Who did what: one step around all requests that may change something. [`ACTIONS`] says what each route is called; extractors
//! and handlers say in the [`AuditContext`] what it acted on.
//!
//! A change is in the log, on disk, before it is answered. A refusal or a failure is written within a second, and so is a spawn:
//! it is in a record of its own, with the key that asked, before it is even sent, and a second commit would double what the
//! daemon adds to it. What came of it is known whether or not the client is still there; where a handler never answers (a panic,
//! the daemon's stop), the entry says `unknown`.

pub(crate) mod context;

use actix_web::HttpMessage as _;
use actix_web::body::EitherBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderValue;
use actix_web::http::{Method, StatusCode};
use gatewarden_actors::error::ErrorCode;
use gatewarden_actors::store::records::{AuditActor, AuditEntry, AuditResult};
use serde_json::{Map, Value, json};

use self::context::{AuditContext, AuditFacts};
use super::context::App;
use super::error::ApiError;
use super::peer::client_address;

/// What a route is called in the audit log.
#[derive(Debug, Clone, Copy)]
struct Action {
    name: &'static str,
    /// What it acts on: `gateway` in `gateway 3`.
    noun: &'static str,
    /// The fields of body or query that name that, where neither handler nor path does.
    fields: &'static [&'static str],
}

/// The fields that name what a request of these actions acts on, in a body or a query.
const ID: &[&str] = &["id"];

/// Method, route, name, noun, naming fields. Of the names that end with `!` only refusals have an entry: they change nothing
/// that is worth one, or far too often.
#[rustfmt::skip]
const ACTIONS: &[(&str, &str, &str, &str, &[&str])] = &[
    ("POST", "/api/gateways", "gateway.create", "gateway", &["name"]),
    ("PUT", "/api/gateways", "gateway.update", "gateway", ID),
    ("PUT", "/api/gateways/{id}", "gateway.update", "gateway", ID),
    ("DELETE", "/api/gateways", "gateway.delete", "gateway", ID),
    ("DELETE", "/api/gateways/{id}", "gateway.delete", "gateway", ID),
    ("POST", "/api/gateways/check", "gateway.check", "address", &[]),
    ("POST", "/api/gateways/discover", "gateway.discover!", "network", &[]),
    ("POST", "/api/gateways/health", "gateway.check_health!", "gateway", &["gateway_id"]),
    ("POST", "/api/gateways/connect", "gateway.connect", "gateway", ID),
    ("POST", "/api/gateways/{id}/reconnect", "gateway.reconnect", "gateway", &[]),
    ("POST", "/api/gateways/{id}/drain", "gateway.drain", "gateway", &[]),
    ("POST", "/api/gateways/{id}/process", "gateway.process", "gateway", &[]),
    ("POST", "/api/gateways/{id}/undrain", "gateway.undrain", "gateway", &[]),
    ("POST", "/api/v1/gateways", "gateway.create", "gateway", &["name"]),
    ("PATCH", "/api/v1/gateways/{id}", "gateway.update", "gateway", ID),
    ("DELETE", "/api/v1/gateways/{id}", "gateway.delete", "gateway", ID),
    ("POST", "/api/v1/gateways/{id}/templates/sync", "gateway.sync_templates", "gateway", &[]),
    ("POST", "/api/v1/gateways/sessions/{key}/message", "session.message", "session", &[]),
    ("POST", "/api/nodes", "device.decide", "device", &["requestId", "deviceId"]),
    ("POST", "/api/keys", "key.create", "key", &[]),
    ("DELETE", "/api/keys/{id}", "key.revoke", "key", &[]),
    ("POST", "/api/auth/link", "auth.link", "browser", &[]),
    ("POST", "/api/auth/login", "auth.login", "browser", &[]),
    ("POST", "/login", "auth.login", "browser", &[]),
    ("POST", "/api/auth/logout", "auth.logout", "browser", &[]),
    ("POST", "/api/agents", "agent.create", "agent", &["name"]),
    ("PUT", "/api/agents/{id}", "agent.update", "agent", &[]),
    ("DELETE", "/api/agents/{id}", "agent.delete", "agent", &[]),
    ("POST", "/api/agents/sync", "agent.sync", "gateway", &["gateway_id"]),
    ("POST", "/api/agents/{id}/heartbeat", "agent.heartbeat!", "agent", &[]),
    ("POST", "/api/sessions", "session.patch", "session", &["sessionKey"]),
    ("DELETE", "/api/sessions", "session.delete", "session", &["sessionKey"]),
    ("POST", "/api/sessions/{key}/control", "session.control", "session", &[]),
    ("POST", "/api/sessions/{key}/message", "session.message", "session", &[]),
    ("POST", "/api/spawn", "spawn.create", "spawn", &[]),
    ("POST", "/api/connect", "connection.create", "connection", &["agent_name"]),
    ("DELETE", "/api/connect", "connection.delete", "connection", &["connection_id"]),
    // What a tool does has the entry of its own request.
    ("POST", "/mcp", "mcp.call!", "tool", &[]),
    ("POST", "/api/tokens", "tokens.report!", "agent", &["agent_name", "agent"]),
];

fn known_action(method: &Method, route: &str) -> Option<Action> {
    let known = ACTIONS.iter().find(|row| row.0 == method.as_str() && row.1 == route)?;
    Some(Action { name: known.2, noun: known.3, fields: known.4 })
}

impl Action {
    /// That of a route. One that is not in the table is not left out: it goes by the name `request`.
    fn of(method: &Method, route: &str) -> Self {
        known_action(method, route).unwrap_or(Self { name: "request", noun: "path", fields: ID })
    }

    fn only_refusals(self) -> bool {
        self.name.ends_with('!')
    }

    /// What it acted on: what the handler says, else what the path names, else the first field that is there. Of a key only its
    /// number: anything else might be the key itself, pasted by mistake.
    fn target(self, facts: &AuditFacts) -> Option<String> {
        let by_field = || {
            let mut fields = self.fields.iter();
            fields
                .find_map(|wanted| facts.names.iter().find(|(field, _)| field == wanted))
                .map(|(_, name)| name.clone())
        };
        let id = facts.acted_on.clone().or_else(|| facts.path_name.clone()).or_else(by_field);
        id.filter(|id| self.noun != "key" || id.bytes().all(|byte| byte.is_ascii_digit()))
            .map(|id| format!("{} {id}", self.noun))
    }
}

/// A request under way. Dropped without [`AuditGuard::settle`], it leaves an entry that says so.
pub(crate) struct AuditGuard {
    app: App,
    method: Method,
    context: AuditContext,
    is_settled: bool,
}

impl AuditGuard {
    pub(crate) fn begin(app: &App, request: &ServiceRequest, request_id: &HeaderValue) -> Self {
        let context = AuditContext::new(AuditFacts {
            address: client_address(request.request(), &app.settings.trusted_proxies),
            request_id: request_id.to_str().unwrap_or_default().to_owned(),
            ..AuditFacts::default()
        });
        request.extensions_mut().insert(context.clone());
        Self { app: app.clone(), method: request.method().clone(), context, is_settled: false }
    }

    pub(crate) fn context(&self) -> AuditContext {
        self.context.clone()
    }

    pub(crate) async fn settle<B>(
        mut self,
        response: ServiceResponse<EitherBody<B>>,
    ) -> ServiceResponse<EitherBody<B>> {
        self.is_settled = true;
        self.context.see_route(response.request());
        let status = response.status();
        let code = response.response().error().and_then(|error| error.as_error::<ApiError>()).map(|error| error.0.code);
        let Some(result) = result_of(status, code) else {
            return response;
        };
        let Some(route) = self.context.route() else {
            // There is nothing at this path, so that nothing was done or refused.
            return response;
        };
        let action = Action::of(&self.method, &route);
        if result == AuditResult::Ok && (action.only_refusals() || self.context.seen().caller.is_none()) {
            return response;
        }
        let mut entry = self.entry(action, &route, result);
        if let Some(details) = entry.details.as_object_mut() {
            details.insert("status".to_owned(), json!(status.as_u16()));
            if let Some(code) = code {
                details.insert("code".to_owned(), json!(code));
            }
        }
        self.write(entry).await;
        response
    }

    async fn write(&self, entry: AuditEntry) {
        match entry.result {
            AuditResult::Ok if self.context.seen().is_recorded => return self.app.audit.note(entry),
            AuditResult::Ok => {}
            // Nothing was promised to the client; where the store is the reason, waiting for it again helps nobody.
            AuditResult::Failed | AuditResult::Unknown => return self.app.audit.note(entry),
            AuditResult::Refused => {
                let source = self.context.seen().source();
                if self.app.refusals.admit(source, self.app.clock.now()) {
                    self.app.audit.note(entry);
                }
                return;
            }
        }
        let action = entry.action.clone();
        let written = tokio::time::timeout(self.app.settings.request_deadline, self.app.audit.record(entry));
        match written.await {
            Ok(Ok(())) => {}
            // The change is done and has to be answered; the entry stays in the buffer and is tried again.
            Ok(Err(failure)) => {
                tracing::warn!(audit.action = action, error = %failure, "an audit entry waits for the store")
            }
            Err(_elapsed) => tracing::warn!(audit.action = action, "an audit entry waits for the store"),
        }
    }

    fn entry(&self, action: Action, route: &str, result: AuditResult) -> AuditEntry {
        let seen = self.context.seen();
        let actor = match &seen.caller {
            Some(key) => AuditActor { key_id: key.id, name: key.name.clone(), role: Some(key.role) },
            None => AuditActor::anonymous(),
        };
        let mut details = Map::new();
        details.insert("method".to_owned(), json!(self.method.as_str()));
        details.insert("route".to_owned(), json!(route));
        seen.describe(&mut details);
        if action.name == "gateway.connect" {
            details.insert("token_given".to_owned(), json!(seen.token_given));
        }
        AuditEntry {
            at_ms: self.app.clock.wall_ms(),
            actor,
            address: seen.address.map(|address| address.to_string()),
            request_id: Some(seen.request_id.clone()),
            action: action.name.trim_end_matches('!').to_owned(),
            target: action.target(&seen),
            result,
            details: Value::Object(details),
        }
    }
}

impl Drop for AuditGuard {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        let route = match &*self.context.seen() {
            // Without a caller nothing can have been begun.
            AuditFacts { route: Some(route), caller: Some(_), .. } => route.clone(),
            _ => return,
        };
        let action = Action::of(&self.method, &route);
        if action.only_refusals() {
            return;
        }
        let mut entry = self.entry(action, &route, AuditResult::Unknown);
        if let Some(details) = entry.details.as_object_mut() {
            details.insert("answered".to_owned(), json!(false));
        }
        self.app.audit.note(entry);
    }
}

/// `None` where nothing was done or refused: a redirect, but the one after a login.
fn result_of(status: StatusCode, code: Option<ErrorCode>) -> Option<AuditResult> {
    if code == Some(ErrorCode::OutcomeUnknown) {
        Some(AuditResult::Unknown)
    } else if status.is_success() || status == StatusCode::SEE_OTHER {
        Some(AuditResult::Ok)
    } else if status.is_client_error() {
        Some(AuditResult::Refused)
    } else if status.is_server_error() {
        Some(AuditResult::Failed)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_of_the_document_that_may_change_something_has_an_entry() {
        let document = crate::http::openapi();
        let mut missing = Vec::new();
        for (path, item) in &document.paths.paths {
            for method in crate::http::route_table::methods(item) {
                if context::concerns(&method) && known_action(&method, path).is_none() {
                    missing.push(format!("{method} {path}"));
                }
            }
        }
        assert!(missing.is_empty(), "add them to the table above: {missing:?}");
    }

    #[test]
    fn the_target_is_what_the_handler_says_or_what_the_path_names_or_a_field() {
        let names = vec![("name".to_owned(), "edge".to_owned()), ("id".to_owned(), "3".to_owned())];
        let facts = AuditFacts { names: names.clone(), ..AuditFacts::default() };
        let created = AuditFacts { names, acted_on: Some("7".to_owned()), ..AuditFacts::default() };
        let create = Action::of(&Method::POST, "/api/gateways");
        assert_eq!(create.target(&created).as_deref(), Some("gateway 7"));
        assert_eq!(create.target(&facts).as_deref(), Some("gateway edge"));
        let update = Action::of(&Method::PUT, "/api/gateways");
        assert_eq!(update.target(&facts).as_deref(), Some("gateway 3"));
        let by_path = AuditFacts { path_name: Some("9".to_owned()), ..facts };
        assert_eq!(update.target(&by_path).as_deref(), Some("gateway 9"));
    }

    #[test]
    fn a_key_that_was_pasted_in_the_place_of_its_id_is_not_shown() {
        let facts = AuditFacts { path_name: Some("gw_00000000_secret".to_owned()), ..AuditFacts::default() };
        assert_eq!(Action::of(&Method::DELETE, "/api/keys/{id}").target(&facts), None);
    }
}
