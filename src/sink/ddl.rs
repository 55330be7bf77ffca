//! Schema changes inside the caller's transaction, each with its line in `tailwater.events`.
//!
//! What takes a table from everybody waits for its lock in short turns: whoever comes after a waiting ALTER queues behind
//! it (PostgreSQL manual, 13.3), so one long reader would keep all others out for as long as it reads. Turns that short also
//! end before PostgreSQL looks for deadlocks (after a second), so that this is looked for here: whoever waits for a table
//! that the transaction has changed already may have the table that it still waits for.

use std::time::{Duration, Instant};

use deadpool_postgres::Object;
use tokio_postgres::error::SqlState;

use super::catalog::CatalogWriter;
use super::faults::fault;
use super::fence::Fence;
use super::records;
use super::sql;
use super::target::{LOCK_TIMEOUT, Target};
use crate::error::{Error, Kind, Result, Stage};
use crate::model::identifier::Identifier;
use crate::model::table::{SharedTable, Table};
use crate::model::write_set::Ddl;

/// One turn of waiting for a table's lock: for so long others may queue behind us.
const LOCK_TURN_MS: u32 = 200;

/// Between two turns, everybody who queued goes first. Grows from turn to turn.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long a wait is before it is told, and told again after twice the time.
const TELL_AFTER: Duration = Duration::from_secs(1);

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

impl Target {
    /// Adds the metadata columns that were switched on after their tables were made.
    ///
    /// # Errors
    /// When something else has their name, or PostgreSQL refuses.
    pub async fn add_metadata(&self, fence: &Fence, tables: &[SharedTable]) -> Result<()> {
        let missing = self.missing_metadata(tables).await?;
        if missing.is_empty() {
            return Ok(());
        }
        let client = self.client().await?;
        let _alone = self.schema_changes().lock().await;
        fence.begin(&client).await?;
        let catalog = CatalogWriter { client: &client, fence };
        for sql in missing {
            catalog.locking("add_column", &sql).await?;
        }
        client.batch_execute("COMMIT").await.map_err(|error| fault(Stage::Sink, "committing schema changes", &error))
    }

    /// The statements that add the metadata columns which tables lack.
    ///
    /// # Errors
    /// When something else has their name, or PostgreSQL fails.
    pub async fn missing_metadata(&self, tables: &[SharedTable]) -> Result<Vec<String>> {
        let client = self.client().await?;
        let mut missing = Vec::new();
        for table in tables.iter().filter(|table| table.metadata.any()) {
            let there = columns(&client, table).await?;
            for (name, ty) in table.metadata.columns() {
                match there.iter().find(|(column, _)| column == name) {
                    None => missing.push(sql::add_metadata(table, name, ty)),
                    Some((_, there)) if there == ty.sql_name() && !is_of_a_field(table, name) => {}
                    Some(_) => return Err(taken(table, name)),
                }
            }
        }
        Ok(missing)
    }
}

/// Names and types of the columns that a table has.
async fn columns(client: &Object, table: &Table) -> Result<Vec<(String, String)>> {
    let sql = "SELECT a.attname::text, replace(format_type(a.atttypid, NULL), 'timestamp with time zone', 'timestamptz') \
               FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped";
    let rows = client.query(sql, &[&table.schema.as_str(), &table.name.as_str()]).await;
    let rows = rows.map_err(|error| fault(Stage::Sink, "looking at a table", &error))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

fn is_of_a_field(table: &Table, name: &str) -> bool {
    table.columns.iter().any(|column| column.name.as_str() == name)
}

fn taken(table: &Table, name: &str) -> Error {
    let message = format!("{} has a column {name} already, which holds something else", table.qualified());
    Error::new(Kind::Refused, Stage::Sink, message)
        .remedy("switch that metadata column off, or drop the table's collection from the pipeline and copy it again")
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
            Ddl::Alter { table, columns } => {
                let adds = columns.iter().all(|change| change.from().is_none());
                let kind = if adds { "add_column" } else { "widen_column" };
                self.locking(kind, &sql::alter(table, columns)).await
            }
            Ddl::DropTable(table) => self.locking("drop_table", &sql::drop_table(table)).await,
            Ddl::Rekey(rekey) => self.rekey(rekey).await,
            Ddl::Keys(tables) => self.add_keys(tables).await,
            Ddl::Keep { table, collection, namespace } => {
                self.run(&records::keep(self.pipeline(), table, *collection, namespace)).await?;
                self.event("keep_table", &table.qualified()).await
            }
            Ddl::Aside { schema, from, to } => {
                self.locking("rename_table", &sql::move_aside(schema, from, to)).await?;
                self.run(&records::aside(self.pipeline(), schema, from, to)).await.map(|_| ())
            }
            Ddl::RenameTable { from, to } => self.rename(from, to).await,
            Ddl::Path(row) => self.run(&records::path(self.pipeline(), row)).await.map(|_| ()),
            Ddl::Collection(row) => self.run_all(&records::collection(self.pipeline(), row)).await,
            Ddl::Forget(id) => self.run_all(&records::forget(self.pipeline(), *id)).await,
            Ddl::Gone(id) => self.run_all(&records::gone(self.pipeline(), *id)).await,
        }
    }

    async fn statement(&self, kind: &str, sql: &str) -> Result<()> {
        tracing::info!(kind, sql, "schema change");
        let done = self.client.batch_execute(sql).await;
        done.map_err(|error| fault(Stage::Sink, &format!("running {sql}"), &error))?;
        self.event(kind, sql).await
    }

    /// A statement that takes its table from everybody else. Gives up only with the connection; a stop of the daemon
    /// leaves the whole transaction to the next start.
    pub(super) async fn locking(&self, kind: &str, sql: &str) -> Result<()> {
        tracing::info!(kind, sql, "schema change");
        self.turns(sql).await?;
        self.event(kind, sql).await
    }

    /// Runs a statement that waits for locks, in turns.
    pub(super) async fn turns(&self, sql: &str) -> Result<()> {
        let turn = format!(
            "SAVEPOINT lock_turn; SET LOCAL lock_timeout = {LOCK_TURN_MS}; {sql}; \
             SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; RELEASE lock_turn"
        );
        let mut wait = Wait::new();
        while let Err(error) = self.client.batch_execute(&turn).await {
            if error.code() != Some(&SqlState::LOCK_NOT_AVAILABLE) {
                return Err(fault(Stage::Sink, &format!("running {sql}"), &error));
            }
            let undone = self.client.batch_execute("ROLLBACK TO lock_turn; RELEASE lock_turn").await;
            undone.map_err(|error| fault(Stage::Sink, "ending a turn of waiting for a lock", &error))?;
            if wait.is_long() && self.is_waited_for().await? {
                let message =
                    format!("others wait for what was changed before {sql}, which itself waits for its table");
                return Err(Error::new(Kind::Contention, Stage::Sink, message));
            }
            wait.pause(sql).await;
        }
        Ok(())
    }

    /// Whether somebody waits for a lock of this transaction. Between two turns those are locks that it will keep.
    async fn is_waited_for(&self) -> Result<bool> {
        let sql =
            "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid)))";
        let row = self.client.query_one(sql, &[]).await;
        Ok(row.map_err(|error| fault(Stage::Sink, "looking for who waits", &error))?.get(0))
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
        if from.schema != to.schema {
            self.ensure_schema(&to.schema).await?;
        }
        for sql in sql::rename_table(from, to) {
            self.locking("rename_table", &sql).await?;
        }
        for sql in sql::rename_columns(from, to) {
            self.locking("rename_column", &sql).await?;
        }
        Ok(())
    }
}

/// Waiting for a lock, between its turns.
struct Wait {
    since: Instant,
    pause: Duration,
    tell_after: Duration,
}

impl Wait {
    fn new() -> Self {
        Self { since: Instant::now(), pause: FIRST_PAUSE, tell_after: TELL_AFTER }
    }

    fn is_long(&self) -> bool {
        self.since.elapsed() >= TELL_AFTER
    }

    async fn pause(&mut self, sql: &str) {
        let waited = self.since.elapsed();
        if waited >= self.tell_after {
            self.tell_after = waited * 2;
            tracing::warn!(
                sql,
                waited_seconds = waited.as_secs(),
                "a schema change waits for its table, which a long transaction uses (pg_stat_activity tells which)"
            );
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}
