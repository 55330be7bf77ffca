//! Log records, always on standard error: text for people on a terminal, one JSON object per line for machines. Progress
//! is drawn below the log on a terminal, and is a record of its own every now and then elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::options::{LogFormat, LogOptions};
use super::terminal::Terminal;
use super::{Telemetry, progress};
use crate::error::Error;

/// How often the terminal is drawn.
const DRAW_EVERY: Duration = Duration::from_secs(1);
/// How often a progress record is written where there is no terminal.
const RECORD_EVERY: Duration = Duration::from_secs(10);

/// Where records go and how they look.
#[derive(Clone)]
pub enum Output {
    /// Text, and progress drawn below it.
    Terminal(Terminal),
    /// Text into a file or a pipe.
    Text,
    /// JSON.
    Json,
}

impl Output {
    /// Decides once where records go.
    #[must_use]
    pub fn new(format: LogFormat) -> Self {
        match (format, io::stderr().is_terminal()) {
            (LogFormat::Auto | LogFormat::Text, true) => Output::Terminal(Terminal::stderr()),
            (LogFormat::Text, false) => Output::Text,
            (LogFormat::Auto, false) | (LogFormat::Json, _) => Output::Json,
        }
    }

    /// Tells the error that ends the process, once.
    pub fn report(&self, error: &Error) {
        match self {
            Output::Json => tracing::error!(stage = error.stage().name(), kind = ?error.kind(), "{error}"),
            // A standard error that is gone must not turn a message into a panic.
            Output::Terminal(_) | Output::Text => {
                let _ = writeln!(io::stderr(), "tailwater: error: {error}");
            }
        }
    }

    /// Shows progress until `stop`.
    pub async fn show(self, telemetry: Telemetry, stop: CancellationToken) {
        let every = match &self {
            Output::Terminal(_) => DRAW_EVERY,
            Output::Text | Output::Json => RECORD_EVERY,
        };
        while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            match &self {
                Output::Terminal(terminal) => {
                    let (width, height) = Terminal::size();
                    // One column and one row stay free: a full line would wrap, a full screen would scroll.
                    let lines =
                        progress::render(&telemetry.status(), width.saturating_sub(1), height.saturating_sub(1));
                    terminal.draw(lines);
                }
                Output::Text => tracing::info!("{}", progress::summary(&telemetry.status())),
                Output::Json => record(&telemetry),
            }
        }
        if let Output::Terminal(terminal) = &self {
            terminal.draw(Vec::new());
        }
    }
}

fn record(telemetry: &Telemetry) {
    let status = telemetry.status();
    tracing::info!(
        state = status.state,
        reason = status.reason,
        lag_seconds = status.lag_seconds,
        oplog_window_seconds = status.oplog_window_seconds,
        changes_applied = status.changes_applied,
        changes_per_second = status.changes_per_second,
        snapshot_documents_done = status.snapshot.documents_done,
        snapshot_documents_total = status.snapshot.documents_total,
        snapshot_bytes_done = status.snapshot.bytes_done,
        snapshot_bytes_total = status.snapshot.bytes_total,
        snapshot_bytes_per_second = status.snapshot.bytes_per_second,
        snapshot_eta_seconds = status.snapshot.eta_seconds,
        anomalies = status.anomalies,
        quarantined = status.quarantined,
        "progress"
    );
}

/// Starts logging for the whole process. A second call changes nothing.
pub fn init(options: LogOptions) -> Output {
    let output = Output::new(options.format);
    // The drivers' own records are about their inner life; what matters of it comes to us as errors.
    let filter = EnvFilter::new(format!("warn,tailwater={}", options.level.as_str()));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    let _ = match &output {
        Output::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(io::stderr)
            .try_init(),
        Output::Terminal(terminal) => {
            builder.with_ansi(std::env::var_os("NO_COLOR").is_none()).with_writer(terminal.clone()).try_init()
        }
        Output::Text => builder.with_ansi(false).with_writer(io::stderr).try_init(),
    };
    output
}
