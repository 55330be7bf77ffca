//! How fast a total grows, over the last seconds.
//!
//! Time is a `Duration` since the start of the process and comes in as an argument, so that this stays a pure function.

use std::collections::VecDeque;
use std::time::Duration;

/// How far back a rate looks: long enough that batches of seconds do not make it jump.
const WINDOW: Duration = Duration::from_secs(15);
/// The least distance of two samples: the window is full of them.
const SPACING: Duration = Duration::from_secs(1);
/// The same for what advances in large steps: a minute and more, however fast the steps come.
const STEP_SPACING: Duration = Duration::from_secs(5);
/// Samples kept: the window, and one before it.
const SAMPLES: usize = 17;
/// The shortest past that tells anything.
const LEAST: Duration = Duration::from_secs(1);

/// The recent past of a total.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    samples: VecDeque<(Duration, u64)>,
    spacing: Duration,
    window: Duration,
}

impl Rate {
    /// A rate that starts counting at `total`.
    pub fn new(now: Duration, total: u64) -> Self {
        Self { samples: VecDeque::from([(now, total)]), spacing: SPACING, window: WINDOW }
    }

    /// A rate of what advances in steps that may be minutes apart: it looks back over the last steps, however long they
    /// took, so that it neither reads zero between two of them nor jumps with each.
    pub fn of_steps(now: Duration, total: u64) -> Self {
        Self { samples: VecDeque::from([(now, total)]), spacing: STEP_SPACING, window: Duration::MAX }
    }

    /// Remembers that the total was `total` at `now`.
    pub fn observe(&mut self, now: Duration, total: u64) {
        if self.samples.back().is_some_and(|(at, _)| now.saturating_sub(*at) < self.spacing) {
            return;
        }
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now, total));
    }

    /// Growth per second up to `now`; `None` while there is too little past to tell.
    pub fn per_second(&self, now: Duration, total: u64) -> Option<f64> {
        let edge = now.saturating_sub(self.window);
        let (at, before) = self.samples.iter().rev().find(|(at, _)| *at <= edge).or_else(|| self.samples.front())?;
        let elapsed = now.saturating_sub(*at);
        (elapsed >= LEAST).then(|| float(total.saturating_sub(*before)) / elapsed.as_secs_f64())
    }
}

/// The nearest float; exact up to 2^53, far beyond what is counted here.
pub(super) fn float(n: u64) -> f64 {
    let half = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    half(n >> 32) * 4_294_967_296.0 + half(n & 0xFFFF_FFFF)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Rate, float};

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_steady_growth_is_its_rate() {
        let mut rate = Rate::new(at(0), 0);
        for second in 1..=100 {
            rate.observe(at(second), second * 50);
        }
        let found = rate.per_second(at(100), 5000).expect("rate");
        assert!((found - 50.0).abs() < 0.001, "{found}");
    }

    #[test]
    fn only_the_window_counts() {
        let mut rate = Rate::new(at(0), 0);
        rate.observe(at(10), 1_000_000);
        rate.observe(at(100), 1_000_000);
        assert_eq!(rate.per_second(at(101), 1_000_000), Some(0.0));
        assert_eq!(rate.per_second(at(600), 1_000_000), Some(0.0));
    }

    #[test]
    fn nothing_is_known_at_first() {
        let mut rate = Rate::new(at(5), 0);
        rate.observe(at(5), 1000);
        assert_eq!(rate.per_second(at(5), 1000), None);
        assert_eq!(rate.per_second(at(7), 1000), Some(500.0));
    }

    #[test]
    fn what_was_there_before_does_not_count() {
        assert_eq!(Rate::new(at(0), 900).per_second(at(10), 1000), Some(10.0));
    }

    #[test]
    fn steps_that_are_minutes_apart_have_a_rate_between_them() {
        let mut rate = Rate::of_steps(at(0), 0);
        for step in 1..=50 {
            rate.observe(at(step * 120), step * 240);
        }
        assert_eq!(rate.per_second(at(6000), 12_000), Some(2.0));
        let before_the_next = rate.per_second(at(6119), 12_000).expect("rate");
        assert!((1.8..2.0).contains(&before_the_next), "{before_the_next}");
        let stalled = rate.per_second(at(60_000), 12_000).expect("rate");
        assert!(stalled < 0.1, "it goes down while nothing comes: {stalled}");
    }

    #[test]
    fn many_small_steps_are_looked_at_for_a_minute_and_more() {
        let mut rate = Rate::of_steps(at(0), 0);
        for second in 1..=1000 {
            rate.observe(at(second), if second <= 900 { 0 } else { (second - 900) * 50 });
        }
        assert_eq!(rate.per_second(at(1000), 5000), Some(50.0), "what was a minute and a half ago is forgotten");
    }

    #[test]
    fn floats_are_exact() {
        assert_eq!(float(0), 0.0);
        assert_eq!(float(4_294_967_297), 4_294_967_297.0);
        assert_eq!(float((1 << 53) - 1), 9_007_199_254_740_991.0);
    }
}
