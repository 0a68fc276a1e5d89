use super::*;
use crate::records::LocalProcess;
use gatewarden_core::gateway_record::{GatewayChange, GatewaySpec, ProcessSource};

#[actix::test]
async fn a_local_process_is_remembered_with_its_gateway_and_forgotten_with_it() {
    let scratch = Scratch::open();
    let id = scratch.store.create_gateway(new_gateway("local")).await.unwrap().record.id;
    let running = LocalProcess { wanted: true, pid: Some(4711), start_ticks: Some(99), boot_id: Some("b".to_owned()) };
    scratch.store.put_local_process(id, running.clone()).await.unwrap();
    assert_eq!(scratch.store.load_local_processes().await.unwrap(), vec![(id, running)]);
    let stopped = LocalProcess { wanted: false, pid: None, start_ticks: None, boot_id: None };
    scratch.store.put_local_process(id, stopped.clone()).await.unwrap();
    let scratch = scratch.reopen().await;
    assert_eq!(scratch.store.load_local_processes().await.unwrap(), vec![(id, stopped.clone())]);
    scratch.store.delete_gateway(id).await.unwrap();
    assert_eq!(scratch.store.load_local_processes().await.unwrap(), vec![]);
    scratch.store.put_local_process(id, stopped).await.unwrap();
    assert_eq!(scratch.store.load_local_processes().await.unwrap(), vec![], "what is deleted is not remembered again");
}

#[actix::test]
async fn what_runs_a_gateway_is_stored_changed_and_cleared() {
    let scratch = Scratch::open();
    let unit = ProcessSource::Unit("gatewarden-gateway@a.service".to_owned());
    let new = GatewaySpec { process: Some(unit.clone()), ..new_gateway("local") };
    let record = scratch.store.create_gateway(new).await.unwrap().record;
    assert_eq!(record.process, Some(unit));
    let command = ProcessSource::Command("openclaw".to_owned());
    for process in [Some(command), None] {
        let change = GatewayChange { process: Some(process.clone()), ..GatewayChange::default() };
        let updated = scratch.store.update_gateway(record.id, change).await.unwrap().pop().unwrap();
        assert_eq!(updated.process, process);
    }
}
