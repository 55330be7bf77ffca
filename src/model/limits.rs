//! Limits that several stages keep together.

/// Documents within documents, at most. MongoDB 8.2 takes 180 on insert; what is deeper is refused as malformed before
/// it can use up a thread's stack.
pub const MAX_NESTING: usize = 250;

/// What the process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of changes that may wait between the reader and PostgreSQL, over all collections.
    pub memory: usize,
}

/// How the first copy is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// Ranges copied at the same time.
    pub parallel: usize,
    /// Bytes of BSON that all readers together may take from the source in a second.
    pub max_bytes_per_second: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        // 256 MiB: sixteen of the largest documents that MongoDB holds (16 MiB), so one of them never stalls the rest.
        Self { memory: 256 << 20 }
    }
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        Self { parallel: 4, max_bytes_per_second: None }
    }
}
