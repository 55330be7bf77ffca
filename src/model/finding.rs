//! What `tailwater check` finds out about one precondition.

/// How a precondition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It holds, but someone should look.
    Warn,
    /// It does not hold; `run` would stop.
    Fail,
}

/// One precondition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it stands.
    pub verdict: Verdict,
    /// What was looked at: `source version`, `target rights`.
    pub subject: String,
    /// What was found.
    pub detail: String,
    /// What to do about it; for [`Verdict::Warn`] and [`Verdict::Fail`].
    pub fix: Option<String>,
}

impl Verdict {
    /// The word at the start of the line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        }
    }
}
