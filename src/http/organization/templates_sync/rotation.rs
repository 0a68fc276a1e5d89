//! A new device token for this installation on one gateway, only where it can't lock us out: the gateway's own token must be
//! stored here, since newer releases end the connection, and tell the new token to nobody but a device that comes back.

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::gateway_record::GatewayRecord;
use gatewarden_actors::registry::messages::ReconnectGateway;
use gatewarden_protocol::GatewayAddress;
use serde_json::json;

use crate::http::front::Front;
use crate::provisioning::GatewayCaller as _;
use crate::provisioning::registry_caller::RegistryCaller;

/// Rotates it, and dials anew: the next handshake brings the new token.
pub(super) async fn rotate(front: &Front, record: &GatewayRecord, gateway: &RegistryCaller<'_>) -> Result<(), Failure> {
    if let Some(why) = impossible(front, record).await? {
        let failure = Failure::new(
            ErrorCode::NotSupportedByGateway,
            format!("The device token on gateway \"{}\" cannot be rotated: {why}", record.name),
        );
        return Err(failure.with_help("Leave rotate_tokens out; nothing was changed."));
    }
    let params = json!({"deviceId": front.app.identity.device_id, "role": "operator"});
    // Older releases give the new token right here. It is not read: the handshake gives it too, and keeps it.
    gateway.call_once("device.token.rotate", params).await?;
    tracing::info!(gateway.id = record.id.0, gateway.name = %record.name, "device token rotated");
    front.app.registry.reconnect.send(ReconnectGateway(record.id), front.settings.request_deadline).await?;
    Ok(())
}

/// Why it can't be done, if it can't.
async fn impossible(front: &Front, record: &GatewayRecord) -> Result<Option<&'static str>, Failure> {
    if record.disable_device_pairing {
        return Ok(Some("this installation connects there without a device"));
    }
    if record.token.is_none() && record.url_token.is_none() {
        return Ok(Some("the gateway's own token is not stored here, and without it there would be no way back in"));
    }
    let address = GatewayAddress::parse(&record.host, Some(record.port)).map(|parsed| parsed.address.key());
    let kept = front.app.store.load_device_tokens().await?;
    if !kept.iter().any(|(known, _)| address.as_ref() == Ok(known)) {
        return Ok(Some("it has not given this installation one, but lets it in with the gateway's own token"));
    }
    Ok(None)
}
