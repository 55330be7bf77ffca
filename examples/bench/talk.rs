//! The shape that the project began with: some million entries of the oplog, applied one by one as a sequential program
//! does it, and by the daemon.
//!
//! The sequential program is a small one that does what is asked of it and nothing to be faster: it reads the oplog, makes
//! a statement of each entry, runs it and waits for its commit. Its statements are prepared.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use bson::{RawBsonRef, RawDocument, Timestamp};
use tailwater::model::position::ClusterTime;
use tailwater::source::ReaderKind;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Statement};

use crate::Result;
use crate::backlog::{Layout, RATE, Running, floor_is_there};
use crate::bench::{Bench, READERS};
use crate::load::Shape;
use crate::raw::{each, tail};
use crate::report::{Case, Goal};
use crate::tables::{Table, quoted, tables};

/// How long the server waits for an entry before it answers that there is none.
const IDLE_ANSWER: Duration = Duration::from_millis(25);

type Value = Box<dyn ToSql + Sync + Send>;

impl Bench {
    /// So many entries each time.
    pub async fn talk(&self, entries: u64, runs: u32) -> Result<Vec<Case>> {
        let layout = Layout::new("talk", "talk", 4, 4, Shape::Users);
        let mut running = Running::new(layout, entries);
        self.begin(&mut running).await?;
        self.make_floor(&running).await?;
        let database = running.target(ReaderKind::ChangeStream);
        let client = self.postgres(&database).await?;
        let tables = tables(&client).await?;
        for _ in 0..runs {
            let from = self.now().await?;
            running.change(self).await?;
            self.settle().await?;
            self.say("one by one");
            let start = Instant::now();
            self.one_by_one(from, entries, &tables, self.postgres(&database).await?).await?;
            let one_by_one = entries as f64 / start.elapsed().as_secs_f64();
            for reader in READERS {
                self.apply(&mut running, reader).await?;
            }
            floor_is_there(&client, tables.iter()).await?;
            for case in &mut running.cases {
                case.add("floor: one by one, entries/s", one_by_one);
                case.aim("times as fast as one by one", case.last(RATE) / one_by_one, Goal::AtLeast(20.0));
            }
        }
        Ok(running.cases.into())
    }

    async fn one_by_one(&self, from: ClusterTime, entries: u64, tables: &[Table], client: Client) -> Result<()> {
        let after = Timestamp { time: from.seconds, increment: from.ordinal + 1 };
        let local = self.mongodb.database("local");
        let mut cursor = local.run_raw_cursor_command(tail(after)).max_time(IDLE_ANSWER).batch().await?;
        let mut applier = Applier::new(client, tables);
        while applier.applied < entries {
            let batch = futures_util::StreamExt::next(&mut cursor).await.ok_or("the cursor has ended")??;
            for entry in batch.doc_slices()? {
                let mut operations = Vec::new();
                let entry = entry?.as_document().ok_or("an entry that is no document")?;
                each(entry, &mut |operation, entry| {
                    operations.push((operation, entry));
                    Ok(())
                })?;
                for (operation, entry) in operations {
                    applier.apply(operation, entry).await?;
                }
            }
        }
        Ok(())
    }
}

/// Applies entries to the floor's tables.
struct Applier<'t> {
    client: Client,
    tables: HashMap<String, &'t Table>,
    prepared: HashMap<String, Statement>,
    applied: u64,
}

impl<'t> Applier<'t> {
    fn new(client: Client, tables: &'t [Table]) -> Self {
        let tables = tables.iter().map(|table| (format!("{}.{}", table.schema, table.name), table)).collect();
        Self { client, tables, prepared: HashMap::new(), applied: 0 }
    }

    async fn apply(&mut self, operation: &str, entry: &RawDocument) -> Result<()> {
        let Some(table) = self.tables.get(entry.get_str("ns")?).copied() else { return Ok(()) };
        let (sql, values) = match operation {
            "i" => insert(table, entry.get_document("o")?)?,
            "u" => update(table, entry)?,
            _ => delete(table, entry.get_document("o")?)?,
        };
        if !self.prepared.contains_key(&sql) {
            self.prepared.insert(sql.clone(), self.client.prepare(&sql).await?);
        }
        let statement = self.prepared.get(&sql).ok_or("a statement that was not prepared")?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value.as_ref() as _).collect();
        if self.client.execute(statement, &values).await? != 1 {
            return Err(format!("one by one: no row for {sql}").into());
        }
        self.applied += 1;
        Ok(())
    }
}

fn insert(table: &Table, document: &RawDocument) -> Result<(String, Vec<Value>)> {
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for field in document {
        let (name, value) = field?;
        values.push(parameter(table, name.as_str(), value)?);
        names.push(quoted(name.as_str()));
    }
    let places = (1..=values.len()).map(|at| format!("${at}")).collect::<Vec<_>>();
    let floor = table.floor().qualified();
    Ok((format!("INSERT INTO {floor} ({}) VALUES ({})", names.join(", "), places.join(", ")), values))
}

/// The oplog has what changed: new values of fields, new fields, fields that are gone.
fn update(table: &Table, entry: &RawDocument) -> Result<(String, Vec<Value>)> {
    let (mut sets, mut values) = (Vec::new(), Vec::new());
    for section in entry.get_document("o")?.get_document("diff")? {
        let (kind, fields) = section?;
        let fields = fields.as_document().ok_or("a section that is no document")?;
        for field in fields {
            let (name, value) = field?;
            match kind.as_str() {
                "u" | "i" => values.push(parameter(table, name.as_str(), value)?),
                "d" => values.push(Box::new(None::<String>)),
                other => return Err(format!("an update with a section {other}").into()),
            }
            sets.push(format!("{} = ${}", quoted(name.as_str()), values.len()));
        }
    }
    let id = entry.get_document("o2")?.get("_id")?.ok_or("an update without an _id")?;
    values.push(parameter(table, "_id", id)?);
    let floor = table.floor().qualified();
    Ok((format!("UPDATE {floor} SET {} WHERE _id = ${}", sets.join(", "), values.len()), values))
}

fn delete(table: &Table, key: &RawDocument) -> Result<(String, Vec<Value>)> {
    let id = key.get("_id")?.ok_or("a delete without an _id")?;
    Ok((format!("DELETE FROM {} WHERE _id = $1", table.floor().qualified()), vec![parameter(table, "_id", id)?]))
}

/// A value as its column has it.
fn parameter(table: &Table, name: &str, value: RawBsonRef<'_>) -> Result<Value> {
    let column = table.columns.iter().find(|column| column.name == name).ok_or("a field without a column")?;
    if column.ty == Type::INT4 {
        return Ok(Box::new(value.as_i32().ok_or("no integer")?));
    }
    if let Some(number) = value.as_i64() {
        return Ok(Box::new(number));
    }
    if let Some(number) = value.as_f64() {
        return Ok(Box::new(number));
    }
    if let Some(text) = value.as_str() {
        return Ok(Box::new(text.to_owned()));
    }
    if let Some(switch) = value.as_bool() {
        return Ok(Box::new(switch));
    }
    if let Some(id) = value.as_object_id() {
        return Ok(Box::new(id.to_hex()));
    }
    let date = value.as_datetime().ok_or("a value of a type that is not in the load")?;
    Ok(Box::new(SystemTime::from(date)))
}
