//! Every error, and the one place that decides what it means for the pipeline.
//!
//! A [`Kind`] says what went wrong, [`Kind::class`] what to do about it. The drivers' own errors are classified at the
//! edge (`source::faults`, `sink::faults`) and kept as the source of ours. Row values never enter a message.

use std::error::Error as StdError;
use std::fmt;

/// What the pipeline does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Tried again with back-off, for as long as it takes.
    Transient,
    /// Stops with exit status 1.
    Fatal,
    /// Stops with exit status 2: wrong usage or configuration.
    Usage,
}

/// Where it happened; also the `stage` label of the retry metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Arguments and configuration.
    Config,
    /// Reading MongoDB.
    Source,
    /// Copying what is there.
    Snapshot,
    /// Turning documents into rows.
    Mapping,
    /// Writing PostgreSQL.
    Sink,
    /// The HTTP endpoint.
    Http,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Arguments or configuration are wrong.
    Configuration,
    /// A server cannot be reached, restarts, elects, or dropped a connection.
    Unavailable,
    /// Another transaction was in the way: deadlock, serialization, lock timeout.
    Contention,
    /// The stream must be opened again from the last position (cursor lost, collection moved under a scan).
    Interrupted,
    /// Nothing is wrong: something is to be done that an attempt begins with.
    Again,
    /// Rows were there of a document that the source has inserted just now: what is written must not count on their absence.
    NotExact,
    /// The oplog refuses what the change stream may give, and nobody asked for the oplog.
    OtherReader,
    /// User name or password refused.
    Credentials,
    /// A right is missing.
    Permission,
    /// The server is of a kind or version that cannot be followed.
    Unsupported,
    /// The oplog no longer reaches back to the position.
    HistoryLost,
    /// An event that the server itself cannot deliver.
    Undeliverable,
    /// Another daemon has taken over this pipeline.
    Fenced,
    /// The target refused what we wrote: an object in the way, a limit reached, a disk full.
    Refused,
    /// A row or a value is over a limit of the target. Handled where it can be (`sink::wide`).
    TooLarge,
    /// A local resource: a port in use, a file not readable.
    Local,
    /// A defect of ours; the message says which invariant broke.
    Defect,
}

impl Kind {
    /// What to do about it.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Kind::Configuration => Class::Usage,
            // Fenced is retried too: the next attempt waits for the pipeline's lock and so becomes the standby.
            Kind::Unavailable
            | Kind::Contention
            | Kind::Interrupted
            | Kind::Again
            | Kind::NotExact
            | Kind::OtherReader
            | Kind::Fenced => Class::Transient,
            Kind::Credentials
            | Kind::Permission
            | Kind::Unsupported
            | Kind::HistoryLost
            | Kind::Undeliverable
            | Kind::Refused
            | Kind::TooLarge
            | Kind::Local
            | Kind::Defect => Class::Fatal,
        }
    }
}

/// An error with its class, its place, and what to do about it.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    stage: Stage,
    message: String,
    remedy: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error that says what happened and where.
    #[must_use]
    pub fn new(kind: Kind, stage: Stage, message: impl Into<String>) -> Self {
        Self { kind, stage, message: message.into(), remedy: None, source: None }
    }

    /// Adds what to do about it: a full sentence without a final stop.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Whether it says what to do.
    #[must_use]
    pub fn has_remedy(&self) -> bool {
        self.remedy.is_some()
    }

    /// Keeps the error below.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where it happened.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// What the pipeline does about it.
    #[must_use]
    pub fn class(&self) -> Class {
        self.kind.class()
    }

    /// The process's exit status when it ends with this error.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self.class() {
            Class::Usage => 2,
            Class::Transient | Class::Fatal => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut below = self.source.as_deref().map(|s| s as &dyn StdError);
        while let Some(error) = below {
            write!(f, ": {error}")?;
            below = error.source();
        }
        if let Some(remedy) = &self.remedy {
            write!(f, " ({remedy})")?;
        }
        Ok(())
    }
}

impl StdError for Error {}

impl Stage {
    /// All of them, in the order of the flow.
    pub const ALL: [Stage; 6] =
        [Stage::Config, Stage::Source, Stage::Snapshot, Stage::Mapping, Stage::Sink, Stage::Http];

    /// The label in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Stage::Config => "config",
            Stage::Source => "source",
            Stage::Snapshot => "snapshot",
            Stage::Mapping => "mapping",
            Stage::Sink => "sink",
            Stage::Http => "http",
        }
    }
}
