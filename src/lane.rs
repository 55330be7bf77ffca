//! One collection's lane: converts its changes, in order, beside all other lanes.
//!
//! In: changes, through a bounded channel. Out: write sets, through another, to the executor that has a ticket for each.
//! The lane owns the collection's mapping; nobody else changes it. A document that cannot be stored goes to quarantine,
//! and every later change of that document with it, until the source deletes it or replaces it by one that can.

use std::sync::{Arc, Weak};

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::copying::{Copying, Pass};
use crate::error::Result as Checked;
use crate::mapping::collection::{Collection, Nothing, Output, Reject};
use crate::mapping::compact::compact;
use crate::mapping::delta::AMBIGUOUS;
use crate::mapping::identity;
use crate::mapping::json::{self, Flavour};
use crate::model::bson::{Doc, Document, Value};
use crate::model::change::{Change, Operation};
use crate::model::namespace::Namespace;
use crate::model::position::ClusterTime;
use crate::model::row::{Key, Row, RowChange};
use crate::model::table::SharedTable;
use crate::model::ticket::{Converted, LaneInput, Lesson};
use crate::model::write_set::{Anomaly, Ddl, Held, Quarantined, Step, Waiting, WriteSet};

/// Rows of one document in quarantine after which it is read again: the document as it is then takes their place, so
/// that one that is often updated does not fill the table.
const ROWS_OF_ONE: u64 = 1000;

/// See the module.
#[derive(Debug)]
pub struct Lane {
    collection: Collection,
    database: Arc<str>,
    quarantined: Waiting,
    /// The copy of the collection, while it matters.
    copying: Option<Arc<Copying>>,
    /// The gate of the copy, while it is shut for what this lane has changed.
    shut: Weak<tokio::sync::OwnedRwLockWriteGuard<()>>,
}

impl Lane {
    /// A lane for a collection and its documents in quarantine.
    #[must_use]
    pub fn new(collection: Collection, database: Arc<str>, quarantined: Waiting) -> Self {
        Self { collection, database, quarantined, copying: None, shut: Weak::new() }
    }

    /// The same, beside a copy of the collection.
    #[must_use]
    pub fn beside(mut self, copying: Option<Arc<Copying>>) -> Self {
        self.copying = copying;
        self
    }

    /// The mapping and the documents in quarantine, as they are now.
    #[must_use]
    pub fn into_parts(self) -> (Collection, Waiting) {
        (self.collection, self.quarantined)
    }

    /// Converts until the input ends or nobody takes the output any more.
    pub async fn run(mut self, mut input: mpsc::Receiver<Box<LaneInput>>, output: mpsc::Sender<Box<Converted>>) {
        while let Some(input) = input.recv().await {
            let converted = match *input {
                LaneInput::Changes { changes, permit } => self.changes(changes, permit).await,
                LaneInput::Lesson(lesson) => Ok(Converted { write_sets: vec![self.learn(lesson).await], permit: None }),
                LaneInput::Settled(settled) => {
                    let _ = settled.send(()); // the router may have stopped; then nobody waits
                    continue;
                }
            };
            let converted = match converted {
                Ok(converted) => converted,
                Err(error) => {
                    tracing::warn!(namespace = %self.collection.namespace(), "{error}");
                    return; // the executor misses what was to come, which ends this attempt
                }
            };
            if output.send(Box::new(converted)).await.is_err() {
                return; // the executor ended, and with it this attempt of the pipeline
            }
        }
    }

    async fn changes(&mut self, changes: Vec<Change>, permit: Option<OwnedSemaphorePermit>) -> Checked<Converted> {
        let mut write_sets = Vec::with_capacity(changes.len());
        for change in changes {
            write_sets.push(self.change(change).await?);
        }
        Ok(Converted { write_sets, permit })
    }

    /// One change of the source.
    async fn change(&mut self, change: Change) -> Checked<WriteSet> {
        let Change { position, boundary, operation, .. } = change;
        let (name, time) = (operation.name(), position.cluster_time());
        let applied = self.is_wanted(&operation, time).await?;
        let fresh = matches!(operation, Operation::Insert { .. }) && self.is_exact();
        let mut steps = if applied { self.convert(operation) } else { Vec::new() };
        self.name_source(&mut steps, name, time);
        let gate = self.shut_for(&mut steps).await;
        Ok(WriteSet {
            position: Some(position),
            boundary,
            database: Arc::clone(&self.database),
            operation: applied.then_some(name),
            steps,
            fresh,
            held: Held { gate, committed: None },
        })
    }

    /// What the copy of the collection tells.
    async fn learn(&mut self, lesson: Lesson) -> WriteSet {
        for document in &lesson.documents {
            // One that cannot be stored goes to quarantine when it is copied.
            let _ = self
                .attempt(&mut Vec::new(), |collection, _| collection.document(document.as_doc(), false, &mut Nothing));
        }
        if lesson.complete {
            self.collection.set_copied();
        }
        let mut steps = self.schema_steps();
        let gate = self.shut_for(&mut steps).await;
        WriteSet {
            position: None,
            boundary: true,
            database: Arc::clone(&self.database),
            operation: None,
            steps,
            fresh: false,
            held: Held { gate, committed: Some(lesson.committed) },
        }
    }

    /// Whether a change is to be applied: not what a copy contains or is going to contain.
    async fn is_wanted(&mut self, operation: &Operation, time: ClusterTime) -> Checked<bool> {
        if self.collection.is_derived() && operation.is_of_a_document() {
            return Ok(false);
        }
        let Some(copying) = &self.copying else { return Ok(true) };
        let key = match operation {
            Operation::Insert { document } | Operation::Replace { document } => document.as_doc().only("_id"),
            Operation::Update { key, .. } | Operation::Delete { key } | Operation::Retry { key, .. } => {
                Ok(Some(key.clone()))
            }
            Operation::Drop | Operation::DropDatabase => {
                copying.set_gone(time);
                return Ok(true);
            }
            Operation::Create | Operation::Rename { .. } => return Ok(true),
        };
        let wanted = copying.allows(key.ok().flatten().as_ref(), time).await?;
        for id_key in copying.take_quarantined() {
            *self.quarantined.entry(id_key).or_default() += 1;
        }
        if copying.is_over(time) {
            self.copying = None;
        }
        Ok(wanted)
    }

    /// True when the rows are exactly those of the documents that the source has.
    fn is_exact(&self) -> bool {
        self.copying.is_none() && !self.collection.options().metadata.deleted_at
    }

    /// Keeps ranges out until the tables are as `steps` make them. Those that are being written end before.
    /// What needs the primary keys that tables lack while they are filled has them made first.
    async fn shut_for(&mut self, steps: &mut Vec<Step>) -> Option<Pass> {
        let copying = self.copying.as_ref()?;
        let key = copying.is_unkeyed() && steps.iter().any(needs_a_key);
        if !key && !steps.iter().any(|step| matches!(step, Step::Ddl(_))) {
            return None;
        }
        let gate = match self.shut.upgrade() {
            Some(shut) => shut,
            None => copying.shut().await,
        };
        if key {
            steps.insert(0, Step::Ddl(Ddl::Keys(copying.set_keyed())));
        }
        copying.reshape(&gate, &self.collection);
        self.shut = Arc::downgrade(&gate);
        Some(gate)
    }

    /// Notes in rows of tables with `_source` which change they come from.
    fn name_source(&self, steps: &mut [Step], operation: &'static str, time: ClusterTime) {
        if !self.collection.options().metadata.source {
            return;
        }
        let source = source_json(self.collection.namespace(), operation, time);
        for step in steps {
            if let Step::Row(RowChange::Put { table, row, .. } | RowChange::Patch { table, row, .. }) = step
                && table.metadata.source
            {
                row.set_source(Arc::clone(&source));
            }
        }
    }

    /// What one change does to PostgreSQL.
    pub fn convert(&mut self, operation: Operation) -> Vec<Step> {
        // Mostly one row changes; steps are large, and many of them wait.
        let mut steps = Vec::with_capacity(1);
        match operation {
            Operation::Insert { document } | Operation::Replace { document } => self.document(document, &mut steps),
            Operation::Update { key, diff } => self.update(&key, diff, &mut steps),
            Operation::Delete { key } => self.delete(&key, &mut steps),
            Operation::Retry { id_key, key, document } => self.retry(id_key, &key, document, &mut steps),
            Operation::Create => self.collection.rename(self.collection.namespace().clone()),
            Operation::Rename { to, .. } => self.collection.rename(to),
            Operation::Drop | Operation::DropDatabase => self.collection.drop_all(),
        }
        let mut schema = self.schema_steps();
        if schema.is_empty() {
            return steps; // most changes change no schema
        }
        schema.append(&mut steps);
        schema
    }

    /// Schema changes come before the rows that were made for them.
    fn schema_steps(&mut self) -> Vec<Step> {
        let ddl: Vec<Ddl> = self.collection.take_ddl();
        if ddl.is_empty() { Vec::new() } else { compact(ddl).into_iter().map(Step::Ddl).collect() }
    }

    fn document(&mut self, document: Document, steps: &mut Vec<Step>) {
        let id = document.as_doc().get("_id").ok().flatten();
        if self.copying.as_ref().is_some_and(|copying| copying.is_over_rows()) {
            let met = id.and_then(|id| identity::key(id).ok());
            steps.extend(met.map(|id| Step::Met { collection: self.collection.id(), id }));
        }
        if let Some(id_key) = id.and_then(id_key)
            && self.quarantined.remove(&id_key).is_some()
        {
            steps.push(Step::Release { collection: self.collection.id(), id_key });
        }
        let converted = self.attempt(steps, |collection, out| collection.document(document.as_doc(), true, out));
        if let Err(reject) = converted {
            self.reject(document.as_doc(), &document, reject, steps);
        }
    }

    fn update(&mut self, key: &Document, diff: Document, steps: &mut Vec<Step>) {
        let Some(id) = key.as_doc().get("_id").ok().flatten() else {
            return self.reject(key.as_doc(), &diff, Reject("no_id"), steps);
        };
        if self.is_quarantined(id) {
            return self.reject(key.as_doc(), &diff, Reject("update_of_quarantined"), steps);
        }
        let converted = self.attempt(steps, |collection, out| collection.update(id, diff.as_doc(), out));
        if let Err(reject) = converted {
            self.reject(key.as_doc(), &diff, reject, steps);
        }
    }

    fn delete(&mut self, key: &Document, steps: &mut Vec<Step>) {
        let Some(id) = key.as_doc().get("_id").ok().flatten() else {
            return self.reject(key.as_doc(), key, Reject("no_id"), steps);
        };
        if let Some(id_key) = id_key(id)
            && self.quarantined.remove(&id_key).is_some()
        {
            return steps.push(Step::Release { collection: self.collection.id(), id_key });
        }
        let stays = self.collection.options().metadata.deleted_at;
        // A document whose id cannot be a key and that is not in quarantine was gone before the copy: it has no rows.
        let _ = self.attempt(
            steps,
            |collection, out| {
                if stays { collection.retire(id, out) } else { collection.delete(id, out) }
            },
        );
        let orphans = if stays { self.collection.orphans(id) } else { None };
        steps.extend(orphans.map(|(tables, key)| Step::Orphans { tables, key }));
    }

    /// A document that was read again. What has left the quarantine meanwhile is stored as the stream has it.
    fn retry(&mut self, id_key: String, key: &Document, document: Option<Document>, steps: &mut Vec<Step>) {
        let waited = self.quarantined.remove(&id_key).is_some();
        steps.push(Step::Release { collection: self.collection.id(), id_key });
        match document {
            Some(document) if waited => self.document(document, steps),
            None if waited => self.delete(key, steps),
            Some(_) | None => {}
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

    /// The document with the `_id` of `of` goes to quarantine, whole or as the delta that is known of it; its rows would be
    /// wrong from now on.
    fn reject(&mut self, of: Doc<'_>, raw: &Document, reject: Reject, steps: &mut Vec<Step>) {
        if let Ok(Some(id)) = of.get("_id") {
            let _ = self.attempt(steps, |collection, out| collection.delete(id, out)); // an id that has no rows
        }
        let mut quarantined = quarantined(&self.collection, of, raw, reject);
        let rows = self.quarantined.entry(quarantined.id_key.clone()).or_default();
        *rows += 1;
        let wanted = reject == AMBIGUOUS || rows.is_multiple_of(ROWS_OF_ONE);
        quarantined.retry = quarantined.key.is_some() && wanted;
        steps.push(Step::Quarantine(quarantined));
    }

    fn is_quarantined(&self, id: Value<'_>) -> bool {
        !self.quarantined.is_empty() && id_key(id).is_some_and(|key| self.quarantined.contains_key(&key))
    }
}

/// Rows are found by their keys; another key takes the place of one; rows of a wide table are copied as if they were there.
fn needs_a_key(step: &Step) -> bool {
    match step {
        Step::Row(_) | Step::Orphans { .. } | Step::Ddl(Ddl::Rekey(_)) => true,
        Step::Ddl(Ddl::Alter { table, .. }) => table.is_wide(),
        Step::Ddl(_) | Step::Anomaly(_) | Step::Quarantine(_) | Step::Met { .. } | Step::Release { .. } => false,
    }
}

/// The value of `_source`: namespace, operation, and cluster time of a change.
#[must_use]
pub fn source_json(namespace: &Namespace, operation: &str, time: ClusterTime) -> Arc<str> {
    // A namespace can always be written, as it is text.
    let name = json::to_text(Value::String(namespace.to_string().as_bytes()), Flavour::Relaxed).unwrap_or_default();
    let ClusterTime { seconds, ordinal } = time;
    format!("{{\"ns\":{name},\"op\":\"{operation}\",\"t\":{seconds},\"i\":{ordinal}}}").into()
}

/// The quarantine row of the document with the `_id` of `of`.
#[must_use]
pub fn quarantined(collection: &Collection, of: Doc<'_>, raw: &Document, reject: Reject) -> Quarantined {
    let id = of.get("_id").ok().flatten();
    let relaxed = id.and_then(|id| json::to_text(id, Flavour::Relaxed).ok());
    tracing::warn!(namespace = %collection.namespace(), reason = reject.0, "a document goes to quarantine");
    Quarantined {
        collection: collection.id(),
        namespace: collection.namespace().clone(),
        document_id: relaxed.unwrap_or_else(|| "null".into()),
        id_key: id.and_then(id_key).unwrap_or_default(),
        key: of.only("_id").ok().flatten(),
        raw: raw.clone(),
        reason: reject.0,
        retry: false,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::collection::Shared;
    use crate::model::namespace::{CollectionId, Namespace};
    use bson::doc;

    fn document(document: &bson::Document) -> Document {
        Document::new(document.to_vec().expect("bson")).expect("bson")
    }

    /// The stream begins before the copy, so it tells of documents that no copy ever met.
    #[test]
    fn a_delete_of_an_id_that_was_never_stored_is_nothing() {
        let shared = Shared { names: Arc::default(), options: Arc::default(), collections: Arc::default() };
        let namespace = Namespace::parse("shop.things").expect("a namespace");
        let collection = Collection::new(CollectionId([1; 16]), namespace, shared);
        let mut lane = Lane::new(collection, "shop".into(), Waiting::default());
        lane.convert(Operation::Insert { document: document(&doc! {"_id": "a"}) });
        let steps = lane.convert(Operation::Delete { key: document(&doc! {"_id": "b\0"}) });
        assert!(!steps.iter().any(|step| matches!(step, Step::Quarantine(_))), "{steps:?}");
    }
}
