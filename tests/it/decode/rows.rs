//! Rows back into documents.
//!
//! In: one root table of the catalog. Out: every document that its rows describe, by root key, and the rows that
//! belong to no document. A collection is held in memory while it is compared.

use std::collections::{BTreeMap, HashMap};

use futures_util::TryStreamExt;
use tokio_postgres::Client;

use super::catalog::{Column, Table};
use super::json;
use super::norm::{Norm, uuid};

type Index = Vec<usize>;
type Values = Vec<Option<Norm>>;

/// The rows of one table that are not yet part of a document: by root key, then by array positions.
struct Rows<'a> {
    table: &'a Table,
    left: HashMap<String, BTreeMap<Index, Values>>,
    children: Vec<Rows<'a>>,
}

/// What the rows of one collection say.
#[derive(Default)]
pub struct Decoded {
    /// Documents by the normal form of their `_id`; several where ids differ only in what jsonb does not keep.
    pub documents: HashMap<String, Vec<Norm>>,
    pub problems: Vec<String>,
}

/// Reads every row of a collection's tables and puts the documents together.
pub async fn decode(postgres: &Client, root: &Table) -> Decoded {
    let mut decoded = Decoded::default();
    let mut rows = load(postgres, root, &mut decoded.problems).await;
    if root.keeps_deleted {
        for key in deleted(postgres, root).await {
            rows.forget(&key);
        }
    }
    let keys: Vec<String> = rows.left.keys().cloned().collect();
    for key in keys {
        let document = rows.build(&key, &[], &mut decoded.problems);
        let id = match &document {
            Some(Norm::Document(fields)) => fields.get("_id").cloned(),
            _ => None,
        };
        let (Some(id), Some(document)) = (id, document) else {
            decoded.problems.push(format!("row {key} of {:?} has no _id", root.name));
            continue;
        };
        let same = decoded.documents.entry(id.key()).or_default();
        // jsonb keeps neither the order of fields nor the type of a number, so that two ids with a `_key` each may read the same.
        if !same.is_empty() && root.keys.first().is_some_and(|key| key != "_key") {
            decoded.problems.push(format!("two rows of {:?} have _id {id:?}", root.name));
        }
        same.push(document);
    }
    rows.orphans(&mut decoded.problems);
    decoded
}

/// The keys of documents that are deleted and whose rows stay.
async fn deleted(postgres: &Client, root: &Table) -> Vec<String> {
    let (schema, name) = &root.name;
    let key = quote(root.keys.first().expect("a key"));
    let query = format!("SELECT {key}::text FROM {}.{} WHERE _deleted_at IS NOT NULL", quote(schema), quote(name));
    let rows = postgres.query(&query, &[]).await.expect("a root table can be read");
    rows.iter().map(|row| row.get(0)).collect()
}

async fn load<'a>(postgres: &Client, table: &'a Table, problems: &mut Vec<String>) -> Rows<'a> {
    let mut left: HashMap<String, BTreeMap<Index, Values>> = HashMap::new();
    let expressions: Vec<String> = (table.keys.iter().map(|key| format!("{}::text", quote(key))))
        .chain(table.columns.iter().map(as_text))
        .collect();
    let (schema, name) = &table.name;
    let query = format!("SELECT {} FROM {}.{}", expressions.join(", "), quote(schema), quote(name));
    let none: [&str; 0] = [];
    let mut found = Box::pin(postgres.query_raw(&query, none).await.expect("a table of the catalog can be read"));
    while let Some(row) = found.try_next().await.expect("a row") {
        let text = |i: usize| row.get::<_, Option<&str>>(i);
        let mut keys = (0..table.keys.len()).map(|i| text(i).expect("a key is never null"));
        let root_key = keys.next().unwrap_or_default().to_owned();
        let index: Index = keys.map(|k| k.parse().unwrap_or(usize::MAX)).collect();
        let mut values = Vec::with_capacity(table.columns.len());
        for (i, column) in table.columns.iter().enumerate() {
            let is_id = table.path.is_empty() && column.at == ["_id"] && column.column_type == "jsonb";
            // In a mixed `_id` a string is a string and an ObjectId is one.
            let read = |text| if is_id { json::parse(text) } else { value(column, text) };
            let value = text(table.keys.len() + i).map(read).transpose();
            values.push(value.unwrap_or_else(|problem| {
                problems.push(format!("{schema}.{name}.{} of {root_key}: {problem}", column.name));
                None
            }));
        }
        left.entry(root_key).or_default().insert(index, values);
    }
    let mut children = Vec::new();
    for child in &table.children {
        children.push(Box::pin(load(postgres, child, problems)).await);
    }
    Rows { table, left, children }
}

impl Rows<'_> {
    /// Takes the rows under `key` and `around` (array positions) out and returns what they say.
    fn build(&mut self, key: &str, around: &[usize], problems: &mut Vec<String>) -> Option<Norm> {
        let of_key = self.left.get_mut(key)?;
        let here: Vec<Index> =
            of_key.range(around.to_vec()..).map(|(i, _)| i.clone()).take_while(|i| i.starts_with(around)).collect();
        let taken: Vec<(Index, Values)> = here.into_iter().filter_map(|i| of_key.remove_entry(&i)).collect();
        if of_key.is_empty() {
            self.left.remove(key);
        }
        if !self.table.is_array {
            let (index, values) = taken.into_iter().next()?;
            return Some(self.element(key, &index, values, problems));
        }
        let mut elements = BTreeMap::new();
        for (index, values) in taken {
            let place = *index.last()?;
            elements.insert(place, self.element(key, &index, values, problems));
        }
        (!elements.is_empty()).then_some(Norm::Elements(elements))
    }

    fn element(&mut self, key: &str, index: &[usize], values: Values, problems: &mut Vec<String>) -> Norm {
        let mut fields = BTreeMap::new();
        let mut whole = None;
        for (column, value) in self.table.columns.iter().zip(values) {
            let Some(value) = value else { continue };
            match (column.at.as_slice(), value) {
                ([], Norm::Document(extra)) if is_extra(column) => fields.extend(extra),
                ([], value) => whole = Some(value),
                (at, value) => put(&mut fields, at, value, problems),
            }
        }
        let depth = self.table.path.len();
        for child in &mut self.children {
            if let Some(value) = child.build(key, index, problems) {
                let at = child.table.path.get(depth..).unwrap_or_default();
                put(&mut fields, at, value, problems);
            }
        }
        match whole {
            Some(value) if fields.is_empty() => value,
            Some(_) => {
                problems.push(format!("row {key} {index:?} of {:?} has `_value` and columns", self.table.name));
                Norm::Document(fields)
            }
            None => Norm::Document(fields),
        }
    }

    /// Takes the rows of a document out unread.
    fn forget(&mut self, key: &str) {
        self.left.remove(key);
        for child in &mut self.children {
            child.forget(key);
        }
    }

    fn orphans(&self, problems: &mut Vec<String>) {
        const SHOWN: usize = 3;
        for (key, rows) in self.left.iter().take(SHOWN) {
            problems.push(format!("orphan rows in {:?}: root key {key}, positions {:?}", self.table.name, rows.keys()));
        }
        for child in &self.children {
            child.orphans(problems);
        }
    }
}

/// Sets a field, below fields that were flattened into its column's name.
fn put(fields: &mut BTreeMap<String, Norm>, at: &[String], value: Norm, problems: &mut Vec<String>) {
    match at {
        [] => problems.push("a table inside a table of the same path".to_owned()),
        [name] => {
            if let Some(other) = fields.insert(name.clone(), value) {
                problems.push(format!("field {name:?} has two values, one is {other:?}"));
            }
        }
        [name, rest @ ..] => match fields.entry(name.clone()).or_insert_with(|| Norm::Document(BTreeMap::new())) {
            Norm::Document(inner) => put(inner, rest, value, problems),
            other => problems.push(format!("field {name:?} is {other:?} and has flattened fields")),
        },
    }
}

/// The overflow column: an object of fields.
fn is_extra(column: &Column) -> bool {
    column.at.is_empty() && column.name.starts_with("_extra")
}

/// An identifier, quoted.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn as_text(column: &Column) -> String {
    let name = quote(&column.name);
    match column.column_type.as_str() {
        "timestamp with time zone" => format!(
            "CASE WHEN isfinite({name}) THEN trunc(extract(epoch FROM {name}) * 1000000)::text ELSE {name}::text END"
        ),
        _ => format!("{name}::text"),
    }
}

fn value(column: &Column, text: &str) -> Result<Norm, String> {
    let number = |read: Option<Norm>| read.ok_or_else(|| format!("not a number: {text}"));
    Ok(match column.column_type.as_str() {
        "boolean" => Norm::Bool(text == "true"),
        "integer" | "bigint" | "numeric" => number(Norm::numeric(text))?,
        "double precision" => number(Norm::double(text))?,
        "text" => textual(column, text),
        "uuid" => uuid(json::hex(&text.replace('-', ""))?),
        "bytea" => binary(column, json::hex(text.trim_start_matches("\\x"))?),
        "jsonb" if is_extra(column) => json::parse_fields(text)?,
        "jsonb" => match json::parse(text)? {
            // What a `text` column held before it became `jsonb` still reads back as an ObjectId's hex.
            Norm::Text(text) if text.len() == 24 => textual(column, &text),
            other => other,
        },
        "timestamp with time zone" => match text {
            "infinity" => Norm::Beyond { before: false },
            "-infinity" => Norm::Beyond { before: true },
            // Microseconds of the last years of timestamptz are more than an i64 holds.
            micros => match micros.parse::<i128>().map_err(|e| format!("{micros}: {e}"))? {
                micros if micros % 1000 == 0 => Norm::Date((micros / 1000) as i64),
                micros => return Err(format!("a date of {micros} microseconds: milliseconds are exact")),
            },
        },
        other => return Err(format!("the contract has no columns of type {other}")),
    })
}

fn textual(column: &Column, text: &str) -> Norm {
    let has = |name: &str| column.bson_types.iter().any(|t| t.eq_ignore_ascii_case(name));
    match (has("objectId"), has("string")) {
        (true, true) => Norm::TextOrObjectId(text.to_owned()),
        (true, false) if column.column_type == "text" => Norm::ObjectId(text.to_owned()),
        (_, _) => Norm::Text(text.to_owned()),
    }
}

fn binary(column: &Column, bytes: Vec<u8>) -> Norm {
    match column.binary_subtype {
        Some(subtype) => Norm::Binary(subtype, bytes),
        None => Norm::SomeBinary(bytes),
    }
}
