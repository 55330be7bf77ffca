//! The shape of a collection: which path lies in which table and column.
//!
//! A tree of [`Node`]s, one per table, mirrors the documents; the tables themselves lie in one list so that rows can
//! share them while the tree changes. Forms are decided once and kept (mapping contract, section 3).

use super::fields::Fields;
use super::options::NestedForm;
use super::policy::{FieldOptions, Policies};
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

/// A table's place in the tree, or that of a flattened document, whose fields lie in the table around it.
#[derive(Debug, Clone)]
pub struct Node {
    /// Index into the collection's tables.
    pub table: usize,
    /// What the rows of its table are.
    pub kind: Kind,
    /// Field names from the root.
    pub path: Vec<String>,
    /// How many names at the end of the path are flattened into the names of the columns; 0 for a table's own node.
    pub flat: usize,
    /// The fields seen below it.
    pub fields: Fields,
    /// The column `_value` of an array's table: elements that are not documents.
    pub value: Option<ColumnState>,
}

/// Which table a node's fields lie in, and as what.
#[derive(Debug, Clone, Copy)]
pub struct Place<'n> {
    /// Index into the collection's tables.
    pub table: usize,
    /// What the rows of that table are.
    pub kind: Kind,
    /// Field names from the root.
    pub path: &'n [String],
    /// As [`Node::flat`].
    pub flat: usize,
}

/// One field of a node.
#[derive(Debug, Clone)]
pub struct Field {
    /// What the configuration says about it.
    pub options: FieldOptions,
    /// Its column in the node's table, once one was needed.
    pub column: Option<ColumnState>,
    /// Its child table, or its flattened fields, once decided.
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
    /// Into columns of this table, one for each of its fields.
    Flatten,
    /// Into the column.
    Column,
}

impl Node {
    /// A node without fields.
    #[must_use]
    pub fn new(table: usize, kind: Kind, path: Vec<String>) -> Self {
        Self { table, kind, path, flat: 0, fields: Fields::default(), value: None }
    }

    /// The node of the document at `name`, whose fields lie in the same table as `place`'s.
    #[must_use]
    pub fn flattened(place: Place<'_>, name: &str) -> Self {
        let path = place.path.iter().map(String::as_str).chain([name]).map(str::to_owned).collect();
        Self { flat: place.flat + 1, ..Self::new(place.table, place.kind, path) }
    }

    /// Where its fields lie.
    #[must_use]
    pub fn place(&self) -> Place<'_> {
        Place { table: self.table, kind: self.kind, path: &self.path, flat: self.flat }
    }

    /// Where its fields lie, its fields, and its `_value`, each to be used beside the others.
    pub fn parts(&mut self) -> (Place<'_>, &mut Fields, &mut Option<ColumnState>) {
        let Self { table, kind, path, flat, fields, value } = self;
        (Place { table: *table, kind: *kind, path, flat: *flat }, fields, value)
    }

    /// True when its values are arrays.
    #[must_use]
    pub fn is_array(&self) -> bool {
        self.kind == Kind::Array && self.flat == 0
    }

    /// The tables of this node and of all below it.
    pub fn tables(&self, into: &mut Vec<usize>) {
        if self.flat == 0 {
            into.push(self.table);
        }
        for child in self.children() {
            child.tables(into);
        }
    }

    /// Takes the options that hold from now on. Forms that are decided stay.
    pub fn follow(&mut self, policies: &Policies) {
        for (name, field) in self.fields.iter_mut() {
            field.options = policies.of(&self.path, name);
            if let Some(child) = &mut field.child {
                child.follow(policies);
            }
        }
    }

    /// The nodes directly below.
    pub fn children(&self) -> impl Iterator<Item = &Node> {
        self.fields.values().filter_map(|field| field.child.as_deref())
    }
}

impl<'n> Place<'n> {
    /// The path of the table's own rows.
    #[must_use]
    pub fn owner(&self) -> &'n [String] {
        self.path.get(..self.path.len().saturating_sub(self.flat)).unwrap_or_default()
    }

    /// The names that are flattened, the outermost first.
    #[must_use]
    pub fn flattened(&self) -> &'n [String] {
        self.path.get(self.path.len().saturating_sub(self.flat)..).unwrap_or_default()
    }

    /// The path of a field, or with no name the node's own.
    pub fn names<'a>(&self, name: Option<&'a str>) -> impl Iterator<Item = &'a str> + use<'a, 'n>
    where
        'n: 'a,
    {
        self.path.iter().map(String::as_str).chain(name)
    }
}

impl Field {
    /// A field of which nothing is known but what the configuration says.
    #[must_use]
    pub fn new(options: FieldOptions) -> Self {
        Self { options, column: None, child: None, last_row: 0 }
    }

    /// True while nothing of it lies anywhere.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.column.is_none() && self.child.is_none()
    }

    /// True while it has only held empty arrays.
    #[must_use]
    pub fn is_undecided(&self) -> bool {
        self.child.is_none() && self.column.as_ref().is_some_and(|column| column.seen.is_empty())
    }

    /// Where `value`, which is not null, goes.
    ///
    /// # Errors
    /// When an array is malformed.
    pub fn route(&self, value: &Value<'_>) -> Result<Route, Malformed> {
        if let Some(child) = &self.child {
            let fits =
                if child.is_array() { matches!(value, Value::Array(_)) } else { matches!(value, Value::Document(_)) };
            return Ok(if fits { Route::Child } else { Route::Column });
        }
        let decided = self.column.as_ref().is_some_and(|column| !column.seen.is_empty());
        if decided || self.options.is_column() { Ok(Route::Column) } else { decide(value, self.options) }
    }
}

/// The form that the first telling value of a path decides.
fn decide(value: &Value<'_>, options: FieldOptions) -> Result<Route, Malformed> {
    if let Value::Document(_) = value {
        return Ok(match options.objects {
            NestedForm::Table => Route::NewChild(Kind::Object),
            NestedForm::Flatten => Route::Flatten,
            NestedForm::Jsonb => Route::Column,
        });
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

/// The field of that name below `path`, made where it is missing.
pub(super) fn field_mut<'f>(fields: &'f mut Fields, policies: &Policies, path: &[String], name: &str) -> &'f mut Field {
    fields.get_or_insert_with(name, || Field::new(policies.of(path, name)))
}

/// True for an empty array, which decides nothing about its path.
#[must_use]
pub fn is_empty_array(value: &Value<'_>) -> bool {
    matches!(value, Value::Array(array) if array.is_empty())
}
