//! An executor that writes text: takes tickets and write sets as `sink::executor` does.
//!
//! In: tickets that say which lane comes next, and the lanes' write sets. Out: one transaction of the text for each of
//! the source, ended by its position. Changes are written one by one, so that the text says what happened and nothing is
//! held in memory.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::SqlText;
use crate::error::{Error, Kind, Result, Stage};
use crate::model::position::{ClusterTime, Position};
use crate::model::ticket::{Converted, LaneId, Through, Ticket};
use crate::model::write_set::{Step, WriteSet};
use crate::sink::executor::lane_ended;
use crate::sink::records;
use crate::telemetry::Telemetry;

/// See the module.
pub struct TextExecutor {
    text: SqlText,
    consistent_from: ClusterTime,
    telemetry: Telemetry,
    outputs: HashMap<LaneId, mpsc::Receiver<Box<Converted>>>,
    /// Where the lanes stand that have moved since the last commit.
    moved: HashMap<Arc<str>, Position>,
    /// Where every lane stands.
    databases: HashMap<Arc<str>, Position>,
    counts: HashMap<(Arc<str>, &'static str), u64>,
}

impl TextExecutor {
    /// An executor that goes on with a text.
    #[must_use]
    pub fn new(text: SqlText, consistent_from: ClusterTime, telemetry: Telemetry) -> Self {
        let (outputs, moved, databases) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { text, consistent_from, telemetry, outputs, moved, databases, counts: HashMap::new() }
    }

    /// Works until the tickets end; what is then not whole is taken back.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub async fn run(
        mut self,
        mut tickets: mpsc::Receiver<Ticket>,
        through: watch::Sender<Option<Through>>,
    ) -> Result<()> {
        let mut last = None;
        while let Some(ticket) = tickets.recv().await {
            if let Some(reached) = self.take(ticket).await? {
                self.report(&reached);
                last = Some(reached.clone());
                through.send_replace(Some(reached));
            }
            if tickets.is_empty() {
                self.text.flush().await?;
            }
        }
        self.text.rollback().await?;
        if let Some(Through { position, .. }) = last {
            // Whoever goes on need not read it all again.
            self.text.floor(&position).await?;
        }
        self.text.flush().await
    }

    /// What a ticket asks for; returns how far everything is written, where it tells.
    async fn take(&mut self, ticket: Ticket) -> Result<Option<Through>> {
        match ticket {
            Ticket::Open { lane, output, .. } => {
                self.outputs.insert(lane, output);
            }
            Ticket::Close { lane } => {
                self.outputs.remove(&lane);
            }
            Ticket::Boundary => self.commit().await?,
            Ticket::Watermark { through, .. } => return Ok(Some(through)),
            Ticket::Hurry => {}
            Ticket::Lend { .. } | Ticket::Borrow { .. } | Ticket::Return => {
                return Err(Error::new(Kind::Defect, Stage::Sink, "a text has one executor, which shares with nobody"));
            }
            // There is one lane in it, as the router goes in the source's order here.
            Ticket::Take { lanes, .. } => {
                for lane in lanes {
                    let Some(converted) = self.next_of(lane).await else { return Err(lane_ended()) };
                    for write_set in converted.write_sets {
                        self.write(write_set).await?;
                    }
                }
            }
        }
        Ok(None)
    }

    async fn next_of(&mut self, lane: LaneId) -> Option<Converted> {
        self.outputs.get_mut(&lane)?.recv().await.map(|converted| *converted)
    }

    async fn write(&mut self, write_set: WriteSet) -> Result<()> {
        let WriteSet { position, boundary, database, operation, steps, .. } = write_set;
        let beside = || Error::new(Kind::Defect, Stage::Sink, "nothing is copied beside the changes of a text");
        let (position, operation) = position.zip(operation).ok_or_else(beside)?;
        for step in steps {
            self.step(step, &position).await?;
        }
        *self.counts.entry((Arc::clone(&database), operation)).or_default() += 1;
        self.moved.insert(database, position);
        if boundary { self.commit().await } else { Ok(()) }
    }

    async fn step(&mut self, step: Step, position: &Position) -> Result<()> {
        match step {
            Step::Row(mut change) => {
                change.brought_by(position);
                self.text.row(&change).await
            }
            Step::Ddl(ddl) => self.text.ddl(&ddl).await,
            Step::Met { .. } => Ok(()),
            Step::Anomaly(anomaly) => {
                self.telemetry.anomaly(anomaly.reason, 1);
                self.text.anomaly(&anomaly, Some(position)).await
            }
            Step::Quarantine(document) => self.text.quarantine(&document, Some(position)).await,
            // Later, whatever is updated has its root row.
            Step::Orphans { .. } if position.cluster_time() > self.consistent_from => Ok(()),
            Step::Orphans { tables, key } => self.text.orphans(&tables, &key).await,
            Step::Release { collection, id_key } => {
                let pipeline = self.text.pipeline();
                self.text.record(&records::release(&pipeline, collection, &id_key)).await
            }
        }
    }

    /// Ends the transaction with its position. What changes nothing waits for the next one.
    async fn commit(&mut self) -> Result<()> {
        for (database, position) in &self.moved {
            self.databases.insert(Arc::clone(database), position.clone());
        }
        if !self.text.is_open() {
            return Ok(());
        }
        let mut moved: Vec<_> = self.moved.drain().collect();
        moved.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (database, position) in moved {
            self.text.position(&database, &position).await?;
        }
        self.text.commit().await?;
        self.telemetry.committed();
        for ((database, operation), n) in self.counts.drain() {
            self.telemetry.applied(&database, operation, n);
        }
        Ok(())
    }

    fn report(&self, through: &Through) {
        let consistent = through.covers(self.consistent_from);
        for database in self.databases.keys() {
            self.telemetry.database(database, through.position.cluster_time(), consistent);
        }
    }
}
