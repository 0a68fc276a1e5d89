//! What operators and the daemon's stop want of a command.

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::super::child::Order;
use super::super::kinship;
use super::super::messages::{EndProcess, OrderProcess, ProcessAction, ProcessAnswer, RecordSeen};
use super::super::proc_table;
use super::super::view::{Diagnosis, Member, ProcessState};
use super::CommandActor;
use crate::error::Failure;
use crate::machines::process_supervision::State;

/// Lines of output in a diagnosis.
const OUTPUT_LINES: usize = 200;
/// Processes in a diagnosis.
const MAX_MEMBERS: usize = 100;

type Answering = ResponseActFuture<CommandActor, Result<ProcessAnswer, Failure>>;

impl Handler<OrderProcess> for CommandActor {
    type Result = Answering;

    fn handle(&mut self, order: OrderProcess, _: &mut Self::Context) -> Self::Result {
        match order.action {
            ProcessAction::Status => ready(self, Ok(self.teller.answer())),
            ProcessAction::Diagnose => self.diagnose(),
            ProcessAction::Start | ProcessAction::Restart if self.definition.is_none() => {
                let missing = self.teller.view.reason.clone().unwrap_or_default();
                ready(self, Err(self.teller.failure(order.action, &[missing])))
            }
            ProcessAction::Start | ProcessAction::Stop | ProcessAction::Restart => self.change(order),
        }
    }
}

fn ready(actor: &CommandActor, answer: Result<ProcessAnswer, Failure>) -> Answering {
    Box::pin(async move { answer }.into_actor(actor))
}

impl CommandActor {
    /// Written, then done, then answered.
    fn change(&mut self, order: OrderProcess) -> Answering {
        let OrderProcess { action, wait, .. } = order;
        let wanted = action != ProcessAction::Stop;
        let (store, id) = (self.shared.store.clone(), self.teller.id());
        let changed = super::LocalProcess { wanted, ..self.stored.clone() };
        let write = async move { store.put_local_process(id, changed).await };
        Box::pin(write.into_actor(self).then(move |written, actor, ctx| {
            if let Err(failure) = written {
                return ready(actor, Err(failure));
            }
            actor.stored.wanted = wanted;
            let outcome = actor.begin(action, ctx);
            let begun = actor.teller.answer();
            match outcome.filter(|_| wait) {
                None => ready(actor, Ok(begun)),
                Some(outcome) => {
                    let answer = async move { outcome.await.unwrap_or_else(|_| Err(Failure::unavailable("process"))) };
                    Box::pin(answer.into_actor(actor))
                }
            }
        }))
    }

    /// Does it; the outcome, where there is something to wait for.
    fn begin(
        &mut self,
        action: ProcessAction,
        ctx: &mut Context<Self>,
    ) -> Option<oneshot::Receiver<Result<ProcessAnswer, Failure>>> {
        let now = self.shared.clock.now();
        if action == ProcessAction::Start && self.machine.state() == State::Running {
            return None;
        }
        if action == ProcessAction::Stop && self.machine.state() == State::Stopped {
            return None;
        }
        let effects = match action {
            ProcessAction::Stop => self.machine.stop(now),
            ProcessAction::Start => self.machine.start(),
            _ => self.machine.restart(now),
        };
        let waits = effects.contains(&crate::machines::process_supervision::Effect::Rests);
        if waits {
            // It had ended already.
            self.teller.view.reason = Some("it was stopped by an operator".to_owned());
            self.teller.tell("stopped", "it is not started again");
        }
        if action != ProcessAction::Stop {
            self.teller.begin_verification(now);
            // So that nobody takes the state before for the outcome.
            self.teller.set_state(ProcessState::Starting);
        }
        let outcome = self.teller.wait_for(action);
        self.carry_out(effects, ctx);
        self.show(ctx);
        Some(outcome)
    }

    fn diagnose(&mut self) -> Answering {
        let leader = self.teller.view.pid;
        let look = async move {
            spawn_blocking(move || {
                leader.map(kinship::family).unwrap_or_default().into_iter().take(MAX_MEMBERS).map(member).collect()
            })
            .await
            .unwrap_or_default()
        };
        Box::pin(look.into_actor(self).map(|members: Vec<Member>, actor, _| {
            let diagnosis = Diagnosis {
                findings: actor.findings(),
                program: actor.definition.as_ref().map(|definition| definition.program.display().to_string()),
                members,
                output: actor.output.newest(OUTPUT_LINES),
                output_dropped: actor.output.dropped(),
            };
            Ok(ProcessAnswer { diagnosis: Some(diagnosis), ..actor.teller.answer() })
        }))
    }

    fn findings(&self) -> Vec<String> {
        super::super::diagnosis::findings(&self.teller.view, self.teller.link())
    }

    /// Ends it for good, within the time that there is.
    fn end(&mut self, within: std::time::Duration, ctx: &mut Context<Self>) -> oneshot::Receiver<()> {
        let (told, ended) = oneshot::channel();
        self.ended.push(told);
        let effects = self.machine.stop(self.shared.clock.now());
        self.carry_out(effects, ctx);
        // The machine kills after its own grace; the daemon's stop has less time.
        ctx.run_later(within.mul_f64(0.7), |actor, _| actor.order(Order::Kill));
        self.show(ctx);
        ended
    }
}

fn member(process: proc_table::Process) -> Member {
    Member {
        pid: process.pid,
        parent: process.parent,
        name: proc_table::name(process.pid).unwrap_or_default(),
        state: process.state,
    }
}

impl Handler<EndProcess> for CommandActor {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, message: EndProcess, ctx: &mut Self::Context) -> Self::Result {
        let ended = self.end(message.within, ctx);
        let within = message.within;
        let wait = async move {
            let _ = tokio::time::timeout(within, ended).await;
        };
        Box::pin(wait.into_actor(self).map(|(), _, ctx| ctx.stop()))
    }
}

impl Handler<RecordSeen> for CommandActor {
    type Result = ();

    fn handle(&mut self, message: RecordSeen, _: &mut Self::Context) {
        if let Some(record) = message.record {
            self.teller.record = record;
        }
    }
}
