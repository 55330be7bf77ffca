//! Few changes of one table as one MERGE: PostgreSQL takes longer to begin a statement than to change twenty rows, so that
//! one for each kind of change costs twice as much (measured on 18: 28 changes of four kinds 250 µs instead of 490, the same
//! at 140). The statement is the same whatever changes, so that each table has one.

use std::collections::BTreeSet;

use deadpool_postgres::Object;
use tokio_postgres::types::Type;

use super::arrays::{ArrayParam, array_type};
use super::faults::fault;
use super::sql;
use super::write::{push_key, refused_new, run};
use crate::error::{Result, Stage};
use crate::model::row::{Cell, Key, Row};
use crate::model::table::{PgType, Table};

/// Rows up to which one statement pays.
const MERGE_ROWS: usize = 100;

/// Columns that the bits of a `bigint` can tell apart.
const MERGE_COLUMNS: usize = 62;

/// What is done with a row, for [`sql::merge`]: the columns that change, as bits.
const DELETE: i64 = 0;
/// All of them, in a row that may not be there.
const PUT: i64 = -1;

/// Changes of one table whose rows are known by whole keys; each key is in one of them.
pub struct Few {
    deletes: Vec<Key>,
    new: Vec<(Key, Row)>,
    patches: Vec<(Key, Row)>,
}

impl Few {
    /// Takes the changes that one statement is better for: those of whole keys in `deletes`, of `new` and of `patches`, which
    /// then do not have them any more.
    pub fn of(
        table: &Table,
        deletes: &mut BTreeSet<(Key, Option<i32>)>,
        new: &mut Vec<(Key, Row)>,
        patches: &mut Vec<(Key, Row)>,
    ) -> Option<Self> {
        let whole = |(key, from): &(Key, Option<i32>)| from.is_none() && key.cells().count() == table.key;
        let rows = deletes.len() + new.len() + patches.len();
        let plain = !table.is_wide() && !table.metadata.any() && table.columns.len() <= MERGE_COLUMNS;
        if !plain || rows > MERGE_ROWS || !deletes.iter().all(whole) {
            return None;
        }
        let like_first = |row: &Row| patches.first().is_some_and(|(_, first)| row.mentioned().eq(first.mentioned()));
        let shapes = match patches.iter().all(|(_, row)| like_first(row)) {
            true => usize::from(!patches.is_empty()),
            false => 2,
        };
        if shapes + usize::from(!deletes.is_empty()) + usize::from(!new.is_empty()) < 2 {
            return None;
        }
        let (new, mut patches) = (std::mem::take(new), std::mem::take(patches));
        let mut gone: BTreeSet<Key> = std::mem::take(deletes).into_iter().map(|(key, _)| key).collect();
        // Deletions come first: what is patched after one is not there, and what is put after one is put.
        patches.retain(|(key, row)| !gone.contains(key) && row.mentioned().next().is_some());
        gone.retain(|key| new.binary_search_by(|(put, _)| put.cmp(key)).is_err());
        Some(Self { deletes: gone.into_iter().collect(), new, patches })
    }

    /// Writes them.
    ///
    /// # Errors
    /// When PostgreSQL refuses the statement; [`crate::error::Kind::NotExact`] when a new row was there.
    pub async fn write(self, client: &Object, table: &Table) -> Result<()> {
        let mut params = vec![ArrayParam::new(PgType::BigInt)];
        params.extend(table.columns.iter().map(|column| ArrayParam::new(column.ty)));
        let nothing = Row::default();
        for (key, row) in &self.new {
            push(table, &mut params, PUT, key, row);
        }
        for (key, row) in &self.patches {
            let changed = row.mentioned().fold(0, |bits, column| bits | 1 << column);
            push(table, &mut params, changed, key, row);
        }
        for key in &self.deletes {
            push(table, &mut params, DELETE, key, &nothing);
        }
        let mut types = vec![Type::INT8_ARRAY];
        types.extend(table.columns.iter().map(|column| array_type(column.ty)));
        // Unlike ON CONFLICT, MERGE does not wait for whoever inserts the same row at the same time.
        run(client, &sql::merge(table), &types, &params).await.map_err(|error| match self.new.is_empty() {
            true => fault(Stage::Sink, &format!("writing to {}", table.qualified()), &error),
            false => refused_new(table, "writing to", error),
        })
    }
}

fn push(table: &Table, params: &mut [ArrayParam], what: i64, key: &Key, row: &Row) {
    let Some((first, columns)) = params.split_first_mut() else { return };
    first.push(Cell::Value(&what.to_be_bytes()));
    push_key(columns, key);
    for (param, cell) in columns.iter_mut().skip(table.key).zip(row.cells(table.key)) {
        param.push(cell);
    }
}
