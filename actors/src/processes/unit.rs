//! The actor of one unit: the service manager supervises it, this one looks, asks, and verifies what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;

use super::Shared;
use super::diagnosis;
use super::messages::{EndProcess, JoinRegistry, LinkSeen, OrderProcess, ProcessAction, ProcessAnswer, RecordSeen};
use super::systemd_bus::{UnitAction, UnitStatus};
use super::teller::Teller;
use super::unit_reading::{Reading, read};
use super::usage::Usage;
use super::view::{Diagnosis, ProcessState, ProcessView};
use crate::error::Failure;
use crate::gateway_record::{ProcessSource, SharedRecord};

/// Between two looks while something is awaited.
const SOON: Duration = Duration::from_millis(250);

/// Watches one unit.
pub(super) struct UnitActor {
    shared: Arc<Shared>,
    unit: String,
    teller: Teller,
    status: Option<UnitStatus>,
    /// Processor time as of the last look.
    cpu: Option<(Instant, u64)>,
    /// An action is under way, until this at the latest: an inactive unit is on its way then.
    acting_until: Option<Instant>,
    looking: bool,
    timer: Option<SpawnHandle>,
}

impl UnitActor {
    pub(super) fn new(shared: Arc<Shared>, registry: JoinRegistry, record: SharedRecord, unit: String) -> Self {
        let view = ProcessView::unknown(ProcessSource::Unit(unit.clone()), shared.clock.wall_ms());
        let teller = Teller::new(shared.clone(), registry, record, view);
        Self { shared, unit, teller, status: None, cpu: None, acting_until: None, looking: false, timer: None }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.looking {
            return;
        }
        self.looking = true;
        let (manager, unit) = (self.shared.units.clone(), self.unit.clone());
        let look = async move { manager.status(&unit).await };
        ctx.spawn(look.into_actor(self).map(|status, actor, ctx| {
            actor.looking = false;
            actor.take(status, ctx);
        }));
    }

    fn take(&mut self, status: Result<UnitStatus, String>, ctx: &mut Context<Self>) {
        let now = self.shared.clock.now();
        match status {
            Err(words) => {
                if self.teller.view.reason.as_ref() != Some(&words) {
                    self.teller.tell("unknown", &format!("unit {} cannot be watched: {words}", self.unit));
                }
                self.teller.view.reason = Some(words);
                self.teller.view.usage = None;
                self.teller.set_state(ProcessState::Unknown);
            }
            Ok(status) => self.take_status(status, now),
        }
        self.teller.settle(now);
        if self.teller.verification_deadline().is_none() {
            self.acting_until = None;
        }
        self.teller.publish();
        self.arm(ctx);
    }

    fn take_status(&mut self, status: UnitStatus, now: Instant) {
        let acting = self.acting_until.is_some_and(|until| now < until);
        let Reading { state, reason, last_end } = read(&self.unit, &status, acting);
        let before = self.status.replace(status.clone());
        let was = self.teller.view.state;
        let former = self.teller.view.pid;
        let usage = self.usage(&status, now);
        let view = &mut self.teller.view;
        view.pid = status.main_pid;
        view.started_ms = status.main_pid.and_then(|_| wall_ms(status.main_started_us));
        view.restarts = status.restarts;
        view.reason = reason;
        view.last_end = last_end.or(view.last_end.take());
        view.usage = usage;
        self.teller.set_state(state);
        // What was there at the first look is no news.
        if before.is_none() {
            return;
        }
        if former != status.main_pid {
            self.tell_of_process(former, &status, state, now);
        }
        if was != state {
            let words = self.teller.view.reason.clone().unwrap_or_default();
            match state {
                ProcessState::GaveUp => self.teller.tell("gave_up", &words),
                ProcessState::Stopped => self.teller.tell("stopped", "the unit is inactive"),
                _ => {}
            }
        }
    }

    fn tell_of_process(&mut self, former: Option<i32>, status: &UnitStatus, state: ProcessState, now: Instant) {
        if let Some(former) = former {
            self.teller.on_process_end();
            if !matches!(state, ProcessState::Stopped | ProcessState::GaveUp) {
                let end = self.teller.view.last_end.as_ref().map_or("ended", |end| end.words.as_str()).to_owned();
                self.teller.tell("exited", &format!("process {former} {end}"));
            }
        }
        if let Some(pid) = status.main_pid {
            self.teller.tell("started", &format!("started by the service manager as process {pid}"));
            // Somebody else's start, or the service manager's own, is verified as well.
            if self.teller.verification_deadline().is_none() {
                self.teller.begin_verification(now);
            }
            self.teller.on_process(pid);
        }
    }

    fn usage(&mut self, status: &UnitStatus, now: Instant) -> Option<Usage> {
        let nanos = status.cpu_nanos.unwrap_or(0);
        let before = self.cpu.replace((now, nanos));
        let memory_bytes = status.memory_bytes.filter(|_| status.main_pid.is_some())?;
        let cpu_percent = before.filter(|(_, before)| *before <= nanos).and_then(|(at, before)| {
            let elapsed = now.saturating_duration_since(at).as_secs_f64();
            let spent = Duration::from_nanos(nanos - before).as_secs_f64();
            (elapsed > 0.0).then(|| spent / elapsed * 100.0)
        });
        Some(Usage {
            memory_bytes,
            cpu_seconds: Duration::from_nanos(nanos).as_secs_f64(),
            cpu_percent,
            processes: status.tasks.and_then(|tasks| u32::try_from(tasks).ok()).unwrap_or(1),
        })
    }

    fn arm(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let awaited = self.acting_until.is_some() || self.teller.verification_deadline().is_some();
        let wait = if awaited { SOON } else { self.shared.settings.sample_interval };
        self.timer = Some(ctx.run_later(wait, |actor, ctx| {
            actor.timer = None;
            actor.look(ctx);
        }));
    }

    /// What is there already must be known before it is changed: only then is a new process known as one.
    fn change(&mut self, order: OrderProcess) -> ResponseActFuture<Self, Result<ProcessAnswer, Failure>> {
        if self.status.is_some() {
            return self.change_known(order);
        }
        let (manager, unit) = (self.shared.units.clone(), self.unit.clone());
        let look = async move { manager.status(&unit).await };
        Box::pin(look.into_actor(self).then(move |status, actor, ctx| {
            actor.take(status, ctx);
            actor.change_known(order)
        }))
    }

    fn change_known(&mut self, order: OrderProcess) -> ResponseActFuture<Self, Result<ProcessAnswer, Failure>> {
        let action = order.action;
        let running = self.teller.view.state == ProcessState::Running;
        if (action == ProcessAction::Start && running)
            || (action == ProcessAction::Stop && self.teller.view.state == ProcessState::Stopped)
        {
            return ready(self, Ok(self.teller.answer()));
        }
        let (manager, unit) = (self.shared.units.clone(), self.unit.clone());
        let wish = match action {
            ProcessAction::Stop => UnitAction::Stop,
            ProcessAction::Start => UnitAction::Start,
            _ => UnitAction::Restart,
        };
        // From before the wish: a restart may be over before its answer is here.
        let now = self.shared.clock.now();
        self.acting_until = Some(now + self.shared.settings.verify_within);
        if action == ProcessAction::Stop {
            self.acting_until = None;
            self.teller.set_state(ProcessState::Stopping);
        } else {
            self.teller.begin_verification(now);
            self.teller.set_state(ProcessState::Starting);
        }
        let outcome = self.teller.wait_for(action);
        let asked = async move { manager.act(&unit, wish).await };
        Box::pin(asked.into_actor(self).then(move |asked, actor, ctx| {
            actor.look(ctx);
            if let Err(words) = asked {
                actor.acting_until = None;
                let failure = actor.teller.failure(action, &[words]);
                actor.teller.give_verification_up();
                return ready(actor, Err(failure));
            }
            if !order.wait {
                let answer = actor.teller.answer();
                return ready(actor, Ok(answer));
            }
            let answer = async move { outcome.await.unwrap_or_else(|_| Err(Failure::unavailable("process"))) };
            Box::pin(answer.into_actor(actor))
        }))
    }
}

fn ready(
    actor: &UnitActor,
    answer: Result<ProcessAnswer, Failure>,
) -> ResponseActFuture<UnitActor, Result<ProcessAnswer, Failure>> {
    Box::pin(async move { answer }.into_actor(actor))
}

fn wall_ms(us: u64) -> Option<i64> {
    i64::try_from(us / 1000).ok().filter(|ms| *ms > 0)
}

impl Actor for UnitActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.teller.publish();
        self.look(ctx);
    }
}

impl Handler<OrderProcess> for UnitActor {
    type Result = ResponseActFuture<Self, Result<ProcessAnswer, Failure>>;

    fn handle(&mut self, order: OrderProcess, _: &mut Self::Context) -> Self::Result {
        match order.action {
            ProcessAction::Status => ready(self, Ok(self.teller.answer())),
            ProcessAction::Diagnose => {
                let mut findings = diagnosis::findings(&self.teller.view, self.teller.link());
                findings.push(format!("What it said last: journalctl -u {} -n 100.", self.unit));
                let diagnosis = Diagnosis { findings, program: Some(self.unit.clone()), ..Diagnosis::default() };
                ready(self, Ok(ProcessAnswer { diagnosis: Some(diagnosis), ..self.teller.answer() }))
            }
            ProcessAction::Start | ProcessAction::Stop | ProcessAction::Restart => self.change(order),
        }
    }
}

impl Handler<LinkSeen> for UnitActor {
    type Result = ();

    fn handle(&mut self, message: LinkSeen, _: &mut Self::Context) {
        self.teller.on_link(message);
        self.teller.settle(self.shared.clock.now());
        self.teller.publish();
    }
}

impl Handler<RecordSeen> for UnitActor {
    type Result = ();

    fn handle(&mut self, message: RecordSeen, _: &mut Self::Context) {
        if let Some(record) = message.record {
            self.teller.record = record;
        }
    }
}

impl Handler<EndProcess> for UnitActor {
    type Result = ();

    /// A unit is the service manager's: it goes on without the daemon.
    fn handle(&mut self, _: EndProcess, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
