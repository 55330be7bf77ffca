//! The rows of some documents of a range, on their way into its transaction.
//!
//! In: what the conversion of whole documents makes. Out: COPY's encoding where nothing was, net changes where rows are there,
//! and beside either what could not be stored as it was.

use std::sync::Arc;

use super::copy::CopyRows;
use super::over::OverRows;
use crate::mapping::collection::Output;
use crate::model::bson::Document;
use crate::model::namespace::CollectionId;
use crate::model::row::{Key, Row, RowChange};
use crate::model::table::SharedTable;
use crate::model::write_set::{Anomaly, Quarantined};

/// See the module.
#[derive(Debug)]
pub struct RangeRows {
    pub(super) rows: Rows,
    /// What goes into `_source`, where that is switched on.
    source: Option<Arc<str>>,
    /// Values that could not be stored as they are.
    pub anomalies: Vec<Anomaly>,
    /// Documents that could not be stored.
    pub quarantined: Vec<Quarantined>,
}

/// Where they go.
#[derive(Debug)]
pub(super) enum Rows {
    /// Where nothing was.
    New(CopyRows),
    /// In place of what there is.
    Over(OverRows),
}

impl RangeRows {
    /// No rows yet; those to come are from `source` and go where nothing is, or `over` what is there.
    #[must_use]
    pub fn new(over: bool, source: Option<Arc<str>>) -> Self {
        let rows = if over { Rows::Over(OverRows::default()) } else { Rows::New(CopyRows::default()) };
        Self { rows, source, anomalies: Vec::new(), quarantined: Vec::new() }
    }

    /// Takes what is collected.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let next = Self::new(self.is_over(), self.source.clone());
        std::mem::replace(self, next)
    }

    /// Bytes collected.
    #[must_use]
    pub fn weight(&self) -> usize {
        match &self.rows {
            Rows::New(rows) => rows.weight(),
            Rows::Over(rows) => rows.fold.bytes(),
        }
    }

    /// True when they go over rows that are there.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.rows, Rows::Over(_))
    }

    /// A document of the collection is met, by the digest of its id; only where rows are there that matters.
    pub fn met(&mut self, collection: CollectionId, id: [u8; 32]) {
        if let Rows::Over(rows) = &mut self.rows {
            rows.met.insert((collection, id));
        }
    }
}

impl Output for RangeRows {
    fn put(&mut self, table: &SharedTable, key: &Key, row: &Row) {
        match &mut self.rows {
            Rows::New(rows) => rows.put(table, key, row, self.source.as_ref()),
            Rows::Over(rows) => {
                let mut row = row.clone();
                if let Some(source) = self.source.as_ref().filter(|_| table.metadata.source) {
                    row.set_source(Arc::clone(source));
                }
                rows.fold.add(RowChange::Put { table: Arc::clone(table), key: key.clone(), row });
            }
        }
    }

    // A copy has whole documents only.
    fn patch(&mut self, _: &SharedTable, _: &Key, _: Row, _: Vec<(usize, Document)>) {}

    fn delete(&mut self, table: &SharedTable, prefix: &Key, from: Option<i32>) {
        // Where nothing was there is nothing to delete.
        if let Rows::Over(rows) = &mut self.rows {
            rows.fold.add(RowChange::Delete { table: Arc::clone(table), prefix: prefix.clone(), from });
        }
    }

    fn anomaly(&mut self, anomaly: Anomaly) {
        self.anomalies.push(anomaly);
    }
}
