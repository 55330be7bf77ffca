//! Wires the stages together, owns every task, and starts again from the committed position when something passes by.
//!
//! There is one way to recover: an attempt ends, everything it held in memory is dropped, and the next attempt reads
//! catalog and positions from PostgreSQL. So there is no state that could disagree with what is committed.

mod attempt;
mod backoff;
mod check;
mod collections;
mod coordinator;
mod memory;
mod plan;
mod prepare;
mod range;
mod replay;
mod retry;
mod snapshot;
mod stream;
mod switch;
mod text;
mod throttle;

use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::config::{Config, HistoryLost};
use crate::error::{Class, Error, Kind, Result};
use crate::model::state::State;
use crate::telemetry::Telemetry;

use attempt::{Attempt, Servers};
use backoff::Backoff;
pub use check::preflight;
pub use plan::{CollectionPlan, plan};
pub use replay::replay;
pub use text::run_to_text;

/// When `run` ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunMode {
    /// Never.
    Follow,
    /// Once everything up to the source's operation time at start is committed.
    UntilCaughtUp,
}

/// Runs until stopped.
///
/// # Errors
/// What stopped it: anything that is wrong before the first write, and later what does not pass by itself.
pub async fn run(config: Config, telemetry: Telemetry, mode: RunMode, shutdown: CancellationToken) -> Result<()> {
    // What is wrong at start is said at once instead of retried: a wrong address looks like a server that is down.
    let mut servers = tokio::select! {
        servers = Servers::connect(&config, None) => Some(servers?),
        () = shutdown.cancelled() => return Ok(()),
    };
    let mut backoff = Backoff::new();
    let mut anew = false;
    let mut exact = true;
    let mut refused = None;
    loop {
        let started = Instant::now();
        let (telemetry, shutdown, without_oplog) = (&telemetry, &shutdown, refused.as_ref());
        let attempt = Attempt { config: &config, telemetry, mode, shutdown, anew, exact, without_oplog };
        let Err(error) = attempt.run(servers.take()).await else { return Ok(()) };
        if shutdown.is_cancelled() && error.class() == Class::Transient {
            return Ok(()); // nothing is lost: the next start goes on from the committed position
        }
        if error.kind() == Kind::Again {
            tracing::info!(stage = error.stage().name(), "{error}");
            continue;
        }
        if error.kind() == Kind::NotExact {
            // Everything is written again from the committed position, with whatever is there in mind.
            tracing::warn!(stage = error.stage().name(), "{error}; going on without counting on their absence");
            exact = false;
            continue;
        }
        if error.kind() == Kind::OtherReader {
            refused = Some(switch::refused(&error));
            continue;
        }
        anew = error.kind() == Kind::HistoryLost && config.history_lost == HistoryLost::Resnapshot;
        if error.class() != Class::Transient && !anew {
            return Err(error);
        }
        let pause = backoff.next(started.elapsed());
        retrying(telemetry, &error, pause);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

fn retrying(telemetry: &Telemetry, error: &Error, pause: std::time::Duration) {
    tracing::warn!(stage = error.stage().name(), retry_in_ms = pause.as_millis(), "{error}");
    telemetry.retry(error.stage());
    telemetry.state(State::Retrying { stage: error.stage().name(), message: error.to_string() });
}
