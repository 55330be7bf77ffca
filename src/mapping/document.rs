//! One conversion: the walk over a document that makes its rows and, where the shape does not hold it, the shape too.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::cell::{self, CellError};
use super::collection::{Output, Reject, Shared};
use super::json::{self, Flavour};
use super::losses::{self, Loss};
use super::root::write_id;
use super::shape::{ColumnState, Field, Kind, Node, Route};
use crate::model::bson::{Doc, Value};
use crate::model::namespace::{CollectionId, Namespace};
use crate::model::row::{Key, Row};
use crate::model::table::{PgType, SharedTable, Table};
use crate::model::write_set::{Anomaly, Ddl};

/// A document that has a field name twice.
pub(super) const DUPLICATE: Reject = Reject("duplicate_field");

/// The state of one conversion.
pub struct Pass<'s, 'd, O: Output> {
    pub(super) collection: CollectionId,
    pub(super) namespace: &'s Namespace,
    pub(super) shared: &'s Shared,
    pub(super) tables: &'s mut Vec<SharedTable>,
    pub(super) ddl: &'s mut Vec<Ddl>,
    pub(super) out: &'s mut O,
    id: Value<'d>,
    /// The key of the row whose fields are being read.
    pub(super) key: Key,
    pub(super) changed: bool,
    /// Row buffers to use again, one per level of nesting.
    spare: Vec<Row>,
    /// How many rows this mapping has put.
    pub(super) rows: u64,
    /// The root table's column `_id`, where it is not the key.
    pub(super) id_column: Option<usize>,
}

impl<'s, 'd, O: Output> Pass<'s, 'd, O> {
    #[allow(clippy::too_many_arguments, reason = "the borrows of one collection, taken apart")]
    pub(super) fn new(
        collection: CollectionId,
        namespace: &'s Namespace,
        shared: &'s Shared,
        tables: &'s mut Vec<SharedTable>,
        ddl: &'s mut Vec<Ddl>,
        out: &'s mut O,
        id: Value<'d>,
        key: Key,
    ) -> Self {
        let (changed, spare, rows, id_column) = (false, Vec::new(), 0, None);
        Self { collection, namespace, shared, tables, ddl, out, id, key, changed, spare, rows, id_column }
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
        self.tables.get(index).cloned().ok_or(Reject("defect_table_missing"))
    }

    /// The row of `document` in the node's table, and the rows below it.
    ///
    /// # Errors
    /// When a name comes twice (MongoDB takes such documents): one of the values would be lost.
    pub(super) fn put_row(&mut self, node: &mut Node, document: Doc<'_>) -> Result<(), Reject> {
        let mut row = self.spare.pop().unwrap_or_default();
        row.clear();
        self.rows += 1;
        let number = self.rows;
        if let (Kind::Root, Some(column)) = (node.kind, self.id_column) {
            row.set(column, &write_id(self.id, PgType::Jsonb)?);
        }
        for element in document.elements() {
            let (name, value) = element?;
            if node.kind == Kind::Root && name == b"_id" {
                continue;
            }
            let name = self.named(&node.path, name, value);
            if value.is_null() {
                // Missing and null are one, but null after a value would be the value.
                if node.fields.get(&*name).is_some_and(|field| field.last_row == number) {
                    return Err(DUPLICATE);
                }
                continue;
            }
            let field = field_mut(&mut node.fields, &name);
            if std::mem::replace(&mut field.last_row, number) == number {
                return Err(DUPLICATE);
            }
            self.put_field(node, &name, value, &mut row)?;
        }
        let table = self.table(node.table)?;
        self.out.put(&table, &self.key, &row);
        self.spare.push(row);
        Ok(())
    }

    /// One field, not null, of a row. Its rows in child tables do not exist yet, or are gone.
    pub(super) fn put_field(
        &mut self,
        node: &mut Node,
        name: &str,
        value: Value<'_>,
        row: &mut Row,
    ) -> Result<(), Reject> {
        let Node { table, kind, path, fields, .. } = node;
        let field = field_mut(fields, name);
        match field.route(&value, &self.shared.options)? {
            Route::Column => self.store(*table, path, name, &mut field.column, value, row),
            Route::Child => self.put_children(field, value),
            Route::NewChild(child_kind) => {
                self.create_child(*table, *kind, path, name, child_kind, field)?;
                self.put_children(field, value)
            }
        }
    }

    /// The rows of a value that has a child table.
    pub(super) fn put_children(&mut self, field: &mut Field, value: Value<'_>) -> Result<(), Reject> {
        let Some(child) = field.child.as_deref_mut() else { return Ok(()) };
        if let Value::Document(document) = value {
            return self.put_row(child, document);
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
        let mut row = Row::default();
        let Node { table, path, value: column, .. } = node;
        if column.is_none() {
            *column = Some(self.create_column(*table, path, None, PgType::Jsonb, &value)?);
        }
        self.store_into(*table, path, None, column, value, &mut row)?;
        let table = self.table(*table)?;
        self.out.put(&table, &self.key, &row);
        Ok(())
    }

    /// A value into its column, which is made or widened first where that is needed.
    pub(super) fn store(
        &mut self,
        table: usize,
        path: &[String],
        name: &str,
        column: &mut Option<ColumnState>,
        value: Value<'_>,
        row: &mut Row,
    ) -> Result<(), Reject> {
        if column.is_none() {
            *column = Some(self.create_column(table, path, Some(name), super::types::natural(&value), &value)?);
        }
        self.store_into(table, path, Some(name), column, value, row)
    }

    fn store_into(
        &mut self,
        table: usize,
        path: &[String],
        name: Option<&str>,
        column: &mut Option<ColumnState>,
        value: Value<'_>,
        row: &mut Row,
    ) -> Result<(), Reject> {
        let Some(column) = column else { return Ok(()) };
        self.adapt(table, path, name, column, &value)?;
        let mut loss = None;
        row.write(column.index, |bytes| cell::write(value, column.ty, bytes).map(|reason| loss = reason)).map_err(
            |error| match error {
                CellError::WrongType => Reject("defect_column_too_narrow"),
                CellError::Twice => DUPLICATE,
                CellError::Malformed(_) => Reject("malformed_bson"),
            },
        )?;
        match loss {
            Some(_) if column.ty == PgType::Jsonb => self.report_all(path, name, losses::in_value(value)?),
            Some(reason) => self.report(path, name, reason, value),
            None => {}
        }
        Ok(())
    }

    /// A field's name as it is stored; records one that is not stored as it is, if there is a value.
    pub(super) fn named<'n>(&mut self, path: &[String], bytes: &'n [u8], value: Value<'_>) -> Cow<'n, str> {
        let name = field_name(bytes);
        if matches!(name, Cow::Owned(_)) && !value.is_null() {
            self.report(path, Some(&name), cell::reason::NAME, Value::Binary { subtype: 0, bytes });
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

    /// Records a value that is not stored as it is.
    pub(super) fn report(&mut self, path: &[String], name: Option<&str>, reason: &'static str, value: Value<'_>) {
        let text = |value, flavour| json::to_text(value, flavour).unwrap_or_else(|_| "null".into());
        self.out.anomaly(Anomaly {
            namespace: self.namespace.clone(),
            document_id: text(self.id, Flavour::Relaxed),
            path: path.iter().map(String::as_str).chain(name).map(str::to_owned).collect(),
            reason,
            original: text(value, Flavour::Canonical),
        });
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

/// A field name as text; bytes that are not UTF-8 become U+FFFD, as names must stay names.
pub(super) fn field_name(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// The field of that name, made where it is missing.
fn field_mut<'f>(fields: &'f mut HashMap<String, Field>, name: &str) -> &'f mut Field {
    if !fields.contains_key(name) {
        fields.insert(name.to_owned(), Field::default());
    }
    fields.get_mut(name).expect("inserted above")
}
