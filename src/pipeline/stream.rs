//! Following: reader, router, lanes and executors of one attempt, and their orderly end.
//!
//! Stopping flows like data: the reader stops, the router hands out what it has, lanes and executors end when their
//! channels do, and the floor is written last. A failing executor stops the reader through a token.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::attempt::Session;
use super::collections::Collections;
use super::coordinator::Coordinator;
use super::memory::Memory;
use super::prepare::Prepared;
use super::retry::{self, Retries};
use super::snapshot::{self, Told, Tools};
use super::switch::From;
use super::throttle::Throttle;
use crate::config::Config;
use crate::copying::Copies;
use crate::error::{Error, Kind, Result, Stage};
use crate::lane::Lane;
use crate::model::namespace::CollectionId;
use crate::model::position::{ClusterTime, Position};
use crate::model::state::State;
use crate::model::ticket::{Through, Ticket};
use crate::model::write_set::Waiting;
use crate::router::{LaneParts, Router, RouterParts};
use crate::sink::batch::BatchLimits;
use crate::sink::checkpoint::Checkpoints;
use crate::sink::executor::{Executor, ExecutorParts};
use crate::sink::fence::Fence;
use crate::sink::target::Target;
use crate::telemetry::Telemetry;

/// Tickets that wait in front of an executor, at most.
const TICKETS: usize = 1024;

/// Row changes after which a batch is written: beyond some thousand rows a statement gains little from being larger.
const BATCH_CHANGES: usize = 20_000;

/// New tables in one transaction: each takes several locks until the commit, and a default PostgreSQL has room for 6,400.
const BATCH_SCHEMA_CHANGES: usize = 200;

/// Bytes that a known collection takes, changes or not: its mapping, its lane, its prepared statements (seen with 2,048 of 11
/// columns).
const COLLECTION: usize = 18 << 10;

/// How long a stop may take: what is in hand is finished, what does not come to an end is left to the next start.
const STOP_DEADLINE: Duration = Duration::from_secs(8);

/// See the module.
pub struct Stream<'s> {
    pub session: &'s Session<'s>,
    pub floor: Position,
    /// From where the reader goes on.
    pub from: From,
    pub checkpoints: Checkpoints,
    pub collections: Collections,
    pub prepared: Prepared,
    pub quarantined: HashMap<CollectionId, Waiting>,
    /// Ends once everything up to here is committed.
    pub goal: Option<ClusterTime>,
}

/// What the tasks of the stream share.
#[derive(Clone)]
pub struct Running {
    pub executors: Arc<Mutex<Vec<watch::Receiver<Option<Through>>>>>,
    /// Which executor each database has.
    pub assigned: Arc<Mutex<HashMap<Arc<str>, usize>>>,
    /// Everything up to here is read and handed out.
    pub read: watch::Sender<Option<Through>>,
    pub memory: Arc<Semaphore>,
    /// Bytes of it.
    limit: Arc<AtomicUsize>,
    tasks: Arc<Mutex<JoinSet<Result<()>>>>,
    failed: CancellationToken,
}

impl Stream<'_> {
    /// Follows until the goal, a stop, or an error.
    pub async fn run(self) -> Result<()> {
        let session = self.session;
        let Prepared { copies, work } = self.prepared;
        let readers = if work.is_empty() { 0 } else { snapshot::readers(session) };
        let limit = session.config.limits.memory;
        let share = if work.is_empty() { 0 } else { limit / 2 };
        let known = self.collections.known.len().saturating_mul(COLLECTION);
        let memory = (limit - share).saturating_sub(known).max(limit / 4);
        let running = Running::new(memory);
        let databases = self.collections.known.values().map(|known| known.namespace().database.clone()).collect();
        let (marks, retries) = retry::channel();
        let mut coordinator =
            Coordinator::new(session, running.clone(), marks, self.floor.clone(), databases, copies.clone());
        let (goal, from) = (self.goal, self.from);
        let (lessons, told) = mpsc::channel(1);
        let tools = Tools {
            source: session.source.clone(),
            target: session.target.clone(),
            fence: session.leader.fence().clone(),
            telemetry: session.telemetry.clone(),
            lessons,
            memory: Memory::new(share, readers),
            throttle: Throttle::new(session.config.snapshot.max_bytes_per_second),
        };
        let writing = Writing {
            target: session.target.clone(),
            fence: session.leader.fence().clone(),
            done: from.done,
            checkpoints: self.checkpoints,
            collections: self.collections,
            quarantined: self.quarantined,
            copies: copies.clone(),
            replayed_until: session.source.operation_time().await?,
            // Rows and positions are committed together, and a copy leaves out what it contains: nothing comes twice.
            exact_after: session.exact.then(ClusterTime::default),
            memory,
            // The readers of ranges, and one that is spare.
            reserved: if readers > 0 { readers + 1 } else { 0 },
        };
        let router = writing.router(session.config, session.telemetry, &running);
        let reading = Reading { session, retries, told, running: &running, goal, copies };
        let copying = async {
            snapshot::copy(work, readers, &tools).await?;
            running.enlarge(share);
            std::future::pending().await
        };
        let ended = tokio::select! {
            ended = reading.run(router, &from.floor) => ended,
            ended = coordinator.run() => ended,
            ended = copying => ended,
        };
        let finished = finish(&running, ended.is_ok(), session.shutdown).await;
        coordinator.last_floor().await;
        // An executor's own error says more than the reader's, which only saw a channel close.
        finished.and(ended)
    }
}

/// What executors write into, and from where on.
pub struct Writing {
    pub target: Target,
    pub fence: Fence,
    pub checkpoints: Checkpoints,
    pub collections: Collections,
    pub quarantined: HashMap<CollectionId, Waiting>,
    pub copies: Copies,
    /// What is not later may have been applied before.
    pub replayed_until: ClusterTime,
    /// Documents that are inserted later have no rows yet; `None` when that cannot be counted on.
    pub exact_after: Option<ClusterTime>,
    /// Bytes of changes that may wait.
    pub memory: usize,
    /// Connections that others need, beside the leader's.
    pub reserved: usize,
    /// Positions up to which the router passes over a database's changes.
    pub done: HashMap<String, Position>,
}

impl Writing {
    /// A router whose executors write into the target.
    pub fn router(self, config: &Config, telemetry: &Telemetry, running: &Running) -> Router {
        let limit = self.memory;
        let max_executors = config.target.max_connections.saturating_sub(1 + self.reserved).max(1);
        let limits = BatchLimits {
            changes: BATCH_CHANGES,
            // Every executor may hold a batch while another waits for memory.
            bytes: limit / (max_executors + 1),
            schema_changes: BATCH_SCHEMA_CHANGES,
        };
        let (target, fence) = (self.target, self.fence);
        let (replayed_until, exact_after) = (self.replayed_until, self.exact_after);
        let copies = self.copies.clone();
        let (telemetry, lanes) = (telemetry.clone(), self.checkpoints.lanes);
        let running = running.clone();
        let assigned = Arc::clone(&running.assigned);
        let memory = Arc::clone(&running.memory);
        let mut homes = 0..;
        let start_executor = Box::new(move || {
            let home = homes.next().unwrap_or_default();
            let (target, fence) = (target.clone(), fence.clone());
            let (telemetry, lanes, copies) = (telemetry.clone(), lanes.clone(), copies.clone());
            running.start(move |tickets, through| async move {
                let (client, merge) = (target.client().await?, target.has_merge());
                let parts =
                    ExecutorParts { home, fence, lanes, limits, copies, replayed_until, exact_after, merge, telemetry };
                Executor::new(parts, client, tickets, through).run().await
            })
        });
        Router::new(RouterParts {
            filter: config.filter.clone(),
            shared: self.collections.shared,
            listed_at: self.collections.listed_at,
            collections: self.collections.known,
            quarantined: self.quarantined,
            copies: self.copies,
            done: self.done,
            memory,
            memory_limit: limit,
            max_executors,
            in_order: false,
            start_lane,
            start_executor,
            assigned,
        })
    }
}

/// Starts a lane; it ends when its input does.
pub fn start_lane(parts: LaneParts) {
    let LaneParts { collection, database, quarantined, copying, input, output } = parts;
    tokio::spawn(Lane::new(collection, database, quarantined).beside(copying).run(input, output));
}

impl Running {
    /// Nothing runs yet; `memory_limit` in bytes.
    pub fn new(memory_limit: usize) -> Self {
        Self {
            executors: Arc::default(),
            assigned: Arc::default(),
            read: watch::Sender::new(None),
            memory: Arc::new(Semaphore::new(memory_limit)),
            limit: Arc::new(AtomicUsize::new(memory_limit)),
            tasks: Arc::default(),
            failed: CancellationToken::new(),
        }
    }

    /// So many bytes more may wait.
    pub fn enlarge(&self, bytes: usize) {
        self.limit.fetch_add(bytes, Ordering::Relaxed);
        self.memory.add_permits(bytes);
    }

    /// Bytes that wait.
    pub fn buffered(&self) -> usize {
        self.limit.load(Ordering::Relaxed).saturating_sub(self.memory.available_permits())
    }

    /// Cancelled when an executor has failed.
    pub fn failed(&self) -> &CancellationToken {
        &self.failed
    }

    /// Starts an executor; its error stops the reader and frees whoever waits for memory.
    pub fn start<F>(
        &self,
        run: impl FnOnce(mpsc::Receiver<Ticket>, watch::Sender<Option<Through>>) -> F,
    ) -> mpsc::Sender<Ticket>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (sender, tickets) = mpsc::channel(TICKETS);
        let (through, progress) = watch::channel(None);
        let executor = run(tickets, through);
        let (failed, memory) = (self.failed.clone(), Arc::clone(&self.memory));
        self.executors.lock().unwrap_or_else(PoisonError::into_inner).push(progress);
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(async move {
            let ended = executor.await;
            if ended.is_err() {
                failed.cancel();
                memory.close();
            }
            ended
        });
        sender
    }
}

/// Reading the stream.
struct Reading<'s> {
    session: &'s Session<'s>,
    retries: Retries,
    /// What copies have to tell.
    told: mpsc::Receiver<Told>,
    running: &'s Running,
    goal: Option<ClusterTime>,
    copies: Copies,
}

impl Reading<'_> {
    /// Reads the stream and routes it until the goal, a stop, or an error.
    async fn run(mut self, mut router: Router, floor: &Position) -> Result<()> {
        let (session, running) = (self.session, self.running);
        let mut stream = session.source.open_reader(&session.probe, Some(floor)).await?;
        if self.copies.are_complete() {
            session.telemetry.state(State::CatchingUp);
        }
        let mut last: Option<Through> = None;
        let mut at_boundary = true;
        loop {
            let batch = tokio::select! {
                biased;
                () = running.failed.cancelled() => return Err(stopped_by_executor()),
                () = session.shutdown.cancelled() => break,
                batch = stream.next() => batch?,
            };
            session.telemetry.server_time(batch.server_time);
            let complete = batch.caught_up;
            let ahead = batch.server_time.seconds.saturating_sub(stream.position().cluster_time().seconds);
            let behind = Duration::from_secs(if complete { 0 } else { ahead.into() });
            at_boundary = batch.changes.last().map_or(at_boundary, |last| last.boundary);
            // Executors that had nothing of this batch get on with it too.
            let through = at_boundary.then(|| Through { position: stream.position().clone(), complete });
            // A batch may wait long for executors that are behind; what is not routed yet is read again at the next start.
            tokio::select! {
                biased;
                () = session.shutdown.cancelled() => break,
                routed = router.route(batch.changes) => routed?,
            }
            if let Some(through) = through {
                if last.as_ref() != Some(&through) {
                    router.watermark(&through, behind).await?;
                    running.read.send_replace(Some(through.clone()));
                }
                tokio::select! {
                    biased;
                    () = session.shutdown.cancelled() => break,
                    done = self.between(&mut router, &through) => done?,
                }
                last = Some(through);
            }
            if last.as_ref().is_some_and(|last| self.is_done(last)) {
                break;
            }
        }
        Ok(())
    }

    /// What is no change of the source has its turn between two batches.
    async fn between(&mut self, router: &mut Router, through: &Through) -> Result<()> {
        while let Ok((collection, namespace, lesson)) = self.told.try_recv() {
            router.teach(collection, &namespace, lesson).await?;
        }
        self.retries.turn(self.session, router, through).await
    }

    /// True when the goal is reached.
    fn is_done(&self, last: &Through) -> bool {
        self.goal.is_some_and(|goal| last.covers(goal)) && self.retries.is_done() && self.copies.are_over(last)
    }
}

/// Waits for the executors; the first error counts. Who ends as he should may take his time; after an error, and when the
/// daemon is to stop, there is a deadline.
pub async fn finish(running: &Running, well: bool, shutdown: &CancellationToken) -> Result<()> {
    let mut tasks = std::mem::take(&mut *running.tasks.lock().unwrap_or_else(PoisonError::into_inner));
    let all = async {
        let mut first = Ok(());
        while let Some(ended) = tasks.join_next().await {
            let ended = ended.unwrap_or_else(|error| {
                Err(Error::new(Kind::Defect, Stage::Sink, format!("an executor panicked: {error}")))
            });
            first = first.and(ended);
        }
        first
    };
    let late = |_| Err(Error::new(Kind::Interrupted, Stage::Sink, "executors did not end in time"));
    tokio::pin!(all);
    if well {
        tokio::select! {
            finished = &mut all => return finished,
            () = shutdown.cancelled() => {}
            () = running.failed.cancelled() => {}
        }
    }
    tokio::time::timeout(STOP_DEADLINE, all).await.unwrap_or_else(late)
}

/// The error of a reader whose executor has failed.
pub fn stopped_by_executor() -> Error {
    Error::new(Kind::Interrupted, Stage::Sink, "an executor has failed")
}
