//! Row mapping: changes of two collections go through their lanes and the fold into a model of PostgreSQL.
//!
//! Beyond "no panic", after each change: schema changes come first and fit; rows fit their tables; there is one root row
//! per document and no child row without one; the catalog restores to the same mapping; and the rows that an update
//! leaves are those of the whole document that it makes, which needs no further schema change.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tailwater::lane::Lane;
use tailwater::mapping::collection::{Collection, Shared};
use tailwater::mapping::json;
use tailwater::mapping::names::TableNames;
use tailwater::mapping::options::{CollectionOptions, MappingOptions, Naming, NestedForm, OnTypeConflict, PathOptions};
use tailwater::model::bson::Document;
use tailwater::model::change::Operation;
use tailwater::model::namespace::{CollectionId, Namespace};
use tailwater::model::row::{Key, RowChange};
use tailwater::model::table::{Column, PgType, Table, TableId};
use tailwater::model::write_set::{Ddl, Form, PathRow, Step, Waiting};

use super::ids::{IDS, id_of};
use super::input::Input;
use super::model::{Cells, Model, same_cell, says_nothing};
use super::tree::{self, Fields, Names, Tree, encode};

const NAMES: [(&str, &str); 8] = [
    ("d", "c"),
    ("d", "c_a"),
    ("d", "C"),
    ("D", "c"),
    ("pg_x", "a.b"),
    ("tailwater", "paths"),
    ("d", "a collection whose name is longer than any identifier of PostgreSQL can be"),
    ("d", "cc"),
];

type PathsOf = HashMap<CollectionId, Vec<PathRow>>;

/// What is known of a document.
#[derive(Clone, PartialEq)]
enum Known {
    /// Exactly this.
    Is(Fields),
    /// It is there; what it holds is not known, because a diff that no server writes was applied.
    Somehow,
    /// In quarantine.
    Apart,
}

/// One collection.
struct Followed {
    id: CollectionId,
    lane: Lane,
    documents: BTreeMap<usize, Known>,
    /// Their ids as they were written last: that is how the server names a document.
    ids: BTreeMap<usize, Tree>,
}

struct World {
    shared: Shared,
    model: Model,
    collections: Vec<Followed>,
    born: u8,
}

/// One run of the target.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    for _ in 0..24 {
        if input.is_empty() {
            break;
        }
        world.turn(&mut input);
        world.check();
    }
    world.restore();
}

fn options(input: &mut Input<'_>) -> (MappingOptions, Vec<CollectionOptions>) {
    const OBJECTS: [NestedForm; 4] = [NestedForm::Table, NestedForm::Table, NestedForm::Jsonb, NestedForm::Flatten];
    const ARRAYS: [NestedForm; 3] = [NestedForm::Table, NestedForm::Table, NestedForm::Jsonb];
    let options = MappingOptions {
        objects: input.pick(&OBJECTS),
        arrays: input.pick(&ARRAYS),
        on_type_conflict: conflict(input),
        naming: if input.one_in(4) { Naming::SnakeCase } else { Naming::Preserve },
        max_columns: if input.one_in(4) { 3 + input.below(8) } else { 800 },
        ..MappingOptions::default()
    };
    let name = |input: &mut Input<'_>| {
        input.one_in(2).then(|| String::from_utf8_lossy(&tree::name(input, Names::Clean)).into_owned())
    };
    let mut collections = Vec::new();
    if input.one_in(2) {
        let mut own = CollectionOptions::new(Namespace::new(NAMES[0].0, NAMES[0].1));
        (own.schema, own.table) = (name(input), name(input));
        own.objects = input.one_in(3).then(|| input.pick(&OBJECTS));
        own.on_type_conflict = input.one_in(3).then(|| conflict(input));
        for name in ["a", "b", "c"] {
            if input.one_in(3) {
                own.paths.push(path_options(input, name));
            }
        }
        collections.push(own);
    }
    (options, collections)
}

fn conflict(input: &mut Input<'_>) -> OnTypeConflict {
    input.pick(&[OnTypeConflict::Widen, OnTypeConflict::Widen, OnTypeConflict::Null, OnTypeConflict::Quarantine])
}

fn path_options(input: &mut Input<'_>, name: &str) -> PathOptions {
    const TYPES: [PgType; 7] = [
        PgType::Text,
        PgType::BigInt,
        PgType::Numeric,
        PgType::Double,
        PgType::TimestampTz,
        PgType::Boolean,
        PgType::Jsonb,
    ];
    let deeper = input.one_in(3).then(|| "a".to_owned());
    let mut options = PathOptions::new([name.to_owned()].into_iter().chain(deeper).collect());
    match input.below(3) {
        0 => options.form = Some(input.pick(&[NestedForm::Table, NestedForm::Jsonb, NestedForm::Flatten])),
        1 => options.ty = Some(input.pick(&TYPES)),
        _ => options.on_type_conflict = Some(conflict(input)),
    }
    options
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let (options, collections) = options(input);
        if std::env::var_os("TRACE").is_some() {
            eprintln!("{options:?} {collections:?}");
        }
        let shared = Shared {
            names: Arc::new(TableNames::default()),
            options: Arc::new(options),
            collections: Arc::new(collections),
        };
        let mut world = Self { shared, model: Model::default(), collections: Vec::new(), born: 0 };
        for name in [NAMES[0], input.pick(&NAMES[1..])] {
            let new = world.followed(Namespace::new(name.0, name.1));
            world.collections.push(new);
        }
        world
    }

    fn followed(&mut self, namespace: Namespace) -> Followed {
        self.born += 1;
        let id = CollectionId([self.born; 16]);
        let database = Arc::from(&*namespace.database);
        let collection = Collection::new(id, namespace, self.shared.clone());
        Followed {
            id,
            lane: Lane::new(collection, database, Waiting::default()),
            documents: BTreeMap::new(),
            ids: BTreeMap::new(),
        }
    }

    /// One change of one collection.
    fn turn(&mut self, input: &mut Input<'_>) {
        let at = input.below(self.collections.len());
        let id = input.below(IDS);
        match input.below(16) {
            0 => self.lifecycle(at, input),
            1 | 2 => self.delete(at, id, input),
            3 => self.odd_update(at, id, input),
            4..=8 => self.update(at, id, input),
            _ => self.document(at, id, input),
        }
    }

    /// The key of a document.
    fn key(&self, at: usize, id: usize, input: &mut Input<'_>) -> Document {
        let written = self.collections[at].ids.get(&id).cloned().unwrap_or_else(|| id_of(id, input));
        Document::new(encode(&vec![(b"_id".to_vec(), written)])).expect("a key")
    }

    fn lifecycle(&mut self, at: usize, input: &mut Input<'_>) {
        let (database, name) = input.pick(&NAMES);
        match input.below(4) {
            0 => {
                self.convert(at, Operation::Drop);
                self.collections[at] = self.followed(Namespace::new(database, name));
                let _ = self.convert(at, Operation::Create);
            }
            1 => {
                self.convert(at, Operation::Create);
            }
            _ => {
                let to = Namespace::new(database, name);
                self.convert(at, Operation::Rename { to, drop_target: None });
                // Options belong to a name: under another, the same documents may be stored in other ways.
                let known = self.collections[at].documents.values_mut().filter(|known| matches!(known, Known::Is(_)));
                if !self.shared.collections.is_empty() {
                    known.for_each(|known| *known = Known::Somehow);
                }
            }
        }
    }

    fn delete(&mut self, at: usize, id: usize, input: &mut Input<'_>) {
        self.convert(at, Operation::Delete { key: self.key(at, id, input) });
        self.collections[at].documents.remove(&id);
    }

    /// A whole document.
    fn document(&mut self, at: usize, id: usize, input: &mut Input<'_>) {
        let names = if input.one_in(6) { Names::Any } else { Names::Clean };
        let mut fields = tree::document(input, names, 0);
        fields.retain(|(name, _)| name != b"_id");
        let place = if input.one_in(8) { fields.len() } else { 0 };
        let written = id_of(id, input);
        self.collections[at].ids.insert(id, written.clone());
        fields.insert(place, (b"_id".to_vec(), written));
        let document = Document::new(encode(&fields)).expect("a document");
        let operation = if input.one_in(2) { Operation::Replace { document } } else { Operation::Insert { document } };
        let known = if names == Names::Any { Known::Somehow } else { Known::Is(fields) };
        let apart = self.convert(at, operation);
        self.collections[at].documents.insert(id, if apart { Known::Apart } else { known });
    }

    /// An update as the server writes it: what it leaves is what the document that it makes would leave.
    fn update(&mut self, at: usize, id: usize, input: &mut Input<'_>) {
        let Some(known) = self.collections[at].documents.get(&id).cloned() else { return };
        let mut fields = match &known {
            Known::Is(fields) => fields.clone(),
            Known::Somehow | Known::Apart => return,
        };
        let diff = tree::change(&mut fields, input, 0);
        let diff = Document::new(encode(&diff)).expect("a diff");
        let apart = self.convert(at, Operation::Update { key: self.key(at, id, input), diff });
        let now = if apart { Known::Apart } else { Known::Is(fields.clone()) };
        self.collections[at].documents.insert(id, now);
        if apart {
            return;
        }
        let before = self.rows(at);
        let document = Document::new(encode(&fields)).expect("a document");
        let paths = self.model.paths.clone();
        let apart = self.convert(at, Operation::Replace { document });
        assert!(!apart, "what can be stored as an update can be stored whole");
        let known = |paths: &PathsOf| paths.values().flatten().cloned().map(without_array).collect::<Vec<_>>();
        assert_eq!(
            sorted(known(&paths)),
            sorted(known(&self.model.paths)),
            "the whole document brings nothing new to the catalog"
        );
        self.expect_same(&before, &self.rows(at));
    }

    /// A diff that no server writes, or one of a document that is not there, which a delete follows while catching up.
    fn odd_update(&mut self, at: usize, id: usize, input: &mut Input<'_>) {
        let diff = if input.one_in(3) {
            tree::document(input, Names::Any, 0)
        } else {
            tree::change(&mut tree::document(input, Names::Clean, 1), input, 1)
        };
        let diff = Document::new(encode(&diff)).expect("a diff");
        self.collections[at].ids.entry(id).or_insert_with(|| id_of(id, input));
        let apart = self.convert(at, Operation::Update { key: self.key(at, id, input), diff });
        match self.collections[at].documents.get_mut(&id) {
            Some(known) => *known = if apart || *known == Known::Apart { Known::Apart } else { Known::Somehow },
            None => self.delete(at, id, input),
        }
    }

    /// Converts and applies; true when the document went to quarantine.
    fn convert(&mut self, at: usize, operation: Operation) -> bool {
        if std::env::var_os("TRACE").is_some() {
            eprintln!("{at} {}", shown(&operation));
        }
        let steps = self.collections[at].lane.convert(operation);
        self.apply(at, steps)
    }

    fn apply(&mut self, at: usize, steps: Vec<Step>) -> bool {
        let (mut rows, mut apart, mut widened) = (Vec::new(), false, false);
        for step in steps {
            match step {
                Step::Ddl(change) => {
                    assert!(rows.is_empty(), "schema changes come before the rows that need them");
                    widened |= self.model.ddl(change);
                }
                Step::Row(change) => rows.push(change),
                Step::Quarantine(held) => {
                    assert!(!held.reason.starts_with("defect"), "{}", held.reason);
                    apart = true;
                }
                Step::Anomaly(anomaly) => {
                    super::model::json(anomaly.original.as_bytes());
                    super::model::json(anomaly.document_id.as_bytes());
                }
                Step::Release { .. } | Step::Orphans { .. } | Step::Met { .. } => {}
            }
        }
        if widened {
            self.put_again(at);
        }
        self.model.rows(rows);
        apart
    }

    /// Empties the tables of a collection and puts in what is known, after a column widened. The shape holds it all: at most the catalog learns that an empty array,
    /// which had decided nothing, lies in a column that is decided now.
    fn put_again(&mut self, at: usize) {
        let followed = &mut self.collections[at];
        followed.documents.retain(|_, known| *known != Known::Somehow);
        let own = self.model.paths.get(&followed.id).into_iter().flatten();
        let own: HashSet<_> = own.map(|row| (row.schema.clone(), row.table.clone())).collect();
        for stored in self.model.tables.values_mut() {
            if own.contains(&(stored.table.schema.clone(), stored.table.name.clone())) {
                stored.rows.clear();
            }
        }
        for (id, known) in self.collections[at].documents.clone() {
            let Known::Is(fields) = known else { continue };
            let document = Document::new(encode(&fields)).expect("a document");
            let mut rows = Vec::new();
            for step in self.collections[at].lane.convert(Operation::Replace { document }) {
                match step {
                    Step::Row(change) => rows.push(change),
                    Step::Ddl(Ddl::Path(row)) if row.bson_types.contains(&"array") => {
                        self.model.ddl(Ddl::Path(row));
                    }
                    Step::Ddl(change) => panic!("a known document changes the shape: {change:?}"),
                    Step::Quarantine(held) => panic!("a known document {id} cannot be stored: {}", held.reason),
                    Step::Anomaly(_) | Step::Release { .. } | Step::Orphans { .. } | Step::Met { .. } => {}
                }
            }
            self.model.rows(rows);
        }
    }

    /// The tables of a collection, by name, with their rows.
    fn rows(&self, at: usize) -> BTreeMap<TableId, BTreeMap<Key, Cells>> {
        let id = self.collections[at].id;
        let own: HashSet<_> =
            self.model.paths.get(&id).into_iter().flatten().map(|row| (&row.schema, &row.table)).collect();
        let tables =
            self.model.tables.values().filter(|stored| own.contains(&(&stored.table.schema, &stored.table.name)));
        tables.map(|stored| (stored.table.id, stored.rows.clone())).collect()
    }

    fn expect_same(
        &self,
        before: &BTreeMap<TableId, BTreeMap<Key, Cells>>,
        after: &BTreeMap<TableId, BTreeMap<Key, Cells>>,
    ) {
        for (id, rows) in after {
            let table = &self.model.tables[id].table;
            let old = &before[id];
            let keys = |rows: &BTreeMap<Key, Cells>| rows.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(old), keys(rows), "rows of {} after the update and of the whole document", table.name);
            for (key, cells) in rows {
                let place = || format!("{} {key:?}", table.name);
                let telling = |cells: &Cells| {
                    let mut cells = cells.clone();
                    cells.retain(|column, bytes| {
                        let column = &table.columns[*column];
                        let empty = bytes[..] == *b"\x01[]" && self.is_beside_a_table(table, column);
                        // A flattened document that an update empties stays in `_extra`, and is as good as missing (ADR 0009).
                        !empty && !says_nothing(column, bytes)
                    });
                    cells
                };
                let cells = telling(cells);
                let columns = |cells: &Cells| cells.keys().copied().collect::<Vec<_>>();
                assert_eq!(columns(&telling(&old[key])), columns(&cells), "columns of {} that are not NULL", place());
                for (column, bytes) in &cells {
                    let was = &old[key][column];
                    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    let name = &table.columns[*column].name;
                    assert!(
                        same_cell(&table.columns[*column], was, bytes),
                        "{} {name}: {} {}",
                        place(),
                        shown(was),
                        shown(bytes)
                    );
                }
            }
        }
    }

    /// Whether a column belongs to a path that has a table of elements: an empty array from before that stays in it, and is
    /// as good as missing (ADR 0007).
    fn is_beside_a_table(&self, table: &Table, column: &Column) -> bool {
        let paths = || self.model.paths.values().flatten();
        let own = paths().filter(|row| {
            row.schema == table.schema
                && row.table == table.name
                && row.column.as_ref().is_some_and(|(name, _)| *name == column.name)
        });
        let is_array = |row: &PathRow| {
            let same = |other: &&PathRow| other.collection == row.collection && other.path == row.path;
            paths().filter(same).any(|other| other.form == Form::ArrayTable)
        };
        own.into_iter().any(is_array)
    }

    /// What always holds.
    fn check(&self) {
        for followed in &self.collections {
            let Some(paths) = self.model.paths.get(&followed.id) else { continue };
            let table = |row: &PathRow| {
                let found =
                    self.model.tables.values().find(|s| s.table.schema == row.schema && s.table.name == row.table);
                found.expect("a path's table is there")
            };
            let Some(root) = paths.iter().find(|row| row.form == Form::Root).map(table) else { continue };
            let there = followed.documents.values().filter(|known| **known != Known::Apart).count();
            assert_eq!(root.rows.len(), there, "one row of {} per document", root.table.name);
            let first = |key: &Key| key.cells().next().map(<[u8]>::to_vec);
            let ids: HashSet<_> = root.rows.keys().map(first).collect();
            for row in paths {
                for key in table(row).rows.keys() {
                    assert!(ids.contains(&first(key)), "a row of {} without its document", row.table);
                }
                if let Some((name, ty)) = &row.column {
                    let column = table(row).table.columns.iter().find(|column| column.name == *name);
                    assert_eq!(column.map(|column| column.ty), Some(*ty), "the column {name} of the catalog");
                }
            }
        }
    }

    fn flattens(&self) -> bool {
        let own = self
            .shared
            .collections
            .iter()
            .flat_map(|own| own.objects.into_iter().chain(own.paths.iter().filter_map(|path| path.form)));
        own.chain([self.shared.options.objects]).any(|form| form == NestedForm::Flatten)
    }

    /// The catalog restores to the same mapping, in which the same documents are the same rows.
    fn restore(&mut self) {
        for at in 0..self.collections.len() {
            self.put_again(at);
            let id = self.collections[at].id;
            let Some(row) = self.model.collections.get(&id).cloned() else { continue };
            let paths = self.model.paths.get(&id).cloned().unwrap_or_default();
            let shared = Shared { names: Arc::new(TableNames::default()), ..self.shared.clone() };
            let restored = Collection::restore(&row, paths.clone(), shared).expect("a catalog that fits together");
            assert_eq!(sorted(restored.path_rows()), sorted(paths.clone()), "the catalog of what was restored");
            if self.flattens() {
                continue; // a flattened document without values is in no catalog, so it decides nothing after a restart
            }
            let database = Arc::from(&*row.namespace.database);
            let tables: BTreeMap<_, _> =
                restored.tables().iter().map(|table| (table.qualified(), table.columns.clone())).collect();
            let mut lane = Lane::new(restored, database, Waiting::default());
            for known in self.collections[at].documents.values() {
                let Known::Is(fields) = known else { continue };
                let document = Document::new(encode(fields)).expect("a document");
                for step in lane.convert(Operation::Replace { document }) {
                    match step {
                        Step::Row(RowChange::Put { table, key, row }) => {
                            let own = &tables[&table.qualified()];
                            let stored = self.model.tables.values().find(|s| s.table.qualified() == table.qualified());
                            let stored = stored.expect("a table of the same name");
                            let cells = stored.rows.get(&key).expect("a row of the same key");
                            assert_eq!(cells.len(), row.mentioned().count(), "as many cells");
                            for column in row.mentioned() {
                                let theirs = stored.table.columns.iter().position(|c| c.name == own[column].name);
                                let theirs = theirs.and_then(|theirs| cells.get(&theirs)).expect("the same column");
                                let tailwater::model::row::Cell::Value(ours) = row.cell(column) else { continue };
                                let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                                let place = || format!("{} {}", table.name, own[column].name);
                                let same = same_cell(&own[column], theirs, ours);
                                assert!(same, "{}: {} {}", place(), shown(theirs), shown(ours));
                            }
                        }
                        Step::Ddl(change) => panic!("a known document changes a restored shape: {change:?}"),
                        Step::Quarantine(held) => panic!("a known document goes to quarantine: {}", held.reason),
                        Step::Row(_)
                        | Step::Anomaly(_)
                        | Step::Release { .. }
                        | Step::Orphans { .. }
                        | Step::Met { .. } => {}
                    }
                }
            }
        }
    }
}

/// A row without the type that an empty array adds late: it decides nothing, but in a decided column it is an array.
fn without_array(mut row: PathRow) -> PathRow {
    row.bson_types.retain(|name| *name != "array");
    row
}

/// An operation as text, for the eye.
fn shown(operation: &Operation) -> String {
    let json = |document: &Document| {
        let value = tailwater::model::bson::Value::Document(document.as_doc());
        json::to_text(value, json::Flavour::Canonical).unwrap_or_else(|error| error.to_string())
    };
    let what = match operation {
        Operation::Insert { document } | Operation::Replace { document } => json(document),
        Operation::Update { key, diff } => format!("{} {}", json(key), json(diff)),
        Operation::Delete { key } => json(key),
        Operation::Rename { to, .. } => to.to_string(),
        Operation::Retry { .. } | Operation::Create | Operation::Drop | Operation::DropDatabase => String::new(),
    };
    format!("{} {what}", operation.name())
}

fn sorted(rows: Vec<PathRow>) -> Vec<String> {
    let mut rows: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
    rows.sort();
    rows
}
