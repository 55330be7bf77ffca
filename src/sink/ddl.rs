//! Schema changes inside the caller's transaction, each with its line in `tailwater.events`.

use super::catalog::CatalogWriter;
use super::faults::fault;
use super::fence::Fence;
use super::sql;
use super::target::Target;
use crate::error::{Result, Stage};
use crate::model::identifier::Identifier;
use crate::model::table::Table;
use crate::model::write_set::Ddl;

impl Target {
    /// Applies schema changes in one transaction of their own. One such transaction runs at a time: two that make the
    /// same schema would refuse each other.
    ///
    /// # Errors
    /// When PostgreSQL refuses one.
    pub async fn apply(&self, fence: &Fence, changes: &[Ddl]) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let _alone = self.schema_changes().lock().await;
        let client = self.client().await?;
        fence.begin(&client).await?;
        let catalog = CatalogWriter { client: &client, fence };
        for change in changes {
            catalog.ddl(change).await?;
        }
        client.batch_execute("COMMIT").await.map_err(|error| fault(Stage::Sink, "committing schema changes", &error))
    }
}

impl CatalogWriter<'_> {
    /// Applies one schema change.
    ///
    /// # Errors
    /// When PostgreSQL refuses it.
    pub async fn ddl(&self, ddl: &Ddl) -> Result<()> {
        match ddl {
            Ddl::CreateTable(table) => {
                self.ensure_schema(&table.schema).await?;
                self.statement("create_table", &sql::create_table(table)).await
            }
            Ddl::AddColumn(table) => self.optional("add_column", sql::add_column(table)).await,
            Ddl::Widen { table, column, from, seen, subtype } => {
                self.optional("widen_column", sql::widen(table, *column, *from, seen, *subtype)).await
            }
            // IF EXISTS and RESTRICT: a table that a user dropped is gone already, a view on it must not go silently.
            Ddl::DropTable(table) => {
                self.statement("drop_table", &format!("DROP TABLE IF EXISTS {}", table.qualified())).await
            }
            Ddl::RenameTable { from, to } => self.rename(from, to).await,
            Ddl::Path(row) => self.path(row).await,
            Ddl::Collection(row) => self.collection(row).await,
            Ddl::Forget(id) => self.forget(*id).await,
        }
    }

    async fn optional(&self, kind: &str, sql: Option<String>) -> Result<()> {
        match sql {
            Some(sql) => self.statement(kind, &sql).await,
            None => Ok(()),
        }
    }

    async fn statement(&self, kind: &str, sql: &str) -> Result<()> {
        tracing::info!(kind, sql, "schema change");
        let done = self.client.batch_execute(sql).await;
        done.map_err(|error| fault(Stage::Sink, &format!("running {sql}"), &error))?;
        self.event(kind, sql).await
    }

    /// `CREATE SCHEMA IF NOT EXISTS` asks for the right to create even where the schema exists, so it is looked up first.
    async fn ensure_schema(&self, schema: &Identifier) -> Result<()> {
        let sql = "SELECT 1 FROM pg_namespace WHERE nspname = $1";
        let rows = self.client.query(sql, &[&schema.as_str()]).await;
        let rows = rows.map_err(|error| fault(Stage::Sink, "looking up a schema", &error))?;
        if rows.is_empty() {
            return self.statement("create_schema", &format!("CREATE SCHEMA {schema}")).await;
        }
        Ok(())
    }

    async fn rename(&self, from: &Table, to: &Table) -> Result<()> {
        if from.name != to.name {
            let sql = format!("ALTER TABLE {} RENAME TO {}", from.qualified(), to.name);
            self.statement("rename_table", &sql).await?;
        }
        let there = format!("{}.{}", from.schema, to.name);
        if from.schema != to.schema {
            self.ensure_schema(&to.schema).await?;
            self.statement("rename_table", &format!("ALTER TABLE {there} SET SCHEMA {}", to.schema)).await?;
        }
        for (old, new) in from.columns.iter().zip(&to.columns).filter(|(old, new)| old.name != new.name) {
            let sql = format!("ALTER TABLE {} RENAME COLUMN {} TO {}", to.qualified(), old.name, new.name);
            self.statement("rename_column", &sql).await?;
        }
        Ok(())
    }
}
