//! The actor of one command: a thin shell around [`Supervision`], with a task for the child.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use gatewarden_api::gateways::{Diagnosis, Member};
use gatewarden_processes::ownership::family;
use gatewarden_processes::usage::{Meter, Sample};
use gatewarden_processes::{ChildEvent, Directory, Ended, Launch, Order, Process, ProcessTag, proc_table, supervise};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::messages::{ProcessAction, ProcessAnswer};
use super::reporter::{Answer, ProcessReporter};
use super::view::{OutputRing, ProcessState, last_end};
use super::{ProcessCommand, Shared};
use crate::machines::process_supervision::{Effect, Ending, GaveUpBecause, State, Supervision};
use crate::settings::CommandDefinition;
use crate::store::records::LocalProcess;

/// Orders to the child's task that may wait.
const ORDERS: usize = 16;
/// How long what an earlier daemon left running may take to end.
const ORPHAN_GRACE: Duration = Duration::from_secs(5);
/// How long what a process left behind may take to end when asked.
const LEFT_BEHIND_GRACE: Duration = Duration::from_secs(2);
/// Variables of the daemon's environment that are passed on; nothing else is, least of all its secrets and what the service
/// manager told it alone.
const PASSED_ON: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR"];
/// Lines of output in a diagnosis.
const OUTPUT_LINES: usize = 200;
/// Processes in a diagnosis.
const MAX_MEMBERS: usize = 100;

/// Supervises one command.
pub(super) struct CommandActor {
    shared: Arc<Shared>,
    command: String,
    definition: Option<CommandDefinition>,
    reporter: ProcessReporter,
    machine: Supervision,
    /// As last stored.
    stored: LocalProcess,
    /// Which start of the child this is; late words of an earlier one are ignored.
    run: u64,
    orders: Option<mpsc::Sender<Order>>,
    output: OutputRing,
    meter: Meter,
    sampling: bool,
    timer: Option<SpawnHandle>,
    /// It is to end for good; dropped once it has, which tells those who wait for it.
    ended: Vec<oneshot::Sender<()>>,
}

impl CommandActor {
    /// Of a record that names `command`; `stored` is what is remembered of its process.
    pub(super) fn new(
        shared: Arc<Shared>,
        reporter: ProcessReporter,
        command: String,
        stored: Option<LocalProcess>,
    ) -> Self {
        Self {
            definition: shared.settings.commands.get(&command).cloned(),
            reporter,
            machine: Supervision::new(shared.settings.supervision.clone()),
            stored: stored.unwrap_or(LocalProcess { wanted: true, pid: None, start_ticks: None, boot_id: None }),
            run: 0,
            orders: None,
            output: OutputRing::default(),
            meter: Meter::default(),
            sampling: false,
            timer: None,
            ended: Vec::new(),
            command,
            shared,
        }
    }

    fn tag(&self) -> ProcessTag {
        self.shared.owner.tag(&self.reporter.record.uuid)
    }

    /// Ends what an earlier daemon, or an actor that died, left running; then starts the command, if it shall run.
    fn sweep(&mut self, ctx: &mut Context<Self>) {
        let (tag, former) = (self.tag(), self.stored.clone());
        let sweep = async move { spawn_blocking(move || end_orphans(&tag, &former)).await.unwrap_or_default() };
        // Nothing may be started before: the mailbox waits.
        ctx.wait(sweep.into_actor(self).map(|(pids, count), actor, ctx| {
            if count > 0 {
                let ids = pids.iter().map(i32::to_string).collect::<Vec<_>>().join(", ");
                let words = format!(
                    "an earlier run of the daemon had left the gateway's process running ({count} in all, first {ids}): it was \
                     ended, because its output can't be read any more"
                );
                actor.reporter.report("orphan_ended", &words);
            }
            actor.remember(None);
            if actor.definition.is_none() {
                actor.miss_definition();
            } else if actor.stored.wanted {
                let effects = actor.machine.start();
                actor.reporter.begin_verification(actor.shared.clock.now());
                actor.carry_out(effects, ctx);
            } else {
                actor.reporter.view.reason = Some("it was stopped by an operator".to_owned());
            }
            actor.show(ctx);
        }));
    }

    fn miss_definition(&mut self) {
        self.reporter.view.reason = Some(format!(
            "the configuration defines no command \"{}\": add a section [commands.{}] and restart the daemon, or name another \
             command in the gateway's record",
            self.command, self.command
        ));
        let words = self.reporter.view.reason.clone().unwrap_or_default();
        self.reporter.report("unknown", &words);
    }

    /// Stores what is known of the process, also when this actor stops right after. A failure costs little: the tag finds it too.
    fn remember(&mut self, process: Option<&Process>) {
        let now = LocalProcess {
            wanted: self.stored.wanted,
            pid: process.map(|process| process.pid),
            start_ticks: process.map(|process| process.start_ticks),
            boot_id: process.and_then(|_| self.shared.boot_id.clone()),
        };
        self.stored = now.clone();
        let (store, id) = (self.shared.store.clone(), self.reporter.id());
        actix_rt::spawn(async move {
            if let Err(failure) = store.put_local_process(id, now).await {
                tracing::warn!(gateway.id = id.0, %failure, "the gateway's process could not be remembered");
            }
        });
    }

    fn carry_out(&mut self, effects: Vec<Effect>, ctx: &mut Context<Self>) {
        for effect in effects {
            match effect {
                Effect::Spawn => self.spawn(ctx),
                Effect::Terminate => self.order(Order::Terminate),
                Effect::Kill => {
                    self.reporter.report("killed", "it did not end in time and is killed with all of its group");
                    self.order(Order::Kill);
                }
                // Told where the end is.
                Effect::RestartIn(_) | Effect::GiveUp(_) | Effect::Rests => {}
            }
        }
    }

    fn spawn(&mut self, ctx: &mut Context<Self>) {
        let Some(definition) = &self.definition else { return };
        self.run += 1;
        self.meter = Meter::default();
        let (orders, queue) = mpsc::channel(ORDERS);
        self.orders = Some(orders);
        let (run, to) = (self.run, ctx.address().recipient());
        let report = move |event| {
            let taken = to.send(ChildSaid { run, event });
            // Waits until it was taken: while the actor is busy the output waits in its pipes.
            async move {
                let _ = taken.await;
            }
        };
        // A task of its own: where this actor dies, the closed queue tells it to end the child.
        actix_rt::spawn(supervise(launch(definition, self.tag()), queue, report));
    }

    fn order(&mut self, order: Order) {
        if let Some(orders) = &self.orders
            && orders.try_send(order).is_err()
        {
            tracing::debug!(gateway.id = self.reporter.id().0, ?order, "the process is ending already");
        }
    }

    fn on_started(&mut self, process: &Process, ctx: &mut Context<Self>) {
        let pid = process.pid;
        self.remember(Some(process));
        let view = &mut self.reporter.view;
        view.pid = Some(pid);
        view.started_ms = Some(self.shared.clock.wall_ms());
        view.reason = None;
        view.usage = None;
        self.reporter.set_state(ProcessState::Running);
        self.reporter.report("started", &format!("started as process {pid}"));
        self.reporter.on_process(pid);
        let effects = self.machine.started(self.shared.clock.now());
        self.carry_out(effects, ctx);
    }

    fn on_replaced(&mut self, process: &Process) {
        let pid = process.pid;
        self.remember(Some(process));
        self.meter = Meter::default();
        self.reporter.view.pid = Some(pid);
        self.reporter.view.started_ms = Some(self.shared.clock.wall_ms());
        let words = format!("the gateway restarted itself: process {pid} took its place");
        self.reporter.report("restarted_itself", &words);
        self.reporter.begin_verification(self.shared.clock.now());
        self.reporter.on_process(pid);
    }

    fn on_ended(&mut self, ending: &Ending, left: u32, ctx: &mut Context<Self>) {
        self.orders = None;
        self.remember(None);
        let now = self.shared.clock.now();
        let was = self.reporter.view.pid.take();
        let effects = self.machine.ended(now, ending, self.shared.clock.random_unit());
        self.reporter.on_process_end();
        let view = &mut self.reporter.view;
        view.started_ms = None;
        view.usage = None;
        view.restarts = self.machine.restarts();
        view.last_end = Some(last_end(self.shared.clock.wall_ms(), ending));
        let who = was.map_or_else(|| "its process".to_owned(), |pid| format!("process {pid}"));
        let besides =
            if left > 0 { format!("; {left} processes that it left behind were ended") } else { String::new() };
        let end = format!("{who} {}{besides}", ending.words());
        for effect in &effects {
            match effect {
                Effect::RestartIn(pause) => {
                    self.reporter.set_state(ProcessState::Waiting);
                    self.reporter.view.reason = Some(end.clone());
                    let words = format!("{end}: it is started again in {} ms", pause.as_millis());
                    self.reporter.report("exited", &words);
                    // A start that somebody waits for has no more time than it had.
                    if self.reporter.verification_deadline().is_none() {
                        self.reporter.begin_verification(now + *pause);
                    }
                }
                Effect::GiveUp(because) => self.give_up(&end, *because),
                Effect::Rests => {
                    self.reporter.set_state(ProcessState::Stopped);
                    self.reporter.view.reason = Some("it was stopped by an operator".to_owned());
                    self.reporter.report("stopped", &end);
                }
                Effect::Spawn => {
                    self.reporter.report("exited", &format!("{end}: it is started again, as was asked for"))
                }
                Effect::Terminate | Effect::Kill => {}
            }
        }
        self.carry_out(effects, ctx);
    }

    fn give_up(&mut self, end: &str, because: GaveUpBecause) {
        let settings = &self.shared.settings.supervision;
        let why = match because {
            GaveUpBecause::TooOften => {
                format!("it was started again {} times within {} s", settings.max_restarts, settings.window.as_secs())
            }
            GaveUpBecause::NeverStable => format!(
                "it ended {} times in a row without ever having run for {} s",
                u64::from(settings.max_restarts) + 1,
                settings.stable_after.as_secs()
            ),
            GaveUpBecause::Hopeless => "only a person can put that right".to_owned(),
        };
        let id = self.reporter.id();
        let words = format!(
            "{end}. Given up: {why}. Read what it said last with POST /api/gateways/{id}/process {{\"action\": \"diagnose\"}}, \
             put the cause right, then start it with {{\"action\": \"start\"}}"
        );
        self.reporter.set_state(ProcessState::GaveUp);
        self.reporter.view.reason = Some(words.clone());
        self.reporter.report("gave_up", &words);
    }

    /// Brings everything that is shown up to date with the machine, and arms the timer.
    fn show(&mut self, ctx: &mut Context<Self>) {
        let now = self.shared.clock.now();
        let state = match self.machine.state() {
            State::Stopped if self.definition.is_none() => ProcessState::Unknown,
            State::Stopped => ProcessState::Stopped,
            State::Starting => ProcessState::Starting,
            State::Running => ProcessState::Running,
            State::Stopping => ProcessState::Stopping,
            State::Waiting => ProcessState::Waiting,
            State::GaveUp => ProcessState::GaveUp,
        };
        self.reporter.set_state(state);
        let wait = self.machine.starts_at().map(|at| at.saturating_duration_since(now));
        self.reporter.view.next_start_ms = wait.map(|wait| {
            self.shared.clock.wall_ms().saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
        });
        self.reporter.settle(now);
        self.reporter.publish();
        if self.orders.is_none() && state != ProcessState::Starting && !self.ended.is_empty() {
            return ctx.stop();
        }
        self.arm(ctx);
    }

    fn arm(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let due = [self.machine.next_deadline(), self.reporter.verification_deadline()].into_iter().flatten().min();
        let Some(due) = due else { return };
        let wait = due.saturating_duration_since(self.shared.clock.now());
        self.timer = Some(ctx.run_later(wait, |actor, ctx| {
            actor.timer = None;
            let effects = actor.machine.tick(actor.shared.clock.now());
            actor.carry_out(effects, ctx);
            actor.show(ctx);
        }));
    }

    /// Looks at memory and processor time, one look at a time.
    fn sample(&mut self, ctx: &mut Context<Self>) {
        let Some(pid) = self.reporter.view.pid.filter(|_| !self.sampling) else { return };
        self.sampling = true;
        let run = self.run;
        let look = async move { spawn_blocking(move || Sample::take(pid)).await.ok().flatten() };
        ctx.spawn(look.into_actor(self).map(move |sample, actor, _| {
            actor.sampling = false;
            if let Some(sample) = sample
                && run == actor.run
                && actor.reporter.view.pid == Some(pid)
            {
                actor.reporter.view.usage = Some(actor.meter.take(actor.shared.clock.now(), sample));
                actor.reporter.publish();
            }
        }));
    }
}

fn launch(definition: &CommandDefinition, tag: ProcessTag) -> Launch {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute() && home.is_dir());
    let directory = definition.directory.clone().or(home).unwrap_or_else(|| PathBuf::from("/"));
    let mut command = Command::new(&definition.program);
    command
        .args(&definition.args)
        .env_clear()
        .envs(PASSED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        // A restart that an OpenClaw gateway decides on stays in its process, so that it stays our child.
        .env("OPENCLAW_NO_RESPAWN", "1")
        .envs(definition.env.iter().map(|(name, value)| (name, value.expose())));
    Launch {
        directory: Directory::At(directory),
        left_behind_grace: LEFT_BEHIND_GRACE,
        follows_restarts: true,
        ..Launch::new(command, tag)
    }
}

/// Ends what was left: the recorded process with its group, if it is still that, and all carriers of the tag. The first of
/// them, and how many there were. Blocking.
fn end_orphans(tag: &ProcessTag, former: &LocalProcess) -> (Vec<i32>, u32) {
    let recorded = former.pid.and_then(Process::read).filter(|process| {
        !process.is_dead() && Some(process.start_ticks) == former.start_ticks && former.boot_id == proc_table::boot_id()
    });
    let mut pids: Vec<i32> = tag.processes().iter().chain(&recorded).map(|process| process.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    pids.truncate(3);
    (pids, tag.end_former(recorded.as_ref(), ORPHAN_GRACE))
}

/// News of the child, of which of the actor's runs.
#[derive(Message)]
#[rtype(result = "()")]
struct ChildSaid {
    run: u64,
    event: ChildEvent,
}

impl Actor for CommandActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.reporter.publish();
        ctx.run_interval(self.shared.settings.sample_interval, |actor, ctx| actor.sample(ctx));
        self.sweep(ctx);
    }
}

impl Handler<ChildSaid> for CommandActor {
    type Result = ();

    fn handle(&mut self, message: ChildSaid, ctx: &mut Self::Context) {
        if message.run != self.run {
            return;
        }
        match message.event {
            ChildEvent::Output(stream, lines) => {
                let at_ms = self.shared.clock.wall_ms();
                for line in lines {
                    self.output.push(at_ms, stream.as_str(), &self.reporter.without_secrets(line.text));
                }
                return;
            }
            ChildEvent::Dropped(_) | ChildEvent::Signalled(..) => return,
            ChildEvent::Started(process) => {
                self.on_started(&process, ctx);
                // The first look tells nothing of the processor yet; the next one does.
                self.sample(ctx);
            }
            ChildEvent::Replaced(process) => self.on_replaced(&process),
            ChildEvent::NotStarted(reason) => self.on_ended(&Ending::NotStarted(reason), 0, ctx),
            ChildEvent::Ended(Ended { code, signal, left_behind, .. }) => {
                let ending = match (code, signal) {
                    (Some(code), _) => Ending::Code(code),
                    (None, Some(signal)) => Ending::Signal(signal),
                    (None, None) => Ending::Unknown,
                };
                self.on_ended(&ending, left_behind, ctx);
            }
        }
        self.show(ctx);
    }
}

impl Handler<ProcessCommand> for CommandActor {
    type Result = ();

    fn handle(&mut self, command: ProcessCommand, ctx: &mut Self::Context) {
        match command {
            ProcessCommand::Order { action, wait, answer } => self.obey(action, wait, answer, ctx),
            ProcessCommand::Link(link) => {
                self.reporter.on_link(link);
                self.show(ctx);
            }
            ProcessCommand::Record(record) => self.reporter.record = record,
            ProcessCommand::End { within, done } => self.end(within, done, ctx),
        }
    }
}

impl CommandActor {
    fn obey(&mut self, action: ProcessAction, wait: bool, answer: Answer, ctx: &mut Context<Self>) {
        match action {
            ProcessAction::Status => self.reporter.show_to(answer),
            ProcessAction::Diagnose => self.diagnose(answer, ctx),
            ProcessAction::Start | ProcessAction::Restart if self.definition.is_none() => {
                let missing = self.reporter.view.reason.clone().unwrap_or_default();
                let _ = answer.send(Err(self.reporter.failure(action, &[missing])));
            }
            ProcessAction::Start | ProcessAction::Stop | ProcessAction::Restart => {
                self.change(action, wait, answer, ctx);
            }
        }
    }

    /// Written, then done, then answered.
    fn change(&mut self, action: ProcessAction, wait: bool, answer: Answer, ctx: &mut Context<Self>) {
        let wanted = action != ProcessAction::Stop;
        let (store, id) = (self.shared.store.clone(), self.reporter.id());
        let changed = LocalProcess { wanted, ..self.stored.clone() };
        let write = async move { store.put_local_process(id, changed).await };
        ctx.spawn(write.into_actor(self).map(move |written, actor, ctx| match written {
            Ok(()) => {
                actor.stored.wanted = wanted;
                actor.begin(action, wait, answer, ctx);
            }
            Err(failure) => {
                let _ = answer.send(Err(failure));
            }
        }));
    }

    fn begin(&mut self, action: ProcessAction, wait: bool, answer: Answer, ctx: &mut Context<Self>) {
        let now = self.shared.clock.now();
        if matches!(
            (action, self.machine.state()),
            (ProcessAction::Start, State::Running) | (ProcessAction::Stop, State::Stopped)
        ) {
            return self.reporter.show_to(answer);
        }
        let effects = match action {
            ProcessAction::Stop => self.machine.stop(now),
            ProcessAction::Start => self.machine.start(),
            _ => self.machine.restart(now),
        };
        if effects.contains(&Effect::Rests) {
            // It had ended already.
            self.reporter.view.reason = Some("it was stopped by an operator".to_owned());
            self.reporter.report("stopped", "it is not started again");
        }
        if action != ProcessAction::Stop {
            self.reporter.begin_verification(now);
            // So that nobody takes the state before for the outcome.
            self.reporter.set_state(ProcessState::Starting);
        }
        self.reporter.take_back_contrary(action);
        self.carry_out(effects, ctx);
        if wait {
            self.reporter.wait_for(action, answer);
            self.show(ctx);
        } else {
            self.show(ctx);
            self.reporter.show_to(answer);
        }
    }

    fn diagnose(&self, answer: Answer, ctx: &mut Context<Self>) {
        let leader = self.reporter.view.pid;
        let members = move || {
            leader.map(family).unwrap_or_default().into_iter().take(MAX_MEMBERS).map(member).collect::<Vec<_>>()
        };
        let look = async move { spawn_blocking(members).await.unwrap_or_default() };
        ctx.spawn(look.into_actor(self).map(|members, actor, _| {
            let diagnosis = Diagnosis {
                findings: actor.reporter.findings(),
                program: actor.definition.as_ref().map(|definition| definition.program.display().to_string()),
                members,
                output: actor.output.newest(OUTPUT_LINES),
                output_dropped: actor.output.dropped(),
            };
            let _ = answer.send(Ok(ProcessAnswer { diagnosis: Some(diagnosis), ..actor.reporter.answer() }));
        }));
    }

    /// Ends it for good, within the time that there is.
    fn end(&mut self, within: Duration, done: oneshot::Sender<()>, ctx: &mut Context<Self>) {
        self.ended.push(done);
        let effects = self.machine.stop(self.shared.clock.now());
        self.carry_out(effects, ctx);
        // The machine kills after its own grace; the daemon's stop has less time.
        ctx.run_later(within.mul_f64(0.7), |actor, _| actor.order(Order::Kill));
        ctx.run_later(within, |_, ctx| ctx.stop());
        self.show(ctx);
    }
}

fn member(process: Process) -> Member {
    Member {
        pid: process.pid,
        parent: process.parent,
        name: proc_table::name(process.pid).unwrap_or_default(),
        state: process.state.to_string(),
    }
}
