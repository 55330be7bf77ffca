//! The shape of a collection: which path lies in which table and column.
//!
//! A tree of [`Node`]s, one per table, mirrors the documents; the tables themselves lie in one list so that rows can
//! share them while the tree changes. Forms are decided once and kept (mapping contract, section 3).

use std::collections::HashMap;

use super::options::{MappingOptions, NestedForm};
use super::types::TypeSet;
use crate::model::bson::{Doc, Malformed, Value};
use crate::model::table::PgType;
use crate::model::write_set::Form;

/// What the rows of a node's table stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The documents of the collection.
    Root,
    /// The embedded document at a path, one row per parent row that has it.
    Object,
    /// The elements of the array at a path, one row per non-null element.
    Array,
}

impl Kind {
    /// The form in the catalog.
    #[must_use]
    pub fn form(self) -> Form {
        match self {
            Kind::Root => Form::Root,
            Kind::Object => Form::ObjectTable,
            Kind::Array => Form::ArrayTable,
        }
    }
}

/// A table's place in the tree.
#[derive(Debug, Clone)]
pub struct Node {
    /// Index into the collection's tables.
    pub table: usize,
    /// What its rows are.
    pub kind: Kind,
    /// Field names from the root.
    pub path: Vec<String>,
    /// The fields seen below it.
    pub fields: HashMap<String, Field>,
    /// The column `_value` of an array's table: elements that are not documents.
    pub value: Option<ColumnState>,
}

/// One field of a node.
#[derive(Debug, Clone, Default)]
pub struct Field {
    /// Its column in the node's table, once one was needed.
    pub column: Option<ColumnState>,
    /// Its child table, once decided.
    pub child: Option<Box<Node>>,
    /// The number of the last row that it was put into, to see it when a document has a name twice.
    pub last_row: u64,
}

/// What is known of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnState {
    /// Position in the table.
    pub index: usize,
    /// Its type.
    pub ty: PgType,
    /// BSON types seen; empty while only empty arrays were, which decide nothing.
    pub seen: TypeSet,
    /// Subtype of its binary data.
    pub subtype: Option<u8>,
}

/// Where a value goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Into the child table that is there.
    Child,
    /// Into a child table that is to be made.
    NewChild(Kind),
    /// Into the column.
    Column,
}

impl Node {
    /// A node without fields.
    #[must_use]
    pub fn new(table: usize, kind: Kind, path: Vec<String>) -> Self {
        Self { table, kind, path, fields: HashMap::new(), value: None }
    }

    /// The tables of this node and of all below it.
    pub fn tables(&self, into: &mut Vec<usize>) {
        into.push(self.table);
        for child in self.children() {
            child.tables(into);
        }
    }

    /// The nodes directly below.
    pub fn children(&self) -> impl Iterator<Item = &Node> {
        self.fields.values().filter_map(|field| field.child.as_deref())
    }
}

impl Field {
    /// Where `value`, which is not null, goes.
    ///
    /// # Errors
    /// When an array is malformed.
    pub fn route(&self, value: &Value<'_>, options: &MappingOptions) -> Result<Route, Malformed> {
        if let Some(child) = &self.child {
            let fits =
                matches!((child.kind, value), (Kind::Object, Value::Document(_)) | (Kind::Array, Value::Array(_)));
            return Ok(if fits { Route::Child } else { Route::Column });
        }
        if self.column.as_ref().is_some_and(|column| !column.seen.is_empty()) {
            return Ok(Route::Column);
        }
        decide(value, options)
    }
}

/// The form that the first telling value of a path decides.
fn decide(value: &Value<'_>, options: &MappingOptions) -> Result<Route, Malformed> {
    if let Value::Document(_) = value
        && options.objects == NestedForm::Table
    {
        return Ok(Route::NewChild(Kind::Object));
    }
    if let Value::Array(array) = value
        && options.arrays == NestedForm::Table
        && holds_documents(*array)?
    {
        return Ok(Route::NewChild(Kind::Array));
    }
    Ok(Route::Column)
}

/// True when the first non-null element is a document.
fn holds_documents(array: Doc<'_>) -> Result<bool, Malformed> {
    for element in array.elements() {
        let (_, value) = element?;
        if !value.is_null() {
            return Ok(matches!(value, Value::Document(_)));
        }
    }
    Ok(false)
}

/// True for an empty array, which decides nothing about its path.
#[must_use]
pub fn is_empty_array(value: &Value<'_>) -> bool {
    matches!(value, Value::Array(array) if array.is_empty())
}
