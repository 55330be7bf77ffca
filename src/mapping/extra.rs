//! The overflow column `_extra`: the fields that came when their table had all the columns it may have.
//!
//! Such a table stays full: what is new goes into one `jsonb` object, field name to value, whatever its form, so that
//! neither columns nor child tables nor the daemon's memory grow with the names that documents bring. Below flattened
//! documents the objects nest as the documents do. A delta changes the object by diffs of its own (see `json_diff`).

use std::collections::BTreeMap;

use super::collection::{Output, Reject};
use super::document::{DUPLICATE, Pass};
use super::json::{self, Flavour};
use super::losses;
use super::shape::{ColumnState, Place};
use super::types::TypeSet;
use crate::model::bson::{Doc, Document, Value};
use crate::model::identifier::Identifier;
use crate::model::row::Row;
use crate::model::table::{Column, EXTRA_COLUMN, PgType};
use crate::model::write_set::{ColumnChange, Ddl};

/// The cells of one row in the making.
#[derive(Debug, Default)]
pub(super) struct Cells {
    /// Those of columns.
    pub row: Row,
    /// What goes into `_extra`.
    pub extra: Extra,
}

/// Fields for `_extra`: their names, those of flattened documents around them first, and their values as JSON text.
#[derive(Debug, Default)]
pub(super) struct Extra(BTreeMap<Vec<String>, String>);

impl Cells {
    /// Empties the row and keeps its memory.
    pub fn clear(&mut self) {
        self.row.clear();
        self.extra.0.clear();
    }
}

impl Extra {
    /// True when the field `name` at `place` is in it.
    pub fn has(&self, place: Place<'_>, name: &str) -> bool {
        !self.0.is_empty() && self.0.contains_key(&key(place, name))
    }

    /// The object, as the cell of a whole row; `None` when there is nothing in it.
    fn cell(&self) -> Option<Vec<u8>> {
        let entries: Vec<(&[String], &str)> =
            self.0.iter().map(|(names, text)| (names.as_slice(), text.as_str())).collect();
        let mut cell = vec![1]; // the version byte of jsonb_recv
        object(&entries, &mut cell);
        (!entries.is_empty()).then_some(cell)
    }

    /// The same as diffs of the cell that is there.
    fn diffs(&self) -> impl Iterator<Item = bson::Document> + '_ {
        self.0.iter().filter_map(|(names, text)| {
            let (name, around) = names.split_last()?;
            let set = bson::doc! { "j": { name: text } };
            Some(around.iter().rev().fold(set, |below, name| bson::doc! { format!("S{name}"): below }))
        })
    }
}

fn key(place: Place<'_>, name: &str) -> Vec<String> {
    place.flattened().iter().map(String::as_str).chain([name]).map(str::to_owned).collect()
}

/// Sorted entries as a JSON object; those that share their first name and have more of them become an object below it.
fn object(entries: &[(&[String], &str)], out: &mut Vec<u8>) {
    out.push(b'{');
    let same_name = |a: &(&[String], &str), b: &(&[String], &str)| a.0.first() == b.0.first();
    for (i, group) in entries.chunk_by(same_name).enumerate() {
        let Some(((name, rest), text)) = group.first().and_then(|(names, text)| Some((names.split_first()?, text)))
        else {
            continue;
        };
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(serde_json::Value::from(name.as_str()).to_string().as_bytes());
        out.push(b':');
        if rest.is_empty() {
            out.extend_from_slice(text.as_bytes());
        } else {
            let below: Vec<(&[String], &str)> =
                group.iter().filter_map(|(names, text)| Some((names.split_first()?.1, *text))).collect();
            object(&below, out);
        }
    }
    out.push(b'}');
}

impl<O: Output> Pass<'_, '_, O> {
    /// True when new fields of the table go into its `_extra`.
    pub(super) fn is_full(&self, table: usize) -> bool {
        self.extras.contains_key(&table)
    }

    /// True when the table may have one more column. One that has `_extra` never grows again, even where the limit has
    /// been raised: a field that lies in old rows' `_extra` would have two places.
    pub(super) fn has_room(&self, table: usize) -> Result<bool, Reject> {
        Ok(!self.is_full(table) && self.table(table)?.columns.len() < self.shared.options.max_columns)
    }

    /// A field that has no column and gets none.
    pub(super) fn overflow(
        &mut self,
        place: Place<'_>,
        name: &str,
        value: Value<'_>,
        cells: &mut Cells,
    ) -> Result<(), Reject> {
        let column = self.ensure_extra(place)?;
        let mut text = Vec::new();
        let losses = json::write_value(value, Flavour::Relaxed, &mut text)?;
        if losses.twice {
            return Err(DUPLICATE);
        }
        if losses.any() {
            self.report_all(place.path, Some(name), losses::in_value(value)?);
        }
        self.remember(place, Some(name), column, value, &mut cells.row);
        let text = String::from_utf8(text).map_err(|_| Reject("defect_json"))?;
        match cells.extra.0.insert(key(place, name), text) {
            None => Ok(()),
            Some(_) => Err(DUPLICATE),
        }
    }

    /// The column `_extra` of a table, made where it is missing.
    fn ensure_extra(&mut self, place: Place<'_>) -> Result<usize, Reject> {
        if let Some(column) = self.extras.get(&place.table) {
            return Ok(column.index);
        }
        let name = Identifier::new(EXTRA_COLUMN).ok_or(Reject("defect_name"))?;
        let index = self.table(place.table)?.columns.len();
        let column = Column { name, ty: PgType::Jsonb };
        let after = self.alter(place.table, |table| table.columns.push(column))?;
        self.ddl.push(Ddl::Alter { table: after, columns: vec![ColumnChange::Add { index }] });
        let seen = TypeSet::from_names(["object"]);
        let column = ColumnState { index, ty: PgType::Jsonb, seen, subtype: None };
        self.record_column(place.table, place.owner().to_vec(), &column)?;
        self.extras.insert(place.table, column);
        Ok(index)
    }

    /// Puts a whole row's `_extra` into its cell.
    pub(super) fn close_row(&self, table: usize, cells: &mut Cells) {
        if let (Some(column), Some(cell)) = (self.extras.get(&table), cells.extra.cell()) {
            cells.row.set(column.index, &cell);
        }
    }

    /// The diffs of `_extra` that set what a patch sets there.
    pub(super) fn extra_sets(&self, table: usize, cells: &Cells) -> Result<Vec<(usize, Document)>, Reject> {
        let Some(column) = self.extras.get(&table) else { return Ok(Vec::new()) };
        cells.extra.diffs().map(|diff| Ok((column.index, owned(&diff)?))).collect()
    }

    /// The diff of `_extra` that removes a field, in a table that has the column.
    pub(super) fn extra_unset(&self, place: Place<'_>, name: &str) -> Result<Option<(usize, Document)>, Reject> {
        let Some(column) = self.extras.get(&place.table) else { return Ok(None) };
        let diff = owned(&bson::doc! { "d": { name: false } })?;
        Ok(Some((column.index, around(place.flattened(), diff)?)))
    }

    /// The diff of `_extra` that goes on with `below` at a field, in a table that has the column.
    pub(super) fn extra_below(
        &self,
        place: Place<'_>,
        name: &str,
        below: Doc<'_>,
    ) -> Result<Option<(usize, Document)>, Reject> {
        let Some(column) = self.extras.get(&place.table) else { return Ok(None) };
        let diff = section(name, &below.to_owned())?;
        Ok(Some((column.index, around(place.flattened(), diff)?)))
    }
}

/// A diff below flattened documents.
fn around(names: &[String], diff: Document) -> Result<Document, Reject> {
    names.iter().rev().try_fold(diff, |below, name| section(name, &below))
}

/// The diff that goes on with `below` at `name`: BSON of one embedded document (bsonspec.org).
fn section(name: &str, below: &Document) -> Result<Document, Reject> {
    const DOCUMENT: u8 = 3;
    let below = below.as_doc().bytes();
    let length = 4 + 1 + 1 + name.len() + 1 + below.len() + 1;
    let length = i32::try_from(length).map_err(|_| Reject("defect_diff"))?;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(&[DOCUMENT, b's']);
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(below);
    bytes.push(0);
    Ok(Document::new(bytes)?)
}

fn owned(diff: &bson::Document) -> Result<Document, Reject> {
    let bytes = diff.to_vec().map_err(|_| Reject("defect_diff"))?;
    Ok(Document::new(bytes)?)
}
