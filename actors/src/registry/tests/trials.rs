//! Gateways that nobody sees yet.

use super::*;
use crate::gateway_report::SessionSnapshot;
use crate::registry::messages::ProbeGateways;
use crate::registry::records::{AbandonGateway, ConfirmGateway, ReserveGateway, Trial, TryGateway};
use crate::store::records::MainAgent;

fn reserve(name: &str, port: u16) -> ReserveGateway {
    ReserveGateway(GatewaySpec { workspace_root: Some("/w".to_owned()), ..gateway(name, port) })
}

fn main_agent() -> MainAgent {
    MainAgent { agent_id: "main".to_owned(), role: None, config: serde_json::json!({}) }
}

impl House {
    async fn reserve(&self, name: &str, port: u16) -> Trial {
        self.registry.send(reserve(name, port)).await.unwrap().unwrap()
    }
}

#[actix::test]
async fn a_reserved_gateway_is_dialled_and_seen_by_nobody_until_it_is_confirmed() {
    let mut house = House::open(at_once()).await;
    let mut trial = house.reserve("prod", 18_789).await;
    let id = trial.record.id;
    assert!(matches!(house.script.heard().await, (heard, Heard::Started { .. }) if heard == id));
    house.ready(id).await;
    assert_eq!(trial.reports.borrow_and_update().phase, Phase::Ready);
    let told = Arc::new(SessionSnapshot { as_of_ms: 7, complete: true, ..SessionSnapshot::default() });
    house.say(id, GatewayNotice::Sessions(told)).await;
    assert!(house.roster.is_empty() && house.acting().is_none(), "it is elected or listed");
    let change = GatewayChange { priority: Some(1), ..GatewayChange::default() };
    let unseen = house.registry.send(UpdateGateway { id, change, from: None }).await.unwrap().unwrap_err();
    assert_eq!(unseen.code, ErrorCode::GatewayNotFound);
    assert!(!house.registry.send(DeleteGateway(id)).await.unwrap().unwrap());
    let probe = ProbeGateways { only: Some(id), timeout: Duration::from_secs(1) };
    assert_eq!(house.registry.send(probe).await.unwrap().unwrap_err().code, ErrorCode::GatewayNotFound);

    let committed = house.registry.send(ConfirmGateway { id, main: main_agent() }).await.unwrap().unwrap();
    assert_eq!(committed.record.gateway_agent_id.as_deref(), Some("main"));
    assert_eq!(house.roster.get(id).unwrap().report.status, Status::Online);
    assert_eq!(house.acting(), Some(id), "it can act now");
    assert_eq!(house.roster.slots()[0].sessions().as_of_ms, 7, "what it told before is not told again");
    assert_eq!(house.store.load_gateways().await.unwrap().len(), 1);
    // What comes after the end of the trial is for everybody.
    house.fail(id).await;
    assert_eq!(house.roster.get(id).unwrap().report.phase, Phase::Backoff);
}

#[actix::test]
async fn name_and_address_are_reserved_while_it_lasts_and_free_after_it() {
    let house = House::open(at_once()).await;
    let first = house.reserve("prod", 18_789).await;
    let same_address = house.registry.send(reserve("other", 18_789)).await.unwrap().unwrap_err();
    assert_eq!(same_address.code, ErrorCode::AddressTaken);
    let same_name = house.registry.send(reserve("prod", 18_790)).await.unwrap().unwrap_err();
    assert_eq!(same_name.code, ErrorCode::NameTaken);
    let by_the_other_api = house.registry.send(CreateGateway(gateway("prod", 1).into())).await.unwrap().unwrap_err();
    assert_eq!(by_the_other_api.code, ErrorCode::NameTaken);
    // A refused name leaves its address free.
    let second = house.reserve("second", 18_790).await;
    house.registry.send(AbandonGateway(second.record.id)).await.unwrap().unwrap();
    house.registry.send(AbandonGateway(first.record.id)).await.unwrap().unwrap();
    let again = house.reserve("prod", 18_789).await;
    let gone = ConfirmGateway { id: first.record.id, main: main_agent() };
    assert_eq!(house.registry.send(gone).await.unwrap().unwrap_err().code, ErrorCode::GatewayNotFound);
    house.registry.send(ConfirmGateway { id: again.record.id, main: main_agent() }).await.unwrap().unwrap();
    house.registry.send(AbandonGateway(again.record.id)).await.unwrap().unwrap();
    assert_eq!(house.roster.len(), 1, "a gateway that everybody sees is not abandoned");
}

#[actix::test]
async fn a_gateway_that_is_only_tried_is_stored_nowhere() {
    let mut house = House::open(at_once()).await;
    let trial = house.registry.send(TryGateway(gateway("tried", 18_789))).await.unwrap().unwrap();
    let id = trial.record.id;
    assert!(id.0 < 0);
    assert!(matches!(house.script.heard().await, (heard, Heard::Started { .. }) if heard == id));
    house.ready(id).await;
    house.registry.send(AbandonGateway(id)).await.unwrap().unwrap();
    loop {
        let (heard, what) = house.script.heard().await;
        if matches!(what, Heard::ShutDown) {
            assert_eq!(heard, id);
            break;
        }
    }
    assert!(house.roster.is_empty() && house.store.load_gateways().await.unwrap().is_empty());
}

#[actix::test]
async fn a_trial_that_is_forgotten_ends_by_itself() {
    let mut house = House::open(at_once()).await;
    let trial = house.reserve("prod", 18_789).await;
    let id = trial.record.id;
    drop(trial);
    loop {
        let (heard, what) = house.script.heard().await;
        if matches!(what, Heard::ShutDown) {
            assert_eq!(heard, id);
            break;
        }
    }
    // The row goes too, so that the name is free again.
    loop {
        if house.registry.send(reserve("prod", 18_789)).await.unwrap().is_ok() {
            break;
        }
        tokio::task::yield_now().await;
    }
}
