//! What the configuration says about the mapping.

pub use super::derived::{Derived, Ids, Listed};
use crate::model::namespace::Namespace;
use crate::model::table::{Metadata, PgType};

/// How an embedded document, or an array of documents, is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NestedForm {
    /// A child table.
    Table,
    /// One `jsonb` column.
    Jsonb,
    /// Of a document: columns of the table around it.
    Flatten,
}

/// What happens to a value whose type its column does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnTypeConflict {
    /// The column gets a wider type.
    Widen,
    /// NULL is stored, the value is an anomaly.
    Null,
    /// The document goes to quarantine.
    Quarantine,
}

/// How names in PostgreSQL are made from those in MongoDB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Naming {
    /// As they are.
    Preserve,
    /// `rollNo` becomes `roll_no`.
    SnakeCase,
}

/// Options for every collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappingOptions {
    /// How embedded documents are stored.
    pub objects: NestedForm,
    /// How arrays of documents are stored; other arrays are always one `jsonb` column.
    pub arrays: NestedForm,
    /// What happens to values of another type than their column's.
    pub on_type_conflict: OnTypeConflict,
    /// How names are made.
    pub naming: Naming,
    /// Columns of one table from which on new fields go into its column `_extra`.
    pub max_columns: usize,
    /// Columns that root tables get beside those of the documents.
    pub metadata: Metadata,
    /// What becomes of the tables of a dropped collection.
    pub on_drop: OnDrop,
}

/// What becomes of the tables of a collection that is dropped, or replaced by a rename.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnDrop {
    /// They are dropped.
    #[default]
    Drop,
    /// They stay, and make way when a later collection wants their name.
    Keep,
}

/// Options for one collection; what is not set is as in [`MappingOptions`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionOptions {
    /// The collection.
    pub namespace: Namespace,
    /// Its schema in the target; the database's name when not set.
    pub schema: Option<String>,
    /// Its table in the target; the collection's name when not set.
    pub table: Option<String>,
    /// How its embedded documents are stored.
    pub objects: Option<NestedForm>,
    /// How its arrays of documents are stored.
    pub arrays: Option<NestedForm>,
    /// What happens to its values of another type than their column's.
    pub on_type_conflict: Option<OnTypeConflict>,
    /// Options for single paths; no path twice.
    pub paths: Vec<PathOptions>,
    /// What its table is filled with, once, instead of its documents and what becomes of them.
    pub derived: Option<Derived>,
}

/// Options for one path of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathOptions {
    /// Field names from the root, without array positions.
    pub path: Vec<String>,
    /// How documents and arrays there are stored; `jsonb` is for every value.
    pub form: Option<NestedForm>,
    /// The type of its column, whatever comes.
    pub ty: Option<PgType>,
    /// What happens to values that do not go into the column.
    pub on_type_conflict: Option<OnTypeConflict>,
}

impl MappingOptions {
    /// The most columns that may be asked for. PostgreSQL's own limit is 1600 per table, columns that were dropped
    /// included, and fewer when columns are wide; the rest is kept for keys, metadata and a user's own columns.
    pub const MAX_COLUMNS: usize = 1500;
}

impl Default for MappingOptions {
    fn default() -> Self {
        Self {
            objects: NestedForm::Table,
            arrays: NestedForm::Table,
            on_type_conflict: OnTypeConflict::Widen,
            naming: Naming::Preserve,
            max_columns: 800,
            metadata: Metadata::default(),
            on_drop: OnDrop::Drop,
        }
    }
}

impl CollectionOptions {
    /// A collection without options of its own.
    #[must_use]
    pub fn new(namespace: Namespace) -> Self {
        let (schema, table, objects, arrays, on_type_conflict) = (None, None, None, None, None);
        Self { namespace, schema, table, objects, arrays, on_type_conflict, paths: Vec::new(), derived: None }
    }
}

impl PathOptions {
    /// A path without options of its own.
    #[must_use]
    pub fn new(path: Vec<String>) -> Self {
        Self { path, form: None, ty: None, on_type_conflict: None }
    }
}
