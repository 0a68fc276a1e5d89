//! Carries out what the link says, in order.

use actix::prelude::*;
use tracing::debug;

use super::GatewayActor;
use crate::dialing::Held;
use crate::gateway_notice::GatewayNotice;
use crate::gateway_report::Phase;
use crate::machines::link::{Count, Effect};

impl GatewayActor {
    /// Carries out all effects; carrying one out may cause more.
    pub(super) fn perform(&mut self, ctx: &mut Context<Self>) {
        loop {
            let effects = self.link.take_effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                self.perform_one(effect, ctx);
            }
        }
    }

    fn perform_one(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::WantPermit { address } => self.tell(GatewayNotice::PermitWanted { address }),
            Effect::SettleAuth { address, result } => self.tell(GatewayNotice::AuthSettled { address, result }),
            Effect::IssueToken { address, token } => self.tell(GatewayNotice::DeviceTokenIssued { address, token }),
            Effect::ForgetToken { address } => self.tell(GatewayNotice::DeviceTokenRejected { address }),
            Effect::Dial { epoch, request } => self.dial(epoch, *request, ctx),
            Effect::Http { epoch, ask } => self.ask_http(epoch, ask, ctx),
            Effect::Send { epoch, text } => self.send(epoch, |outgoing| outgoing.try_send_text(text)),
            Effect::SendRun { epoch, call, text } => self.send_run(epoch, call, text),
            Effect::Ping { epoch, payload } => self.send(epoch, |outgoing| outgoing.ping(payload)),
            Effect::Pong { epoch, payload } => self.send(epoch, |outgoing| outgoing.pong(payload)),
            Effect::RaiseCap { epoch, bytes } => self.raise_cap(epoch, bytes),
            Effect::Close { epoch, code, reason } => self.close(epoch, code, reason, ctx),
            Effect::Answer { call, result } => {
                // A caller that went away needs no answer.
                let result = result.map(|answer| Held::new(answer, self.decoded.take()));
                let _ = self.callers.remove(&call).map(|waiter| waiter.send(result));
            }
            Effect::AnswerRun { call, result } => {
                let _ = self.starters.remove(&call).map(|waiter| waiter.send(result));
            }
            Effect::AnswerFinding { call, result } => {
                let _ = self.seekers.remove(&call).map(|waiter| waiter.send(result));
            }
            Effect::RunMoved(notice) => self.tell(GatewayNotice::Run(*notice)),
            Effect::Sessions(sessions) => self.tell(GatewayNotice::Sessions(sessions)),
            Effect::Logs(news) => self.tell_followers(news),
            Effect::AnswerProbe { probe, outcome } => {
                let _ = self.probers.remove(&probe).map(|waiter| waiter.send(*outcome));
            }
            Effect::ProbeUnconnected { round, timeout } => self.probe_beside(round, timeout, ctx),
            Effect::Report(report) => self.tell(GatewayNotice::Report(report)),
            Effect::Health(point) => self.tell(GatewayNotice::Health(point)),
            Effect::Count(count) => self.count(&count),
            Effect::StateChanged { from, to, reason } => self.log_change(from, to, reason),
            Effect::Remark(words) => {
                debug!(gateway.id = self.id.0, gateway.name = %self.link.record().name, "{words}");
            }
        }
    }

    fn count(&self, count: &Count) {
        match count {
            Count::Latency(round_trip) => self.metrics.observe_latency(self.id, *round_trip),
            Count::Reconnect => self.metrics.count_reconnect(self.id),
            Count::Refusal(code) => self.metrics.count_refusal(self.id, code),
            Count::Rpc(method, outcome) => self.metrics.count_rpc(self.id, method, outcome),
            Count::DroppedFrame(reason) => self.metrics.count_dropped_frame(self.id, reason),
        }
    }

    /// Phases are for debugging: a gateway that is down goes through them twice a minute. The line for operators is the one
    /// on the change of status, which the registry writes.
    fn log_change(&self, from: Phase, to: Phase, reason: &'static str) {
        let (id, name) = (self.id.0, &self.link.record().name);
        let (from_name, to_name) = (from.as_str(), to.as_str());
        debug!(gateway.id = id, gateway.name = %name, from = from_name, to = to_name, reason, "gateway phase changed");
    }
}
