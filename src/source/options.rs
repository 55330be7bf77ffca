//! What the configuration says about the source.

use crate::model::secret::Secret;

/// How MongoDB is reached and read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceOptions {
    /// Connection string.
    pub uri: Secret,
    /// Which members the snapshot reads from.
    pub read_preference: ReadPreference,
    /// How changes are read.
    pub reader: ReaderKind,
    /// In which form updates are asked for.
    pub updates: UpdateForm,
}

/// How changes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReaderKind {
    /// By the oplog where that is safe and allowed, by a change stream otherwise.
    Auto,
    /// By a change stream on the whole deployment.
    ChangeStream,
    /// By tailing `local.oplog.rs` of a replica set.
    Oplog,
}

/// Which members of the replica set may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadPreference {
    /// The primary.
    Primary,
    /// The primary, a secondary while there is none.
    PrimaryPreferred,
    /// A secondary.
    Secondary,
    /// A secondary, the primary while there is none.
    SecondaryPreferred,
    /// The member with the shortest way.
    Nearest,
}

/// The form of update events in the change stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateForm {
    /// Raw where the server allows it, public otherwise.
    Auto,
    /// The oplog's own diff.
    Raw,
    /// The documented `updateDescription`.
    Public,
}
