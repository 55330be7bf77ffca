//! How a shape grows: new columns, wider columns, new child tables.

use std::sync::Arc;

use super::collection::{Output, Reject, Shared};
use super::document::Pass;
use super::names::{SYSTEM_COLUMNS, identifier};
use super::root::{asides, table_path_row};
use super::shape::{ColumnState, Field, Kind, Node, Place, is_empty_array};
use super::types::{TypeSet, join, natural, subtype};
use crate::model::bson::Value;
use crate::model::identifier::Identifier;
use crate::model::table::{Column, EXTRA_COLUMN, Metadata, PgType, Table, TableId};
use crate::model::write_set::{ColumnChange, Ddl, Form, PathRow};

/// The column of array elements that are not documents.
const VALUE_COLUMN: &str = "_value";

/// Names that fields cannot have in any table (mapping contract, section 3; `_key` is the key of mixed ids).
const RESERVED: [&str; 4] = ["_index", VALUE_COLUMN, EXTRA_COLUMN, "_key"];

/// What a column learns from a value: an empty array tells nothing.
fn telling(value: &Value<'_>) -> TypeSet {
    if is_empty_array(value) { TypeSet::default() } else { TypeSet::of(value) }
}

/// What a column that is there learns from a value: an empty array decides nothing, but in a column that is decided it is
/// an array like any other.
fn types_of(column: &ColumnState, value: &Value<'_>) -> TypeSet {
    if column.seen.is_empty() { telling(value) } else { TypeSet::of(value) }
}

/// The type with which a column holds a value beside what it holds already.
fn wanted_type(column: &ColumnState, value: &Value<'_>) -> PgType {
    let subtype = subtype(value);
    let another = subtype.is_some() && column.subtype.is_some() && column.subtype != subtype;
    if another { PgType::Jsonb } else { join(column.ty, natural(value)) }
}

/// True when a column holds a value without being widened.
pub(super) fn holds(column: &ColumnState, value: &Value<'_>) -> bool {
    wanted_type(column, value) == column.ty
}

impl<O: Output> Pass<'_, '_, O> {
    /// A new column for the field `name` at `place`; without a name, the table's `_value`. It has seen `value`, if any.
    pub(super) fn create_column(
        &mut self,
        place: Place<'_>,
        name: Option<&str>,
        ty: PgType,
        value: Option<&Value<'_>>,
    ) -> Result<ColumnState, Reject> {
        let before = self.table(place.table)?;
        let column_name = match name {
            None => Identifier::new(VALUE_COLUMN).ok_or(Reject("defect_name"))?,
            Some(name) => {
                let wanted = joined(self.shared, place.flattened().iter().map(String::as_str).chain([name]));
                identifier(&wanted, &self.full_path(place.path, name), |name| {
                    RESERVED.contains(&name) || SYSTEM_COLUMNS.contains(&name) || before.has_column(name)
                })
            }
        };
        let index = before.columns.len();
        let after = self.alter(place.table, |table| table.columns.push(Column { name: column_name, ty }))?;
        self.ddl.push(Ddl::Alter { table: after, columns: vec![ColumnChange::Add { index }] });
        let column =
            ColumnState { index, ty, seen: value.map(telling).unwrap_or_default(), subtype: value.and_then(subtype) };
        self.record_column(place.table, names(place, name), &column)?;
        Ok(column)
    }

    /// Makes a column hold a value: widens its type, notes its BSON type.
    pub(super) fn widen(
        &mut self,
        place: Place<'_>,
        name: Option<&str>,
        column: &mut ColumnState,
        value: &Value<'_>,
    ) -> Result<(), Reject> {
        let from = column.ty;
        let ty = wanted_type(column, value);
        if from == ty {
            return self.note(place, name, column, value);
        }
        column.ty = ty;
        let (index, subtype, seen) = (column.index, column.subtype, column.seen.names());
        let after = self.alter(place.table, |table| {
            if let Some(column) = table.columns.get_mut(index) {
                column.ty = ty;
            }
        })?;
        let widen = ColumnChange::Widen { index, from, seen, subtype };
        self.ddl.push(Ddl::Alter { table: after, columns: vec![widen] });
        self.learn(column, value);
        self.record_column(place.table, names(place, name), column)
    }

    /// Notes the BSON type of a value that the column holds as it is.
    pub(super) fn note(
        &mut self,
        place: Place<'_>,
        name: Option<&str>,
        column: &mut ColumnState,
        value: &Value<'_>,
    ) -> Result<(), Reject> {
        let known = subtype(value).is_none_or(|subtype| column.subtype == Some(subtype));
        if column.seen.contains(types_of(column, value)) && (known || column.ty == PgType::Jsonb) {
            return Ok(());
        }
        self.learn(column, value);
        self.record_column(place.table, names(place, name), column)
    }

    fn learn(&mut self, column: &mut ColumnState, value: &Value<'_>) {
        column.seen = column.seen.union(types_of(column, value));
        column.subtype = column.subtype.or(subtype(value));
        self.changed = true;
    }

    /// A child table for the field `name` at `place`.
    pub(super) fn create_child(
        &mut self,
        place: Place<'_>,
        name: &str,
        kind: Kind,
        field: &mut Field,
    ) -> Result<(), Reject> {
        let child_path = names(place, Some(name));
        let root = self.table(0)?;
        let wanted = child_name(self.shared, root.name.as_str(), &child_path);
        let full_path = self.full_path(place.path, name);
        let columns = self.child_key(place, kind)?;
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
    fn child_key(&self, place: Place<'_>, kind: Kind) -> Result<Vec<Column>, Reject> {
        let parent = self.table(place.table)?;
        let mut columns: Vec<Column> = parent.key_columns().to_vec();
        let full_path = |name: &str| self.full_path(place.owner(), name);
        let renamed = match place.kind {
            // `_id`, or the `_key` of mixed ids.
            Kind::Root => parent.columns.first().map(|key| format!("{}_{}", parent.name.as_str(), key.name.as_str())),
            Kind::Array => {
                place.owner().last().map(|name| format!("{}__index", self.shared.options.naming.apply(name)))
            }
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

    pub(super) fn record_column(
        &mut self,
        table: usize,
        path: Vec<String>,
        column: &ColumnState,
    ) -> Result<(), Reject> {
        let table = self.table(table)?;
        let name_in_table = table.columns.get(column.index).map(|column| column.name.clone());
        self.ddl.push(Ddl::Path(PathRow {
            collection: self.collection,
            namespace: self.namespace.clone(),
            path,
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

/// The name that a child table wants.
pub(super) fn child_name(shared: &Shared, root: &str, path: &[String]) -> String {
    format!("{root}_{}", joined(shared, path.iter().map(String::as_str)))
}

/// Names as one, each made as the configuration says.
fn joined<'p>(shared: &Shared, names: impl Iterator<Item = &'p str>) -> String {
    names.map(|name| shared.options.naming.apply(name)).collect::<Vec<_>>().join("_")
}

/// The path of a field, or without a name that of the place itself.
fn names(place: Place<'_>, name: Option<&str>) -> Vec<String> {
    place.names(name).map(str::to_owned).collect()
}

/// What the hash of a name is made from: namespace and field names, apart by U+0000, which no name can hold.
pub(super) fn full_path<'p>(
    namespace: &crate::model::namespace::Namespace,
    path: impl Iterator<Item = &'p str>,
) -> String {
    path.fold(namespace.to_string(), |text, name| text + "\0" + name)
}
