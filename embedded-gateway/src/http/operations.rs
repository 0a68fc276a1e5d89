//! The operations of document 000: `POST /spawn`, `POST /control`, `GET /sessions`, `GET /config`. Each is the method of the same
//! name (or the one that lists), with the rights of whoever holds the shared token.

use actix_web::error::JsonPayloadError;
use actix_web::http::StatusCode;
use actix_web::web::{self, Json, JsonConfig, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, error};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{SharedContext, ask, caller, json_answer, refusal, wrong_method};
use crate::payload::{joined, without_nulls};

/// The parameters of an operation, or what is wrong with them: a stranger isn't told.
type Body = Result<Json<Map<String, Value>>, actix_web::Error>;

const MAX_BODY: usize = 256 * 1024;
/// Sessions where no limit is named (document 000), and at most.
const SESSIONS: (u32, u32) = (50, 1_000);

pub(super) fn routes(service: &mut ServiceConfig) {
    let posting = |path| web::resource(path).default_service(web::to(|| async { wrong_method("POST") }));
    let reading = |path| web::resource(path).default_service(web::to(|| async { wrong_method("GET") }));
    service.app_data(JsonConfig::default().limit(MAX_BODY).error_handler(|error, _| unreadable(error)));
    service.service(posting("/spawn").route(web::post().to(spawn)));
    service.service(posting("/control").route(web::post().to(control)));
    service.service(reading("/sessions").route(web::get().to(sessions)));
    service.service(reading("/config").route(web::get().to(config)));
}

fn unreadable(problem: JsonPayloadError) -> actix_web::Error {
    let answer = match &problem {
        JsonPayloadError::Overflow { .. } | JsonPayloadError::OverflowKnownLength { .. } => {
            refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &format!("at most {MAX_BODY} bytes are read"))
        }
        _ => refusal(StatusCode::BAD_REQUEST, "invalid_body", "the body must be a JSON object"),
    };
    error::InternalError::from_response(problem, answer).into()
}

async fn spawn(request: HttpRequest, context: SharedContext, body: Body) -> HttpResponse {
    forward(&request, &context, "spawn", body).await
}

async fn control(request: HttpRequest, context: SharedContext, body: Body) -> HttpResponse {
    forward(&request, &context, "control", body).await
}

async fn config(request: HttpRequest, context: SharedContext) -> HttpResponse {
    forward(&request, &context, "config.get", Ok(Json(Map::new()))).await
}

async fn forward(request: &HttpRequest, context: &SharedContext, method: &str, body: Body) -> HttpResponse {
    let outcome = async {
        let caller = caller(request, context).await?;
        let params = body.map_err(|problem| problem.error_response())?.into_inner();
        ask(context, &caller, method, Value::Object(params)).await
    };
    outcome.await.map_or_else(|refusal| refusal, |payload| json_answer(StatusCode::OK, &payload))
}

/// `?agent=` and `?limit=` of document 000.
#[derive(Debug, Deserialize)]
struct Wanted {
    agent: Option<String>,
    limit: Option<u32>,
}

async fn sessions(request: HttpRequest, context: SharedContext) -> HttpResponse {
    let Ok(Query(wanted)) = Query::<Wanted>::from_query(request.query_string()) else {
        return refusal(StatusCode::BAD_REQUEST, "invalid_query", "limit must be a number");
    };
    let (default, most) = SESSIONS;
    let limit = wanted.limit.unwrap_or(default).clamp(1, most);
    let params = without_nulls(json!({"limit": most, "agentId": wanted.agent}));
    let listed = async {
        let caller = caller(&request, &context).await?;
        ask(&context, &caller, "sessions.list", params).await
    };
    match listed.await {
        Ok(mut listed) => {
            let Some(rows) = listed.get_mut("sessions").and_then(Value::as_array_mut) else {
                return json_answer(StatusCode::OK, &listed);
            };
            rows.iter_mut().for_each(documented_row);
            let is_active = |row: &&Value| row.get("status").is_some_and(|status| status == "active");
            let (active, total) = (rows.iter().filter(is_active).count(), rows.len());
            rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            let counts = json!({"count": rows.len(), "active": active, "total": total});
            json_answer(StatusCode::OK, &joined(listed, counts))
        }
        Err(refusal) => refusal,
    }
}

/// A session's row as document 000 has it: with `agent`, and with its own words for the status. How a run failed stays told.
fn documented_row(row: &mut Value) {
    let Some(fields) = row.as_object_mut() else { return };
    if let Some(agent) = fields.get("agentId").cloned() {
        fields.entry("agent").or_insert(agent);
    }
    let is = |name: &str| fields.get(name) == Some(&Value::Bool(true));
    let told = fields.get("status").and_then(Value::as_str);
    let status = if is("paused") {
        "paused"
    } else if is("hasActiveRun") {
        "active"
    } else {
        match told {
            Some("running") => "active",
            Some("failed") => "failed",
            Some("killed") => "killed",
            _ => "completed",
        }
    };
    fields.insert("status".to_owned(), status.into());
    fields.entry("totalTokens").or_insert_with(|| 0.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_worded_as_document_000_has_them() {
        for (row, status) in [
            (json!({"key": "k", "hasActiveRun": true, "status": "running"}), "active"),
            (json!({"key": "k", "hasActiveRun": true, "paused": true}), "paused"),
            (json!({"key": "k", "hasActiveRun": false, "status": "done"}), "completed"),
            (json!({"key": "k", "hasActiveRun": false, "status": "killed"}), "killed"),
            (json!({"key": "k"}), "completed"),
        ] {
            let mut told = row.clone();
            documented_row(&mut told);
            assert_eq!(told["status"], status, "{row}");
            assert_eq!(told["totalTokens"], 0);
        }
        let mut row = json!({"key": "k", "agentId": "main", "totalTokens": 7});
        documented_row(&mut row);
        assert_eq!((&row["agent"], &row["totalTokens"]), (&json!("main"), &json!(7)));
    }
}
