//! Everything that MongoDB takes arrives: random documents and operations from a printed seed, compared by the
//! independent decoder.
//!
//! A round has a seed of its own, which makes its pipeline, its collections and its operations. The tests run the same few
//! rounds; `scripts/property` runs them for as long as you like. TAILWATER_TEST_SEED replays a round that failed.
//!
//! - `values`, `ids`, `names`: scalars of every type, `_id`s, names
//! - `shapes`: what the documents of a collection have in common
//! - `places`, `updates`: updates that fit a document as it is
//! - `world`, `operations`, `ddl`: what is done to the databases
//! - `extremes`: large and deep documents
//! - `round`: one round

mod ddl;
mod extremes;
pub mod ids;
mod names;
mod operations;
mod places;
mod round;
mod shapes;
mod updates;
pub mod values;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::workload::random::seed;

/// Rounds of a test run, and the seed of the first: always the same, so that a run says something about the change that it
/// tests. `scripts/property` looks for what nobody has seen.
const ROUNDS: u64 = 12;
const FIXED_SEED: u64 = 20_261_127;

/// Rounds at a time.
const WORKERS: u64 = 3;

/// A number of a round that no budget allows, and that the other workers may count on from.
const NO_MORE: u64 = u64::MAX / 2;

/// When it is enough: after so many rounds, or after so long.
#[derive(Debug, Clone, Copy)]
struct Budget {
    rounds: u64,
    until: Option<Instant>,
}

impl Budget {
    /// From TAILWATER_TEST_ROUNDS or TAILWATER_TEST_MINUTES, which `scripts/property` sets.
    fn of_this_run() -> Self {
        let number = |name| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("a number"));
        match (number("TAILWATER_TEST_ROUNDS"), number("TAILWATER_TEST_MINUTES")) {
            (Some(rounds), _) => Self { rounds, until: None },
            (None, Some(minutes)) => {
                Self { rounds: NO_MORE, until: Some(Instant::now() + Duration::from_secs(minutes * 60)) }
            }
            (None, None) => Self { rounds: ROUNDS, until: None },
        }
    }

    /// Unless a seed, rounds or minutes are asked for.
    fn is_fixed(&self) -> bool {
        self.rounds == ROUNDS && self.until.is_none() && std::env::var_os("TAILWATER_TEST_SEED").is_none()
    }

    fn allows(&self, round: u64) -> bool {
        round < self.rounds && self.until.is_none_or(|until| Instant::now() < until)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_documents_and_any_operations_arrive() {
    let budget = Budget::of_this_run();
    let seed = if budget.is_fixed() { FIXED_SEED } else { seed("property") };
    let next = Arc::new(AtomicU64::new(0));
    let worker = || {
        let next = Arc::clone(&next);
        tokio::spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::SeqCst);
                if !budget.allows(n) {
                    return;
                }
                match round::round(seed + n).await {
                    Ok(outcome) => println!("{outcome}"),
                    Err(failure) => {
                        next.store(NO_MORE, Ordering::SeqCst);
                        panic!("{failure}");
                    }
                }
            }
        })
    };
    let workers: Vec<_> = (0..WORKERS.min(budget.rounds)).map(|_| worker()).collect();
    for worker in workers {
        assert!(worker.await.is_ok(), "a round ends with a difference, see above");
    }
}
