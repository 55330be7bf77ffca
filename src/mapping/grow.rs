//! How a shape grows: new columns, wider columns, new child tables.

use std::sync::Arc;

use super::collection::{Output, Reject};
use super::document::Pass;
use super::names::{SYSTEM_COLUMNS, identifier};
use super::root::{asides, table_path_row};
use super::shape::{ColumnState, Field, Kind, Node, is_empty_array};
use super::types::{TypeSet, join, natural, subtype};
use crate::model::bson::Value;
use crate::model::identifier::Identifier;
use crate::model::table::{Column, Metadata, PgType, Table, TableId};
use crate::model::write_set::{Ddl, Form, PathRow};

/// The column of array elements that are not documents.
const VALUE_COLUMN: &str = "_value";

/// Names that fields cannot have in any table (mapping contract, section 3; `_key` will be the key of mixed ids).
const RESERVED: [&str; 4] = ["_index", VALUE_COLUMN, "_extra", "_key"];

/// What a column learns from a value: an empty array tells nothing.
fn telling(value: &Value<'_>) -> TypeSet {
    if is_empty_array(value) { TypeSet::default() } else { TypeSet::of(value) }
}

impl<O: Output> Pass<'_, '_, O> {
    /// A new column for the field `name` of the node at `path`; without a name, its `_value`.
    pub(super) fn create_column(
        &mut self,
        table: usize,
        path: &[String],
        name: Option<&str>,
        ty: PgType,
        value: &Value<'_>,
    ) -> Result<ColumnState, Reject> {
        let before = self.table(table)?;
        if before.columns.len() >= self.shared.options.max_columns {
            return Err(Reject("too_many_columns"));
        }
        let column_name = match name {
            None => Identifier::new(VALUE_COLUMN).ok_or(Reject("defect_name"))?,
            Some(name) => identifier(name, &self.full_path(path, name), |name| {
                RESERVED.contains(&name) || SYSTEM_COLUMNS.contains(&name) || before.has_column(name)
            }),
        };
        let index = before.columns.len();
        let after = self.alter(table, |table| table.columns.push(Column { name: column_name, ty }))?;
        self.ddl.push(Ddl::AddColumn(after));
        let column = ColumnState { index, ty, seen: telling(value), subtype: subtype(value) };
        self.record_column(table, path, name, &column)?;
        Ok(column)
    }

    /// Makes a column hold a value: widens its type, notes its BSON type.
    pub(super) fn adapt(
        &mut self,
        table: usize,
        path: &[String],
        name: Option<&str>,
        column: &mut ColumnState,
        value: &Value<'_>,
    ) -> Result<(), Reject> {
        // An empty array decides nothing, but in a column that is decided it is an array like any other.
        let types = if column.seen.is_empty() { telling(value) } else { TypeSet::of(value) };
        let other_subtype = subtype(value).is_some_and(|subtype| column.subtype != Some(subtype));
        if column.seen.contains(types) && (!other_subtype || column.ty == PgType::Jsonb) {
            return Ok(());
        }
        let binary_twice = other_subtype && column.subtype.is_some();
        let ty = if binary_twice { PgType::Jsonb } else { join(column.ty, natural(value)) };
        let from = std::mem::replace(&mut column.ty, ty);
        let seen_before = column.seen.names();
        column.seen = column.seen.union(types);
        if from != ty {
            let index = column.index;
            let after = self.alter(table, |table| {
                if let Some(column) = table.columns.get_mut(index) {
                    column.ty = ty;
                }
            })?;
            let subtype = column.subtype;
            self.ddl.push(Ddl::Widen { table: after, column: index, from, seen: seen_before, subtype });
        }
        column.subtype = column.subtype.or(subtype(value));
        self.changed = true;
        self.record_column(table, path, name, column)
    }

    /// A child table for the field `name` of the node at `path`.
    pub(super) fn create_child(
        &mut self,
        parent: usize,
        parent_kind: Kind,
        path: &[String],
        name: &str,
        kind: Kind,
        field: &mut Field,
    ) -> Result<(), Reject> {
        let child_path: Vec<String> = path.iter().cloned().chain([name.to_owned()]).collect();
        let root = self.table(0)?;
        let wanted = format!("{}_{}", root.name.as_str(), child_path.join("_"));
        let full_path = self.full_path(path, name);
        let columns = self.child_key(parent, parent_kind, path, kind)?;
        let schema = root.schema.clone();
        let claim = self.shared.names.claim(&schema, &wanted, &full_path);
        self.ddl.extend(asides(&schema, &claim));
        let name = claim.name;
        let (id, key, metadata) = (TableId::fresh(), columns.len(), Metadata::default());
        let table = Arc::new(Table { id, schema, name, key, columns, metadata });
        let index = self.tables.len();
        self.tables.push(Arc::clone(&table));
        self.ddl.push(Ddl::CreateTable(Arc::clone(&table)));
        let row = table_path_row(self.collection, self.namespace, &child_path, kind.form(), &table);
        self.ddl.push(Ddl::Path(row));
        field.child = Some(Box::new(Node::new(index, kind, child_path)));
        self.changed = true;
        Ok(())
    }

    /// The key columns of a child: the parent's, its own `_index` renamed, and an `_index` for an array.
    fn child_key(
        &self,
        parent: usize,
        parent_kind: Kind,
        parent_path: &[String],
        kind: Kind,
    ) -> Result<Vec<Column>, Reject> {
        let parent = self.table(parent)?;
        let mut columns: Vec<Column> = parent.key_columns().to_vec();
        let full_path = |name: &str| self.full_path(parent_path, name);
        let renamed = match parent_kind {
            Kind::Root => Some(format!("{}__id", parent.name.as_str())),
            Kind::Array => parent_path.last().map(|name| format!("{name}__index")),
            Kind::Object => None,
        };
        if let Some(wanted) = renamed
            && let Some(last) = columns.pop()
        {
            let taken = |name: &str| columns.iter().any(|column| column.name.as_str() == name);
            let name = identifier(&wanted, &full_path(&wanted), |name| name == "_index" || taken(name));
            columns.push(Column { name, ty: last.ty });
        }
        if kind == Kind::Array {
            let name = Identifier::new("_index").ok_or(Reject("defect_name"))?;
            columns.push(Column { name, ty: PgType::Integer });
        }
        Ok(columns)
    }

    fn record_column(
        &mut self,
        table: usize,
        path: &[String],
        name: Option<&str>,
        column: &ColumnState,
    ) -> Result<(), Reject> {
        let table = self.table(table)?;
        let name_in_table = table.columns.get(column.index).map(|column| column.name.clone());
        self.ddl.push(Ddl::Path(PathRow {
            collection: self.collection,
            namespace: self.namespace.clone(),
            path: path.iter().map(String::as_str).chain(name).map(str::to_owned).collect(),
            form: Form::Column,
            schema: table.schema.clone(),
            table: table.name.clone(),
            column: name_in_table.map(|name| (name, column.ty)),
            bson_types: column.seen.names(),
            subtype: column.subtype,
            key_columns: Vec::new(),
        }));
        Ok(())
    }

    /// What the hash of a name is made from.
    fn full_path(&self, path: &[String], name: &str) -> String {
        full_path(self.namespace, path.iter().map(String::as_str).chain([name]))
    }
}

/// What the hash of a name is made from: namespace and field names, apart by U+0000, which no name can hold.
pub(super) fn full_path<'p>(
    namespace: &crate::model::namespace::Namespace,
    path: impl Iterator<Item = &'p str>,
) -> String {
    path.fold(namespace.to_string(), |text, name| text + "\0" + name)
}
