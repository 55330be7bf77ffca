//! The floor of a backlog's writing: rows that are encoded beforehand, written by `UNNEST` upserts, and deletes by key.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Instant;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::future::try_join_all;
use tokio_postgres::Client;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::Result;
use crate::tables::{Table, fields, quoted};

/// Rows in one transaction.
const BATCH: usize = 5000;

/// A one-dimensional array of one column's values, in the format of `array_recv`.
#[derive(Debug)]
struct Array {
    element: u32,
    count: i32,
    has_null: bool,
    body: BytesMut,
}

impl Array {
    fn push(&mut self, value: Option<&[u8]>) {
        self.count += 1;
        match value {
            Some(bytes) => {
                // A cell has at most 16 MB.
                self.body.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
                self.body.put_slice(bytes);
            }
            None => {
                self.has_null = true;
                self.body.put_i32(-1);
            }
        }
    }
}

impl ToSql for Array {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_i32(1); // dimensions
        out.put_i32(i32::from(self.has_null));
        out.put_u32(self.element);
        out.put_i32(self.count);
        out.put_i32(1); // lower bound
        out.put_slice(&self.body);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A statement with its values.
pub struct Statement {
    sql: String,
    values: Vec<(Array, Type)>,
    rows: u64,
}

impl Statement {
    fn new(sql: String, table: &Table, columns: &[usize], rows: &[&Bytes]) -> Result<Self> {
        let mut values = Vec::new();
        for column in columns.iter().filter_map(|at| table.columns.get(*at)) {
            let array = Array { element: column.ty.oid(), count: 0, has_null: false, body: BytesMut::new() };
            values.push((array, array_type(&column.ty)?));
        }
        for row in rows {
            let cells = fields(row).collect::<Result<Vec<_>>>()?;
            for ((array, _), column) in values.iter_mut().zip(columns) {
                array.push(cells.get(*column).copied().ok_or("a row has too few fields")?);
            }
        }
        Ok(Self { sql, values, rows: u64::try_from(rows.len())? })
    }

    async fn run(&self, client: &Client) -> Result<()> {
        let values: Vec<(&(dyn ToSql + Sync), Type)> =
            self.values.iter().map(|(array, ty)| (array as &(dyn ToSql + Sync), ty.clone())).collect();
        let written = client.execute_typed(&self.sql, &values).await?;
        if written != self.rows {
            return Err(format!("a floor wrote {written} rows instead of {}: {}", self.rows, self.sql).into());
        }
        Ok(())
    }
}

/// Inserts rows into the floor's table, or overwrites them.
fn upsert(table: &Table, rows: &[&Bytes]) -> Result<Statement> {
    let all: Vec<usize> = (0..table.columns.len()).collect();
    let others = all.iter().filter(|at| !table.key.contains(at)).filter_map(|at| table.columns.get(*at));
    let sets: Vec<String> = others.map(|c| quoted(&c.name)).map(|name| format!("{name} = EXCLUDED.{name}")).collect();
    let names = table.names(all.iter().copied());
    let action = if sets.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", sets.join(", ")) };
    let sql = format!(
        "INSERT INTO {} ({names}) SELECT {names} FROM unnest({}) AS u ({names}) ON CONFLICT ({}) DO {action}",
        table.floor().qualified(),
        parameters(all.len()),
        table.key_names(),
    );
    Statement::new(sql, table, &all, rows)
}

/// Deletes rows of the floor's table by their keys.
fn delete(table: &Table, rows: &[&Bytes]) -> Result<Statement> {
    let floor = table.floor().qualified();
    let sql = if let [_] = table.key.as_slice() {
        format!("DELETE FROM {floor} WHERE {} = ANY ($1)", table.key_names())
    } else {
        let key = table.key_names();
        let parameters = parameters(table.key.len());
        format!("DELETE FROM {floor} WHERE ({key}) IN (SELECT * FROM unnest({parameters}))")
    };
    Statement::new(sql, table, &table.key, rows)
}

fn parameters(count: usize) -> String {
    (1..=count).map(|at| format!("${at}")).collect::<Vec<_>>().join(", ")
}

fn array_type(element: &Type) -> Result<Type> {
    const TYPES: [(Type, Type); 10] = [
        (Type::BOOL, Type::BOOL_ARRAY),
        (Type::INT4, Type::INT4_ARRAY),
        (Type::INT8, Type::INT8_ARRAY),
        (Type::FLOAT8, Type::FLOAT8_ARRAY),
        (Type::NUMERIC, Type::NUMERIC_ARRAY),
        (Type::TEXT, Type::TEXT_ARRAY),
        (Type::TIMESTAMPTZ, Type::TIMESTAMPTZ_ARRAY),
        (Type::UUID, Type::UUID_ARRAY),
        (Type::BYTEA, Type::BYTEA_ARRAY),
        (Type::JSONB, Type::JSONB_ARRAY),
    ];
    let found = TYPES.into_iter().find(|(of, _)| of == element);
    Ok(found.ok_or("a column of a type without an array")?.1)
}

/// Statements in transactions of so many rows.
#[derive(Default)]
pub struct Batches {
    transactions: Vec<Vec<Statement>>,
    open: Vec<Statement>,
    rows: usize,
}

impl Batches {
    pub fn upsert(&mut self, table: &Table, rows: &[&Bytes]) -> Result<()> {
        self.add(table, rows, upsert)
    }

    pub fn delete(&mut self, table: &Table, rows: &[&Bytes]) -> Result<()> {
        self.add(table, rows, delete)
    }

    fn add(&mut self, table: &Table, rows: &[&Bytes], make: fn(&Table, &[&Bytes]) -> Result<Statement>) -> Result<()> {
        let mut rest = rows;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(BATCH - self.rows));
            self.open.push(make(table, now)?);
            self.rows += now.len();
            if self.rows == BATCH {
                self.close();
            }
            rest = later;
        }
        Ok(())
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.transactions.push(std::mem::take(&mut self.open));
        }
        self.rows = 0;
    }

    async fn run(&self, client: &Client) -> Result<()> {
        for transaction in &self.transactions {
            client.batch_execute("BEGIN").await?;
            for statement in transaction {
                statement.run(client).await?;
            }
            client.batch_execute("COMMIT").await?;
        }
        Ok(())
    }
}

/// Seconds to write everything, each connection its own.
pub async fn write(clients: &[Client], mut batches: Vec<Batches>) -> Result<f64> {
    batches.iter_mut().for_each(Batches::close);
    let start = Instant::now();
    try_join_all(clients.iter().zip(&batches).map(|(client, batches)| batches.run(client))).await?;
    Ok(start.elapsed().as_secs_f64())
}

/// How the rows of a table came to be others.
pub struct Difference<'r> {
    pub written: Vec<&'r Bytes>,
    pub deleted: Vec<&'r Bytes>,
}

impl<'r> Difference<'r> {
    pub fn new(table: &Table, before: &'r [Bytes], after: &'r [Bytes]) -> Result<Self> {
        let mut left: BTreeMap<Vec<u8>, &Bytes> = BTreeMap::new();
        for row in before {
            left.insert(key(table, row)?, row);
        }
        let mut written = Vec::new();
        for row in after {
            if left.remove(&key(table, row)?) != Some(row) {
                written.push(row);
            }
        }
        Ok(Self { written, deleted: left.into_values().collect() })
    }
}

fn key(table: &Table, row: &[u8]) -> Result<Vec<u8>> {
    let cells = fields(row).collect::<Result<Vec<_>>>()?;
    let mut key = Vec::new();
    for at in &table.key {
        let cell = cells.get(*at).copied().flatten().ok_or("a key with NULL")?;
        key.extend_from_slice(&u64::try_from(cell.len())?.to_be_bytes());
        key.extend_from_slice(cell);
    }
    Ok(key)
}
