//! The floors of reading: the servers' replies as they come, their documents counted and dropped.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bson::{RawArray, RawDocument, RawDocumentBuf, Timestamp, rawdoc};
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use mongodb::raw_batch_cursor::RawBatchCursor;
use tailwater::model::namespace::Namespace;
use tailwater::model::position::ClusterTime;
use tailwater::model::secret::Secret;
use tailwater::source::{BATCH, ReadPreference, ReaderKind, Source, SourceOptions, UpdateForm};

use crate::Result;
use crate::bench::Bench;
use crate::load::Feed;

/// Bytes of documents in one range of a copy, as the daemon cuts it.
const RANGE: u64 = 32 << 20;
/// How long the server waits for a change before it answers that there is none, as the daemon asks for.
const IDLE_ANSWER: Duration = Duration::from_millis(25);
const PATIENCE: Duration = Duration::from_secs(600);

impl Bench {
    pub async fn source(&self, reader: ReaderKind) -> Result<Source> {
        let uri = Secret::new(self.source.clone());
        let (read_preference, updates) = (ReadPreference::Primary, UpdateForm::Auto);
        Ok(Source::connect(&SourceOptions { uri, read_preference, reader, updates }).await?)
    }

    /// The time of the newest operation.
    pub async fn now(&self) -> Result<ClusterTime> {
        Ok(self.source(ReaderKind::Oplog).await?.operation_time().await?)
    }

    /// Bytes of BSON in one document, on average.
    pub async fn document_bytes(&self, feed: &Feed) -> Result<usize> {
        let namespace = Namespace::new(&feed.database, &feed.collection);
        Ok(self.source(ReaderKind::Oplog).await?.size(&namespace).await?.mean())
    }

    /// Seconds to read a collection in ranges, so many at a time.
    pub async fn raw_scan(&self, feed: &Feed, readers: usize) -> Result<f64> {
        let source = self.source(ReaderKind::ChangeStream).await?;
        let namespace = Namespace::new(&feed.database, &feed.collection);
        let collection = source.collection(&namespace).await?.ok_or("no collection")?;
        let size = source.size(&namespace).await?;
        let ranges = source.plan_ranges(&collection, &size, RANGE).await?;
        let at = source.operation_time().await?;
        let next = AtomicUsize::new(0);
        let start = Instant::now();
        let read = async || {
            let mut count = 0;
            while let Some(range) = ranges.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut reader = source.read_range(&collection, range, Some(at), BATCH).await?;
                while let Some(batch) = reader.next_batch().await? {
                    count += batch.docs().count();
                }
            }
            Ok::<_, Box<dyn std::error::Error>>(count)
        };
        let counts = try_join_all((0..readers).map(|_| read())).await?;
        let seconds = start.elapsed().as_secs_f64();
        same("read raw", i64::try_from(counts.iter().sum::<usize>())?, feed.documents())?;
        Ok(seconds)
    }

    /// Seconds to read a backlog.
    pub async fn raw_changes(&self, reader: ReaderKind, from: ClusterTime, changes: u64) -> Result<f64> {
        let after = Timestamp { time: from.seconds, increment: from.ordinal + 1 };
        let (database, command, count): (_, _, fn(&RawArray) -> Result<u64>) = match reader {
            ReaderKind::ChangeStream => ("admin", stream(after), events),
            ReaderKind::Oplog | ReaderKind::Auto => ("local", tail(after), operations),
        };
        let start = Instant::now();
        let database = self.mongodb.database(database);
        let cursor = database.run_raw_cursor_command(command).max_time(IDLE_ANSWER).batch().await?;
        let found = tokio::time::timeout(PATIENCE, read(cursor, count, changes)).await??;
        let seconds = start.elapsed().as_secs_f64();
        same("changes read raw", found, changes)?;
        Ok(seconds)
    }
}

async fn read(mut cursor: RawBatchCursor, count: fn(&RawArray) -> Result<u64>, changes: u64) -> Result<u64> {
    let mut found = 0;
    while found < changes {
        let batch = cursor.next().await.ok_or("the cursor has ended")??;
        found += count(batch.doc_slices()?)?;
    }
    Ok(found)
}

pub fn same<T: PartialEq + std::fmt::Display>(what: &str, found: T, wanted: T) -> Result<()> {
    if found == wanted { Ok(()) } else { Err(format!("{what}: {found} instead of {wanted}").into()) }
}

/// The options that the daemon has on this server.
fn stream(after: Timestamp) -> RawDocumentBuf {
    let options = rawdoc! {
        "allChangesForCluster": true, "showExpandedEvents": true, "showRawUpdateDescription": true,
        "startAtOperationTime": after,
    };
    let pipeline = bson::rawbson!([{ "$changeStream": options }, { "$changeStreamSplitLargeEvent": {} }]);
    rawdoc! { "aggregate": 1, "pipeline": pipeline, "cursor": {}, "readConcern": { "level": "majority" } }
}

pub fn tail(after: Timestamp) -> RawDocumentBuf {
    rawdoc! {
        "find": "oplog.rs", "filter": { "ts": { "$gte": after } }, "tailable": true, "awaitData": true,
        "readConcern": { "level": "majority" },
    }
}

fn events(batch: &RawArray) -> Result<u64> {
    Ok(u64::try_from(batch.into_iter().count())?)
}

/// Changes of documents in some entries of the oplog.
fn operations(batch: &RawArray) -> Result<u64> {
    let mut count = 0;
    for entry in batch {
        if let Some(entry) = entry?.as_document() {
            each(entry, &mut |_, _| {
                count += 1;
                Ok(())
            })?;
        }
    }
    Ok(count)
}

/// Hands out the changes of documents in an entry, with `i`, `u` or `d`: one, or a list of them.
pub fn each<'e>(entry: &'e RawDocument, found: &mut impl FnMut(&'e str, &'e RawDocument) -> Result<()>) -> Result<()> {
    match entry.get_str("op")? {
        op @ ("i" | "u" | "d") => {
            let namespace = entry.get_str("ns")?;
            if ["config.", "admin.", "local."].iter().any(|own| namespace.starts_with(own)) {
                return Ok(());
            }
            found(op, entry)
        }
        "c" => {
            let Ok(list) = entry.get_document("o")?.get_array("applyOps") else { return Ok(()) };
            for entry in list {
                each(entry?.as_document().ok_or("an operation that is no document")?, found)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
