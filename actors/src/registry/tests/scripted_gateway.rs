//! A `Gateway` actor that says what the test tells it to and reports what it hears.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::dialing::Held;
use crate::error::Failure;
use crate::gateway::*;
use crate::gateway_record::SharedRecord;
use crate::gateway_report::{GatewayReport, ProbeOutcome};
use crate::ids::GatewayId;
use crate::machines::connection::{AuthPermit, GatewayNotice};
use crate::machines::placement::HeldBy;
use crate::registry::SpawnGateway;
use crate::spawn::{
    ControlSession, LookUpRun, LookedUp, NotAccepted, RunFinding, SpawnRecord, SpawnRequest, SpawnState,
};

/// What a scripted gateway heard from the registry.
#[derive(Debug)]
pub(super) enum Heard {
    Started { incarnation: u64 },
    Record(SharedRecord),
    Reconnect,
    Permit(AuthPermit),
    Start(Arc<SpawnRequest>),
    LookUp(LookUpRun),
    Control(ControlSession),
    ShutDown,
}

#[derive(Message)]
#[rtype(result = "()")]
enum Act {
    Say(Box<GatewayNotice>),
    Panic,
}

struct ScriptedGateway {
    id: GatewayId,
    incarnation: u64,
    /// Orders that it heard, as its reports tell.
    orders: u64,
    supervisor: Recipient<FromGateway>,
    heard: mpsc::UnboundedSender<(GatewayId, Heard)>,
    silent: Rc<RefCell<HashSet<GatewayId>>>,
    answers: Rc<RefCell<Answers>>,
    unanswered: Vec<Reply<ProbeOutcome>>,
}

/// What scripted gateways answer about runs; none is what a good gateway says.
#[derive(Default)]
struct Answers {
    start: HashMap<GatewayId, Result<SpawnRecord, NotAccepted>>,
    finding: HashMap<GatewayId, Result<RunFinding, Failure>>,
    control: HashMap<GatewayId, Result<Value, Failure>>,
}

/// The stage: starts scripted gateways and lets the test speak through them.
pub(super) struct Script {
    actors: Rc<RefCell<HashMap<GatewayId, Addr<ScriptedGateway>>>>,
    silent: Rc<RefCell<HashSet<GatewayId>>>,
    answers: Rc<RefCell<Answers>>,
    sender: mpsc::UnboundedSender<(GatewayId, Heard)>,
    receiver: mpsc::UnboundedReceiver<(GatewayId, Heard)>,
}

impl Script {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { actors: Rc::default(), silent: Rc::default(), answers: Rc::default(), sender, receiver }
    }

    pub(super) fn spawner(&self) -> SpawnGateway {
        let (actors, silent, heard) = (self.actors.clone(), self.silent.clone(), self.sender.clone());
        let answers = self.answers.clone();
        Box::new(move |record, incarnation, supervisor| {
            let id = record.id;
            let gateway = ScriptedGateway {
                id,
                incarnation,
                orders: 0,
                supervisor,
                heard: heard.clone(),
                silent: silent.clone(),
                answers: answers.clone(),
                unanswered: Vec::new(),
            };
            let addr = gateway.start();
            actors.borrow_mut().insert(id, addr.clone());
            heard.send((id, Heard::Started { incarnation })).unwrap();
            GatewayHandle::new(addr.recipient(), HeldBy::Here)
        })
    }

    fn addr(&self, id: GatewayId) -> Addr<ScriptedGateway> {
        self.actors.borrow().get(&id).unwrap().clone()
    }

    pub(super) async fn say(&self, id: GatewayId, notice: GatewayNotice) {
        self.addr(id).send(Act::Say(Box::new(notice))).await.unwrap();
    }

    pub(super) async fn panic(&self, id: GatewayId) {
        assert!(self.addr(id).send(Act::Panic).await.is_err());
    }

    pub(super) fn silence_probes(&self, id: GatewayId) {
        self.silent.borrow_mut().insert(id);
    }

    /// What a gateway answers to [`GatewayCommand::StartRun`] from now on; else it accepts.
    pub(super) fn answers_start(&self, id: GatewayId, answer: Result<SpawnRecord, NotAccepted>) {
        self.answers.borrow_mut().start.insert(id, answer);
    }

    /// From now on a gateway accepts what it is given.
    pub(super) fn accepts_start(&self, id: GatewayId) {
        self.answers.borrow_mut().start.remove(&id);
    }

    /// What a gateway answers to [`LookUpRun`] from now on; else it knows nothing.
    pub(super) fn answers_look_up(&self, id: GatewayId, answer: Result<RunFinding, Failure>) {
        self.answers.borrow_mut().finding.insert(id, answer);
    }

    /// What a gateway answers to [`ControlSession`] from now on; else it does it.
    pub(super) fn answers_control(&self, id: GatewayId, answer: Result<Value, Failure>) {
        self.answers.borrow_mut().control.insert(id, answer);
    }

    /// The next thing that any gateway hears.
    pub(super) async fn heard(&mut self) -> (GatewayId, Heard) {
        tokio::time::timeout(super::PATIENCE, self.receiver.recv()).await.unwrap().unwrap()
    }

    /// What a gateway has heard and nobody has read, if anything.
    pub(super) fn heard_already(&mut self) -> Option<(GatewayId, Heard)> {
        self.receiver.try_recv().ok()
    }

    /// Waits until a condition holds; says whether it does in time.
    pub(super) async fn until(&self, condition: impl Fn() -> bool) -> bool {
        let patience = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(super::PATIENCE, patience).await.is_ok()
    }
}

impl ScriptedGateway {
    fn tell(&self, heard: Heard) {
        let _ = self.heard.send((self.id, heard));
    }
}

impl Actor for ScriptedGateway {
    type Context = Context<Self>;
}

impl Handler<Act> for ScriptedGateway {
    type Result = ();

    fn handle(&mut self, act: Act, _: &mut Self::Context) {
        match act {
            Act::Say(mut notice) => {
                if let GatewayNotice::Report(report) = notice.as_mut() {
                    report.orders = self.orders;
                }
                self.supervisor.do_send(FromGateway { id: self.id, incarnation: self.incarnation, notice: *notice });
            }
            Act::Panic => panic!("induced by the test"),
        }
    }
}

impl Handler<GatewayCommand> for ScriptedGateway {
    type Result = ();

    fn handle(&mut self, command: GatewayCommand, ctx: &mut Self::Context) {
        if let GatewayCommand::Update(_) | GatewayCommand::Reconnect = &command {
            self.orders += 1;
        }
        match command {
            GatewayCommand::Update(record) => self.tell(Heard::Record(record)),
            GatewayCommand::Reconnect => self.tell(Heard::Reconnect),
            GatewayCommand::Permit(permit) => self.tell(Heard::Permit(permit)),
            GatewayCommand::ForgetRun(_) => {}
            GatewayCommand::Probe { reply, .. } if self.silent.borrow().contains(&self.id) => {
                self.unanswered.push(reply)
            }
            GatewayCommand::Probe { reply, .. } => {
                let report = GatewayReport::unknown(3);
                let _ = reply.send(ProbeOutcome { probed_at_ms: 3, report, latency_ms: Some(1.0), failed_step: None });
            }
            GatewayCommand::Call { method, reply, .. } => drop(reply.send(Ok(json!({ "method": method }).into()))),
            GatewayCommand::StartRun(request, reply) => drop(reply.send(self.start_run(request))),
            GatewayCommand::LookUpRun(look_up, reply) => {
                self.tell(Heard::LookUp(look_up));
                let finding = self.answers.borrow().finding.get(&self.id).cloned().unwrap_or(Ok(RunFinding::NotKnown));
                let session_key = Some("agent:main:found".to_owned());
                let _ = reply.send(finding.map(|finding| LookedUp { finding, session_key, ended_at_ms: None }));
            }
            GatewayCommand::Control(control, reply) => {
                let action = control.action.as_str();
                self.tell(Heard::Control(control));
                let scripted = self.answers.borrow().control.get(&self.id).cloned();
                let answer = scripted.unwrap_or_else(|| Ok(json!({ "ok": true, "action": action })));
                let _ = reply.send(answer.map(Held::from));
            }
            GatewayCommand::WatchLogs(_, reply) => drop(reply.send(Err(Failure::unavailable("log of this gateway")))),
            GatewayCommand::ShutDown(reply) => {
                self.tell(Heard::ShutDown);
                let _ = reply.send(());
                ctx.stop();
            }
        }
    }
}

impl ScriptedGateway {
    fn start_run(&self, request: Arc<SpawnRequest>) -> Result<SpawnRecord, NotAccepted> {
        let record = request.record.clone();
        self.tell(Heard::Start(request));
        let scripted = self.answers.borrow().start.get(&self.id).cloned();
        scripted.unwrap_or_else(|| {
            Ok(SpawnRecord {
                state: SpawnState::Accepted,
                session_key: Some(format!("agent:main:{}", record.spawn_id)),
                run_id: Some(record.spawn_id.clone()),
                result: Some(json!({ "status": "accepted" })),
                ..record
            })
        })
    }
}
