//! What a reader of the source yields: one change of one document or collection, in source order.

use super::bson::Document;
use super::namespace::{CollectionId, Namespace};
use super::position::Position;

/// One event. Its position is *after* it: resuming there does not see it again.
#[derive(Debug, Clone)]
pub struct Change {
    /// Where the stream stands once this change is applied.
    pub position: Position,
    /// The namespace that the event names (a label; [`Change::collection`] is the identity).
    pub namespace: Namespace,
    /// The collection's UUID; all zero for `dropDatabase`, which has none.
    pub collection: CollectionId,
    /// True when a commit may follow: false for every change of a multi-document transaction but its last.
    pub boundary: bool,
    /// What happened.
    pub operation: Operation,
}

/// What happened. Documents and diffs are raw BSON.
#[derive(Debug, Clone)]
pub enum Operation {
    /// A new document.
    Insert {
        /// The whole document.
        document: Document,
    },
    /// A document replaced as a whole.
    Replace {
        /// The whole new document.
        document: Document,
    },
    /// A delta.
    Update {
        /// The document key; its `_id` names the document.
        key: Document,
        /// The oplog's `$v: 2` diff (`d u i s…`), the common form of an update for every reader.
        diff: Document,
    },
    /// A document gone.
    Delete {
        /// The document key; its `_id` names the document.
        key: Document,
    },
    /// No change of the source: a document of the quarantine, read again at this position because somebody wants it
    /// stored.
    Retry {
        /// Which rows of the quarantine are its own ([`crate::model::write_set::Quarantined::id_key`]).
        id_key: String,
        /// `{_id: …}`.
        key: Document,
        /// The document; `None` when the source has it no more.
        document: Option<Document>,
    },
    /// A collection created.
    Create,
    /// A collection dropped.
    Drop,
    /// A collection renamed.
    Rename {
        /// Its new name.
        to: Namespace,
        /// The collection that had that name and is gone; MongoDB emits no drop for it.
        drop_target: Option<CollectionId>,
    },
    /// A database dropped, after the drops of its collections.
    DropDatabase,
}

impl Operation {
    /// True when it changes one document; all else changes its collection.
    #[must_use]
    pub fn is_of_a_document(&self) -> bool {
        match self {
            Operation::Insert { .. }
            | Operation::Replace { .. }
            | Operation::Update { .. }
            | Operation::Delete { .. }
            | Operation::Retry { .. } => true,
            Operation::Create | Operation::Drop | Operation::Rename { .. } | Operation::DropDatabase => false,
        }
    }

    /// The label in metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Operation::Insert { .. } => "insert",
            Operation::Replace { .. } => "replace",
            Operation::Update { .. } => "update",
            Operation::Delete { .. } => "delete",
            Operation::Retry { .. } => "retry",
            Operation::Create => "create",
            Operation::Drop => "drop",
            Operation::Rename { .. } => "rename",
            Operation::DropDatabase => "drop_database",
        }
    }
}

impl Change {
    /// Bytes that it occupies while it waits, for the memory limit.
    #[must_use]
    pub fn weight(&self) -> usize {
        // The fixed part: names, position, and the row images' headers that it will become.
        const FIXED: usize = 256;
        FIXED
            + match &self.operation {
                Operation::Insert { document } | Operation::Replace { document } => document.len(),
                Operation::Update { key, diff } => key.len() + diff.len(),
                Operation::Delete { key } => key.len(),
                Operation::Retry { key, document, .. } => key.len() + document.as_ref().map_or(0, Document::len),
                Operation::Create | Operation::Drop | Operation::Rename { .. } | Operation::DropDatabase => 0,
            }
    }
}
