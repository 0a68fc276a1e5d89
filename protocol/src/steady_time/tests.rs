use proptest::prelude::*;

use super::*;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const START: i64 = 1_790_000_000_000;

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

/// A machine with a wall clock that can be set.
struct Machine {
    time: SteadyTime,
    now: Reading,
    boots: u32,
}

impl Machine {
    fn new() -> Self {
        let now = Reading { wall_ms: START, uptime_ms: HOUR };
        Self { time: SteadyTime::new("boot", now), now, boots: 0 }
    }

    fn run(&mut self, ms: i64) -> Option<i64> {
        self.now.wall_ms += ms;
        self.now.uptime_ms += ms;
        self.time.look(self.now)
    }

    fn run_days(&mut self, days: i64) {
        for _ in 0..days * 24 {
            assert_eq!(self.run(HOUR), None);
        }
    }

    fn jump(&mut self, ms: i64) -> Option<i64> {
        self.now.wall_ms += ms;
        self.time.look(self.now)
    }

    fn judged(&self, kept: Duration) -> i64 {
        self.time.judged_ms(self.now, kept)
    }

    /// Off for a while: another boot, and its first look after a minute.
    fn reboot(&mut self, off_ms: i64) -> Option<i64> {
        self.now = Reading { wall_ms: self.now.wall_ms + off_ms + MINUTE, uptime_ms: MINUTE };
        self.boots += 1;
        let boot = format!("boot {}", self.boots);
        let (time, jump) = SteadyTime::resume(Some(&self.time.stored()), &boot, false, self.now);
        self.time = time;
        jump
    }
}

#[test]
fn a_clock_that_keeps_time_is_believed() {
    let mut machine = Machine::new();
    machine.run_days(400);
    assert_eq!(machine.judged(days(90)), machine.now.wall_ms);
    assert_eq!(machine.time.reached_ms(), machine.now.wall_ms);
}

#[test]
fn a_time_in_which_nobody_looked_is_known_over_restarts_and_a_jump_of_the_clock_is_none() {
    let mut machine = Machine::new();
    let look = |machine: &mut Machine, passed: i64, jumped: i64| {
        machine.now.uptime_ms += passed;
        machine.now.wall_ms += passed + jumped;
        machine.time.look_again(machine.now, 2_000);
        machine.time.gaps().map(|gap| (gap.to_ms - gap.from_ms, gap.reason)).collect::<Vec<_>>()
    };
    assert_eq!(look(&mut machine, 6_900, HOUR), [], "a busy moment");
    let frozen = (HOUR, GapReason::Frozen);
    assert_eq!(look(&mut machine, HOUR, 0), [frozen]);
    // Restarted within the same boot: what the wall clock did meanwhile says nothing.
    machine.now = Reading { wall_ms: machine.now.wall_ms + DAY, uptime_ms: machine.now.uptime_ms + MINUTE };
    machine.time = SteadyTime::resume(Some(&machine.time.stored()), "boot", false, machine.now).0;
    let stopped = (MINUTE, GapReason::Stopped);
    assert_eq!(look(&mut machine, 2_000, 0), [frozen, stopped]);
    // A restart that nobody notices is none.
    machine.now = Reading { wall_ms: machine.now.wall_ms + 4_000, uptime_ms: machine.now.uptime_ms + 4_000 };
    machine.time = SteadyTime::resume(Some(&machine.time.stored()), "boot", false, machine.now).0;
    machine.reboot(DAY);
    let gaps: Vec<Gap> = machine.time.gaps().collect();
    assert_eq!((gaps.len(), gaps[2].to_ms - gaps[2].from_ms), (3, DAY + MINUTE));
    assert_eq!(gaps[2].to_ms, machine.now.wall_ms);
    (0..600).for_each(|_| drop(look(&mut machine, MINUTE, 0)));
    assert_eq!(machine.time.gaps().count(), 256);
}

#[test]
fn a_jump_ahead_is_seen_once_and_waited_out_for_each_span() {
    let mut machine = Machine::new();
    assert_eq!(machine.jump(40 * DAY), Some(40 * DAY));
    assert_eq!(machine.run(MINUTE), None, "said once");
    assert_eq!(machine.judged(days(1)), machine.now.wall_ms - 40 * DAY);
    machine.run_days(1);
    assert_eq!(machine.judged(days(1)), machine.now.wall_ms, "whatever is of before is a day old now");
    assert_eq!(machine.judged(days(90)), machine.now.wall_ms - 40 * DAY);
    machine.run_days(89);
    assert_eq!(machine.judged(days(90)), machine.now.wall_ms);
}

#[test]
fn a_jump_that_nobody_looked_at_yet_counts_already() {
    let mut machine = Machine::new();
    machine.now.wall_ms += 40 * DAY;
    assert_eq!(machine.judged(days(30)), START);
    assert_eq!(machine.time.judged_ms(machine.now, days(30)), START, "and isn't taken for seen");
    assert_eq!(machine.time.look(machine.now), Some(40 * DAY));
}

#[test]
fn a_clock_that_is_put_right_is_believed_at_once() {
    let mut machine = Machine::new();
    machine.jump(40 * DAY);
    machine.run(75_000);
    assert_eq!(machine.jump(-40 * DAY), Some(-40 * DAY));
    assert_eq!(machine.judged(days(90)), machine.now.wall_ms);
}

#[test]
fn a_clock_that_falls_back_and_is_put_right_spares_what_was_written_meanwhile() {
    let mut machine = Machine::new();
    machine.jump(-40 * DAY);
    let written = machine.now.wall_ms;
    machine.jump(40 * DAY);
    assert!(written > machine.judged(days(30)) - 30 * DAY);
    machine.run_days(30);
    assert_eq!(machine.judged(days(30)), machine.now.wall_ms);
}

#[test]
fn corrections_and_slow_clocks_are_no_jumps_but_many_small_steps_are() {
    let mut machine = Machine::new();
    assert_eq!(machine.jump(TOLERANCE_MS), None);
    for _ in 0..100_000 {
        // 500 millionths fast.
        machine.now.wall_ms += MINUTE + 30;
        machine.now.uptime_ms += MINUTE;
        assert_eq!(machine.time.look(machine.now), None);
    }
    let mut machine = Machine::new();
    let seen: Vec<i64> = (0..60).filter_map(|_| machine.jump(MINUTE)).collect();
    assert_eq!(seen.iter().sum::<i64>(), 60 * MINUTE, "{seen:?}");
}

#[test]
fn a_restart_on_the_same_boot_knows_how_long_it_took() {
    let mut machine = Machine::new();
    machine.run_days(3);
    let stored = machine.time.stored();
    let later = Reading { wall_ms: machine.now.wall_ms + 30 * DAY, uptime_ms: machine.now.uptime_ms + 30 * DAY };
    let (time, jump) = SteadyTime::resume(Some(&stored), "boot", false, later);
    assert_eq!((jump, time.judged_ms(later, days(90))), (None, later.wall_ms));
    let ahead = Reading { wall_ms: later.wall_ms + 40 * DAY, ..later };
    let (time, jump) = SteadyTime::resume(Some(&stored), "boot", false, ahead);
    assert_eq!((jump, time.judged_ms(ahead, days(90))), (Some(40 * DAY), later.wall_ms));
}

#[test]
fn a_machine_that_was_off_waits_and_a_long_pause_is_worth_a_word() {
    let mut machine = Machine::new();
    assert_eq!(machine.reboot(8 * HOUR), None);
    assert_eq!(machine.judged(days(1)), machine.now.wall_ms - 8 * HOUR);
    machine.run_days(1);
    assert_eq!(machine.judged(days(1)), machine.now.wall_ms);
    assert_eq!(machine.reboot(31 * DAY), Some(31 * DAY));
    machine.run_days(30);
    assert_eq!(machine.judged(days(30)), machine.now.wall_ms, "it goes on by itself");
    assert_eq!(machine.reboot(-HOUR), Some(-HOUR), "no machine is off for less than nothing");
}

#[test]
fn what_another_machine_remembered_counts_without_the_own_uptime() {
    let stored = Machine::new().time.stored();
    let (away, up) = (6_000, 100 * DAY);
    let here = Reading { wall_ms: START + away, uptime_ms: up };
    let (time, jump) = SteadyTime::resume(Some(&stored), "boot of another", true, here);
    assert_eq!((jump, time.judged_ms(here, days(90))), (None, here.wall_ms));
    // One whose clock is ahead knows that from the other's.
    let ahead = Reading { wall_ms: here.wall_ms + 40 * DAY, ..here };
    let (time, jump) = SteadyTime::resume(Some(&stored), "boot of another", true, ahead);
    assert_eq!((jump, time.judged_ms(ahead, days(1))), (Some(40 * DAY + away), START));
    // On the same machine it is known what passed.
    let later = Reading { wall_ms: START + 3 * DAY, uptime_ms: HOUR + 3 * DAY };
    assert_eq!(SteadyTime::resume(Some(&stored), "boot", true, later).1, None);
}

#[test]
fn what_had_expired_stays_expired_after_a_jump_back() {
    let mut machine = Machine::new();
    machine.run_days(10);
    let expiry = machine.now.wall_ms - HOUR;
    machine.jump(-40 * DAY);
    assert!(machine.now.wall_ms < expiry && machine.time.reached_ms() >= expiry);
    machine.reboot(0);
    assert!(machine.time.reached_ms() >= expiry);
}

#[test]
fn a_false_time_is_not_reached_before_it_has_stood_for_a_week() {
    let mut machine = Machine::new();
    machine.jump(40 * DAY);
    machine.run_days(6);
    machine.jump(-40 * DAY);
    assert!(machine.time.reached_ms() <= machine.now.wall_ms + MINUTE);
    machine.jump(40 * DAY);
    machine.run_days(8);
    assert_eq!(machine.time.reached_ms(), machine.now.wall_ms);
}

#[test]
fn nonsense_and_nothing_are_a_first_look() {
    let now = Reading { wall_ms: START, uptime_ms: 5 };
    for stored in [None, Some(""), Some("{}"), Some("[1]"), Some("{\"boot\":\"b\"")] {
        assert_eq!(SteadyTime::resume(stored, "boot", false, now), (SteadyTime::new("boot", now), None));
    }
}

#[test]
fn only_so_many_jumps_are_remembered_and_so_deletions_resume_whatever_happens() {
    let mut machine = Machine::new();
    for _ in 0..1_000 {
        machine.run(8 * HOUR);
        machine.jump(16 * HOUR);
    }
    assert!(machine.time.stored().len() < 4_096);
    assert_eq!(machine.judged(days(3_650)), machine.now.wall_ms - 64 * 16 * HOUR);
}

proptest! {
    /// Against the true time: nothing is judged too old that isn't, whatever the clock did, restarts and reboots included.
    #[test]
    fn nothing_is_judged_old_before_its_time(
        steps in prop::collection::vec((0_i64..20 * DAY, -50 * DAY..50 * DAY, 0_u8..6), 1..40),
        kept_days in 1_u64..60,
    ) {
        let mut machine = Machine::new();
        let kept = days(kept_days);
        let kept_ms = i64::try_from(kept.as_millis()).unwrap();
        let mut truth = 0_i64;
        let mut written = Vec::new();
        for (runs, jumps, what) in steps {
            // Looks come often; what matters is what they see together.
            for _ in 0..4 {
                machine.run(runs / 4);
            }
            truth += runs / 4 * 4;
            written.push((truth, machine.now.wall_ms));
            match what {
                0 => drop(machine.jump(jumps)),
                1 => {
                    machine.reboot(jumps);
                    truth += MINUTE;
                }
                _ => {}
            }
            let oldest = machine.judged(kept) - kept_ms;
            let margin = 2 * TOLERANCE_MS + 2 * kept_ms / SLEW;
            for (at, stamp) in &written {
                prop_assert!(*stamp >= oldest || truth - at >= kept_ms - margin, "{} ms old", truth - at);
            }
        }
        // And once the clock keeps still for the span, it is believed.
        for _ in 0..kept_days {
            machine.run(DAY);
        }
        prop_assert_eq!(machine.judged(kept), machine.now.wall_ms);
    }

    #[test]
    fn odd_readings_break_nothing(readings in prop::collection::vec((any::<i64>(), any::<i64>()), 1..80)) {
        let mut time = SteadyTime::new("boot", Reading { wall_ms: 0, uptime_ms: 0 });
        let mut reached = i64::MIN;
        for (wall_ms, uptime_ms) in readings {
            let now = Reading { wall_ms, uptime_ms };
            time.look(now);
            time.judged_ms(now, Duration::MAX);
            prop_assert!(time.reached_ms() >= reached);
            reached = time.reached_ms();
            prop_assert_eq!(SteadyTime::resume(Some(&time.stored()), "boot", false, now).0, time.clone());
        }
    }
}
