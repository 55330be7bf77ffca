//! A model of PostgreSQL: tables by id, rows by key. It takes write sets as the executor would and refuses what
//! PostgreSQL would refuse. It does not convert: a table whose column widens loses its rows, and whoever feeds it puts
//! them in again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tailwater::model::row::{Cell, Key, Row, RowChange};
use tailwater::model::table::{Column, PgType, SharedTable, Table, TableId};
use tailwater::model::write_set::{CollectionRow, ColumnChange, Ddl, PathRow};
use tailwater::sink::fold::{Fold, RowState, apply_here};

use tailwater::model::namespace::CollectionId;

/// The cells of a row that are not NULL, by column.
pub type Cells = BTreeMap<usize, Vec<u8>>;

/// One table.
pub struct Stored {
    pub table: SharedTable,
    pub rows: BTreeMap<Key, Cells>,
}

/// Everything that is in PostgreSQL.
#[derive(Default)]
pub struct Model {
    pub tables: HashMap<TableId, Stored>,
    pub paths: HashMap<CollectionId, Vec<PathRow>>,
    pub collections: HashMap<CollectionId, CollectionRow>,
}

impl Model {
    /// Applies a schema change; true when rows were thrown away.
    pub fn ddl(&mut self, change: Ddl) -> bool {
        match change {
            Ddl::CreateTable(table) => {
                self.expect_free(&table);
                check_table(&table);
                self.tables.insert(table.id, Stored { table, rows: BTreeMap::new() });
            }
            Ddl::Alter { table, columns } => return self.alter(table, &columns),
            Ddl::Rekey(rekey) => {
                for (before, after) in rekey.tables {
                    let stored = self.tables.get_mut(&before.id).expect("a table that is there gets another key");
                    check_table(&after);
                    stored.table = after;
                    stored.rows.clear();
                }
                return true;
            }
            // A kept table is nobody's any more, and makes way when its name is wanted.
            Ddl::Aside { .. } | Ddl::Keys(_) => {}
            Ddl::DropTable(table) | Ddl::Keep { table, .. } => {
                self.tables.remove(&table.id).expect("a table that is there is dropped");
            }
            Ddl::RenameTable { from, to } => {
                self.expect_free(&to);
                check_table(&to);
                let stored = self.tables.get_mut(&from.id).expect("a table that is there is renamed");
                assert_eq!((&stored.table.schema, &stored.table.name), (&from.schema, &from.name), "its name before");
                stored.table = to;
            }
            Ddl::Path(row) => {
                let rows = self.paths.entry(row.collection).or_default();
                // An array's own path may have two columns, `_value` and `_extra`.
                let place = |row: &PathRow| {
                    let column = row.column.as_ref().map(|(name, _)| name.clone());
                    (row.path.clone(), row.form, row.schema.clone(), row.table.clone(), column)
                };
                rows.retain(|old| place(old) != place(&row));
                rows.push(row);
            }
            Ddl::Collection(row) => {
                self.collections.insert(row.id, row);
            }
            Ddl::Forget(id) | Ddl::Gone(id) => {
                self.paths.remove(&id);
                self.collections.remove(&id);
            }
        }
        false
    }

    fn alter(&mut self, after: Arc<Table>, changes: &[ColumnChange]) -> bool {
        let stored = self.tables.get_mut(&after.id).expect("a table that is altered is there");
        let before = &stored.table;
        let index = |change: &ColumnChange| change.index();
        let places: HashSet<usize> = changes.iter().map(index).collect();
        assert_eq!(places.len(), changes.len(), "a column changes once");
        for (i, column) in after.columns.iter().enumerate() {
            match (before.columns.get(i), changes.iter().find(|change| change.index() == i)) {
                (Some(same), None) => assert_eq!(same, column, "what does not change stays"),
                (Some(narrow), Some(change)) => {
                    assert_eq!(Some(narrow.ty), change.from(), "a column widens from the type that it has");
                    assert_eq!(narrow.name, column.name, "a column that widens keeps its name");
                    assert_ne!(narrow.ty, column.ty, "a column that widens gets another type");
                }
                (None, change) => {
                    assert!(matches!(change, Some(ColumnChange::Add { .. })), "a column that is new is added");
                }
            }
        }
        let added = changes.iter().filter(|change| change.from().is_none()).map(index).collect::<Vec<_>>();
        assert_eq!(added, (before.columns.len()..after.columns.len()).collect::<Vec<_>>(), "columns come in order");
        check_table(&after);
        stored.table = after;
        let widens = added.len() < changes.len();
        if widens {
            stored.rows.clear();
        }
        widens
    }

    fn expect_free(&self, table: &Table) {
        let name = table.qualified();
        assert!(
            self.tables.values().all(|other| other.table.id == table.id || other.table.qualified() != name),
            "the name {name} is free"
        );
    }

    /// Applies changes of rows by way of the fold, as the executor does.
    pub fn rows(&mut self, changes: Vec<RowChange>) {
        let mut fold = Fold::default();
        for change in changes {
            self.check_change(&change);
            fold.add(change);
        }
        for changes in fold.take() {
            let stored = self.tables.get_mut(&changes.table.id).expect("rows of a table that is there");
            for (prefix, from) in changes.deletes {
                stored.rows.retain(|key, _| !is_below(key, &prefix, from));
            }
            for (key, state) in changes.rows {
                let (row, diffs, whole) = match state {
                    RowState::Put { row, diffs, .. } => (row, diffs, true),
                    RowState::Patch(row, diffs) => (row, diffs, false),
                };
                let mut now = Row::default();
                if !whole {
                    let Some(old) = stored.rows.get(&key) else { continue };
                    old.iter().for_each(|(column, bytes)| now.set(*column, bytes));
                }
                now.merge(&row);
                let left = apply_here(&stored.table, &mut now, diffs, true).expect("diffs of cells that are known");
                assert!(left.is_empty(), "every cell is known");
                stored.rows.insert(key, cells(&now, &stored.table));
            }
        }
    }

    fn check_change(&self, change: &RowChange) {
        let (table, key, row) = match change {
            RowChange::Put { table, key, row } | RowChange::Patch { table, key, row, .. } => (table, key, Some(row)),
            RowChange::Delete { table, prefix, .. } => (table, prefix, None),
        };
        let stored = self.tables.get(&table.id).expect("a change of a table that is there");
        assert_eq!(stored.table, *table, "a change is made for the table as it is");
        let cells = key.cells().count();
        for (cell, column) in key.cells().zip(table.key_columns()) {
            check_cell(column.ty, cell);
        }
        match change {
            RowChange::Delete { from, .. } => assert!(cells + usize::from(from.is_some()) <= table.key, "a key prefix"),
            RowChange::Put { .. } | RowChange::Patch { .. } => assert_eq!(cells, table.key, "a whole key"),
        }
        for column in row.into_iter().flat_map(Row::mentioned) {
            assert!(column >= table.key, "the key's cells are in the key alone");
            let ty = table.columns.get(column).expect("cells only for columns that are there").ty;
            if let Some(Cell::Value(bytes)) = row.map(|row| row.cell(column)) {
                check_cell(ty, bytes);
            }
        }
        if let RowChange::Patch { diffs, .. } = change {
            for (column, _) in diffs {
                assert_eq!(
                    table.columns.get(*column).map(|column| column.ty),
                    Some(PgType::Jsonb),
                    "diffs are for jsonb"
                );
            }
        }
    }
}

fn is_below(key: &Key, prefix: &Key, from: Option<i32>) -> bool {
    if !key.bytes().starts_with(prefix.bytes()) {
        return false;
    }
    let Some(from) = from else { return true };
    let next = key.cells().nth(prefix.cells().count()).expect("a key that is longer than the prefix");
    i32::from_be_bytes(next.try_into().expect("an index")) >= from
}

fn cells(row: &Row, table: &Table) -> Cells {
    let mut cells = Cells::new();
    for column in row.mentioned() {
        if let Cell::Value(bytes) = row.cell(column) {
            check_cell(table.columns[column].ty, bytes);
            // An `_extra` without fields is as good as none.
            if !table.is_extra(column) || json(&bytes[1..]) != serde_json::json!({}) {
                cells.insert(column, bytes.to_vec());
            }
        }
    }
    cells
}

/// What PostgreSQL wants of a table.
fn check_table(table: &Table) {
    let mut names = HashSet::new();
    for column in &table.columns {
        let name = column.name.as_str();
        assert!((1..=63).contains(&name.len()) && !name.contains('\0'), "a name that PostgreSQL can have: {name:?}");
        assert!(names.insert(name), "{name:?} is there once");
        assert!(!["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"].contains(&name), "{name} is PostgreSQL's own");
    }
    assert!((1..=table.columns.len()).contains(&table.key) && table.columns.len() <= 1600);
}

/// What the `recv` function of the type wants.
fn check_cell(ty: PgType, bytes: &[u8]) {
    match ty {
        PgType::Boolean => assert!(matches!(bytes, [0 | 1]), "a boolean"),
        PgType::Integer => assert_eq!(bytes.len(), 4, "an integer"),
        PgType::BigInt | PgType::Double | PgType::TimestampTz => assert_eq!(bytes.len(), 8, "eight bytes"),
        PgType::Uuid => assert_eq!(bytes.len(), 16, "a uuid"),
        PgType::Bytea => {}
        PgType::Text => {
            let text = std::str::from_utf8(bytes).expect("text is UTF-8");
            assert!(!text.contains('\0'), "text without U+0000");
        }
        PgType::Numeric => check_numeric(bytes),
        PgType::Jsonb => {
            let (version, text) = bytes.split_first().expect("a version byte");
            assert_eq!(*version, 1);
            check_json(&json(text));
        }
    }
}

fn check_numeric(bytes: &[u8]) {
    let word = |i: usize| u16::from_be_bytes([bytes[2 * i], bytes[2 * i + 1]]);
    let digits = usize::from(word(0));
    assert_eq!(bytes.len(), 8 + 2 * digits, "as many digits as it says");
    assert!([0, 0x4000, 0xC000, 0xD000, 0xF000].contains(&word(2)) && word(3) <= 0x3FFF, "a sign and a scale");
    assert!((0..digits).all(|i| word(4 + i) < 10_000), "four decimal digits each");
}

/// The text of a `jsonb` cell.
pub fn json(text: &[u8]) -> serde_json::Value {
    let shown = || String::from_utf8_lossy(text).into_owned();
    serde_json::from_slice(text).unwrap_or_else(|error| panic!("jsonb is JSON: {error}: {:?}", shown()))
}

fn check_json(value: &serde_json::Value) {
    match value {
        serde_json::Value::String(text) => assert!(!text.contains('\0'), "jsonb without U+0000"),
        serde_json::Value::Array(elements) => elements.iter().for_each(check_json),
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                assert!(!name.contains('\0'), "jsonb without U+0000");
                check_json(value);
            }
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

/// Whether two cells hold the same value: in `jsonb` order and number types do not count, and in `_extra` nulls and
/// documents without values neither, since flattened ones read back as missing.
pub fn same_cell(column: &Column, a: &[u8], b: &[u8]) -> bool {
    if a == b || column.ty != PgType::Jsonb {
        return a == b;
    }
    let (mut a, mut b) = (json(&a[1..]), json(&b[1..]));
    if column.name.as_str() == "_extra" {
        prune(&mut a);
        prune(&mut b);
    }
    same_json(&a, &b)
}

/// Whether a cell says no more than NULL: an `_extra` with nothing but documents without values.
pub fn says_nothing(column: &Column, bytes: &[u8]) -> bool {
    column.name.as_str() == "_extra" && {
        let mut value = json(&bytes[1..]);
        prune(&mut value);
        value == serde_json::json!({})
    }
}

fn prune(value: &mut serde_json::Value) {
    if let serde_json::Value::Object(fields) = value {
        fields.values_mut().for_each(prune);
        fields.retain(|_, value| {
            !value.is_null() && !matches!(value, serde_json::Value::Object(inner) if inner.is_empty())
        });
    }
}

fn same_json(a: &serde_json::Value, b: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Number, Object};
    match (a, b) {
        (Number(a), Number(b)) => a == b || (a.is_f64() != b.is_f64() || a.is_f64()) && a.as_f64() == b.as_f64(),
        (Array(a), Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_json(a, b)),
        (Object(a), Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same_json(a, b)))
        }
        _ => a == b,
    }
}
