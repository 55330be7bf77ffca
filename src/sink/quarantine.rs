//! `tailwater.quarantine`: documents that are not stored, and which of them are to be tried again.
//!
//! In: rejected documents, releases and marks. Out: who waits. A mark is `retry_at` on the rows of a document; it goes with
//! the rows, in the transaction that stores the document or puts its newest form into the quarantine, so that it is
//! neither lost nor done by halves. Anybody may set marks; all else is written under the fence.

use std::collections::HashMap;

use deadpool_postgres::Object;

use super::catalog::{CatalogWriter, damaged};
use super::faults::fault;
use super::fence::Fence;
use super::records;
use super::statement::Statement;
use super::target::Target;
use crate::error::{Error, Result, Stage};
use crate::model::bson::Document;
use crate::model::namespace::{CollectionId, Namespace};
use crate::model::write_set::{Marked, Quarantined, Waiting};

/// Marked documents that are read at a time; more wait for the next time.
const MARKED: i64 = 256;

/// What a list shows of a document.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The collection.
    pub collection: CollectionId,
    /// Its id as the daemon tells ids apart; empty for a document without an id that can be read.
    pub id_key: String,
    /// The collection's name now.
    pub namespace: String,
    /// The id, relaxed Extended JSON.
    pub document_id: String,
    /// Why it is there.
    pub reason: String,
    /// Since when.
    pub since: String,
    /// Rows: the document, and what has come for it since.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When it was asked to be tried again, while that is not done.
    pub retry_at: Option<String>,
}

/// Which documents somebody means; by default all.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Those of one collection, by the name it has now.
    pub namespace: Option<String>,
    /// Those with one of these ids, each as relaxed Extended JSON.
    pub ids: Option<Vec<String>>,
}

fn failed(error: &tokio_postgres::Error) -> Error {
    fault(Stage::Sink, "reading tailwater.quarantine", error)
}

impl Target {
    /// The documents in quarantine, by collection.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub async fn quarantined(&self) -> Result<HashMap<CollectionId, Waiting>> {
        let client = self.client().await?;
        let sql =
            "SELECT collection::text, id_key, count(*) FROM tailwater.quarantine WHERE pipeline = $1 GROUP BY 1, 2";
        let rows = client.query(sql, &[&&**self.pipeline()]).await;
        let mut quarantined: HashMap<_, Waiting> = HashMap::new();
        for row in rows.map_err(|error| failed(&error))? {
            let id = CollectionId::parse(row.get(0)).ok_or_else(|| damaged("quarantine"))?;
            quarantined.entry(id).or_default().insert(row.get(1), unsigned(row.get(2)));
        }
        Ok(quarantined)
    }

    /// The documents of the quarantine, the oldest first.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub async fn list_quarantine(&self, selection: &Selection) -> Result<Vec<Listed>> {
        let client = self.client().await?;
        // What came for a document that was there already is not why it is there.
        let sql = "SELECT q.collection::text, id_key, coalesce(c.namespace, min(q.namespace)), min(document_id::text), \
                   (array_agg(reason ORDER BY reason = 'update_of_quarantined', id))[1], \
                   to_char(min(at) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), count(*), sum(length(raw))::int8, \
                   to_char(max(retry_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') \
                   FROM tailwater.quarantine q LEFT JOIN tailwater.collections c USING (pipeline, collection) \
                   WHERE pipeline = $1 AND ($2::text IS NULL OR coalesce(c.namespace, q.namespace) = $2) \
                   AND ($3::text[] IS NULL OR document_id = ANY ($3::text[]::jsonb[])) \
                   GROUP BY q.collection, id_key, c.namespace ORDER BY min(id)";
        let rows = client.query(sql, &[&&**self.pipeline(), &selection.namespace, &selection.ids]).await;
        let rows = rows.map_err(|error| failed(&error))?;
        rows.iter().map(|row| listed(row).ok_or_else(|| damaged("quarantine"))).collect()
    }

    /// Marks documents to be tried again.
    ///
    /// # Errors
    /// When PostgreSQL fails or refuses.
    pub async fn mark_quarantined(&self, documents: &[Listed]) -> Result<()> {
        let client = self.client().await?;
        let sql = "UPDATE tailwater.quarantine q SET retry_at = clock_timestamp() \
                   FROM unnest($2::text[], $3::text[]) AS wanted (collection, id_key) WHERE q.pipeline = $1 \
                   AND q.collection = wanted.collection::uuid AND md5(q.id_key) = md5(wanted.id_key) \
                   AND q.id_key = wanted.id_key";
        let collections: Vec<String> = documents.iter().map(|document| document.collection.to_string()).collect();
        let ids: Vec<&str> = documents.iter().map(|document| document.id_key.as_str()).collect();
        let done = client.execute(sql, &[&&**self.pipeline(), &collections, &ids]).await;
        done.map(|_| ()).map_err(|error| fault(Stage::Sink, "writing tailwater.quarantine", &error))
    }
}

fn listed(row: &tokio_postgres::Row) -> Option<Listed> {
    Some(Listed {
        collection: CollectionId::parse(row.get(0))?,
        id_key: row.get(1),
        namespace: row.get(2),
        document_id: row.get::<_, Option<String>>(3).unwrap_or_else(|| "null".to_owned()),
        reason: row.get(4),
        since: row.get(5),
        events: unsigned(row.get(6)),
        bytes: unsigned(row.get(7)),
        retry_at: row.get(8),
    })
}

/// The documents that are marked, each once; and whether there are marks that nothing can be done about (see
/// [`settle_marks`]).
///
/// # Errors
/// When PostgreSQL fails or the table is damaged.
pub async fn marked(client: &Object, pipeline: &str) -> Result<(Vec<Marked>, bool)> {
    let sql = "SELECT DISTINCT ON (q.collection, id_key) q.collection::text, coalesce(c.namespace, q.namespace), id_key, \
               coalesce(document_key, raw), retry_at::text, c.collection IS NULL OR id_key = '' \
               FROM tailwater.quarantine q LEFT JOIN tailwater.collections c USING (pipeline, collection) \
               WHERE pipeline = $1 AND retry_at IS NOT NULL ORDER BY q.collection, id_key, retry_at DESC LIMIT $2";
    let statement = client.prepare_cached(sql).await.map_err(|error| failed(&error))?;
    let rows = client.query(&statement, &[&pipeline, &MARKED]).await.map_err(|error| failed(&error))?;
    let marked = |row: &tokio_postgres::Row| {
        Some(Marked {
            collection: CollectionId::parse(row.get(0))?,
            namespace: Namespace::parse(row.get(1))?,
            id_key: row.get(2),
            key: Document::new(row.get(3)).ok()?,
            asked: row.get(4),
        })
    };
    let (vain, good): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.get(5));
    let good: Result<Vec<_>> = good.into_iter().map(|row| marked(row).ok_or_else(|| damaged("quarantine"))).collect();
    Ok((good?, !vain.is_empty()))
}

/// Lets go of marked documents whose collection this pipeline no longer has, and of marks on what cannot be looked up.
/// Opens and commits a transaction of its own; gives how many documents are left.
///
/// # Errors
/// When PostgreSQL fails, or another daemon has taken over.
pub async fn settle_marks(client: &Object, fence: &Fence) -> Result<u64> {
    let pipeline = &**fence.pipeline();
    fence.begin(client).await?;
    let catalog = CatalogWriter { client, fence };
    let sql = "DELETE FROM tailwater.quarantine q WHERE pipeline = $1 AND retry_at IS NOT NULL AND NOT EXISTS \
               (SELECT FROM tailwater.collections c WHERE c.pipeline = q.pipeline AND c.collection = q.collection)";
    catalog.run(&Statement::new("writing tailwater.quarantine", sql, [pipeline.into()])).await?;
    let sql = "UPDATE tailwater.quarantine SET retry_at = NULL \
               WHERE pipeline = $1 AND retry_at IS NOT NULL AND id_key = ''";
    catalog.run(&Statement::new("writing tailwater.quarantine", sql, [pipeline.into()])).await?;
    let left = catalog.quarantined().await?;
    client.batch_execute("COMMIT").await.map_err(|error| fault(Stage::Sink, "committing", &error))?;
    Ok(left)
}

impl CatalogWriter<'_> {
    pub async fn quarantine(&self, document: &Quarantined, position: Option<&str>) -> Result<()> {
        self.run(&records::quarantine(self.pipeline(), document, position)).await.map(|_| ())
    }

    pub async fn release(&self, collection: CollectionId, id_key: &str) -> Result<()> {
        self.run(&records::release(self.pipeline(), collection, id_key)).await.map(|_| ())
    }

    /// How many documents are in quarantine.
    pub async fn quarantined(&self) -> Result<u64> {
        let sql = "SELECT count(DISTINCT (collection, id_key)) FROM tailwater.quarantine WHERE pipeline = $1";
        let row = self.client.query_one(sql, &[&self.pipeline()]).await;
        let row = row.map_err(|error| fault(Stage::Sink, "counting the quarantine", &error))?;
        Ok(unsigned(row.get(0)))
    }
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
