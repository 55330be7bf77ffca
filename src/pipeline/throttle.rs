//! Keeps the snapshot's reading to so many bytes per second, all its readers together.
//!
//! In: the bytes of each batch, after it was read. Out: nothing, once they are paid. A batch is larger than what may be read
//! in a moment, so it is taken on credit, and the debt is paid before the next one is read. Who reads first pays first, so
//! that readers take turns. A pause is good for one second's worth of bytes and no more.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most that a pause is good for.
const BURST: Duration = Duration::from_secs(1);

/// See the module. Clones share one account.
#[derive(Debug, Clone, Default)]
pub struct Throttle(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    beginning: Instant,
    account: Mutex<Account>,
}

impl Throttle {
    /// A throttle to so many bytes per second; none, and zero, is no limit.
    #[must_use]
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        let rate = bytes_per_second.and_then(NonZeroU64::new);
        let shared = |rate| Shared { beginning: Instant::now(), account: Mutex::new(Account::new(rate)) };
        Self(rate.map(|rate| Arc::new(shared(rate))))
    }

    /// Returns when these bytes, which are read, and those of everyone who came before are paid. Whoever stops waiting
    /// leaves the debt to the others: the bytes are read all the same.
    pub async fn spend(&self, bytes: usize) {
        let Some(shared) = &self.0 else { return };
        let now = shared.beginning.elapsed();
        let paid = shared.account.lock().unwrap_or_else(PoisonError::into_inner).spend(now, bytes);
        tokio::time::sleep(paid.saturating_sub(now)).await;
    }
}

/// The arithmetic. Time comes in, as what has passed since the beginning.
#[derive(Debug)]
struct Account {
    bytes_per_second: NonZeroU64,
    /// Everything that was read is paid by then.
    paid: Duration,
}

impl Account {
    fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, paid: Duration::ZERO }
    }

    /// Puts bytes on the bill; gives the time by which it is paid, which may be in the past.
    fn spend(&mut self, now: Duration, bytes: usize) -> Duration {
        const NANOSECONDS: u128 = 1_000_000_000;
        let bytes = u128::try_from(bytes).unwrap_or(u128::MAX);
        let cost = bytes.saturating_mul(NANOSECONDS).div_ceil(u128::from(self.bytes_per_second.get()));
        let cost = Duration::from_nanos(u64::try_from(cost).unwrap_or(u64::MAX));
        self.paid = self.paid.max(now.saturating_sub(BURST)).saturating_add(cost);
        self.paid
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::num::NonZeroU64;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::{Account, Throttle};

    const MB: usize = 1_000_000;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn a_megabyte_a_second() -> Account {
        Account::new(NonZeroU64::new(1_000_000).expect("not zero"))
    }

    #[test]
    fn a_batch_is_paid_before_the_next_is_read() {
        let mut account = a_megabyte_a_second();
        assert_eq!(account.spend(at(0.0), 16 * MB), at(16.0));
        assert_eq!(account.spend(at(16.0), MB / 2), at(16.5));
    }

    #[test]
    fn who_comes_later_pays_later() {
        let mut account = a_megabyte_a_second();
        assert_eq!(account.spend(at(0.0), 4 * MB), at(4.0));
        assert_eq!(account.spend(at(1.0), 2 * MB), at(6.0));
        assert_eq!(account.spend(at(1.0), MB), at(7.0));
    }

    #[test]
    fn a_pause_is_good_for_one_second() {
        let mut account = a_megabyte_a_second();
        account.spend(at(0.0), MB);
        assert_eq!(account.spend(at(1.5), MB / 4), at(1.25), "half a second was saved");
        assert_eq!(account.spend(at(1000.0), MB), at(1000.0), "a second is free");
        assert_eq!(account.spend(at(1000.0), MB), at(1001.0), "the next is not");
    }

    #[test]
    fn small_pieces_cost_no_less_than_large_ones() {
        let mut account = Account::new(NonZeroU64::new(7_000_000_000).expect("not zero"));
        let paid = (0..7_000_000).map(|_| account.spend(Duration::ZERO, 1)).last().expect("some");
        assert!(paid >= Duration::from_millis(1), "{paid:?}");
    }

    #[test]
    fn the_largest_bill_is_a_long_wait() {
        let mut account = Account::new(NonZeroU64::MIN);
        let once = account.spend(Duration::ZERO, usize::MAX);
        assert!(account.spend(Duration::ZERO, usize::MAX) > once);
    }

    /// Four readers of batches of different sizes, each reading as soon as it may, on a clock that jumps.
    #[test]
    fn all_readers_together_keep_to_the_rate_and_take_turns() {
        let mut account = a_megabyte_a_second();
        let batches = [MB, 2 * MB, 4 * MB, 16 * MB];
        let (mut next, mut turns, mut read) = ([Duration::ZERO; 4], [0_u32; 4], 0);
        loop {
            let (reader, now) = next.iter().copied().enumerate().min_by_key(|(_, at)| *at).expect("four");
            if now > at(2300.0) {
                break;
            }
            read += batches[reader];
            turns[reader] += 1;
            next[reader] = account.spend(now, batches[reader]);
            // What is read at any time is paid but for one batch of each reader.
            let paid = (now.as_secs_f64() + 1.0) * 1e6;
            assert!(read as f64 <= paid + 23e6, "{read} bytes at {now:?}");
        }
        assert!(read as f64 > 2290e6, "{read} bytes, the rate is made use of");
        assert!(turns.iter().all(|turns| (99..=101).contains(turns)), "{turns:?}");
    }

    fn is_done(spending: impl Future<Output = ()>) -> bool {
        pin!(spending).poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[tokio::test]
    async fn clones_share_a_debt_and_who_gives_up_leaves_it() {
        let throttle = Throttle::new(Some(1_000_000));
        assert!(!is_done(throttle.clone().spend(3600 * MB)), "polled once and dropped");
        assert!(!is_done(throttle.spend(0)), "nothing is read before an hour has passed");
    }

    #[tokio::test]
    async fn without_a_limit_nobody_waits() {
        assert!(is_done(Throttle::new(None).spend(usize::MAX)));
        assert!(is_done(Throttle::default().spend(usize::MAX)));
    }
}
