//! The snapshot: every collection that is not copied yet, several ranges at a time, beside the stream.
//!
//! In: the work that is left. Out: rows, each range one transaction that also marks it done. What a range needs that the
//! tables do not have yet goes to the collection's lane, which changes them in the order of the stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;

use super::attempt::Session;
use super::memory::Memory;
use super::prepare::Work;
use super::range::RangeJob;
use super::throttle::Throttle;
use crate::error::{Error, Kind, Result, Stage};
use crate::model::bson::Document;
use crate::model::namespace::{CollectionId, Namespace};
use crate::model::ticket::Lesson;
use crate::sink::fence::Fence;
use crate::sink::recopy::Rows;
use crate::sink::target::Target;
use crate::source::Source;
use crate::telemetry::Telemetry;

/// What a copy has to tell the lane of its collection.
pub type Told = (CollectionId, Namespace, Lesson);

/// What every range needs.
#[derive(Clone)]
pub struct Tools {
    pub source: Source,
    pub target: Target,
    pub fence: Fence,
    pub telemetry: Telemetry,
    pub lessons: mpsc::Sender<Told>,
    pub memory: Memory,
    pub throttle: Throttle,
}

/// How many ranges are read at a time: one connection is the leader's, one at least an executor's, one is spare.
pub fn readers(session: &Session<'_>) -> usize {
    let connections = session.config.target.max_connections.saturating_sub(3).max(1);
    session.config.snapshot.parallel.min(connections)
}

/// Copies all that is left.
///
/// # Errors
/// The first error of any range.
pub async fn copy(work: Vec<Arc<Work>>, readers: usize, tools: &Tools) -> Result<()> {
    for work in &work {
        if work.is_gone {
            tools.telemetry.snapshot_gone(&work.info.namespace);
        } else if work.left.is_empty() {
            finish(tools, work).await?;
        }
    }
    let jobs =
        work.iter().flat_map(|work| work.left.iter().cloned().map(|chunk| RangeJob { work: Arc::clone(work), chunk }));
    let queue = Arc::new(Mutex::new(jobs.collect::<VecDeque<_>>()));
    let mut tasks = JoinSet::new();
    for _ in 0..readers {
        let (queue, tools) = (Arc::clone(&queue), tools.clone());
        tasks.spawn(async move {
            loop {
                let Some(job) = queue.lock().await.pop_front() else { return Ok(()) };
                let copied = job.copy(&tools).await?;
                if !copied {
                    tools.telemetry.snapshot_gone(&job.work.info.namespace);
                }
                if copied && job.work.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
                    finish(&tools, &job.work).await?;
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(|error| defect(&format!("a snapshot task panicked: {error}")))??;
    }
    Ok(())
}

/// All ranges are copied: what the source no longer has goes, and the lane takes note.
async fn finish(tools: &Tools, work: &Work) -> Result<()> {
    let id = work.info.id;
    if work.copying.is_over_rows() {
        let entered = work.copying.enter().await;
        if let Some(key) = entered.shape.stored_key() {
            let rows = Rows { tables: entered.shape.tables().to_vec(), key };
            let swept = tools.target.sweep(&tools.fence, id, &rows).await?;
            tracing::info!(namespace = %work.info.namespace, rows = swept, "what the source no longer has is gone");
        }
    }
    if work.copying.is_unkeyed() {
        // Whoever needs them meanwhile waits at the gate.
        let entered = work.copying.enter().await;
        if work.copying.is_unkeyed() && !work.copying.is_gone() {
            tools.target.add_keys(&tools.fence, entered.shape.tables()).await?;
            work.copying.set_keyed();
        }
    }
    if !work.only_noted && !teach(tools, work, Vec::new(), true).await? {
        tools.telemetry.snapshot_gone(&work.info.namespace);
        return Ok(());
    }
    if work.copying.is_over_rows() {
        tools.target.end_recopy(&tools.fence, id).await?;
    }
    work.copying.set_complete();
    tools.telemetry.snapshot_finished(&work.info.namespace);
    Ok(())
}

/// Tells the lane of the collection something and waits until what follows is committed; false when the collection is gone.
///
/// # Errors
/// When the stream ends before.
pub async fn teach(tools: &Tools, work: &Work, documents: Vec<Document>, complete: bool) -> Result<bool> {
    let (committed, done) = oneshot::channel();
    let lesson = Lesson { documents, complete, committed };
    let ended = || Error::new(Kind::Interrupted, Stage::Snapshot, "the stream has ended");
    tools.lessons.send((work.info.id, work.info.namespace.clone(), lesson)).await.map_err(|_| ended())?;
    match done.await {
        Ok(()) => Ok(true),
        // Gone, or about to be: the stream tells.
        Err(_) if work.copying.is_gone() => Ok(false),
        Err(_) => Err(ended()),
    }
}

fn defect(message: &str) -> Error {
    Error::new(Kind::Defect, Stage::Snapshot, message)
}
