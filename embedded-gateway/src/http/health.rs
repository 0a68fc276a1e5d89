//! `GET /health`, `/healthz`, `/ready`, `/readyz`: no login, and nothing that needs one.

use std::rc::Rc;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{self, Data, ServiceConfig};
use serde_json::json;

use super::answer::{json_answer, wrong_method};
use crate::COMPATIBLE_VERSION;
use crate::clock::Now;
use crate::connection::{GatewayContext, Phase};

pub(super) fn routes(service: &mut ServiceConfig) {
    for path in ["/health", "/healthz"] {
        service.service(reading(path).route(web::get().to(health)).route(web::head().to(health)));
    }
    for path in ["/ready", "/readyz"] {
        service.service(reading(path).route(web::get().to(ready)).route(web::head().to(ready)));
    }
}

fn reading(path: &'static str) -> actix_web::Resource {
    web::resource(path).default_service(web::to(|| async { wrong_method("GET, HEAD") }))
}

/// Document 004's form; `ok` is what real releases say beside it. `uptime` is in seconds.
async fn health(context: Data<Rc<GatewayContext>>) -> HttpResponse {
    let uptime = context.uptime(Now::read()).as_secs();
    let body = json!({"ok": true, "status": "ok", "version": COMPATIBLE_VERSION, "uptime": uptime});
    json_answer(StatusCode::OK, &body)
}

/// The form of real releases.
async fn ready(context: Data<Rc<GatewayContext>>) -> HttpResponse {
    let stopping = *context.phase.borrow() > Phase::Serving;
    let failing: &[&str] = if stopping { &["stopping"] } else { &[] };
    let uptime = u64::try_from(context.uptime(Now::read()).as_millis()).unwrap_or(u64::MAX);
    let status = if stopping { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    json_answer(status, &json!({"ready": !stopping, "failing": failing, "uptimeMs": uptime}))
}
