//! A `Gateway` actor that says what the test tells it to and reports what it hears.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::error::Failure;
use crate::gateway::messages::*;
use crate::gateway_record::SharedRecord;
use crate::gateway_report::GatewayReport;
use crate::ids::GatewayId;
use crate::registry::{GatewayDoor, SpawnGateway};

/// What a scripted gateway heard from the registry.
#[derive(Debug)]
pub(super) enum Heard {
    Started { incarnation: u64 },
    Record(SharedRecord),
    Reconnect,
    Permit(AuthPermit),
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
    supervisor: Recipient<FromGateway>,
    heard: mpsc::UnboundedSender<(GatewayId, Heard)>,
    silent: Rc<RefCell<HashSet<GatewayId>>>,
}

/// The stage: starts scripted gateways and lets the test speak through them.
pub(super) struct Script {
    actors: Rc<RefCell<HashMap<GatewayId, Addr<ScriptedGateway>>>>,
    silent: Rc<RefCell<HashSet<GatewayId>>>,
    sender: mpsc::UnboundedSender<(GatewayId, Heard)>,
    receiver: mpsc::UnboundedReceiver<(GatewayId, Heard)>,
}

impl Script {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { actors: Rc::default(), silent: Rc::default(), sender, receiver }
    }

    pub(super) fn spawner(&self) -> SpawnGateway {
        let (actors, silent, heard) = (self.actors.clone(), self.silent.clone(), self.sender.clone());
        Box::new(move |record, incarnation, supervisor| {
            let id = record.id;
            let gateway = ScriptedGateway { id, incarnation, supervisor, heard: heard.clone(), silent: silent.clone() };
            let addr = gateway.start();
            actors.borrow_mut().insert(id, addr.clone());
            heard.send((id, Heard::Started { incarnation })).unwrap();
            GatewayDoor::of(&addr)
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

    /// The next thing that any gateway hears.
    pub(super) async fn heard(&mut self) -> (GatewayId, Heard) {
        tokio::time::timeout(Duration::from_secs(10), self.receiver.recv()).await.unwrap().unwrap()
    }

    /// Waits until a condition holds, ten seconds at most; says whether it does.
    pub(super) async fn until(&self, condition: impl Fn() -> bool) -> bool {
        let patience = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), patience).await.is_ok()
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
            Act::Say(notice) => {
                self.supervisor.do_send(FromGateway { id: self.id, incarnation: self.incarnation, notice: *notice });
            }
            Act::Panic => panic!("induced by the test"),
        }
    }
}

impl Handler<UpdateRecord> for ScriptedGateway {
    type Result = ();

    fn handle(&mut self, message: UpdateRecord, _: &mut Self::Context) {
        self.tell(Heard::Record(message.0));
    }
}

impl Handler<Reconnect> for ScriptedGateway {
    type Result = ();

    fn handle(&mut self, _: Reconnect, _: &mut Self::Context) {
        self.tell(Heard::Reconnect);
    }
}

impl Handler<AuthPermit> for ScriptedGateway {
    type Result = ();

    fn handle(&mut self, permit: AuthPermit, _: &mut Self::Context) {
        self.tell(Heard::Permit(permit));
    }
}

impl Handler<ShutDown> for ScriptedGateway {
    type Result = ();

    fn handle(&mut self, _: ShutDown, ctx: &mut Self::Context) {
        self.tell(Heard::ShutDown);
        ctx.stop();
    }
}

impl Handler<Probe> for ScriptedGateway {
    type Result = ResponseFuture<ProbeOutcome>;

    fn handle(&mut self, _: Probe, _: &mut Self::Context) -> Self::Result {
        let silent = self.silent.borrow().contains(&self.id);
        Box::pin(async move {
            if silent {
                std::future::pending::<()>().await;
            }
            let report = GatewayReport::unknown(3);
            ProbeOutcome { probed_at_ms: 3, report, latency_ms: Some(1.0), failed_step: None }
        })
    }
}

impl Handler<Call> for ScriptedGateway {
    type Result = Result<Value, Failure>;

    fn handle(&mut self, call: Call, _: &mut Self::Context) -> Self::Result {
        Ok(json!({ "method": call.method }))
    }
}
