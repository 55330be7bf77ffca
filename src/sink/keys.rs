//! Primary keys of tables that are being filled: building an index at once is faster than row by row.
//!
//! Tables of a first copy lose their key while they are empty, and get it when all ranges are copied, or before the first change of
//! a row that is there. Which tables lack one is asked of PostgreSQL, so that nothing has to be remembered.

use super::catalog::CatalogWriter;
use super::faults::fault;
use super::fence::Fence;
use super::sql;
use super::target::Target;
use crate::error::{Result, Stage};
use crate::model::identifier::Identifier;
use crate::model::table::{SharedTable, Table};

impl Target {
    /// Takes the primary keys from tables that are empty.
    ///
    /// # Errors
    /// When PostgreSQL fails, or another daemon has taken over.
    pub async fn drop_keys(&self, fence: &Fence, tables: &[SharedTable]) -> Result<()> {
        let client = self.client().await?;
        fence.begin(&client).await?;
        let catalog = CatalogWriter { client: &client, fence };
        for table in tables {
            if let Some(key) = catalog.key_of(table).await? {
                catalog.locking("drop_key", &sql::drop_constraint(table, &key)).await?;
            }
        }
        client.batch_execute("COMMIT").await.map_err(|error| fault(Stage::Sink, "committing schema changes", &error))
    }

    /// Gives a primary key to those of the tables that lack one.
    ///
    /// # Errors
    /// When PostgreSQL fails or refuses, or another daemon has taken over.
    pub async fn add_keys(&self, fence: &Fence, tables: &[SharedTable]) -> Result<()> {
        let client = self.client().await?;
        fence.begin(&client).await?;
        CatalogWriter { client: &client, fence }.add_keys(tables).await?;
        client.batch_execute("COMMIT").await.map_err(|error| fault(Stage::Sink, "committing schema changes", &error))
    }

    /// True when one of the tables has no primary key.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn lacks_keys(&self, fence: &Fence, tables: &[SharedTable]) -> Result<bool> {
        let client = self.client().await?;
        let catalog = CatalogWriter { client: &client, fence };
        for table in tables {
            if catalog.key_of(table).await?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl CatalogWriter<'_> {
    /// Gives a primary key to those of the tables that lack one.
    pub(super) async fn add_keys(&self, tables: &[SharedTable]) -> Result<()> {
        for table in tables {
            if self.key_of(table).await?.is_none() {
                self.locking("add_key", &sql::add_key(table)).await?;
            }
        }
        Ok(())
    }

    /// The name of a table's primary key. It is PostgreSQL's choice, and stays when the table is renamed.
    pub(super) async fn key_of(&self, table: &Table) -> Result<Option<Identifier>> {
        let sql = "SELECT conname::text FROM pg_constraint WHERE contype = 'p' AND conrelid = $1::text::regclass";
        let rows = self.client.query(sql, &[&table.qualified()]).await;
        let rows = rows.map_err(|error| fault(Stage::Sink, "looking up a primary key", &error))?;
        Ok(rows.first().and_then(|row| Identifier::new(row.get(0))))
    }
}
