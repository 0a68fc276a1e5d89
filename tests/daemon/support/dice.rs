//! Chance that can be repeated.

/// A small generator. It prints the seed that repeats it.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The seed is `GATEWARDEN_TEST_SEED`, else a random one; it is printed.
    pub(crate) fn cast() -> Self {
        Self::cast_from(getrandom::u64().expect("the system has randomness"))
    }

    /// The same, with this seed where the environment has none.
    pub(crate) fn cast_from(seed: u64) -> Self {
        let seed = std::env::var("GATEWARDEN_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(seed);
        println!("GATEWARDEN_TEST_SEED={seed}");
        Self::of(seed)
    }

    /// Another one for a thread of its own, which draws nothing from this one.
    pub(crate) fn other(&self, number: u64) -> Self {
        Self(self.0 ^ (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Those of this seed.
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.roll(100) < chance
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.roll(from.len() as u64)).expect("small")]
    }
}
