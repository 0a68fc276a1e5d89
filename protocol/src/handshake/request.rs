//! The requests of a handshake.

use serde_json::{Map, Value, json};

use super::{Challenge, DeviceMode, HandshakeConfig, ProtocolRange};
use crate::identity::DeviceIdentity;
use crate::secret::Secret;
use crate::signing::SignedFields;

/// Parameters of `connect`. Real releases refuse any field that they don't know, so none is sent without need.
pub(super) fn connect(config: &HandshakeConfig, challenge: &Challenge, range: ProtocolRange, wall_ms: i64) -> Value {
    let mut params = Map::new();
    params.insert("minProtocol".to_owned(), range.min.into());
    params.insert("maxProtocol".to_owned(), range.max.into());
    params.insert("client".to_owned(), client(config));
    params.insert("role".to_owned(), config.role.clone().into());
    params.insert("scopes".to_owned(), config.scopes.clone().into());
    params.insert("caps".to_owned(), config.caps.clone().into());
    let issued = config.issued().filter(|_| config.sends_device_token(challenge.is_documented));
    let carried = match (config.shared(), issued) {
        (Some(shared), _) => Some(shared),
        // `auth.token` is the one place for it that every real release takes.
        (None, Some(issued)) if !challenge.is_documented => Some(issued),
        _ => None,
    };
    let auth = credentials(carried, config.shared_password());
    if !auth.is_empty() {
        params.insert("auth".to_owned(), auth.into());
    }
    if let Some(issued) = issued.filter(|_| challenge.is_documented) {
        params.insert("deviceToken".to_owned(), issued.expose().into());
    }
    // A password is not part of what is signed.
    if let (DeviceMode::Device(identity), true) = (&config.device, challenge.device_required) {
        let signed = carried.or(issued).map(Secret::expose).unwrap_or_default();
        params.insert("device".to_owned(), device(config, identity, challenge, signed, wall_ms));
    }
    Value::Object(params)
}

fn credentials(token: Option<&Secret>, password: Option<&Secret>) -> Map<String, Value> {
    let named = [("token", token), ("password", password)];
    named.into_iter().filter_map(|(name, secret)| Some((name.to_owned(), secret?.expose().into()))).collect()
}

fn client(config: &HandshakeConfig) -> Value {
    let client = &config.client;
    let mut value = json!({
        "id": client.id,
        "displayName": client.display_name,
        "version": client.version,
        "platform": client.platform,
        "mode": client.mode,
        "instanceId": client.instance_id,
    });
    if let (Some(build_id), Some(fields)) = (&client.build_id, value.as_object_mut()) {
        fields.insert("buildId".to_owned(), build_id.clone().into());
    }
    value
}

fn device(
    config: &HandshakeConfig,
    identity: &DeviceIdentity,
    challenge: &Challenge,
    token: &str,
    wall_ms: i64,
) -> Value {
    let signed_at_ms = challenge.ts_ms.unwrap_or(wall_ms);
    let payload = SignedFields {
        device_id: identity.device_id(),
        client_id: &config.client.id,
        client_mode: &config.client.mode,
        role: &config.role,
        scopes: &config.scopes,
        signed_at_ms,
        token,
        nonce: &challenge.nonce,
        platform: &config.client.platform,
        device_family: "",
    }
    .payload(config.signature);
    json!({
        "id": identity.device_id(),
        "publicKey": identity.public_key(),
        "signature": identity.sign(&payload),
        "signedAt": signed_at_ms,
        "nonce": challenge.nonce,
    })
}

/// The first message of the `rpc` dialect. It has no id: document 004 shows none.
pub(super) fn auth(config: &HandshakeConfig) -> String {
    let params = Value::Object(credentials(config.shared(), config.shared_password()));
    format!(r#"{{"method":"auth","params":{params}}}"#)
}
