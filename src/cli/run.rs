//! `tailwater run`: telemetry, the runtime, signals, and the pipeline between them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::local;
use crate::config::Config;
use crate::error::Result;
use crate::model::state::State;
use crate::pipeline::{self, RunMode};
use crate::sink::text::Destination;
use crate::telemetry::logs::{self, Output};
use crate::telemetry::{Telemetry, http};

/// How long the endpoint and the terminal get to end. The data is safe by then, so nobody should have to wait.
const SIDE_TASKS_END: Duration = Duration::from_secs(1);

pub(super) fn run(config: Config, mode: RunMode, sql_out: Option<Destination>) -> ExitCode {
    let output = logs::init(config.log);
    ending(&output, follow(config, output.clone(), mode, sql_out))
}

/// `tailwater replay`: the same without an endpoint, as it ends with its file.
pub(super) fn replay(config: Config, entries: PathBuf, sql_out: Option<Destination>) -> ExitCode {
    let output = logs::init(config.log);
    ending(&output, async move {
        let shutdown = CancellationToken::new();
        stop_on_signals(shutdown.clone())?;
        let telemetry = Telemetry::new(&config.pipeline);
        pipeline::replay(config, telemetry, shutdown, &entries, sql_out).await
    })
}

/// Works to the end and tells how it ended.
fn ending(output: &Output, work: impl Future<Output = Result<()>>) -> ExitCode {
    let result = runtime().and_then(|runtime| {
        let result = runtime.block_on(work);
        // A reader of the endpoint that does not let go must not keep the process.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.report(&error);
            ExitCode::from(error.exit_status())
        }
    }
}

async fn follow(config: Config, output: Output, mode: RunMode, sql_out: Option<Destination>) -> Result<()> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pipeline = config.pipeline, "starting");
    let telemetry = Telemetry::new(&config.pipeline);
    let shutdown = CancellationToken::new();
    stop_on_signals(shutdown.clone())?;
    // Its own token: the endpoint answers while the pipeline drains.
    let side = CancellationToken::new();
    let mut tasks: Vec<JoinHandle<()>> = Vec::new();
    if let Some(listen) = &config.http.listen {
        tasks.push(http::serve(listen, telemetry.clone(), side.clone()).await?);
    }
    tasks.push(tokio::spawn(output.show(telemetry.clone(), side.clone())));

    let result = match sql_out {
        None => pipeline::run(config, telemetry.clone(), mode, shutdown).await,
        Some(to) => pipeline::run_to_text(config, telemetry.clone(), mode, shutdown, to).await,
    };

    if let Err(error) = &result {
        telemetry.state(State::Halted { message: error.to_string() });
    }
    side.cancel();
    let _ = tokio::time::timeout(SIDE_TASKS_END, async {
        for task in tasks {
            let _ = task.await;
        }
    })
    .await;
    result
}

/// Builds the runtime.
pub(super) fn runtime() -> Result<Runtime> {
    // Documents are walked by recursion, up to `MAX_NESTING` levels, with frames of some kilobytes in a build for debugging.
    const STACK_BYTES: usize = 8 << 20;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().thread_stack_size(STACK_BYTES).build().map_err(local("cannot start the runtime"))
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
