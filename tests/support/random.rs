//! Random numbers that a seed determines.

use uuid::Uuid;

/// A linear congruential generator (Knuth, MMIX), so that a failure can be reproduced from its seed.
pub struct Random(pub u64);

impl Random {
    /// A generator with a new seed, which it prints.
    pub fn seeded() -> Self {
        let seed = u64::from(Uuid::new_v4().as_fields().0);
        eprintln!("seed {seed}");
        Self(seed)
    }

    /// A number from 0 to `n` - 1.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}
