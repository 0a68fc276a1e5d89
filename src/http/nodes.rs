//! `/api/nodes`: nodes and paired devices of a gateway, and decisions on pairing requests.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use gatewarden_actors::dialing::Held;
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::registry::messages::CallGateway;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::auth::{By, GatewayAdmin, GatewayViewer};
use super::body::JsonBody;
use super::error::{ApiError, BodyErrors, ErrorBody, GatewayErrors, KeyErrors, invalid};
use super::fields::{Fields, check_text};
use super::front::Front;
use super::query::Query;

/// Nodes (`action=list`) or devices (`action=devices`) of a gateway.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodesAnswer {
    /// With `action=list`: the gateway's nodes, as it describes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub nodes: Option<Vec<Value>>,
    /// With `action=devices`: paired devices, as the gateway describes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub devices: Option<Vec<Value>>,
    /// With `action=devices`: requests that wait for approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub pending: Option<Vec<Value>>,
    /// The gateway that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_id: Option<i64>,
    /// False where the gateway could not be asked; then the lists are empty.
    pub available: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A decision on a device.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct NodesBody {
    /// `approve`, `reject`, `rotate-token` or `revoke-token`.
    #[schema(example = "approve")]
    action: String,
    /// With approve and reject.
    #[serde(rename = "requestId")]
    request_id: Option<String>,
    /// With rotate-token and revoke-token.
    #[serde(rename = "deviceId")]
    device_id: Option<String>,
    /// With rotate-token and revoke-token: whose token; `operator` by default.
    role: Option<String>,
    /// With rotate-token: scopes of the new token; as before by default.
    scopes: Option<Vec<String>>,
    /// The gateway; else the acting primary.
    #[schema(minimum = 1)]
    gateway_id: Option<i64>,
}

/// What the gateway did.
#[derive(Serialize, ToSchema)]
pub struct NodesDone {
    /// Always true.
    pub success: bool,
    /// The action.
    pub action: String,
    /// The gateway that did it.
    pub gateway_id: i64,
    /// Its answer. After rotate-token it holds the device's new token, this once.
    #[schema(value_type = Object)]
    pub result: Value,
}

/// List nodes or devices of a gateway
#[utoipa::path(
    operation_id = "list_nodes",
    tag = "Devices",
    params(
        ("action" = Option<String>, Query, description = "list (default) or devices"),
        ("gateway_id" = Option<i64>, Query, description = "The gateway; else the acting primary", minimum = 1),
    ),
    responses(
        (status = 200, description = "As the gateway describes them", body = NodesAnswer),
        (status = 404, description = "No gateway has this id", body = ErrorBody),
        KeyErrors, GatewayErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/nodes")]
pub(crate) async fn read(
    _by: By<GatewayViewer>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::parse(request.query_string());
    let target = query.integer("gateway_id", 1..=i64::MAX).map(GatewayId);
    let action = query.value("action").unwrap_or("list").to_owned();
    query.problems.into_result()?;
    let (method, is_list) = match action.as_str() {
        "list" => ("node.list", true),
        "devices" => ("device.pair.list", false),
        _ => return Err(invalid("Unknown action: it must be list or devices")),
    };
    let answer = match call(&front, target, method, json!({})).await {
        Ok((gateway, mut payload)) => {
            hide_tokens(&mut payload);
            NodesAnswer::of(is_list, Some(gateway), |name| rows(&payload, name), None)
        }
        Err(failure) if is_unusable(failure.code) => {
            NodesAnswer::of(is_list, target, |_| Vec::new(), Some(failure.message))
        }
        Err(failure) => return Err(failure.into()),
    };
    Ok(HttpResponse::Ok().json(answer))
}

/// Decide on a pairing request or a device's token
#[utoipa::path(
    operation_id = "decide_on_device",
    tag = "Devices",
    request_body = NodesBody,
    responses(
        (status = 200, description = "The gateway did it", body = NodesDone),
        (status = 404, description = "No gateway has this id", body = ErrorBody),
        KeyErrors, BodyErrors, GatewayErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[post("/api/nodes")]
pub(crate) async fn decide(
    by: By<GatewayAdmin>,
    front: web::Data<Front>,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let mut fields = Fields::new(&body.0);
    let (action, method, needs) = match fields.value("action").and_then(Value::as_str) {
        Some("approve") => ("approve", "device.pair.approve", "requestId"),
        Some("reject") => ("reject", "device.pair.reject", "requestId"),
        Some("rotate-token") => ("rotate-token", "device.token.rotate", "deviceId"),
        Some("revoke-token") => ("revoke-token", "device.token.revoke", "deviceId"),
        _ => return Err(invalid("Invalid action: it must be approve, reject, rotate-token or revoke-token")),
    };
    if fields.value(needs).is_none() {
        fields.missing(needs);
    }
    let mut params = Map::new();
    if let Some(id) = fields.text(needs, 1..=200) {
        params.insert(needs.to_owned(), Value::from(id));
    }
    if needs == "deviceId" {
        let role = fields.text("role", 1..=100).unwrap_or("operator");
        params.insert("role".to_owned(), Value::from(role));
        if let Some(scopes) = scopes(&mut fields).filter(|_| action == "rotate-token") {
            params.insert("scopes".to_owned(), Value::from(scopes));
        }
    }
    let target = fields.integer("gateway_id", 1..=i64::MAX).map(GatewayId);
    fields.problems.into_result()?;
    let (gateway, answer) = call(&front, target, method, Value::Object(params)).await?;
    let (result, _cover) = answer.into_parts();
    tracing::info!(caller.key = by.caller.key.name, gateway.id = gateway.0, action, "decided on a device of a gateway");
    Ok(HttpResponse::Ok().json(NodesDone { success: true, action: action.to_owned(), gateway_id: gateway.0, result }))
}

async fn call(
    front: &Front,
    target: Option<GatewayId>,
    method: &str,
    params: Value,
) -> Result<(GatewayId, Held<Value>), Failure> {
    if let Some(id) = target
        && front.app.roster.get(id).is_none()
    {
        return Err(Failure::gateway_not_found(id));
    }
    let timeout = front.settings.gateway_timeout;
    let message = CallGateway { target, method: method.to_owned(), params, timeout };
    front.app.registry.call.send(message, timeout.saturating_add(Duration::from_secs(1))).await
}

fn scopes(fields: &mut Fields<'_>) -> Option<Vec<String>> {
    let array = fields.array("scopes")?;
    let scopes: Vec<String> = array
        .iter()
        .filter_map(Value::as_str)
        .filter(|scope| check_text(scope, 1..=100).is_ok())
        .map(str::to_owned)
        .collect();
    if scopes.len() != array.len() || scopes.len() > 50 {
        fields.wrong("scopes", "must be at most 50 texts");
    }
    Some(scopes)
}

fn is_unusable(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::GatewayUnavailable | ErrorCode::NoUsableGateway | ErrorCode::GatewayBusy | ErrorCode::GatewayTimeout
    )
}

fn rows(payload: &Value, name: &str) -> Vec<Value> {
    // Some releases answer with the bare list.
    let rows = payload.get(name).or(Some(payload).filter(|payload| payload.is_array() && name == "nodes"));
    rows.and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Reads never show a token, whatever a gateway puts into its rows.
pub(crate) fn hide_tokens(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|name, value| {
                !(value.is_string() && matches!(name.as_str(), "token" | "deviceToken" | "bootstrapToken" | "password"))
            });
            map.values_mut().for_each(hide_tokens);
        }
        Value::Array(values) => values.iter_mut().for_each(hide_tokens),
        _ => {}
    }
}

impl NodesAnswer {
    fn of(
        is_list: bool,
        gateway: Option<GatewayId>,
        rows: impl Fn(&str) -> Vec<Value>,
        reason: Option<String>,
    ) -> Self {
        Self {
            nodes: is_list.then(|| rows("nodes")),
            devices: (!is_list).then(|| rows("paired")),
            pending: (!is_list).then(|| rows("pending")),
            gateway_id: gateway.map(|gateway| gateway.0),
            available: reason.is_none(),
            reason,
        }
    }
}
