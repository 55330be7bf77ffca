//! A generator of numbers (SplitMix64, Steele, Lea and Flood 2014), small enough to stay the same for ever.

use std::time::{SystemTime, UNIX_EPOCH};

/// A sequence that its seed determines.
#[derive(Debug, Clone)]
pub struct Random(u64);

/// The seed of this run: from TAILWATER_TEST_SEED, else from the clock. Printed, so that a failure can be replayed.
pub fn seed(test: &str) -> u64 {
    let given = std::env::var("TAILWATER_TEST_SEED").ok().map(|s| s.parse().expect("TAILWATER_TEST_SEED is a number"));
    let seed = given.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_micros() as u64 % 1_000_000_000
    });
    println!("{test}: TAILWATER_TEST_SEED={seed}");
    seed
}

impl Random {
    /// The sequence number `stream` of this seed.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed ^ stream.wrapping_mul(0xA076_1D64_78BD_642F));
        random.next();
        random
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number under `n`; 0 when there is none.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// A number from `from` up to and including `to`.
    pub fn between(&mut self, from: i64, to: i64) -> i64 {
        from + (self.next() % (to - from + 1) as u64) as i64
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}
