//! `tailwater run`: telemetry, the runtime, signals, and the pipeline between them.

use std::process::ExitCode;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::error::{Error, Kind, Result, Stage};
use crate::model::state::State;
use crate::pipeline::{self, RunMode};
use crate::telemetry::{Telemetry, logs};

pub(super) fn run(config: Config, mode: RunMode) -> Result<ExitCode> {
    logs::init(config.log);
    let runtime = runtime()?;
    let telemetry = Telemetry::new(&config.pipeline);
    let result = runtime.block_on(follow(config, telemetry, mode));
    result.map(|()| ExitCode::SUCCESS)
}

async fn follow(config: Config, telemetry: Telemetry, mode: RunMode) -> Result<()> {
    let shutdown = CancellationToken::new();
    stop_on_signals(shutdown.clone())?;
    let result = pipeline::run(config, telemetry.clone(), mode, shutdown).await;
    if let Err(error) = &result {
        telemetry.state(State::Halted { message: error.to_string() });
    }
    result
}

/// Builds the runtime.
pub(super) fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(local("cannot start the runtime"))
}

/// The first SIGTERM or SIGINT asks to finish the transaction in hand, the second ends the process at once.
fn stop_on_signals(shutdown: CancellationToken) -> Result<()> {
    let wrong = local("cannot listen for signals");
    let mut terminate = signal(SignalKind::terminate()).map_err(&wrong)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(&wrong)?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if shutdown.is_cancelled() {
                tracing::warn!("second signal, ending at once");
                std::process::exit(1);
            }
            tracing::info!("stopping; a second signal ends at once");
            shutdown.cancel();
        }
    });
    Ok(())
}

fn local(message: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::new(Kind::Local, Stage::Config, message).caused_by(error)
}
