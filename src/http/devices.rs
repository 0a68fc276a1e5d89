//! `/api/nodes`: nodes and paired devices of a gateway, and decisions on pairing requests; `/api/identity`: the device that
//! gateways know this installation by.

use actix_web::{HttpRequest, HttpResponse, get, post};
use gatewarden_actors::dialing::Held;
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::ids::GatewayId;
use gatewarden_api::daemon::{Identity, NodesAnswer, NodesBody, NodesDone, NodesQuery};
use gatewarden_api::responses::{GatewayErrors, NoGateway};
use serde_json::{Value, json};

use super::auth::{Authorized, GatewayAdmin, GatewayViewer, Viewer};
use super::context::{App, AppContext};
use super::error::Answer;
use super::gateway_calls::hide_tokens;
use super::input::{JsonBody, read_query};

/// List nodes or devices of a gateway
#[utoipa::path(
    tag = "Devices",
    params(NodesQuery),
    responses((status = 200, description = "As the gateway describes them", body = NodesAnswer), NoGateway, GatewayErrors),
)]
#[get("/api/nodes")]
pub(crate) async fn list_nodes(_by: Authorized<GatewayViewer>, app: App, request: HttpRequest) -> Answer {
    let asked: NodesQuery = read_query(&request)?;
    let target = asked.gateway_id.map(GatewayId);
    let is_list = asked.action.as_deref() != Some("devices");
    let method = if is_list { "node.list" } else { "device.pair.list" };
    // What the gateway said counts as held until it is passed on.
    let mut held = None;
    let (payload, gateway, reason) = match call(&app, target, method, json!({})).await {
        Ok((gateway, mut payload)) => {
            hide_tokens(&mut payload);
            let (payload, cover) = payload.into_parts();
            held = Some(cover);
            (payload, Some(gateway), None)
        }
        Err(failure) if is_unusable(failure.code) => (Value::Null, target, Some(failure.message)),
        Err(failure) => return Err(failure.into()),
    };
    let answer = HttpResponse::Ok().json(NodesAnswer {
        nodes: is_list.then(|| rows(&payload, "nodes")),
        devices: (!is_list).then(|| rows(&payload, "paired")),
        pending: (!is_list).then(|| rows(&payload, "pending")),
        gateway_id: gateway.map(|gateway| gateway.0),
        available: reason.is_none(),
        reason,
    });
    drop(held);
    Ok(answer)
}

fn rows(payload: &Value, name: &str) -> Vec<Value> {
    // Some releases answer with the bare list.
    let rows = payload.get(name).or(Some(payload).filter(|payload| payload.is_array() && name == "nodes"));
    rows.and_then(Value::as_array).cloned().unwrap_or_default()
}

fn is_unusable(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::GatewayUnavailable | ErrorCode::NoUsableGateway | ErrorCode::GatewayBusy | ErrorCode::GatewayTimeout
    )
}

/// Decide on a pairing request or a device's token
#[utoipa::path(
    tag = "Devices",
    request_body = NodesBody,
    responses((status = 200, description = "The gateway did it", body = NodesDone), NoGateway, GatewayErrors),
)]
#[post("/api/nodes")]
pub(crate) async fn decide_on_device(by: Authorized<GatewayAdmin>, app: App, body: JsonBody) -> Answer {
    let NodesBody { action, request_id, device_id, role, scopes, gateway_id } = body.read()?;
    let role = role.unwrap_or_else(|| "operator".to_owned());
    let (method, params) = match (action.as_str(), scopes) {
        ("approve", _) => ("device.pair.approve", json!({ "requestId": request_id })),
        ("reject", _) => ("device.pair.reject", json!({ "requestId": request_id })),
        ("rotate-token", Some(scopes)) => {
            ("device.token.rotate", json!({"deviceId": device_id, "role": role, "scopes": scopes}))
        }
        ("rotate-token", None) => ("device.token.rotate", json!({"deviceId": device_id, "role": role})),
        _ => ("device.token.revoke", json!({"deviceId": device_id, "role": role})),
    };
    let (gateway, answer) = call(&app, gateway_id.map(GatewayId), method, params).await?;
    let (result, _cover) = answer.into_parts();
    tracing::info!(caller.key = by.key().name, gateway.id = gateway.0, action, "decided on a device of a gateway");
    Ok(HttpResponse::Ok().json(NodesDone { success: true, action, gateway_id: gateway.0, result }))
}

async fn call(
    app: &AppContext,
    target: Option<GatewayId>,
    method: &str,
    params: Value,
) -> Result<(GatewayId, Held<Value>), Failure> {
    if let Some(id) = target {
        app.gateway(id)?;
    }
    app.call_gateway(target, method, params).await
}

/// Read this installation's device identity
#[utoipa::path(tag = "Devices", responses((status = 200, description = "The public half", body = Identity)))]
#[get("/api/identity")]
pub(crate) async fn read_identity(_by: Authorized<Viewer>, app: App) -> HttpResponse {
    let identity = &app.identity;
    HttpResponse::Ok().json(Identity { device_id: identity.device_id.clone(), public_key: identity.public_key.clone() })
}
