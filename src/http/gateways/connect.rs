//! `POST /api/gateways/connect`: what a browser needs to open its own socket to a gateway. The one place that ever gives
//! a gateway's token away, and only to whom it may be given.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, post, web};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::store::records::Role;
use gatewarden_protocol::GatewayAddress;
use serde::Serialize;
use utoipa::ToSchema;

use super::input::GatewayIdBody;
use crate::http::auth::{By, Caller, GatewayViewer};
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, BodyErrors, ErrorBody, KeyErrors};
use crate::http::fields::Fields;
use crate::http::front::Front;
use crate::http::peer_address::is_https;

/// What a browser needs.
#[derive(Serialize, ToSchema)]
pub struct GatewayAddressAnswer {
    /// The gateway.
    pub id: i64,
    /// Where to connect.
    #[schema(example = "wss://gateway.example.com")]
    pub ws_url: String,
    /// The gateway's token, for operators and admins; else empty.
    pub token: String,
    /// Whether `token` holds one.
    pub token_set: bool,
}

/// Get what a browser needs to connect by itself
#[utoipa::path(
    operation_id = "read_connection_details",
    tag = "Gateways",
    request_body = GatewayIdBody,
    responses(
        (status = 200, description = "Address and, by role, token", body = GatewayAddressAnswer),
        (status = 404, description = "No gateway has this id", body = ErrorBody),
        KeyErrors, BodyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[post("/api/gateways/connect")]
pub(crate) async fn connect(
    by: By<GatewayViewer>,
    front: web::Data<Front>,
    request: HttpRequest,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let mut fields = Fields::new(&body.0);
    if fields.value("id").is_none() {
        fields.missing("id");
    }
    let id = fields.integer("id", 1..=i64::MAX).map(GatewayId);
    fields.problems.into_result()?;
    let view = id.and_then(|id| front.app.roster.get(id));
    let view = view.ok_or_else(|| Failure::gateway_not_found(id.unwrap_or(GatewayId(0))))?;
    let record = &view.record;
    let address = GatewayAddress::parse(&record.host, Some(record.port)).map_err(|fault| {
        // Stored addresses were checked; a stricter release may refuse an old one.
        Failure::new(ErrorCode::Internal, format!("The stored address of gateway {} is not usable: {fault}", record.id))
            .with_help("Set the gateway's host anew.")
    })?;

    let may_see = may_see_tokens(&by.caller, &front);
    let url_token = record.url_token.as_ref().filter(|_| may_see);
    // A token in the URL stands for the other one.
    let token = record.token.as_ref().filter(|_| may_see && record.url_token.is_none());
    let given = token.is_some() || url_token.is_some();
    tracing::info!(
        caller.key = by.caller.key.name,
        caller.role = by.caller.key.role.as_str(),
        gateway.id = record.id.0,
        gateway.name = record.name,
        token.given = given,
        "connection details of a gateway were read"
    );
    let answer = GatewayAddressAnswer {
        id: record.id.0,
        ws_url: address.address.ws_url(browser_is_https(&request, &front), url_token),
        token: token.map(|token| token.expose().to_owned()).unwrap_or_default(),
        token_set: token.is_some(),
    };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}

fn may_see_tokens(caller: &Caller, front: &Front) -> bool {
    caller.is_at_least(if front.settings.operators_see_tokens { Role::Operator } else { Role::Admin })
}

/// What a trusted proxy says, else the page's own origin.
fn browser_is_https(request: &HttpRequest, front: &Front) -> bool {
    if request.headers().contains_key("x-forwarded-proto") {
        return is_https(request, &front.settings.trusted_proxies);
    }
    let origin = request.headers().get(header::ORIGIN).and_then(|value| value.to_str().ok());
    origin.is_some_and(|origin| origin.starts_with("https://"))
}
