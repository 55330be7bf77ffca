//! The snapshot: every collection that is not copied yet, several ranges at a time.
//!
//! In: the collections to copy. Out: their rows, each range one transaction that also marks it done, and the mappings
//! that grew on the way. An interrupted snapshot goes on with the ranges that are not marked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, RwLock};
use tokio::task::JoinSet;

use super::attempt::Session;
use super::collections::Collections;
use super::range::{RangeJob, learn};
use crate::error::{Error, Kind, Result, Stage};
use crate::mapping::collection::Collection;
use crate::model::state::State;
use crate::sink::chunks::Chunk;
use crate::sink::fence::Fence;
use crate::sink::target::Target;
use crate::source::{CollectionInfo, CollectionSize, IdRange, Source};
use crate::telemetry::Telemetry;

/// Bytes of source documents in one range: small enough that losing one in flight costs little.
pub const RANGE_BYTES: u64 = 32 << 20;

/// Documents that are looked at before the first range, so that most of the shape is known when rows are made.
pub const SAMPLE: u32 = 1000;

/// Times that a collection may be renamed while it is looked at.
const PREPARE_ATTEMPTS: usize = 10;

/// One collection while it is copied.
pub struct Copying {
    pub info: CollectionInfo,
    /// Ranges read it while their transaction is open; a schema change waits for them and keeps them out.
    pub mapping: RwLock<Collection>,
    pub remaining: AtomicUsize,
}

/// What every range needs.
#[derive(Clone)]
pub struct Tools {
    pub source: Source,
    pub target: Target,
    pub fence: Fence,
    pub telemetry: Telemetry,
}

/// See the module.
pub struct Snapshot<'s> {
    session: &'s Session<'s>,
    collections: &'s mut Collections,
    tools: Tools,
}

impl<'s> Snapshot<'s> {
    /// A snapshot of what `collections` says is to be copied.
    pub fn new(session: &'s Session<'s>, collections: &'s mut Collections) -> Self {
        let tools = Tools {
            source: session.source.clone(),
            target: session.target.clone(),
            fence: session.leader.fence().clone(),
            telemetry: session.telemetry.clone(),
        };
        Self { session, collections, tools }
    }

    /// Copies everything.
    ///
    /// # Errors
    /// The first error of any range.
    pub async fn run(mut self) -> Result<()> {
        let mut sized = self.sized().await?;
        if sized.is_empty() {
            return Ok(());
        }
        self.session.telemetry.state(State::Snapshot);
        // The largest first, so that the end is not one long collection on one reader.
        sized.sort_by_key(|(_, size)| std::cmp::Reverse(size.bytes));
        for (info, size) in &sized {
            self.tools.telemetry.snapshot_started(&info.namespace, size.documents, size.bytes);
        }
        let (jobs, copying) = self.plan(sized).await?;
        self.copy(jobs).await?;
        for copying in copying {
            let copying = Arc::into_inner(copying).ok_or_else(|| defect("a range is still held"))?;
            let mapping = copying.mapping.into_inner();
            self.collections.known.insert(mapping.id(), mapping);
        }
        Ok(())
    }

    async fn sized(&mut self) -> Result<Vec<(CollectionInfo, CollectionSize)>> {
        let mut sized = Vec::new();
        for info in std::mem::take(&mut self.collections.to_copy) {
            let size = self.session.source.size(&info.namespace).await?;
            sized.push((info, size));
        }
        Ok(sized)
    }

    /// The ranges that are still to be copied.
    async fn plan(
        &mut self,
        sized: Vec<(CollectionInfo, CollectionSize)>,
    ) -> Result<(Vec<RangeJob>, Vec<Arc<Copying>>)> {
        let (mut jobs, mut all) = (Vec::new(), Vec::new());
        for (info, size) in sized {
            let Some((copying, left)) = self.prepare(info, &size).await? else { continue };
            if left.is_empty() {
                finish(&self.tools, &copying).await?;
            }
            jobs.extend(left.into_iter().map(|chunk| RangeJob { copying: Arc::clone(&copying), chunk }));
            all.push(copying);
        }
        Ok((jobs, all))
    }

    /// One collection's mapping and the ranges left; `None` when it is gone, which the stream will tell too. What a
    /// rename interrupts is tried again under the new name.
    async fn prepare(
        &mut self,
        mut info: CollectionInfo,
        size: &CollectionSize,
    ) -> Result<Option<(Arc<Copying>, Vec<Chunk>)>> {
        for _ in 0..PREPARE_ATTEMPTS {
            match self.try_prepare(&info, size).await {
                Err(error) if error.kind() == Kind::Interrupted => {
                    tracing::warn!(namespace = %info.namespace, "{error}");
                    match current(&self.tools.source, &info).await? {
                        Some(now) => info = now,
                        None => return Ok(None),
                    }
                }
                prepared => return prepared.map(Some),
            }
        }
        let message = format!("{} is renamed faster than it can be looked at", info.namespace);
        Err(Error::new(Kind::Interrupted, Stage::Snapshot, message))
    }

    async fn try_prepare(
        &mut self,
        info: &CollectionInfo,
        size: &CollectionSize,
    ) -> Result<(Arc<Copying>, Vec<Chunk>)> {
        let chunks = self.chunks(info, size).await?;
        let known = self.collections.known.remove(&info.id);
        let mapping = match known {
            Some(known) => known,
            None => self.sample(info).await?,
        };
        let left: Vec<Chunk> = chunks.into_iter().filter(|chunk| chunk.done.is_none()).collect();
        let remaining = AtomicUsize::new(left.len());
        let copying = Copying { info: info.clone(), mapping: RwLock::new(mapping), remaining };
        Ok((Arc::new(copying), left))
    }

    /// A new mapping that has seen a sample of the documents, its tables made.
    async fn sample(&self, info: &CollectionInfo) -> Result<Collection> {
        let now = self.tools.source.operation_time().await?;
        let documents = self.tools.source.sample(info, now, SAMPLE).await?;
        let mut mapping = Collection::new(info.id, info.namespace.clone(), self.collections.shared.clone());
        for document in &documents {
            learn(&mut mapping, document.as_doc());
        }
        self.tools.target.apply(&self.tools.fence, &crate::mapping::compact::compact(mapping.take_ddl())).await?;
        Ok(mapping)
    }

    /// The collection's ranges, cut now unless an earlier attempt has.
    async fn chunks(&self, info: &CollectionInfo, size: &CollectionSize) -> Result<Vec<Chunk>> {
        let target = &self.tools.target;
        let known = target.chunks(info.id).await?;
        if !known.is_empty() {
            let done = known.iter().filter(|chunk| chunk.done.is_some()).map(|chunk| chunk.documents).sum();
            self.tools.telemetry.snapshot_resumed(&info.namespace, done);
            return Ok(known);
        }
        let ranges = self.tools.source.plan_ranges(info, size, RANGE_BYTES).await?;
        let chunks: Vec<Chunk> = ranges.into_iter().enumerate().filter_map(|(i, range)| chunk(i, range)).collect();
        target.plan_chunks(&self.tools.fence, info.id, &info.namespace, &chunks).await?;
        Ok(chunks)
    }

    /// Copies the ranges with as many readers as are configured and connections allow.
    async fn copy(&self, jobs: Vec<RangeJob>) -> Result<()> {
        // One connection is the leader's, one is kept for schema changes.
        let connections = self.session.config.target.max_connections.saturating_sub(2).max(1);
        let workers = self.session.config.snapshot.parallel.min(connections).min(jobs.len());
        let queue = Arc::new(Mutex::new(std::collections::VecDeque::from(jobs)));
        let mut tasks = JoinSet::new();
        for _ in 0..workers {
            let (queue, tools) = (Arc::clone(&queue), self.tools.clone());
            tasks.spawn(async move {
                loop {
                    let Some(job) = queue.lock().await.pop_front() else { return Ok(()) };
                    let copied = job.copy(&tools).await?;
                    if copied && job.copying.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
                        finish(&tools, &job.copying).await?;
                    }
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.map_err(|error| defect(&format!("a snapshot task panicked: {error}")))??;
            let open = self.tools.target.open_connections();
            self.tools.telemetry.connections(u64::try_from(open).unwrap_or(u64::MAX));
        }
        Ok(())
    }
}

/// The collection under the name that it has now; `None` when it is gone.
pub async fn current(source: &Source, info: &CollectionInfo) -> Result<Option<CollectionInfo>> {
    source.collection_by_id(&info.namespace.database, info.id).await
}

/// The collection is complete.
async fn finish(tools: &Tools, copying: &Copying) -> Result<()> {
    let mut mapping = copying.mapping.write().await;
    mapping.set_copied();
    tools.target.apply(&tools.fence, &mapping.take_ddl()).await?;
    tools.telemetry.snapshot_finished(&copying.info.namespace);
    Ok(())
}

/// A range that is not done.
pub fn chunk(number: usize, range: IdRange) -> Option<Chunk> {
    let number = i32::try_from(number).ok()?;
    Some(Chunk { number, lower: range.lower, upper: range.upper, done: None, documents: 0 })
}

fn defect(message: &str) -> Error {
    Error::new(Kind::Defect, Stage::Snapshot, message)
}
