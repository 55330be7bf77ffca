//! Wires the stages together. A stand-in for the real one: it only waits for the stop signal.

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::error::Result;
use crate::model::finding::Finding;
use crate::model::state::State;
use crate::telemetry::Telemetry;

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
/// What stopped it.
pub async fn run(_config: Config, telemetry: Telemetry, mode: RunMode, shutdown: CancellationToken) -> Result<()> {
    telemetry.state(State::Streaming);
    match mode {
        RunMode::Follow => shutdown.cancelled().await,
        RunMode::UntilCaughtUp => {}
    }
    Ok(())
}

/// Looks at every precondition of `run` and changes nothing.
///
/// # Errors
/// When not even looking is possible.
pub async fn preflight(_config: &Config) -> Result<Vec<Finding>> {
    Ok(Vec::new())
}
