//! Net effect: many changes of one row become one.
//!
//! In: row changes in source order. Out, table by table: deletions that come first, then rows that are put, then rows
//! that are patched. Rows are kept in key order, so that PostgreSQL's indexes are written in order.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::mapping::json_diff::{self, DiffError};
use crate::model::bson::Document;
use crate::model::row::{Cell, Key, Row, RowChange};
use crate::model::table::{SharedTable, Table, TableId};

/// Diffs of `jsonb` cells, by column, in order.
pub type Diffs = Vec<(usize, Document)>;

/// The net change of one row. Diffs wait until it is written: applied one by one, each would cost as much as the cell.
#[derive(Debug)]
pub enum RowState {
    /// It is exactly this, once the diffs are applied.
    Put {
        /// The row.
        row: Row,
        /// The diffs.
        diffs: Diffs,
        /// True when no row of that key can be there.
        fresh: bool,
    },
    /// These cells change, if it exists; diffs are for `jsonb` cells whose value only PostgreSQL knows, or that are set here.
    Patch(Row, Diffs),
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
    bytes: usize,
}

impl Fold {
    /// Adds a change.
    pub fn add(&mut self, change: RowChange) {
        self.changes += 1;
        match change {
            RowChange::Put { table, key, row } => self.put(table, key, row, false),
            RowChange::Patch { table, key, row, diffs } => {
                self.bytes += row.weight() + diffs.iter().map(|(_, diff)| diff.len()).sum::<usize>();
                self.table(table).patch(key, row, diffs);
            }
            RowChange::Delete { table, prefix, from } => self.table(table).delete(prefix, from),
        }
    }

    /// Adds a change of a document that has no rows yet: what it deletes is not there.
    pub fn add_fresh(&mut self, change: RowChange) {
        match change {
            RowChange::Put { table, key, row } => {
                self.changes += 1;
                self.put(table, key, row, true);
            }
            RowChange::Delete { .. } => {}
            RowChange::Patch { .. } => self.add(change),
        }
    }

    fn put(&mut self, table: SharedTable, key: Key, row: Row, fresh: bool) {
        self.bytes += row.weight();
        let diffs = Vec::new();
        match self.table(table).rows.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(RowState::Put { row, diffs, fresh });
            }
            Entry::Occupied(mut entry) => {
                // Whether a row is there is known from the first change of it.
                let fresh = matches!(entry.get(), RowState::Put { fresh: true, .. });
                entry.insert(RowState::Put { row, diffs, fresh });
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

    /// Tables that have changes.
    #[must_use]
    pub fn tables(&self) -> usize {
        self.tables.len()
    }

    /// Bytes of rows added since then: a row may weigh many times what its document does.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The changes of one table, leaving the others.
    pub fn take_table(&mut self, id: TableId) -> Option<TableChanges> {
        self.tables.remove(&id)
    }

    /// Everything, leaving nothing.
    pub fn take(&mut self) -> Vec<TableChanges> {
        (self.changes, self.bytes) = (0, 0);
        self.tables.drain().map(|(_, changes)| changes).collect()
    }
}

impl TableChanges {
    fn patch(&mut self, key: Key, row: Row, diffs: Diffs) {
        match self.rows.get_mut(&key) {
            None => {
                self.rows.insert(key, RowState::Patch(row, diffs));
            }
            Some(RowState::Put { row: stored, diffs: pending, .. } | RowState::Patch(stored, pending)) => {
                // A cell that is set anew forgets the diffs before.
                pending.retain(|(column, _)| row.cell(*column) == Cell::Absent);
                stored.merge(&row);
                pending.extend(diffs);
            }
        }
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

/// Applies the diffs of the cells whose value is known here; what is left is for cells that only PostgreSQL knows. A NULL
/// stays NULL, but for `_extra`, where it is an object without fields.
///
/// # Errors
/// When a diff is malformed.
pub fn apply_here(table: &Table, row: &mut Row, diffs: Diffs, whole: bool) -> Result<Diffs, DiffError> {
    let mut known: BTreeMap<usize, Vec<Document>> = BTreeMap::new();
    let mut unknown = Vec::new();
    for (column, diff) in diffs {
        match row.cell(column) {
            Cell::Value(_) => known.entry(column).or_default().push(diff),
            Cell::Absent if !whole => unknown.push((column, diff)),
            Cell::Absent | Cell::Null if table.is_extra(column) => known.entry(column).or_default().push(diff),
            Cell::Absent | Cell::Null => {}
        }
    }
    for (column, diffs) in known {
        let stored = match row.cell(column) {
            Cell::Value(bytes) => String::from_utf8_lossy(bytes.get(1..).unwrap_or_default()),
            Cell::Absent | Cell::Null => "{}".into(),
        };
        let text = json_diff::apply(&stored, &diffs)?;
        set_json(row, column, &text);
    }
    Ok(unknown)
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
    use crate::model::table::{Column, Metadata, PgType};

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
            metadata: Metadata::default(),
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
        fold.add(RowChange::Put { table: Arc::clone(&table), key: key("x", 0), row: row(&[(2, "old")]) });
        let (patch, diffs) = (row(&[(2, "new")]), Vec::new());
        fold.add(RowChange::Patch { table, key: key("x", 0), row: patch, diffs });
        let changes = fold.take();
        let Some(RowState::Put { row, .. }) = changes[0].rows.get(&key("x", 0)) else { panic!("put") };
        assert_eq!(row.cell(2), Cell::Value(b"new"));
    }

    #[test]
    fn a_delete_takes_the_rows_before_it_and_not_those_after() {
        let (table, mut fold) = (table(), Fold::default());
        for index in 0..4 {
            let put = RowChange::Put { table: Arc::clone(&table), key: key("x", index), row: Row::default() };
            fold.add(put);
        }
        let mut prefix = Key::default();
        prefix.push(b"x");
        fold.add(RowChange::Delete { table: Arc::clone(&table), prefix, from: Some(2) });
        fold.add(RowChange::Put { table, key: key("x", 3), row: Row::default() });
        let changes = fold.take();
        assert_eq!(changes[0].rows.keys().cloned().collect::<Vec<_>>(), [key("x", 0), key("x", 1), key("x", 3)]);
        assert_eq!(changes[0].deletes.len(), 1);
    }

    #[test]
    fn diffs_wait_for_the_value_and_are_forgotten_when_it_is_set() {
        let diff = |n: i32| Document::new(bson::doc! {"a": true, "u0": n}.to_vec().expect("bson")).expect("bson");
        let (table, mut fold) = (table(), Fold::default());
        let patch = |row, diffs| RowChange::Patch { table: Arc::clone(&table), key: key("x", 0), row, diffs };
        fold.add(patch(Row::default(), vec![(3, diff(1))]));
        fold.add(patch(row(&[(3, "\u{1}[5,6]")]), Vec::new()));
        fold.add(patch(Row::default(), vec![(3, diff(9))]));
        let mut changes = fold.take();
        let Some(RowState::Patch(mut row, pending)) = changes[0].rows.remove(&key("x", 0)) else { panic!("patch") };
        assert_eq!(pending.len(), 1);
        let left = apply_here(&table, &mut row, pending, false).expect("applies");
        assert_eq!((row.cell(3), left.len()), (Cell::Value(b"\x01[9,6]".as_slice()), 0));
    }

    #[test]
    fn a_diff_of_a_null_changes_it_in_the_overflow_column_only() {
        let mut table = Table::clone(&table());
        table.columns.push(Column { name: Identifier::new("_extra").expect("fits"), ty: PgType::Jsonb });
        let diff = || Document::new(bson::doc! {"j": {"x": "1"}}.to_vec().expect("bson")).expect("bson");
        let mut put = Row::default();
        let left = apply_here(&table, &mut put, vec![(3, diff()), (4, diff()), (4, diff())], true).unwrap();
        assert!(left.is_empty());
        assert_eq!((put.cell(3), put.cell(4)), (Cell::Absent, Cell::Value(b"\x01{\"x\":1}".as_slice())));
        let mut patch = Row::default();
        patch.set_null(3);
        let left = apply_here(&table, &mut patch, vec![(3, diff()), (4, diff())], false).unwrap();
        assert_eq!((patch.cell(3), patch.cell(4), left.len()), (Cell::Null, Cell::Absent, 1));
    }
}
