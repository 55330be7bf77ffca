//! What one PostgreSQL transaction of an executor collects before it is written, and what is counted once it is durable.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::model::namespace::CollectionId;
use crate::model::position::Position;
use crate::model::ticket::Through;
use crate::model::write_set::{Anomaly, Held, Quarantined};

use super::fold::Fold;

/// When a batch is written although more is queued.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Row changes. Beyond some thousand rows a statement gains nothing more from being larger.
    pub changes: usize,
    /// Bytes of source changes held back from the memory limit, or of the rows made from them.
    pub bytes: usize,
    /// Schema changes: each new table takes locks until the commit (PostgreSQL, `max_locks_per_transaction`).
    pub schema_changes: usize,
}

/// One transaction in the making.
#[derive(Debug, Default)]
pub struct Batch {
    /// What is not written yet.
    pub content: Content,
    /// What is told once it is durable.
    pub news: News,
    /// Schema changes made in this transaction.
    pub schema_changes: usize,
    /// True when everything collected is whole source transactions.
    pub at_boundary: bool,
}

/// What is to be written.
#[derive(Debug, Default)]
pub struct Content {
    /// Net row changes.
    pub fold: Fold,
    /// Memory permits of the changes, given back when this goes.
    permits: Vec<OwnedSemaphorePermit>,
    bytes: usize,
    /// Anomalies, with their positions.
    pub anomalies: Vec<(Anomaly, Option<Position>)>,
    /// Quarantined documents, with their positions.
    pub quarantined: Vec<(Quarantined, Option<Position>)>,
    /// Documents met at the source that are not taken note of yet.
    pub met: BTreeSet<(CollectionId, [u8; 32])>,
}

/// What is told once it is durable.
#[derive(Debug, Default)]
pub struct News {
    /// What is kept until the commit.
    pub held: Vec<Held>,
    /// What to count: changes by database and operation, anomalies by reason.
    pub counts: Counts,
    /// Where the lanes stand at its end.
    pub lanes: HashMap<Arc<str>, Position>,
    /// The last watermark that was passed.
    pub watermark: Option<Through>,
}

/// Numbers for telemetry.
#[derive(Debug, Default)]
pub struct Counts {
    /// Changes by database and operation.
    pub applied: HashMap<(Arc<str>, &'static str), u64>,
    /// Anomalies by reason.
    pub anomalies: HashMap<&'static str, u64>,
    /// True when documents went into quarantine or came out of it.
    pub quarantine: bool,
}

impl Batch {
    /// Nothing collected and nothing written.
    #[must_use]
    pub fn new() -> Self {
        Self { at_boundary: true, ..Self::default() }
    }

    /// True when nothing is to be committed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.news.lanes.is_empty()
    }

    /// True when it should be written now.
    #[must_use]
    pub fn is_full(&self, limits: &BatchLimits) -> bool {
        let Content { fold, bytes, .. } = &self.content;
        fold.changes() >= limits.changes
            || (*bytes).max(fold.bytes()) >= limits.bytes
            || (self.schema_changes >= limits.schema_changes && self.at_boundary)
    }

    /// A change of a database up to a position is in it; the order in which lanes are taken is not that of the source.
    pub fn reached(&mut self, database: &Arc<str>, position: Position) {
        match self.news.lanes.get_mut(database) {
            Some(last) if *last >= position => {}
            Some(last) => *last = position,
            None => {
                self.news.lanes.insert(Arc::clone(database), position);
            }
        }
    }
}

impl Content {
    /// Keeps the memory permit of changes until their rows are written.
    pub fn hold(&mut self, permit: Option<OwnedSemaphorePermit>) {
        if let Some(permit) = permit {
            self.bytes += permit.num_permits();
            self.permits.push(permit);
        }
    }
}

impl Counts {
    /// Counts changes of a database, by operation.
    pub fn applied(&mut self, database: &Arc<str>, operations: &[(&'static str, u64)]) {
        for (operation, n) in operations {
            *self.applied.entry((Arc::clone(database), operation)).or_default() += n;
        }
    }
}

/// Counts one of few operations.
pub fn count(operations: &mut Vec<(&'static str, u64)>, operation: &'static str) {
    match operations.iter_mut().find(|(known, _)| *known == operation) {
        Some((_, n)) => *n += 1,
        None => operations.push((operation, 1)),
    }
}
