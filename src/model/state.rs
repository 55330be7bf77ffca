//! What the daemon is doing, as people and machines see it.

/// The life cycle of a pipeline. Exactly one holds at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Connecting, probing, reading the catalog.
    Starting,
    /// Copying what is not copied yet, the stream running beside it.
    Snapshot,
    /// Everything is copied; the stream is behind the source.
    CatchingUp,
    /// Following the source.
    Streaming,
    /// Another daemon works on this pipeline; this one waits to take over.
    Standby,
    /// A transient error; trying again.
    Retrying {
        /// Where it happened (`Stage::name`).
        stage: &'static str,
        /// What happened, without row values.
        message: String,
    },
    /// Stopped for good; the process is about to end.
    Halted {
        /// What happened and what to do about it.
        message: String,
    },
}

/// The names of all states, in the order of the life cycle: the values of the `state` label.
pub const STATES: [&str; 7] = ["starting", "snapshot", "catching_up", "streaming", "standby", "retrying", "halted"];

impl State {
    /// The name in `/status`, in metrics and in logs.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Snapshot => "snapshot",
            State::CatchingUp => "catching_up",
            State::Streaming => "streaming",
            State::Standby => "standby",
            State::Retrying { .. } => "retrying",
            State::Halted { .. } => "halted",
        }
    }

    /// Why it does not stream, where there is more to say than the name.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match self {
            State::Retrying { stage, message } => Some(format!("{stage}: {message}")),
            State::Halted { message } => Some(message.clone()),
            State::Starting | State::Snapshot | State::CatchingUp | State::Streaming | State::Standby => None,
        }
    }
}
