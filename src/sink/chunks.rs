//! The ranges of a snapshot, kept in PostgreSQL so that an interrupted one goes on where it was.

use super::catalog::CatalogWriter;
use super::copy::no_mark;
use super::faults::fault;
use super::fence::Fence;
use super::recopy::{Rows, note_rows};
use super::records;
use super::target::Target;
use crate::error::{Error, Kind, Result, Stage};
use crate::model::bson::Document;
use crate::model::namespace::{CollectionId, Namespace};
use crate::model::position::ClusterTime;

/// One range of `_id`s: bounds are `{_id: …}`, `None` is open; the lower is in it, the upper is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its number within the collection.
    pub number: i32,
    /// The first `_id`.
    pub lower: Option<Document>,
    /// The first `_id` that is no longer in it.
    pub upper: Option<Document>,
    /// When it was read, once it is done.
    pub done: Option<ClusterTime>,
    /// Documents that it had, once it is done.
    pub documents: u64,
    /// Their bytes, as BSON.
    pub bytes: u64,
}

/// What is noted when a range is done.
#[derive(Debug, Clone)]
pub struct Mark {
    /// The collection.
    pub collection: CollectionId,
    /// The range's number.
    pub number: i32,
    /// When it was read.
    pub time: ClusterTime,
    /// Documents in it.
    pub documents: u64,
    /// Their bytes, as BSON.
    pub bytes: u64,
}

impl Target {
    /// The ranges of a collection in order; empty when it was never cut.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn chunks(&self, collection: CollectionId) -> Result<Vec<Chunk>> {
        let client = self.client().await?;
        let sql = "SELECT chunk, lower_bound, upper_bound, done, cluster_seconds, cluster_ordinal, documents, bytes \
                   FROM tailwater.snapshot_chunks WHERE pipeline = $1 AND collection = $2::text::uuid ORDER BY chunk";
        let rows = client.query(sql, &[&&**self.pipeline(), &collection.to_string()]).await;
        let rows = rows.map_err(|error| fault(Stage::Snapshot, "reading tailwater.snapshot_chunks", &error))?;
        let damaged = || Error::new(Kind::Defect, Stage::Snapshot, "tailwater.snapshot_chunks is damaged");
        rows.iter().map(|row| chunk(row).ok_or_else(damaged)).collect()
    }

    /// Keeps the ranges of a collection; with `over`, also which rows are there.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn plan_chunks(
        &self,
        fence: &Fence,
        collection: CollectionId,
        namespace: &Namespace,
        chunks: &[Chunk],
        over: Option<&Rows>,
    ) -> Result<()> {
        let client = self.client().await?;
        fence.begin(&client).await?;
        let catalog = CatalogWriter { client: &client, fence };
        for chunk in chunks {
            catalog.run(&records::chunk(self.pipeline(), collection, namespace, chunk)).await?;
        }
        if let Some(rows) = over {
            note_rows(&catalog, collection, rows).await?;
        }
        let failed = |error| fault(Stage::Snapshot, "writing tailwater.snapshot_chunks", &error);
        client.batch_execute("COMMIT").await.map_err(failed)
    }

    /// The collections with ranges that were read later than `time`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn copied_after(&self, time: ClusterTime) -> Result<Vec<CollectionId>> {
        let client = self.client().await?;
        let sql = "SELECT DISTINCT collection::text FROM tailwater.snapshot_chunks WHERE pipeline = $1 AND done \
                   AND (cluster_seconds, cluster_ordinal) > ($2, $3)";
        let (seconds, ordinal) = (i64::from(time.seconds), i64::from(time.ordinal));
        let rows = client.query(sql, &[&&**self.pipeline(), &seconds, &ordinal]).await;
        let rows = rows.map_err(|error| fault(Stage::Snapshot, "reading tailwater.snapshot_chunks", &error))?;
        let damaged = || Error::new(Kind::Defect, Stage::Snapshot, "tailwater.snapshot_chunks is damaged");
        rows.iter().map(|row| CollectionId::parse(row.get(0)).ok_or_else(damaged)).collect()
    }

    /// The latest time at which any range was read: from there on the target can be consistent.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn snapshot_time(&self) -> Result<Option<ClusterTime>> {
        let client = self.client().await?;
        let sql = "SELECT cluster_seconds, cluster_ordinal FROM tailwater.snapshot_chunks WHERE pipeline = $1 AND done \
                   ORDER BY cluster_seconds DESC, cluster_ordinal DESC LIMIT 1";
        let row = client.query_opt(sql, &[&&**self.pipeline()]).await;
        let row = row.map_err(|error| fault(Stage::Snapshot, "reading tailwater.snapshot_chunks", &error))?;
        Ok(row.and_then(|row| cluster_time(row.get(0), row.get(1))))
    }
}

fn cluster_time(seconds: Option<i64>, ordinal: Option<i64>) -> Option<ClusterTime> {
    Some(ClusterTime { seconds: u32::try_from(seconds?).ok()?, ordinal: u32::try_from(ordinal?).ok()? })
}

fn count(n: Option<i64>) -> u64 {
    n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
}

fn chunk(row: &tokio_postgres::Row) -> Option<Chunk> {
    let bound = |bytes: Option<Vec<u8>>| bytes.map(Document::new).transpose().ok();
    let done: bool = row.get(3);
    Some(Chunk {
        number: row.get(0),
        lower: bound(row.get(1))?,
        upper: bound(row.get(2))?,
        done: if done { Some(cluster_time(row.get(4), row.get(5))?) } else { None },
        documents: count(row.get(6)),
        bytes: count(row.get(7)),
    })
}

/// Marks a range as done, in the caller's transaction.
pub(super) async fn mark_done(catalog: &CatalogWriter<'_>, mark: &Mark) -> Result<()> {
    let marked = catalog.run(&records::mark(catalog.pipeline(), mark)).await?;
    if marked == 1 { Ok(()) } else { Err(no_mark(mark.number)) }
}
