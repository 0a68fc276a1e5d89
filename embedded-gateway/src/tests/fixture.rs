//! For tests: a gateway's machine and clients that try to log in.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gatewarden_protocol::signing::{SignatureVersion, SignedFields};
use gatewarden_protocol::{DeviceIdentity, Secret};
use serde_json::{Map, Value, json};

use crate::auth::{Admission, FirstStep, Handshake, Peer, Refusal};
use crate::call::{Call, CallError};
use crate::caller::{Caller, ConnectionId};
use crate::clock::{CountingChance, Now};
use crate::config::{Auth, GatewayConfig};
use crate::effect::Effect;
use crate::loading::Loaded;
use crate::machine::GatewayMachine;
use crate::turn::Turn;

/// The shared token of all test gateways.
pub(crate) const SHARED: &str = "shared-token-of-the-test-gateway";

/// A configuration to change before [`Fixture::new`].
pub(crate) fn config() -> GatewayConfig {
    GatewayConfig::defaults(PathBuf::from("/nowhere"), Auth::Token(Secret::new(SHARED)))
}

/// A gateway.
pub(crate) struct Fixture {
    pub(crate) machine: GatewayMachine,
    pub(crate) now: Now,
    chance: CountingChance,
    connections: u64,
}

/// What became of a attempt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    In { caller: Arc<Caller>, hello: Value, documented: Option<Value> },
    Refused(Refusal),
    Closed(u16, String),
}

impl Outcome {
    pub(crate) fn caller(&self) -> Arc<Caller> {
        match self {
            Self::In { caller, .. } => Arc::clone(caller),
            other => panic!("not let in: {other:?}"),
        }
    }

    pub(crate) fn hello(&self) -> &Value {
        match self {
            Self::In { hello, .. } => hello,
            other => panic!("not let in: {other:?}"),
        }
    }

    pub(crate) fn device_token(&self) -> Option<String> {
        self.hello()["auth"]["deviceToken"].as_str().map(str::to_owned)
    }

    pub(crate) fn refusal(&self) -> &Refusal {
        match self {
            Self::Refused(refusal) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub(crate) fn code(&self) -> &str {
        self.refusal().error.details["code"].as_str().unwrap_or_default()
    }
}

/// How a client knocks.
#[derive(Clone)]
pub(crate) struct LoginAttempt {
    pub(crate) peer: Peer,
    pub(crate) client: (&'static str, &'static str),
    pub(crate) name: Option<String>,
    pub(crate) platform: &'static str,
    pub(crate) family: Option<&'static str>,
    pub(crate) protocols: (u32, u32),
    pub(crate) role: &'static str,
    /// What a node offers.
    pub(crate) commands: Vec<&'static str>,
    pub(crate) scopes: Vec<&'static str>,
    pub(crate) token: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) device_token: Option<String>,
    pub(crate) documented_token: Option<String>,
    /// The seed of its key; none: no device.
    pub(crate) device: Option<u16>,
    pub(crate) version: SignatureVersion,
    /// Signed instead of the token that is sent.
    pub(crate) signed_token: Option<&'static str>,
    pub(crate) signed_at_offset_ms: i64,
    pub(crate) nonce: Option<&'static str>,
    /// Changes the parameters after they were signed.
    pub(crate) edit: fn(&mut Value),
}

impl Default for LoginAttempt {
    /// A local CLI with the shared token and a device, which speaks both protocols.
    fn default() -> Self {
        Self {
            peer: local(),
            client: ("cli", "cli"),
            name: Some("probe".to_owned()),
            platform: "linux",
            family: None,
            protocols: (3, 4),
            role: "operator",
            commands: Vec::new(),
            scopes: vec!["operator.admin", "operator.read", "operator.write"],
            token: Some(SHARED.to_owned()),
            password: None,
            device_token: None,
            documented_token: None,
            device: Some(1),
            version: SignatureVersion::V2,
            signed_token: None,
            signed_at_offset_ms: 0,
            nonce: None,
            edit: |_| {},
        }
    }
}

pub(crate) fn local() -> Peer {
    Peer {
        remote: IpAddr::V4(Ipv4Addr::LOCALHOST),
        origin: None,
        host: Some("127.0.0.1:18789".to_owned()),
        forwarded: false,
        tailnet: None,
    }
}

pub(crate) fn remote(last: u8) -> Peer {
    Peer {
        remote: IpAddr::V4(Ipv4Addr::new(192, 168, 1, last)),
        origin: None,
        host: Some("gateway:18789".to_owned()),
        forwarded: false,
        tailnet: None,
    }
}

pub(crate) fn page(origin: &str) -> Peer {
    Peer { origin: Some(origin.to_owned()), ..local() }
}

pub(crate) fn identity(seed: u16) -> DeviceIdentity {
    let mut bytes = [7_u8; 32];
    bytes[..2].copy_from_slice(&seed.to_be_bytes());
    DeviceIdentity::from_seed(&bytes)
}

impl LoginAttempt {
    /// The parameters that answer this nonce at this time.
    pub(crate) fn params(&self, nonce: &str, wall_ms: i64) -> Value {
        let scopes: Vec<String> = self.scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let mut params = json!({
            "minProtocol": self.protocols.0,
            "maxProtocol": self.protocols.1,
            "client": {"id": self.client.0, "mode": self.client.1, "version": "1.0.0", "platform": self.platform},
            "role": self.role,
            "scopes": scopes,
            "caps": ["tool-events"],
            "commands": self.commands,
        });
        if let Some(family) = self.family {
            params["client"]["deviceFamily"] = family.into();
        }
        if let Some(name) = &self.name {
            params["client"]["displayName"] = name.as_str().into();
        }
        let mut auth = Map::new();
        for (field, value) in
            [("token", &self.token), ("password", &self.password), ("deviceToken", &self.device_token)]
        {
            if let Some(value) = value {
                auth.insert(field.to_owned(), value.as_str().into());
            }
        }
        if !auth.is_empty() {
            params["auth"] = Value::Object(auth);
        }
        if let Some(token) = &self.documented_token {
            params["deviceToken"] = token.as_str().into();
        }
        if let Some(seed) = self.device {
            let identity = identity(seed);
            let sent = [&self.token, &self.device_token, &self.documented_token].into_iter().find_map(Option::as_deref);
            let nonce = self.nonce.unwrap_or(nonce);
            let signed_at_ms = wall_ms + self.signed_at_offset_ms;
            let text = SignedFields {
                device_id: identity.device_id(),
                client_id: self.client.0,
                client_mode: self.client.1,
                role: self.role,
                scopes: &scopes,
                signed_at_ms,
                token: self.signed_token.or(sent).unwrap_or_default(),
                nonce,
                platform: self.platform,
                device_family: self.family.unwrap_or_default(),
            }
            .payload(self.version);
            params["device"] = json!({
                "id": identity.device_id(),
                "publicKey": identity.public_key(),
                "signature": identity.sign(&text),
                "signedAt": signed_at_ms,
                "nonce": nonce,
            });
        }
        (self.edit)(&mut params);
        params
    }
}

impl Fixture {
    pub(crate) fn new(config: GatewayConfig) -> Self {
        let mut chance = CountingChance::default();
        let now = Now::read();
        let mut turn = Turn::new(now, &mut chance);
        let loaded = Loaded::nothing(&config);
        let machine = GatewayMachine::new(Arc::new(config), loaded, &mut turn);
        Self { machine, now, chance, connections: 0 }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now.at += time;
        self.now.wall_ms += i64::try_from(time.as_millis()).unwrap();
        self.now.uptime_ms += i64::try_from(time.as_millis()).unwrap();
    }

    pub(crate) fn attempt(&mut self, attempt: &LoginAttempt) -> Outcome {
        self.attempt_with_effects(attempt).0
    }

    pub(crate) fn attempt_with_effects(&mut self, attempt: &LoginAttempt) -> (Outcome, Vec<Effect>) {
        let nonce = format!("nonce-{}", self.connections + 1);
        let params = attempt.params(&nonce, self.now.wall_ms);
        let frame = json!({"type": "req", "id": "c1", "method": "connect", "params": params});
        self.first_frame(&attempt.peer, frame.to_string().as_bytes())
    }

    /// A connection whose first frame is this; its nonce is `nonce-<n>`.
    pub(crate) fn first_frame(&mut self, peer: &Peer, bytes: &[u8]) -> (Outcome, Vec<Effect>) {
        self.connections += 1;
        let nonce = format!("nonce-{}", self.connections);
        let handshake = Handshake::new(ConnectionId(self.connections), peer.clone(), nonce);
        let step = handshake.first_frame(bytes, &self.machine.config, self.now);
        self.step(step)
    }

    pub(crate) fn step(&mut self, step: FirstStep) -> (Outcome, Vec<Effect>) {
        match step {
            FirstStep::Close { code, reason } => (Outcome::Closed(code, reason), Vec::new()),
            FirstStep::Refuse(refusal) => (Outcome::Refused(refusal), Vec::new()),
            FirstStep::Ask(attempt) => {
                let mut turn = Turn::new(self.now, &mut self.chance);
                let admission = self.machine.admit(&attempt, &mut turn);
                let effects = turn.into_effects();
                let outcome = match admission {
                    Admission::In { caller, hello, documented, .. } => Outcome::In { caller, hello, documented },
                    Admission::Refused(refusal) => Outcome::Refused(refusal),
                };
                (outcome, effects)
            }
        }
    }

    pub(crate) fn bearer(&mut self, peer: &Peer, token: Option<&str>) -> Result<Arc<Caller>, CallError> {
        let mut turn = Turn::new(self.now, &mut self.chance);
        let token = token.map(Secret::new);
        self.machine.bearer(ConnectionId(9_999), peer, token.as_ref(), &mut turn)
    }

    /// Calls a method that is answered later; what is to be done.
    pub(crate) fn begin(&mut self, caller: &Arc<Caller>, request: &str, method: &str, params: Value) -> Vec<Effect> {
        let call = Call { caller: Arc::clone(caller), request: Some(request.into()), method: method.into(), params };
        let mut turn = Turn::new(self.now, &mut self.chance);
        self.machine.call(&call, &mut turn);
        turn.into_effects()
    }

    /// What is due by now is done.
    pub(crate) fn on_time(&mut self) -> Vec<Effect> {
        let mut turn = Turn::new(self.now, &mut self.chance);
        self.machine.on_time(&mut turn);
        turn.into_effects()
    }

    /// Another configuration counts from now on.
    pub(crate) fn configure(&mut self, config: GatewayConfig) -> Vec<Effect> {
        let mut turn = Turn::new(self.now, &mut self.chance);
        self.machine.configure(config, &mut turn);
        turn.into_effects()
    }

    pub(crate) fn leave(&mut self, caller: &Caller) {
        self.machine.disconnected(caller.connection, self.now);
    }

    /// Calls a method; the answer, and what else is to be done.
    pub(crate) fn call(
        &mut self,
        caller: &Arc<Caller>,
        method: &str,
        params: Value,
    ) -> (Result<Value, CallError>, Vec<Effect>) {
        let call = Call { caller: Arc::clone(caller), request: Some("r1".into()), method: method.into(), params };
        let mut turn = Turn::new(self.now, &mut self.chance);
        self.machine.call(&call, &mut turn);
        let mut answer = None;
        let mut others = Vec::new();
        for effect in turn.into_effects() {
            match effect {
                Effect::Respond { outcome, .. } => answer = Some(outcome),
                other => others.push(other),
            }
        }
        (answer.expect("an answer"), others)
    }

    /// An administrator's connection.
    pub(crate) fn admin(&mut self) -> Arc<Caller> {
        let attempt = LoginAttempt {
            client: ("gateway-client", "backend"),
            device: None,
            scopes: vec!["operator.admin"],
            ..LoginAttempt::default()
        };
        self.attempt(&attempt).caller()
    }
}

/// The answers, by the ids of their requests.
pub(crate) fn answers(effects: &[Effect]) -> Vec<(String, Result<Value, CallError>)> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Respond { to, outcome } => Some((to.request.clone().unwrap_or_default(), outcome.clone())),
            _ => None,
        })
        .collect()
}

/// The payload of the first event of a name, and whom it went to.
pub(crate) fn event(effects: &[Effect], name: &str) -> Option<(Value, Vec<ConnectionId>)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Tell { to, event, payload } if event == name => Some(((**payload).clone(), to.clone())),
        _ => None,
    })
}

/// The names of the audit log's lines, in order.
pub(crate) fn audited(effects: &[Effect]) -> Vec<&'static str> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Audit(entry) => Some(entry.event),
            _ => None,
        })
        .collect()
}

/// The names of the events, in order.
pub(crate) fn told(effects: &[Effect]) -> Vec<&str> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Tell { event, .. } => Some(event.as_str()),
            _ => None,
        })
        .collect()
}
