//! What befalls a gateway, and how its status has to look meanwhile.

use std::time::Duration;

use serde_json::json;

use crate::support::daemon::Daemon;
use crate::support::dice::Dice;
use crate::support::scripted_gateway::websocket::Pace;
use crate::support::scripted_gateway::{Behaviour, Fault, Form, Memory, Replies, ScriptedGateway, Step};

const MEBIBYTE: usize = 1024 * 1024;

/// How the status of a gateway has to look while something lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    Online,
    /// It comes and goes, or is slow.
    Either,
    NotOnline,
}

/// One gateway in the storm.
pub(crate) struct Target {
    id: i64,
    gateway: ScriptedGateway,
    /// What it is called, and whether it holds.
    fault: (String, bool),
    shows: Shows,
    /// Since when it has been like this, and until when it stays so.
    since: Duration,
    until: Duration,
}

/// It forgets its runs when it dies: one that is sent again is run again, which is counted, and its sessions don't add up.
fn well() -> Behaviour {
    Behaviour::of(Form::Protocol4, "right").runs(Memory::Forgets)
}

impl Target {
    pub(crate) fn register(daemon: &Daemon, number: u64) -> Self {
        let gateway = ScriptedGateway::start(well());
        let id = daemon.register(&format!("gateway-{number:04}"), gateway.port(), "right");
        let (since, until) = (Duration::ZERO, Duration::MAX);
        Self { id, gateway, fault: (String::new(), false), shows: Shows::Online, since, until }
    }

    pub(crate) fn id(&self) -> i64 {
        self.id
    }

    pub(crate) fn is_due(&self, now: Duration) -> bool {
        now >= self.until
    }

    pub(crate) fn is_ill(&self) -> bool {
        self.fault.1
    }

    pub(crate) fn last_fault(&self) -> &str {
        &self.fault.0
    }

    pub(crate) fn story(&self, now: Duration) -> String {
        let (fault, holds) = &self.fault;
        let span = now.saturating_sub(self.since).as_secs();
        if *holds { format!("for {span} s: {fault}") } else { format!("well for {span} s, before that: {fault}") }
    }

    /// Whether it has to be shown online; none where both are right, or something happened within this span.
    pub(crate) fn expected(&self, now: Duration, settled: Duration) -> Option<bool> {
        (now.saturating_sub(self.since) > settled && self.shows != Shows::Either).then_some(self.shows == Shows::Online)
    }

    /// Spawns that it was made to run more than once.
    pub(crate) fn run_twice(&self) -> usize {
        self.gateway.executed().values().filter(|times| **times > 1).count()
    }

    /// Ends the fault that holds, or lets one happen.
    pub(crate) fn turn(&mut self, now: Duration, dice: &mut Dice) {
        if self.is_ill() {
            self.heal(now);
            self.wait_for_fault(now, dice);
        } else {
            self.strike(now, dice);
            self.until = now + Duration::from_secs(5 + dice.roll(235));
        }
    }

    pub(crate) fn wait_for_fault(&mut self, now: Duration, dice: &mut Dice) {
        self.until = now + Duration::from_secs(10 + dice.roll(600));
    }

    /// Its connection is lost; what holds goes on.
    pub(crate) fn drop_connection(&mut self, now: Duration, by_close_frame: bool) {
        if by_close_frame {
            self.gateway.close(1012, "service restart")
        } else {
            self.gateway.reset()
        }
        self.since = now;
    }

    /// It starts afresh: sockets that nothing comes of any more would else stay open at its end.
    pub(crate) fn heal(&mut self, now: Duration) {
        self.gateway.behave(well());
        self.gateway.thaw();
        if self.gateway.is_alive() {
            self.gateway.kill();
        }
        self.gateway.revive();
        self.gateway.forget();
        (self.fault.1, self.shows, self.since) = (false, Shows::Online, now);
    }

    fn strike(&mut self, now: Duration, dice: &mut Dice) {
        let mut behaviour = well();
        let mut reset = true;
        let (name, shows) = match dice.roll(14) {
            0 => {
                self.gateway.kill();
                ("nobody listens".to_owned(), Shows::NotOnline)
            }
            1 => {
                self.gateway.freeze();
                reset = false;
                ("frozen".to_owned(), Shows::NotOnline)
            }
            2 => {
                behaviour = behaviour.fails(Step::Accept, Fault::Silence);
                ("black hole".to_owned(), Shows::NotOnline)
            }
            3 => {
                // Nobody new is let in either.
                behaviour = behaviour.fails(Step::Hello, Fault::Silence);
                (behaviour.pongs, behaviour.replies, behaviour.runs, reset) = (false, Replies::Never, None, false);
                ("half open: nothing is answered".to_owned(), Shows::NotOnline)
            }
            4 => {
                behaviour = behaviour.fails(Step::Hello, Fault::Silence);
                (behaviour.reads, reset) = (false, false);
                ("half open: nothing is read".to_owned(), Shows::NotOnline)
            }
            5 => {
                behaviour.pace = Pace::Delayed(Duration::from_secs(2));
                ("2 s late".to_owned(), Shows::Either)
            }
            6 => {
                behaviour.pace = Pace::Trickle(Duration::from_secs(1));
                ("a byte a second".to_owned(), Shows::NotOnline)
            }
            7 | 8 => {
                let steps = [Step::Accept, Step::Upgrade, Step::Challenge, Step::Connect, Step::Hello];
                let (step, fault) = (dice.pick(&steps), ending(dice));
                let name = format!("{fault:?} at {step:?}");
                behaviour = behaviour.fails(step, fault);
                (name, Shows::NotOnline)
            }
            9 => {
                let (step, fault) = (dice.pick(&[Step::Ready, Step::Request]), ending(dice));
                let name = format!("{fault:?} at {step:?}");
                behaviour = behaviour.fails(step, fault);
                (name, Shows::Either)
            }
            10 => {
                let step = dice.pick(&[Step::Challenge, Step::Hello, Step::Ready]);
                let fault = match dice.roll(8) {
                    0 => Fault::Giant(30 * MEBIBYTE),
                    1..4 => Fault::Announced(u64::MAX >> 1),
                    _ => Fault::Announced(400 * MEBIBYTE as u64),
                };
                let name = format!("{fault:?} at {step:?}");
                behaviour = behaviour.fails(step, fault);
                (name, Shows::Either)
            }
            11 => {
                let replies =
                    [Replies::WrongId, Replies::Twice, Replies::Reversed, Replies::Late(Duration::from_secs(2))];
                (behaviour.replies, reset) = (dice.pick(&replies), false);
                let shows = if behaviour.replies == Replies::Twice { Shows::Online } else { Shows::Either };
                (format!("replies {:?}", behaviour.replies), shows)
            }
            12 => {
                self.gateway.send(&json!([1, 2, 3]));
                self.gateway.send(&json!({"type": "res", "id": "never-asked", "ok": true, "payload": {}}));
                self.gateway.send_raw(b"\x81\x07not so!\xff\xfe\x00\x83\x7f");
                reset = false;
                ("garbage once".to_owned(), Shows::Online)
            }
            _ => ("reset once".to_owned(), Shows::Online),
        };
        self.gateway.behave(behaviour);
        if reset {
            self.gateway.reset();
        }
        (self.fault, self.shows, self.since) = ((name, true), shows, now);
    }
}

/// A way for a connection to end.
fn ending(dice: &mut Dice) -> Fault {
    match dice.roll(7) {
        0 => Fault::End,
        1 => Fault::Reset,
        // Not 1002, 1008 and 4001: these are refusals, which are looked at again after ten minutes.
        2 => Fault::Close(dice.pick(&[1000, 1011, 1012, 1013, 4000]), "because".to_owned()),
        3 => Fault::Garbage,
        4 => Fault::Truncated,
        5 => Fault::ResetMidFrame,
        _ => Fault::Silence,
    }
}
