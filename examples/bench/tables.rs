//! Tables of the target as its catalog describes them, and their rows as `COPY BINARY` has them.
//!
//! The floors are made of these rows: whatever writes them has nothing to encode any more.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::Result;

/// Schemas of the floors' own tables begin so.
pub const FLOOR: &str = "floor_";
/// Signature, flags and the length of the header's extension (PostgreSQL manual, `COPY`, *Binary Format*).
pub const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
pub const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// Tables that one transaction makes: each takes locks, of which the server has some thousand.
const AT_ONCE: usize = 100;

#[derive(Clone)]
pub struct Column {
    pub name: String,
    pub ty: Type,
}

#[derive(Clone)]
pub struct Table {
    pub schema: String,
    pub name: String,
    pub columns: Vec<Column>,
    /// Where the key's columns are.
    pub key: Vec<usize>,
}

impl Table {
    pub fn qualified(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// The table of the same columns that a floor writes to.
    pub fn floor(&self) -> Self {
        Self { schema: format!("{FLOOR}{}", self.schema), ..self.clone() }
    }

    /// Names of the columns at these places, with commas.
    pub fn names(&self, at: impl IntoIterator<Item = usize>) -> String {
        let columns = at.into_iter().filter_map(|at| self.columns.get(at));
        columns.map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ")
    }

    pub fn key_names(&self) -> String {
        self.names(self.key.iter().copied())
    }

    pub fn add_key(&self) -> String {
        format!("ALTER TABLE {} ADD PRIMARY KEY ({})", self.qualified(), self.key_names())
    }
}

pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// All tables of documents in a database.
pub async fn tables(client: &Client) -> Result<Vec<Table>> {
    let sql = format!(
        "SELECT n.nspname::text, c.relname::text,
           ARRAY(SELECT a.attname::text FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
           ARRAY(SELECT a.atttypid FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
           ARRAY(SELECT a.attname::text FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k (number, place)
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number
             WHERE i.indrelid = c.oid AND i.indisprimary ORDER BY k.place)
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind = 'r' AND n.nspname NOT IN ('tailwater', 'information_schema', 'public')
           AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT LIKE '{FLOOR}%'
         ORDER BY 1, 2"
    );
    let mut tables = Vec::new();
    for row in client.query(&sql, &[]).await? {
        let (names, types, key): (Vec<String>, Vec<u32>, Vec<String>) = (row.get(2), row.get(3), row.get(4));
        let key = key.iter().filter_map(|name| names.iter().position(|other| other == name)).collect();
        let mut columns = Vec::new();
        for (name, ty) in names.into_iter().zip(types) {
            columns.push(Column { name, ty: Type::from_oid(ty).ok_or("a type that the driver does not know")? });
        }
        tables.push(Table { schema: row.get(0), name: row.get(1), columns, key });
    }
    if tables.iter().any(|table| table.key.is_empty()) {
        return Err("a table has no key".into());
    }
    Ok(tables)
}

/// Makes the floors' tables beside the originals, empty, with their keys or without.
pub async fn make_floors(client: &Client, tables: &[Table], keyed: bool) -> Result<()> {
    client.batch_execute("SET client_min_messages = warning").await?;
    for some in tables.chunks(AT_ONCE) {
        let mut sql = String::new();
        for table in some {
            let floor = table.floor();
            // Writing to a text does not fail.
            let _ = write!(sql, "CREATE SCHEMA IF NOT EXISTS {}; ", quoted(&floor.schema));
            let _ = write!(sql, "CREATE TABLE {} (LIKE {}); ", floor.qualified(), table.qualified());
            if keyed {
                let _ = write!(sql, "{}; ", floor.add_key());
            }
        }
        client.batch_execute(&sql).await?;
    }
    Ok(())
}

pub async fn remove_floors(client: &Client, tables: &[Table]) -> Result<()> {
    client.batch_execute("SET client_min_messages = warning").await?;
    let mut schemas: Vec<String> = tables.iter().map(|table| quoted(&table.floor().schema)).collect();
    schemas.dedup();
    for schema in schemas {
        client.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await?;
    }
    Ok(())
}

/// All rows of a table, each as it stands in the binary format.
pub async fn rows(client: &Client, table: &Table) -> Result<Vec<Bytes>> {
    let sql = format!("COPY {} ({}) TO STDOUT (FORMAT binary)", table.qualified(), table.names(0..table.columns.len()));
    let mut stream = std::pin::pin!(client.copy_out(&sql).await?);
    let mut all = BytesMut::new();
    while let Some(part) = stream.try_next().await? {
        all.extend_from_slice(&part);
    }
    let all = all.freeze();
    let mut rest = all.get(HEADER.len()..).ok_or("no header")?;
    let mut rows = Vec::new();
    while rest != TRAILER {
        let row = rest;
        let length = length(row)?;
        rest = row.get(length..).ok_or("a row is cut off")?;
        rows.push(all.slice_ref(row.get(..length).ok_or("a row is cut off")?));
    }
    Ok(rows)
}

/// The fields of a row; what follows the row is left alone.
pub fn fields(row: &[u8]) -> impl Iterator<Item = Result<Option<&[u8]>>> {
    let mut rest = row;
    let count = take(&mut rest).map(i16::from_be_bytes);
    let (count, failed) = match count {
        Ok(count) => (count, None),
        Err(error) => (0, Some(Err(error))),
    };
    failed.into_iter().chain((0..count).map(move |_| field(&mut rest)))
}

fn length(row: &[u8]) -> Result<usize> {
    let mut rest = row;
    for _ in 0..i16::from_be_bytes(take(&mut rest)?) {
        field(&mut rest)?;
    }
    Ok(row.len() - rest.len())
}

fn field<'r>(rest: &mut &'r [u8]) -> Result<Option<&'r [u8]>> {
    let Ok(length) = usize::try_from(i32::from_be_bytes(take(rest)?)) else { return Ok(None) };
    let (field, after) = rest.split_at_checked(length).ok_or("a field is cut off")?;
    *rest = after;
    Ok(Some(field))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk::<N>().ok_or("a row is cut off")?;
    *rest = after;
    Ok(*bytes)
}
