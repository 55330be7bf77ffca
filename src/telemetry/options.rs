//! What the configuration says about logs and the HTTP endpoint.

/// The HTTP endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpOptions {
    /// `address:port`; `None` switches it off.
    pub listen: Option<String>,
}

/// Logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// How a record looks.
    pub format: LogFormat,
    /// The least important level that is written.
    pub level: LogLevel,
}

/// How a log record looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// One line for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// How important a log record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// The pipeline stops.
    Error,
    /// Someone should look.
    Warn,
    /// What the pipeline does, a few lines per event of its life.
    Info,
    /// For finding a fault.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// All levels, the most important first.
    pub const ALL: [LogLevel; 5] = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];

    /// The name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self { listen: Some("127.0.0.1:9187".to_owned()) }
    }
}
