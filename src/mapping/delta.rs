//! An update as the smallest change of rows: the oplog's `$v: 2` diff walked along the shape.
//!
//! Grammar (seen on MongoDB 8.2, and `update_oplog_entry_serialization.h`): in a document `d` removes, `u` replaces in
//! place, `i` appends, `s<name>` goes below; in an array, marked by `a: true`, `l` is the new length and comes first,
//! `u<n>` sets, `s<n>` goes below. A delta may meet a later state while the stream catches up with the snapshot; what
//! does not fit is then left alone, because a later delta overwrites it.

use super::collection::{Output, Reject};
use super::document::{DUPLICATE, Pass, field_name};
use super::extra::Cells;
use super::json::{self, Flavour};
use super::losses;
use super::options::NestedForm;
use super::policy::FieldOptions;
use super::shape::{ColumnState, Field, Kind, Node, Place, field_mut};
use crate::model::bson::{Doc, Document, Value};
use crate::model::table::PgType;

const UNKNOWN: Reject = Reject("unknown_diff");

/// The delta sets a field whose name reads as U+FFFD somewhere: the document may have another of that name, and only the
/// whole of it tells.
pub const AMBIGUOUS: Reject = Reject("ambiguous_name");

/// Refuses a delta that sets a field whose name is not UTF-8, or looks like it. A sub-diff of such a field is no new name.
pub(super) fn check_names(diff: Doc<'_>) -> Result<(), Reject> {
    for element in diff.elements() {
        match element? {
            (b"u" | b"i", Value::Document(values)) => {
                for element in values.elements() {
                    let (name, _) = element?;
                    if !name.is_ascii() && field_name(name).contains(char::REPLACEMENT_CHARACTER) {
                        return Err(AMBIGUOUS);
                    }
                }
            }
            ([b's', ..], Value::Document(below)) => check_names(below)?,
            _ => {}
        }
    }
    Ok(())
}

/// The changed cells of one row.
#[derive(Default)]
struct Patch {
    cells: Cells,
    diffs: Vec<(usize, Document)>,
}

impl Patch {
    fn clear(&mut self, column: Option<&ColumnState>) {
        if let Some(column) = column {
            self.cells.row.set_null(column.index);
        }
    }
}

impl<O: Output> Pass<'_, '_, O> {
    /// Applies a diff to the row of the current key and to the rows below it.
    pub(super) fn apply_diff(&mut self, node: &mut Node, diff: Doc<'_>) -> Result<(), Reject> {
        let mut patch = Patch::default();
        self.apply_sections(node, diff, &mut patch)?;
        self.put_patch(node.table, patch)
    }

    fn put_patch(&mut self, table: usize, mut patch: Patch) -> Result<(), Reject> {
        patch.diffs.append(&mut self.extra_sets(table, &patch.cells)?);
        let table = self.table(table)?;
        // Metadata tell of the whole document, so its root row is touched by a change of any of its rows.
        if table.metadata.any() || patch.cells.row.mentioned().next().is_some() || !patch.diffs.is_empty() {
            self.out.patch(&table, &self.key, patch.cells.row, patch.diffs);
        }
        Ok(())
    }

    fn apply_sections(&mut self, node: &mut Node, diff: Doc<'_>, patch: &mut Patch) -> Result<(), Reject> {
        for element in diff.elements() {
            let (section, value) = element?;
            match (section.split_first(), value) {
                (Some((b'd', [])), Value::Document(names)) => self.unset_all(node, names, patch)?,
                (Some((b'u' | b'i', [])), Value::Document(values)) => self.set_all(node, values, patch)?,
                (Some((b's', name)), Value::Document(below)) => {
                    self.apply_below(node, &field_name(name), below, patch)?;
                }
                _ => return Err(UNKNOWN),
            }
        }
        Ok(())
    }

    fn unset_all(&mut self, node: &Node, names: Doc<'_>, patch: &mut Patch) -> Result<(), Reject> {
        for element in names.elements() {
            let (name, _) = element?;
            self.unset(node, &field_name(name), patch)?;
        }
        Ok(())
    }

    /// Takes a field's value away, wherever it lies.
    fn unset(&mut self, node: &Node, name: &str, patch: &mut Patch) -> Result<(), Reject> {
        let field = node.fields.get(name);
        if let Some(field) = field {
            self.unset_field(field, patch);
        }
        // Beside a column of its own, a flattened document may have fields there.
        let is_flat = |field: &Field| field.child.as_ref().is_some_and(|child| child.flat > 0);
        if field.is_none_or(|field| field.column.is_none() || is_flat(field)) {
            patch.diffs.extend(self.extra_unset(node.place(), name)?);
        }
        Ok(())
    }

    fn unset_field(&mut self, field: &Field, patch: &mut Patch) {
        patch.clear(field.column.as_ref());
        let Some(child) = &field.child else { return };
        if child.flat == 0 {
            return self.delete_tree(child, None);
        }
        for field in child.fields.values() {
            self.unset_field(field, patch);
        }
    }

    fn set_all(&mut self, node: &mut Node, values: Doc<'_>, patch: &mut Patch) -> Result<(), Reject> {
        for element in values.elements() {
            let (name, value) = element?;
            if node.path.is_empty() && name == b"_id" {
                continue; // an `_id` never changes but for the type of an equal number
            }
            let name = self.named(&node.path, name, value);
            self.set(node, &name, value, patch)?;
        }
        Ok(())
    }

    fn set(&mut self, node: &mut Node, name: &str, value: Value<'_>, patch: &mut Patch) -> Result<(), Reject> {
        self.unset(node, name, patch)?;
        if value.is_null() {
            return Ok(());
        }
        self.put_field(node, name, value, &mut patch.cells)
    }

    /// A diff of the value at `name`.
    fn apply_below(&mut self, node: &mut Node, name: &str, diff: Doc<'_>, patch: &mut Patch) -> Result<(), Reject> {
        let is_array = diff.get("a")? == Some(Value::Boolean(true));
        let (place, fields, _) = node.parts();
        // A flattened document without values is in no row and in no catalog: what comes below it tells that it is there.
        if !is_array && self.policies.of(place.path, name).flattens() {
            let field = field_mut(fields, self.policies, place.path, name);
            if field.is_new() {
                field.child = Some(Box::new(Node::flattened(place, name)));
            }
        }
        let Some(field) = fields.get_mut(name) else {
            return self.apply_to_extra(place, name, diff, patch);
        };
        if field.is_undecided()
            && is_array
            && holds_documents(field.options, diff)?
            && self.has_key_for(place.table, Kind::Array)?
        {
            self.create_child(place, name, Kind::Array, field)?;
        }
        match &mut field.child {
            Some(child) if child.is_array() == is_array => {
                patch.clear(field.column.as_ref());
                match (is_array, child.flat) {
                    (true, _) => self.apply_to_array(child, diff),
                    (false, 0) => self.apply_diff(child, diff),
                    (false, _) => self.apply_sections(child, diff, patch),
                }
            }
            _ => match &mut field.column {
                Some(column) => self.apply_to_cell(place, Some(name), column, diff, patch),
                None => self.apply_to_extra(place, name, diff, patch),
            },
        }
    }

    /// A diff of a field that lies in `_extra`, if the table has that.
    fn apply_to_extra(&mut self, place: Place<'_>, name: &str, diff: Doc<'_>, patch: &mut Patch) -> Result<(), Reject> {
        let Some(below) = self.extra_below(place, name, diff)? else { return Ok(()) };
        self.report_losses(place, Some(name), diff)?;
        self.remember(place, Some(name), below.0, Value::Document(diff), &mut patch.cells.row);
        patch.diffs.push(below);
        Ok(())
    }

    /// A diff of a `jsonb` cell is applied where the cell is: by the executor, to the value of that moment.
    fn apply_to_cell(
        &mut self,
        place: Place<'_>,
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
            self.widen(place, name, column, &Value::Array(diff))?;
        }
        self.report_losses(place, name, diff)?;
        self.remember(place, name, column.index, Value::Document(diff), &mut patch.cells.row);
        patch.diffs.push((column.index, diff.to_owned()));
        Ok(())
    }

    /// What the values of a diff lose in `jsonb`.
    fn report_losses(&mut self, place: Place<'_>, name: Option<&str>, diff: Doc<'_>) -> Result<(), Reject> {
        let losses = json::write_value(Value::Document(diff), Flavour::Relaxed, &mut Vec::new())?;
        if losses.twice {
            return Err(DUPLICATE);
        }
        if losses.any() {
            self.report_all(place.path, name, losses::in_diff(diff)?);
        }
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
        let (place, _, value) = node.parts();
        let Some(column) = value else { return Ok(()) };
        self.apply_to_cell(place, None, column, diff, &mut patch)?;
        self.put_patch(place.table, patch)
    }
}

/// Whether a diff of an empty array makes it an array of documents.
fn holds_documents(options: FieldOptions, diff: Doc<'_>) -> Result<bool, Reject> {
    if options.is_column() || options.arrays != NestedForm::Table {
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

fn index(digits: &[u8]) -> Result<i32, Reject> {
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).filter(|n| *n >= 0).ok_or(UNKNOWN)
}
