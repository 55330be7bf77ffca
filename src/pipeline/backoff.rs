//! How long to wait before the next attempt.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The first pause: an election or a restart often takes no longer.
const FIRST: Duration = Duration::from_millis(200);

/// The longest pause: an operator who mends something should not wait for us.
const LONGEST: Duration = Duration::from_secs(15);

/// An attempt that lasted so long has worked; the next failure starts from the first pause.
const WORKED: Duration = Duration::from_secs(30);

/// Doubling pauses up to a cap, with jitter so that many daemons do not come back in step.
#[derive(Debug)]
pub struct Backoff {
    pause: Duration,
}

impl Backoff {
    /// Starts from the first pause.
    #[must_use]
    pub fn new() -> Self {
        Self { pause: FIRST }
    }

    /// The pause after an attempt that lasted so long.
    pub fn next(&mut self, lasted: Duration) -> Duration {
        if lasted >= WORKED {
            self.pause = FIRST;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST);
        jittered(pause, clock_noise())
    }
}

/// Between three quarters of a pause and all of it; `noise` is any number.
fn jittered(pause: Duration, noise: u32) -> Duration {
    pause - pause / 4 * (noise % 1000) / 1000
}

/// The clock's last digits are random enough to keep daemons apart.
fn clock_noise() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos() / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_start_again_after_work() {
        let mut backoff = Backoff::new();
        let pauses: Vec<Duration> = (0..10).map(|_| backoff.next(Duration::ZERO)).collect();
        assert!(pauses[0] <= FIRST && pauses[0] >= FIRST * 3 / 4);
        assert!(pauses[9] <= LONGEST && pauses[9] >= LONGEST * 3 / 4);
        assert!(backoff.next(WORKED) <= FIRST);
    }

    #[test]
    fn jitter_stays_within_a_quarter() {
        for noise in [0, 1, 499, 999, u32::MAX] {
            let pause = jittered(Duration::from_secs(4), noise);
            assert!((3.0..=4.0).contains(&pause.as_secs_f64()), "{pause:?}");
        }
    }
}
