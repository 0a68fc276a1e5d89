//! What each route that may change something is called in the audit log, and what it acts on.

use actix_web::http::Method;
use serde_json::Value;

use super::notes::{Seen, shown};

/// A route's entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spec {
    /// Stable name.
    pub(super) action: &'static str,
    /// What the target is called: `gateway` in `gateway 3`.
    noun: &'static str,
    /// The fields of body or query that name the target, where the path doesn't.
    fields: &'static [&'static str],
    /// Where the answer to a creation has the new id.
    new_id: Option<&'static str>,
    /// It changes nothing that is worth an entry, or far too often; refusals are worth one.
    pub(super) only_refusals: bool,
    /// The answer may hold a secret: whether it did is noted.
    pub(super) gives_token: bool,
    /// Only a number names the target: anything else might be a secret that was pasted by mistake.
    numbers_only: bool,
    /// What was done has a durable record of its own that names the key: the answer doesn't wait for the entry.
    pub(super) has_record: bool,
}

const fn spec(action: &'static str, noun: &'static str, fields: &'static [&'static str]) -> Spec {
    Spec {
        action,
        noun,
        fields,
        new_id: None,
        only_refusals: false,
        gives_token: false,
        numbers_only: false,
        has_record: false,
    }
}

impl Spec {
    const fn creates(self, new_id: &'static str) -> Self {
        Self { new_id: Some(new_id), ..self }
    }

    const fn only_refusals(self) -> Self {
        Self { only_refusals: true, ..self }
    }

    const fn gives_token(self) -> Self {
        Self { gives_token: true, ..self }
    }

    const fn has_record(self) -> Self {
        Self { has_record: true, ..self }
    }

    const fn numbers_only(self) -> Self {
        Self { numbers_only: true, ..self }
    }

    /// Whether the answer tells something that the entry should have.
    pub(super) fn reads_answer(&self) -> bool {
        self.new_id.is_some() || self.gives_token
    }

    /// The target: the new id, else what the path names, else the first field that is there.
    pub(super) fn target(&self, seen: &Seen, answer: &Value) -> Option<String> {
        let new = self.new_id.and_then(|place| answer.pointer(place)).and_then(shown);
        let name = new.or_else(|| seen.path_name.clone()).or_else(|| {
            self.fields
                .iter()
                .find_map(|wanted| seen.names.iter().find(|(field, _)| field == wanted))
                .map(|(_, name)| name.clone())
        });
        name.filter(|name| !self.numbers_only || name.bytes().all(|byte| byte.is_ascii_digit()))
            .map(|name| format!("{} {name}", self.noun))
    }
}

/// Whether the answer of `/api/gateways/connect` holds a token.
pub(super) fn gives_token(answer: &Value) -> bool {
    answer.get("token_set").and_then(Value::as_bool).unwrap_or(false)
        || answer.get("ws_url").and_then(Value::as_str).is_some_and(|url| url.contains("token="))
}

/// The entry of a route. One that is not in the table is not left out: it goes by the name `request`.
pub(super) fn of(method: &Method, route: &str) -> Spec {
    known(method.as_str(), route).unwrap_or(spec("request", "path", &["id"]))
}

fn known(method: &str, route: &str) -> Option<Spec> {
    Some(match (method, route) {
        ("POST", "/api/gateways" | "/api/v1/gateways") => spec("gateway.create", "gateway", &["name"])
            .creates(if route == "/api/gateways" { "/gateway/id" } else { "/id" }),
        ("PUT", "/api/gateways" | "/api/gateways/{id}") | ("PATCH", "/api/v1/gateways/{id}") => {
            spec("gateway.update", "gateway", &["id"])
        }
        ("DELETE", "/api/gateways" | "/api/gateways/{id}" | "/api/v1/gateways/{id}") => {
            spec("gateway.delete", "gateway", &["id"])
        }
        ("POST", "/api/gateways/health") => spec("gateway.check_health", "gateway", &["gateway_id"]).only_refusals(),
        ("POST", "/api/gateways/connect") => spec("gateway.connect", "gateway", &["id"]).gives_token(),
        ("POST", "/api/gateways/discover") => spec("gateway.discover", "gateway", &[]),
        ("POST", "/api/gateways/{id}/reconnect") => spec("gateway.reconnect", "gateway", &[]),
        ("POST", "/api/gateways/{id}/drain") => spec("gateway.drain", "gateway", &[]),
        ("POST", "/api/gateways/{id}/process") => spec("gateway.process", "gateway", &[]),
        ("POST", "/api/gateways/{id}/undrain") => spec("gateway.undrain", "gateway", &[]),
        ("POST", "/api/v1/gateways/{id}/templates/sync") => spec("gateway.sync_templates", "gateway", &[]),
        ("POST", "/api/nodes") => spec("device.decide", "device", &["requestId", "deviceId"]),
        ("POST", "/api/keys") => spec("key.create", "key", &[]).creates("/key/id").numbers_only(),
        ("DELETE", "/api/keys/{id}") => spec("key.revoke", "key", &[]).numbers_only(),
        ("POST", "/api/auth/login") => spec("auth.login", "browser", &[]),
        ("POST", "/api/auth/logout") => spec("auth.logout", "browser", &[]),
        ("POST", "/api/agents") => spec("agent.create", "agent", &["name"]).creates("/agent/id"),
        ("PUT", "/api/agents/{id}") => spec("agent.update", "agent", &[]),
        ("DELETE", "/api/agents/{id}") => spec("agent.delete", "agent", &[]),
        ("POST", "/api/agents/sync") => spec("agent.sync", "gateway", &["gateway_id"]),
        ("POST", "/api/agents/{id}/heartbeat") => spec("agent.heartbeat", "agent", &[]).only_refusals(),
        ("POST", "/api/sessions") => spec("session.patch", "session", &["sessionKey"]),
        ("DELETE", "/api/sessions") => spec("session.delete", "session", &["sessionKey"]),
        ("POST", "/api/sessions/{key}/control") => spec("session.control", "session", &[]),
        ("POST", "/api/sessions/{key}/message" | "/api/v1/gateways/sessions/{key}/message") => {
            spec("session.message", "session", &[])
        }
        ("POST", "/api/spawn") => spec("spawn.create", "spawn", &[]).creates("/spawnId").has_record(),
        ("POST", "/api/connect") => spec("connection.create", "connection", &["agent_name"]).creates("/connection_id"),
        ("DELETE", "/api/connect") => spec("connection.delete", "connection", &["connection_id"]),
        ("POST", "/api/tokens") => spec("tokens.report", "agent", &["agent_name", "agent"]).only_refusals(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_route_of_the_document_that_may_change_something_has_an_entry() {
        let document = crate::http::openapi();
        let mut missing = Vec::new();
        for (path, item) in &document.paths.paths {
            for method in crate::http::route_table::methods(item) {
                if crate::http::audit::concerns(&method) && known(method.as_str(), path).is_none() {
                    missing.push(format!("{method} {path}"));
                }
            }
        }
        assert!(missing.is_empty(), "add them to the table above: {missing:?}");
    }

    #[test]
    fn the_target_is_the_new_id_or_what_the_path_names_or_a_field() {
        let names = vec![("name".to_owned(), "edge".to_owned()), ("id".to_owned(), "3".to_owned())];
        let seen = Seen { names, ..Seen::default() };
        let create = of(&Method::POST, "/api/gateways");
        assert_eq!(create.target(&seen, &json!({"gateway": {"id": 7}})).as_deref(), Some("gateway 7"));
        assert_eq!(create.target(&seen, &Value::Null).as_deref(), Some("gateway edge"));
        let update = of(&Method::PUT, "/api/gateways");
        assert_eq!(update.target(&seen, &Value::Null).as_deref(), Some("gateway 3"));
        let by_path = Seen { path_name: Some("9".to_owned()), ..seen };
        assert_eq!(update.target(&by_path, &Value::Null).as_deref(), Some("gateway 9"));
    }

    #[test]
    fn a_key_that_was_pasted_in_the_place_of_its_id_is_not_shown() {
        let seen = Seen { path_name: Some("gw_00000000_secret".to_owned()), ..Seen::default() };
        assert_eq!(of(&Method::DELETE, "/api/keys/{id}").target(&seen, &Value::Null), None);
    }

    #[test]
    fn a_token_is_given_in_its_field_or_in_the_url() {
        assert!(gives_token(&json!({"token_set": true, "ws_url": "ws://a"})));
        assert!(gives_token(&json!({"token_set": false, "ws_url": "ws://a/?token=x"})));
        assert!(!gives_token(&json!({"token_set": false, "ws_url": "ws://a"})));
    }
}
