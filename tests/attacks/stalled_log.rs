//! Standard error is a pipe that nobody reads.

use std::io::{BufRead as _, BufReader};
use std::process::Child;

use crate::support::daemon::{PATIENCE, Setup};
use crate::support::http;
use crate::support::wait;

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn requests_are_answered_and_the_daemon_stops_though_nobody_reads_its_log() {
    let setup = Setup::new().env("GATEWARDEN_LOG__LEVEL", "debug");
    let mut daemon = Ended(setup.prepared().spawn().expect("the binary starts"));
    let mut line = String::new();
    BufReader::new(daemon.0.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let address = line.trim().strip_prefix("listening on http://").expect("an address").parse().expect("an address");
    for number in 0..2_000 {
        let answer = http::request(address, "GET", "/health", &[], None);
        assert_eq!(answer.unwrap_or_else(|error| panic!("{error} at {number}")).status, 200);
    }
    let pid = daemon.0.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().is_ok_and(|status| status.success()));
    let status = wait::until_ok("the daemon ends", PATIENCE, || match daemon.0.try_wait() {
        Ok(Some(status)) => Ok(status),
        other => Err(format!("{other:?}")),
    });
    // A disk that was too slow for its last observations makes it 1.
    assert!(status.code().is_some(), "{status}");
}
