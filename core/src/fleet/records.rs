//! Records that the store has committed, and gateways that are dialled before anybody sees them.

use super::{Effect, Fleet, Member, Time, Trial};
use crate::error::{ErrorCode, Failure};
use crate::gateway_record::{GatewayChange, GatewayRecord, GatewaySpec, SharedRecord};
use crate::gateway_report::{GatewayReport, Phase};
use crate::ids::GatewayId;
use crate::machines::connection::REDIAL_PATIENCE;

impl Fleet {
    /// A gateway was created.
    pub fn on_created(&mut self, time: Time, record: GatewayRecord, demoted: Option<GatewayRecord>) {
        if let Some(demoted) = demoted {
            self.take_record(time, demoted);
        }
        let id = record.id;
        self.insert(record, time);
        self.start_actor(id);
        self.publish(id);
        self.consider_election(time, id);
    }

    /// A record changed. One that is older than the one known is ignored: two commits may be answered in either order.
    pub fn on_updated(&mut self, time: Time, record: GatewayRecord) {
        self.on_all_updated(time, [record]);
    }

    /// Records changed together: nothing is decided by one without the other.
    pub fn on_all_updated(&mut self, time: Time, records: impl IntoIterator<Item = GatewayRecord>) {
        let changed: Vec<_> = records.into_iter().filter_map(|record| self.take_record(time, record)).collect();
        changed.into_iter().for_each(|id| self.consider_election(time, id));
    }

    /// The gateway, if its record is news.
    fn take_record(&mut self, time: Time, record: GatewayRecord) -> Option<GatewayId> {
        let id = record.id;
        let member = self.members.get_mut(&id).filter(|member| record.revision > member.record.revision)?;
        let address = record.address_key();
        let is_redialled = member.is_running && !record.dials_like(&member.record);
        member.record = SharedRecord::new(record);
        let before = member.take_process(time, member.record.process.as_ref().and(member.halted.clone()));
        if member.is_running {
            member.orders += 1;
            self.effects.push(Effect::Update(member.record.clone()));
        }
        if address != member.address {
            let former = std::mem::replace(&mut member.address, address.clone());
            self.addresses.join(&address, id);
            self.leave_address(former, id);
        }
        self.announce_report(id, &before);
        if is_redialled {
            self.begin_anew(time, id, true);
        }
        self.publish(id);
        Some(id)
    }

    /// An operator has a gateway dialled anew: what was known of it, and what its connection says before it has heard of that, holds
    /// no more. Where the reason is a `change` of its record, the outcome speaks of that and not of a gateway that comes and goes.
    pub(super) fn begin_anew(&mut self, time: Time, id: GatewayId, change: bool) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.reconnect_until = member.report.is_usable().then(|| time.now + REDIAL_PATIENCE);
        member.changed |= change;
        if change || member.heard.phase == Phase::Ready {
            let GatewayReport { version, protocol, dialect, last_seen_ms, last_failure_ms, .. } = member.heard.clone();
            let known = GatewayReport {
                version,
                protocol,
                dialect,
                last_seen_ms,
                last_failure_ms,
                ..GatewayReport::unknown(time.wall_ms)
            };
            self.on_report(time, id, known);
        }
    }

    /// A gateway was deleted.
    pub fn on_deleted(&mut self, time: Time, id: GatewayId) {
        let Some(member) = self.members.remove(&id) else { return };
        let usable = member.counts_as_usable;
        if let Some(until) = member.held_until(time.now) {
            self.held_down.remove(&(until, id));
        }
        self.dismiss(*member);
        self.spawns.on_gateway_deleted(id);
        let change = self.self_doubt.on_removed(time.now, id, usable);
        self.on_doubt_change(time, change);
        self.consider_election(time, id);
    }

    fn dismiss(&mut self, member: Member) {
        let id = member.record.id;
        if member.is_running {
            self.effects.push(Effect::Stop(id));
        }
        self.leave_address(member.address, id);
        self.effects.push(Effect::Remove(id));
    }

    fn leave_address(&mut self, address: String, id: GatewayId) {
        if self.addresses.leave(&address, id) {
            self.effects.push(Effect::StoreToken(address, None));
        }
    }

    /// An operator wants a gateway dialled now; a parked one is started again.
    ///
    /// # Errors
    /// `gateway_not_found`.
    pub fn reconnect(&mut self, time: Time, id: GatewayId) -> Result<(), Failure> {
        let member = self.members.get_mut(&id).ok_or_else(|| Failure::gateway_not_found(id))?;
        if member.is_running {
            member.orders += 1;
            self.effects.push(Effect::Reconnect(id));
            self.begin_anew(time, id, false);
        } else {
            member.forgive(time);
            self.start_actor(id);
        }
        self.publish(id);
        Ok(())
    }

    // Trials.

    /// Reserves the address of a gateway that is to be created; given to [`Fleet::begin_trial`] or [`Fleet::unreserve`].
    ///
    /// # Errors
    /// `address_taken`, `unavailable`.
    pub fn reserve(&mut self, new: &GatewaySpec) -> Result<String, Failure> {
        self.may_change()?;
        let address = new.address_key();
        if self.reserved.insert(address.clone()) {
            return Ok(address);
        }
        let words = format!("Another gateway is being created at {address} right now");
        Err(Failure::new(ErrorCode::AddressTaken, words)
            .with_help("Wait until that creation has ended: GET /api/v1/gateways shows the gateway if it succeeded."))
    }

    /// What was reserved could not be stored.
    pub fn unreserve(&mut self, address: &str) {
        self.reserved.remove(address);
    }

    /// Dials a gateway that is stored nowhere.
    ///
    /// # Errors
    /// `unavailable`.
    pub fn try_unstored(&mut self, time: Time, new: GatewaySpec) -> Result<GatewayId, Failure> {
        self.may_change()?;
        self.last_trial = self.last_trial.saturating_sub(1);
        let id = GatewayId(self.last_trial);
        self.begin_trial(time, unstored(id, new, time.wall_ms / 1_000));
        Ok(id)
    }

    /// Dials a reserved gateway, which nobody sees.
    pub fn begin_trial(&mut self, time: Time, record: GatewayRecord) {
        let id = record.id;
        let member = Member::new(record, &self.settings.restarts, time);
        self.addresses.join(&member.address, id);
        self.trials.insert(id, Trial { member, sessions: None });
        self.start_actor(id);
    }

    /// A reserved gateway was confirmed: it becomes one like any other, connection and all.
    pub fn promote(&mut self, time: Time, record: GatewayRecord) {
        let id = record.id;
        let Some(Trial { mut member, sessions }) = self.trials.remove(&id) else { return };
        member.record = SharedRecord::new(record);
        member.outcome_known = true;
        member.unsaved = true;
        let usable = member.report.is_usable();
        member.was_usable = usable;
        member.counts_as_usable = usable;
        self.reserved.remove(&member.address);
        let (dialect, is_running) = (member.report.dialect, member.is_running);
        if is_running {
            member.orders += 1;
            self.effects.push(Effect::Update(member.record.clone()));
        } else {
            member.forgive(time);
        }
        self.members.insert(id, Box::new(member));
        if !is_running {
            self.start_actor(id);
        }
        if usable {
            let change = self.self_doubt.on_usable(time.now, id);
            self.on_doubt_change(time, change);
        }
        self.announce_report(id, &GatewayReport::unknown(time.wall_ms));
        self.publish(id);
        if let Some(sessions) = sessions {
            self.effects.push(Effect::PublishSessions(id, sessions));
        }
        self.consider_election(time, id);
        if dialect.is_some() {
            self.remember_dialect(id, GatewayChange { dialect, ..GatewayChange::default() });
        }
    }

    /// Ends a trial; a gateway that everybody sees is left alone.
    pub fn end_trial(&mut self, id: GatewayId) {
        let Some(Trial { member, .. }) = self.trials.remove(&id) else { return };
        if id.0 > 0 {
            self.reserved.remove(&member.address);
        }
        self.dismiss(member);
    }

    /// Whoever began the trial is gone without a word: what was reserved for it goes too.
    pub fn on_trial_forgotten(&mut self, id: GatewayId) {
        self.end_trial(id);
        if id.0 > 0 {
            self.effects.push(Effect::DeleteReserved(id));
        }
    }
}

/// What would be stored, as a trial: dialled, and seen by nobody.
fn unstored(id: GatewayId, new: GatewaySpec, now_s: i64) -> GatewayRecord {
    GatewayRecord { provisioning: true, ..new.on_trial().into_record(id, "", now_s) }
}
