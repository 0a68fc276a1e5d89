//! Gateways die: when that is seen, and when work goes elsewhere.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::Fleet;
use crate::monitors::Monitor;
use crate::support::wait::{self, Stopwatch};

/// So many die at once, the one that gets the work among them.
pub(crate) const VICTIMS: usize = 5;
const LIMIT: Duration = Duration::from_secs(90);
/// Between two pieces of work.
const WORK: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// The process ends: its port and its connections are closed.
    Killed,
    /// The process stops: the kernel goes on taking connections and bytes.
    Frozen,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Killed => "killed",
            Self::Frozen => "frozen",
        })
    }
}

/// When it was noticed, after the death.
#[derive(Debug, Clone)]
pub(crate) struct Deaths {
    seen: Vec<Duration>,
    /// None for who gives no work.
    elsewhere: Option<Duration>,
}

/// Says that no more work is given, also where the watching failed.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn seconds(time: Duration) -> String {
    let time = time.as_secs_f64();
    if time < 1.0 { format!("{:.0} ms", 1e3 * time) } else { format!("{time:.1} s") }
}

impl Deaths {
    pub(crate) fn seen(&self) -> String {
        let mut sorted = self.seen.clone();
        sorted.sort();
        format!("{}, {}", seconds(sorted[sorted.len() / 2]), seconds(sorted[sorted.len() - 1]))
    }

    pub(crate) fn elsewhere(&self) -> String {
        self.elsewhere.map_or_else(|| "it gives none".to_owned(), seconds)
    }
}

/// Lets some gateways die and watches; at the end they live again and that is known.
pub(crate) fn watch(monitor: &dyn Monitor, fleet: &Fleet, death: Death) -> Deaths {
    let gives_work = monitor.gives_work();
    let acting = gives_work.then(|| {
        wait::until_ok("somebody takes work", LIMIT, || monitor.work().ok_or_else(|| "nobody does".to_owned()))
    });
    let others = (0..fleet.live.len()).rev().step_by(7).filter(|index| Some(*index) != acting);
    let victims: Vec<usize> = acting.into_iter().chain(others).take(VICTIMS).collect();
    let mut died = Vec::new();
    for victim in &victims {
        match death {
            Death::Killed => fleet.live[*victim].kill(),
            Death::Frozen => fleet.live[*victim].freeze(),
        }
        died.push(Stopwatch::start());
    }
    let mut seen = vec![None; victims.len()];
    let elsewhere: Mutex<Option<Duration>> = Mutex::default();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        if gives_work {
            scope.spawn(|| {
                // Each by a client of its own: one that waits for an answer holds up no other.
                while !over.load(Ordering::SeqCst) {
                    scope.spawn(|| {
                        if monitor.work().is_some_and(|taker| !victims.contains(&taker)) {
                            let after = died[0].elapsed();
                            let mut first = elsewhere.lock().expect("nobody panics with it");
                            *first = Some(first.map_or(after, |first| first.min(after)));
                        }
                    });
                    wait::holds_for("between two pieces of work", WORK, || true);
                }
            });
        }
        let ends = Ends(&over);
        wait::until_ok(&format!("{} sees that they are {death}", monitor.name()), LIMIT, || {
            for ((seen, victim), died) in seen.iter_mut().zip(&victims).zip(&died) {
                if seen.is_none() && !monitor.is_up(*victim) {
                    *seen = Some(died.elapsed());
                }
            }
            let is_taken = !gives_work || elsewhere.lock().expect("nobody panics with it").is_some();
            if is_taken && seen.iter().all(Option::is_some) { Ok(()) } else { Err(format!("{seen:?}")) }
        });
        drop(ends);
        for victim in &victims {
            match death {
                Death::Killed => fleet.live[*victim].revive(),
                Death::Frozen => fleet.live[*victim].thaw(),
            }
        }
    });
    let deaths = Deaths {
        seen: seen.into_iter().flatten().collect(),
        elsewhere: *elsewhere.lock().expect("nobody panics with it"),
    };
    println!("{}: {death}: seen after {}; work elsewhere after: {}", monitor.name(), deaths.seen(), deaths.elsewhere());
    wait::until(&format!("{} sees that they live", monitor.name()), LIMIT, || monitor.up() == fleet.live.len());
    deaths
}
