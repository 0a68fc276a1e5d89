//! `GET /api/identity`: the device that gateways know this installation by.

use actix_web::{HttpResponse, get, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::{By, Viewer};
use super::error::KeyErrors;
use super::front::Front;

/// The public half of the device identity.
#[derive(Debug, Serialize, ToSchema)]
pub struct Identity {
    /// Lowercase hex SHA-256 of the raw public key: what gateways list.
    pub device_id: String,
    /// Raw Ed25519 public key, base64url without padding.
    pub public_key: String,
}

/// Read this installation's device identity
#[utoipa::path(
    operation_id = "read_identity",
    tag = "Devices",
    responses((status = 200, description = "The public half", body = Identity), KeyErrors),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/identity")]
pub(crate) async fn identity(_by: By<Viewer>, front: web::Data<Front>) -> HttpResponse {
    let identity = &front.app.identity;
    HttpResponse::Ok().json(Identity { device_id: identity.device_id.clone(), public_key: identity.public_key.clone() })
}
