//! `tailwater.paths` as a tree of tables, checked against PostgreSQL's own catalog.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Client;

use super::records::exists;

/// Schema and table.
pub type TableName = (String, String);

/// A table of the root document, of an embedded document, or of an array's elements.
#[derive(Debug)]
pub struct Table {
    pub name: TableName,
    pub path: Vec<String>,
    pub is_array: bool,
    /// The primary key's columns, in its order: the root's key, then one index for each array around and for itself.
    pub keys: Vec<String>,
    pub columns: Vec<Column>,
    pub children: Vec<Table>,
    /// True when documents that are deleted stay, marked in `_deleted_at`; of a root table only.
    pub keeps_deleted: bool,
}

/// Where values of one path lie.
#[derive(Debug)]
pub struct Column {
    pub name: String,
    /// Field names from the table's own path on; empty for `_value` and `_extra`.
    pub at: Vec<String>,
    pub column_type: String,
    pub bson_types: Vec<String>,
    /// Of a `bytea` column, where the catalog says it.
    pub binary_subtype: Option<u8>,
}

/// Everything that the daemon says it has written.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Root tables by namespace.
    pub roots: BTreeMap<String, Table>,
    /// What contradicts the contract or PostgreSQL.
    pub problems: Vec<String>,
}

struct PathRow {
    namespace: String,
    path: Vec<String>,
    form: String,
    table: TableName,
    column: Option<String>,
    column_type: Option<String>,
    bson_types: Vec<String>,
    binary_subtype: Option<i32>,
}

/// What PostgreSQL itself knows about its tables.
#[derive(Default)]
struct Actual {
    columns: BTreeMap<TableName, BTreeMap<String, String>>,
    keys: BTreeMap<TableName, Vec<String>>,
}

const PATHS: &str = "SELECT namespace, path, form, schema_name, table_name, column_name, column_type, bson_types, \
                            (to_jsonb(paths) ->> 'binary_subtype')::int \
                     FROM tailwater.paths ORDER BY namespace, cardinality(path), path";

const COLUMNS: &str = "SELECT n.nspname::text, c.relname::text, a.attname::text, \
                              format_type(a.atttypid, a.atttypmod), array_position(i.indkey::int2[], a.attnum) \
                       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                       JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                       LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary \
                       WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'tailwater') \
                         AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1, 2, a.attnum";

/// Columns of root tables that hold no field and are in no row of `tailwater.paths`.
const METADATA: [(&str, &str); 3] =
    [("_synced_at", "timestamp with time zone"), ("_source", "jsonb"), ("_deleted_at", "timestamp with time zone")];

/// True when a table has that column, and not for a field.
fn has_metadata(rows: &[&PathRow], table: &TableName, actual: &Actual, name: &str) -> bool {
    let of_a_field = rows.iter().any(|row| row.table == *table && row.column.as_deref() == Some(name));
    !of_a_field && actual.columns.get(table).is_some_and(|columns| columns.contains_key(name))
}

impl Catalog {
    /// Reads it. Everything that is wrong with it becomes a problem, so that one run shows all of them.
    pub async fn read(postgres: &Client) -> Self {
        let rows = read_paths(postgres).await;
        let actual = read_actual(postgres).await;
        let mut catalog = Self::default();
        let mut namespaces: BTreeMap<&str, Vec<&PathRow>> = BTreeMap::new();
        for row in &rows {
            namespaces.entry(&row.namespace).or_default().push(row);
        }
        for (namespace, rows) in namespaces {
            match catalog.root(namespace, &rows, &actual) {
                Some(root) => drop(catalog.roots.insert(namespace.to_owned(), root)),
                None => catalog.problems.push(format!("{namespace}: tailwater.paths has no root row")),
            }
        }
        catalog.check_nothing_else(&rows, &actual);
        catalog.check_table_names(&actual);
        catalog
    }

    fn root(&mut self, namespace: &str, rows: &[&PathRow], actual: &Actual) -> Option<Table> {
        let mut root = None;
        // Parents come first: rows are ordered by the length of their path.
        for row in rows.iter().filter(|row| row.form != "column") {
            let keys = actual.keys.get(&row.table).cloned().unwrap_or_default();
            if keys.is_empty() {
                self.problems.push(format!("{namespace} {:?}: table {:?} has no primary key", row.path, row.table));
            }
            let is_array = row.form == "array_table";
            let table = Table {
                name: row.table.clone(),
                path: row.path.clone(),
                is_array,
                keys,
                columns: Vec::new(),
                children: Vec::new(),
                keeps_deleted: row.form == "root" && has_metadata(rows, &row.table, actual, "_deleted_at"),
            };
            match (row.form.as_str(), &mut root) {
                ("root", None) if row.path.is_empty() => root = Some(table),
                ("object_table" | "array_table", Some(root)) if !row.path.is_empty() => {
                    parent(root, &row.path).children.push(table)
                }
                _ => self.problems.push(format!("{namespace} {:?}: unexpected form {:?}", row.path, row.form)),
            }
        }
        let mut root = root?;
        for row in rows.iter().filter(|row| row.form == "column") {
            if let Err(problem) = add_column(&mut root, row, actual) {
                self.problems.push(format!("{namespace} {:?}: {problem}", row.path));
            }
        }
        self.check_keys(namespace, &root, 0);
        Some(root)
    }

    fn check_keys(&mut self, namespace: &str, table: &Table, arrays_around: usize) {
        let arrays = arrays_around + usize::from(table.is_array);
        if table.keys.len() != arrays + 1 {
            let problem =
                format!("{namespace} {:?}: key {:?}, expected {} columns", table.path, table.keys, arrays + 1);
            self.problems.push(problem);
        }
        for child in &table.children {
            self.check_keys(namespace, child, arrays);
        }
    }

    /// A table has another name than the contract's plain one only where that is too long or somebody else's.
    fn check_table_names(&mut self, actual: &Actual) {
        const LONGEST: usize = 63;
        let mut problems = Vec::new();
        for (namespace, root) in &self.roots {
            let (database, collection) = namespace.split_once('.').unwrap_or_default();
            visit(root, &mut |table| {
                let path: String = table.path.iter().map(|name| format!("_{name}")).collect();
                let wanted = (database.to_owned(), format!("{collection}{path}"));
                // A root table with a name of its own gives it to its children.
                let fits = wanted.0.len() <= LONGEST && wanted.1.len() <= LONGEST && root.name.1 == collection;
                if (fits || path.is_empty() && wanted.1.len() <= LONGEST)
                    && table.name != wanted
                    && !actual.columns.contains_key(&wanted)
                {
                    problems
                        .push(format!("{namespace} {:?} lies in {:?}, and {wanted:?} is free", table.path, table.name));
                }
            });
        }
        self.problems.extend(problems);
    }

    /// No table and no column that `tailwater.paths` does not explain.
    fn check_nothing_else(&mut self, rows: &[PathRow], actual: &Actual) {
        let mut known: BTreeMap<&TableName, BTreeSet<&str>> = BTreeMap::new();
        for row in rows {
            known.entry(&row.table).or_default().extend(row.column.as_deref());
        }
        for (table, columns) in &actual.columns {
            let Some(explained) = known.get(table) else {
                self.problems.push(format!("table {table:?} is not in tailwater.paths"));
                continue;
            };
            let keys = actual.keys.get(table).map(Vec::as_slice).unwrap_or_default();
            let is_root = rows.iter().any(|row| row.table == *table && row.form == "root");
            let metadata = |column: &str| is_root && METADATA.contains(&(column, columns[column].as_str()));
            for column in
                columns.keys().filter(|c| !explained.contains(c.as_str()) && !keys.contains(c) && !metadata(c))
            {
                self.problems.push(format!("column {column:?} of {table:?} is not in tailwater.paths"));
            }
        }
    }
}

fn visit(table: &Table, look: &mut impl FnMut(&Table)) {
    look(table);
    for child in &table.children {
        visit(child, look);
    }
}

/// The table of the nearest path above.
fn parent<'a>(root: &'a mut Table, path: &[String]) -> &'a mut Table {
    let below = |t: &Table| path.len() > t.path.len() && path.starts_with(&t.path);
    match root.children.iter().position(below) {
        Some(i) => parent(&mut root.children[i], path),
        None => root,
    }
}

fn find<'a>(table: &'a mut Table, name: &TableName) -> Option<&'a mut Table> {
    if table.name == *name {
        return Some(table);
    }
    table.children.iter_mut().find_map(|child| find(child, name))
}

fn add_column(root: &mut Table, row: &PathRow, actual: &Actual) -> Result<(), String> {
    let (Some(name), Some(column_type)) = (&row.column, row.column_type.as_deref()) else {
        return Err("a column row without column_name or column_type".into());
    };
    // PostgreSQL has two names for it, and the contract uses both.
    let column_type = if column_type == "timestamptz" { "timestamp with time zone" } else { column_type };
    let table = find(root, &row.table).ok_or(format!("table {:?} is in no table row", row.table))?;
    let at = row.path.strip_prefix(table.path.as_slice()).ok_or(format!("is not below table {:?}", row.table))?;
    match actual.columns.get(&row.table).and_then(|columns| columns.get(name)) {
        None => return Err(format!("column {name:?} of {:?} does not exist", row.table)),
        Some(have) if have != column_type => return Err(format!("column {name:?} is {have}, not {column_type}")),
        Some(_) => {}
    }
    let column = Column {
        name: name.clone(),
        at: at.to_vec(),
        column_type: column_type.to_owned(),
        bson_types: row.bson_types.clone(),
        binary_subtype: row.binary_subtype.and_then(|n| u8::try_from(n).ok()),
    };
    table.columns.push(column);
    Ok(())
}

async fn read_paths(postgres: &Client) -> Vec<PathRow> {
    let rows = postgres.query(PATHS, &[]).await.expect("tailwater.paths can be read");
    rows.iter()
        .map(|row| PathRow {
            namespace: row.get(0),
            path: row.get(1),
            form: row.get(2),
            table: (row.get(3), row.get(4)),
            column: row.get(5),
            column_type: row.get(6),
            bson_types: row.get::<_, Option<Vec<String>>>(7).unwrap_or_default(),
            binary_subtype: row.get(8),
        })
        .collect()
}

async fn read_kept(postgres: &Client) -> Vec<TableName> {
    // Tests of the oracle itself make a catalog by hand, of what they need.
    if !exists(postgres, "tailwater.kept").await {
        return Vec::new();
    }
    let rows = postgres.query("SELECT schema_name, table_name FROM tailwater.kept", &[]).await;
    rows.expect("tailwater.kept can be read").iter().map(|row| (row.get(0), row.get(1))).collect()
}

async fn read_actual(postgres: &Client) -> Actual {
    let mut actual = Actual::default();
    let mut keys: BTreeMap<TableName, BTreeMap<i32, String>> = BTreeMap::new();
    for row in postgres.query(COLUMNS, &[]).await.expect("pg_catalog can be read") {
        let table: TableName = (row.get(0), row.get(1));
        let name: String = row.get(2);
        if let Some(place) = row.get::<_, Option<i32>>(4) {
            keys.entry(table.clone()).or_default().insert(place, name.clone());
        }
        actual.columns.entry(table).or_default().insert(name, row.get(3));
    }
    // Tables of dropped collections that were kept are nobody's.
    for (schema, name) in read_kept(postgres).await {
        actual.columns.remove(&(schema.clone(), name.clone()));
        keys.remove(&(schema, name));
    }
    actual.keys = keys.into_iter().map(|(table, columns)| (table, columns.into_values().collect())).collect();
    actual
}
