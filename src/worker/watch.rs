//! Notices a host's driver that does not come back from a call. Calls that wait for the GPU are made by
//! waiters and may take as long as they like; the dispatcher's calls only send work.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where the dispatcher is, as it says itself.
#[derive(Debug, Default)]
pub struct Progress(AtomicU64);

impl Progress {
    /// Something begins that should not take long.
    pub fn step(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(2) | 1, Ordering::Relaxed);
    }

    /// Nothing is being done.
    pub fn rest(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) & !1, Ordering::Relaxed);
    }
}

/// Looks at the progress again and again. Time is counted in looks, so that a process that was frozen in
/// between does not seem to hang.
#[derive(Debug)]
pub struct Watch {
    patience: u64,
    last: u64,
    looks: u64,
}

impl Watch {
    /// For looks that are `pause` apart; a step may take as long as `patience`.
    pub fn new(patience: Duration, pause: Duration) -> Watch {
        let looks = patience.as_nanos().div_ceil(pause.as_nanos().max(1)).max(1);
        Watch { patience: u64::try_from(looks).unwrap_or(u64::MAX), last: 0, looks: 0 }
    }

    /// Whether a step has begun and does not end.
    pub fn hangs(&mut self, progress: &Progress) -> bool {
        let now = progress.0.load(Ordering::Relaxed);
        if now != self.last || now & 1 == 0 {
            (self.last, self.looks) = (now, 0);
            return false;
        }
        self.looks += 1;
        self.looks >= self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_only_a_step_that_does_not_end_hangs() {
        let progress = Progress::default();
        let mut watch = Watch::new(Duration::from_millis(250), Duration::from_millis(100));
        let mut looks = |progress: &Progress, count: usize| (0..count).any(|_| watch.hangs(progress));
        assert!(!looks(&progress, 10), "nothing has begun");
        progress.step();
        assert!(!looks(&progress, 3));
        progress.step();
        assert!(!looks(&progress, 3), "another step");
        progress.rest();
        assert!(!looks(&progress, 10), "at rest");
        progress.step();
        assert!(!looks(&progress, 3));
        assert!(looks(&progress, 1));
    }
}
