//! Log records: text for people on a terminal, one JSON object per line for machines. Always on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use super::options::{LogFormat, LogOptions};

/// How records look in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Text, and a terminal to draw progress on.
    Terminal,
    /// Text into a file or a pipe.
    Text,
    /// JSON.
    Json,
}

/// Decides how records look.
#[must_use]
pub fn output(format: LogFormat) -> Output {
    match (format, std::io::stderr().is_terminal()) {
        (LogFormat::Auto | LogFormat::Text, true) => Output::Terminal,
        (LogFormat::Text, false) => Output::Text,
        (LogFormat::Auto, false) | (LogFormat::Json, _) => Output::Json,
    }
}

/// Starts logging for the whole process. A second call changes nothing.
pub fn init(options: LogOptions) -> Output {
    let output = output(options.format);
    // The drivers' own records are about their inner life; what matters of it comes to us as errors.
    let filter = EnvFilter::new(format!("warn,tailwater={}", options.level.as_str()));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_timer(SystemTime).with_writer(std::io::stderr);
    let _ = match output {
        Output::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
        Output::Terminal => builder.with_ansi(std::env::var_os("NO_COLOR").is_none()).try_init(),
        Output::Text => builder.with_ansi(false).try_init(),
    };
    output
}
