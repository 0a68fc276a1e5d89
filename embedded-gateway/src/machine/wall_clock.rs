//! The wall clock: compared with the machine's uptime, so that no transcript is deleted because somebody set it.

use std::time::Duration;

use gatewarden_protocol::steady_time::SteadyTime;

use super::GatewayMachine;
use crate::clock::Now;
use crate::effect::{FileChange, LogLevel};
use crate::loading::CLOCK_FILE;
use crate::turn::Turn;

const WRITE_EVERY: Duration = Duration::from_secs(600);

/// What the gateway knows of the wall clock.
#[derive(Debug)]
pub(super) struct WallClock {
    steady: SteadyTime,
    written: Option<Now>,
}

impl WallClock {
    /// Goes on from what a former life of the gateway wrote.
    pub(super) fn resume(stored: Option<&str>, boot: &str, turn: &mut Turn<'_>) -> Self {
        let (steady, jump) = SteadyTime::resume(stored, boot.trim(), false, turn.now.reading());
        if let Some(by_ms) = jump {
            say(by_ms, turn);
        }
        Self { steady, written: None }
    }

    /// The wall time by which to judge what is kept for `kept`.
    pub(super) fn judged_ms(&self, now: Now, kept: Duration) -> i64 {
        self.steady.judged_ms(now.reading(), kept)
    }

    pub(super) fn as_file(&self) -> FileChange {
        FileChange::Replace { file: CLOCK_FILE.into(), text: self.steady.stored() }
    }
}

impl GatewayMachine {
    pub(super) fn look_at_clocks(&mut self, turn: &mut Turn<'_>) {
        let clock = &mut self.wall_clock;
        let jump = clock.steady.look(turn.now.reading());
        if let Some(by_ms) = jump {
            say(by_ms, turn);
        }
        let is_due =
            clock.written.is_none_or(|written| turn.now.at.saturating_duration_since(written.at) >= WRITE_EVERY);
        if jump.is_some() || is_due {
            clock.written = Some(turn.now);
            turn.write(clock.as_file());
        }
    }
}

fn say(by_ms: i64, turn: &mut Turn<'_>) {
    let by_s = by_ms / 1_000;
    turn.log(
        LogLevel::Warn,
        "sessions",
        None,
        format!("the wall clock jumped by {by_s} s; nothing is deleted for it: ages are judged by time that has really passed"),
    );
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::CountingChance;
    use crate::effect::Effect;
    use crate::loading::Loaded;
    use crate::sessions::{Opening, SessionKey};
    use crate::tests::fixture::config;

    const DAY: i64 = 86_400_000;

    struct World {
        machine: GatewayMachine,
        chance: CountingChance,
        now: Now,
    }

    impl World {
        fn new(now: Now, adjust: impl FnOnce(&mut Loaded)) -> (Self, Vec<Effect>) {
            let config = Arc::new(config());
            let mut loaded = Loaded::nothing(&config);
            adjust(&mut loaded);
            let mut chance = CountingChance::default();
            let mut turn = Turn::new(now, &mut chance);
            let machine = GatewayMachine::new(config, loaded, &mut turn);
            let effects = turn.into_effects();
            (Self { machine, chance, now }, effects)
        }

        fn upkeep(&mut self) -> Vec<Effect> {
            let mut turn = Turn::new(self.now, &mut self.chance);
            self.machine.upkeep(&mut turn);
            turn.into_effects()
        }

        fn open(&mut self) {
            let mut turn = Turn::new(self.now, &mut self.chance);
            let GatewayMachine { sessions, subscribers, .. } = &mut self.machine;
            let key = SessionKey::of("main", "a");
            assert!(sessions.open(&key, Opening::default(), subscribers, &mut turn).is_ok());
        }

        /// A day of minutes would take long; what matters is how much time has passed.
        fn pass_day(&mut self) -> usize {
            (self.now.wall_ms, self.now.uptime_ms) = (self.now.wall_ms + DAY, self.now.uptime_ms + DAY);
            self.upkeep();
            self.machine.sessions.len()
        }
    }

    fn said(effects: &[Effect]) -> usize {
        let jumped =
            |effect: &&Effect| matches!(effect, Effect::Log(line) if line.message.contains("the wall clock jumped"));
        effects.iter().filter(jumped).count()
    }

    #[test]
    fn no_session_is_pruned_for_a_jump_of_the_clock_and_all_are_in_the_end() {
        let (mut world, _) = World::new(Now::read(), |_| {});
        world.open();
        assert_eq!(said(&world.upkeep()), 0);
        world.now.wall_ms += 40 * DAY;
        assert_eq!(said(&world.upkeep()), 1);
        assert_eq!(said(&world.upkeep()), 0, "once");
        assert_eq!(world.machine.sessions.len(), 1);
        let age = world.machine.sessions.age().as_secs() / 86_400;
        for _ in 0..age - 1 {
            assert_eq!(world.pass_day(), 1);
        }
        world.pass_day();
        assert_eq!(world.pass_day(), 0);
    }

    #[test]
    fn a_jump_while_the_gateway_was_down_is_known_from_its_file() {
        let (mut world, _) = World::new(Now::read(), |_| {});
        world.open();
        let effects = world.upkeep();
        let text = effects.iter().find_map(|effect| match effect {
            Effect::Write(FileChange::Replace { file, text }) if file.as_os_str() == CLOCK_FILE => Some(text.clone()),
            _ => None,
        });
        let text = text.unwrap();
        let later = Now { wall_ms: world.now.wall_ms + 40 * DAY, ..world.now };
        let (mut again, effects) = World::new(later, |loaded| {
            loaded.steady_time = Some(text);
            loaded.sessions = world.machine.sessions;
        });
        assert_eq!(said(&effects), 1);
        again.upkeep();
        assert_eq!(again.machine.sessions.len(), 1);
    }
}
