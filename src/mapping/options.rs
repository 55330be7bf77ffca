//! What the configuration says about the mapping.

use crate::model::namespace::Namespace;
use crate::model::table::Metadata;

/// How an embedded document, or an array of documents, is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NestedForm {
    /// A child table.
    Table,
    /// One `jsonb` column.
    Jsonb,
}

/// Options for every collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappingOptions {
    /// How embedded documents are stored.
    pub objects: NestedForm,
    /// How arrays of documents are stored; other arrays are always one `jsonb` column.
    pub arrays: NestedForm,
    /// Columns of one table from which on a document with new fields is quarantined.
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

/// Options for one collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionOptions {
    /// The collection.
    pub namespace: Namespace,
    /// Its schema in the target; the database's name when not set.
    pub schema: Option<String>,
    /// Its table in the target; the collection's name when not set.
    pub table: Option<String>,
}

impl MappingOptions {
    /// The most columns that may be asked for. PostgreSQL's own limit is 1600 per table, and fewer when columns are
    /// wide; the rest is kept for keys, metadata and a user's own columns.
    pub const MAX_COLUMNS: usize = 1500;
}

impl Default for MappingOptions {
    fn default() -> Self {
        Self {
            objects: NestedForm::Table,
            arrays: NestedForm::Table,
            max_columns: 800,
            metadata: Metadata::default(),
            on_drop: OnDrop::Drop,
        }
    }
}
