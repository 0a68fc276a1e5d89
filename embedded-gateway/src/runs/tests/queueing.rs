//! Which message runs when, where, and in which session.

use super::*;

#[test]
fn a_second_message_waits_for_the_first_and_then_runs() {
    let mut world = World::new();
    world.call("r1", "chat.send", message("k1"));
    world.call("r2", "chat.send", message("k2"));
    assert_eq!(world.reply("r2")["status"], "queued");
    assert!(world.orders().is_empty());
    world.start("k1");
    world.exit("k1", 0);
    assert_eq!(world.order().run, RunId("k2".into()));
    world.start("k2");
    world.exit("k2", 0);
    assert!(world.orders().is_empty());
    assert_eq!((world.machine.runs.processes(), world.machine.runs.queued()), (0, 0));
}

#[test]
fn only_so_many_messages_wait() {
    let mut world = World::new();
    for number in 0..=QUEUE {
        world.call("r", "chat.send", message(&format!("k{number}")));
        world.reply("r");
    }
    world.call("r", "chat.send", message("more"));
    let error = world.refusal("r");
    assert_eq!((error.code, error.retry_after_ms), ("UNAVAILABLE", Some(1_000)));
    assert_eq!(error.details["code"], "SESSION_BUSY");
    assert!(world.machine.runs.get(&RunId("more".into())).is_none());
}

#[test]
fn only_so_many_processes_run() {
    let mut world = World::with(|config| config.limits.processes = 2);
    for number in 0..2 {
        world.call("r", "spawn", json!({"command": "plain", "idempotencyKey": format!("k{number}")}));
        assert_eq!(world.orders().len(), 1);
    }
    world.call("r", "spawn", json!({"command": "plain"}));
    assert_eq!(world.refusal("r").details["code"], "TOO_MANY_PROCESSES");
    assert!(world.orders().is_empty());
    world.start("k0");
    world.exit("k0", 0);
    world.call("r", "spawn", json!({"command": "plain"}));
    assert_eq!(world.orders().len(), 1);
}

#[test]
fn a_message_without_a_session_has_one_of_its_own_and_one_to_an_agent_its_main_one() {
    let mut world = World::new();
    world.call("r1", "agent", json!({"message": "x", "idempotencyKey": "K1"}));
    assert_eq!(world.reply("r1")["sessionKey"], "agent:main:explicit:k1");
    world.call("r2", "agent", json!({"message": "x", "idempotencyKey": "K2", "agentId": "coder"}));
    assert_eq!(world.reply("r2")["sessionKey"], "agent:coder:main");
    world.call("r3", "spawn", json!({"task": "x", "agent": "coder", "idempotencyKey": "K3"}));
    assert_eq!(world.order().cwd, PathBuf::from("/srv"));
    world.start("K3");
    assert_eq!(world.reply("r3")["sessionKey"], "agent:coder:spawn:k3");
}

#[test]
fn an_agent_whose_command_names_no_directory_works_in_its_own_folder() {
    let mut world = World::with(|config| {
        config.commands.get_mut("plain").unwrap().working_dirs.clear();
    });
    world.call("r1", "agent", json!({"message": "x", "idempotencyKey": "k1", "agentId": "coder"}));
    let order = world.order();
    assert_eq!((order.cwd, order.make_cwd), (PathBuf::from("/ws/coder"), true));
    world.call("r2", "spawn", json!({"command": "plain"}));
    let order = world.order();
    assert_eq!((order.cwd, order.make_cwd), (PathBuf::from("/"), false));
}
