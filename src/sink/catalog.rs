//! The catalog in schema `tailwater`: made at start, read once, then written together with the data it describes.

use deadpool_postgres::Object;
use tokio_postgres::Row;

use super::faults::fault;
use super::fence::Fence;
use super::target::Target;
use crate::error::{Error, Kind, Result, Stage};
use crate::model::identifier::Identifier;
use crate::model::namespace::{CollectionId, Namespace};
use crate::model::table::{PgType, Table};
use crate::model::write_set::{Anomaly, CollectionRow, Form, PathRow};

const SCHEMA: &str = include_str!("schema.sql");

/// Serialises the making of the catalog between daemons that start at the same moment.
const SETUP_LOCK: i64 = 0x7461_696c_7761_7465;

/// What the catalog knew when the daemon started.
#[derive(Debug, Default)]
pub struct Known {
    /// The collections.
    pub collections: Vec<CollectionRow>,
    /// Their paths.
    pub paths: Vec<PathRow>,
    /// Tables of dropped collections that stay.
    pub kept: Vec<Kept>,
}

/// A table that stays although its collection was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its schema.
    pub schema: Identifier,
    /// Its name now.
    pub name: String,
    /// The collection that it was of.
    pub collection: CollectionId,
    /// True when it has made way for another.
    pub aside: bool,
}

impl Target {
    /// Makes the catalog where it is missing.
    ///
    /// # Errors
    /// When a right is missing.
    pub async fn prepare_catalog(&self) -> Result<()> {
        let client = self.client().await?;
        let sql = format!("BEGIN; SELECT pg_advisory_xact_lock({SETUP_LOCK}); {SCHEMA} COMMIT");
        client.batch_execute(&sql).await.map_err(|error| fault(Stage::Sink, "making schema tailwater", &error))
    }

    /// True when somebody has made the catalog.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn has_catalog(&self) -> Result<bool> {
        let client = self.client().await?;
        let row = client.query_one("SELECT to_regclass('tailwater.checkpoint') IS NOT NULL", &[]).await;
        Ok(row.map_err(|error| fault(Stage::Sink, "reading the catalog", &error))?.get(0))
    }

    /// Reads the catalog of this pipeline.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub async fn known(&self) -> Result<Known> {
        let client = self.client().await?;
        let pipeline = &&**self.pipeline();
        let failed = |error: &tokio_postgres::Error| fault(Stage::Sink, "reading the catalog", error);
        let mut known = Known::default();
        let sql = "SELECT collection::text, namespace, copied, wide_ids FROM tailwater.collections WHERE pipeline = $1";
        for row in client.query(sql, &[pipeline]).await.map_err(|error| failed(&error))? {
            known.collections.push(collection_row(&row).ok_or_else(|| damaged("collections"))?);
        }
        let sql = "SELECT collection::text, namespace, path, form, schema_name, table_name, column_name, column_type, \
                   bson_types, binary_subtype, key_columns FROM tailwater.paths WHERE pipeline = $1";
        for row in client.query(sql, &[pipeline]).await.map_err(|error| failed(&error))? {
            known.paths.push(path_row(&row).ok_or_else(|| damaged("paths"))?);
        }
        // One that a user has dropped is nobody's any more.
        let sql = "DELETE FROM tailwater.kept WHERE pipeline = $1 AND NOT EXISTS \
                   (SELECT FROM pg_tables WHERE schemaname = schema_name AND tablename = table_name)";
        client.execute(sql, &[pipeline]).await.map_err(|error| failed(&error))?;
        let sql = "SELECT schema_name, table_name, collection::text, table_name <> was_named FROM tailwater.kept \
                   WHERE pipeline = $1";
        for row in client.query(sql, &[pipeline]).await.map_err(|error| failed(&error))? {
            known.kept.push(kept_row(&row).ok_or_else(|| damaged("kept"))?);
        }
        Ok(known)
    }

    /// The tables, views and indexes that lie in a schema and are not ours to name.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn relations(&self, schema: &str) -> Result<Vec<String>> {
        let client = self.client().await?;
        let sql = "SELECT relname::text FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident($1))";
        let rows = client.query(sql, &[&schema]).await;
        let rows = rows.map_err(|error| fault(Stage::Sink, "listing a schema", &error))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

pub(super) fn damaged(table: &str) -> Error {
    Error::new(Kind::Defect, Stage::Sink, format!("tailwater.{table} holds a row that this version cannot read"))
        .remedy("restore the schema tailwater from a backup, or start with another pipeline name")
}

fn collection_row(row: &Row) -> Option<CollectionRow> {
    let id = CollectionId::parse(row.get(0))?;
    Some(CollectionRow { id, namespace: Namespace::parse(row.get(1))?, copied: row.get(2), wide_ids: row.get(3) })
}

fn kept_row(row: &Row) -> Option<Kept> {
    Some(Kept {
        schema: Identifier::new(row.get(0))?,
        name: row.get(1),
        collection: CollectionId::parse(row.get(2))?,
        aside: row.get(3),
    })
}

fn path_row(row: &Row) -> Option<PathRow> {
    let column: Option<String> = row.get(6);
    let ty: Option<String> = row.get(7);
    let types: Vec<String> = row.get(8);
    let subtype: Option<i32> = row.get(9);
    Some(PathRow {
        collection: CollectionId::parse(row.get(0))?,
        namespace: Namespace::parse(row.get(1))?,
        path: row.get(2),
        form: Form::from_name(row.get(3))?,
        schema: Identifier::new(row.get(4))?,
        table: Identifier::new(row.get(5))?,
        column: match (column, ty) {
            (Some(name), Some(ty)) => Some((Identifier::new(&name)?, PgType::from_sql_name(&ty)?)),
            _ => None,
        },
        bson_types: crate::mapping::types::TypeSet::from_names(types.iter().map(String::as_str)).names(),
        subtype: subtype.and_then(|subtype| u8::try_from(subtype).ok()),
        key_columns: row.get(10),
    })
}

/// Writes catalog rows inside the caller's transaction.
pub(super) struct CatalogWriter<'c> {
    pub client: &'c Object,
    pub fence: &'c Fence,
}

impl CatalogWriter<'_> {
    pub(super) fn pipeline(&self) -> &str {
        self.fence.pipeline()
    }

    pub(super) async fn run(
        &self,
        what: &str,
        sql: &str,
        params: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<()> {
        let statement = self.client.prepare_cached(sql).await.map_err(|error| fault(Stage::Sink, what, &error))?;
        let done = self.client.execute(&statement, params).await;
        done.map(|_| ()).map_err(|error| fault(Stage::Sink, what, &error))
    }

    pub async fn path(&self, row: &PathRow) -> Result<()> {
        let sql = "INSERT INTO tailwater.paths (pipeline, collection, namespace, path, form, schema_name, table_name, \
                   column_name, column_type, bson_types, binary_subtype, key_columns) \
                   VALUES ($1, $2::text::uuid, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
                   ON CONFLICT (pipeline, collection, path, form, schema_name, table_name, (coalesce(column_name, ''))) \
                   DO UPDATE SET namespace = EXCLUDED.namespace, column_type = EXCLUDED.column_type, \
                   bson_types = EXCLUDED.bson_types, \
                   binary_subtype = EXCLUDED.binary_subtype, key_columns = EXCLUDED.key_columns";
        let (id, namespace, form) = (row.collection.to_string(), row.namespace.to_string(), row.form.name());
        let column = row.column.as_ref().map(|(name, _)| name.as_str());
        let ty = row.column.as_ref().map(|(_, ty)| ty.sql_name());
        let subtype = row.subtype.map(i32::from);
        let (schema, table) = (row.schema.as_str(), row.table.as_str());
        let (pipeline, path, types, keys) = (self.pipeline(), &row.path, &row.bson_types, &row.key_columns);
        self.run(
            "writing tailwater.paths",
            sql,
            &[&pipeline, &id, &namespace, path, &form, &schema, &table, &column, &ty, types, &subtype, keys],
        )
        .await
    }

    pub async fn collection(&self, row: &CollectionRow) -> Result<()> {
        let sql = "INSERT INTO tailwater.collections (pipeline, collection, namespace, copied, wide_ids) \
                   VALUES ($1, $2::text::uuid, $3, $4, $5) ON CONFLICT (pipeline, collection) DO UPDATE SET \
                   namespace = EXCLUDED.namespace, copied = EXCLUDED.copied, wide_ids = EXCLUDED.wide_ids";
        let (id, namespace) = (row.id.to_string(), row.namespace.to_string());
        let pipeline = self.pipeline();
        self.run("writing tailwater.collections", sql, &[&pipeline, &id, &namespace, &row.copied, &row.wide_ids])
            .await?;
        // What waits in quarantine has the collection's name, as everything else of it.
        let sql = "UPDATE tailwater.quarantine SET namespace = $3 \
                   WHERE pipeline = $1 AND collection = $2::text::uuid AND namespace <> $3";
        self.run("writing tailwater.quarantine", sql, &[&pipeline, &id, &namespace]).await
    }

    /// Takes a collection out of `collections` and `paths`. Its marks and its quarantine stay until it is really gone.
    pub async fn forget(&self, id: CollectionId) -> Result<()> {
        self.take_out(id, &["collections", "paths"]).await
    }

    /// Takes out the rest: a copy that comes later under the same UUID (out of the selection and back) starts anew.
    pub async fn gone(&self, id: CollectionId) -> Result<()> {
        self.take_out(id, &["snapshot_chunks", "quarantine"]).await
    }

    async fn take_out(&self, id: CollectionId, tables: &[&str]) -> Result<()> {
        let (pipeline, id) = (self.pipeline(), id.to_string());
        for table in tables {
            let sql = format!("DELETE FROM tailwater.{table} WHERE pipeline = $1 AND collection = $2::text::uuid");
            self.run("writing the catalog", &sql, &[&pipeline, &id]).await?;
        }
        Ok(())
    }

    /// Notes that a table stays without its collection.
    pub async fn keep(&self, table: &Table, collection: CollectionId, namespace: &Namespace) -> Result<()> {
        let sql = "INSERT INTO tailwater.kept (pipeline, schema_name, table_name, was_named, collection, namespace) \
                   VALUES ($1, $2, $3, $3, $4::text::uuid, $5) ON CONFLICT (pipeline, schema_name, table_name) DO UPDATE \
                   SET was_named = EXCLUDED.was_named, collection = EXCLUDED.collection, namespace = EXCLUDED.namespace, \
                   kept_at = now()";
        let (pipeline, schema, name) = (self.pipeline(), table.schema.as_str(), table.name.as_str());
        let (id, namespace) = (collection.to_string(), namespace.to_string());
        self.run("writing tailwater.kept", sql, &[&pipeline, &schema, &name, &id, &namespace]).await
    }

    /// Notes the new name of a table that was kept.
    pub async fn aside(&self, schema: &Identifier, from: &Identifier, to: &Identifier) -> Result<()> {
        let sql =
            "UPDATE tailwater.kept SET table_name = $4 WHERE pipeline = $1 AND schema_name = $2 AND table_name = $3";
        let (pipeline, schema, from, to) = (self.pipeline(), schema.as_str(), from.as_str(), to.as_str());
        self.run("writing tailwater.kept", sql, &[&pipeline, &schema, &from, &to]).await
    }

    pub async fn anomaly(&self, anomaly: &Anomaly, position: Option<&str>) -> Result<()> {
        let sql = "INSERT INTO tailwater.anomalies (pipeline, namespace, document_id, path, reason, original, position) \
                   VALUES ($1, $2, $3::text::jsonb, $4, $5, $6::text::jsonb, $7)";
        let (pipeline, namespace) = (self.pipeline(), anomaly.namespace.to_string());
        let path: Vec<String> = anomaly.path.iter().map(|name| name.replace('\0', "")).collect();
        self.run(
            "writing tailwater.anomalies",
            sql,
            &[&pipeline, &namespace, &anomaly.document_id, &path, &anomaly.reason, &anomaly.original, &position],
        )
        .await
    }

    pub async fn event(&self, kind: &str, detail: &str) -> Result<()> {
        let sql = "INSERT INTO tailwater.events (pipeline, kind, detail) VALUES ($1, $2, $3)";
        let pipeline = self.pipeline();
        self.run("writing tailwater.events", sql, &[&pipeline, &kind, &detail]).await
    }
}
