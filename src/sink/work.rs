//! One batch on its way into PostgreSQL, on a task of its own: the executor collects the next one meanwhile.
//!
//! In: what a batch has collected, and a connection that nobody else uses until this ends. Out: rows, or an error after which
//! the transaction is worth nothing. What is told of a batch is told here, once it is durable.

use std::collections::HashMap;
use std::sync::Arc;

use deadpool_postgres::Object;
use tokio::sync::watch;

use super::batch::{Content, News};
use super::catalog::CatalogWriter;
use super::checkpoint::move_lane;
use super::faults::fault;
use super::fence::Fence;
use super::fold::TableChanges;
use super::write::write_tables;
use crate::copying::Copies;
use crate::error::{Result, Stage};
use crate::model::position::Position;
use crate::model::ticket::Through;
use crate::telemetry::Telemetry;

/// How many anomalies were written, by reason.
pub(super) type Reasons = HashMap<&'static str, u64>;

/// See the module.
pub(super) struct Work {
    pub client: Arc<Object>,
    pub fence: Fence,
    /// True when the transaction is not open yet.
    pub begin: bool,
    pub content: Content,
    /// Rows that go before those of `content`.
    pub rows: Vec<TableChanges>,
    /// True when the server knows MERGE.
    pub merge: bool,
}

/// What is done after the last rows of a transaction.
pub(super) struct End {
    /// Databases with their positions before and after.
    pub moves: Vec<(Arc<str>, Option<Position>, Position)>,
    pub news: News,
    /// Databases that have had changes.
    pub databases: Vec<Arc<str>>,
    pub telemetry: Telemetry,
    pub copies: Copies,
    pub through: watch::Sender<Option<Through>>,
}

impl Work {
    /// Writes; the memory of the changes is given back at the end.
    pub async fn write(self) -> Result<Reasons> {
        let Work { client, fence, begin, mut content, rows, merge } = self;
        if begin {
            fence.begin(&client).await?;
        }
        let catalog = CatalogWriter { client: &client, fence: &fence };
        // Before the rows: whoever takes away what was not met waits for this, or this for him.
        if !content.met.is_empty() {
            catalog.met(&content.met).await?;
        }
        let mut anomalies = std::mem::take(&mut content.anomalies);
        anomalies.extend(write_tables(&client, rows, merge).await?);
        anomalies.extend(write_tables(&client, content.fold.take(), merge).await?);
        let mut reasons = Reasons::new();
        for (anomaly, position) in anomalies {
            let position = position.as_ref().map(Position::text);
            catalog.anomaly(&anomaly, position.as_deref()).await?;
            *reasons.entry(anomaly.reason).or_default() += 1;
        }
        for (document, position) in &content.quarantined {
            let position = position.as_ref().map(Position::text);
            catalog.quarantine(document, position.as_deref()).await?;
        }
        Ok(reasons)
    }
}

impl End {
    /// Writes the last rows, commits, and tells of it.
    pub async fn commit(mut self, work: Work) -> Result<Reasons> {
        let (client, fence) = (Arc::clone(&work.client), work.fence.clone());
        for (reason, n) in work.write().await? {
            *self.news.counts.anomalies.entry(reason).or_default() += n;
        }
        for (lane, old, new) in &self.moves {
            move_lane(&client, &fence, lane, old.as_ref(), new).await?;
        }
        let done = client.batch_execute("COMMIT").await;
        done.map_err(|error| fault(Stage::Sink, "committing", &error))?;
        if self.news.counts.quarantine {
            let catalog = CatalogWriter { client: &client, fence: &fence };
            self.telemetry.quarantined(catalog.quarantined().await?);
        }
        self.count();
        self.report();
        Ok(Reasons::new())
    }

    /// Counts what is durable now.
    fn count(&mut self) {
        self.telemetry.committed();
        for ((database, operation), n) in self.news.counts.applied.drain() {
            self.telemetry.applied(&database, operation, n);
        }
        for (reason, n) in self.news.counts.anomalies.drain() {
            self.telemetry.anomaly(reason, n);
        }
    }

    /// Tells how far everything is committed: the batch's end, or a watermark beyond it.
    pub fn report(self) {
        let News { held, lanes, watermark, .. } = self.news;
        for held in held {
            held.committed.map(|committed| committed.send(()));
        }
        let end = lanes.into_values().max().map(|position| Through { position, complete: false });
        let through = match (end, watermark) {
            (Some(end), Some(mark)) => end.later(mark),
            (Some(through), None) | (None, Some(through)) => through,
            (None, None) => return,
        };
        for database in &self.databases {
            let consistent = self.copies.are_consistent(database, &through);
            self.telemetry.database(database, through.position.cluster_time(), consistent);
        }
        self.through.send_replace(Some(through));
    }
}
