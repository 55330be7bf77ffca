//! The mapping's options, as the configuration gives them.

/// How embedded documents, or arrays of documents, are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NestedForm {
    /// In child tables.
    #[default]
    Table,
    /// In one `jsonb` column.
    Jsonb,
}

/// Options for every collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingOptions {
    /// Embedded documents.
    pub objects: NestedForm,
    /// Arrays of documents.
    pub arrays: NestedForm,
    /// Columns of one table from which on a document with new fields is quarantined.
    pub max_columns: usize,
}

impl Default for MappingOptions {
    fn default() -> Self {
        Self { objects: NestedForm::Table, arrays: NestedForm::Table, max_columns: 800 }
    }
}

/// Where one collection goes, when not to the schema and table of its own names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionOptions {
    /// `database.collection`.
    pub namespace: String,
    /// PostgreSQL schema.
    pub schema: Option<String>,
    /// PostgreSQL table.
    pub table: Option<String>,
}
