//! Applies one or more databases' changes in source order over one connection.
//!
//! In: tickets that say which lanes come next, and the lanes' write sets. Out: PostgreSQL transactions, each with whole
//! source transactions only, their schema changes and their position. While one batch is written (`work`), the next is
//! collected: an idle pipeline commits each change at once, a backlog makes batches as large as the limits. While the source is
//! far ahead, a batch waits a moment for more: many small ones cost PostgreSQL several times what few large ones do. A source
//! transaction larger than a batch is streamed into one open transaction, its memory given back as it is written. Any
//! error ends the executor; the pipeline then starts again from what is committed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Object;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::batch::{Batch, BatchLimits, Content, count};
use super::catalog::CatalogWriter;
use super::fence::Fence;
use super::fold::TableChanges;
use super::guest::Guest;
use super::work::{End, Reasons, Work};
use super::write::delete_orphans;
use crate::copying::Copies;
use crate::error::{Error, Kind, Result, Stage};
use crate::model::position::{ClusterTime, Position};
use crate::model::ticket::{Converted, LaneId, Share, Through, Ticket};
use crate::model::write_set::{Ddl, Step, WriteSet};
use crate::telemetry::Telemetry;

/// While the source is ahead, a batch waits for more: this part of how far the source is, and no longer than
/// [`MAX_PATIENCE`]. Cluster times are whole seconds, so that one of them says nothing.
const PATIENCE: u32 = 8;
const MAX_PATIENCE: Duration = Duration::from_secs(1);
const NOT_BEHIND: Duration = Duration::from_secs(1);

/// Changes of a table from which on more of them do not make one cheaper for PostgreSQL.
const ENOUGH: usize = 250;

/// What an executor needs to start.
pub struct ExecutorParts {
    /// Its number.
    pub home: usize,
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
    /// Documents that are inserted later have no rows yet; `None` when that cannot be counted on.
    pub exact_after: Option<ClusterTime>,
    /// True when the server knows MERGE.
    pub merge: bool,
    /// Where to count.
    pub telemetry: Telemetry,
}

/// See the module.
pub struct Executor {
    parts: ExecutorParts,
    client: Arc<Object>,
    tickets: mpsc::Receiver<Ticket>,
    through: watch::Sender<Option<Through>>,
    pub(super) own: Share,
    pub(super) guests: Vec<Guest>,
    batch: Batch,
    /// True while a transaction is open.
    open: bool,
    /// The batch before, while it is written.
    writing: Option<AbortOnDropHandle<Result<Reasons>>>,
    /// How long a batch may wait for more, as far as the source is ahead.
    behind: Option<Duration>,
    /// Until when the batch may wait for more.
    patience: Option<Instant>,
}

impl Executor {
    /// An executor that reports how far everything is committed through `through`.
    #[must_use]
    pub fn new(
        mut parts: ExecutorParts,
        client: Object,
        tickets: mpsc::Receiver<Ticket>,
        through: watch::Sender<Option<Through>>,
    ) -> Self {
        let ExecutorParts { home, lanes, .. } = &mut parts;
        let positions = std::mem::take(lanes);
        let own = Share { home: *home, outputs: HashMap::new(), positions, databases: Vec::new() };
        let (client, guests, batch) = (Arc::new(client), Vec::new(), Batch::new());
        let (writing, behind, patience) = (None, None, None);
        Self { parts, client, tickets, through, own, guests, batch, open: false, writing, behind, patience }
    }

    /// Works until the tickets end; what is then whole is committed.
    ///
    /// # Errors
    /// When PostgreSQL fails, or another daemon has taken over.
    pub async fn run(mut self) -> Result<()> {
        loop {
            let ticket = tokio::select! {
                biased;
                written = written(&mut self.writing) => {
                    self.account(written?);
                    self.go_on().await?;
                    continue;
                }
                ticket = self.tickets.recv(), if self.may_take() => ticket,
                () = end_of(self.patience), if self.writing.is_none() => {
                    self.hurry();
                    self.go_on().await?;
                    continue;
                }
            };
            let Some(ticket) = ticket else { break };
            self.take(ticket).await?;
            self.go_on().await?;
        }
        self.commit().await?;
        self.settle().await
    }

    /// A full batch takes no more, but for the end of its last source transaction.
    fn may_take(&self) -> bool {
        !(self.batch.at_boundary && self.batch.is_full(&self.parts.limits))
    }

    /// Has what is collected written, unless the batch before is still on its way or there is more to take at once.
    async fn go_on(&mut self) -> Result<()> {
        if self.writing.is_some() {
            return Ok(());
        }
        let full = self.batch.is_full(&self.parts.limits);
        match (self.batch.at_boundary, full, self.tickets.is_empty()) {
            (_, false, false) => Ok(()),
            (true, false, true) if self.may_wait() => Ok(()),
            (true, _, _) => self.commit().await,
            // Whoever waits for changes holds no memory: the next change may need all there is.
            (false, _, _) => self.write_batch().await,
        }
    }

    /// True when what is collected may wait for more: that would make it cheaper, nothing is locked by it, and nobody waits
    /// for it.
    fn may_wait(&self) -> bool {
        let patient = self.patience.is_some_and(|end| Instant::now() < end);
        let fold = &self.batch.content.fold;
        patient && fold.changes() < ENOUGH * fold.tables() && !self.open && self.batch.news.held.is_empty()
    }

    /// What is collected waits no longer.
    fn hurry(&mut self) {
        self.patience = None;
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
            Ticket::Watermark { through, behind } => {
                self.batch.news.watermark = Some(through);
                self.behind = patience(behind);
                if self.behind.is_none() {
                    self.hurry();
                }
            }
            Ticket::Hurry => self.hurry(),
            Ticket::Take { lanes, boundary } => {
                if let Some(patience) = self.behind.filter(|_| self.batch.is_empty()) {
                    self.patience = Some(Instant::now() + patience);
                }
                self.batch.at_boundary = false;
                for lane in lanes {
                    let Some(converted) = self.next_of(lane).await else { return Err(lane_ended()) };
                    self.add_all(converted).await?;
                }
                self.batch.at_boundary = boundary;
            }
        }
        Ok(())
    }

    async fn next_of(&mut self, lane: LaneId) -> Option<Converted> {
        let share = self.shares().find(|share| share.outputs.contains_key(&lane))?;
        let converted = share.outputs.get_mut(&lane)?.recv().await?;
        // All of one lane are of one database.
        if let Some(write_set) = converted.write_sets.first()
            && !share.databases.contains(&write_set.database)
        {
            share.databases.push(Arc::clone(&write_set.database));
        }
        Some(*converted)
    }

    async fn add_all(&mut self, converted: Converted) -> Result<()> {
        let (mut last, mut applied) = (None, Vec::new());
        for write_set in converted.write_sets {
            let operation = write_set.operation;
            let reached = self.add(write_set).await?;
            last = reached.or(last);
            if let Some(operation) = operation {
                count(&mut applied, operation);
            }
            if self.batch.is_full(&self.parts.limits) {
                self.write_batch().await?;
            }
        }
        if let Some((database, position)) = last {
            self.batch.news.counts.applied(&database, &applied);
            self.batch.reached(&database, position);
        }
        self.batch.content.hold(converted.permit);
        Ok(())
    }

    /// Adds what one change does; returns where its database is then.
    async fn add(&mut self, write_set: WriteSet) -> Result<Option<(Arc<str>, Position)>> {
        let WriteSet { position, database, steps, fresh, held, .. } = write_set;
        let time = position.as_ref().map(Position::cluster_time);
        let fresh = fresh && self.parts.exact_after.is_some_and(|exact| time.is_some_and(|time| time > exact));
        for step in steps {
            self.step(step, fresh, position.as_ref()).await?;
        }
        if !held.is_nothing() {
            self.batch.news.held.push(held);
        }
        Ok(position.map(|position| (database, position)))
    }

    async fn step(&mut self, step: Step, fresh: bool, position: Option<&Position>) -> Result<()> {
        let content = &mut self.batch.content;
        match step {
            Step::Row(mut change) => {
                if let Some(position) = position {
                    change.brought_by(position);
                }
                if fresh { content.fold.add_fresh(change) } else { content.fold.add(change) }
            }
            Step::Ddl(ddl) => self.schema_change(&ddl).await?,
            Step::Anomaly(anomaly) => content.anomalies.push((anomaly, position.cloned())),
            Step::Quarantine(document) => {
                content.quarantined.push((document, position.cloned()));
                self.batch.news.counts.quarantine = true;
            }
            Step::Met { collection, id } => {
                content.met.insert((collection, id));
            }
            Step::Release { collection, id_key } => {
                self.write_all().await?;
                self.catalog().release(collection, &id_key).await?;
                self.batch.news.counts.quarantine = true;
            }
            // Later, whatever is updated has its root row.
            Step::Orphans { .. } if position.is_some_and(|p| p.cluster_time() > self.parts.replayed_until) => {}
            Step::Orphans { tables, key } => {
                self.write_all().await?;
                delete_orphans(&self.client, &tables, &key).await?;
            }
        }
        Ok(())
    }

    /// Rows of a table that were made before it changes are written before that; other tables' rows can wait.
    async fn schema_change(&mut self, ddl: &Ddl) -> Result<()> {
        self.settle().await?;
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
                self.batch.news.counts.quarantine = true;
                Vec::new()
            }
        };
        let mut before = Content::default();
        before.met = std::mem::take(&mut self.batch.content.met);
        let mut rows = Vec::new();
        for table in tables {
            if let Some(changes) = self.batch.content.fold.take_table(table)
                && !matches!(ddl, Ddl::DropTable(_))
            {
                rows.push(changes);
            }
        }
        if let Ddl::Collection(_) | Ddl::Forget(_) = ddl {
            // What waits in quarantine is renamed, or goes, with its collection.
            before.quarantined = std::mem::take(&mut self.batch.content.quarantined);
        }
        let written = self.work(before, rows).write().await?;
        self.account(written);
        self.batch.schema_changes += 1;
        self.catalog().ddl(ddl).await
    }

    fn catalog(&self) -> CatalogWriter<'_> {
        CatalogWriter { client: &self.client, fence: &self.parts.fence }
    }

    /// What is to be written, and whether a transaction has to be opened for it; one is open then.
    fn work(&mut self, content: Content, rows: Vec<TableChanges>) -> Work {
        let begin = !std::mem::replace(&mut self.open, true);
        let (fence, merge) = (self.parts.fence.clone(), self.parts.merge);
        Work { client: Arc::clone(&self.client), fence, begin, content, rows, merge }
    }

    /// Has what is collected written into the open transaction, and that is opened where there is none.
    async fn write_batch(&mut self) -> Result<()> {
        self.settle().await?;
        let content = std::mem::take(&mut self.batch.content);
        let work = self.work(content, Vec::new());
        self.writing = Some(AbortOnDropHandle::new(tokio::spawn(work.write())));
        Ok(())
    }

    /// The same, and waits until it is done.
    async fn write_all(&mut self) -> Result<()> {
        self.write_batch().await?;
        self.settle().await
    }

    /// Waits for the batch that is on its way.
    async fn settle(&mut self) -> Result<()> {
        if self.writing.is_some() {
            let written = written(&mut self.writing).await?;
            self.account(written);
        }
        Ok(())
    }

    fn account(&mut self, written: Reasons) {
        for (reason, n) in written {
            *self.batch.news.counts.anomalies.entry(reason).or_default() += n;
        }
    }

    /// True when everything collected is whole source transactions.
    pub(super) fn is_whole(&self) -> bool {
        self.batch.at_boundary
    }

    /// Has what is collected committed, if it is whole.
    async fn commit(&mut self) -> Result<()> {
        if !self.batch.at_boundary {
            return Ok(());
        }
        self.settle().await?;
        let (empty, databases) = (self.batch.is_empty() && !self.open, self.databases());
        let Batch { content, news, .. } = std::mem::replace(&mut self.batch, Batch::new());
        let mut moves = Vec::new();
        for (database, position) in &news.lanes {
            let positions = &mut self.share_of_mut(database).positions;
            let old = positions.insert(database.to_string(), position.clone());
            moves.push((Arc::clone(database), old, position.clone()));
        }
        let (telemetry, copies) = (self.parts.telemetry.clone(), self.parts.copies.clone());
        let end = End { moves, news, databases, telemetry, copies, through: self.through.clone() };
        if empty {
            end.report();
            return Ok(());
        }
        let work = self.work(content, Vec::new());
        self.open = false;
        self.writing = Some(AbortOnDropHandle::new(tokio::spawn(end.commit(work))));
        Ok(())
    }

    /// The same, and waits until it is done.
    pub(super) async fn commit_now(&mut self) -> Result<()> {
        self.commit().await?;
        self.settle().await
    }

    /// Databases that have had changes.
    fn databases(&self) -> Vec<Arc<str>> {
        let guests = self.guests.iter().flat_map(|guest| &guest.share.databases);
        self.own.databases.iter().chain(guests).cloned().collect()
    }
}

/// How long a batch waits for more when the source is so far ahead.
fn patience(behind: Duration) -> Option<Duration> {
    (behind > NOT_BEHIND).then(|| (behind / PATIENCE).min(MAX_PATIENCE))
}

/// That time; never, where there is none.
async fn end_of(patience: Option<Instant>) {
    match patience {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// The end of what is being written; never, where nothing is.
async fn written(writing: &mut Option<AbortOnDropHandle<Result<Reasons>>>) -> Result<Reasons> {
    let Some(task) = writing else { return std::future::pending().await };
    let ended = task.await;
    *writing = None;
    ended.unwrap_or_else(|error| Err(Error::new(Kind::Defect, Stage::Sink, format!("a writer panicked: {error}"))))
}

/// A lane that stopped although a ticket names it.
pub(super) fn lane_ended() -> Error {
    Error::new(Kind::Interrupted, Stage::Mapping, "a lane ended before its changes were taken")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_wait_only_for_what_is_far_behind_and_never_long() {
        let waits = |millis| patience(Duration::from_millis(millis)).map(|patience| patience.as_millis());
        assert_eq!([0, 1000, 2000, 4000, 3_600_000].map(waits), [None, None, Some(250), Some(500), Some(1000)]);
    }
}
