//! A WebSocket client that signs as a device.

use std::collections::VecDeque;
use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use gatewarden_protocol::DeviceIdentity;
use gatewarden_protocol::signing::{SignatureVersion, SignedFields};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Gateway, TOKEN, within};

/// How a client introduces itself; every field can be changed.
pub(crate) struct Connect {
    /// The device's seed; none: no device.
    pub(crate) device: Option<[u8; 32]>,
    pub(crate) client_id: &'static str,
    pub(crate) mode: &'static str,
    pub(crate) scopes: Vec<&'static str>,
    pub(crate) protocols: (u32, u32),
    /// `params.auth`
    pub(crate) auth: Value,
    /// What the signature covers as token.
    pub(crate) signed_token: String,
    pub(crate) signature: SignatureVersion,
    /// Headers of the upgrade, for instance `Origin`.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Added to, or put in place of, the parameters.
    pub(crate) more: Value,
}

impl Default for Connect {
    fn default() -> Self {
        Self {
            device: Some([7; 32]),
            client_id: "gateway-client",
            mode: "backend",
            scopes: vec!["operator.admin", "operator.read", "operator.write", "operator.pairing"],
            protocols: (3, 4),
            auth: json!({"token": TOKEN}),
            signed_token: TOKEN.to_owned(),
            signature: SignatureVersion::V2,
            headers: Vec::new(),
            more: json!({}),
        }
    }
}

/// How a connect was refused.
#[derive(Debug)]
pub(crate) struct Refused {
    /// The error of the reply.
    pub(crate) error: Value,
    /// Code and reason of the close.
    pub(crate) close: (u16, String),
}

/// One frame, or the end.
#[derive(Debug)]
pub(crate) enum Incoming {
    Frame(Value),
    Ping,
    Pong,
    Closed(u16, String),
    /// Without a close frame.
    Lost,
}

/// A connection.
pub(crate) struct Client {
    socket: WebSocketStream<TcpStream>,
    kept: VecDeque<Value>,
    next_id: u64,
    /// The payload of the first event.
    pub(crate) challenge: Value,
    /// The payload of the reply to `connect`.
    pub(crate) hello: Value,
}

impl Client {
    /// Upgraded and challenged, not connected.
    pub(crate) async fn attempt(
        gateway: &Gateway,
        headers: &[(&'static str, String)],
    ) -> Result<Self, tungstenite::Error> {
        Self::attempt_at(gateway.running().address, gateway, headers).await
    }

    async fn attempt_at(
        address: SocketAddr,
        gateway: &Gateway,
        headers: &[(&'static str, String)],
    ) -> Result<Self, tungstenite::Error> {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut request = gateway.running().websocket_url().into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (socket, _) = within(client_async(request, stream)).await?;
        let mut client = Self { socket, kept: VecDeque::new(), next_id: 0, challenge: Value::Null, hello: Value::Null };
        client.challenge = client.event("connect.challenge").await;
        Ok(client)
    }

    /// An operator with all scopes and a device.
    pub(crate) async fn connect(gateway: &Gateway) -> Self {
        Self::connect_as(gateway, Connect::default()).await.unwrap()
    }

    /// Somebody else.
    pub(crate) async fn connect_as(gateway: &Gateway, connect: Connect) -> Result<Self, Refused> {
        Self::connect_at(gateway.running().address, gateway, connect).await
    }

    /// Somebody else, at another of its listeners.
    pub(crate) async fn connect_at(address: SocketAddr, gateway: &Gateway, connect: Connect) -> Result<Self, Refused> {
        let mut client = Self::attempt_at(address, gateway, &connect.headers).await.unwrap();
        let params = client.params(&connect);
        match client.try_call("connect", params).await {
            Ok(hello) => {
                client.hello = hello;
                Ok(client)
            }
            Err(error) => Err(Refused { error, close: client.closed().await }),
        }
    }

    /// The parameters of `connect`, signed for this connection.
    pub(crate) fn params(&self, connect: &Connect) -> Value {
        let nonce = self.challenge["nonce"].as_str().unwrap();
        let signed_at_ms = self.challenge["ts"].as_i64().unwrap();
        let scopes: Vec<String> = connect.scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let mut params = json!({
            "minProtocol": connect.protocols.0,
            "maxProtocol": connect.protocols.1,
            "client": {"id": connect.client_id, "version": "0.1.0", "platform": "linux", "mode": connect.mode},
            "role": "operator",
            "scopes": scopes,
            "caps": ["tool-events"],
            "auth": connect.auth,
        });
        if let Some(seed) = &connect.device {
            let identity = DeviceIdentity::from_seed(seed);
            let signed = SignedFields {
                device_id: identity.device_id(),
                client_id: connect.client_id,
                client_mode: connect.mode,
                role: "operator",
                scopes: &scopes,
                signed_at_ms,
                token: &connect.signed_token,
                nonce,
                platform: "linux",
                device_family: "",
            };
            params["device"] = json!({
                "id": identity.device_id(),
                "publicKey": identity.public_key(),
                "signature": identity.sign(&signed.payload(connect.signature)),
                "signedAt": signed_at_ms,
                "nonce": nonce,
            });
        }
        for (name, value) in connect.more.as_object().unwrap() {
            params[name] = value.clone();
        }
        params
    }

    /// Asks, and expects to get it.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        let outcome = self.try_call(method, params).await;
        outcome.unwrap_or_else(|error| panic!("{method} was refused: {error}"))
    }

    /// Asks; the payload or the error. Events that come first are kept.
    pub(crate) async fn try_call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        let id = self.ask(method, params).await;
        self.reply(&id).await
    }

    /// Asks without waiting; the request's id.
    pub(crate) async fn ask(&mut self, method: &str, params: Value) -> String {
        self.next_id += 1;
        let id = format!("r{}", self.next_id);
        self.send(json!({"type": "req", "id": id, "method": method, "params": params})).await;
        id
    }

    /// The next reply to a request.
    pub(crate) async fn reply(&mut self, id: &str) -> Result<Value, Value> {
        let mut reply = self.frame_where(|frame| frame["type"] == "res" && frame["id"] == id).await;
        if reply["ok"] == true { Ok(reply["payload"].take()) } else { Err(reply["error"].take()) }
    }

    /// The payload of the next event of this name.
    pub(crate) async fn event(&mut self, name: &str) -> Value {
        self.frame_where(|frame| frame["event"] == name).await["payload"].take()
    }

    /// The payload of the next event of this name that is as wanted.
    pub(crate) async fn event_where(&mut self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.frame_where(|frame| frame["event"] == name && wanted(&frame["payload"])).await["payload"].take()
    }

    /// The next frame that is as wanted; others are kept for later.
    pub(crate) async fn frame_where(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(place) = self.kept.iter().position(&wanted) {
            return self.kept.remove(place).unwrap();
        }
        loop {
            match self.incoming().await {
                Incoming::Frame(frame) if wanted(&frame) => return frame,
                Incoming::Frame(frame) => self.kept.push_back(frame),
                Incoming::Ping | Incoming::Pong => {}
                end => panic!("the connection ended: {end:?}; kept: {:?}", self.kept),
            }
        }
    }

    /// What comes next from the socket, whatever is kept. (Pings are answered by themselves.)
    pub(crate) async fn incoming(&mut self) -> Incoming {
        match within(self.socket.next()).await {
            Some(Ok(Message::Text(text))) => Incoming::Frame(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Ping(_))) => Incoming::Ping,
            Some(Ok(Message::Pong(_))) => Incoming::Pong,
            Some(Ok(Message::Close(Some(close)))) => Incoming::Closed(close.code.into(), close.reason.to_string()),
            Some(Ok(Message::Close(None))) => Incoming::Closed(1005, String::new()),
            Some(Ok(other)) => panic!("a gateway sends no {other:?}"),
            Some(Err(_)) | None => Incoming::Lost,
        }
    }

    /// Code and reason of the close that comes; frames before it are passed over.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.incoming().await {
                Incoming::Closed(code, reason) => return (code, reason),
                Incoming::Lost => panic!("it was closed without a close frame"),
                _ => {}
            }
        }
    }

    /// Sends a frame.
    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_message(Message::text(frame.to_string())).await;
    }

    /// Sends anything.
    pub(crate) async fn send_message(&mut self, message: Message) {
        within(self.socket.send(message)).await.unwrap();
    }

    /// The bare connection, to break the rules of WebSocket.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        self.socket.get_mut()
    }
}
