//! A try beside the connection, and what it means.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use gatewarden_protocol::refusal::{Refusal, RefusalCode, UpgradeAnswer, classify_close};

use super::GatewayActor;
use crate::dialing::HealthFailure;
use crate::dialing::unconnected_probe::{Findings, NoGreeting, probe_unconnected};
use crate::machines::link::{Link, ProbeFinding};

impl GatewayActor {
    pub(super) fn probe_beside(&mut self, round: u64, timeout: Duration, ctx: &mut Context<Self>) {
        let Some(address) = self.link.address().cloned() else {
            let refusal = Refusal::new(RefusalCode::AddressForbidden, "");
            let finding = ProbeFinding { latency: None, failure: Some(("resolve", refusal)) };
            let moment = super::moment_of(&self.clock);
            return self.link.on_probe_finding(moment, round, finding);
        };
        let (tls, transport) = (self.link.record().tls.clone(), self.link.record().transport);
        let dialer = Arc::clone(&self.dialer);
        let probing = async move { probe_unconnected(&*dialer, &address, &tls, transport, timeout).await };
        ctx.spawn(probing.into_actor(self).map(move |findings, actor, ctx| {
            let finding = read(&actor.link, &findings);
            actor.feed(ctx, |link, moment| link.on_probe_finding(moment, round, finding));
        }));
    }
}

fn read(link: &Link, findings: &Findings) -> ProbeFinding {
    let silent_but_well = matches!(findings.socket, Some(Err(NoGreeting::Silent))) && findings.health.is_ok();
    match findings.failed_step() {
        // A gateway of the `rpc` dialect waits for our first word, and its health document vouches for it.
        None => ProbeFinding { latency: findings.took(), failure: None },
        Some(_) if silent_but_well => ProbeFinding { latency: findings.took(), failure: None },
        Some((step, words)) => {
            let refusal = refusal_of(link, findings).unwrap_or_else(|| Refusal::new(RefusalCode::NotAGateway, &words));
            ProbeFinding { latency: None, failure: Some((step, refusal)) }
        }
    }
}

/// The reason behind the first failed step.
fn refusal_of(link: &Link, findings: &Findings) -> Option<Refusal> {
    let dial = |failure| match link.read_dial_failure(failure) {
        UpgradeAnswer::TryHttp(refusal) | UpgradeAnswer::Refused(refusal) => refusal,
    };
    match (&findings.socket, &findings.health) {
        (Some(Err(NoGreeting::NotDialled(failure))), _) => Some(dial(failure)),
        (Some(Err(NoGreeting::Silent)), _) => Some(Refusal::new(RefusalCode::ChallengeTimeout, "")),
        (Some(Err(NoGreeting::OtherWord)), _) => Some(Refusal::new(link.strange_code(), "")),
        (Some(Err(NoGreeting::Closed { code, reason })), _) => Some(classify_close(*code, reason, false)),
        (Some(Err(NoGreeting::Broke(error))), _) => {
            Some(Refusal::new(RefusalCode::ConnectionReset, &error.to_string()))
        }
        (_, Err(HealthFailure::Unreached(failure))) => Some(dial(failure)),
        _ => None,
    }
}
