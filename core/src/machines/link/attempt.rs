//! One attempt to connect: permit, dial, and what the way there says.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use gatewarden_protocol::address::GatewayAddress;
use gatewarden_protocol::refusal::{Refusal, RefusalCode, UpgradeAnswer};

use super::handshaking::Handshaking;
use super::{Count, Effect, Epoch, Link, Moment, Permit, Stage};
use crate::dialing::failure::strange;
use crate::dialing::{DialFailure, DialRequest};
use crate::gateway_notice::{AuthPermit, AuthResult};
use crate::gateway_record::{GatewayRecord, SharedRecord, Transport};
use crate::gateway_report::Phase;
use crate::machines::breaker::Breaker;

/// A permit that isn't answered within this is asked for again.
const PERMIT_WAIT: Duration = Duration::from_secs(5);
/// Permits asked for and not answered; beyond that nothing is asked again until one comes.
const MAX_ASKED: usize = 16;
/// What a dial may take beyond its own timeout before it is given up from here.
const DIAL_SLACK: Duration = Duration::from_secs(2);

/// Addresses that permits were asked for, oldest first: answers come in that order.
#[derive(Debug, Default)]
pub(super) struct Asked(VecDeque<String>);

/// Address and canonical key of a record. A host that doesn't parse was refused before it was stored; should one be
/// stored all the same, it is never dialled.
pub(super) fn resolve(record: &GatewayRecord) -> (Option<GatewayAddress>, String) {
    match GatewayAddress::parse(&record.host, Some(record.port)) {
        Ok(parsed) => {
            let key = parsed.address.key();
            (Some(parsed.address), key)
        }
        Err(_) => (None, format!("ws://{}:{}", record.host, record.port)),
    }
}

impl Link {
    /// The first attempt.
    pub fn start(&mut self, moment: Moment) {
        if self.phase == Phase::Idle && self.permit == Permit::None {
            self.begin(moment, "start");
            self.settle(moment);
        }
    }

    /// An operator wants a connection now, whatever the link waits for.
    pub fn reconnect(&mut self, moment: Moment) {
        if self.phase == Phase::Stopping {
            return;
        }
        self.pardon(moment);
        self.start_over(moment, "operator");
        self.settle(moment);
    }

    /// The stored record changed. What the connection rests on reconnects; anything else is only taken over.
    pub fn update_record(&mut self, moment: Moment, record: SharedRecord) {
        if self.phase == Phase::Stopping {
            self.record = record;
            return;
        }
        let elsewhere = record.host != self.record.host || record.port != self.record.port;
        let otherwise = record.token != self.record.token
            || record.url_token != self.record.url_token
            || record.transport != self.record.transport
            || record.tls != self.record.tls
            || record.disable_device_pairing != self.record.disable_device_pairing;
        self.record = record;
        if elsewhere || otherwise {
            // The permit belongs to the old address: settle it before the address is another.
            self.hang_up(moment, 1000, "the gateway's record changed");
            self.settle_permit(Some(&Refusal::new(RefusalCode::Closed, "")));
            self.fail_probes_by(RefusalCode::Closed, "the gateway's record changed");
            (self.address, self.key) = resolve(&self.record);
            self.device_token = None;
            if elsewhere {
                self.dialect = None;
            }
            self.knowledge.forget(moment, self.dialect);
            if elsewhere {
                self.telling.forget();
                self.forget_logs();
            }
            self.breaker = Breaker::new(self.settings.breaker_failures);
            self.pardon(moment);
            self.start_over(moment, "record_changed");
        }
        self.settle(moment);
    }

    /// Stops for good: closes the socket, answers whoever waits.
    pub fn shut_down(&mut self, moment: Moment) {
        if self.phase == Phase::Stopping {
            return;
        }
        self.hang_up(moment, 1001, "gatewarden is stopping");
        self.settle_permit(Some(&Refusal::new(RefusalCode::Closed, "")));
        self.fail_probes_by(RefusalCode::Closed, "gatewarden is stopping");
        self.enter(moment, Phase::Stopping, Stage::Stopped, "stop");
        self.settle(moment);
    }

    /// Old reasons not to try are done with.
    fn pardon(&mut self, moment: Moment) {
        self.blocked = None;
        self.grace = None;
        self.without_device_token = false;
        self.build_id = None;
        self.backoff.reset();
        self.knowledge.pardon();
        self.breaker.on_no_verdict(moment.wall_ms);
    }

    fn start_over(&mut self, moment: Moment, reason: &'static str) {
        // Asked for already: the answer is on its way, and asking twice would reserve twice.
        if matches!(self.permit, Permit::Asked { .. }) && self.asked.0.back() == Some(&self.key) {
            return;
        }
        self.hang_up(moment, 1000, "reconnecting");
        self.settle_permit(Some(&Refusal::new(RefusalCode::Closed, "")));
        self.begin(moment, reason);
    }

    /// Starts an attempt. Nothing of an earlier one may be left.
    pub(super) fn begin(&mut self, moment: Moment, reason: &'static str) {
        debug_assert!(!self.has_socket && self.live.is_none(), "an attempt starts from nothing");
        self.epoch = Epoch(self.epoch.0 + 1);
        self.enter(moment, Phase::Idle, Stage::Idle, reason);
        self.permit = Permit::None;
        if self.address.is_none() {
            self.end(moment, Refusal::new(RefusalCode::AddressForbidden, ""));
            return;
        }
        self.ask_permit(moment);
    }

    /// Asks for a permit, again or for the first time.
    pub(super) fn ask_permit(&mut self, moment: Moment) {
        self.permit = Permit::Asked { again_at: moment.now + PERMIT_WAIT };
        self.knowledge.next_attempt_ms = None;
        if self.asked.0.len() < MAX_ASKED {
            self.asked.0.push_back(self.key.clone());
            self.push(Effect::WantPermit { address: self.key.clone() });
        }
    }

    /// The registry's answer.
    pub fn on_permit(&mut self, moment: Moment, permit: AuthPermit) {
        let address = self.asked.0.pop_front().unwrap_or_else(|| self.key.clone());
        let wanted = matches!(self.permit, Permit::Asked { .. }) && address == self.key;
        match permit {
            AuthPermit::Granted { .. } if !wanted => {
                self.push(Effect::SettleAuth { address, result: AuthResult::NotFailed });
            }
            AuthPermit::Granted { device_token } => {
                self.permit = Permit::Held { spent: false };
                self.device_token = device_token;
                self.dial(moment);
            }
            AuthPermit::Denied { .. } if !wanted => {}
            AuthPermit::Denied { retry_at } => self.denied(moment, retry_at),
        }
        self.settle(moment);
    }

    fn denied(&mut self, moment: Moment, retry_at: Instant) {
        let until = retry_at.max(moment.now + Duration::from_millis(100));
        self.permit = Permit::Denied { until };
        self.knowledge.next_attempt_ms = Some(moment.wall_of(until));
        let problem = self.problem(&Refusal::new(RefusalCode::LoginBudgetSpent, ""));
        self.knowledge.explain_if_silent(problem);
    }

    fn dial(&mut self, moment: Moment) {
        let Some(address) = self.address.clone() else { return };
        if std::mem::replace(&mut self.attempted, true) {
            self.push(Effect::Count(Count::Reconnect));
        }
        self.breaker.on_attempt(moment.wall_ms);
        self.has_socket = true;
        if self.record.transport == Transport::Http {
            let fallback = Refusal::new(RefusalCode::NotAGateway, "no health document");
            self.try_http(moment, fallback);
            return;
        }
        let request = DialRequest {
            origin: self.record.disable_device_pairing.then(|| address.origin()),
            address,
            tls: self.record.tls.clone(),
            timeout: self.settings.dial_timeout,
        };
        let due = moment.now + self.settings.dial_timeout + DIAL_SLACK;
        self.enter(moment, Phase::Dialing, Stage::Dialing { due }, "dial");
        self.push(Effect::Dial { epoch: self.epoch, request: Box::new(request) });
    }

    /// The socket is open. False where it isn't wanted any more: drop it.
    pub fn on_dialed(&mut self, moment: Moment, epoch: Epoch) -> bool {
        if !self.is_current(epoch) || !matches!(self.stage, Stage::Dialing { .. }) {
            return false;
        }
        let patience = match self.dialect {
            Some(gatewarden_protocol::Dialect::Openclaw) => self.settings.known_challenge_timeout,
            _ => self.settings.challenge_timeout,
        };
        self.handshaking = Some(Handshaking::new(self.handshake_config()));
        let stage = Stage::AwaitingChallenge { due: moment.now + patience };
        self.enter(moment, Phase::AwaitingChallenge, stage, "upgraded");
        self.settle(moment);
        true
    }

    /// The socket could not be opened.
    pub fn on_dial_failed(&mut self, moment: Moment, epoch: Epoch, failure: &DialFailure) {
        if !self.is_current(epoch) || !matches!(self.stage, Stage::Dialing { .. }) {
            return;
        }
        match self.read_dial_failure(failure) {
            UpgradeAnswer::TryHttp(refusal) if self.record.transport == Transport::Auto => {
                self.try_http(moment, refusal)
            }
            UpgradeAnswer::TryHttp(refusal) | UpgradeAnswer::Refused(refusal) => self.end(moment, refusal),
        }
        self.settle(moment);
    }

    /// What a failed dial means for this gateway.
    pub fn read_dial_failure(&self, failure: &DialFailure) -> UpgradeAnswer {
        failure.classify(self.dialect.is_some())
    }

    /// Something that isn't a gateway's answer: from an address that never was a gateway it says that there is none,
    /// from a known gateway it is a fault that may pass.
    pub fn strange_code(&self) -> RefusalCode {
        strange(self.dialect.is_some())
    }
}
