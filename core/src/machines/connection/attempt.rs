//! One attempt to connect: permit, dial, handshake (or health document and token), until the gateway lets us in or doesn't.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewarden_protocol::decoding::Meter;
use gatewarden_protocol::frame::{FrameError, FrameText};
use gatewarden_protocol::handshake::{HandshakeConfig, ProtocolRange, Step};
use gatewarden_protocol::health_document::HealthDocument;
use gatewarden_protocol::hello::Hello;
use gatewarden_protocol::refusal::{Refusal, RefusalCode, UpgradeAnswer, classify_upgrade};
use gatewarden_protocol::{CalendarVersion, Capabilities, DeviceIdentity, Dialect};
use serde::{Deserialize, Serialize};

use super::active::ActiveConnection;
use super::ending::Verdict;
use super::http_dialect::{SLACK, well_or_not};
use super::{
    Connection, Count, DropReason, Effect, Epoch, GatewayNotice, HttpAnswer, HttpOperation, Machines, Moment, State,
    Until,
};
use crate::dialing::failure::memory_code;
use crate::dialing::{DialFailure, DialRequest, Health, HealthFailure, HttpReply};
use crate::gateway_record::{DeviceToken, Transport};
use crate::machines::login_attempt::{LoginAttempt, LoginPatience};

/// A permit that isn't answered within this is asked for again. Where a whole fleet wants one, each waits for its turn.
const PERMIT_WAIT: Duration = Duration::from_secs(15);
/// A denied permit is not asked for again sooner.
const MIN_DENIED: Duration = Duration::from_millis(100);
/// What a dial may take beyond its own timeout before it is given up from here.
const DIAL_SLACK: Duration = Duration::from_secs(2);
/// The ids of the two HTTP requests of a login.
const DETECT: &str = "detect";
const LOGIN: &str = "login";

/// From the registry, in answer to [`GatewayNotice::PermitWanted`]: whether one authentication may be tried now.
#[derive(Debug, Clone)]
pub enum AuthPermit {
    /// Dial and authenticate; the outcome must be told with [`GatewayNotice::AuthSettled`].
    Granted {
        /// The one that was asked for.
        address: String,
        /// The device token kept for this address, if any.
        device_token: Option<DeviceToken>,
    },
    /// The address has used up its failed authentications; ask again then.
    Denied {
        /// The one that was asked for.
        address: String,
        /// When a permit may be had.
        retry_at: Instant,
    },
}

/// How a permitted authentication ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthResult {
    /// The gateway let us in.
    Accepted,
    /// Nothing was tried: the attempt ended before any credential was sent, or with a refusal that is not about them.
    NotFailed,
    /// The gateway refused the credentials.
    Failed,
    /// Credentials were sent and the answer never came: counts as failed, to be safe, until one is accepted.
    Unknown,
}

/// Whether an authentication may be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Permission {
    NotAsked,
    /// Asked for this address, and again then if no answer comes.
    Asked {
        address: String,
        again_at: Instant,
    },
    Denied(Until),
}

/// Who we are to the gateway.
#[derive(Debug)]
pub(super) struct Login {
    identity: Arc<DeviceIdentity>,
    version: String,
    instance_id: String,
    pub(super) device_token: Option<DeviceToken>,
    /// The gateway rejected a device token: none is used until something changes.
    without_device_token: bool,
    /// The build that a control UI must claim, once the gateway named it.
    build_id: Option<String>,
}

impl Login {
    pub(super) fn new(identity: Arc<DeviceIdentity>, version: String, instance_id: String) -> Self {
        Self { identity, version, instance_id, device_token: None, without_device_token: false, build_id: None }
    }

    pub(super) fn device_id(&self) -> &str {
        self.identity.device_id()
    }

    /// Old reasons not to try are done with.
    fn clear_errors(&mut self) {
        self.without_device_token = false;
        self.build_id = None;
    }
}

/// A login on an open socket.
#[derive(Debug)]
pub(super) struct Handshaking {
    pub(super) login: LoginAttempt,
    pub(super) offers_device_token: bool,
}

impl Connection {
    /// For an operator: drops the connection and dials now, whatever is waited for.
    pub fn reconnect(&mut self, moment: Moment) {
        self.orders += 1;
        self.tracker.mark();
        if !self.is_stopped() {
            self.clear_errors(moment);
            self.start_over(moment, "operator");
        }
    }

    /// Stops for good: closes the socket, answers whoever waits.
    pub fn shut_down(&mut self, moment: Moment) {
        self.tracker.mark();
        if !self.is_stopped() {
            self.hang_up(moment, 1001, "gatewarden is stopping", Some(&Refusal::new(RefusalCode::Closed, "")));
            self.fail_probes(RefusalCode::Closed, "gatewarden is stopping");
            self.enter(State::Stopped, "stop");
        }
    }

    pub(super) fn clear_errors(&mut self, moment: Moment) {
        self.kept = None;
        self.verdict = Verdict::None;
        self.login.clear_errors();
        self.backoff.reset();
        self.tracker.clear_problem();
        self.breaker.on_no_verdict(moment.wall_ms);
    }

    pub(super) fn start_over(&mut self, moment: Moment, reason: &'static str) {
        // Asked for already: the answer is on its way, and asking twice would reserve twice.
        if self.has_asked_for(&self.peer.key) {
            return;
        }
        self.hang_up(moment, 1000, "reconnecting", Some(&Refusal::new(RefusalCode::Closed, "")));
        self.begin(moment, reason);
    }

    /// Starts an attempt. Nothing of an earlier one may be left.
    pub(super) fn begin(&mut self, moment: Moment, reason: &'static str) {
        self.epoch = Epoch(self.epoch.0 + 1);
        self.enter(State::Idle(Permission::NotAsked), reason);
        if self.peer.address.is_some() {
            self.ask_permit(moment);
        } else {
            self.end(moment, Refusal::new(RefusalCode::AddressForbidden, ""));
        }
    }

    /// Asks for a permit, again or for the first time.
    fn ask_permit(&mut self, moment: Moment) {
        let address = self.peer.key.clone();
        self.state = State::Idle(Permission::Asked { address: address.clone(), again_at: moment.now + PERMIT_WAIT });
        self.push(Effect::Notify(GatewayNotice::PermitWanted { address }));
    }

    fn has_asked_for(&self, wanted: &str) -> bool {
        matches!(&self.state, State::Idle(Permission::Asked { address, .. }) if address == wanted)
    }

    /// The answer to [`GatewayNotice::PermitWanted`].
    pub fn on_permit(&mut self, moment: Moment, permit: AuthPermit) {
        self.tracker.mark();
        match permit {
            AuthPermit::Granted { address, device_token } if self.has_asked_for(&address) => {
                self.login.device_token = device_token;
                self.dial(moment);
            }
            AuthPermit::Granted { address, .. } => {
                self.push(Effect::Notify(GatewayNotice::AuthSettled { address, result: AuthResult::NotFailed }));
            }
            AuthPermit::Denied { address, retry_at } if self.has_asked_for(&address) => {
                let until = moment.until(retry_at.max(moment.now + MIN_DENIED));
                self.state = State::Idle(Permission::Denied(until));
                self.tracker.explain(self.peer.problem(&Refusal::new(RefusalCode::LoginBudgetSpent, "")));
            }
            AuthPermit::Denied { .. } => {}
        }
    }

    fn dial(&mut self, moment: Moment) {
        let Some(address) = self.peer.address.clone() else { return };
        if std::mem::replace(&mut self.attempted, true) {
            self.push(Effect::Count(Count::Reconnect));
        }
        self.attempt_since = moment.now;
        self.breaker.on_attempt(moment.wall_ms);
        if self.peer.record.transport == Transport::Http {
            return self.try_http(moment, Refusal::new(RefusalCode::NotAGateway, "no health document"));
        }
        let request = DialRequest {
            origin: self.peer.record.is_control_ui().then(|| address.origin()),
            address,
            tls: self.peer.record.tls.clone(),
            timeout: self.peer.settings.dial_timeout,
        };
        let due = moment.now + request.timeout + DIAL_SLACK;
        self.enter(State::Dialing { due, http: None }, "dial");
        self.push(Effect::Dial(self.epoch, Box::new(request)));
    }

    /// The socket of this attempt is open. Ask [`Connection::is_dialing`] first whether it is still wanted.
    pub fn on_dialed(&mut self, moment: Moment, epoch: Epoch) {
        if !self.is_dialing(epoch) {
            return;
        }
        let patience = match self.peer.dialect {
            Some(Dialect::Openclaw) => self.peer.settings.known_challenge_timeout,
            _ => self.peer.settings.challenge_timeout,
        };
        let config = self.handshake_config();
        let patience = LoginPatience { challenge: patience, login: self.peer.settings.connect_timeout };
        let offers_device_token = config.device_token.is_some();
        let handshaking = Handshaking { login: LoginAttempt::new(config, moment.now, patience), offers_device_token };
        self.enter(State::Handshaking(Box::new(handshaking)), "upgraded");
    }

    /// The socket of this attempt could not be opened.
    pub fn on_dial_failed(&mut self, moment: Moment, epoch: Epoch, failure: &DialFailure) {
        match self.read_dial_failure(failure) {
            _ if !self.is_dialing(epoch) => {}
            UpgradeAnswer::TryHttp(refusal) if self.peer.record.transport == Transport::Auto => {
                self.try_http(moment, refusal);
            }
            UpgradeAnswer::TryHttp(refusal) | UpgradeAnswer::Refused(refusal) => self.end(moment, refusal),
        }
    }

    /// How this gateway is introduced to.
    fn handshake_config(&self) -> HandshakeConfig {
        let Login { identity, version, instance_id, device_token, without_device_token, build_id } = &self.login;
        let pairs = !self.peer.record.is_control_ui();
        let mut config = if pairs {
            HandshakeConfig::with_device(Arc::clone(identity), version, instance_id)
        } else {
            HandshakeConfig::control_ui(identity.short_id(), version, instance_id, build_id.clone())
        };
        let protocols = &self.peer.settings.protocols;
        config.protocols = ProtocolRange { min: *protocols.start(), max: *protocols.end() };
        config.shared_token = self.peer.record.shared_token().cloned();
        config.password.clone_from(&self.peer.record.password);
        let usable = device_token.as_ref().filter(|_| pairs && !without_device_token);
        config.device_token = usable.map(|issued| issued.token.clone());
        config
    }

    /// Something came in before the login was done.
    pub(super) fn handshake_bytes(&mut self, moment: Moment, bytes: &[u8], meter: &mut dyn Meter) {
        let State::Handshaking(handshaking) = &mut self.state else { return };
        match FrameText::read(bytes).and_then(|text| text.decode(meter)) {
            Ok(frame) => {
                let step = handshaking.login.on_frame(moment.now, moment.wall_ms, &frame);
                self.step(moment, step);
            }
            Err(FrameError::TooMuch(excess)) => self.end(moment, Refusal::new(memory_code(excess), "")),
            Err(error) => {
                let hopeless = handshaking.login.on_strange_frame(&error);
                self.push(Effect::Count(Count::DroppedFrame(DropReason::Garbage)));
                if hopeless {
                    self.end(moment, Refusal::new(self.peer.strange_code(), &error.to_string()));
                }
            }
        }
    }

    /// The socket ended before the login was done.
    pub(super) fn handshake_closed(&mut self, moment: Moment, code: Option<u16>, reason: &str) {
        if let State::Handshaking(handshaking) = &mut self.state {
            let step = handshaking.login.on_close(code, reason);
            self.step(moment, step);
        }
    }

    fn step(&mut self, moment: Moment, step: Step) {
        match step {
            Step::Wait => {}
            Step::Send(text) => self.send_login(text),
            Step::Ready(hello) => self.let_in(moment, *hello),
            Step::Refused(refusal) => self.end(moment, refusal),
        }
    }

    fn send_login(&mut self, text: String) {
        let State::Handshaking(handshaking) = &self.state else { return };
        let is_rpc = handshaking.login.dialect() == Dialect::Rpc;
        // The reply to a login may be larger than anything that may come before it.
        self.push(Effect::RaiseCap(self.epoch, self.peer.settings.max_frame));
        self.push(Effect::Send { epoch: self.epoch, text, starts: None });
        self.note_phase(if is_rpc { "no_challenge" } else { "challenge" });
    }

    fn let_in(&mut self, moment: Moment, hello: Hello) {
        self.settle_permit(None);
        if let Some(issued) = &hello.device_token
            && !self.peer.record.is_control_ui()
            && self.login.device_token.as_ref().is_none_or(|kept| kept.token != issued.token)
        {
            let token = DeviceToken {
                token: issued.token.clone(),
                role: issued.role.clone(),
                scopes: issued.scopes.clone(),
                issued_at_ms: issued.issued_at_ms.unwrap_or(moment.wall_ms),
            };
            self.login.device_token = Some(token.clone());
            let address = self.peer.key.clone();
            self.push(Effect::Notify(GatewayNotice::DeviceTokenIssued { address, token }));
        }
        let missing_scope = hello.missing_scope();
        let mut active = self.activate(moment, hello.dialect, Capabilities::from_hello(&hello));
        active.scopes = hello.scopes.unwrap_or_default().into();
        active.take_uptime(hello.uptime_ms, moment.wall_ms);
        if let Some(health) = &hello.health {
            active.take_health(moment.now, health);
        }
        if missing_scope.is_some() {
            self.state = State::Live(Box::new(active));
            let refusal = Refusal::new(RefusalCode::MissingScope, "");
            return self.end(moment, Refusal { missing_scope, ..refusal });
        }
        self.peer.identify(hello.version, hello.protocol);
        self.go_live(moment, active);
    }

    fn activate(&self, moment: Moment, dialect: Dialect, capabilities: Capabilities) -> ActiveConnection {
        ActiveConnection::new(moment, self.epoch, &self.peer.settings, dialect, capabilities)
    }

    /// The gateway let us in: the first heartbeat and the first reads go out.
    fn go_live(&mut self, moment: Moment, active: ActiveConnection) {
        let dialect = active.dialect;
        self.peer.dialect = Some(dialect);
        (self.verdict, self.kept) = (Verdict::None, None);
        self.login.without_device_token = false;
        self.backoff.on_ready(moment.now);
        self.breaker.on_success(moment.wall_ms);
        self.tracker.connected(moment);
        self.enter(State::Live(Box::new(active)), "authenticated");
        self.probes.go_live();
        let Machines { mut turn, active, logs, .. } = self.machines(moment);
        if let Some(active) = active {
            logs.connected(&mut turn, active);
        }
        self.run_heartbeat(moment);
        let Machines { mut turn, active, .. } = self.machines(moment);
        if let Some(active) = active {
            active.read_everything(&mut turn);
        }
    }

    /// There is no WebSocket here: maybe it is a gateway of the other kind, which shows by its health document. Without
    /// one, `fallback` says more than that.
    fn try_http(&mut self, moment: Moment, fallback: Refusal) {
        let timeout = self.peer.settings.dial_timeout;
        self.enter(State::Dialing { due: moment.now + timeout + SLACK, http: Some(fallback) }, "try_http");
        self.ask_http(DETECT, HttpOperation::Detect, timeout);
    }

    fn ask_http(&mut self, id: &str, operation: HttpOperation, timeout: Duration) {
        self.push(Effect::Http { epoch: self.epoch, id: id.to_owned(), operation, timeout });
    }

    /// An HTTP answer before the login is done.
    pub(super) fn http_login(&mut self, moment: Moment, id: &str, answer: HttpAnswer) {
        match (&self.state, answer) {
            (State::Dialing { http: Some(fallback), .. }, HttpAnswer::Health(answer)) if id == DETECT => {
                let fallback = fallback.clone();
                self.detected(moment, fallback, answer);
            }
            (State::HttpLogin { document, .. }, HttpAnswer::Reply(answer)) if id == LOGIN => {
                let document = document.clone();
                self.login_answered(moment, document, answer);
            }
            _ => {}
        }
    }

    fn detected(&mut self, moment: Moment, fallback: Refusal, answer: Result<Health, HealthFailure>) {
        let document = match answer {
            Ok(health) => well_or_not(&health),
            Err(HealthFailure::Unreached(failure)) => return self.end_by_dial_failure(moment, &failure),
            Err(HealthFailure::NotAHealthDocument { status, .. }) => {
                return match classify_upgrade(status, None, None, &[]) {
                    UpgradeAnswer::Refused(refusal) => self.end(moment, refusal),
                    UpgradeAnswer::TryHttp(_) => self.end(moment, fallback),
                };
            }
        };
        let timeout = self.peer.settings.connect_timeout;
        let token_sent = self.peer.record.shared_credential().is_some();
        let state = State::HttpLogin { due: moment.now + timeout + SLACK, document, token_sent };
        self.enter(state, "health_document");
        self.ask_http(LOGIN, HttpOperation::Sessions, timeout);
    }

    fn login_answered(&mut self, moment: Moment, document: HealthDocument, answer: Result<HttpReply, DialFailure>) {
        let reply = match answer {
            Ok(reply) => reply,
            Err(failure) => return self.end_by_dial_failure(moment, &failure),
        };
        let code = match reply.status {
            // No list of sessions is offered; the token wasn't refused either.
            200..=299 | 404 | 405 | 501 => None,
            401 | 403 if self.peer.record.shared_credential().is_none() => Some(RefusalCode::TokenMissing),
            401 | 403 => Some(RefusalCode::TokenMismatch),
            429 => Some(RefusalCode::RateLimited),
            503 => Some(RefusalCode::GatewayUnavailable),
            _ => Some(RefusalCode::GatewayError),
        };
        if let Some(code) = code {
            let wait = reply.retry_after.and_then(|after| u64::try_from(after.as_millis()).ok());
            let words = format!("HTTP {} to GET /sessions", reply.status);
            return self.end(moment, Refusal::new(code, &words).with_retry_after_ms(wait));
        }
        self.settle_permit(None);
        let version = document.version.as_deref().and_then(CalendarVersion::known);
        let mut active = self.activate(moment, Dialect::Http, Capabilities::http(version));
        active.take_document(moment, &document);
        self.peer.identify(document.version, None);
        self.go_live(moment, active);
    }

    pub(super) fn end_by_dial_failure(&mut self, moment: Moment, failure: &DialFailure) {
        let (UpgradeAnswer::TryHttp(refusal) | UpgradeAnswer::Refused(refusal)) = self.read_dial_failure(failure);
        self.end(moment, refusal);
    }

    /// When the present state is over by itself.
    pub(super) fn state_due(&self) -> Option<Instant> {
        match &self.state {
            State::Idle(Permission::Asked { again_at, .. }) => Some(*again_at),
            State::Idle(Permission::Denied(until)) | State::Waiting(until) => Some(until.at),
            State::Dialing { due, .. } | State::HttpLogin { due, .. } => Some(*due),
            State::Handshaking(handshaking) => Some(handshaking.login.next_deadline()),
            State::Idle(Permission::NotAsked) | State::Live(_) | State::Stopped => None,
        }
    }

    pub(super) fn state_over(&mut self, moment: Moment) {
        if self.state_due().is_none_or(|due| moment.now < due) {
            return;
        }
        match &mut self.state {
            State::Idle(_) => self.ask_permit(moment),
            State::Dialing { .. } | State::HttpLogin { .. } => {
                self.end(moment, Refusal::new(RefusalCode::DialTimeout, ""));
            }
            State::Handshaking(handshaking) => {
                let step = handshaking.login.on_deadline(moment.now);
                self.step(moment, step);
            }
            State::Waiting(_) => self.begin(moment, "waited"),
            State::Live(_) | State::Stopped => {}
        }
    }

    /// What the refusal asks for before another attempt: whether one follows at once, without the device token that was
    /// rejected or with the build that was asked for.
    pub(super) fn correct_login(&mut self, refusal: &Refusal, used_device_token: bool) -> Option<&'static str> {
        let login = &mut self.login;
        if refusal.drop_device_token {
            if login.device_token.take().is_some() {
                let address = self.peer.key.clone();
                self.effects.push(Effect::Notify(GatewayNotice::DeviceTokenRejected { address }));
            }
            if used_device_token && !std::mem::replace(&mut login.without_device_token, true) {
                return Some("retry_without_device_token");
            }
        }
        if refusal.gateway_build_id.is_some()
            && self.peer.record.is_control_ui()
            && login.build_id != refusal.gateway_build_id
        {
            let known = std::mem::replace(&mut login.build_id, refusal.gateway_build_id.clone());
            return known.is_none().then_some("retry_with_build_id");
        }
        None
    }
}
