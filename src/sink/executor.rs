//! Applies one or more databases' changes in source order over one connection.
//!
//! In: tickets that say which lane comes next, and the lanes' write sets. Out: PostgreSQL transactions, each with whole
//! source transactions only, their schema changes and their position. What is queued is taken into one batch: an idle
//! pipeline commits each change at once, a backlog makes batches as large as the limits. A source transaction larger
//! than a batch is streamed into one open transaction, its memory given back as it is written. Any error ends the
//! executor; the pipeline then starts again from what is committed.

use std::collections::HashMap;
use std::sync::Arc;

use deadpool_postgres::Object;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, watch};

use super::batch::{Batch, BatchLimits};
use super::catalog::CatalogWriter;
use super::checkpoint::move_lane;
use super::faults::fault;
use super::fence::Fence;
use super::fold::TableChanges;
use super::guest::Guest;
use super::write::{delete_orphans, write};
use crate::copying::Copies;
use crate::error::{Error, Kind, Result, Stage};
use crate::model::position::{ClusterTime, Position};
use crate::model::ticket::{LaneId, Share, Through, Ticket};
use crate::model::write_set::{Ddl, Step, WriteSet};
use crate::telemetry::Telemetry;

/// What an executor needs to start.
pub struct ExecutorParts {
    /// Its number.
    pub home: usize,
    /// Its connection, used by nobody else.
    pub client: Object,
    /// The right to write.
    pub fence: Fence,
    /// Positions committed before, by database.
    pub lanes: HashMap<String, Position>,
    /// When to write.
    pub limits: BatchLimits,
    /// From which on databases are consistent.
    pub copies: Copies,
    /// What is not later may have been applied before.
    pub replayed_until: ClusterTime,
    /// Where to count.
    pub telemetry: Telemetry,
}

/// See the module.
pub struct Executor {
    parts: ExecutorParts,
    tickets: mpsc::Receiver<Ticket>,
    through: watch::Sender<Option<Through>>,
    pub(super) own: Share,
    pub(super) guests: Vec<Guest>,
    batch: Batch,
    open: bool,
}

impl Executor {
    /// An executor that reports how far everything is committed through `through`.
    #[must_use]
    pub fn new(
        mut parts: ExecutorParts,
        tickets: mpsc::Receiver<Ticket>,
        through: watch::Sender<Option<Through>>,
    ) -> Self {
        let ExecutorParts { home, lanes, .. } = &mut parts;
        let positions = std::mem::take(lanes);
        let own = Share { home: *home, outputs: HashMap::new(), positions, databases: Vec::new() };
        Self { parts, tickets, through, own, guests: Vec::new(), batch: Batch::new(), open: false }
    }

    /// Works until the tickets end; what is then whole is committed.
    ///
    /// # Errors
    /// When PostgreSQL fails, or another daemon has taken over.
    pub async fn run(mut self) -> Result<()> {
        while let Some(ticket) = self.tickets.recv().await {
            self.take(ticket).await?;
            self.take_queued().await?;
            self.commit().await?;
        }
        Ok(())
    }

    /// Takes what is queued until the batch is full, and beyond that until its last source transaction is whole.
    async fn take_queued(&mut self) -> Result<()> {
        loop {
            if self.batch.is_full(&self.parts.limits) {
                self.write_batch().await?;
                if self.batch.at_boundary {
                    return Ok(());
                }
            }
            let ticket = match self.tickets.try_recv() {
                Ok(ticket) => Some(ticket),
                Err(_) if self.batch.at_boundary => return Ok(()),
                Err(TryRecvError::Empty) => {
                    // Whoever waits for changes holds no memory: the next change may need all there is.
                    self.write_batch().await?;
                    self.tickets.recv().await
                }
                Err(TryRecvError::Disconnected) => None,
            };
            let Some(ticket) = ticket else { return Ok(()) };
            self.take(ticket).await?;
        }
    }

    async fn take(&mut self, ticket: Ticket) -> Result<()> {
        match ticket {
            Ticket::Open { home, lane, output } => {
                self.share_at(home).outputs.insert(lane, output);
            }
            Ticket::Close { lane } => {
                self.shares().for_each(|share| drop(share.outputs.remove(&lane)));
            }
            Ticket::Lend { to, back } => return self.lend(to, back).await,
            Ticket::Borrow { from, back } => return self.borrow(from, back).await,
            Ticket::Return => return self.give_back().await,
            Ticket::Boundary => self.batch.at_boundary = true,
            Ticket::Watermark(through) => {
                self.batch.watermark = Some(through);
            }
            Ticket::Take { lane, count } => {
                for _ in 0..count {
                    let Some(write_set) = self.next_of(lane).await else { return Err(lane_ended()) };
                    self.add(write_set).await?;
                    if self.batch.is_full(&self.parts.limits) {
                        self.write_batch().await?;
                        self.commit().await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn next_of(&mut self, lane: LaneId) -> Option<WriteSet> {
        let share = self.shares().find(|share| share.outputs.contains_key(&lane))?;
        let write_set = share.outputs.get_mut(&lane)?.recv().await?;
        if !share.databases.contains(&write_set.database) {
            share.databases.push(Arc::clone(&write_set.database));
        }
        Some(write_set)
    }

    async fn add(&mut self, write_set: WriteSet) -> Result<()> {
        let WriteSet { position, boundary, database, operation, steps, permit, held } = write_set;
        self.batch.hold(permit);
        self.batch.at_boundary = boundary;
        for step in steps {
            self.step(step, position.as_ref()).await?;
        }
        if !held.is_nothing() {
            self.batch.held.push(held);
        }
        if let Some(operation) = operation {
            *self.batch.counts.applied.entry((Arc::clone(&database), operation)).or_default() += 1;
        }
        if let Some(position) = position {
            self.batch.lanes.insert(database, position);
        }
        Ok(())
    }

    async fn step(&mut self, step: Step, position: Option<&Position>) -> Result<()> {
        match step {
            Step::Row(mut change) => {
                if let Some(position) = position {
                    change.brought_by(position);
                }
                self.batch.row(change);
            }
            Step::Ddl(ddl) => self.schema_change(&ddl).await?,
            Step::Anomaly(anomaly) => self.batch.anomalies.push((anomaly, position.cloned())),
            Step::Quarantine(document) => self.batch.quarantined.push((document, position.cloned())),
            Step::Met { collection, id } => {
                self.batch.met.insert((collection, id));
            }
            Step::Release { collection, id_key } => {
                self.write_batch().await?;
                self.catalog().release(collection, &id_key).await?;
                self.batch.counts.quarantine = true;
            }
            // Later, whatever is updated has its root row.
            Step::Orphans { .. } if position.is_some_and(|p| p.cluster_time() > self.parts.replayed_until) => {}
            Step::Orphans { tables, key } => {
                self.write_batch().await?;
                delete_orphans(&self.parts.client, &tables, &key).await?;
            }
        }
        Ok(())
    }

    /// Rows of a table that were made before it changes are written before that; other tables' rows can wait.
    async fn schema_change(&mut self, ddl: &Ddl) -> Result<()> {
        self.open().await?;
        let tables = match ddl {
            Ddl::Alter { table, .. } | Ddl::DropTable(table) | Ddl::Keep { table, .. } => vec![table.id],
            Ddl::RenameTable { from, .. } => vec![from.id],
            Ddl::Rekey(rekey) => rekey.tables.iter().map(|(table, _)| table.id).collect(),
            Ddl::Keys(_)
            | Ddl::CreateTable(_)
            | Ddl::Aside { .. }
            | Ddl::Path(_)
            | Ddl::Collection(_)
            | Ddl::Forget(_) => Vec::new(),
            Ddl::Gone(_) => {
                self.batch.counts.quarantine = true;
                Vec::new()
            }
        };
        self.write_met().await?;
        for table in tables {
            if let Some(changes) = self.batch.fold.take_table(table)
                && !matches!(ddl, Ddl::DropTable(_))
            {
                self.write(changes).await?;
            }
        }
        if let Ddl::Collection(_) | Ddl::Forget(_) = ddl {
            // What waits in quarantine is renamed, or goes, with its collection.
            self.write_quarantined().await?;
        }
        self.batch.schema_changes += 1;
        self.catalog().ddl(ddl).await
    }

    /// Opens the transaction where there is none.
    async fn open(&mut self) -> Result<()> {
        if !self.open {
            self.parts.fence.begin(&self.parts.client).await?;
            self.open = true;
        }
        Ok(())
    }

    fn catalog(&self) -> CatalogWriter<'_> {
        CatalogWriter { client: &self.parts.client, fence: &self.parts.fence }
    }

    async fn write(&mut self, changes: TableChanges) -> Result<()> {
        let left_out = write(&self.parts.client, changes).await?;
        self.batch.anomalies.extend(left_out);
        Ok(())
    }

    /// Writes what is collected into the open transaction, which is opened where there is none.
    async fn write_batch(&mut self) -> Result<()> {
        self.open().await?;
        self.write_met().await?;
        for changes in self.batch.fold.take() {
            self.write(changes).await?;
        }
        for (anomaly, position) in std::mem::take(&mut self.batch.anomalies) {
            let position = position.as_ref().map(Position::text);
            self.catalog().anomaly(&anomaly, position.as_deref()).await?;
            *self.batch.counts.anomalies.entry(anomaly.reason).or_default() += 1;
        }
        self.write_quarantined().await?;
        self.batch.written();
        Ok(())
    }

    /// Before the rows: whoever takes away what was not met waits for this, or this for him.
    async fn write_met(&mut self) -> Result<()> {
        let met = std::mem::take(&mut self.batch.met);
        if met.is_empty() { Ok(()) } else { self.catalog().met(&met).await }
    }

    async fn write_quarantined(&mut self) -> Result<()> {
        for (document, position) in std::mem::take(&mut self.batch.quarantined) {
            let position = position.as_ref().map(Position::text);
            self.catalog().quarantine(&document, position.as_deref()).await?;
            self.batch.counts.quarantine = true;
        }
        Ok(())
    }

    /// True when everything collected is whole source transactions.
    pub(super) fn is_whole(&self) -> bool {
        self.batch.at_boundary
    }

    /// Commits what is collected, if it is whole.
    pub(super) async fn commit(&mut self) -> Result<()> {
        if !self.batch.at_boundary {
            return Ok(());
        }
        if self.batch.is_empty() && !self.open {
            self.report();
            return Ok(());
        }
        self.write_batch().await?;
        for (lane, position) in &self.batch.lanes {
            let old = self.share_of(lane).positions.get(&**lane);
            move_lane(&self.parts.client, &self.parts.fence, lane, old, position).await?;
        }
        let done = self.parts.client.batch_execute("COMMIT").await;
        done.map_err(|error| fault(Stage::Sink, "committing", &error))?;
        self.open = false;
        if self.batch.counts.quarantine {
            self.parts.telemetry.quarantined(self.catalog().quarantined().await?);
        }
        self.committed();
        Ok(())
    }

    /// Counts what is durable now and starts a new batch.
    fn committed(&mut self) {
        let telemetry = &self.parts.telemetry;
        telemetry.committed();
        for ((database, operation), n) in self.batch.counts.applied.drain() {
            telemetry.applied(&database, operation, n);
        }
        for (reason, n) in self.batch.counts.anomalies.drain() {
            telemetry.anomaly(reason, n);
        }
        for (database, position) in self.batch.lanes.clone() {
            self.share_of_mut(&database).positions.insert(database.to_string(), position);
        }
        self.report();
    }

    /// Tells how far everything is committed: the batch's end, or a watermark beyond it.
    fn report(&mut self) {
        let mut batch = std::mem::replace(&mut self.batch, Batch::new());
        for held in batch.held.drain(..) {
            held.committed.map(|committed| committed.send(()));
        }
        let end = batch.lanes.into_values().max().map(|position| Through { position, complete: false });
        let through = match (end, batch.watermark) {
            (Some(end), Some(mark)) => end.later(mark),
            (Some(through), None) | (None, Some(through)) => through,
            (None, None) => return,
        };
        let guests = self.guests.iter().flat_map(|guest| &guest.share.databases);
        for database in self.own.databases.iter().chain(guests) {
            let consistent = self.parts.copies.are_consistent(database, &through);
            self.parts.telemetry.database(database, through.position.cluster_time(), consistent);
        }
        self.through.send_replace(Some(through));
    }
}

/// A lane that stopped although a ticket names it.
pub(super) fn lane_ended() -> Error {
    Error::new(Kind::Interrupted, Stage::Mapping, "a lane ended before its changes were taken")
}
