//! Who did what: one step around all requests that may change something. Handlers know nothing of it.
//!
//! | file | decides |
//! | --- | --- |
//! | `actions` | what a route is called in the audit log, and what it acts on |
//! | `notes` | what is learnt of a request on its way: who, which route, which identifiers; never a value that may be secret |
//! | `refusals` | how many refusals one caller may leave, so that nobody fills the disk without a key |
//! | `list` | `GET /api/audit` |
//!
//! A change is in the log, on disk, before it is answered. A refusal or a failure is written within a second, and so is a spawn:
//! it is in a record of its own, with the key that asked, before it is even sent, and a second commit would double what the
//! daemon adds to it. What came of it is known whether or not the client is still there; where a handler never answers (a panic,
//! the daemon's stop), the entry says `unknown`.

mod actions;
pub(crate) mod list;
pub(crate) mod notes;
mod refusals;

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderValue;
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpMessage as _, web};
use gatewarden_actors::error::ErrorCode;
use gatewarden_actors::store::records::{AuditActor, AuditEntry, AuditResult};
use serde_json::{Map, Value, json};

use self::actions::Spec;
use self::notes::{Notes, Seen};
pub use self::refusals::Refusals;
use super::error::ApiError;
use super::front::Front;
use super::peer_address::client_address;

/// Whether a request may change something, or read a secret.
pub(crate) fn concerns(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// A request under way. Dropped without [`Watch::settle`], it leaves an entry that says so.
pub(crate) struct Watch {
    front: web::Data<Front>,
    method: Method,
    notes: Notes,
    is_settled: bool,
}

impl Watch {
    /// Begins to take notes.
    pub(crate) fn begin(front: &web::Data<Front>, request: &ServiceRequest, request_id: &HeaderValue) -> Self {
        let notes = Notes::new(Seen {
            address: client_address(request.request(), &front.settings.trusted_proxies),
            request_id: request_id.to_str().unwrap_or_default().to_owned(),
            ..Seen::default()
        });
        request.extensions_mut().insert(notes.clone());
        Self { front: front.clone(), method: request.method().clone(), notes, is_settled: false }
    }

    /// What is known of it so far.
    pub(crate) fn notes(&self) -> Notes {
        self.notes.clone()
    }

    /// Writes down how it ended.
    pub(crate) async fn settle<B: MessageBody + 'static>(
        mut self,
        response: ServiceResponse<EitherBody<B>>,
    ) -> ServiceResponse<EitherBody<B>> {
        self.is_settled = true;
        self.notes.see_route(response.request());
        let status = response.status();
        let code = response.response().error().and_then(|error| error.as_error::<ApiError>()).map(|error| error.0.code);
        let Some(result) = result_of(status, code) else {
            return response;
        };
        let (spec, route) = {
            let seen = self.notes.seen();
            let Some(route) = seen.route.clone() else {
                // There is nothing at this path, so that nothing was done or refused.
                return response;
            };
            (actions::of(&self.method, &route), route)
        };
        if result == AuditResult::Ok && (spec.only_refusals || self.notes.seen().caller.is_none()) {
            return response;
        }
        let (response, answer) =
            if result == AuditResult::Ok && spec.reads_answer() { peek(response) } else { (response, Value::Null) };
        let mut entry = self.entry(&spec, &route, result, &answer);
        if let Some(details) = entry.details.as_object_mut() {
            details.insert("status".to_owned(), json!(status.as_u16()));
            if let Some(code) = code {
                details.insert("code".to_owned(), json!(code));
            }
        }
        self.write(entry, spec.has_record).await;
        response
    }

    async fn write(&self, entry: AuditEntry, has_record: bool) {
        match entry.result {
            AuditResult::Ok if has_record => return self.front.app.audit.note(entry),
            AuditResult::Ok => {}
            // Nothing was promised to the client; where the store is the reason, waiting for it again helps nobody.
            AuditResult::Failed | AuditResult::Unknown => return self.front.app.audit.note(entry),
            AuditResult::Refused => {
                let source = self.notes.seen().source();
                if self.front.refusals.admit(source, self.front.app.clock.now()) {
                    self.front.app.audit.note(entry);
                }
                return;
            }
        }
        let action = entry.action.clone();
        let written = tokio::time::timeout(self.front.settings.request_deadline, self.front.app.audit.record(entry));
        match written.await {
            Ok(Ok(())) => {}
            // The change is done and has to be answered; the entry stays in the buffer and is tried again.
            Ok(Err(failure)) => {
                tracing::warn!(audit.action = action, error = %failure, "an audit entry waits for the store")
            }
            Err(_elapsed) => tracing::warn!(audit.action = action, "an audit entry waits for the store"),
        }
    }

    fn entry(&self, spec: &Spec, route: &str, result: AuditResult, answer: &Value) -> AuditEntry {
        let seen = self.notes.seen();
        let actor = match &seen.caller {
            Some(key) => AuditActor { key_id: key.id, name: key.name.clone(), role: Some(key.role) },
            None => AuditActor::anonymous(),
        };
        let mut details = Map::new();
        details.insert("method".to_owned(), json!(self.method.as_str()));
        details.insert("route".to_owned(), json!(route));
        seen.describe(&mut details);
        if spec.gives_token {
            details.insert("token_given".to_owned(), json!(actions::gives_token(answer)));
        }
        AuditEntry {
            at_ms: self.front.app.clock.wall_ms(),
            actor,
            address: seen.address.map(|address| address.to_string()),
            request_id: Some(seen.request_id.clone()),
            action: spec.action.to_owned(),
            target: spec.target(&seen, answer),
            result,
            details: Value::Object(details),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        let route = match &*self.notes.seen() {
            // Without a caller nothing can have been begun.
            Seen { route: Some(route), caller: Some(_), .. } => route.clone(),
            _ => return,
        };
        let spec = actions::of(&self.method, &route);
        if spec.only_refusals {
            return;
        }
        let mut entry = self.entry(&spec, &route, AuditResult::Unknown, &Value::Null);
        if let Some(details) = entry.details.as_object_mut() {
            details.insert("answered".to_owned(), json!(false));
        }
        self.front.app.audit.note(entry);
    }
}

/// `None` where nothing was done or refused: a redirect.
fn result_of(status: StatusCode, code: Option<ErrorCode>) -> Option<AuditResult> {
    if code == Some(ErrorCode::OutcomeUnknown) {
        Some(AuditResult::Unknown)
    } else if status.is_success() {
        Some(AuditResult::Ok)
    } else if status.is_client_error() {
        Some(AuditResult::Refused)
    } else if status.is_server_error() {
        Some(AuditResult::Failed)
    } else {
        None
    }
}

/// Reads an answer that is complete already, and puts it back.
fn peek<B: MessageBody + 'static>(response: ServiceResponse<EitherBody<B>>) -> (ServiceResponse<EitherBody<B>>, Value) {
    let mut answer = Value::Null;
    let response = response.map_body(|_, body| match body.try_into_bytes() {
        Ok(bytes) => {
            answer = serde_json::from_slice(&bytes).unwrap_or_default();
            EitherBody::right(BoxBody::new(bytes))
        }
        Err(body) => body,
    });
    (response, answer)
}
