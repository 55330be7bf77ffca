//! A collection's mapping as a whole: documents and deltas in, rows by column name out.

mod options;

use std::collections::BTreeMap;
use std::sync::Arc;

use bson::{Bson, doc};

use crate::mapping::collection::{Collection, Output, Reject, Shared};
use crate::mapping::compact::compact;
use crate::mapping::names::TableNames;
use crate::mapping::options::{CollectionOptions, MappingOptions, PathOptions};
use crate::model::bson::{Doc, Document};
use crate::model::namespace::{CollectionId, Namespace};
use crate::model::row::{Cell, Key, Row};
use crate::model::table::{PgType, SharedTable};
use crate::model::write_set::{Anomaly, CollectionRow, Ddl, Form, PathRow};

/// One row: its table, and a text for each cell that is mentioned.
pub(super) type Cells = (String, BTreeMap<String, String>);

/// What conversions made.
#[derive(Default)]
pub(super) struct Made {
    pub puts: Vec<Cells>,
    pub patches: Vec<Cells>,
    pub diffs: Vec<(String, bson::Document)>,
    pub deletes: Vec<String>,
    pub anomalies: Vec<(String, &'static str)>,
}

fn cells(table: &SharedTable, row: &Row) -> Cells {
    let mut cells = BTreeMap::new();
    for (index, column) in table.columns.iter().enumerate() {
        let text = match row.cell(index) {
            Cell::Absent => continue,
            Cell::Null => "NULL".to_owned(),
            Cell::Value(bytes) if column.ty == PgType::Integer => {
                i32::from_be_bytes(bytes.try_into().expect("four bytes")).to_string()
            }
            Cell::Value(bytes) if column.ty == PgType::Jsonb => String::from_utf8_lossy(&bytes[1..]).into_owned(),
            Cell::Value(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        };
        cells.insert(column.name.as_str().to_owned(), text);
    }
    (table.name.as_str().to_owned(), cells)
}

impl Output for Made {
    fn put(&mut self, table: &SharedTable, _: &Key, row: &Row) {
        self.puts.push(cells(table, row));
    }

    fn patch(&mut self, table: &SharedTable, _: &Key, row: Row, diffs: Vec<(usize, Document)>) {
        self.patches.push(cells(table, &row));
        for (column, diff) in diffs {
            let diff = bson::Document::from_reader(diff.as_doc().bytes()).expect("a diff is BSON");
            self.diffs.push((table.columns[column].name.as_str().to_owned(), diff));
        }
    }

    fn delete(&mut self, table: &SharedTable, _: &Key, _: Option<i32>) {
        self.deletes.push(table.name.as_str().to_owned());
    }

    fn anomaly(&mut self, anomaly: Anomaly) {
        self.anomalies.push((anomaly.path.join("."), anomaly.reason));
    }
}

/// A mapping and what is asked of it.
pub(super) struct World {
    pub collection: Collection,
}

impl World {
    /// The collection `s.t` under those options.
    pub fn new(options: MappingOptions, paths: Vec<PathOptions>) -> Self {
        let own = CollectionOptions { paths, ..CollectionOptions::new(namespace()) };
        let shared = Shared {
            names: Arc::new(TableNames::default()),
            options: Arc::new(options),
            collections: Arc::new(vec![own]),
        };
        Self { collection: Collection::new(CollectionId([7; 16]), namespace(), shared) }
    }

    fn settled(
        &mut self,
        mut convert: impl FnMut(&mut Collection, &mut Made) -> Result<bool, Reject>,
    ) -> Result<Made, Reject> {
        for _ in 0..4 {
            let mut made = Made::default();
            if !convert(&mut self.collection, &mut made)? {
                return Ok(made);
            }
        }
        panic!("the shape never settles");
    }

    /// A whole document.
    pub fn put(&mut self, document: bson::Document) -> Result<Made, Reject> {
        let bytes = document.to_vec().expect("BSON");
        self.settled(|collection, made| collection.document(Doc::new(&bytes).expect("BSON"), false, made))
    }

    /// A `$v: 2` diff of the document whose `_id` is 1.
    pub fn update(&mut self, diff: bson::Document) -> Result<Made, Reject> {
        let (id, bytes) = (doc! {"_id": 1}.to_vec().expect("BSON"), diff.to_vec().expect("BSON"));
        self.settled(|collection, made| {
            let id = Doc::new(&id).expect("BSON").get("_id").expect("BSON").expect("there");
            collection.update(id, Doc::new(&bytes).expect("BSON"), made)
        })
    }

    /// `path column type` of every column in the catalog, sorted.
    pub fn columns(&self) -> Vec<String> {
        let line = |row: &PathRow| {
            let (name, ty) = row.column.as_ref()?;
            Some(format!("{} {}.{} {ty}", row.path.join("."), row.table.as_str(), name.as_str()))
        };
        let mut lines: Vec<String> = self.collection.path_rows().iter().filter_map(line).collect();
        lines.sort();
        lines
    }

    /// The same mapping, read back from its catalog rows.
    pub fn restarted(&self) -> Self {
        let row = CollectionRow { id: self.collection.id(), namespace: namespace(), copied: true, wide_ids: false };
        let mut shared = self.collection.shared.clone();
        shared.names = Arc::new(TableNames::default());
        let restored = Collection::restore(&row, self.collection.path_rows(), shared).expect("restored");
        let restarted = Self { collection: restored };
        assert_eq!(restarted.columns(), self.columns());
        restarted
    }
}

fn namespace() -> Namespace {
    Namespace::new("s", "t")
}

/// A row of those cells.
pub(super) fn row<const N: usize>(table: &str, cells: [(&str, &str); N]) -> Cells {
    (table.to_owned(), cells.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect())
}

fn narrow() -> World {
    let mut world = World::new(MappingOptions { max_columns: 3, ..MappingOptions::default() }, Vec::new());
    world.put(doc! {"_id": 1, "a": 1, "b": 2, "c": 3, "l": [{"x": 1, "y": 2, "z": 3}]}).expect("converted");
    world
}

#[test]
fn fields_beyond_the_limit_share_one_column() {
    let mut world = narrow();
    let made = world.put(doc! {"_id": 1, "b": 2, "c": 3, "d": {"e": 1.5}, "f": [{"g": 1}], "n": null}).expect("put");
    assert_eq!(made.puts, [row("t", [("b", "2"), ("_extra", r#"{"c":3,"d":{"e":1.5},"f":[{"g":1}]}"#)])]);
    let expected = ["_id t._id integer", "_extra", "a t.a integer", "b t.b integer"].map(str::to_owned);
    let columns = world.columns();
    assert!(columns.contains(&" t._extra jsonb".to_owned()), "{columns:?}");
    assert_eq!(columns.len(), expected.len());
    assert_eq!(world.collection.tables().len(), 1, "what comes late gets no table either");
}

#[test]
fn names_that_only_overflow_are_not_kept_in_memory() {
    let mut world = narrow();
    for n in 0..100 {
        world.put(doc! {"_id": n, format!("key{n}"): {"x": n}}).expect("put");
    }
    assert!(world.collection.root.fields.iter().count() <= 5);
}

#[test]
fn a_name_twice_beyond_the_limit_is_refused() {
    let mut world = narrow();
    let twice = |second: Bson| {
        let element = |value: &Bson| {
            let bytes = doc! {"q": value.clone()}.to_vec().expect("BSON");
            bytes[4..bytes.len() - 1].to_vec()
        };
        let id = doc! {"_id": 1}.to_vec().expect("BSON");
        let body = [&id[4..id.len() - 1], &element(&Bson::Int32(1)), &element(&second), &[0]].concat();
        [&i32::try_from(body.len() + 4).expect("short").to_le_bytes()[..], &body].concat()
    };
    for second in [Bson::Int32(2), Bson::Null] {
        let bytes = twice(second);
        let refused =
            world.settled(|collection, made| collection.document(Doc::new(&bytes).expect("BSON"), false, made));
        assert_eq!(refused.err(), Some(Reject("duplicate_field")));
    }
}

#[test]
fn deltas_reach_into_the_overflow_and_survive_a_restart() {
    let mut world = narrow().restarted();
    let made =
        world.update(doc! {"d": {"q": false}, "u": {"a": 5, "c": 6}, "i": {"w": {"x": 1}}, "sv": {"u": {"k": 1}}});
    let made = made.expect("converted");
    assert_eq!(made.patches, [row("t", [("a", "5")])]);
    let on_extra = |diff: bson::Document| ("_extra".to_owned(), diff);
    let expected = [
        on_extra(doc! {"d": {"q": false}}),
        on_extra(doc! {"d": {"c": false}}),
        on_extra(doc! {"d": {"w": false}}),
        on_extra(doc! {"sv": {"u": {"k": 1}}}),
        on_extra(doc! {"j": {"c": "6"}}),
        on_extra(doc! {"j": {"w": "{\"x\":1}"}}),
    ];
    assert_eq!(made.diffs, expected);
}

#[test]
fn what_jsonb_cannot_hold_is_an_anomaly_in_the_overflow_too() {
    let mut world = narrow();
    let made = world.put(doc! {"_id": 1, "q": "a\0b"}).expect("put");
    assert_eq!(made.puts, [row("t", [("_extra", r#"{"q":"ab"}"#)])]);
    assert_eq!(made.anomalies, [("q".to_owned(), "nul_removed")]);
    assert_eq!(world.update(doc! {"u": {"q": "\0"}}).expect("update").anomalies.len(), 1);
    assert_eq!(world.update(doc! {"sq": {"u": {"r": "\0"}}}).expect("update").anomalies.len(), 1);
}

#[test]
fn an_arrays_own_path_may_have_two_columns() {
    let mut world = World::new(MappingOptions { max_columns: 3, ..MappingOptions::default() }, Vec::new());
    world.put(doc! {"_id": 1, "l": [{"x": 1, "y": 2}, "scalar"]}).expect("put");
    let columns = world.columns();
    assert!(columns.contains(&"l t_l._value jsonb".to_owned()) && columns.contains(&"l t_l._extra jsonb".to_owned()));
    world.restarted();
    let kept = compact(world.collection.take_ddl());
    let paths =
        kept.iter().filter(|ddl| matches!(ddl, Ddl::Path(row) if row.path == ["l"] && row.form == Form::Column));
    assert_eq!(paths.count(), 2);
}
