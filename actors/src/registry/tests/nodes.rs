//! Gateways on other nodes: who holds them as nodes come and go.

use super::*;
use crate::placement::tests::two_nodes;

async fn status_of(house: &House, id: GatewayId) -> (Status, Option<String>) {
    let report = &house.roster.get(id).unwrap().report;
    (report.status, report.last_error.as_ref().map(|problem| problem.code.clone()))
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = tokio::time::timeout(PATIENCE, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    deadline.await.unwrap_or_else(|_| panic!("never so: {what}"));
}

#[actix::test]
async fn a_gateway_of_a_node_that_is_not_there_is_dialled_by_nobody_until_any_may_hold_it() {
    let mut house = House::open(at_once()).await;
    let there = GatewaySpec { node: Some("b".to_owned()), ..gateway("edge", 1) };
    let id = house.registry.send(CreateGateway(there.into())).await.unwrap().unwrap().0.record.id;
    let missing = (Status::Offline, Some("node_missing".to_owned()));
    until("it is said", async || status_of(&house, id).await == missing).await;
    let asked = house.registry.send(ReconnectGateway(id)).await.unwrap();
    assert!(asked.is_ok());
    until("it is said again", async || status_of(&house, id).await == missing).await;
    let change = GatewayChange { node: Some(None), ..GatewayChange::default() };
    house.registry.send(UpdateGateway { id, change, from: None }).await.unwrap().unwrap();
    assert!(matches!(house.script.heard().await, (heard, Heard::Started { .. }) if heard == id));
    house.ready(id).await;
    assert_eq!(status_of(&house, id).await, (Status::Online, None));
}

#[actix::test]
async fn a_node_that_comes_takes_over_its_gateways_and_gives_them_back_with_its_end() {
    let mut house = House::open(at_once()).await;
    let id = house.create("lab", 1).await.record.id;
    house.script.heard().await;
    house.ready(id).await;
    let (carrier, started, carries) = two_nodes();
    house.carrying.send_modify(|carriers| drop(carriers.insert("b".into(), carrier)));
    let change = GatewayChange { node: Some(Some("b".to_owned())), ..GatewayChange::default() };
    house.registry.send(UpdateGateway { id, change, from: None }).await.unwrap().unwrap();
    until("it is started there", async || !started.borrow().is_empty()).await;
    assert!(matches!(house.script.heard().await, (_, Heard::Record(_))));
    assert!(matches!(house.script.heard().await, (heard, Heard::ShutDown) if heard == id), "and ended here");
    assert_eq!(status_of(&house, id).await.0, Status::Unknown);
    started.borrow()[0].says(GatewayNotice::Report(Box::new(online())));
    until("it is seen there", async || status_of(&house, id).await.0 == Status::Online).await;
    let change = GatewayChange { node: Some(None), ..GatewayChange::default() };
    house.registry.send(UpdateGateway { id, change, from: None }).await.unwrap().unwrap();
    assert!(
        matches!(house.script.heard().await, (heard, Heard::Started { .. }) if heard == id),
        "an address of this machine"
    );
    drop(carries);
}

#[actix::test]
async fn a_gateway_whose_node_is_gone_is_dialled_anew_whatever_is_open_and_that_is_no_fault_of_its_own() {
    let house = House::open(at_once()).await;
    let (carrier, started, carries) = two_nodes();
    house.carrying.send_modify(|carriers| drop(carriers.insert("b".into(), carrier)));
    let there = GatewaySpec { node: Some("b".to_owned()), is_primary: true, ..gateway("edge", 1) };
    let id = house.registry.send(CreateGateway(there.into())).await.unwrap().unwrap().0.record.id;
    until("it is started there", async || !started.borrow().is_empty()).await;
    started.borrow()[0].says(GatewayNotice::Report(Box::new(online())));
    until("it acts", async || house.acting() == Some(id)).await;
    // Nobody answers: what became of it is to be asked about.
    let unknown = house.registry.send(super::spawns::task()).await.unwrap().unwrap_err();
    assert_eq!(unknown.code, ErrorCode::GatewayTimeout);
    house.carrying.send_modify(Carriers::clear);
    drop(carries);
    let missing = (Status::Offline, Some("node_missing".to_owned()));
    until("nobody holds it", async || status_of(&house, id).await == missing).await;
    let (carrier, again, _carries) = two_nodes();
    house.carrying.send_modify(|carriers| drop(carriers.insert("b".into(), carrier)));
    until("it is started at the node that came back", async || !again.borrow().is_empty()).await;
}
