//! One range of a snapshot: read at one cluster time, converted, copied and marked in one transaction.
//!
//! Rows can only be copied in the shape that the tables have. When a document does not fit, the range's transaction is
//! thrown away, the whole range is read once more for the documents that need something new, the lane of the collection
//! changes the tables for them, and the range starts again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::prepare::Work;
use super::snapshot::{Tools, teach};
use crate::copying::Reading;
use crate::error::{Class, Error, Kind, Result, Stage};
use crate::lane::{quarantined, source_json};
use crate::mapping::collection::{Collection, Nothing};
use crate::mapping::identity;
use crate::model::bson::{Doc, Document};
use crate::model::position::ClusterTime;
use crate::sink::chunks::{Chunk, Mark};
use crate::sink::copy::RangeCopy;
use crate::sink::range_rows::RangeRows;
use crate::source::{IdRange, RangeReader, RawDocs, batch};

/// Interruptions of one range before the whole pipeline starts again.
const ATTEMPTS: u32 = 6;

/// Encoded rows are sent when they are so many bytes.
const SEND_BYTES: usize = 4 << 20;

/// Bytes of documents that are taught at a time.
const LESSON_BYTES: usize = 16 << 20;

/// Lessons that one range may need. Each brings something new, so that this only ends what would never end.
const LESSONS: u32 = 1000;

/// A range to copy.
pub struct RangeJob {
    pub work: Arc<Work>,
    pub chunk: Chunk,
}

/// How an attempt at a range ended.
enum Outcome {
    Copied,
    /// The collection is gone.
    Gone,
    /// This shape does not hold it.
    DoesNotFit(Box<Collection>),
}

/// What a range has given so far.
#[derive(Default)]
struct Tally {
    documents: u64,
    bytes: u64,
    anomalies: Vec<&'static str>,
    quarantined: Vec<String>,
}

impl RangeJob {
    /// Copies the range; false when its collection is gone, which the stream will tell too. A scan that is interrupted (a
    /// rename, a snapshot too old) is read again at a later time.
    ///
    /// # Errors
    /// What does not pass.
    pub async fn copy(&self, tools: &Tools) -> Result<bool> {
        let (mut interrupted, mut lessons) = (0, 0);
        loop {
            let done = match self.attempt(tools).await {
                Ok(Outcome::DoesNotFit(shape)) => self.grow(tools, *shape).await,
                Ok(Outcome::Copied) => return Ok(true),
                Ok(Outcome::Gone) => return Ok(false),
                Err(error) => Err(error),
            };
            match done {
                Ok(true) if lessons < LESSONS => lessons += 1,
                Ok(true) => return Err(unsettled(&self.work)),
                Ok(false) => return Ok(false),
                Err(error) if passes(&error) && interrupted < ATTEMPTS => {
                    tracing::warn!(namespace = %self.work.info.namespace, chunk = self.chunk.number, "{error}");
                    tools.telemetry.retry(error.stage());
                    let (source, info) = (&tools.source, &self.work.info);
                    if source.collection_by_id(&info.namespace.database, info.id).await?.is_none() {
                        return Ok(false);
                    }
                    tokio::time::sleep(Duration::from_millis(50 << interrupted)).await;
                    interrupted += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn attempt(&self, tools: &Tools) -> Result<Outcome> {
        let entered = self.work.copying.enter().await;
        if self.work.copying.is_gone() {
            return Ok(Outcome::Gone);
        }
        let now = tools.source.operation_time().await?;
        let (mut shape, mut reading) = entered.read(usize::try_from(self.chunk.number).unwrap_or_default(), now);
        let as_it_is = shape.clone();
        let mut reader = self.read(tools, &reading).await?;
        let copy = RangeCopy::begin(tools.target.client().await?, &tools.fence).await?;
        let mut tally = Tally::default();
        let source = shape.options().metadata.source;
        let source = source.then(|| source_json(shape.namespace(), "snapshot", reading.at()));
        loop {
            let _room = tools.memory.room_for(reader.next_bytes(self.work.size.mean())).await;
            let Some(docs) = reader.next_batch().await? else { break };
            let over = self.work.copying.is_over_rows();
            let mut rejected = HashSet::new();
            let Some(rows) = convert(&mut shape, &docs, &mut rejected, &mut tally, over, source.clone())? else {
                copy.rollback().await?;
                return Ok(Outcome::DoesNotFit(Box::new(as_it_is)));
            };
            for rows in rows {
                tally.anomalies.extend(copy.write(rows).await?);
            }
            tools.throttle.spend(docs.bytes()).await;
        }
        self.commit(tools, copy, &mut reading, &tally).await?;
        reading.done(tally.quarantined);
        Ok(Outcome::Copied)
    }

    async fn commit(&self, tools: &Tools, copy: RangeCopy<'_>, reading: &mut Reading, tally: &Tally) -> Result<()> {
        let mark = Mark {
            collection: self.work.info.id,
            number: self.chunk.number,
            time: reading.at(),
            documents: tally.documents,
            bytes: tally.bytes,
        };
        let quarantined = if tally.quarantined.is_empty() { None } else { Some(copy.quarantined().await?) };
        reading.committing();
        copy.commit(&mark).await?;
        // Only what is durable is counted.
        tools.telemetry.committed();
        tools.telemetry.snapshot_progress(&self.work.info.namespace, tally.documents, tally.bytes);
        for reason in &tally.anomalies {
            tools.telemetry.anomaly(reason, 1);
        }
        if let Some(quarantined) = quarantined {
            tools.telemetry.quarantined(quarantined);
        }
        Ok(())
    }

    async fn read(&self, tools: &Tools, reading: &Reading) -> Result<RangeReader> {
        let reader = self.open(tools, Some(reading.at())).await?;
        if reader.cluster_time() == reading.at() {
            return Ok(reader);
        }
        let message = format!("asked for {}, the source read at {}", reading.at(), reader.cluster_time());
        Err(Error::new(Kind::Defect, Stage::Snapshot, message))
    }

    async fn open(&self, tools: &Tools, at: Option<ClusterTime>) -> Result<RangeReader> {
        let (source, info) = (&tools.source, &self.work.info);
        let Some(derived) = &self.work.derived else {
            let range = IdRange { lower: self.chunk.lower.clone(), upper: self.chunk.upper.clone() };
            return source.read_range(info, &range, at, batch(self.work.size.mean(), tools.memory.batch())).await;
        };
        let stages: Vec<Document> = self.chunk.lower.iter().chain(&derived.pipeline).cloned().collect();
        source.read_derived(info, &stages, at).await
    }

    /// Reads the range for what it needs that `shape` lacks, and has the tables changed; false when the collection is gone.
    async fn grow(&self, tools: &Tools, shape: Collection) -> Result<bool> {
        let mut shape = shape.trial();
        shape.take_ddl();
        let mut reader = self.open(tools, None).await?;
        let (mut new, mut bytes): (Vec<Document>, usize) = (Vec::new(), 0);
        loop {
            let _room = tools.memory.room_for(reader.next_bytes(self.work.size.mean())).await;
            let Some(docs) = reader.next_batch().await? else { break };
            for doc in docs.docs() {
                let doc = doc?;
                learn(&mut shape, doc);
                if !shape.take_ddl().is_empty() {
                    bytes += doc.bytes().len();
                    new.push(doc.to_owned());
                }
            }
            tools.throttle.spend(docs.bytes()).await;
            if bytes >= LESSON_BYTES {
                break;
            }
        }
        teach(tools, &self.work, new, false).await
    }
}

fn passes(error: &Error) -> bool {
    error.kind() == Kind::Interrupted && error.class() == Class::Transient
}

/// Makes a mapping hold a document; one that cannot be held is left for the conversion to reject.
pub fn learn(mapping: &mut Collection, document: Doc<'_>) {
    /// A shape grows at most once per level of types; a few rounds settle any document.
    const ROUNDS: usize = 4;
    for _ in 0..ROUNDS {
        if !matches!(mapping.document(document, false, &mut Nothing), Ok(true)) {
            return;
        }
    }
}

/// Converts a server batch; `None` when a document does not fit. A rejected document goes to quarantine, and the batch
/// is converted once more without it, because rows of it may have been made already.
fn convert(
    shape: &mut Collection,
    docs: &RawDocs,
    rejected: &mut HashSet<usize>,
    tally: &mut Tally,
    over: bool,
    source: Option<Arc<str>>,
) -> Result<Option<Vec<RangeRows>>> {
    'again: loop {
        let mut full = Vec::new();
        let mut rows = RangeRows::new(over, source.clone());
        let (mut count, mut bytes) = (0, 0);
        for (i, doc) in docs.docs().enumerate() {
            let doc = doc?;
            (count, bytes) = (count + 1, bytes + doc.bytes().len());
            if let (true, Ok(Some(id))) = (over, doc.get("_id"))
                && let Ok(id) = identity::key(id)
            {
                rows.met(shape.id(), id);
            }
            if rejected.contains(&i) {
                continue;
            }
            match shape.document(doc, over, &mut rows) {
                Ok(false) => {}
                Ok(true) => return Ok(None),
                // What it taught the shape before it was rejected has to reach the tables first.
                Err(_) if !shape.is_settled() => return Ok(None),
                Err(_) => {
                    rejected.insert(i);
                    continue 'again;
                }
            }
            if rows.weight() >= SEND_BYTES {
                full.push(rows.take());
            }
        }
        quarantine(shape, docs, rejected, &mut rows, tally)?;
        full.push(rows);
        tally.documents += count;
        tally.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        return Ok(Some(full));
    }
}

/// The rejected documents, each with its reason; rows that are there of one go.
fn quarantine(
    shape: &mut Collection,
    docs: &RawDocs,
    rejected: &HashSet<usize>,
    rows: &mut RangeRows,
    tally: &mut Tally,
) -> Result<()> {
    for (_, doc) in docs.docs().enumerate().filter(|(i, _)| rejected.contains(i)) {
        let doc = doc?;
        if let Err(reject) = shape.document(doc, false, &mut Nothing) {
            if let Ok(Some(id)) = doc.get("_id") {
                let _ = shape.delete(id, rows); // an id that has no rows
            }
            let quarantined = quarantined(shape, doc, &doc.to_owned(), reject);
            tally.quarantined.push(quarantined.id_key.clone());
            rows.quarantined.push(quarantined);
        }
    }
    Ok(())
}

fn unsettled(work: &Work) -> Error {
    let message = format!("the shape of {} did not settle", work.info.namespace);
    Error::new(Kind::Interrupted, Stage::Snapshot, message)
}
