//! What is looked at before anything is copied: sizes, ranges, and the shape that a sample of the documents asks for.
//!
//! In: the collections that are not copied yet. Out: the work that is left, and for each collection whose copy still matters
//! to the stream, what a change of it means. Ranges are cut once; an interrupted copy goes on with those that are not marked.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::Mutex;

use super::attempt::Session;
use super::collections::Collections;
use super::range::learn;
use super::snapshot::readers;
use crate::copying::{Begun, Copies, Copying, Locate};
use crate::error::{Error, Kind, Result, Stage};
use crate::mapping::collection::{Collection, Shared};
use crate::mapping::compact::compact;
use crate::mapping::options::Derived;
use crate::model::bson::Document;
use crate::model::position::{ClusterTime, Position};
use crate::sink::checkpoint::Checkpoints;
use crate::sink::chunks::Chunk;
use crate::sink::recopy::Rows;
use crate::source::{CollectionInfo, CollectionSize, IdRange, Source};

/// Bytes of source documents in one range: small enough that losing one in flight costs little, and that a change of a
/// document in it does not wait long.
pub const RANGE_BYTES: u64 = 32 << 20;

/// Documents that are looked at before the first range, so that most of the shape is known when rows are made.
pub const SAMPLE: u32 = 1000;

/// Times that a collection may be renamed while it is looked at.
const ATTEMPTS: usize = 10;

/// Collections that are looked at at a time.
const AT_ONCE: usize = 4;

/// A collection and the ranges of it that are to be copied.
pub struct Work {
    pub info: CollectionInfo,
    pub size: CollectionSize,
    pub copying: Arc<Copying>,
    pub left: Vec<Chunk>,
    /// Ranges that are not committed yet.
    pub remaining: AtomicUsize,
    /// Documents and bytes that are copied already.
    pub done: (u64, u64),
    /// True when the source has it no more.
    pub is_gone: bool,
    /// What is read in place of its documents.
    pub derived: Option<Derived>,
    /// True when it was copied before, and the end of that was not noted.
    pub only_noted: bool,
}

/// What is to be copied, and what it means to the stream.
#[derive(Default)]
pub struct Prepared {
    pub copies: Copies,
    pub work: Vec<Arc<Work>>,
}

/// Bytes of a range where all readers together may read so many bytes per second: each is to be done in some seconds, as
/// changes of its documents wait for it.
fn range_bytes(max_bytes_per_second: Option<u64>, readers: usize) -> u64 {
    const SECONDS: u64 = 4;
    const SMALLEST: u64 = 1 << 20;
    let readers = u64::try_from(readers.max(1)).unwrap_or(1);
    let in_time = max_bytes_per_second.map(|rate| rate.saturating_mul(SECONDS) / readers);
    in_time.unwrap_or(RANGE_BYTES).clamp(SMALLEST, RANGE_BYTES)
}

/// A range that is not done.
pub fn chunk(number: usize, range: IdRange) -> Option<Chunk> {
    let number = i32::try_from(number).ok()?;
    Some(Chunk { number, lower: range.lower, upper: range.upper, done: None, documents: 0, bytes: 0 })
}

/// Looks at everything that is to be copied.
pub async fn prepare(
    session: &Session<'_>,
    collections: &mut Collections,
    floor: &Position,
    checkpoints: &Checkpoints,
) -> Result<Prepared> {
    let furthest = checkpoints.lanes.values().chain([floor]).map(Position::latest_before).max().unwrap_or_default();
    let preparing =
        Preparing { session, shared: collections.shared.clone(), sampling: Mutex::new(()), passed: furthest };
    let to_copy = std::mem::take(&mut collections.to_copy);
    let found: Vec<_> = to_copy.into_iter().map(|info| (collections.known.remove(&info.id), info)).collect();
    let prepared = stream::iter(found.into_iter().map(|(known, info)| preparing.collection(known, info)));
    let prepared: Vec<Option<(Collection, Work)>> = prepared.buffer_unordered(AT_ONCE).try_collect().await?;
    let (mut all, mut work) = (HashMap::new(), Vec::new());
    for (mapping, done) in prepared.into_iter().flatten() {
        all.insert(done.info.id, Arc::clone(&done.copying));
        collections.known.insert(done.info.id, mapping);
        work.push(Arc::new(done));
    }
    for id in session.target.copied_after(floor.cluster_time()).await? {
        if !all.contains_key(&id)
            && let Some(mapping) = collections.known.get(&id)
        {
            let chunks = session.target.chunks(id).await?;
            all.insert(id, Arc::new(preparing.copying(mapping, &chunks, None, (false, false))));
        }
    }
    // What the source has no more, as the stream is going to tell, was not copied to its end.
    for (id, mapping) in &collections.known {
        if !mapping.is_copied() && !all.contains_key(id) && session.config.filter.selects(mapping.namespace()) {
            all.insert(*id, Arc::new(preparing.copying(mapping, &unread(), None, (false, false))));
        }
    }
    // The largest first, so that the end is not one long collection on one reader.
    work.sort_by_key(|work| std::cmp::Reverse(work.size.bytes));
    for work in &work {
        work.tell(session);
    }
    Ok(Prepared { copies: Copies::new(all, floor.cluster_time()), work })
}

impl Work {
    fn tell(&self, session: &Session<'_>) {
        let namespace = &self.info.namespace;
        session.telemetry.snapshot_started(namespace, self.size.documents, self.size.bytes);
        if self.done.0 > 0 {
            session.telemetry.snapshot_resumed(namespace, self.done.0, self.done.1);
        }
    }
}

/// What all collections are prepared with.
struct Preparing<'s> {
    session: &'s Session<'s>,
    shared: Shared,
    /// Held while documents are looked at, which are in memory then.
    sampling: Mutex<()>,
    /// Up to here changes may have been passed over.
    passed: ClusterTime,
}

impl Preparing<'_> {
    /// One collection's mapping and what is left of it; `None` when it is gone, which the stream will tell too. What a
    /// rename interrupts is tried again under the new name.
    async fn collection(
        &self,
        known: Option<Collection>,
        mut info: CollectionInfo,
    ) -> Result<Option<(Collection, Work)>> {
        for _ in 0..ATTEMPTS {
            match self.try_collection(known.clone(), &info).await {
                Err(error) if error.kind() == Kind::Interrupted => {
                    tracing::warn!(namespace = %info.namespace, "{error}");
                    match self.session.source.collection_by_id(&info.namespace.database, info.id).await? {
                        Some(now) => info = now,
                        None => return Ok(known.map(|known| self.gone(known, info))),
                    }
                }
                prepared => return prepared.map(Some),
            }
        }
        let message = format!("{} is renamed faster than it can be looked at", info.namespace);
        Err(Error::new(Kind::Interrupted, Stage::Snapshot, message))
    }

    /// A collection that is gone, as the stream will tell: nothing more of it is copied, and until then it is not whole.
    fn gone(&self, known: Collection, info: CollectionInfo) -> (Collection, Work) {
        let copying = Arc::new(self.copying(&known, &unread(), None, (false, false)));
        let size = CollectionSize::default();
        let (left, remaining, done) = (Vec::new(), AtomicUsize::new(0), (0, 0));
        (known, Work { info, size, copying, left, remaining, done, is_gone: true, derived: None, only_noted: false })
    }

    async fn try_collection(&self, known: Option<Collection>, info: &CollectionInfo) -> Result<(Collection, Work)> {
        let size = self.session.source.size(&info.namespace).await?;
        let over = self.session.recopies.contains(&info.id);
        let chunks = self.chunks(info, &size, known.as_ref(), over).await?;
        // Last, as it takes names and makes tables.
        let (fence, target) = (self.session.leader.fence(), &self.session.target);
        let (mapping, unkeyed) = match known {
            Some(known) => {
                let unkeyed = !known.is_copied() && target.lacks_keys(fence, known.tables()).await?;
                if unkeyed && over {
                    // Rows are found by them from the start.
                    target.add_keys(fence, known.tables()).await?;
                }
                (known, unkeyed && !over)
            }
            None => {
                let new = self.sample(info).await?;
                // For a single range it is not worth the while.
                let unkeyed = chunks.len() > 1 && !new.tables().iter().any(|table| table.is_wide());
                if unkeyed {
                    target.drop_keys(fence, new.tables()).await?;
                }
                (new, unkeyed)
            }
        };
        let derived = self.shared.derived(&info.namespace).cloned();
        let locate = info.collation.is_some().then(|| locate(&self.session.source, info, &chunks));
        let copying = Arc::new(self.copying(&mapping, &chunks, locate, (over, unkeyed)));
        let done = chunks.iter().filter(|chunk| chunk.done.is_some());
        let done = done.fold((0, 0), |(documents, bytes), chunk| (documents + chunk.documents, bytes + chunk.bytes));
        let left: Vec<Chunk> = chunks.into_iter().filter(|chunk| chunk.done.is_none()).collect();
        let (remaining, only_noted) = (AtomicUsize::new(left.len()), mapping.is_copied());
        Ok((
            mapping,
            Work { info: info.clone(), size, copying, left, remaining, done, is_gone: false, derived, only_noted },
        ))
    }

    fn copying(
        &self,
        mapping: &Collection,
        chunks: &[Chunk],
        locate: Option<Locate>,
        (over, unkeyed): (bool, bool),
    ) -> Copying {
        let begun = Begun {
            database: mapping.namespace().database.clone(),
            copied: chunks.iter().map(|chunk| chunk.done).collect(),
            bounds: bounds(chunks),
            locate,
            passed: self.passed,
            complete: mapping.is_copied(),
            over,
            unkeyed,
        };
        Copying::new(begun, mapping)
    }

    /// A new mapping that has seen a sample of the documents, its tables made.
    async fn sample(&self, info: &CollectionInfo) -> Result<Collection> {
        let (source, target) = (&self.session.source, &self.session.target);
        let _alone = self.sampling.lock().await;
        let now = source.operation_time().await?;
        let documents = match self.shared.derived(&info.namespace) {
            Some(_) => Vec::new(),
            None => source.sample(info, now, SAMPLE).await?,
        };
        let mut mapping = Collection::new(info.id, info.namespace.clone(), self.shared.clone());
        for document in &documents {
            learn(&mut mapping, document.as_doc());
        }
        target.apply(self.session.leader.fence(), &compact(mapping.take_ddl())).await?;
        Ok(mapping)
    }

    /// The collection's ranges, cut now unless an earlier attempt has.
    async fn chunks(
        &self,
        info: &CollectionInfo,
        size: &CollectionSize,
        known: Option<&Collection>,
        over: bool,
    ) -> Result<Vec<Chunk>> {
        let Session { source, target, .. } = self.session;
        let cut = target.chunks(info.id).await?;
        if !cut.is_empty() {
            return Ok(cut);
        }
        let ranges = match self.shared.derived(&info.namespace) {
            // A partition keeps its ids, so that another list at the next start does not change what is left.
            Some(Derived { ids: Some(ids), .. }) => ids.partitions().iter().cloned().map(IdRange::from).collect(),
            Some(Derived { ids: None, .. }) => vec![IdRange::default()],
            None => {
                let limit = self.session.config.snapshot.max_bytes_per_second;
                source.plan_ranges(info, size, range_bytes(limit, readers(self.session))).await?
            }
        };
        let chunks: Vec<Chunk> = ranges.into_iter().enumerate().filter_map(|(i, range)| chunk(i, range)).collect();
        let rows = known
            .filter(|_| over)
            .and_then(|known| known.stored_key().map(|key| Rows { tables: known.tables().to_vec(), key }));
        let fence = self.session.leader.fence();
        target.plan_chunks(fence, info.id, &info.namespace, &chunks, rows.as_ref()).await?;
        Ok(chunks)
    }
}

/// The ranges of what is not read.
fn unread() -> Vec<Chunk> {
    chunk(0, IdRange::default()).into_iter().collect()
}

/// What lies between ranges. Partitions of what is derived have none, as no change of a document is applied there.
fn bounds(chunks: &[Chunk]) -> Vec<Document> {
    chunks.iter().skip(1).filter_map(|chunk| chunk.lower.clone()).collect()
}

/// Asks the source, as the order of a collation is the server's.
fn locate(source: &Source, info: &CollectionInfo, chunks: &[Chunk]) -> Locate {
    let (source, info, bounds): (Source, _, Arc<[Document]>) = (source.clone(), info.clone(), bounds(chunks).into());
    Box::new(move |key| {
        let (source, info, bounds) = (source.clone(), info.clone(), Arc::clone(&bounds));
        Box::pin(async move {
            let places = source.places(&info, &bounds, &[key]).await?;
            Ok(places.first().copied().unwrap_or_default())
        })
    })
}
