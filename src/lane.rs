//! One collection's lane: converts its changes, in order, beside all other lanes.
//!
//! In: changes, through a bounded channel. Out: write sets, through another, to the executor that has a ticket for each.
//! The lane owns the collection's mapping; nobody else changes it. A document that cannot be stored goes to quarantine,
//! and every later change of that document with it, until the source deletes it or replaces it by one that can.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::mapping::collection::{Collection, Output, Reject};
use crate::mapping::identity;
use crate::mapping::json::{self, Flavour};
use crate::mapping::lifecycle::compact;
use crate::model::bson::{Document, Value};
use crate::model::change::Operation;
use crate::model::row::{Key, Row, RowChange};
use crate::model::table::SharedTable;
use crate::model::ticket::LaneInput;
use crate::model::write_set::{Anomaly, Ddl, Quarantined, Step, WriteSet};

/// See the module.
#[derive(Debug)]
pub struct Lane {
    collection: Collection,
    database: Arc<str>,
    /// Ids in quarantine, in the form of [`Quarantined::id_key`].
    quarantined: HashSet<String>,
}

impl Lane {
    /// A lane for a collection and its documents in quarantine.
    #[must_use]
    pub fn new(collection: Collection, database: Arc<str>, quarantined: HashSet<String>) -> Self {
        Self { collection, database, quarantined }
    }

    /// Converts until the input ends or nobody takes the output any more.
    pub async fn run(mut self, mut input: mpsc::Receiver<LaneInput>, output: mpsc::Sender<WriteSet>) {
        while let Some(input) = input.recv().await {
            let (change, permit) = match input {
                LaneInput::Change { change, permit } => (change, permit),
                LaneInput::Settled(settled) => {
                    let _ = settled.send(()); // the router may have stopped; then nobody waits
                    continue;
                }
            };
            let write_set = WriteSet {
                position: change.position.clone(),
                boundary: change.boundary,
                database: Arc::clone(&self.database),
                operation: change.operation.name(),
                steps: self.convert(change.operation),
                permit,
            };
            if output.send(write_set).await.is_err() {
                return; // the executor ended, and with it this attempt of the pipeline
            }
        }
    }

    /// What one change does to PostgreSQL.
    pub fn convert(&mut self, operation: Operation) -> Vec<Step> {
        let mut steps = Vec::new();
        match operation {
            Operation::Insert { document } | Operation::Replace { document } => self.document(document, &mut steps),
            Operation::Update { key, diff } => self.update(&key, diff, &mut steps),
            Operation::Delete { key } => self.delete(&key, &mut steps),
            Operation::Create => self.collection.rename(self.collection.namespace().clone()),
            Operation::Rename { to, .. } => self.collection.rename(to),
            Operation::Drop | Operation::DropDatabase => self.collection.drop_all(),
        }
        let mut all = self.schema_steps();
        all.append(&mut steps);
        all
    }

    /// Schema changes come before the rows that were made for them.
    fn schema_steps(&mut self) -> Vec<Step> {
        let ddl: Vec<Ddl> = self.collection.take_ddl();
        if ddl.is_empty() { Vec::new() } else { compact(ddl).into_iter().map(Step::Ddl).collect() }
    }

    fn document(&mut self, document: Document, steps: &mut Vec<Step>) {
        let id = document.as_doc().get("_id").ok().flatten();
        if let Some(id_key) = id.and_then(id_key)
            && self.quarantined.remove(&id_key)
        {
            steps.push(Step::Release { collection: self.collection.id(), id_key });
        }
        let converted = self.attempt(steps, |collection, out| collection.document(document.as_doc(), true, out));
        if let Err(reject) = converted {
            self.reject(id, &document, reject, steps);
        }
    }

    fn update(&mut self, key: &Document, diff: Document, steps: &mut Vec<Step>) {
        let Some(id) = key.as_doc().get("_id").ok().flatten() else {
            return self.reject(None, &diff, Reject("no_id"), steps);
        };
        if self.is_quarantined(id) {
            return self.reject(Some(id), &diff, Reject("update_of_quarantined"), steps);
        }
        let converted = self.attempt(steps, |collection, out| collection.update(id, diff.as_doc(), out));
        if let Err(reject) = converted {
            self.reject(Some(id), &diff, reject, steps);
        }
    }

    fn delete(&mut self, key: &Document, steps: &mut Vec<Step>) {
        let Some(id) = key.as_doc().get("_id").ok().flatten() else {
            return self.reject(None, key, Reject("no_id"), steps);
        };
        if let Some(id_key) = id_key(id)
            && self.quarantined.remove(&id_key)
        {
            return steps.push(Step::Release { collection: self.collection.id(), id_key });
        }
        if let Err(reject) = self.attempt(steps, |collection, out| collection.delete(id, out)) {
            self.reject(Some(id), key, reject, steps);
        }
    }

    /// Converts until the shape holds: rows made for an older shape are thrown away. The second time changes nothing
    /// more, but for a shape that grew twice on the way.
    fn attempt(
        &mut self,
        steps: &mut Vec<Step>,
        mut convert: impl FnMut(&mut Collection, &mut Steps<'_>) -> Result<bool, Reject>,
    ) -> Result<(), Reject> {
        const ATTEMPTS: usize = 4;
        let before = steps.len();
        for _ in 0..ATTEMPTS {
            let result = convert(&mut self.collection, &mut Steps(steps));
            if matches!(result, Ok(false)) {
                return Ok(());
            }
            steps.truncate(before);
            result?;
        }
        Err(Reject("defect_shape_never_settles"))
    }

    /// The document goes to quarantine, whole or as the delta that is known of it; its rows would be wrong from now on.
    fn reject(&mut self, id: Option<Value<'_>>, raw: &Document, reject: Reject, steps: &mut Vec<Step>) {
        if let Some(id) = id {
            let _ = self.attempt(steps, |collection, out| collection.delete(id, out)); // an id that has no rows
        }
        let quarantined = quarantined(&self.collection, id, raw, reject);
        self.quarantined.insert(quarantined.id_key.clone());
        steps.push(Step::Quarantine(quarantined));
    }

    fn is_quarantined(&self, id: Value<'_>) -> bool {
        !self.quarantined.is_empty() && id_key(id).is_some_and(|key| self.quarantined.contains(&key))
    }
}

/// The quarantine row of a document.
#[must_use]
pub fn quarantined(collection: &Collection, id: Option<Value<'_>>, raw: &Document, reject: Reject) -> Quarantined {
    let relaxed = id.and_then(|id| json::to_text(id, Flavour::Relaxed).ok());
    tracing::warn!(namespace = %collection.namespace(), reason = reject.0, "a document goes to quarantine");
    Quarantined {
        collection: collection.id(),
        namespace: collection.namespace().clone(),
        document_id: relaxed.unwrap_or_else(|| "null".into()),
        id_key: id.and_then(id_key).unwrap_or_default(),
        raw: raw.clone(),
        reason: reject.0,
    }
}

/// The key of an id, in hexadecimal digits: one text for what MongoDB takes for one id.
fn id_key(id: Value<'_>) -> Option<String> {
    identity::key(id).ok().map(|key| json::hex(&key))
}

/// Takes a conversion's output as steps.
struct Steps<'s>(&'s mut Vec<Step>);

impl Output for Steps<'_> {
    fn put(&mut self, table: &SharedTable, key: &Key, row: &Row) {
        let put = RowChange::Put { table: Arc::clone(table), key: key.clone(), row: row.clone() };
        self.0.push(Step::Row(put));
    }

    fn patch(&mut self, table: &SharedTable, key: &Key, row: Row, diffs: Vec<(usize, Document)>) {
        self.0.push(Step::Row(RowChange::Patch { table: Arc::clone(table), key: key.clone(), row, diffs }));
    }

    fn delete(&mut self, table: &SharedTable, prefix: &Key, from: Option<i32>) {
        self.0.push(Step::Row(RowChange::Delete { table: Arc::clone(table), prefix: prefix.clone(), from }));
    }

    fn anomaly(&mut self, anomaly: Anomaly) {
        self.0.push(Step::Anomaly(anomaly));
    }
}
