//! From the upgraded socket to being let in, on the protocol's handshake.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewarden_protocol::decoding::Meter;
use gatewarden_protocol::frame::{FrameError, FrameText};
use gatewarden_protocol::handshake::{Handshake, HandshakeConfig, ProtocolRange, Step};
use gatewarden_protocol::hello::Hello;
use gatewarden_protocol::refusal::{Refusal, RefusalCode};
use gatewarden_protocol::{Dialect, Secret};

use super::{Count, Effect, Link, Moment, Permit, Stage};
use crate::dialing::failure::memory_code;
use crate::gateway_record::DeviceToken;
use crate::gateway_report::Phase;

/// JSON that is no frame, before the login: after this many it isn't believed to become one.
const MAX_STRANGE_FRAMES: u32 = 10;
/// How long an `auth` of the `rpc` dialect goes unanswered before the gateway is asked for its info.
const INFO_AFTER: Duration = Duration::from_secs(2);

/// One handshake.
#[derive(Debug)]
pub(super) struct Handshaking {
    handshake: Handshake,
    /// Whether a device token was at hand for it.
    pub(super) offers_device_token: bool,
    strange: u32,
    /// When to ask a silent `rpc` gateway for its info.
    pub(super) ask_info_at: Option<Instant>,
}

impl Handshaking {
    pub(super) fn new(config: HandshakeConfig) -> Self {
        let offers_device_token = config.device_token.is_some();
        Self { handshake: Handshake::new(config), offers_device_token, strange: 0, ask_info_at: None }
    }
}

impl Link {
    /// How this gateway is introduced to.
    pub(super) fn handshake_config(&self) -> HandshakeConfig {
        let (version, instance) = (self.version.as_str(), self.instance_id.as_str());
        let mut config = if self.record.disable_device_pairing {
            HandshakeConfig::control_ui(self.identity.short_id(), version, instance, self.build_id.clone())
        } else {
            HandshakeConfig::with_device(Arc::clone(&self.identity), version, instance)
        };
        config.protocols = ProtocolRange { min: *self.settings.protocols.start(), max: *self.settings.protocols.end() };
        config.shared_token = self.shared_token();
        config.device_token = self
            .device_token
            .as_ref()
            .filter(|_| !self.without_device_token && !self.record.disable_device_pairing)
            .map(|issued| issued.token.clone());
        config
    }

    /// The gateway's shared token: its own field, else the one that came in its URL.
    pub fn shared_token(&self) -> Option<Secret> {
        [&self.record.token, &self.record.url_token].into_iter().flatten().find(|token| !token.is_empty()).cloned()
    }

    /// Something came in before the login was done.
    pub(super) fn handshake_bytes(&mut self, moment: Moment, bytes: &[u8], meter: &mut dyn Meter) {
        let frame = match FrameText::read(bytes).and_then(|text| text.decode(meter)) {
            Ok(frame) => frame,
            Err(FrameError::TooMuch(excess)) => return self.end(moment, Refusal::new(memory_code(excess), "")),
            Err(error) => return self.strange_frame(moment, &error),
        };
        let Some(handshaking) = &mut self.handshaking else { return };
        let step = handshaking.handshake.on_frame(&frame, moment.wall_ms);
        self.step(moment, step);
    }

    fn strange_frame(&mut self, moment: Moment, error: &FrameError) {
        self.push(Effect::Count(Count::DroppedFrame("garbage")));
        let Some(handshaking) = &mut self.handshaking else { return };
        handshaking.strange += 1;
        if !matches!(error, FrameError::NotAFrame) || handshaking.strange >= MAX_STRANGE_FRAMES {
            let refusal = Refusal::new(self.strange_code(), &error.to_string());
            self.end(moment, refusal);
        }
    }

    /// The socket ended before the login was done.
    pub(super) fn handshake_closed(&mut self, moment: Moment, code: Option<u16>, reason: &str) {
        let Some(handshaking) = &mut self.handshaking else { return };
        let step = handshaking.handshake.on_close(code, reason);
        self.step(moment, step);
    }

    /// The gateway hasn't spoken in time.
    pub(super) fn challenge_overdue(&mut self, moment: Moment) {
        let Some(handshaking) = &mut self.handshaking else { return };
        let step = handshaking.handshake.on_challenge_timeout();
        handshaking.ask_info_at = Some(moment.now + INFO_AFTER);
        self.step(moment, step);
    }

    /// An `auth` has been out for a while.
    pub(super) fn info_due(&mut self, moment: Moment) {
        let Some(handshaking) = &mut self.handshaking else { return };
        handshaking.ask_info_at = None;
        let step = handshaking.handshake.on_challenge_timeout();
        self.step(moment, step);
    }

    /// The login hasn't been answered in time.
    pub(super) fn login_overdue(&mut self, moment: Moment) {
        let Some(handshaking) = &mut self.handshaking else { return };
        let step = handshaking.handshake.on_deadline();
        self.step(moment, step);
    }

    fn step(&mut self, moment: Moment, step: Step) {
        let Some(handshaking) = &self.handshaking else { return };
        if handshaking.handshake.credentials_sent() && self.permit == (Permit::Held { spent: false }) {
            self.permit = Permit::Held { spent: true };
        }
        match step {
            Step::Wait => {}
            Step::Send(text) => self.send_login(moment, text),
            Step::Ready(hello) => self.let_in(moment, *hello),
            Step::Refused(refusal) => self.end(moment, refusal),
        }
    }

    fn send_login(&mut self, moment: Moment, text: String) {
        let epoch = self.epoch;
        let Some(handshaking) = &mut self.handshaking else { return };
        let dialect = handshaking.handshake.dialect();
        if dialect == Dialect::Openclaw {
            handshaking.ask_info_at = None;
        }
        // The reply to a login may be larger than anything that may come before it.
        self.push(Effect::RaiseCap { epoch, bytes: self.settings.max_frame });
        self.push(Effect::Send { epoch, text });
        let due = match self.stage {
            // The question for its info buys a silent gateway no more time; a late challenge does.
            Stage::Authenticating { due } if dialect == Dialect::Rpc => due,
            _ => moment.now + self.settings.connect_timeout,
        };
        let reason = if dialect == Dialect::Rpc { "no_challenge" } else { "challenge" };
        self.enter(moment, Phase::Authenticating, Stage::Authenticating { due }, reason);
    }

    fn let_in(&mut self, moment: Moment, hello: Hello) {
        self.handshaking = None;
        self.settle_permit(None);
        if let Some(issued) = &hello.device_token
            && !self.record.disable_device_pairing
            && self.device_token.as_ref().is_none_or(|kept| kept.token != issued.token)
        {
            let token = DeviceToken {
                token: issued.token.clone(),
                role: issued.role.clone(),
                scopes: issued.scopes.clone(),
                issued_at_ms: issued.issued_at_ms.unwrap_or(moment.wall_ms),
            };
            self.device_token = Some(token.clone());
            self.push(Effect::IssueToken { address: self.key.clone(), token });
        }
        if let Some(scope) = hello.missing_scope() {
            let mut refusal = Refusal::new(RefusalCode::MissingScope, "");
            refusal.missing_scope = Some(scope);
            self.end(moment, refusal);
            return;
        }
        self.go_live(moment, hello);
    }
}
