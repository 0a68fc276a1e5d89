//! What is learnt of a request on its way through: extractors and handlers note it, the audit step reads it.

use std::cell::{Ref, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::http::Method;
use actix_web::{HttpMessage as _, HttpRequest};
use serde_json::{Map, Value, json};

use crate::http::keyring::KeyHolder;
use crate::http::limits::{AddressBlock, RefusedCaller};

/// Fields of a body or query that may name what a request acts on. Their values are shown; no secret has its place there.
const NAMING: [&str; 12] = [
    "id",
    "name",
    "gateway_id",
    "gateway",
    "agent",
    "agent_name",
    "connection_id",
    "requestId",
    "deviceId",
    "sessionKey",
    "action",
    "role",
];
/// Characters of a name that are kept.
const MAX_NAME: usize = 200;
/// Names of fields that are kept, each of at most this length.
const MAX_FIELDS: usize = 20;
const MAX_FIELD: usize = 40;

/// Whether a request may change something, or read a secret.
pub(crate) fn concerns(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// What is known of a request.
#[derive(Debug, Default)]
pub(crate) struct AuditFacts {
    pub(super) address: Option<IpAddr>,
    pub(super) request_id: String,
    pub(super) route: Option<String>,
    pub(super) path_name: Option<String>,
    /// Whose key it is, once that is settled.
    pub(super) caller: Option<Arc<KeyHolder>>,
    /// What body and query name, the body first.
    pub(super) names: Vec<(String, String)>,
    /// Which fields the body has; never their values.
    pub(super) fields: Vec<String>,
    /// What the handler says that it acted on, which goes before anything that the client said.
    pub(super) acted_on: Option<String>,
    /// Whether a gateway's token was given away.
    pub(super) token_given: bool,
    /// What was done has a durable record of its own that names the key: the answer doesn't wait for the entry.
    pub(super) is_recorded: bool,
}

impl AuditFacts {
    /// Who refusals are counted for.
    pub(super) fn source(&self) -> RefusedCaller {
        match &self.caller {
            Some(key) => RefusedCaller::Key(key.limit_key()),
            None => RefusedCaller::Address(AddressBlock::of(self.address)),
        }
    }

    /// What an entry tells besides actor and target.
    pub(super) fn describe(&self, details: &mut Map<String, Value>) {
        for (field, name) in &self.names {
            if field != "id" {
                details.insert(field.clone(), json!(name));
            }
        }
        if !self.fields.is_empty() {
            details.insert("fields".to_owned(), json!(self.fields));
        }
    }
}

/// A handle on them, which the extractors find in the request.
#[derive(Debug, Clone)]
pub(crate) struct AuditContext(Rc<RefCell<AuditFacts>>);

impl AuditContext {
    pub(super) fn new(seen: AuditFacts) -> Self {
        Self(Rc::new(RefCell::new(seen)))
    }

    /// Those of a request, where notes are taken of it.
    pub(crate) fn of(request: &HttpRequest) -> Option<Self> {
        if !concerns(request.method()) {
            return None;
        }
        let notes = request.extensions().get::<Self>().cloned()?;
        notes.see_route(request);
        Some(notes)
    }

    /// The pattern of the route, where one was found.
    pub(crate) fn route(&self) -> Option<String> {
        self.0.borrow().route.clone()
    }

    pub(super) fn seen(&self) -> Ref<'_, AuditFacts> {
        self.0.borrow()
    }

    /// The route, what its path names, and the query.
    pub(super) fn see_route(&self, request: &HttpRequest) {
        let mut seen = self.0.borrow_mut();
        if seen.route.is_some() {
            return;
        }
        seen.route = request.match_pattern();
        seen.path_name = request.match_info().iter().next().map(|(_, name)| clean(name));
        for (field, value) in url::form_urlencoded::parse(request.query_string().as_bytes()).take(MAX_FIELDS) {
            see_name(&mut seen, &field, clean(&value));
        }
    }

    /// What the request acted on, by its id.
    pub(crate) fn acts_on(&self, id: String) {
        self.0.borrow_mut().acted_on = Some(id);
    }

    /// Whether a token was given away.
    pub(crate) fn gives_token(&self, given: bool) {
        self.0.borrow_mut().token_given = given;
    }

    /// There is a durable record of it.
    pub(crate) fn is_recorded(&self) {
        self.0.borrow_mut().is_recorded = true;
    }

    pub(crate) fn see_caller(&self, key: &Arc<KeyHolder>) {
        self.0.borrow_mut().caller = Some(key.clone());
    }

    pub(crate) fn see_body(&self, body: &Map<String, Value>) {
        let mut seen = self.0.borrow_mut();
        // What the query said comes after the body.
        let by_query = std::mem::take(&mut seen.names);
        for (field, value) in body {
            if let Some(name) = shown(value) {
                see_name(&mut seen, field, name);
            }
        }
        for (field, name) in by_query {
            see_name(&mut seen, &field, name);
        }
        seen.fields = body.keys().filter(|field| is_plain(field)).take(MAX_FIELDS).cloned().collect();
    }
}

fn see_name(seen: &mut AuditFacts, field: &str, name: String) {
    if NAMING.contains(&field) && !name.is_empty() && !seen.names.iter().any(|(known, _)| known == field) {
        seen.names.push((field.to_owned(), name));
    }
}

/// A text or a number as it is shown.
fn shown(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(clean(text)),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn clean(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(MAX_NAME).collect()
}

fn is_plain(field: &str) -> bool {
    field.len() <= MAX_FIELD && field.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_and_values_are_not() {
        let notes = AuditContext::new(AuditFacts::default());
        let body = json!({
            "id": 3, "name": "edge\n", "token": "SECRET", "tls": {"ca_pem": "SECRET"}, "env": {"KEY": "SECRET"},
            "SECRET in a name!": 1
        });
        notes.see_body(body.as_object().unwrap());
        let mut details = Map::new();
        notes.seen().describe(&mut details);
        assert_eq!(details["name"], "edge");
        assert_eq!(details["fields"], json!(["env", "id", "name", "tls", "token"]));
        assert!(!format!("{details:?} {:?}", notes.seen()).contains("SECRET"));
        assert!(notes.seen().names.contains(&("id".to_owned(), "3".to_owned())));
    }

    #[test]
    fn what_comes_from_outside_is_cut() {
        let notes = AuditContext::new(AuditFacts::default());
        let mut body: Map<String, Value> = (0..100).map(|n| (format!("field_{n}"), json!(n))).collect();
        body.insert("name".to_owned(), json!("x".repeat(10_000)));
        notes.see_body(&body);
        let seen = notes.seen();
        assert_eq!((seen.fields.len(), seen.names[0].1.len()), (MAX_FIELDS, MAX_NAME));
    }
}
