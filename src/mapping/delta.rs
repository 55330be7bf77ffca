//! An update as the smallest change of rows: the oplog's `$v: 2` diff walked along the shape.
//!
//! Grammar (seen on MongoDB 8.2, and `update_oplog_entry_serialization.h`): in a document `d` removes, `u` replaces in
//! place, `i` appends, `s<name>` goes below; in an array, marked by `a: true`, `l` is the new length and comes first,
//! `u<n>` sets, `s<n>` goes below. A delta may meet a later state while the stream catches up with the snapshot; what
//! does not fit is then left alone, because a later delta overwrites it.

use super::collection::{Output, Reject};
use super::document::{DUPLICATE, Pass, field_name};
use super::json::{self, Flavour};
use super::losses;
use super::shape::{ColumnState, Field, Kind, Node};
use crate::model::bson::{Doc, Document, Value};
use crate::model::row::Row;
use crate::model::table::PgType;

const UNKNOWN: Reject = Reject("unknown_diff");

/// The changed cells of one row.
#[derive(Default)]
struct Patch {
    row: Row,
    diffs: Vec<(usize, Document)>,
}

impl Patch {
    fn clear(&mut self, column: Option<&ColumnState>) {
        if let Some(column) = column {
            self.row.set_null(column.index);
        }
    }
}

impl<O: Output> Pass<'_, '_, O> {
    /// Applies a diff to the row of the current key and to the rows below it.
    pub(super) fn apply_diff(&mut self, node: &mut Node, diff: Doc<'_>) -> Result<(), Reject> {
        let mut patch = Patch::default();
        for element in diff.elements() {
            let (section, value) = element?;
            match (section.split_first(), value) {
                (Some((b'd', [])), Value::Document(names)) => self.unset_all(node, names, &mut patch)?,
                (Some((b'u' | b'i', [])), Value::Document(values)) => self.set_all(node, values, &mut patch)?,
                (Some((b's', name)), Value::Document(below)) => {
                    self.apply_below(node, &field_name(name), below, &mut patch)?;
                }
                _ => return Err(UNKNOWN),
            }
        }
        let table = self.table(node.table)?;
        // Metadata tell of the whole document, so its root row is touched by a change of any of its rows.
        let touched = node.kind == Kind::Root && table.metadata.any();
        if touched || patch.row.mentioned().next().is_some() || !patch.diffs.is_empty() {
            self.out.patch(&table, &self.key, patch.row, patch.diffs);
        }
        Ok(())
    }

    fn unset_all(&mut self, node: &Node, names: Doc<'_>, patch: &mut Patch) -> Result<(), Reject> {
        for element in names.elements() {
            let (name, _) = element?;
            if let Some(field) = node.fields.get(&*field_name(name)) {
                self.unset(field, patch);
            }
        }
        Ok(())
    }

    fn unset(&mut self, field: &Field, patch: &mut Patch) {
        patch.clear(field.column.as_ref());
        if let Some(child) = &field.child {
            self.delete_tree(child, None);
        }
    }

    fn set_all(&mut self, node: &mut Node, values: Doc<'_>, patch: &mut Patch) -> Result<(), Reject> {
        for element in values.elements() {
            let (name, value) = element?;
            if node.kind == Kind::Root && name == b"_id" {
                continue; // an `_id` never changes but for the type of an equal number
            }
            let name = self.named(&node.path, name, value);
            self.set(node, &name, value, patch)?;
        }
        Ok(())
    }

    fn set(&mut self, node: &mut Node, name: &str, value: Value<'_>, patch: &mut Patch) -> Result<(), Reject> {
        if let Some(field) = node.fields.get(name) {
            self.unset(field, patch);
        }
        if value.is_null() {
            return Ok(());
        }
        self.put_field(node, name, value, &mut patch.row)
    }

    /// A diff of the value at `name`.
    fn apply_below(&mut self, node: &mut Node, name: &str, diff: Doc<'_>, patch: &mut Patch) -> Result<(), Reject> {
        let is_array = diff.get("a")? == Some(Value::Boolean(true));
        let Node { table, kind, path, fields, .. } = node;
        let Some(field) = fields.get_mut(name) else { return Ok(()) };
        let undecided = field.child.is_none() && field.column.as_ref().is_some_and(|column| column.seen.is_empty());
        if undecided && is_array && self.holds_documents(diff)? && self.has_key_for(*table, Kind::Array)? {
            self.create_child(*table, *kind, path, name, Kind::Array, field)?;
        }
        match &mut field.child {
            Some(child) if child.kind == Kind::Array && is_array => {
                patch.clear(field.column.as_ref());
                self.apply_to_array(child, diff)
            }
            Some(child) if child.kind == Kind::Object && !is_array => {
                patch.clear(field.column.as_ref());
                self.apply_diff(child, diff)
            }
            _ => {
                if let Some(column) = &mut field.column {
                    self.apply_to_cell(*table, path, Some(name), column, diff, patch)?;
                }
                Ok(())
            }
        }
    }

    /// Whether a diff of an empty array makes it an array of documents.
    fn holds_documents(&self, diff: Doc<'_>) -> Result<bool, Reject> {
        if self.shared.options.arrays != super::options::NestedForm::Table {
            return Ok(false);
        }
        for element in diff.elements() {
            let (section, value) = element?;
            if section.first() == Some(&b'u') && !value.is_null() {
                return Ok(matches!(value, Value::Document(_)));
            }
        }
        Ok(false)
    }

    /// A diff of a `jsonb` cell is applied where the cell is: by the executor, to the value of that moment.
    fn apply_to_cell(
        &mut self,
        table: usize,
        path: &[String],
        name: Option<&str>,
        column: &mut ColumnState,
        diff: Doc<'_>,
        patch: &mut Patch,
    ) -> Result<(), Reject> {
        if column.ty != PgType::Jsonb {
            return Ok(()); // a scalar of a later state; see the module's header
        }
        if column.seen.is_empty() {
            // An empty array that gets elements is an array from now on.
            self.adapt(table, path, name, column, &Value::Array(diff))?;
        }
        let losses = json::write_value(Value::Document(diff), Flavour::Relaxed, &mut Vec::new())?;
        if losses.twice {
            return Err(DUPLICATE);
        }
        if losses.any() {
            self.report_all(path, name, losses::in_diff(diff)?);
        }
        self.remember(table, path, name, column.index, Value::Document(diff), &mut patch.row);
        patch.diffs.push((column.index, diff.to_owned()));
        Ok(())
    }

    fn apply_to_array(&mut self, node: &mut Node, diff: Doc<'_>) -> Result<(), Reject> {
        if let Some(Value::Int32(length)) = diff.get("l")? {
            self.delete_tree(node, Some(length));
        }
        for element in diff.elements() {
            let (section, value) = element?;
            match (section.split_first(), value) {
                (Some((b'a' | b'l', [])), _) => {}
                (Some((b'u', digits)), _) => self.set_element(node, index(digits)?, value)?,
                (Some((b's', digits)), Value::Document(below)) => self.diff_element(node, index(digits)?, below)?,
                _ => return Err(UNKNOWN),
            }
        }
        Ok(())
    }

    fn set_element(&mut self, node: &mut Node, index: i32, value: Value<'_>) -> Result<(), Reject> {
        let mark = self.key.mark();
        self.key.push_index(index);
        // A row that is put overwrites the old one; only what lies below it has to go first.
        if value.is_null() {
            self.delete_tree(node, None);
        } else {
            self.delete_children(node);
        }
        self.key.truncate(mark);
        self.put_element(node, index, value)
    }

    fn diff_element(&mut self, node: &mut Node, index: i32, diff: Doc<'_>) -> Result<(), Reject> {
        let mark = self.key.mark();
        self.key.push_index(index);
        let done = if diff.get("a")? == Some(Value::Boolean(true)) {
            self.diff_value(node, diff)
        } else {
            self.apply_diff(node, diff)
        };
        self.key.truncate(mark);
        done
    }

    /// An element that is itself an array lies in `_value`.
    fn diff_value(&mut self, node: &mut Node, diff: Doc<'_>) -> Result<(), Reject> {
        let mut patch = Patch::default();
        let Node { table, path, value, .. } = node;
        let Some(column) = value else { return Ok(()) };
        self.apply_to_cell(*table, path, None, column, diff, &mut patch)?;
        let table = self.table(*table)?;
        self.out.patch(&table, &self.key, patch.row, patch.diffs);
        Ok(())
    }
}

fn index(digits: &[u8]) -> Result<i32, Reject> {
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).filter(|n| *n >= 0).ok_or(UNKNOWN)
}
