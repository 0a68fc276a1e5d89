//! The actor of one command: a thin shell around [`Supervision`], with a task for the child.

mod orders;

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::Shared;
use super::child::{self, ChildSaid, Launch, Order, Said};
use super::kinship::{self, Mark};
use super::messages::{JoinRegistry, LinkSeen};
use super::output::{OutputLine, OutputRing};
use super::proc_table::{self, Process};
use super::teller::Teller;
use super::usage::{Meter, Sample};
use super::view::{LastEnd, ProcessState, ProcessView};
use crate::gateway_record::{ProcessSource, SharedRecord};
use crate::machines::process_supervision::{Effect, Ending, GaveUpBecause, State, Supervision};
use crate::settings::CommandDefinition;
use crate::store::records::LocalProcess;

/// Orders to the child's task that may wait.
const ORDERS: usize = 16;
/// How long what an earlier daemon left running may take to end.
const ORPHAN_GRACE: Duration = Duration::from_secs(5);

/// Supervises one command.
pub(super) struct CommandActor {
    shared: Arc<Shared>,
    command: String,
    definition: Option<CommandDefinition>,
    teller: Teller,
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
    /// It is to end for good; told once it has.
    ended: Vec<tokio::sync::oneshot::Sender<()>>,
}

impl CommandActor {
    /// Of a record that names `command`; `stored` is what is remembered of its process.
    pub(super) fn new(
        shared: Arc<Shared>,
        registry: JoinRegistry,
        record: SharedRecord,
        command: String,
        stored: Option<LocalProcess>,
    ) -> Self {
        let view = ProcessView::unknown(ProcessSource::Command(command.clone()), shared.clock.wall_ms());
        Self {
            definition: shared.settings.commands.get(&command).cloned(),
            teller: Teller::new(shared.clone(), registry, record, view),
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

    fn mark(&self) -> Mark {
        Mark::of(&self.shared.installation, &self.teller.record.uuid)
    }

    /// Ends what an earlier daemon, or an actor that died, left running; then starts the command, if it shall run.
    fn sweep(&mut self, ctx: &mut Context<Self>) {
        let (mark, former) = (self.mark(), self.stored.clone());
        let sweep = async move { spawn_blocking(move || end_orphans(&mark, &former)).await.unwrap_or_default() };
        // Nothing may be started before: the mailbox waits.
        ctx.wait(sweep.into_actor(self).map(|(pids, count), actor, ctx| {
            if count > 0 {
                let ids = pids.iter().map(i32::to_string).collect::<Vec<_>>().join(", ");
                let words = format!(
                    "an earlier run of the daemon had left the gateway's process running ({count} in all, first {ids}): it was \
                     ended, because its output can't be read any more"
                );
                actor.teller.tell("orphan_ended", &words);
            }
            actor.remember(None, ctx);
            if actor.definition.is_none() {
                actor.miss_definition();
            } else if actor.stored.wanted {
                let effects = actor.machine.start();
                actor.teller.begin_verification(actor.shared.clock.now());
                actor.carry_out(effects, ctx);
            } else {
                actor.teller.view.reason = Some("it was stopped by an operator".to_owned());
            }
            actor.show(ctx);
        }));
    }

    fn miss_definition(&mut self) {
        self.teller.view.reason = Some(format!(
            "the configuration defines no command \"{}\": add a section [commands.{}] and restart the daemon, or name another \
             command in the gateway's record",
            self.command, self.command
        ));
        let words = self.teller.view.reason.clone().unwrap_or_default();
        self.teller.tell("unknown", &words);
    }

    /// Stores what is known of the process. A failure costs little: the mark finds it too.
    fn remember(&mut self, process: Option<(i32, u64)>, ctx: &mut Context<Self>) {
        let now = LocalProcess {
            wanted: self.stored.wanted,
            pid: process.map(|(pid, _)| pid),
            start_ticks: process.map(|(_, ticks)| ticks),
            boot_id: process.and_then(|_| self.shared.boot_id.clone()),
        };
        self.stored = now.clone();
        let (store, id) = (self.shared.store.clone(), self.teller.id());
        let write = async move {
            if let Err(failure) = store.put_local_process(id, now).await {
                tracing::warn!(gateway.id = id.0, %failure, "the gateway's process could not be remembered");
            }
        };
        ctx.spawn(write.into_actor(self));
    }

    fn carry_out(&mut self, effects: Vec<Effect>, ctx: &mut Context<Self>) {
        for effect in effects {
            match effect {
                Effect::Spawn => self.spawn(ctx),
                Effect::Terminate => self.order(Order::Terminate),
                Effect::Kill => {
                    self.teller.tell("killed", "it did not end in time and is killed with all of its group");
                    self.order(Order::Kill);
                }
                // Told where the end is.
                Effect::RestartIn(_) | Effect::GiveUp(_) | Effect::Rests => {}
            }
        }
    }

    fn spawn(&mut self, ctx: &mut Context<Self>) {
        let Some(definition) = self.definition.clone() else { return };
        self.run += 1;
        self.meter = Meter::default();
        let launch = Launch {
            program: definition.program,
            args: definition.args,
            env: definition.env,
            directory: definition.directory,
            mark: self.mark(),
        };
        let (orders, queue) = mpsc::channel(ORDERS);
        self.orders = Some(orders);
        // A task of its own: where this actor dies, the closed queue tells it to end the child.
        actix_rt::spawn(child::look_after(launch, self.run, ctx.address().recipient(), queue));
    }

    fn order(&mut self, order: Order) {
        if let Some(orders) = &self.orders
            && orders.try_send(order).is_err()
        {
            tracing::debug!(gateway.id = self.teller.id().0, ?order, "the process is ending already");
        }
    }

    fn on_started(&mut self, pid: i32, start_ticks: u64, ctx: &mut Context<Self>) {
        self.remember(Some((pid, start_ticks)), ctx);
        let view = &mut self.teller.view;
        view.pid = Some(pid);
        view.started_ms = Some(self.shared.clock.wall_ms());
        view.reason = None;
        view.usage = None;
        self.teller.set_state(ProcessState::Running);
        self.teller.tell("started", &format!("started as process {pid}"));
        self.teller.on_process(pid);
        let effects = self.machine.started(self.shared.clock.now());
        self.carry_out(effects, ctx);
    }

    fn on_replaced(&mut self, pid: i32, start_ticks: u64, ctx: &mut Context<Self>) {
        self.remember(Some((pid, start_ticks)), ctx);
        self.meter = Meter::default();
        self.teller.view.pid = Some(pid);
        self.teller.view.started_ms = Some(self.shared.clock.wall_ms());
        self.teller.tell("restarted_itself", &format!("the gateway restarted itself: process {pid} took its place"));
        self.teller.begin_verification(self.shared.clock.now());
        self.teller.on_process(pid);
    }

    fn on_ended(&mut self, ending: &Ending, left: u32, ctx: &mut Context<Self>) {
        self.orders = None;
        self.remember(None, ctx);
        let now = self.shared.clock.now();
        let was = self.teller.view.pid.take();
        let effects = self.machine.ended(now, ending, self.shared.clock.random_unit());
        self.teller.on_process_end();
        let view = &mut self.teller.view;
        view.started_ms = None;
        view.usage = None;
        view.restarts = self.machine.restarts();
        view.last_end = Some(LastEnd {
            at_ms: self.shared.clock.wall_ms(),
            words: ending.words(),
            code: if let Ending::Code(code) = ending { Some(*code) } else { None },
            signal: if let Ending::Signal(signal) = ending { Some(*signal) } else { None },
        });
        let who = was.map_or_else(|| "its process".to_owned(), |pid| format!("process {pid}"));
        let besides =
            if left > 0 { format!("; {left} processes that it left behind were ended") } else { String::new() };
        let end = format!("{who} {}{besides}", ending.words());
        for effect in &effects {
            match effect {
                Effect::RestartIn(pause) => {
                    self.teller.set_state(ProcessState::Waiting);
                    self.teller.view.reason = Some(end.clone());
                    let words = format!("{end}: it is started again in {} ms", pause.as_millis());
                    self.teller.tell("exited", &words);
                    // A start that somebody waits for has no more time than it had.
                    if self.teller.verification_deadline().is_none() {
                        self.teller.begin_verification(now + *pause);
                    }
                }
                Effect::GiveUp(because) => self.give_up(&end, *because),
                Effect::Rests => {
                    self.teller.set_state(ProcessState::Stopped);
                    self.teller.view.reason = Some("it was stopped by an operator".to_owned());
                    self.teller.tell("stopped", &end);
                }
                Effect::Spawn => self.teller.tell("exited", &format!("{end}: it is started again, as was asked for")),
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
        let id = self.teller.id();
        let words = format!(
            "{end}. Given up: {why}. Read what it said last with POST /api/gateways/{id}/process {{\"action\": \"diagnose\"}}, \
             put the cause right, then start it with {{\"action\": \"start\"}}"
        );
        self.teller.set_state(ProcessState::GaveUp);
        self.teller.view.reason = Some(words.clone());
        self.teller.tell("gave_up", &words);
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
        self.teller.set_state(state);
        let wait = self.machine.starts_at().map(|at| at.saturating_duration_since(now));
        self.teller.view.next_start_ms = wait.map(|wait| {
            self.shared.clock.wall_ms().saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
        });
        self.teller.settle(now);
        self.teller.publish();
        if self.orders.is_none() && !matches!(state, ProcessState::Starting) {
            for waiting in self.ended.drain(..) {
                let _ = waiting.send(());
            }
        }
        self.arm(ctx);
    }

    fn arm(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let due = [self.machine.next_deadline(), self.teller.verification_deadline()].into_iter().flatten().min();
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
        let Some(pid) = self.teller.view.pid.filter(|_| !self.sampling) else { return };
        self.sampling = true;
        let run = self.run;
        let look = async move { spawn_blocking(move || Sample::take(pid)).await.ok().flatten() };
        ctx.spawn(look.into_actor(self).map(move |sample, actor, _| {
            actor.sampling = false;
            if let Some(sample) = sample
                && run == actor.run
                && actor.teller.view.pid == Some(pid)
            {
                actor.teller.view.usage = Some(actor.meter.take(actor.shared.clock.now(), sample));
                actor.teller.publish();
            }
        }));
    }
}

/// Ends what was left: the recorded process with its group, if it is still that, and all carriers of the mark. The first of
/// them, and how many there were. Blocking.
fn end_orphans(mark: &Mark, former: &LocalProcess) -> (Vec<i32>, u32) {
    let recorded = former.pid.and_then(Process::read).filter(|process| {
        !process.is_dead() && Some(process.start_ticks) == former.start_ticks && former.boot_id == proc_table::boot_id()
    });
    let mut pids: Vec<i32> = mark.carriers().iter().map(|process| process.pid).collect();
    pids.extend(recorded.iter().map(|process| process.pid));
    pids.sort_unstable();
    pids.dedup();
    let count = kinship::end_orphans(recorded.as_ref(), mark, ORPHAN_GRACE);
    pids.truncate(3);
    (pids, count)
}

impl Actor for CommandActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.teller.publish();
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
        match message.said {
            Said::Lines { stream, lines } => {
                let at_ms = self.shared.clock.wall_ms();
                for text in lines {
                    let text = self.teller.without_secrets(text);
                    self.output.push(OutputLine { at_ms, stream, text });
                }
                return;
            }
            Said::Started { pid, start_ticks } => {
                self.on_started(pid, start_ticks, ctx);
                // The first look tells nothing of the processor yet; the next one does.
                self.sample(ctx);
            }
            Said::Replaced { pid, start_ticks } => self.on_replaced(pid, start_ticks, ctx),
            Said::Ended { ending, left } => self.on_ended(&ending, left, ctx),
        }
        self.show(ctx);
    }
}

impl Handler<LinkSeen> for CommandActor {
    type Result = ();

    fn handle(&mut self, message: LinkSeen, ctx: &mut Self::Context) {
        self.teller.on_link(message);
        self.show(ctx);
    }
}
