//! Awaiting a condition with a deadline: the one place of the tests where time passes.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(10);

/// Long enough for a loaded machine; a test that fails takes this long, one that passes does not.
pub const LONG: Duration = Duration::from_secs(60);

/// Polls until `check` returns something, or panics after `deadline` with what was awaited and `state`.
pub async fn until<T, F, Fut>(what: impl Display, deadline: Duration, state: impl Fn() -> String, mut check: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}\n{}", state());
        tokio::time::sleep(POLL).await;
    }
}

/// Polls until `check` is true; false after `deadline`.
pub fn blocking(deadline: Duration, mut check: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if check() {
            return true;
        }
        if start.elapsed() >= deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

/// Lets time pass where that is the act itself (a kill at a random moment), never to hope for an effect.
pub async fn moment(length: Duration) {
    tokio::time::sleep(length).await;
}
