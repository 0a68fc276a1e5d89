//! A device that asks an embedded gateway from a page, so that it must be approved first.

use std::net::TcpStream;

use gatewarden_protocol::DeviceIdentity;
use gatewarden_protocol::signing::{SignatureVersion, SignedFields};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use super::own_gateway::GatewayProcess;

/// What became of the request to be let in.
pub(crate) struct Asked {
    /// The device's id.
    pub(crate) device: String,
    /// The gateway's answer: the refusal that says what to do, or the hello.
    pub(crate) answer: Value,
    /// The connection, on which nothing is said or heard any more.
    pub(crate) socket: WebSocket<TcpStream>,
}

/// Asks with the shared token and the identity of this seed.
pub(crate) fn ask(gateway: &GatewayProcess, token: &str, seed: u8) -> Asked {
    let identity = DeviceIdentity::from_seed(&[seed; 32]);
    let stream = TcpStream::connect(gateway.address).expect("the gateway listens");
    let mut request = gateway.url.as_str().into_client_request().expect("a request");
    let origin = format!("http://{}", gateway.address);
    request.headers_mut().insert("origin", origin.parse().expect("a header"));
    let (mut socket, _) = client(request, stream).expect("a WebSocket");
    let challenge = next_frame(&mut socket);
    let nonce = challenge["payload"]["nonce"].as_str().expect("a nonce");
    let signed_at_ms = challenge["payload"]["ts"].as_i64().expect("a time");
    let scopes = ["operator.read".to_owned()];
    let signed = SignedFields {
        device_id: identity.device_id(),
        client_id: "gateway-client",
        client_mode: "ui",
        role: "operator",
        scopes: &scopes,
        signed_at_ms,
        token,
        nonce,
        platform: "linux",
        device_family: "",
    };
    let signature = identity.sign(&signed.payload(SignatureVersion::V2));
    let connect = json!({"type": "req", "id": "1", "method": "connect", "params": {
        "minProtocol": 4, "maxProtocol": 4, "role": "operator", "scopes": scopes, "auth": {"token": token},
        "client": {"id": "gateway-client", "mode": "ui", "version": "1.0.0", "platform": "linux"},
        "device": {"id": identity.device_id(), "publicKey": identity.public_key(), "signature": signature,
            "signedAt": signed_at_ms, "nonce": nonce}}});
    socket.send(Message::text(connect.to_string())).expect("sent");
    let answer = next_frame(&mut socket);
    Asked { device: identity.device_id().to_owned(), answer, socket }
}

/// The next text frame, parsed.
fn next_frame(socket: &mut WebSocket<TcpStream>) -> Value {
    loop {
        if let Message::Text(text) = socket.read().expect("a frame") {
            return serde_json::from_str(&text).expect("JSON");
        }
    }
}
