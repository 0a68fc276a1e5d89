//! Answers with a body of JSON, and the errors among them.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, RETRY_AFTER};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde_json::{Value, json};

use crate::reply::CallError;

pub(crate) fn json_answer(status: StatusCode, body: &Value) -> HttpResponse {
    HttpResponseBuilder::new(status)
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type("application/json; charset=utf-8")
        .body(body.to_string())
}

/// An error of this server: `{"error":{"message","type"}}`, as real gateways word theirs.
pub(crate) fn refusal(status: StatusCode, kind: &str, message: &str) -> HttpResponse {
    json_answer(status, &json!({"error": {"message": message, "type": kind}}))
}

pub(crate) fn call_error(error: &CallError) -> HttpResponse {
    let status = status_of(error);
    let mut body = error.to_value();
    if let Some(fields) = body.as_object_mut() {
        fields.insert("type".to_owned(), error.code.to_ascii_lowercase().into());
    }
    let mut answer = json_answer(status, &json!({"error": body}));
    if let Some(ms) = error.retry_after_ms {
        answer.headers_mut().insert(RETRY_AFTER, ms.div_ceil(1_000).max(1).into());
    }
    answer
}

fn status_of(error: &CallError) -> StatusCode {
    match error.code {
        "FORBIDDEN" => StatusCode::FORBIDDEN,
        "NOT_FOUND" => StatusCode::NOT_FOUND,
        "UNAVAILABLE" => StatusCode::SERVICE_UNAVAILABLE,
        _ if error.message.contains("not found") => StatusCode::NOT_FOUND,
        _ => StatusCode::BAD_REQUEST,
    }
}

pub(crate) async fn not_found() -> HttpResponse {
    refusal(StatusCode::NOT_FOUND, "not_found", "no such path")
}

/// The path is known, the method isn't one of its own.
pub(crate) fn wrong_method(allowed: &'static str) -> HttpResponse {
    let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &format!("use {allowed}"));
    let value = actix_web::http::header::HeaderValue::from_static(allowed);
    answer.headers_mut().insert(actix_web::http::header::ALLOW, value);
    answer
}
