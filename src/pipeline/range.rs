//! One range of a snapshot: read at one cluster time, converted, copied and marked in one transaction.
//!
//! Rows can only be copied in the shape that the tables have. When a document does not fit, the range's transaction is
//! thrown away, the whole range is read once more to learn all that it needs, the tables are changed while no other
//! range of the collection is open, and the range starts again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::snapshot::{Copying, Tools, current};
use crate::error::{Class, Error, Kind, Result, Stage};
use crate::lane::{quarantined, source_json};
use crate::mapping::collection::{Collection, Nothing};
use crate::mapping::compact::compact;
use crate::model::bson::Doc;
use crate::sink::chunks::{Chunk, Mark};
use crate::sink::copy::{CopyRows, RangeCopy};
use crate::source::{IdRange, RangeReader, RawDocs};

/// Attempts at one range before the whole pipeline starts again.
const ATTEMPTS: u32 = 6;

/// Encoded rows are sent when they are so many bytes.
const SEND_BYTES: usize = 4 << 20;

/// A range to copy.
pub struct RangeJob {
    pub copying: Arc<Copying>,
    pub chunk: Chunk,
}

/// How an attempt at a range ended.
enum Outcome {
    Copied,
    /// The shape does not hold it yet.
    DoesNotFit,
}

/// What a range has given so far.
#[derive(Default)]
struct Tally {
    documents: u64,
    bytes: u64,
    anomalies: Vec<&'static str>,
}

impl RangeJob {
    /// Copies the range; false when its collection is gone, which the stream will tell too. A scan that is interrupted (a
    /// rename, a snapshot too old) is read again at a later time.
    ///
    /// # Errors
    /// What does not pass.
    pub async fn copy(&self, tools: &Tools) -> Result<bool> {
        let mut last = None;
        for attempt in 0..ATTEMPTS {
            let done = match self.attempt(tools).await {
                Ok(Outcome::DoesNotFit) => self.grow(tools).await,
                Ok(Outcome::Copied) => return Ok(true),
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => {}
                Err(error) if error.kind() == Kind::Interrupted && error.class() == Class::Transient => {
                    tracing::warn!(namespace = %self.copying.info.namespace, chunk = self.chunk.number, "{error}");
                    tools.telemetry.retry(error.stage());
                    if current(&tools.source, &self.copying.info).await?.is_none() {
                        return Ok(false);
                    }
                    tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| unsettled(&self.copying)))
    }

    async fn attempt(&self, tools: &Tools) -> Result<Outcome> {
        let mapping = self.copying.mapping.read().await;
        let mut shape = mapping.trial();
        let mut reader = self.read(tools).await?;
        let copy = RangeCopy::begin(tools.target.client().await?, &tools.fence).await?;
        let mut tally = Tally::default();
        let options = shape.options();
        let source = options
            .metadata
            .source
            .then(|| source_json(&self.copying.info.namespace, "snapshot", reader.cluster_time()));
        while let Some(docs) = reader.next_batch().await? {
            let mut rejected = HashSet::new();
            let Some(rows) = convert(&mut shape, &docs, &mut rejected, &mut tally, source.clone())? else {
                copy.rollback().await?;
                return Ok(Outcome::DoesNotFit);
            };
            for rows in rows {
                tally.anomalies.extend(copy.write(rows).await?);
            }
        }
        let mark = Mark {
            collection: self.copying.info.id,
            number: self.chunk.number,
            time: reader.cluster_time(),
            documents: tally.documents,
            bytes: tally.bytes,
        };
        copy.commit(&mark).await?;
        self.count(tools, &tally);
        drop(mapping);
        Ok(Outcome::Copied)
    }

    async fn read(&self, tools: &Tools) -> Result<RangeReader> {
        let range = IdRange { lower: self.chunk.lower.clone(), upper: self.chunk.upper.clone() };
        tools.source.read_range(&self.copying.info, &range, None).await
    }

    /// Only what is durable is counted.
    fn count(&self, tools: &Tools, tally: &Tally) {
        tools.telemetry.committed();
        tools.telemetry.snapshot_progress(&self.copying.info.namespace, tally.documents, tally.bytes);
        for reason in &tally.anomalies {
            tools.telemetry.anomaly(reason, 1);
        }
    }

    /// Learns what the whole range needs and changes the tables.
    async fn grow(&self, tools: &Tools) -> Result<()> {
        let mut mapping = self.copying.mapping.write().await;
        let mut reader = self.read(tools).await?;
        while let Some(docs) = reader.next_batch().await? {
            for doc in docs.docs() {
                learn(&mut mapping, doc?);
            }
        }
        tools.target.apply(&tools.fence, &compact(mapping.take_ddl())).await
    }
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
    source: Option<Arc<str>>,
) -> Result<Option<Vec<CopyRows>>> {
    'again: loop {
        let mut full = Vec::new();
        let mut rows = CopyRows::new(source.clone());
        let (mut count, mut bytes) = (0, 0);
        for (i, doc) in docs.docs().enumerate() {
            let doc = doc?;
            (count, bytes) = (count + 1, bytes + doc.bytes().len());
            if rejected.contains(&i) {
                continue;
            }
            match shape.document(doc, false, &mut rows) {
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
        quarantine(shape, docs, rejected, &mut rows)?;
        full.push(rows);
        tally.documents += count;
        tally.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        return Ok(Some(full));
    }
}

/// The rejected documents, each with its reason.
fn quarantine(shape: &mut Collection, docs: &RawDocs, rejected: &HashSet<usize>, rows: &mut CopyRows) -> Result<()> {
    for (_, doc) in docs.docs().enumerate().filter(|(i, _)| rejected.contains(i)) {
        let doc = doc?;
        if let Err(reject) = shape.document(doc, false, &mut Nothing) {
            rows.quarantined.push(quarantined(shape, doc, &doc.to_owned(), reject));
        }
    }
    Ok(())
}

fn unsettled(copying: &Copying) -> Error {
    let message = format!("the shape of {} did not settle", copying.info.namespace);
    Error::new(Kind::Interrupted, Stage::Snapshot, message)
}
