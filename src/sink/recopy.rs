//! Copying a collection once more, over the rows that are there.
//!
//! In: a wish, from `tailwater resnapshot` or since history was lost. Out: marks of a copy that starts anew, and the ids of
//! the rows that are there, noted in `tailwater.unmet`; whoever meets a document at the source strikes it off, in the
//! transaction that writes its rows. What is left when all ranges are copied is gone from the source, and its rows go.
//! Ids are noted as the digests of their canonical forms, which stay the same when the key's type changes.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::Object;

use super::catalog::{CatalogWriter, damaged};
use super::checkpoint::FLOOR;
use super::faults::fault;
use super::fence::Fence;
use super::rekey::id_digest;
use super::statement::Statement;
use super::target::Target;
use crate::error::{Error, Kind, Result, Stage};
use crate::mapping::root::StoredKey;
use crate::model::identifier::Identifier;
use crate::model::namespace::CollectionId;
use crate::model::position::Position;
use crate::model::table::{SharedTable, Table};

const UNMET: &str = "writing tailwater.unmet";

/// The rows of a collection that are there.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Its tables, the root's first.
    pub tables: Vec<SharedTable>,
    /// How the root's key stands for ids.
    pub key: StoredKey,
}

impl Target {
    /// Wishes that the collection of that name is copied once more; false when none is known.
    ///
    /// # Errors
    /// When PostgreSQL fails or refuses.
    pub async fn ask_for_recopy(&self, namespace: &str) -> Result<bool> {
        let client = self.client().await?;
        let sql = "INSERT INTO tailwater.recopies (pipeline, collection) \
                   SELECT pipeline, collection FROM tailwater.collections WHERE pipeline = $1 AND namespace = $2 \
                   ON CONFLICT (pipeline, collection) DO UPDATE SET asked_at = now(), begun = false";
        let asked = client.execute(sql, &[&&**self.pipeline(), &namespace]).await;
        asked.map(|rows| rows > 0).map_err(|error| fault(Stage::Sink, "writing tailwater.recopies", &error))
    }

    /// Takes up the wishes: the marks of those copies start anew.
    ///
    /// # Errors
    /// When PostgreSQL fails, or another daemon has taken over.
    pub async fn begin_recopies(&self, fence: &Fence) -> Result<()> {
        let client = self.client().await?;
        if !recopies_wanted(&client, self.pipeline()).await? {
            return Ok(());
        }
        fence.begin(&client).await?;
        let catalog = CatalogWriter { client: &client, fence };
        let wanted = "(SELECT collection FROM tailwater.recopies WHERE pipeline = $1 AND NOT begun)";
        for sql in [
            format!("DELETE FROM tailwater.snapshot_chunks WHERE pipeline = $1 AND collection IN {wanted}"),
            // What cannot be stored gets there again when it is met.
            format!("DELETE FROM tailwater.quarantine WHERE pipeline = $1 AND collection IN {wanted}"),
            format!("DELETE FROM tailwater.unmet WHERE pipeline = $1 AND collection IN {wanted}"),
            format!("UPDATE tailwater.collections SET copied = false WHERE pipeline = $1 AND collection IN {wanted}"),
            "UPDATE tailwater.recopies SET begun = true WHERE pipeline = $1".to_owned(),
        ] {
            let params = vec![catalog.pipeline().into()];
            catalog.run(&Statement { what: "beginning to copy again", sql: sql.into(), params }).await?;
        }
        client.batch_execute("COMMIT").await.map_err(|error| fault(Stage::Sink, "committing", &error))
    }

    /// Begins anew at `now`, since what came before is lost: everything is to be copied once more.
    ///
    /// # Errors
    /// When PostgreSQL fails, or another daemon has taken over.
    pub async fn begin_anew(&self, fence: &Fence, now: &Position) -> Result<()> {
        let client = self.client().await?;
        fence.begin(&client).await?;
        let catalog = CatalogWriter { client: &client, fence };
        let pipeline = catalog.pipeline();
        for (sql, params) in [
            ("DELETE FROM tailwater.checkpoint WHERE pipeline = $1", vec![pipeline.into()]),
            (
                "INSERT INTO tailwater.recopies (pipeline, collection) SELECT pipeline, collection \
                 FROM tailwater.collections WHERE pipeline = $1 \
                 ON CONFLICT (pipeline, collection) DO UPDATE SET asked_at = now(), begun = false",
                vec![pipeline.into()],
            ),
        ] {
            catalog.run(&Statement { what: "beginning anew", sql: sql.into(), params }).await?;
        }
        catalog.run(&super::checkpoint::set_lane(pipeline, FLOOR, now)).await?;
        catalog.event("history_lost", &format!("everything is copied again from {}", now.cluster_time())).await?;
        client.batch_execute("COMMIT").await.map_err(|error| fault(Stage::Sink, "committing", &error))
    }

    /// The collections that are being copied over their rows.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn recopies(&self) -> Result<BTreeSet<CollectionId>> {
        let client = self.client().await?;
        let sql = "SELECT collection::text FROM tailwater.recopies WHERE pipeline = $1";
        let rows = client.query(sql, &[&&**self.pipeline()]).await;
        let rows = rows.map_err(|error| fault(Stage::Sink, "reading tailwater.recopies", &error))?;
        rows.iter().map(|row| CollectionId::parse(row.get(0)).ok_or_else(|| damaged("recopies"))).collect()
    }

    /// Takes away the rows of documents that were not met. Changes that are later than the copy go on meanwhile: whoever
    /// inserts such a document again strikes it off first, so that one of both waits for the other.
    ///
    /// # Errors
    /// When PostgreSQL fails, or another daemon has taken over.
    pub async fn sweep(&self, fence: &Fence, collection: CollectionId, rows: &Rows) -> Result<u64> {
        let client = self.client().await?;
        fence.begin(&client).await?;
        let swept = sweep(&CatalogWriter { client: &client, fence }, collection, rows).await?;
        client.batch_execute("COMMIT").await.map_err(|error| fault(Stage::Sink, "committing", &error))?;
        Ok(swept)
    }

    /// Notes that a collection is copied over its rows.
    ///
    /// # Errors
    /// When PostgreSQL fails, or another daemon has taken over.
    pub async fn end_recopy(&self, fence: &Fence, collection: CollectionId) -> Result<()> {
        let client = self.client().await?;
        fence.begin(&client).await?;
        let catalog = CatalogWriter { client: &client, fence };
        // A wish that came meanwhile stays.
        let sql = "DELETE FROM tailwater.recopies WHERE pipeline = $1 AND collection = $2::text::uuid AND begun";
        let params = [catalog.pipeline().into(), collection.to_string().into()];
        catalog.run(&Statement::new("writing tailwater.recopies", sql, params)).await?;
        client.batch_execute("COMMIT").await.map_err(|error| fault(Stage::Sink, "committing", &error))
    }
}

/// True when somebody wishes a copy that has not begun.
///
/// # Errors
/// When PostgreSQL fails.
pub async fn recopies_wanted(client: &Object, pipeline: &str) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT FROM tailwater.recopies WHERE pipeline = $1 AND NOT begun)";
    let statement = client.prepare_cached(sql).await;
    let statement = statement.map_err(|error| fault(Stage::Sink, "reading tailwater.recopies", &error))?;
    let row = client.query_one(&statement, &[&pipeline]).await;
    Ok(row.map_err(|error| fault(Stage::Sink, "reading tailwater.recopies", &error))?.get(0))
}

/// Notes all rows that are there, in the caller's transaction: those of children too, as somebody may have taken the root's.
pub(super) async fn note_rows(catalog: &CatalogWriter<'_>, collection: CollectionId, rows: &Rows) -> Result<()> {
    for table in &rows.tables {
        let Some((name, _, digest)) = keyed(table, rows) else { continue };
        let sql = format!(
            "INSERT INTO tailwater.unmet (pipeline, collection, id) SELECT DISTINCT $1, $2::text::uuid, {digest} \
             FROM {name} AS t {} ON CONFLICT DO NOTHING",
            deleted_and_stays(table, rows, "WHERE NOT")
        );
        let params = vec![catalog.pipeline().into(), collection.to_string().into()];
        catalog.run(&Statement { what: UNMET, sql: sql.into(), params }).await?;
    }
    Ok(())
}

/// A table's name, its key, and the digest of the id that the key stands for.
fn keyed<'t>(table: &'t Table, rows: &Rows) -> Option<(String, &'t Identifier, String)> {
    let key = &table.columns.first()?.name;
    Some((table.qualified(), key, id_digest(key, &rows.key)))
}

/// The condition, after `word`, that a row is of a document which is deleted and stays; nothing where none stays.
fn deleted_and_stays(table: &Table, rows: &Rows, word: &str) -> String {
    let root = rows.tables.first().filter(|root| root.metadata.deleted_at);
    let Some(root) = root else { return String::new() };
    if table.id == root.id {
        return format!("{word} (t.\"_deleted_at\" IS NOT NULL)");
    }
    let key = |table: &Table| table.columns.first().map(|key| key.name.to_string()).unwrap_or_default();
    let (name, root_key, child_key) = (root.qualified(), key(root), key(table));
    format!("{word} EXISTS (SELECT FROM {name} AS r WHERE r.{root_key} = t.{child_key})")
}

async fn sweep(catalog: &CatalogWriter<'_>, collection: CollectionId, rows: &Rows) -> Result<u64> {
    let run = async |sql: String| {
        let done = catalog.client.execute(&sql, &[]).await;
        done.map_err(|error| fault(Stage::Snapshot, "taking away what the source no longer has", &error))
    };
    run("CREATE TEMP TABLE unmet (id bytea PRIMARY KEY) ON COMMIT DROP".to_owned()).await?;
    let sql = "WITH left_over AS (DELETE FROM tailwater.unmet WHERE pipeline = $1 AND collection = $2::text::uuid \
               RETURNING id) INSERT INTO pg_temp.unmet SELECT id FROM left_over";
    let params = [catalog.pipeline().into(), collection.to_string().into()];
    if catalog.run(&Statement::new(UNMET, sql, params)).await? == 0 {
        return Ok(0);
    }
    run("ANALYZE pg_temp.unmet".to_owned()).await?;
    let mut swept = 0;
    for (i, table) in rows.tables.iter().enumerate() {
        let Some((name, _, digest)) = keyed(table, rows) else { continue };
        let stays = deleted_and_stays(table, rows, "AND NOT");
        let sql = match (i, table.metadata.deleted_at) {
            (0, true) => format!(
                "UPDATE {name} AS t SET \"_deleted_at\" = now() FROM pg_temp.unmet AS u WHERE u.id = {digest} {stays}"
            ),
            _ => format!("DELETE FROM {name} AS t USING pg_temp.unmet AS u WHERE u.id = {digest} {stays}"),
        };
        let rows = run(sql).await?;
        swept = if i == 0 { rows } else { swept };
    }
    Ok(swept)
}

impl CatalogWriter<'_> {
    /// Strikes off documents that were met, in one order for all.
    pub(super) async fn met(&self, met: &BTreeSet<(CollectionId, [u8; 32])>) -> Result<()> {
        let failed = |error: &tokio_postgres::Error| fault(Stage::Sink, UNMET, error);
        let mut by_collection: BTreeMap<CollectionId, Vec<&[u8]>> = BTreeMap::new();
        for (collection, id) in met {
            by_collection.entry(*collection).or_default().push(id.as_slice());
        }
        let sql = "DELETE FROM tailwater.unmet WHERE pipeline = $1 AND collection = $2::text::uuid AND id IN \
                   (SELECT id FROM tailwater.unmet WHERE pipeline = $1 AND collection = $2::text::uuid \
                   AND id = ANY ($3) ORDER BY id FOR UPDATE)";
        let statement = self.client.prepare_cached(sql).await.map_err(|error| failed(&error))?;
        for (collection, ids) in by_collection {
            let id = collection.to_string();
            let struck = self.client.execute(&statement, &[&self.pipeline(), &id, &ids]).await;
            struck.map_err(|error| failed(&error))?;
        }
        Ok(())
    }
}

/// The error of a running stream when somebody wishes a copy: the next attempt begins it.
#[must_use]
pub fn wanted() -> Error {
    Error::new(Kind::Again, Stage::Snapshot, "a collection is to be copied again")
}
