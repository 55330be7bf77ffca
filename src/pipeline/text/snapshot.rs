//! The snapshot as text: one range after the other, each one transaction.
//!
//! In: the collections to copy. Out: their rows as plain inserts, schema changes between them where a document needs one.
//! A range that is read again after an interruption goes on in the same transaction and writes over what it wrote: what
//! was deleted in between is deleted once more by the stream, which starts earlier.

use std::sync::Arc;
use std::time::Duration;

use super::super::prepare::{RANGE_BYTES, SAMPLE, chunk};
use super::super::range::learn;
use super::{Start, TextSession};
use crate::error::{Class, Result};
use crate::lane::{Lane, source_json};
use crate::mapping::collection::Collection;
use crate::mapping::compact::compact;
use crate::model::change::Operation;
use crate::model::position::ClusterTime;
use crate::model::row::RowChange;
use crate::model::state::State;
use crate::model::write_set::{Ddl, Step};
use crate::sink::chunks::{Chunk, Mark};
use crate::sink::text::SqlText;
use crate::source::{BATCH, CollectionInfo, IdRange};

/// Attempts at one range.
const ATTEMPTS: u32 = 6;

/// One collection while it is copied.
struct Copying {
    info: CollectionInfo,
    lane: Lane,
    source: bool,
}

/// Whether what a range makes can be there already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    New,
    Over,
}

impl TextSession<'_> {
    /// Copies what is to be copied; false when it was stopped.
    pub(super) async fn snapshot(&self, text: &mut SqlText, start: &mut Start) -> Result<bool> {
        let mut found = std::mem::take(&mut start.collections.to_copy);
        if !found.is_empty() {
            self.telemetry.state(State::Snapshot);
        }
        found.sort_by(|a, b| a.namespace.cmp(&b.namespace));
        for info in found {
            if !self.collection(text, start, info).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn collection(&self, text: &mut SqlText, start: &mut Start, info: CollectionInfo) -> Result<bool> {
        let size = self.source.size(&info.namespace).await?;
        self.telemetry.snapshot_started(&info.namespace, size.documents, size.bytes);
        let mapping = match start.collections.known.remove(&info.id) {
            Some(known) => known,
            None => self.sample(text, start, &info).await?,
        };
        let mut chunks = match &self.target {
            Some(target) => target.chunks(info.id).await?,
            None => Vec::new(),
        };
        if chunks.is_empty() {
            let ranges = self.source.plan_ranges(&info, &size, RANGE_BYTES).await?;
            chunks = ranges.into_iter().enumerate().filter_map(|(i, range)| chunk(i, range)).collect();
            for chunk in &chunks {
                text.chunk(info.id, &info.namespace, chunk).await?;
            }
        }
        text.commit().await?;
        let (id, namespace, source) = (info.id, info.namespace.clone(), mapping.options().metadata.source);
        let waiting = start.quarantined.remove(&id).unwrap_or_default();
        let lane = Lane::new(mapping, namespace.database.as_ref().into(), waiting);
        let mut copying = Copying { info, lane, source };
        let mut there = true;
        for chunk in chunks.iter().filter(|chunk| chunk.done.is_none()) {
            match self.range(text, &mut copying, chunk).await? {
                Some(Outcome::Copied(time)) => start.copied_at = start.copied_at.max(time),
                Some(Outcome::Gone) => there = false,
                None => return Ok(false),
            }
        }
        let (mut mapping, waiting) = copying.lane.into_parts();
        if there {
            mapping.set_copied();
            write_ddl(text, mapping.take_ddl()).await?;
            self.telemetry.snapshot_finished(&namespace);
        }
        text.commit().await?;
        start.quarantined.insert(id, waiting);
        start.collections.known.insert(id, mapping);
        Ok(true)
    }

    /// A new mapping that has seen a sample of the documents, its tables made.
    async fn sample(&self, text: &mut SqlText, start: &Start, info: &CollectionInfo) -> Result<Collection> {
        let now = self.source.operation_time().await?;
        let documents = self.source.sample(info, now, SAMPLE).await?;
        let mut mapping = Collection::new(info.id, info.namespace.clone(), start.collections.shared.clone());
        for document in &documents {
            learn(&mut mapping, document.as_doc());
        }
        write_ddl(text, compact(mapping.take_ddl())).await?;
        Ok(mapping)
    }

    /// Copies a range; `None` when it was stopped.
    async fn range(&self, text: &mut SqlText, copying: &mut Copying, chunk: &Chunk) -> Result<Option<Outcome>> {
        let mut rows = Rows::New;
        let mut attempt = 0;
        loop {
            match self.try_range(text, copying, chunk, rows).await {
                Err(error) if error.class() == Class::Transient && attempt < ATTEMPTS => {
                    tracing::warn!(namespace = %copying.info.namespace, chunk = chunk.number, "{error}");
                    self.telemetry.retry(error.stage());
                    tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
                    match self.source.collection_by_id(&copying.info.namespace.database, copying.info.id).await? {
                        Some(now) => copying.info = now,
                        None => return text.commit().await.map(|()| Some(Outcome::Gone)),
                    }
                    (rows, attempt) = (Rows::Over, attempt + 1);
                }
                ended => return ended,
            }
        }
    }

    async fn try_range(
        &self,
        text: &mut SqlText,
        copying: &mut Copying,
        chunk: &Chunk,
        rows: Rows,
    ) -> Result<Option<Outcome>> {
        let range = IdRange { lower: chunk.lower.clone(), upper: chunk.upper.clone() };
        let mut reader = self.source.read_range(&copying.info, &range, None, BATCH).await?;
        let time = reader.cluster_time();
        let (mut documents, mut bytes) = (0, 0);
        loop {
            let batch = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(None),
                batch = reader.next_batch() => batch?,
            };
            let Some(batch) = batch else { break };
            for doc in batch.docs() {
                let doc = doc?;
                (documents, bytes) = (documents + 1, bytes + u64::try_from(doc.bytes().len()).unwrap_or(0));
                let steps = copying.lane.convert(Operation::Insert { document: doc.to_owned() });
                self.write_steps(text, copying, steps, rows, time).await?;
            }
        }
        let mark = Mark { collection: copying.info.id, number: chunk.number, time, documents, bytes };
        text.mark(&mark).await?;
        text.commit().await?;
        self.telemetry.committed();
        self.telemetry.snapshot_progress(&copying.info.namespace, documents, bytes);
        Ok(Some(Outcome::Copied(time)))
    }

    /// Where nothing was, nothing is to be deleted and nothing is in the way.
    async fn write_steps(
        &self,
        text: &mut SqlText,
        copying: &Copying,
        steps: Vec<Step>,
        rows: Rows,
        time: ClusterTime,
    ) -> Result<()> {
        let source = copying.source.then(|| source_json(&copying.info.namespace, "snapshot", time));
        for step in steps {
            match step {
                Step::Row(RowChange::Put { table, key, mut row }) => {
                    if let Some(source) = source.as_ref().filter(|_| table.metadata.source) {
                        row.set_source(Arc::clone(source));
                    }
                    text.put(&table, &key, &row, rows == Rows::Over).await?;
                }
                Step::Row(change) if rows == Rows::Over => text.row(&change).await?,
                Step::Row(_) | Step::Release { .. } | Step::Orphans { .. } | Step::Met { .. } => {}
                Step::Ddl(ddl) => text.ddl(&ddl).await?,
                Step::Anomaly(anomaly) => {
                    text.anomaly(&anomaly, None).await?;
                    self.telemetry.anomaly(anomaly.reason, 1);
                }
                Step::Quarantine(document) => text.quarantine(&document, None).await?,
            }
        }
        Ok(())
    }
}

/// How a range ended that was not stopped.
enum Outcome {
    Copied(ClusterTime),
    /// Its collection is gone, which the stream tells too.
    Gone,
}

async fn write_ddl(text: &mut SqlText, changes: Vec<Ddl>) -> Result<()> {
    for change in &changes {
        text.ddl(change).await?;
    }
    Ok(())
}
