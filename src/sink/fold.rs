//! Net effect: many changes of one row become one.
//!
//! In: row changes in source order. Out, table by table: deletions that come first, then rows that are put, then rows
//! that are patched. Rows are kept in key order, so that PostgreSQL's indexes are written in order.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::mapping::json_diff::{self, DiffError};
use crate::model::bson::Document;
use crate::model::row::{Cell, Key, Row, RowChange};
use crate::model::table::{SharedTable, TableId};

/// The net change of one row.
#[derive(Debug)]
pub enum RowState {
    /// It is exactly this.
    Put(Row),
    /// These cells change, if it exists; diffs are for `jsonb` cells whose value only PostgreSQL knows.
    Patch(Row, Vec<(usize, Document)>),
}

/// The net changes of one table.
#[derive(Debug)]
pub struct TableChanges {
    /// The table.
    pub table: SharedTable,
    /// Deletions that come before everything else: key prefixes, and the first array index to go.
    pub deletes: BTreeSet<(Key, Option<i32>)>,
    /// Rows by key.
    pub rows: BTreeMap<Key, RowState>,
}

/// Net changes since the last [`Fold::take`].
#[derive(Debug, Default)]
pub struct Fold {
    tables: HashMap<TableId, TableChanges>,
    changes: usize,
}

impl Fold {
    /// Adds a change.
    ///
    /// # Errors
    /// When a diff cannot be applied to a value that is known here.
    pub fn add(&mut self, change: RowChange) -> Result<(), DiffError> {
        self.changes += 1;
        match change {
            RowChange::Put { table, key, row } => {
                self.table(table).rows.insert(key, RowState::Put(row));
                Ok(())
            }
            RowChange::Patch { table, key, row, diffs } => self.table(table).patch(key, row, diffs),
            RowChange::Delete { table, prefix, from } => {
                self.table(table).delete(prefix, from);
                Ok(())
            }
        }
    }

    fn table(&mut self, table: SharedTable) -> &mut TableChanges {
        self.tables.entry(table.id).or_insert_with(|| TableChanges {
            table,
            deletes: BTreeSet::new(),
            rows: BTreeMap::new(),
        })
    }

    /// Changes added since the last [`Fold::take`].
    #[must_use]
    pub fn changes(&self) -> usize {
        self.changes
    }

    /// The changes of one table, leaving the others.
    pub fn take_table(&mut self, id: TableId) -> Option<TableChanges> {
        self.tables.remove(&id)
    }

    /// Everything, leaving nothing.
    pub fn take(&mut self) -> Vec<TableChanges> {
        self.changes = 0;
        self.tables.drain().map(|(_, changes)| changes).collect()
    }
}

impl TableChanges {
    fn patch(&mut self, key: Key, row: Row, diffs: Vec<(usize, Document)>) -> Result<(), DiffError> {
        match self.rows.get_mut(&key) {
            None => {
                self.rows.insert(key, RowState::Patch(row, diffs));
            }
            Some(RowState::Put(stored)) => {
                stored.merge(&row);
                for (column, diff) in diffs {
                    apply_here(stored, column, &diff)?;
                }
            }
            Some(RowState::Patch(stored, pending)) => {
                // A cell that is set anew forgets the diffs before.
                pending.retain(|(column, _)| row.cell(*column) == Cell::Absent);
                stored.merge(&row);
                for (column, diff) in diffs {
                    match stored.cell(column) {
                        Cell::Absent => pending.push((column, diff)),
                        Cell::Null | Cell::Value(_) => apply_here(stored, column, &diff)?,
                    }
                }
            }
        }
        Ok(())
    }

    fn delete(&mut self, prefix: Key, from: Option<i32>) {
        let gone: Vec<Key> = self
            .rows
            .range(prefix.clone()..)
            .map(|(key, _)| key)
            .take_while(|key| key.bytes().starts_with(prefix.bytes()))
            .filter(|key| from.is_none_or(|from| next_index(key, &prefix).is_some_and(|index| index >= from)))
            .cloned()
            .collect();
        for key in gone {
            self.rows.remove(&key);
        }
        self.deletes.insert((prefix, from));
    }
}

/// The key cell after a prefix, an array index.
fn next_index(key: &Key, prefix: &Key) -> Option<i32> {
    let cell = key.cells().nth(prefix.cells().count())?;
    cell.try_into().ok().map(i32::from_be_bytes)
}

/// Applies a diff to a `jsonb` cell whose value is known; a NULL stays NULL.
///
/// # Errors
/// When the diff is malformed.
pub fn apply_here(row: &mut Row, column: usize, diff: &Document) -> Result<(), DiffError> {
    let Cell::Value(bytes) = row.cell(column) else { return Ok(()) };
    let stored = String::from_utf8_lossy(bytes.get(1..).unwrap_or_default()).into_owned();
    set_json(row, column, &json_diff::apply(&stored, [diff])?);
    Ok(())
}

/// Sets a `jsonb` cell to a text.
pub fn set_json(row: &mut Row, column: usize, text: &str) {
    row.set(column, &[&[1], text.as_bytes()].concat());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::identifier::Identifier;
    use crate::model::table::{Column, PgType, Table};

    fn table() -> SharedTable {
        let column = |name, ty| Column { name: Identifier::new(name).expect("fits"), ty };
        Arc::new(Table {
            id: TableId::fresh(),
            schema: Identifier::new("s").expect("fits"),
            name: Identifier::new("t").expect("fits"),
            key: 2,
            columns: vec![
                column("id", PgType::Text),
                column("_index", PgType::Integer),
                column("a", PgType::Text),
                column("j", PgType::Jsonb),
            ],
        })
    }

    fn key(id: &str, index: i32) -> Key {
        let mut key = Key::default();
        key.push(id.as_bytes());
        key.push_index(index);
        key
    }

    fn row(cells: &[(usize, &str)]) -> Row {
        let mut row = Row::default();
        for (column, text) in cells {
            row.set(*column, text.as_bytes());
        }
        row
    }

    #[test]
    fn a_patch_of_a_new_row_becomes_part_of_it() {
        let (table, mut fold) = (table(), Fold::default());
        fold.add(RowChange::Put { table: Arc::clone(&table), key: key("x", 0), row: row(&[(2, "old")]) }).unwrap();
        let (patch, diffs) = (row(&[(2, "new")]), Vec::new());
        fold.add(RowChange::Patch { table, key: key("x", 0), row: patch, diffs }).unwrap();
        let changes = fold.take();
        let Some(RowState::Put(row)) = changes[0].rows.get(&key("x", 0)) else { panic!("put") };
        assert_eq!(row.cell(2), Cell::Value(b"new"));
    }

    #[test]
    fn a_delete_takes_the_rows_before_it_and_not_those_after() {
        let (table, mut fold) = (table(), Fold::default());
        for index in 0..4 {
            let put = RowChange::Put { table: Arc::clone(&table), key: key("x", index), row: Row::default() };
            fold.add(put).unwrap();
        }
        let mut prefix = Key::default();
        prefix.push(b"x");
        fold.add(RowChange::Delete { table: Arc::clone(&table), prefix, from: Some(2) }).unwrap();
        fold.add(RowChange::Put { table, key: key("x", 3), row: Row::default() }).unwrap();
        let changes = fold.take();
        assert_eq!(changes[0].rows.keys().cloned().collect::<Vec<_>>(), [key("x", 0), key("x", 1), key("x", 3)]);
        assert_eq!(changes[0].deletes.len(), 1);
    }

    #[test]
    fn diffs_wait_for_the_value_and_are_forgotten_when_it_is_set() {
        let diff = |n: i32| Document::new(bson::doc! {"a": true, "u0": n}.to_vec().expect("bson")).expect("bson");
        let (table, mut fold) = (table(), Fold::default());
        let patch = |row, diffs| RowChange::Patch { table: Arc::clone(&table), key: key("x", 0), row, diffs };
        fold.add(patch(Row::default(), vec![(3, diff(1))])).unwrap();
        fold.add(patch(row(&[(3, "\u{1}[5,6]")]), Vec::new())).unwrap();
        fold.add(patch(Row::default(), vec![(3, diff(9))])).unwrap();
        let changes = fold.take();
        let Some(RowState::Patch(row, pending)) = changes[0].rows.get(&key("x", 0)) else { panic!("patch") };
        assert_eq!((row.cell(3), pending.len()), (Cell::Value(b"\x01[9,6]".as_slice()), 0));
    }
}
