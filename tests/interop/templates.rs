//! The main agents of real gateways, and the files of their agents.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::peer::{NEWEST, OLDER, Peer};
use crate::support::daemon::{Daemon, PATIENCE};

/// Where a gateway keeps the files of its main agent, out of its own list where that tells it.
fn agents_md(daemon: &Daemon, id: i64) -> Option<PathBuf> {
    let agents = daemon.get(&format!("/api/agents?gateway_id={id}")).expect(200).json();
    let main = agents["agents"].as_array()?.iter().find(|agent| agent["is_gateway_main"] == true)?.clone();
    main["config"]["workspace"].as_str().map(|workspace| Path::new(workspace).join("AGENTS.md"))
}

#[test]
fn the_main_agents_of_real_gateways_get_the_files_that_each_release_takes() {
    let daemon = Daemon::start();
    for (version, written, skipped) in [(NEWEST, 1, 2), (OLDER, 3, 0)] {
        let peer = Peer::start(version);
        let id = daemon.register(version, peer.port, &peer.token);
        // A busy machine makes real gateways call themselves degraded: they can be worked with all the same.
        let usable = || {
            daemon.until(id, "it is usable", PATIENCE, |shown| {
                shown["phase"] == "ready" && shown["agents_count"].is_number()
            })
        };
        let uuid = usable()["uuid"].as_str().expect("a uuid").to_owned();
        let sync = |body: Value| {
            let answer = daemon.post(&format!("/api/v1/gateways/{uuid}/templates/sync"), &body).expect(200).json();
            println!("{version}: {answer}");
            answer
        };
        let done = sync(json!({}));
        assert_eq!(
            (&done["files"]["written"], &done["files"]["skipped"]),
            (&json!(written), &json!(skipped)),
            "{done}"
        );
        assert_eq!((&done["main_updated"], daemon.main_agent(&done).as_str()), (&json!(true), "main"), "{done}");
        assert_eq!(done["errors"], json!([]), "{done}");
        assert_eq!(sync(json!({}))["files"]["unchanged"], json!(written));
        if let Some(path) = agents_md(&daemon, id) {
            let text = std::fs::read_to_string(&path).expect("the gateway wrote it");
            assert!(text.contains(&format!("main agent of {version}")), "{text}");
            std::fs::write(&path, "the agent's own words\n").expect("written");
            assert_eq!(sync(json!({}))["files"]["kept"], 1);
            let over = sync(json!({"overwrite": true, "reset_sessions": true}));
            assert_eq!((&over["files"]["written"], &over["sessions_reset"]), (&json!(1), &json!(1)), "{over}");
        }
        let refused = daemon.post(&format!("/api/v1/gateways/{uuid}/templates/sync"), &json!({"rotate_tokens": true}));
        println!("{version}: {}", refused.text);
        assert!([200, 501].contains(&refused.status), "{}", refused.text);
        usable();
    }
}
