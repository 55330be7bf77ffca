//! Rows of a range that is copied over rows which are there: each document takes the place of what there is of it.
//!
//! In: documents converted as replacements. Out: their net changes, and the ids that were met.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::fold::Fold;
use crate::mapping::collection::Output;
use crate::model::bson::Document;
use crate::model::namespace::CollectionId;
use crate::model::row::{Key, Row, RowChange};
use crate::model::table::SharedTable;
use crate::model::write_set::{Anomaly, Quarantined};

/// See the module.
#[derive(Debug, Default)]
pub struct OverRows {
    pub(super) fold: Fold,
    /// The documents, by collection and digest of the id.
    pub met: BTreeSet<(CollectionId, [u8; 32])>,
    /// What goes into `_source`, where that is switched on.
    source: Option<Arc<str>>,
    /// Values that could not be stored as they are.
    pub anomalies: Vec<Anomaly>,
    /// Documents that could not be stored.
    pub quarantined: Vec<Quarantined>,
}

impl OverRows {
    /// No rows yet; those to come are from `source`.
    #[must_use]
    pub fn new(source: Option<Arc<str>>) -> Self {
        Self { source, ..Self::default() }
    }

    /// Takes what is collected.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let next = Self::new(self.source.clone());
        std::mem::replace(self, next)
    }

    /// Bytes collected.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.fold.bytes()
    }
}

impl Output for OverRows {
    fn put(&mut self, table: &SharedTable, key: &Key, row: &Row) {
        let mut row = row.clone();
        if let Some(source) = self.source.as_ref().filter(|_| table.metadata.source) {
            row.set_source(Arc::clone(source));
        }
        self.fold.add(RowChange::Put { table: Arc::clone(table), key: key.clone(), row });
    }

    // A copy has whole documents only.
    fn patch(&mut self, _: &SharedTable, _: &Key, _: Row, _: Vec<(usize, Document)>) {}

    fn delete(&mut self, table: &SharedTable, prefix: &Key, from: Option<i32>) {
        self.fold.add(RowChange::Delete { table: Arc::clone(table), prefix: prefix.clone(), from });
    }

    fn anomaly(&mut self, anomaly: Anomaly) {
        self.anomalies.push(anomaly);
    }
}
