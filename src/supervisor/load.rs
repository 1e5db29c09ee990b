//! How busy the software GPU is: processor time of the workers over the time between two looks.

use std::time::{Duration, Instant};

/// Looks closer together than this give the figure of the one before.
const SHORTEST: Duration = Duration::from_millis(200);

/// Turns growing processor times into percent.
#[derive(Debug, Default)]
pub struct Meter {
    last: Option<(Instant, Duration)>,
    percent: u32,
}

impl Meter {
    /// Percent of `cores` in use since the last look; `total` is the workers' processor time.
    pub fn look(&mut self, now: Instant, total: Duration, cores: usize) -> u32 {
        let Some((then, before)) = self.last else {
            self.last = Some((now, total));
            return 0;
        };
        let elapsed = now.saturating_duration_since(then);
        if elapsed >= SHORTEST {
            // A worker that has ended takes its time along.
            let used = total.saturating_sub(before).as_micros() * 100;
            let whole = elapsed.as_micros() * cores.max(1) as u128;
            self.percent = u32::try_from(used / whole).unwrap_or(100).min(100);
            self.last = Some((now, total));
        }
        self.percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_percent_of_all_cores() {
        let mut meter = Meter::default();
        let start = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(meter.look(start, second, 2), 0);
        assert_eq!(meter.look(start + second, 2 * second, 2), 50);
        assert_eq!(meter.look(start + second, 9 * second, 2), 50, "too close together");
        assert_eq!(meter.look(start + 2 * second, Duration::ZERO, 2), 0, "workers have ended");
        assert_eq!(meter.look(start + 3 * second, 9 * second, 2), 100);
    }
}
