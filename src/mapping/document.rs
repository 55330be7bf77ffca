//! One conversion: the walk over a document that makes its rows and, where the shape does not hold it, the shape too.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::cast;
use super::cell::{self, CellError, reason};
use super::collection::{Output, Reject, Shared};
use super::extra::Cells;
use super::grow::holds;
use super::json::{self, Flavour};
use super::losses::{self, Loss};
use super::options::OnTypeConflict;
use super::policy::{FieldOptions, Policies};
use super::root::write_id;
use super::shape::{ColumnState, Field, Kind, Node, Place, Route, field_mut};
use crate::model::bson::{Doc, Value};
use crate::model::limits::MAX_NESTING;
use crate::model::namespace::{CollectionId, Namespace};
use crate::model::row::{Key, Original, Row};
use crate::model::table::{PgType, SharedTable, Table};
use crate::model::write_set::{Anomaly, Ddl};

/// A document that has a field name twice.
pub(super) const DUPLICATE: Reject = Reject("duplicate_field");

/// Nodes are made together with their tables.
const TABLE_MISSING: Reject = Reject("defect_table_missing");

/// The state of one conversion.
pub struct Pass<'s, 'd, O: Output> {
    pub(super) collection: CollectionId,
    pub(super) namespace: &'s Namespace,
    pub(super) shared: &'s Shared,
    pub(super) policies: &'s Policies,
    pub(super) tables: &'s mut Vec<SharedTable>,
    /// The columns `_extra`, by table.
    pub(super) extras: &'s mut HashMap<usize, ColumnState>,
    pub(super) ddl: &'s mut Vec<Ddl>,
    pub(super) out: &'s mut O,
    id: Value<'d>,
    /// The key of the row whose fields are being read.
    pub(super) key: Key,
    pub(super) changed: bool,
    /// Row buffers to use again, one per level of nesting.
    spare: Vec<Cells>,
    /// How many rows this mapping has put.
    pub(super) rows: u64,
    /// Documents around the one that is being read; after an error the conversion is over and it counts no more.
    depth: usize,
    /// The root table's column `_id`, where it is not the key.
    pub(super) id_column: Option<usize>,
}

/// What a conversion borrows from its collection.
pub(super) struct Borrowed<'s> {
    pub collection: CollectionId,
    pub namespace: &'s Namespace,
    pub shared: &'s Shared,
    pub policies: &'s Policies,
    pub tables: &'s mut Vec<SharedTable>,
    pub extras: &'s mut HashMap<usize, ColumnState>,
    pub ddl: &'s mut Vec<Ddl>,
    pub rows: u64,
}

impl<'s, 'd, O: Output> Pass<'s, 'd, O> {
    pub(super) fn new(borrowed: Borrowed<'s>, out: &'s mut O, id: Value<'d>, key: Key) -> Self {
        let Borrowed { collection, namespace, shared, policies, tables, extras, ddl, rows } = borrowed;
        let (changed, spare, depth, id_column) = (false, Vec::new(), 0, None);
        Self {
            collection,
            namespace,
            shared,
            policies,
            tables,
            extras,
            ddl,
            out,
            id,
            key,
            changed,
            spare,
            rows,
            depth,
            id_column,
        }
    }

    /// True when the shape changed.
    pub(super) fn changed(&self) -> bool {
        self.changed
    }

    /// The table of a node.
    ///
    /// # Errors
    /// Never but for a defect: nodes are made together with their tables.
    pub(super) fn table(&self, index: usize) -> Result<SharedTable, Reject> {
        self.tables.get(index).cloned().ok_or(TABLE_MISSING)
    }

    /// The row of `document` in the node's table, and the rows below it.
    ///
    /// # Errors
    /// As [`Pass::put_fields`].
    pub(super) fn put_row(&mut self, node: &mut Node, document: Doc<'_>) -> Result<(), Reject> {
        let mut cells = self.spare.pop().unwrap_or_default();
        cells.clear();
        self.put_fields(node, document, &mut cells)?;
        self.close_row(node.table, &mut cells);
        let table = self.tables.get(node.table).ok_or(TABLE_MISSING)?;
        self.out.put(table, &self.key, &cells.row);
        self.spare.push(cells);
        Ok(())
    }

    /// The fields of `document` into the cells of a row, and the rows below it.
    ///
    /// # Errors
    /// When a name comes twice (MongoDB takes such documents): one of the values would be lost.
    fn put_fields(&mut self, node: &mut Node, document: Doc<'_>, cells: &mut Cells) -> Result<(), Reject> {
        if self.depth >= MAX_NESTING {
            return Err(json::TOO_DEEP.into());
        }
        self.depth += 1;
        self.rows += 1;
        let number = self.rows;
        let full = self.is_full(node.table);
        let mut unknown_nulls = Vec::new();
        if let (true, Some(column)) = (node.path.is_empty(), self.id_column) {
            cells.row.set(column, &write_id(self.id, PgType::Jsonb)?);
        }
        for element in document.elements() {
            let (bytes, value) = element?;
            if node.path.is_empty() && bytes == b"_id" {
                continue;
            }
            let Some(known) = node.fields.place(bytes) else {
                self.put_unknown(node, bytes, value, number, (full, &mut unknown_nulls), cells)?;
                continue;
            };
            let (place, fields, _) = node.parts();
            let Some((name, field)) = fields.at(known) else { continue };
            // Missing and null are one, but of two equal names an update changes the first, whatever its value.
            if std::mem::replace(&mut field.last_row, number) == number {
                return Err(DUPLICATE);
            }
            if !value.is_null() {
                self.put_into(place, name, field, value, cells)?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// An element whose name no field has, as it is written at least.
    fn put_unknown<'n>(
        &mut self,
        node: &mut Node,
        bytes: &'n [u8],
        value: Value<'_>,
        number: u64,
        (full, unknown_nulls): (bool, &mut Vec<Cow<'n, str>>),
        cells: &mut Cells,
    ) -> Result<(), Reject> {
        let name = self.named(&node.path, bytes, value);
        if value.is_null() {
            let there = match node.fields.get_mut(&name) {
                Some(field) => std::mem::replace(&mut field.last_row, number) == number,
                None => cells.extra.has(node.place(), &name) || unknown_nulls.contains(&name),
            };
            if there {
                return Err(DUPLICATE);
            }
            if !node.fields.contains_key(&name) {
                unknown_nulls.push(name);
            }
            return Ok(());
        }
        if unknown_nulls.contains(&name) {
            return Err(DUPLICATE);
        }
        if full && !node.fields.contains_key(&name) {
            return self.overflow(node.place(), &name, value, cells);
        }
        let (place, fields, _) = node.parts();
        let field = field_mut(fields, self.policies, place.path, &name);
        if std::mem::replace(&mut field.last_row, number) == number {
            return Err(DUPLICATE);
        }
        self.put_into(place, &name, field, value, cells)
    }

    /// One field, not null, of a row. Its rows in child tables do not exist yet, or are gone.
    pub(super) fn put_field(
        &mut self,
        node: &mut Node,
        name: &str,
        value: Value<'_>,
        cells: &mut Cells,
    ) -> Result<(), Reject> {
        let (place, fields, _) = node.parts();
        let field = field_mut(fields, self.policies, place.path, name);
        self.put_into(place, name, field, value, cells)
    }

    fn put_into(
        &mut self,
        place: Place<'_>,
        name: &str,
        field: &mut Field,
        value: Value<'_>,
        cells: &mut Cells,
    ) -> Result<(), Reject> {
        if field.is_new() && !self.has_room(place.table)? {
            return self.overflow(place, name, value, cells);
        }
        match field.route(&value)? {
            Route::Column => return self.store(place, name, field, value, cells),
            Route::Child => {}
            Route::NewChild(kind) if !self.has_key_for(place.table, kind)? => {
                return self.store(place, name, field, value, cells);
            }
            Route::NewChild(kind) => self.create_child(place, name, kind, field)?,
            Route::Flatten => field.child = Some(Box::new(Node::flattened(place, name))),
        }
        self.put_children(field, value, cells)
    }

    /// Whether a child of that kind can have a primary key: each array around adds a column to it.
    pub(super) fn has_key_for(&self, parent: usize, kind: Kind) -> Result<bool, Reject> {
        Ok(kind != Kind::Array || self.table(parent)?.key < Table::MAX_KEY)
    }

    /// The rows, or the flattened fields, of a value that has a child.
    fn put_children(&mut self, field: &mut Field, value: Value<'_>, cells: &mut Cells) -> Result<(), Reject> {
        let Some(child) = field.child.as_deref_mut() else { return Ok(()) };
        if let Value::Document(document) = value {
            return if child.flat > 0 {
                self.put_fields(child, document, cells)
            } else {
                self.put_row(child, document)
            };
        }
        let Value::Array(array) = value else { return Ok(()) };
        for (index, element) in array.elements().enumerate() {
            let (_, value) = element?;
            let index = i32::try_from(index).map_err(|_| Reject("array_too_long"))?;
            self.put_element(child, index, value)?;
        }
        Ok(())
    }

    /// One element of an array's table; a null one is a gap.
    pub(super) fn put_element(&mut self, node: &mut Node, index: i32, value: Value<'_>) -> Result<(), Reject> {
        if value.is_null() {
            return Ok(());
        }
        let mark = self.key.mark();
        self.key.push_index(index);
        let done = if let Value::Document(document) = value {
            self.put_row(node, document)
        } else {
            self.put_value(node, value)
        };
        self.key.truncate(mark);
        done
    }

    /// An element that is not a document: column `_value`.
    fn put_value(&mut self, node: &mut Node, value: Value<'_>) -> Result<(), Reject> {
        let mut cells = Cells::default();
        let (place, _, column) = node.parts();
        if column.is_none() {
            *column = Some(self.create_column(place, None, PgType::Jsonb, Some(&value))?);
        }
        if let Some(column) = column {
            self.widen(place, None, column, &value)?;
            self.write_cell(place, None, column, value, &mut cells)?;
        }
        let table = self.table(place.table)?;
        self.out.put(&table, &self.key, &cells.row);
        Ok(())
    }

    /// A value into its column, which is made or widened first where that is needed.
    fn store(
        &mut self,
        place: Place<'_>,
        name: &str,
        field: &mut Field,
        value: Value<'_>,
        cells: &mut Cells,
    ) -> Result<(), Reject> {
        if field.column.is_none() {
            if !self.has_room(place.table)? {
                return self.overflow(place, name, value, cells);
            }
            let first = field.options.column_type(&value);
            // Whether a column of fixed type takes the value is seen below.
            let seen = field.options.fixed.is_none().then_some(&value);
            field.column = Some(self.create_column(place, Some(name), first, seen)?);
        }
        let Some(column) = &mut field.column else { return Ok(()) };
        if field.options.fixed == Some(column.ty) {
            return self.store_cast(place, name, column, field.options, value, cells);
        }
        if field.options.on_conflict == OnTypeConflict::Widen || holds(column, &value) {
            self.widen(place, Some(name), column, &value)?;
            return self.write_cell(place, Some(name), column, value, cells);
        }
        // A number that stays the same number in the column is no conflict.
        let done = cells.row.write(column.index, |bytes| cast::number(value, column.ty, bytes).map(|_| ()));
        if done.is_err() {
            return self.conflict(place, name, field.options, reason::CONFLICT, value);
        }
        self.remember(place, Some(name), column.index, value, &mut cells.row);
        Ok(())
    }

    /// A value into a column whose type the configuration fixes.
    fn store_cast(
        &mut self,
        place: Place<'_>,
        name: &str,
        column: &mut ColumnState,
        options: FieldOptions,
        value: Value<'_>,
        cells: &mut Cells,
    ) -> Result<(), Reject> {
        let mut loss = None;
        let write = |bytes: &mut Vec<u8>| cast::write(value, column.ty, column.subtype, bytes).map(|why| loss = why);
        match cells.row.write(column.index, write) {
            Ok(()) => self.note(place, Some(name), column, &value)?,
            Err(CellError::WrongType) => return self.conflict(place, name, options, reason::CAST, value),
            Err(other) => return Err(rejected(other)),
        }
        self.written(place, Some(name), column, loss, value, cells)
    }

    /// A value that is not stored: it stays NULL, or its document goes to quarantine. A column of fixed type does not
    /// widen, so there the default is the first.
    fn conflict(
        &mut self,
        place: Place<'_>,
        name: &str,
        options: FieldOptions,
        reason: &'static str,
        value: Value<'_>,
    ) -> Result<(), Reject> {
        match options.on_conflict {
            OnTypeConflict::Quarantine => return Err(Reject(reason)),
            OnTypeConflict::Null | OnTypeConflict::Widen => self.report(place.path, Some(name), reason, value),
        }
        Ok(())
    }

    /// A value into the cell of a column that holds it.
    fn write_cell(
        &mut self,
        place: Place<'_>,
        name: Option<&str>,
        column: &ColumnState,
        value: Value<'_>,
        cells: &mut Cells,
    ) -> Result<(), Reject> {
        let mut loss = None;
        let write = |bytes: &mut Vec<u8>| cell::write(value, column.ty, bytes).map(|reason| loss = reason);
        cells.row.write(column.index, write).map_err(rejected)?;
        self.written(place, name, column, loss, value, cells)
    }

    /// Records what was lost of a value on the way into its cell, and keeps what may have to be recorded yet.
    fn written(
        &mut self,
        place: Place<'_>,
        name: Option<&str>,
        column: &ColumnState,
        loss: Option<&'static str>,
        value: Value<'_>,
        cells: &mut Cells,
    ) -> Result<(), Reject> {
        match loss {
            Some(_) if column.ty == PgType::Jsonb => self.report_all(place.path, name, losses::in_value(value)?),
            Some(reason) => self.report(place.path, name, reason, value),
            None => {}
        }
        self.remember(place, name, column.index, value, &mut cells.row);
        Ok(())
    }

    /// A field's name as it is stored; records one that is not stored as it is, if there is a value.
    pub(super) fn named<'n>(&mut self, path: &[String], bytes: &'n [u8], value: Value<'_>) -> Cow<'n, str> {
        let name = field_name(bytes);
        if matches!(name, Cow::Owned(_)) && !value.is_null() {
            self.report(path, Some(&name), reason::NAME, Value::Binary { subtype: 0, bytes });
        }
        name
    }

    /// Records what lies within a cell of `jsonb` and is not stored as it is.
    pub(super) fn report_all(&mut self, path: &[String], name: Option<&str>, losses: Vec<Loss<'_>>) {
        let path: Vec<String> = path.iter().cloned().chain(name.map(str::to_owned)).collect();
        for loss in losses {
            let place: Vec<String> = path.iter().cloned().chain(loss.below).collect();
            self.report(&place, None, loss.reason, loss.original);
        }
    }

    /// Keeps what a cell of a wide table was made from: whether its row has room for it, only PostgreSQL knows.
    pub(super) fn remember(
        &self,
        place: Place<'_>,
        name: Option<&str>,
        column: usize,
        value: Value<'_>,
        row: &mut Row,
    ) {
        if self.tables.get(place.table).is_some_and(|table| table.is_wide()) {
            let anomaly = self.anomaly(place.path, name, reason::ROW, value);
            row.remember(Original { column, anomaly, position: None });
        }
    }

    /// Records a value that is not stored as it is.
    pub(super) fn report(&mut self, path: &[String], name: Option<&str>, reason: &'static str, value: Value<'_>) {
        self.out.anomaly(self.anomaly(path, name, reason, value));
    }

    fn anomaly(&self, path: &[String], name: Option<&str>, reason: &'static str, value: Value<'_>) -> Anomaly {
        let text = |value, flavour| json::to_text(value, flavour).unwrap_or_else(|_| "null".into());
        Anomaly {
            namespace: self.namespace.clone(),
            document_id: text(self.id, Flavour::Relaxed),
            path: path.iter().map(String::as_str).chain(name).map(str::to_owned).collect(),
            reason,
            original: text(value, Flavour::Canonical),
        }
    }

    /// Replaces a table by its altered form.
    pub(super) fn alter(&mut self, index: usize, change: impl FnOnce(&mut Table)) -> Result<SharedTable, Reject> {
        let mut altered = Table::clone(&*self.table(index)?);
        change(&mut altered);
        let altered = Arc::new(altered);
        if let Some(place) = self.tables.get_mut(index) {
            *place = Arc::clone(&altered);
        }
        self.changed = true;
        Ok(altered)
    }

    /// All rows below the current key in the node's descendants go away.
    pub(super) fn delete_children(&mut self, node: &Node) {
        for child in node.children() {
            self.delete_tree(child, None);
        }
    }

    /// All rows below the current key in the node's table and its descendants go away; with `from`, those of array
    /// elements from there on.
    pub(super) fn delete_tree(&mut self, node: &Node, from: Option<i32>) {
        let mut tables = Vec::new();
        node.tables(&mut tables);
        for table in tables.into_iter().filter_map(|index| self.tables.get(index)) {
            self.out.delete(table, &self.key, from);
        }
    }
}

fn rejected(error: CellError) -> Reject {
    match error {
        CellError::WrongType => Reject("defect_column_too_narrow"),
        CellError::Twice => DUPLICATE,
        CellError::Malformed(error) => error.into(),
    }
}

/// A field name as text; bytes that are not UTF-8 become U+FFFD, as names must stay names.
pub(super) fn field_name(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
