//! What gateways' actors and processes say, and the deaths of actors.

use super::{Effect, Fleet, HaltedProcess, Member, Notice, Time};
use crate::gateway_record::GatewayChange;
use crate::gateway_report::{GatewayReport, Phase, Trace};
use crate::ids::GatewayId;
use crate::machines::connection::{AuthPermit, AuthResult, GatewayNotice, GatewayOrder};
use crate::machines::restart_intensity::RestartDecision;

impl Fleet {
    /// A notice of a gateway's actor. Of a deleted or replaced one only the budget of its address still matters.
    pub fn on_notice(&mut self, time: Time, id: GatewayId, incarnation: u64, notice: GatewayNotice) {
        if let GatewayNotice::AuthSettled { address, result } = notice {
            return self.on_auth_settled(time, id, incarnation, &address, result);
        }
        if self.dialled(id).is_none_or(|member| member.incarnation != incarnation) {
            return;
        }
        match notice {
            // What it says next tells what came of the order.
            GatewayNotice::Report(report) if self.dialled(id).is_some_and(|member| report.orders < member.orders) => {}
            GatewayNotice::Report(report) => self.on_report(time, id, *report),
            GatewayNotice::PermitWanted { address } => {
                let permit = match self.addresses.reserve(&address, time.now) {
                    Ok(device_token) => {
                        self.dialled_mut(id).into_iter().for_each(|member| member.permits.push(address.clone()));
                        AuthPermit::Granted { device_token }
                    }
                    Err(retry_at) => AuthPermit::Denied { retry_at },
                };
                self.effects.push(Effect::Tell(id, GatewayOrder::Permit(permit)));
            }
            GatewayNotice::DeviceTokenIssued { address, token } => {
                if self.addresses.set_token(&address, Some(token.clone())) {
                    self.effects.push(Effect::StoreToken(address, Some(token)));
                }
            }
            GatewayNotice::DeviceTokenRejected { address } => {
                self.addresses.set_token(&address, None);
                self.effects.push(Effect::StoreToken(address, None));
            }
            GatewayNotice::Sessions(sessions) => match self.trials.get_mut(&id) {
                Some(trial) => trial.sessions = Some(sessions),
                None => self.effects.push(Effect::PublishSessions(id, sessions)),
            },
            GatewayNotice::Health(point) if !self.is_on_trial(id) => self.effects.push(Effect::Health(id, point)),
            GatewayNotice::Agents(news) if !self.is_on_trial(id) => {
                self.effects.push(Effect::NoteAgents(id, news));
            }
            GatewayNotice::Health(_) | GatewayNotice::Agents(_) | GatewayNotice::AuthSettled { .. } => {}
            GatewayNotice::Run(run) => self.spawns.on_stage(time.now, id, run),
        }
    }

    /// A permitted attempt to log in has ended. What an actor died over was settled at its death.
    fn on_auth_settled(&mut self, time: Time, id: GatewayId, incarnation: u64, address: &str, result: AuthResult) {
        if let Some(member) = self.dialled_mut(id) {
            if member.incarnation != incarnation {
                return;
            }
            let place = member.permits.iter().position(|permitted| permitted == address);
            place.into_iter().for_each(|place| drop(member.permits.remove(place)));
        }
        self.addresses.settle(address, time.now, result);
    }

    pub(super) fn on_report(&mut self, time: Time, id: GatewayId, report: GatewayReport) {
        let now = time.now;
        if let Some(trial) = self.trials.get_mut(&id) {
            trial.member.take_report(time, report.clone());
            self.effects.push(Effect::TrialReport(id, Box::new(report)));
            return;
        }
        let Some(member) = self.members.get_mut(&id) else { return };
        let outcome_was_known = member.outcome_known;
        let reconnect_was = member.reconnect_until;
        let changed = member.changed;
        let before = member.take_report(time, report);
        let reconnected = reconnect_was != member.reconnect_until;
        let report = &member.report;
        let usable = report.is_usable();
        let turned = usable != before.is_usable();
        let sessions_moved = report.sessions_count != before.sessions_count;
        let first_outcome = member.outcome_known && !outcome_was_known;
        let dialect =
            report.dialect.filter(|dialect| report.phase == Phase::Ready && member.record.dialect != Some(*dialect));
        let counts = usable || (member.counts_as_usable && member.reconnect_until.is_some_and(|until| now < until));
        let change = if counts == std::mem::replace(&mut member.counts_as_usable, counts) {
            None
        } else {
            let first = !std::mem::replace(&mut member.was_usable, true);
            if !first
                && !changed
                && let Some(until) = member.on_turn(time)
            {
                self.held_down.insert((until, id));
                let held = until.saturating_duration_since(now);
                self.effects.push(Effect::Notify(Notice::HeldDown(member.record.clone(), held)));
            }
            member.unexplained = !counts;
            if counts { self.self_doubt.on_usable(now, id) } else { self.self_doubt.on_lost(now, id) }
        };
        let trace = if counts { Trace::Open } else { member.report.trace() };
        let learned = match trace {
            Trace::Silence if std::mem::take(&mut member.unexplained) => self.self_doubt.on_silence(now, id),
            Trace::Answer => {
                member.unexplained = false;
                self.self_doubt.on_answer(now, id)
            }
            Trace::Silence | Trace::Open => None,
        };
        match (turned, usable) {
            (true, true) => self.spawns.on_gateway_back(now, id),
            (true, false) => self.spawns.on_gateway_lost(now, id),
            (false, _) => {}
        }
        self.on_doubt_change(time, change);
        self.on_doubt_change(time, learned);
        self.announce_report(id, &before);
        self.publish(id);
        if turned || first_outcome || reconnected {
            self.consider_election(time, Some(id));
        } else if sessions_moved && self.acting().is_none() {
            self.consider_election(time, None);
        }
        if dialect.is_some() {
            // So that the next start needn't detect it.
            self.remember_dialect(id, GatewayChange { dialect, ..GatewayChange::default() });
        }
    }

    pub(super) fn remember_dialect(&mut self, id: GatewayId, change: GatewayChange) {
        self.effects.push(Effect::StoreChange(id, Box::new(change)));
    }

    /// What is news between two reports of a gateway.
    pub(super) fn announce_report(&mut self, id: GatewayId, before: &GatewayReport) {
        let Some(Member { record, report: after, .. }) = self.members.get(&id) else { return };
        let same_status = after.status == before.status;
        if !same_status {
            let notice = Notice::StatusChanged(record.clone(), before.status, Box::new(after.clone()));
            self.effects.push(Effect::Notify(notice));
        }
        if after.phase != Phase::Blocked {
            return;
        }
        let code = after.last_error.as_ref().map(|problem| &problem.code);
        // The reason is kept while a blocked gateway is re-checked: finding it again is no news.
        if code.is_some() && code != before.last_error.as_ref().map(|problem| &problem.code) {
            let notice = Notice::Blocked(record.clone(), Box::new(after.clone()), same_status);
            self.effects.push(Effect::Notify(notice));
        }
    }

    /// A gateway's process on this machine doesn't run and isn't going to, or does. What else is told of it is published, too.
    pub fn on_process(&mut self, time: Time, id: GatewayId, halted: Option<HaltedProcess>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let before = member.take_process(time, halted);
        self.announce_report(id, &before);
        self.publish(id);
    }

    /// A gateway's actor is gone though nobody stopped it. It is started again from its record; one that dies too often is
    /// parked, and says so.
    pub fn on_actor_died(&mut self, time: Time, id: GatewayId) {
        for address in self.dialled_mut(id).map(|member| std::mem::take(&mut member.permits)).unwrap_or_default() {
            self.addresses.settle(&address, time.now, AuthResult::Unknown);
        }
        if let Some(trial) = self.trials.get_mut(&id) {
            // Whoever waits for it learns that it ended; a trial is not started again.
            trial.member.on_death(time, &self.settings.restarts);
            let report = GatewayReport { phase: Phase::Parked, ..trial.member.report.clone() };
            self.effects.push(Effect::TrialReport(id, Box::new(report)));
            return;
        }
        let Some(member) = self.members.get_mut(&id) else { return };
        let (before, decision) = member.on_death(time, &self.settings.restarts);
        let notice = Notice::ActorDied(member.record.clone(), before.phase, decision);
        let counted = std::mem::take(&mut member.counts_as_usable);
        self.effects.push(Effect::Notify(notice));
        if decision == RestartDecision::Restart {
            self.start_actor(id);
        }
        self.spawns.on_gateway_lost(time.now, id);
        if counted {
            let change = self.self_doubt.on_lost(time.now, id);
            self.on_doubt_change(time, change);
        }
        self.announce_report(id, &before);
        self.publish(id);
        self.consider_election(time, Some(id));
    }
}
