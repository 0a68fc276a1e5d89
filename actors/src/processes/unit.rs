//! The actor of one unit: the service manager supervises it, this one looks, asks, and verifies what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use gatewarden_api::gateways::{Diagnosis, LastEnd};
use gatewarden_processes::usage::{Meter, Sample, Usage};

use super::messages::{ProcessAction, ProcessAnswer};
use super::reporter::{Answer, ProcessReporter};
use super::systemd_bus::{UnitAction, UnitStatus};
use super::view::{self, ProcessState};
use super::{ProcessCommand, Shared};
use crate::machines::process_supervision::Ending;

/// Between two looks while something is awaited.
const SOON: Duration = Duration::from_millis(250);

/// Watches one unit.
pub(super) struct UnitActor {
    shared: Arc<Shared>,
    unit: String,
    reporter: ProcessReporter,
    status: Option<UnitStatus>,
    meter: Meter,
    /// An action is under way, until this at the latest: an inactive unit is on its way then.
    acting_until: Option<Instant>,
    looking: bool,
    timer: Option<SpawnHandle>,
}

impl UnitActor {
    pub(super) fn new(shared: Arc<Shared>, reporter: ProcessReporter, unit: String) -> Self {
        Self {
            shared,
            unit,
            reporter,
            status: None,
            meter: Meter::default(),
            acting_until: None,
            looking: false,
            timer: None,
        }
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
                if self.reporter.view.reason.as_ref() != Some(&words) {
                    self.reporter.report("unknown", &format!("unit {} cannot be watched: {words}", self.unit));
                }
                self.reporter.view.reason = Some(words);
                self.reporter.view.usage = None;
                self.reporter.set_state(ProcessState::Unknown);
            }
            Ok(status) => self.take_status(status, now),
        }
        self.reporter.settle(now);
        if self.reporter.verification_deadline().is_none() {
            self.acting_until = None;
        }
        self.reporter.publish();
        self.arm(ctx);
    }

    fn take_status(&mut self, status: UnitStatus, now: Instant) {
        let acting = self.acting_until.is_some_and(|until| now < until);
        let Reading { state, reason, last_end } = read(&self.unit, &status, acting);
        let before = self.status.replace(status.clone());
        let was = self.reporter.view.state;
        let former = self.reporter.view.pid;
        let usage = self.usage(&status, now);
        let view = &mut self.reporter.view;
        view.pid = status.main_pid;
        view.started_ms = status.main_pid.and_then(|_| wall_ms(status.main_started_us));
        view.restarts = status.restarts;
        view.reason = reason;
        view.last_end = last_end.or(view.last_end.take());
        view.usage = usage;
        self.reporter.set_state(state);
        // What was there at the first look is no news.
        if before.is_none() {
            return;
        }
        if former != status.main_pid {
            self.report_process(former, &status, state, now);
        }
        if was != state {
            let words = self.reporter.view.reason.clone().unwrap_or_default();
            match state {
                ProcessState::GaveUp => self.reporter.report("gave_up", &words),
                ProcessState::Stopped => self.reporter.report("stopped", "the unit is inactive"),
                _ => {}
            }
        }
    }

    fn report_process(&mut self, former: Option<i32>, status: &UnitStatus, state: ProcessState, now: Instant) {
        if let Some(former) = former {
            self.reporter.on_process_end();
            if !matches!(state, ProcessState::Stopped | ProcessState::GaveUp) {
                let end = self.reporter.view.last_end.as_ref().map_or("ended", |end| end.message.as_str()).to_owned();
                self.reporter.report("exited", &format!("process {former} {end}"));
            }
        }
        if let Some(pid) = status.main_pid {
            self.reporter.report("started", &format!("started by the service manager as process {pid}"));
            // Somebody else's start, or the service manager's own, is verified as well.
            if self.reporter.verification_deadline().is_none() {
                self.reporter.begin_verification(now);
            }
            self.reporter.on_process(pid);
        }
    }

    fn usage(&mut self, status: &UnitStatus, now: Instant) -> Option<Usage> {
        if status.main_pid != self.reporter.view.pid {
            self.meter = Meter::default();
        }
        Some(self.meter.take(
            now,
            Sample {
                memory_bytes: status.memory_bytes.filter(|_| status.main_pid.is_some())?,
                cpu: Duration::from_nanos(status.cpu_nanos.unwrap_or(0)),
                processes: status.tasks.and_then(|tasks| u32::try_from(tasks).ok()).unwrap_or(1),
            },
        ))
    }

    fn arm(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let awaited = self.acting_until.is_some() || self.reporter.verification_deadline().is_some();
        let wait = if awaited { SOON } else { self.shared.settings.sample_interval };
        self.timer = Some(ctx.run_later(wait, |actor, ctx| {
            actor.timer = None;
            actor.look(ctx);
        }));
    }

    fn obey(&mut self, action: ProcessAction, wait: bool, answer: Answer, ctx: &mut Context<Self>) {
        match action {
            ProcessAction::Status => self.reporter.show_to(answer),
            ProcessAction::Diagnose => {
                let mut findings = self.reporter.findings();
                findings.push(format!("What it said last: journalctl -u {} -n 100.", self.unit));
                let diagnosis = Diagnosis { findings, program: Some(self.unit.clone()), ..Diagnosis::default() };
                let _ = answer.send(Ok(ProcessAnswer { diagnosis: Some(diagnosis), ..self.reporter.answer() }));
            }
            ProcessAction::Start | ProcessAction::Stop | ProcessAction::Restart if self.status.is_some() => {
                self.change(action, wait, answer, ctx);
            }
            // What is there already must be known before it is changed: only then is a new process known as one.
            ProcessAction::Start | ProcessAction::Stop | ProcessAction::Restart => {
                let (manager, unit) = (self.shared.units.clone(), self.unit.clone());
                let look = async move { manager.status(&unit).await };
                ctx.spawn(look.into_actor(self).map(move |status, actor, ctx| {
                    actor.take(status, ctx);
                    actor.change(action, wait, answer, ctx);
                }));
            }
        }
    }

    fn change(&mut self, action: ProcessAction, wait: bool, answer: Answer, ctx: &mut Context<Self>) {
        let wanted = match (action, self.reporter.view.state) {
            (ProcessAction::Start, ProcessState::Running) | (ProcessAction::Stop, ProcessState::Stopped) => {
                return self.reporter.show_to(answer);
            }
            (ProcessAction::Stop, _) => UnitAction::Stop,
            (ProcessAction::Start, _) => UnitAction::Start,
            _ => UnitAction::Restart,
        };
        self.reporter.take_back_contrary(action);
        if wanted == UnitAction::Stop {
            self.acting_until = None;
            self.reporter.set_state(ProcessState::Stopping);
        } else {
            // From before it was asked for: a restart may be over before its answer is here.
            let now = self.shared.clock.now();
            self.acting_until = Some(now + self.shared.settings.verify_within);
            self.reporter.begin_verification(now);
            self.reporter.set_state(ProcessState::Starting);
        }
        let (manager, unit) = (self.shared.units.clone(), self.unit.clone());
        let asked = async move { manager.act(&unit, wanted).await };
        ctx.spawn(asked.into_actor(self).map(move |asked, actor, ctx| {
            match asked {
                Err(words) => {
                    actor.acting_until = None;
                    let _ = answer.send(Err(actor.reporter.failure(action, &[words])));
                    actor.reporter.give_verification_up();
                }
                Ok(()) if wait => actor.reporter.wait_for(action, answer),
                Ok(()) => actor.reporter.show_to(answer),
            }
            actor.look(ctx);
        }));
    }
}

fn wall_ms(us: u64) -> Option<i64> {
    i64::try_from(us / 1000).ok().filter(|ms| *ms > 0)
}

impl Actor for UnitActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.reporter.publish();
        self.look(ctx);
    }
}

impl Handler<ProcessCommand> for UnitActor {
    type Result = ();

    fn handle(&mut self, command: ProcessCommand, ctx: &mut Self::Context) {
        match command {
            ProcessCommand::Order { action, wait, answer } => self.obey(action, wait, answer, ctx),
            ProcessCommand::Link(link) => {
                self.reporter.on_link(link);
                self.reporter.settle(self.shared.clock.now());
                self.reporter.publish();
            }
            ProcessCommand::Record(record) => self.reporter.record = record,
            // A unit is the service manager's: it goes on without the daemon.
            ProcessCommand::End { .. } => ctx.stop(),
        }
    }
}

/// What a status means.
#[derive(Debug, Clone, PartialEq)]
struct Reading {
    state: ProcessState,
    reason: Option<String>,
    last_end: Option<LastEnd>,
}

/// Reads a status. While somebody has asked for a start (`acting`), or a job waits, an inactive unit is on its way.
fn read(unit: &str, status: &UnitStatus, acting: bool) -> Reading {
    let last_end = last_end(status);
    let end = last_end.as_ref().map(|end| format!(": its process {}", end.message)).unwrap_or_default();
    let coming = acting || status.job;
    let (state, reason) = match status.active.as_str() {
        _ if status.load == "not-found" => (
            ProcessState::Unknown,
            Some(format!("there is no unit {unit}: install it, or correct the unit in the gateway's record")),
        ),
        _ if matches!(status.load.as_str(), "masked" | "error" | "bad-setting") => {
            (ProcessState::Unknown, Some(format!("unit {unit} is {}: systemctl status {unit} says why", status.load)))
        }
        "active" | "reloading" => (ProcessState::Running, None),
        "activating" if status.sub == "auto-restart" => {
            (ProcessState::Waiting, Some(format!("the service manager starts it again soon{end}")))
        }
        "activating" => (ProcessState::Starting, None),
        "deactivating" => (ProcessState::Stopping, None),
        "inactive" | "failed" if coming => (ProcessState::Starting, None),
        "inactive" => (ProcessState::Stopped, Some(format!("unit {unit} is inactive{end}"))),
        "failed" => (ProcessState::GaveUp, Some(failed(unit, &status.result, &end))),
        other => (ProcessState::Unknown, Some(format!("the service manager calls unit {unit} \"{other}\""))),
    };
    Reading { state, reason, last_end }
}

fn failed(unit: &str, result: &str, end: &str) -> String {
    let why = match result {
        "start-limit-hit" => "it was started too often in too short a time".to_owned(),
        other => format!("{other}{end}"),
    };
    format!(
        "unit {unit} failed ({why}). Given up by the service manager: read journalctl -u {unit}, then start it again"
    )
}

fn last_end(status: &UnitStatus) -> Option<LastEnd> {
    let (how, number) = status.main_exit;
    let ending = match how {
        1 => Ending::Code(number),
        2 | 3 => Ending::Signal(number),
        _ => return None,
    };
    Some(view::last_end(i64::try_from(status.main_exited_us / 1000).unwrap_or_default(), &ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(active: &str, sub: &str) -> UnitStatus {
        UnitStatus { load: "loaded".into(), active: active.into(), sub: sub.into(), ..UnitStatus::default() }
    }

    fn state(status: &UnitStatus, acting: bool) -> ProcessState {
        read("g.service", status, acting).state
    }

    #[test]
    fn the_service_managers_words_become_states() {
        for (active, sub, expected) in [
            ("active", "running", ProcessState::Running),
            ("reloading", "reload", ProcessState::Running),
            ("activating", "start", ProcessState::Starting),
            ("activating", "auto-restart", ProcessState::Waiting),
            ("deactivating", "stop-sigterm", ProcessState::Stopping),
            ("inactive", "dead", ProcessState::Stopped),
            ("failed", "failed", ProcessState::GaveUp),
            ("dreaming", "", ProcessState::Unknown),
        ] {
            assert_eq!(state(&status(active, sub), false), expected, "{active}");
        }
    }

    #[test]
    fn one_that_was_asked_to_start_is_on_its_way_while_it_is_inactive() {
        assert_eq!(state(&status("inactive", "dead"), true), ProcessState::Starting);
        let queued = UnitStatus { job: true, ..status("failed", "failed") };
        assert_eq!(state(&queued, false), ProcessState::Starting);
    }

    #[test]
    fn a_missing_unit_and_a_failed_one_say_what_to_do() {
        let missing = UnitStatus { load: "not-found".into(), ..status("inactive", "dead") };
        let reading = read("g.service", &missing, true);
        assert_eq!(reading.state, ProcessState::Unknown);
        assert!(reading.reason.unwrap().contains("install it"));
        let failed = UnitStatus { result: "exit-code".into(), main_exit: (1, 78), ..status("failed", "failed") };
        let reading = read("g.service", &failed, false);
        let words = reading.reason.unwrap();
        assert!(words.contains("exited with code 78") && words.contains("journalctl -u g.service"), "{words}");
        assert_eq!(reading.last_end.unwrap().code, Some(78));
    }
}
