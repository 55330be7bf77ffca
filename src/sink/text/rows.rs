//! Row changes as statements, one each: `INSERT … ON CONFLICT`, `UPDATE … WHERE` the key, `DELETE … WHERE` its beginning.
//!
//! In: changes of rows in source order. Out: SQL without its `;`. The statements do what those of `sink::write` do in bulk.

use super::fitting::{Part, Parts};
use super::{diff, literal};
use crate::error::{Error, Kind, Result, Stage};
use crate::model::bson::Document;
use crate::model::row::{Cell, Key, Row, RowChange};
use crate::model::table::{Metadata, Table};
use crate::sink::wide::surely_fits;

/// A change as a statement; `None` when it changes nothing.
///
/// # Errors
/// When a cell or a diff is not what its column says: a defect.
pub fn change(pipeline: &str, change: &RowChange) -> Result<Option<String>> {
    match change {
        RowChange::Put { table, key, row } => put(pipeline, table, key, row, true).map(Some),
        RowChange::Patch { table, key, row, diffs } => {
            let Some(patch) = patch(table, key, row, diffs)? else { return Ok(None) };
            Ok(Some(if table.is_wide() { patch.fitting(pipeline, table, row) } else { patch.sql() }))
        }
        RowChange::Delete { table, prefix, from } => {
            Ok(Some(format!("DELETE FROM {} WHERE {}", table.qualified(), condition(table, prefix, *from)?)))
        }
    }
}

/// A whole row. `over` writes over an existing one, else there is none.
///
/// # Errors
/// As [`change`].
pub fn put(pipeline: &str, table: &Table, key: &Key, row: &Row, over: bool) -> Result<String> {
    let insert = insert(table, key, row, over)?;
    Ok(if surely_fits(table, key, row) { insert.sql() } else { insert.fitting(pipeline, table, row) })
}

fn insert(table: &Table, key: &Key, row: &Row, over: bool) -> Result<Parts> {
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for (column, cell) in table.key_columns().iter().zip(key.cells()) {
        names.push(column.name.to_string());
        values.push(Part { column: None, before: String::new(), value: literal::cell(column.ty, cell)? });
    }
    for (at, column) in table.columns.iter().enumerate().skip(table.key) {
        if let Cell::Value(bytes) = row.cell(at) {
            names.push(column.name.to_string());
            let value = literal::cell(column.ty, bytes)?;
            values.push(Part { column: Some(at), before: String::new(), value });
        }
    }
    for (name, value) in metadata(table, row) {
        names.push(format!("\"{name}\""));
        let value = value.unwrap_or_else(|| "NULL".to_owned());
        values.push(Part { column: None, before: String::new(), value });
    }
    let head = format!("INSERT INTO {} ({}) VALUES (", table.qualified(), names.join(", "));
    let tail = if over { format!("){}", on_conflict(table)) } else { ")".to_owned() };
    Ok(Parts { head, parts: values, tail })
}

/// The removal of a document's rows in a table whose root row is not there.
///
/// # Errors
/// As [`change`].
pub fn orphans(root: &Table, table: &Table, key: &Key) -> Result<String> {
    let (own, above) = (condition(table, key, None)?, condition(root, key, None)?);
    let rootless = format!("NOT EXISTS (SELECT FROM {} WHERE {above})", root.qualified());
    Ok(format!("DELETE FROM {} WHERE {own} AND {rootless}", table.qualified()))
}

/// A column that the row does not name is NULL in `EXCLUDED` too.
fn on_conflict(table: &Table) -> String {
    let others = table.columns.get(table.key..).unwrap_or_default().iter().map(|column| column.name.to_string());
    let others = others.chain(table.metadata.columns().map(|(name, _)| format!("\"{name}\"")));
    let sets: Vec<String> = others.map(|name| format!("{name} = EXCLUDED.{name}")).collect();
    let key: Vec<String> = table.key_columns().iter().map(|column| column.name.to_string()).collect();
    let action = if sets.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", sets.join(", ")) };
    format!(" ON CONFLICT ({}) DO {action}", key.join(", "))
}

fn patch(table: &Table, key: &Key, row: &Row, diffs: &[(usize, Document)]) -> Result<Option<Parts>> {
    let mut parts = Vec::new();
    for (at, column) in table.columns.iter().enumerate().skip(table.key) {
        let stored = match row.cell(at) {
            Cell::Absent => None,
            Cell::Null => Some("NULL".to_owned()),
            Cell::Value(bytes) => Some(literal::cell(column.ty, bytes)?),
        };
        let mut here = diffs.iter().filter(|(of, _)| *of == at).map(|(_, diff)| diff).peekable();
        if stored.is_none() && here.peek().is_none() {
            continue;
        }
        let value = with_diffs(table, at, stored.unwrap_or_else(|| column.name.to_string()), here)?;
        parts.push(Part { column: Some(at), before: format!("{} = ", column.name), value });
    }
    for (name, value) in metadata(table, row) {
        parts.extend(value.map(|value| Part { column: None, before: format!("\"{name}\" = "), value }));
    }
    if parts.is_empty() {
        return Ok(None);
    }
    let head = format!("UPDATE {} SET ", table.qualified());
    Ok(Some(Parts { head, parts, tail: format!(" WHERE {}", condition(table, key, None)?) }))
}

/// NULL stays NULL, but in the overflow column it is an object without fields.
fn with_diffs<'d>(
    table: &Table,
    column: usize,
    stored: String,
    diffs: impl Iterator<Item = &'d Document>,
) -> Result<String> {
    let mut value = stored;
    let mut first = true;
    for one in diffs {
        if std::mem::take(&mut first) && table.is_extra(column) {
            value = format!("coalesce({value}, '{{}}')");
        }
        let json = diff::as_json(one.as_doc()).map_err(|error| {
            let message = format!("a diff for a jsonb value of {}", table.qualified());
            Error::new(Kind::Defect, Stage::Sink, message).caused_by(error)
        })?;
        value = format!("pg_temp.apply_diff({value}, {})", literal::text(&json));
    }
    Ok(value)
}

/// The metadata columns and what the row sets them to; none where it leaves what is there.
fn metadata(table: &Table, row: &Row) -> impl Iterator<Item = (&'static str, Option<String>)> {
    let (source, deleted) = (row.source().map(literal::text), row.is_deleted().then(|| "now()".to_owned()));
    table.metadata.columns().map(move |(name, _)| match name {
        Metadata::SOURCE => (name, source.clone()),
        Metadata::DELETED_AT => (name, deleted.clone()),
        _ => (name, Some("now()".to_owned())),
    })
}

fn condition(table: &Table, key: &Key, from: Option<i32>) -> Result<String> {
    let mut parts = Vec::new();
    let mut cells = 0;
    for (column, cell) in table.key_columns().iter().zip(key.cells()) {
        parts.push(format!("{} = {}", column.name, literal::cell(column.ty, cell)?));
        cells += 1;
    }
    if let (Some(from), Some(index)) = (from, table.columns.get(cells)) {
        parts.push(format!("{} >= {from}", index.name));
    }
    Ok(parts.join(" AND "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::identifier::Identifier;
    use crate::model::table::{Column, PgType, SharedTable, TableId};
    use bson::doc;

    fn table() -> SharedTable {
        let column = |name, ty| Column { name: Identifier::new(name).expect("fits"), ty };
        Arc::new(Table {
            id: TableId::fresh(),
            schema: Identifier::new("s").expect("fits"),
            name: Identifier::new("t\"").expect("fits"),
            key: 2,
            columns: vec![
                column("id", PgType::Text),
                column("_index", PgType::Integer),
                column("a", PgType::Text),
                column("_extra", PgType::Jsonb),
            ],
            metadata: Metadata { synced_at: false, source: true, deleted_at: true },
        })
    }

    fn key(cells: usize) -> Key {
        let mut key = Key::default();
        key.push(b"x'");
        if cells > 1 {
            key.push_index(7);
        }
        key
    }

    #[test]
    fn a_row_is_inserted_or_written_over() {
        let mut row = Row::default();
        row.set(2, "a\nb".as_bytes());
        row.set_source("{}".into());
        let put = RowChange::Put { table: table(), key: key(2), row };
        assert_eq!(
            change("p", &put).expect("sql").expect("something"),
            "INSERT INTO \"s\".\"t\"\"\" (\"id\", \"_index\", \"a\", \"_source\", \"_deleted_at\") \
             VALUES ('x''', 7, E'a\\nb', '{}', NULL) ON CONFLICT (\"id\", \"_index\") DO UPDATE SET \
             \"a\" = EXCLUDED.\"a\", \"_extra\" = EXCLUDED.\"_extra\", \"_source\" = EXCLUDED.\"_source\", \
             \"_deleted_at\" = EXCLUDED.\"_deleted_at\""
        );
    }

    #[test]
    fn a_patch_sets_what_it_names() {
        let mut row = Row::default();
        row.set_null(2);
        let diff = Document::new(doc! {"u": {"n": 1}}.to_vec().expect("bson")).expect("bson");
        let patch = RowChange::Patch { table: table(), key: key(2), row, diffs: vec![(3, diff)] };
        assert_eq!(
            change("p", &patch).expect("sql").expect("something"),
            "UPDATE \"s\".\"t\"\"\" SET \"a\" = NULL, \
             \"_extra\" = pg_temp.apply_diff(coalesce(\"_extra\", '{}'), '{\"o\":[[\"u\",\"n\",1]]}') \
             WHERE \"id\" = 'x''' AND \"_index\" = 7"
        );
        let nothing = RowChange::Patch { table: table(), key: key(2), row: Row::default(), diffs: Vec::new() };
        assert_eq!(change("p", &nothing).expect("sql"), None);
    }

    #[test]
    fn a_delete_names_the_beginning_of_the_key() {
        let delete = RowChange::Delete { table: table(), prefix: key(1), from: Some(3) };
        let sql = "DELETE FROM \"s\".\"t\"\"\" WHERE \"id\" = 'x''' AND \"_index\" >= 3";
        assert_eq!(change("p", &delete).expect("sql").as_deref(), Some(sql));
    }
}
