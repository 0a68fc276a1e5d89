//! The service manager's socket: taken over, announced, and open while the daemon restarts.

use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::daemon::{PATIENCE, Setup};
use crate::support::http;
use crate::support::wait;

#[test]
fn a_socket_that_is_handed_over_is_served_and_a_restart_refuses_no_connection_attempt() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    let setup = Setup::new().env("GATEWARDEN_LOG__LEVEL", "info");
    let mut daemon = setup.start_on(&listener);
    assert_eq!(daemon.address(), address, "not the configured one");
    daemon.get("/api/gateways").expect(200);

    let (stop, served, failed) = (AtomicBool::new(false), AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (stop, served, failed) = (&stop, &served, &failed);
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    match http::request(address, "GET", "/health", &[], None) {
                        Ok(answer) if answer.status == 200 => drop(served.fetch_add(1, Ordering::SeqCst)),
                        other => failed.lock().expect("not poisoned").push(format!("{other:?}")),
                    }
                }
            });
        }
        for _ in 0..3 {
            let before = served.load(Ordering::SeqCst);
            wait::until("requests are served", PATIENCE, || served.load(Ordering::SeqCst) > before + 50);
            daemon.stop();
            daemon = setup.start_on(&listener);
        }
        let before = served.load(Ordering::SeqCst);
        wait::until("requests are served again", PATIENCE, || served.load(Ordering::SeqCst) > before + 50);
        stop.store(true, Ordering::SeqCst);
    });
    let failed = failed.into_inner().expect("not poisoned");
    assert!(failed.is_empty(), "{} of {} attempts failed: {failed:?}", failed.len(), served.load(Ordering::SeqCst));
}

#[test]
fn another_address_than_the_configured_one_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let setup = Setup::new().only_args(&["serve", "--listen", "127.0.0.1:1"]);
    let daemon = setup.start_on(&listener);
    daemon.until_logged(&["the service manager's socket counts, not http.listen"]);
}

#[test]
fn something_else_than_one_listening_socket_is_refused() {
    for (count, says) in [("2", "handed over 2 sockets"), ("1", "something else than a TCP socket")] {
        let output = std::process::Command::new("/bin/sh")
            .args(["-c", "exec 3</dev/null 4</dev/null; export LISTEN_PID=$$; exec \"$0\" serve --listen 127.0.0.1:0"])
            .arg(env!("CARGO_BIN_EXE_gatewarden"))
            .env("LISTEN_FDS", count)
            .output()
            .expect("the binary starts");
        assert_eq!(output.status.code(), Some(78));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(says), "{said}");
    }
}
