//! Fans the stream out: each change to its collection's lane, a ticket for it to its database's executor.
//!
//! In: changes in source order. Out: lane inputs and tickets; the ticket always goes first, so that an executor can never
//! wait for a change whose ticket waits for it. Changes are collected by lane and handed out together: what many collections
//! get in turn would else wake a lane and an executor for each. An executor takes them whole before it commits.
//! Collections are known by UUID; names are labels. What changes names (create, drop, rename) is converted alone: every
//! lane has converted what comes before it, and nothing that comes after it goes to any lane until it is converted. So names are taken and given back in source order, although lanes run side by side.
//! Dropping the router ends the flow: lanes convert what they have, executors commit what is whole, and both end.

mod round;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use self::round::{Part, Round};
use crate::copying::{Copies, Copying};
use crate::error::{Error, Kind, Result, Stage};
use crate::mapping::collection::{Collection, Shared};
use crate::model::change::{Change, Operation};
use crate::model::filter::NamespaceFilter;
use crate::model::namespace::{CollectionId, Namespace};
use crate::model::position::{ClusterTime, Position};
use crate::model::ticket::{Converted, LaneId, LaneInput, Lesson, Through, Ticket};
use crate::model::write_set::Waiting;

/// Inputs that wait in front of a lane, and what it makes of them behind it, at most. Their bytes are limited by the
/// memory limit; this only keeps one lane from taking all of it. One ticket asks for one of each lane only, so an executor
/// that waits for another lane never keeps this from moving.
const LANE_DEPTH: usize = 4;

/// While memory is scarce, executors are told to hurry each time that a part of so many of the limit is routed.
const HURRIES: usize = 8;

/// What a lane is started with.
pub struct LaneParts {
    /// The mapping of its collection.
    pub collection: Collection,
    /// Its database.
    pub database: Arc<str>,
    /// Its documents in quarantine.
    pub quarantined: Waiting,
    /// Its copy, while that matters.
    pub copying: Option<Arc<Copying>>,
    /// Its changes. There may be thousands of lanes, and a channel keeps room for 32 of what goes through it.
    pub input: mpsc::Receiver<Box<LaneInput>>,
    /// What it makes of them.
    pub output: mpsc::Sender<Box<Converted>>,
}

/// What the router starts from.
pub struct RouterParts {
    /// Which collections are replicated.
    pub filter: NamespaceFilter,
    /// What all mappings share.
    pub shared: Shared,
    /// The collections that are known.
    pub collections: HashMap<CollectionId, Collection>,
    /// The source's time when it was asked which collections it has: all of them that are selected are known.
    pub listed_at: ClusterTime,
    /// Documents in quarantine.
    pub quarantined: HashMap<CollectionId, Waiting>,
    /// Collections that are being copied.
    pub copies: Copies,
    /// Positions up to which a database's changes are applied already.
    pub done: HashMap<String, Position>,
    /// The memory limit, one permit a byte.
    pub memory: Arc<Semaphore>,
    /// The memory limit in bytes.
    pub memory_limit: usize,
    /// Executors at most.
    pub max_executors: usize,
    /// True when changes are to be written in the source's order, also those of different collections.
    pub in_order: bool,
    /// Starts a lane; it ends when its input does.
    pub start_lane: fn(LaneParts),
    /// Starts an executor.
    pub start_executor: Box<dyn FnMut() -> mpsc::Sender<Ticket> + Send>,
    /// Told when a database gets its executor.
    pub assigned: Arc<Mutex<HashMap<Arc<str>, usize>>>,
}

/// See the module.
pub struct Router {
    parts: RouterParts,
    /// The lanes, and the names of their collections.
    lanes: HashMap<CollectionId, (Handle, Namespace)>,
    /// Collections that are not replicated under the names that they have.
    ignored: HashSet<CollectionId>,
    next_lane: u64,
    executors: Vec<mpsc::Sender<Ticket>>,
    /// Which executor a database has.
    databases: HashMap<Arc<str>, usize>,
    round: Round,
    /// Lanes that may still have something to convert.
    busy: HashMap<LaneId, mpsc::Sender<Box<LaneInput>>>,
    /// The executor that has changes of a source transaction whose last change is not routed yet.
    open: Option<usize>,
    joint: Option<Joint>,
    /// The last watermark, and how far the source is ahead of it.
    through: Option<(Through, Duration)>,
    /// Bytes routed since executors were told to hurry.
    unhurried: usize,
}

/// An executor that writes for others as well, since a source transaction has changes for all of them.
struct Joint {
    host: usize,
    guests: BTreeSet<usize>,
}

/// A lane as the router sees it.
#[derive(Debug, Clone)]
struct Handle {
    lane: LaneId,
    input: mpsc::Sender<Box<LaneInput>>,
    executor: usize,
}

impl Router {
    /// A router without lanes; they come with the first change of their collection.
    #[must_use]
    pub fn new(parts: RouterParts) -> Self {
        Self {
            parts,
            lanes: HashMap::new(),
            ignored: HashSet::new(),
            next_lane: 0,
            executors: Vec::new(),
            databases: HashMap::new(),
            round: Round::default(),
            busy: HashMap::new(),
            open: None,
            joint: None,
            through: None,
            unhurried: 0,
        }
    }

    /// Routes a batch of changes, in order.
    ///
    /// # Errors
    /// [`Kind::Interrupted`] when an executor has ended, or a collection has to be copied first.
    pub async fn route(&mut self, changes: Vec<Change>) -> Result<()> {
        for change in changes {
            let boundary = change.boundary;
            let done = self.parts.done.get(&*change.namespace.database);
            if done.is_none_or(|done| change.position > *done) {
                let permit = self.permit(change.weight()).await?;
                self.route_one(change, permit).await?;
            }
            if boundary {
                self.end_transaction().await?;
            }
        }
        if self.open.is_none() {
            self.part().await?;
        }
        self.flush().await
    }

    /// Hands a document of the quarantine, as it is at the position that everything routed so far ends at, to its lane.
    /// False when its database is further than that, or its collection is being copied: what is there is then not to be
    /// written over.
    ///
    /// # Errors
    /// As [`Router::route`].
    pub async fn retry(&mut self, change: Change) -> Result<bool> {
        let done = self.parts.done.get(&*change.namespace.database);
        let time = change.position.cluster_time();
        let copied = self.parts.copies.of(change.collection).is_none_or(|copying| copying.is_over(time));
        if !copied || done.is_some_and(|done| change.position < *done) {
            return Ok(false);
        }
        if self.is_known(change.collection) {
            let permit = self.permit(change.weight()).await?;
            self.route_one(change, permit).await?;
            self.flush().await?;
        }
        Ok(true)
    }

    /// Hands what a copy has to tell to the lane of its collection; nothing happens when that is gone. Everything routed so
    /// far must end at a boundary.
    ///
    /// # Errors
    /// As [`Router::route`].
    pub async fn teach(&mut self, id: CollectionId, namespace: &Namespace, lesson: Lesson) -> Result<()> {
        if !self.is_known(id) {
            return Ok(());
        }
        let Some(handle) = self.lane(id, namespace).await? else { return Ok(()) };
        self.flush().await?;
        let ticket = Ticket::Take { lanes: vec![handle.lane], boundary: true };
        self.send(self.writer_for(handle.executor), ticket).await?;
        self.busy.insert(handle.lane, handle.input.clone());
        handle.input.send(Box::new(LaneInput::Lesson(lesson))).await.map_err(|_| executor_ended())
    }

    /// Tells every executor that nothing before a position is still to come, and how far the source is ahead of it.
    ///
    /// # Errors
    /// [`Kind::Interrupted`] when an executor has ended.
    pub async fn watermark(&mut self, through: &Through, behind: Duration) -> Result<()> {
        self.through = Some((through.clone(), behind));
        for executor in &self.executors {
            let ticket = Ticket::Watermark { through: through.clone(), behind };
            executor.send(ticket).await.map_err(|_| executor_ended())?;
        }
        Ok(())
    }

    /// Tells the executor that has only earlier changes of a source transaction that it has ended: its last change is of a
    /// collection that is not replicated, or of a database that has it already.
    async fn end_transaction(&mut self) -> Result<()> {
        let Some(executor) = self.open.take() else { return Ok(()) };
        self.flush().await?;
        self.send(executor, Ticket::Boundary).await
    }

    /// The executor that writes for another at the moment.
    fn writer_for(&self, executor: usize) -> usize {
        self.joint.as_ref().filter(|joint| joint.guests.contains(&executor)).map_or(executor, |joint| joint.host)
    }

    /// Has the executor of the open source transaction write for another one as well. Changes of one transaction become
    /// visible in one commit, whatever databases they are of.
    async fn join(&mut self, host: usize, guest: usize) -> Result<()> {
        self.flush().await?;
        if self.joint.as_ref().is_some_and(|joint| joint.host != host) {
            self.part().await?;
        }
        let (to, from) = oneshot::channel();
        let (back, returned) = oneshot::channel();
        self.send(guest, Ticket::Lend { to, back: returned }).await?;
        self.send(host, Ticket::Borrow { from, back }).await?;
        self.joint.get_or_insert_with(|| Joint { host, guests: BTreeSet::new() }).guests.insert(guest);
        Ok(())
    }

    /// Each executor writes for itself again.
    async fn part(&mut self) -> Result<()> {
        // What is collected may be for the host.
        self.flush().await?;
        match self.joint.take() {
            Some(joint) => self.send(joint.host, Ticket::Return).await,
            None => Ok(()),
        }
    }

    /// Waits for memory; what is collected goes on its way first, as it holds some.
    async fn permit(&mut self, weight: usize) -> Result<Option<OwnedSemaphorePermit>> {
        let bytes = u32::try_from(weight.min(self.parts.memory_limit)).unwrap_or(u32::MAX);
        self.unhurried += weight;
        if let Ok(permit) = Arc::clone(&self.parts.memory).try_acquire_many_owned(bytes) {
            // What is left is collected while the rest is written.
            let scarce = self.parts.memory.available_permits() < self.parts.memory_limit / 3;
            if scarce && self.unhurried > self.parts.memory_limit / HURRIES {
                self.hurry().await?;
            }
            return Ok(Some(permit));
        }
        self.hurry().await?;
        // The semaphore is closed when an executor ends, so that nobody waits for memory that never comes back.
        let permit = Arc::clone(&self.parts.memory).acquire_many_owned(bytes).await;
        permit.map(Some).map_err(|_| executor_ended())
    }

    /// Has what is collected written, here and by all executors.
    async fn hurry(&mut self) -> Result<()> {
        self.unhurried = 0;
        self.flush().await?;
        for executor in &self.executors {
            executor.send(Ticket::Hurry).await.map_err(|_| executor_ended())?;
        }
        Ok(())
    }

    async fn route_one(&mut self, change: Change, permit: Option<OwnedSemaphorePermit>) -> Result<()> {
        let id = change.collection;
        match &change.operation {
            Operation::Insert { .. }
            | Operation::Replace { .. }
            | Operation::Update { .. }
            | Operation::Delete { .. }
            | Operation::Retry { .. } => {
                if !self.ignored.is_empty() && self.ignored.contains(&id) {
                    return Ok(());
                }
                let Some(handle) = self.lane(id, &change.namespace).await? else {
                    self.ignored.insert(id);
                    return Ok(());
                };
                self.push(handle, change, permit).await
            }
            Operation::Create => {
                let Some(handle) = self.lane(id, &change.namespace).await? else { return Ok(()) };
                self.change_names(handle, change).await
            }
            Operation::Drop => self.drop_collection(id, change).await,
            Operation::Rename { to, drop_target } => {
                let (to, drop_target) = (to.clone(), *drop_target);
                self.rename(change, to, drop_target).await
            }
            Operation::DropDatabase => self.drop_database(change).await,
        }
    }

    async fn drop_collection(&mut self, id: CollectionId, change: Change) -> Result<()> {
        if !self.is_known(id) {
            return Ok(());
        }
        let Some(handle) = self.lane(id, &change.namespace).await? else { return Ok(()) };
        self.change_names(handle.clone(), change).await?;
        self.lanes.remove(&id);
        self.send(self.writer_for(handle.executor), Ticket::Close { lane: handle.lane }).await
    }

    /// The victim of a rename goes first; MongoDB emits no drop for it. Both become visible in one commit.
    async fn rename(&mut self, change: Change, to: Namespace, victim: Option<CollectionId>) -> Result<()> {
        if let Some(victim) = victim {
            let namespace = to.clone();
            let drop = Change { namespace, boundary: false, operation: Operation::Drop, ..change.clone() };
            self.drop_collection(victim, drop).await?;
        }
        let id = change.collection;
        self.ignored.remove(&id);
        let selected = self.parts.filter.selects(&to);
        if !self.is_known(id) {
            // It was not replicated under its old name, so its documents are not here.
            // What the source had later is known, so a collection that is renamed before that and not known is gone since.
            let gone = change.position.cluster_time() <= self.parts.listed_at;
            return if selected && !gone { Err(needs_copy(&to)) } else { Ok(()) };
        }
        if !selected {
            return self.drop_collection(id, Change { operation: Operation::Drop, ..change }).await;
        }
        let Some(handle) = self.lane(id, &change.namespace).await? else { return Ok(()) };
        self.change_names(handle, change).await?;
        if let Some((_, name)) = self.lanes.get_mut(&id) {
            *name = to;
        }
        Ok(())
    }

    /// MongoDB has dropped each collection before; what is left here goes too.
    async fn drop_database(&mut self, change: Change) -> Result<()> {
        let here = |namespace: &Namespace| namespace.database == change.namespace.database;
        let lanes = self.lanes.iter().filter(|(_, (_, name))| here(name)).map(|(id, _)| *id);
        let waiting = self.parts.collections.values().filter(|known| here(known.namespace())).map(Collection::id);
        for id in lanes.chain(waiting).collect::<Vec<_>>() {
            self.drop_collection(id, change.clone()).await?;
        }
        Ok(())
    }

    fn is_known(&self, id: CollectionId) -> bool {
        self.lanes.contains_key(&id) || self.parts.collections.contains_key(&id)
    }

    /// The lane of a collection, opened if need be; `None` for one that is not replicated.
    async fn lane(&mut self, id: CollectionId, namespace: &Namespace) -> Result<Option<Handle>> {
        if let Some((handle, _)) = self.lanes.get(&id) {
            return Ok(Some(handle.clone()));
        }
        let collection = match self.parts.collections.remove(&id) {
            Some(known) => known,
            None if self.parts.filter.selects(namespace) => self.newborn(id, namespace),
            None => return Ok(None),
        };
        let database = Arc::clone(&namespace.database);
        let executor = self.executor(&database);
        let lane = LaneId(self.next_lane);
        self.next_lane += 1;
        let (changes, input) = mpsc::channel(LANE_DEPTH);
        let (output, write_sets) = mpsc::channel(LANE_DEPTH);
        self.flush().await?;
        let open = Ticket::Open { home: executor, lane, output: write_sets };
        self.send(self.writer_for(executor), open).await?;
        let quarantined = self.parts.quarantined.remove(&id).unwrap_or_default();
        let handle = Handle { lane, input: changes, executor };
        let name = collection.namespace().clone();
        let copying = self.parts.copies.of(id).cloned();
        (self.parts.start_lane)(LaneParts { collection, database, quarantined, copying, input, output });
        self.lanes.insert(id, (handle.clone(), name));
        Ok(Some(handle))
    }

    /// A collection that is born under our eyes: everything it has comes through the stream.
    fn newborn(&self, id: CollectionId, namespace: &Namespace) -> Collection {
        let mut collection = Collection::new(id, namespace.clone(), self.parts.shared.clone());
        collection.set_copied();
        collection
    }

    /// The executor of a database: its own while there are enough, else one that it shares.
    fn executor(&mut self, database: &Arc<str>) -> usize {
        if let Some(executor) = self.databases.get(database) {
            return *executor;
        }
        let at = self.databases.len() % self.parts.max_executors.max(1);
        if at == self.executors.len() {
            let executor = (self.parts.start_executor)();
            // It had nothing of what came before; its channel is empty, so there is room.
            if let Some((through, behind)) = self.through.clone() {
                let _ = executor.try_send(Ticket::Watermark { through, behind });
            }
            self.executors.push(executor);
        }
        let mut assigned = self.parts.assigned.lock().unwrap_or_else(PoisonError::into_inner);
        assigned.insert(Arc::clone(database), at);
        self.databases.insert(Arc::clone(database), at);
        at
    }

    async fn push(&mut self, handle: Handle, change: Change, permit: Option<OwnedSemaphorePermit>) -> Result<()> {
        if self.round.is_full(&handle, self.parts.in_order) {
            self.flush().await?;
        }
        let writer = self.writer_for(handle.executor);
        if let Some(host) = self.open.filter(|host| *host != writer) {
            self.join(host, handle.executor).await?;
        }
        let writer = self.writer_for(handle.executor);
        self.open = if change.boundary { None } else { Some(writer) };
        self.round.add(&handle, writer, change, permit);
        Ok(())
    }

    /// Has a change converted alone (see the module).
    async fn change_names(&mut self, handle: Handle, change: Change) -> Result<()> {
        self.settle().await?;
        self.push(handle, change, None).await?;
        self.settle().await
    }

    /// Waits until every lane has converted what it was given.
    async fn settle(&mut self) -> Result<()> {
        self.flush().await?;
        let mut waiting = Vec::with_capacity(self.busy.len());
        for (_, lane) in self.busy.drain() {
            let (settled, done) = oneshot::channel();
            lane.send(Box::new(LaneInput::Settled(settled))).await.map_err(|_| executor_ended())?;
            waiting.push(done);
        }
        for done in waiting {
            done.await.map_err(|_| executor_ended())?;
        }
        Ok(())
    }

    /// Sends what is collected: the tickets, then the changes.
    async fn flush(&mut self) -> Result<()> {
        let Round { parts, tickets, .. } = std::mem::take(&mut self.round);
        for (executor, (lanes, boundary)) in tickets {
            self.send(executor, Ticket::Take { lanes, boundary }).await?;
        }
        for (lane, Part { to, changes, permit }) in parts {
            to.send(Box::new(LaneInput::Changes { changes, permit })).await.map_err(|_| executor_ended())?;
            self.busy.insert(lane, to);
        }
        Ok(())
    }

    async fn send(&self, executor: usize, ticket: Ticket) -> Result<()> {
        let Some(executor) = self.executors.get(executor) else { return Err(executor_ended()) };
        executor.send(ticket).await.map_err(|_| executor_ended())
    }
}

fn executor_ended() -> Error {
    Error::new(Kind::Interrupted, Stage::Sink, "an executor has ended")
}

fn needs_copy(namespace: &Namespace) -> Error {
    let message = format!("{namespace} was renamed into the selection and has to be copied first");
    Error::new(Kind::Interrupted, Stage::Source, message)
}
