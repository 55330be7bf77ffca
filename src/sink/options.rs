//! What the configuration says about the target.

use crate::model::secret::Secret;

/// How PostgreSQL is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetOptions {
    /// Connection string.
    pub uri: Secret,
    /// Connections that are open at most, all purposes together.
    pub max_connections: usize,
}

impl TargetOptions {
    /// The fewest connections that work: one keeps the pipeline's lock, one writes the stream, one copies.
    pub const MIN_CONNECTIONS: usize = 3;
    /// Connections when the configuration does not say.
    pub const DEFAULT_CONNECTIONS: usize = 16;
}
