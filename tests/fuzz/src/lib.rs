//! What the project's fuzz tests share.
//!
//! A fuzz test runs a few rounds with the seeds it was written with, among all other tests. With
//! `VGPU_FUZZ_SECONDS` set, as by `scripts/fuzz`, it goes on for that long with other seeds, and says how
//! many rounds that were.

use std::time::{Duration, Instant};

const SECONDS: &str = "VGPU_FUZZ_SECONDS";
const SEED: &str = "VGPU_FUZZ_SEED";

/// A small generator (xorshift64), so that failures repeat.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator with the seed of the test, or in a long run one of the run's own.
    pub fn new(seed: u64) -> Random {
        let own = std::env::var(SEED).ok().and_then(|text| text.parse::<u64>().ok());
        // Zero would stay zero.
        Random((seed ^ own.unwrap_or(0).wrapping_mul(0x9e37_79b9_7f4a_7c15)).max(1))
    }

    /// Any number.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number from 0 to `bound - 1`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or(0)
    }

    /// A number at which length and range checks go wrong, or any.
    pub fn edge(&mut self) -> u64 {
        const EDGES: [u64; 10] = [0, 1, 7, 8, 4096, 1 << 20, u32::MAX as u64, 1 << 47, u64::MAX - 7, u64::MAX];
        match self.below(2) {
            0 => self.next(),
            _ => EDGES[self.below(EDGES.len())],
        }
    }

    /// Any bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// Numbers of rounds from 0, until it is enough. `few` rounds without a long run.
pub fn rounds(name: &'static str, few: u64) -> impl Iterator<Item = u64> {
    let long = std::env::var(SECONDS).ok().and_then(|text| text.parse().ok()).map(Duration::from_secs_f64);
    Rounds { name, few, until: long.map(|time| Instant::now() + time), next: 0 }
}

struct Rounds {
    name: &'static str,
    few: u64,
    until: Option<Instant>,
    next: u64,
}

impl Iterator for Rounds {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let go_on = match self.until {
            // Looking at the clock costs as much as many a round.
            Some(until) => !self.next.is_multiple_of(64) || Instant::now() < until,
            None => self.next < self.few,
        };
        if !go_on {
            if self.until.is_some() {
                println!("FUZZ {} {} rounds", self.name, self.next);
            }
            return None;
        }
        self.next += 1;
        Some(self.next - 1)
    }
}
