//! Chance: one seed is one history.

use std::time::Duration;

pub(crate) struct Dice(u64);

impl Dice {
    /// The seed is mixed first: what is drawn steps through the same numbers from wherever it begins.
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Self(seed);
        dice.0 = dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below `sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.next() % sides
    }

    pub(crate) fn happens(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }

    pub(crate) fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[usize::try_from(self.roll(items.len() as u64)).unwrap()]
    }

    /// From 0 to below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        self.roll(1 << 20) as f64 / f64::from(1 << 20)
    }

    pub(crate) fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.roll(to - from + 1))
    }

    pub(crate) fn s(&mut self, from: u64, to: u64) -> Duration {
        self.ms(from * 1_000, to * 1_000)
    }
}

#[test]
fn neighbouring_seeds_share_no_numbers() {
    let draw = |seed| {
        let mut dice = Dice::new(seed);
        (0..10_000).map(|_| dice.next()).collect::<std::collections::BTreeSet<u64>>()
    };
    for seed in 0..9 {
        assert!(draw(seed).is_disjoint(&draw(seed + 1)), "{seed}");
    }
}
