//! What one PostgreSQL transaction of an executor collects before it is written, and what is counted once it is durable.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::model::namespace::CollectionId;
use crate::model::position::Position;
use crate::model::row::RowChange;
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
    /// Net row changes that are not written yet.
    pub fold: Fold,
    /// Memory permits of the changes that are not written yet.
    permits: Vec<OwnedSemaphorePermit>,
    bytes: usize,
    /// Schema changes made in this transaction.
    pub schema_changes: usize,
    /// Anomalies not written yet, with their positions.
    pub anomalies: Vec<(Anomaly, Option<Position>)>,
    /// Quarantined documents not written yet, with their positions.
    pub quarantined: Vec<(Quarantined, Option<Position>)>,
    /// Documents met at the source that are not taken note of yet.
    pub met: BTreeSet<(CollectionId, [u8; 32])>,
    /// What is kept until the commit.
    pub held: Vec<Held>,
    /// What to count when it is durable: changes by database and operation, anomalies by reason.
    pub counts: Counts,
    /// Where the lanes stand at its end.
    pub lanes: HashMap<Arc<str>, Position>,
    /// The last watermark that was passed.
    pub watermark: Option<Through>,
    /// True when everything collected is whole source transactions.
    pub at_boundary: bool,
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
        self.lanes.is_empty()
    }

    /// Keeps the memory permit of a change until its rows are written.
    pub fn hold(&mut self, permit: Option<OwnedSemaphorePermit>) {
        if let Some(permit) = permit {
            self.bytes += permit.num_permits();
            self.permits.push(permit);
        }
    }

    /// Everything of it is written: the memory is free again.
    pub fn written(&mut self) {
        self.permits.clear();
        self.bytes = 0;
    }

    /// Adds a row change.
    pub fn row(&mut self, change: RowChange) {
        self.fold.add(change);
    }

    /// True when it should be written now.
    #[must_use]
    pub fn is_full(&self, limits: &BatchLimits) -> bool {
        self.fold.changes() >= limits.changes
            || self.bytes.max(self.fold.bytes()) >= limits.bytes
            || (self.schema_changes >= limits.schema_changes && self.at_boundary)
    }
}
