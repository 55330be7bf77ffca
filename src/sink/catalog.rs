//! The catalog in schema `tailwater`: made at start, read once, then written together with the data it describes.

use deadpool_postgres::Object;
use tokio_postgres::Row;

use super::faults::fault;
use super::fence::Fence;
use super::records;
use super::statement::Statement;
use super::target::Target;
use crate::error::{Error, Kind, Result, Stage};
use crate::model::identifier::Identifier;
use crate::model::namespace::{CollectionId, Namespace};
use crate::model::table::PgType;
use crate::model::write_set::{Anomaly, CollectionRow, Form, PathRow};

/// What makes the catalog where it is missing.
pub(super) const SCHEMA: &str = include_str!("schema.sql");

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

    /// Runs one of the catalog's statements; returns how many rows it has changed.
    pub(super) async fn run(&self, statement: &Statement<'_>) -> Result<u64> {
        let failed = |error: &tokio_postgres::Error| fault(Stage::Sink, statement.what, error);
        let prepared = self.client.prepare_cached(&statement.sql).await.map_err(|error| failed(&error))?;
        self.client.execute(&prepared, &statement.driver_params()).await.map_err(|error| failed(&error))
    }

    pub(super) async fn run_all(&self, statements: &[Statement<'_>]) -> Result<()> {
        for statement in statements {
            self.run(statement).await?;
        }
        Ok(())
    }

    pub async fn anomaly(&self, anomaly: &Anomaly, position: Option<&str>) -> Result<()> {
        self.run(&records::anomaly(self.pipeline(), anomaly, position)).await.map(|_| ())
    }

    pub async fn event(&self, kind: &str, detail: &str) -> Result<()> {
        self.run(&records::event(self.pipeline(), kind, detail)).await.map(|_| ())
    }
}
