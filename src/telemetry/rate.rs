//! How fast a total grows, over the last seconds.
//!
//! Time is a `Duration` since the start of the process and comes in as an argument, so that this stays a pure function.

use std::collections::VecDeque;
use std::time::Duration;

/// How far back a rate looks: long enough that batches of seconds do not make it jump.
const WINDOW: Duration = Duration::from_secs(15);
/// The least distance of two samples.
const SPACING: Duration = Duration::from_secs(1);
/// Samples kept: the window, and one before it.
const SAMPLES: usize = 17;

/// The recent past of a total.
#[derive(Debug, Clone)]
pub(super) struct Rate(VecDeque<(Duration, u64)>);

impl Rate {
    /// A rate that starts counting at `total`.
    pub fn new(now: Duration, total: u64) -> Self {
        Self(VecDeque::from([(now, total)]))
    }

    /// Remembers that the total was `total` at `now`.
    pub fn observe(&mut self, now: Duration, total: u64) {
        if self.0.back().is_some_and(|(at, _)| now.saturating_sub(*at) < SPACING) {
            return;
        }
        if self.0.len() == SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back((now, total));
    }

    /// Growth per second up to `now`; `None` while there is too little past to tell.
    pub fn per_second(&self, now: Duration, total: u64) -> Option<f64> {
        let edge = now.saturating_sub(WINDOW);
        let (at, before) = self.0.iter().rev().find(|(at, _)| *at <= edge).or_else(|| self.0.front())?;
        let elapsed = now.saturating_sub(*at);
        (elapsed >= SPACING).then(|| float(total.saturating_sub(*before)) / elapsed.as_secs_f64())
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
    fn floats_are_exact() {
        assert_eq!(float(0), 0.0);
        assert_eq!(float(4_294_967_297), 4_294_967_297.0);
        assert_eq!(float((1 << 53) - 1), 9_007_199_254_740_991.0);
    }
}
