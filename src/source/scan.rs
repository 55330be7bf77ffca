//! Reading one range of one collection, as it was at one cluster time.
//!
//! In: a collection (by UUID), a range, a time. Out: the server's batches, untouched. Invariants: every document of the
//! range exactly once, whatever the type of its `_id`; all batches from the same cluster time; a collection that was
//! renamed is found again by its UUID, one that was dropped is [`Kind::Interrupted`].
//!
//! Bounds are `min` and `max` on the `_id` index: comparison operators only see ids of their operand's type. The server
//! takes a missing `max` as "less than MaxKey" once there is a `min` (measured on 8.2; a clustered collection includes
//! it), so the last range of several always says `max: MaxKey` and then asks for the one `_id` that is MaxKey.

use std::collections::VecDeque;

use bson::{RawDocumentBuf, rawdoc};
use mongodb::options::SelectionCriteria;

use super::catalog::{CollectionInfo, uuid_value};
use super::faults::{COLLECTION_UUID_MISMATCH, Site, classify, malformed, server_code};
use super::ranges::IdRange;
use super::replies::Replies;
use super::reply::Reply;
use super::{More, Source};
use crate::error::{Error, Kind, Result, Stage};
use crate::model::bson::Doc;
use crate::model::namespace::Namespace;
use crate::model::position::ClusterTime;

/// Documents per batch. The server also ends a batch at 16 MiB, so this bounds the memory for small documents, where the
/// rows that they become weigh more than the BSON; with less, a distant server would be waited for most of the time.
pub const BATCH: u32 = 4000;
/// A reply that is here already is known; the mean of what is to come is not that of all.
const SPREAD: usize = 2;

/// Documents in a batch of at most `bytes` when they have `mean` bytes; 0 when that is not known. The server would send
/// up to 16 MiB.
#[must_use]
pub fn batch(mean: usize, bytes: usize) -> u32 {
    u32::try_from(bytes / SPREAD / mean.max(1)).unwrap_or(BATCH).clamp(1, BATCH)
}

/// How often a name is looked up again while somebody renames the collection.
const RENAMES: usize = 5;

/// Reads a range batch by batch. Dropping it closes the cursor.
#[derive(Debug)]
pub struct RangeReader {
    source: Source,
    namespace: Namespace,
    replies: Replies,
    ready: Option<Reply>,
    /// What to read after this cursor.
    rest: VecDeque<RawDocumentBuf>,
    at: ClusterTime,
    /// Documents in a batch, at most.
    batch: u32,
    doing: String,
}

/// One batch of documents, as the server sent it.
#[derive(Debug)]
pub struct RawDocs {
    reply: Reply,
    hosts: Box<str>,
}

/// A cursor that was opened: the name that the collection has now, and the first reply.
pub(super) type Opened = (Namespace, Replies, Reply);

impl Source {
    /// Opens a range at `at`, or at the current operation time. `batch`: documents in a batch, at most (see [`batch`]).
    ///
    /// # Errors
    /// [`Kind::Interrupted`] when the collection is gone or the time is too old to be read; the caller takes a later one.
    pub async fn read_range(
        &self,
        collection: &CollectionInfo,
        range: &IdRange,
        at: Option<ClusterTime>,
        batch: u32,
    ) -> Result<RangeReader> {
        let at = match at {
            Some(at) => at,
            None => self.operation_time().await?,
        };
        let mut rest = commands(collection, range, at, batch)?;
        let doing = format!("copy {}", collection.namespace);
        let Some(command) = rest.pop_front() else {
            return Err(Error::new(Kind::Defect, Stage::Snapshot, "a range without a command"));
        };
        let on = self.inner.snapshot_reads.clone();
        let opened = self.find(collection.namespace.clone(), command, on, batch, &doing).await?;
        self.reader(opened, rest, at, batch, doing)
    }

    /// A reader that goes on where a cursor was opened at `at`, or at the time that the server says instead.
    pub(super) fn reader(
        &self,
        (namespace, replies, first): Opened,
        rest: VecDeque<RawDocumentBuf>,
        at: ClusterTime,
        batch: u32,
        doing: String,
    ) -> Result<RangeReader> {
        let reported = first.at_cluster_time().map_err(|error| malformed(error, self.site(Stage::Snapshot, &doing)))?;
        let at = reported.unwrap_or(at);
        Ok(RangeReader { source: self.clone(), namespace, replies, ready: Some(first), rest, at, batch, doing })
    }

    /// Opens a `find` by UUID.
    pub(super) async fn find(
        &self,
        namespace: Namespace,
        command: RawDocumentBuf,
        on: SelectionCriteria,
        batch: u32,
        doing: &str,
    ) -> Result<Opened> {
        let more = More { documents: Some(batch), ..More::default() };
        self.open_by_id(bson::cstr!("find"), namespace, command, on, more, doing).await
    }

    /// Opens a command by UUID, following the collection to the name that the server says it has now. Its first field,
    /// the verb with the name, is not in `command`.
    pub(super) async fn open_by_id(
        &self,
        verb: &bson::raw::CStr,
        mut namespace: Namespace,
        command: RawDocumentBuf,
        on: SelectionCriteria,
        more: More,
        doing: &str,
    ) -> Result<Opened> {
        let site = self.site(Stage::Snapshot, doing);
        for _ in 0..RENAMES {
            let mut named = RawDocumentBuf::new();
            named.append(verb, &*namespace.collection);
            for element in &command {
                let (name, value) = element
                    .map_err(|error| Error::new(Kind::Defect, Stage::Snapshot, "a command of ours").caused_by(error))?;
                named.append(name, value);
            }
            match self.open(&namespace.database, named, on.clone(), more, site).await? {
                Ok((replies, first)) => return Ok((namespace, replies, first)),
                Err(error) if server_code(&error) == Some(COLLECTION_UUID_MISMATCH) => {
                    let reply = error.server_response().map(|reply| reply.get_str("actualCollection"));
                    match reply {
                        Some(Ok(actual)) => namespace = Namespace::new(&namespace.database, actual),
                        _ => return Err(gone(site)),
                    }
                }
                Err(error) => return Err(classify(&error, site)),
            }
        }
        Err(gone(site))
    }
}

impl RangeReader {
    /// The point in time of everything that this reader yields.
    #[must_use]
    pub fn cluster_time(&self) -> ClusterTime {
        self.at
    }

    /// Bytes that the next batch can have, when documents have `mean` bytes; the server ends it at 16 MiB.
    #[must_use]
    pub fn next_bytes(&self, mean: usize) -> usize {
        let batch = usize::try_from(self.batch).unwrap_or(usize::MAX);
        self.ready.as_ref().map_or(mean.max(1).saturating_mul(batch).saturating_mul(SPREAD), Reply::len)
    }

    /// The next batch; `None` after the last. A batch is never empty.
    ///
    /// # Errors
    /// [`Kind::Interrupted`] when the collection moved under the scan or the time became too old; the caller reads the
    /// range again.
    pub async fn next_batch(&mut self) -> Result<Option<RawDocs>> {
        loop {
            let site = Site { stage: Stage::Snapshot, doing: &self.doing, hosts: &self.source.inner.hosts };
            let reply = match self.ready.take() {
                Some(reply) => Some(reply),
                None => self.replies.next(site).await?,
            };
            match reply {
                Some(reply) if reply.is_empty().map_err(|error| malformed(error, site))? => {}
                Some(reply) => return Ok(Some(RawDocs { reply, hosts: self.source.inner.hosts.as_str().into() })),
                None => match self.rest.pop_front() {
                    None => return Ok(None),
                    Some(command) => {
                        let on = self.source.inner.snapshot_reads.clone();
                        let opened =
                            self.source.find(self.namespace.clone(), command, on, self.batch, &self.doing).await?;
                        let (namespace, replies, first) = opened;
                        (self.namespace, self.replies, self.ready) = (namespace, replies, Some(first));
                    }
                },
            }
        }
    }
}

impl RawDocs {
    /// The documents, borrowed from the batch.
    pub fn docs(&self) -> impl Iterator<Item = Result<Doc<'_>>> {
        let site = Site { stage: Stage::Snapshot, doing: "read a batch", hosts: &self.hosts };
        let (documents, failed) = match self.reply.documents() {
            Ok(documents) => (Some(documents), None),
            Err(error) => (None, Some(Err(error))),
        };
        failed.into_iter().chain(documents.into_iter().flatten()).map(move |doc| doc.map_err(|e| malformed(e, site)))
    }

    /// Size of the batch in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.reply.len()
    }
}

/// The `find`s of a range, without their first field, which holds the name.
fn commands(
    collection: &CollectionInfo,
    range: &IdRange,
    at: ClusterTime,
    batch: u32,
) -> Result<VecDeque<RawDocumentBuf>> {
    let (lower, upper) = range.bounds()?;
    let mut body = rawdoc! {};
    if collection.id_index {
        body.append(bson::cstr!("hint"), rawdoc! { "_id": 1 });
    }
    let mut last = None;
    match (lower, upper) {
        (None, None) => {}
        (None, Some(upper)) => body.append(bson::cstr!("max"), upper),
        (Some(lower), Some(upper)) => {
            body.append(bson::cstr!("min"), lower);
            body.append(bson::cstr!("max"), upper);
        }
        (Some(lower), None) => {
            body.append(bson::cstr!("min"), lower);
            body.append(bson::cstr!("max"), rawdoc! { "_id": bson::RawBson::MaxKey });
            last = Some(rawdoc! { "filter": { "_id": bson::RawBson::MaxKey } });
        }
    }
    let mut commands: VecDeque<RawDocumentBuf> = [Some(body), last].into_iter().flatten().collect();
    for command in &mut commands {
        command.append(bson::cstr!("batchSize"), i64::from(batch));
        command.append(bson::cstr!("collectionUUID"), uuid_value(collection.id));
        command.append(bson::cstr!("readConcern"), snapshot_concern(at));
    }
    Ok(commands)
}

/// A snapshot read at `at`.
pub(super) fn snapshot_concern(at: ClusterTime) -> RawDocumentBuf {
    let time = bson::Timestamp { time: at.seconds, increment: at.ordinal };
    rawdoc! { "level": "snapshot", "atClusterTime": time }
}

fn gone(site: Site<'_>) -> Error {
    let message = format!("cannot {} on {}: the collection was dropped", site.doing, site.hosts);
    Error::new(Kind::Interrupted, site.stage, message)
}
