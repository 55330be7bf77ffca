//! One collection while it is copied beside the stream: what a change of one of its documents means.
//!
//! In: ranges of `_id`s as they are read and committed, and the stream's changes. Out: whether a change is applied. A change
//! whose `_id` lies in a range that is not read yet is passed over, as the later copy contains it; in a range that is being
//! copied it is passed over when the copy contains it, and else waits; in a copied one it is applied when it is later than
//! the copy. So no change is applied over a later state, and the stream never waits longer than a range takes.
//!
//! Ranges are written in the shape that the tables have. Whoever writes one holds the gate open for reading; the lane shuts
//! it, which waits for them, before it changes the tables, and opens it when that is committed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::error::{Error, Result};
use crate::mapping::collection::Collection;
use crate::model::bson::{Document, Malformed};
use crate::model::namespace::CollectionId;
use crate::model::order;
use crate::model::position::ClusterTime;
use crate::model::table::SharedTable;
use crate::model::ticket::Through;

/// Tells which range a document lies in, given `{_id: …}`, where only the source knows: below a collation.
pub type Locate = Box<dyn Fn(Document) -> BoxFuture<'static, Result<usize>> + Send + Sync>;

/// The gate, shut.
pub type Pass = Arc<OwnedRwLockWriteGuard<()>>;

/// See the module.
pub struct Copying {
    database: Arc<str>,
    /// `{_id: bound}` between the ranges: range n begins with bound n - 1.
    bounds: Vec<Document>,
    locate: Option<Locate>,
    /// True when it is copied over rows that are there.
    over: bool,
    state: Mutex<State>,
    moved: Notify,
    gate: Arc<RwLock<()>>,
    shape: Mutex<Collection>,
    /// True while tables may lack their primary keys.
    unkeyed: AtomicBool,
}

#[derive(Debug)]
struct State {
    ranges: Vec<Range>,
    /// The latest change that was passed over, or may have been: no range is read at an earlier time from now on.
    passed: ClusterTime,
    /// The latest time at which a range was read.
    latest: ClusterTime,
    complete: bool,
    gone: bool,
    /// Documents that ranges have put into quarantine, for the lane to know.
    quarantined: Vec<String>,
}

/// One range of `_id`s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    Waiting,
    Reading(ClusterTime),
    /// Its transaction may be committed or not: only the next attempt can tell.
    Unknown,
    Copied(ClusterTime),
}

/// What a change of a document is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Apply,
    Pass,
    Wait,
    Unknown,
}

/// What is known of the ranges when an attempt begins.
pub struct Begun {
    /// The collection's database.
    pub database: Arc<str>,
    /// When each range was read, in order, for those that are copied.
    pub copied: Vec<Option<ClusterTime>>,
    /// Between the ranges, one less than those.
    pub bounds: Vec<Document>,
    /// For a collection with a collation.
    pub locate: Option<Locate>,
    /// Up to here changes may have been passed over.
    pub passed: ClusterTime,
    /// True when the copy was complete.
    pub complete: bool,
    /// True when it is copied over rows that are there.
    pub over: bool,
    /// True when tables may lack their primary keys.
    pub unkeyed: bool,
}

impl Copying {
    /// A copy whose tables have the shape of `mapping`.
    #[must_use]
    pub fn new(begun: Begun, mapping: &Collection) -> Self {
        let Begun { database, copied, bounds, locate, passed, complete, over, unkeyed } = begun;
        let latest = copied.iter().flatten().max().copied().unwrap_or_default();
        let ranges = copied.into_iter().map(|time| time.map_or(Range::Waiting, Range::Copied)).collect();
        let state = State { ranges, passed, latest, complete, gone: false, quarantined: Vec::new() };
        Self {
            database,
            bounds,
            locate,
            over,
            state: Mutex::new(state),
            moved: Notify::new(),
            gate: Arc::default(),
            shape: Mutex::new(mapping.trial()),
            unkeyed: AtomicBool::new(unkeyed),
        }
    }

    /// True when it is copied over rows that are there.
    #[must_use]
    pub fn is_over_rows(&self) -> bool {
        self.over
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a change of a document is to be applied; waits while that depends on a range that is being copied.
    ///
    /// # Errors
    /// When nobody can tell in this attempt.
    pub async fn allows(&self, key: Option<&Document>, time: ClusterTime) -> Result<bool> {
        // What has no `_id` that can be read is in the only range of its collection, which has no index to cut by.
        let range = match key {
            Some(key) => self.range_of(key).await?,
            None => 0,
        };
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            match self.verdict(range, time) {
                Verdict::Apply => return Ok(true),
                Verdict::Pass => return Ok(false),
                Verdict::Wait => moved.await,
                Verdict::Unknown => return Err(unknown()),
            }
        }
    }

    fn verdict(&self, range: usize, time: ClusterTime) -> Verdict {
        let mut state = self.state();
        let verdict = match state.ranges.get(range).copied() {
            _ if state.gone => Verdict::Pass,
            Some(Range::Copied(at)) if time > at => Verdict::Apply,
            Some(Range::Reading(at)) if time > at => Verdict::Wait,
            Some(Range::Unknown) => Verdict::Unknown,
            Some(Range::Waiting | Range::Reading(_) | Range::Copied(_)) | None => Verdict::Pass,
        };
        if verdict == Verdict::Pass {
            state.passed = state.passed.max(time);
        }
        verdict
    }

    async fn range_of(&self, key: &Document) -> Result<usize> {
        match &self.locate {
            _ if self.bounds.is_empty() => Ok(0),
            Some(locate) => locate(key.clone()).await,
            None => Ok(place(&self.bounds, key).unwrap_or_default()),
        }
    }

    /// What ranges have put into quarantine since the last call. A document that is asked for by
    /// [`Copying::allows`] is told here before.
    pub fn take_quarantined(&self) -> Vec<String> {
        std::mem::take(&mut self.state().quarantined)
    }

    /// True when all of it is copied, and a change of that time is later than every range.
    #[must_use]
    pub fn is_over(&self, time: ClusterTime) -> bool {
        let state = self.state();
        state.complete && time > state.latest
    }

    /// Shuts the gate: waits for the ranges that are being written.
    pub async fn shut(&self) -> Pass {
        Arc::new(Arc::clone(&self.gate).write_owned().await)
    }

    /// Tells the shape that the tables will have once the gate opens.
    pub fn reshape(&self, _shut: &Pass, mapping: &Collection) {
        *self.shape.lock().unwrap_or_else(PoisonError::into_inner) = mapping.trial();
    }

    /// True while tables may lack their primary keys.
    #[must_use]
    pub fn is_unkeyed(&self) -> bool {
        self.unkeyed.load(Ordering::Acquire)
    }

    /// The tables have their primary keys, or will have them when the gate opens. Gives the tables.
    pub fn set_keyed(&self) -> Vec<SharedTable> {
        self.unkeyed.store(false, Ordering::Release);
        self.shape.lock().unwrap_or_else(PoisonError::into_inner).tables().to_vec()
    }

    /// The shape that the tables have, while the gate is open.
    pub async fn enter(self: &Arc<Self>) -> Entered {
        let gate = Arc::clone(&self.gate).read_owned().await;
        let shape = self.shape.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Entered { copying: Arc::clone(self), shape, gate }
    }

    /// The source has dropped the collection, at that time.
    pub fn set_gone(&self, time: ClusterTime) {
        let mut state = self.state();
        (state.gone, state.complete) = (true, true);
        state.latest = state.latest.max(time);
        drop(state);
        self.moved.notify_waiters();
    }

    /// True once the stream has told that the collection is gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.state().gone
    }

    /// All of it is copied, and that is committed.
    pub fn set_complete(&self) {
        self.state().complete = true;
    }
}

impl std::fmt::Debug for Copying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copying").field("database", &self.database).finish_non_exhaustive()
    }
}

/// How many of the bounds are at or before an `_id`, which is the number of its range.
fn place(bounds: &[Document], key: &Document) -> Result<usize, Malformed> {
    let Some(id) = key.as_doc().get("_id")? else { return Ok(0) };
    let (mut from, mut to) = (0, bounds.len());
    while from < to {
        let middle = usize::midpoint(from, to);
        let bound = bounds.get(middle).map(|bound| bound.as_doc().get("_id")).transpose()?.flatten();
        let Some(bound) = bound else { return Ok(0) };
        if order::compare(&bound, &id)?.is_le() {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    Ok(from)
}

fn unknown() -> Error {
    let message = "the outcome of a range is not known";
    Error::new(crate::error::Kind::Interrupted, crate::error::Stage::Snapshot, message)
}

/// The gate, held open.
pub struct Entered {
    copying: Arc<Copying>,
    /// The shape of the tables.
    pub shape: Collection,
    gate: OwnedRwLockReadGuard<()>,
}

impl Entered {
    /// Begins a range, to be read at `at` or later: at [`Reading::at`].
    #[must_use]
    pub fn read(self, range: usize, at: ClusterTime) -> (Collection, Reading) {
        let Self { copying, shape, gate } = self;
        let mut state = copying.state();
        let at = at.max(state.passed);
        if let Some(range) = state.ranges.get_mut(range) {
            *range = Range::Reading(at);
        }
        drop(state);
        (shape, Reading { copying, range, at, outcome: Range::Waiting, _gate: gate })
    }
}

/// A range that is being copied. Dropped before its end it waits again.
pub struct Reading {
    copying: Arc<Copying>,
    range: usize,
    at: ClusterTime,
    outcome: Range,
    _gate: OwnedRwLockReadGuard<()>,
}

impl Reading {
    /// The cluster time at which it is to be read.
    #[must_use]
    pub fn at(&self) -> ClusterTime {
        self.at
    }

    /// From here on it may be committed.
    pub fn committing(&mut self) {
        self.outcome = Range::Unknown;
    }

    /// It is committed, with documents that went into quarantine.
    pub fn done(mut self, quarantined: Vec<String>) {
        let mut state = self.copying.state();
        state.latest = state.latest.max(self.at);
        state.quarantined.extend(quarantined);
        drop(state);
        self.outcome = Range::Copied(self.at);
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(range) = self.copying.state().ranges.get_mut(self.range) {
            *range = self.outcome;
        }
        self.copying.moved.notify_waiters();
    }
}

/// All copies of an attempt, and from when on databases are consistent.
#[derive(Debug, Clone, Default)]
pub struct Copies {
    all: Arc<HashMap<CollectionId, Arc<Copying>>>,
    /// Where the stream starts: what is later was never applied before.
    start: ClusterTime,
}

impl Copies {
    /// The copies of an attempt whose stream starts at `start`.
    #[must_use]
    pub fn new(all: HashMap<CollectionId, Arc<Copying>>, start: ClusterTime) -> Self {
        Self { all: Arc::new(all), start }
    }

    /// The copy of a collection.
    #[must_use]
    pub fn of(&self, id: CollectionId) -> Option<&Arc<Copying>> {
        self.all.get(&id)
    }

    /// True when a database that is committed that far shows one state of the source.
    #[must_use]
    pub fn are_consistent(&self, database: &str, through: &Through) -> bool {
        let here = |copying: &&Arc<Copying>| &*copying.database == database;
        self.covers(self.all.values().filter(here), through)
    }

    /// True when all is copied and committed that far.
    #[must_use]
    pub fn are_over(&self, through: &Through) -> bool {
        self.covers(self.all.values(), through)
    }

    fn covers<'c>(&self, mut copies: impl Iterator<Item = &'c Arc<Copying>>, through: &Through) -> bool {
        through.covers(self.start)
            && copies.all(|copying| {
                let state = copying.state();
                state.complete && through.covers(state.latest)
            })
    }

    /// True when everything is copied, however far the stream is.
    #[must_use]
    pub fn are_complete(&self) -> bool {
        self.all.values().all(|copying| copying.state().complete)
    }
}
