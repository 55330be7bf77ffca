//! Tables as the rest of the program sees them: identifiers and types, in the order of the row images.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::identifier::Identifier;

/// The overflow column of a table that is full (mapping contract, section 4). No field's column has its name.
pub const EXTRA_COLUMN: &str = "_extra";

/// The column types of the mapping contract, section 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PgType {
    /// `boolean`
    Boolean,
    /// `integer`
    Integer,
    /// `bigint`
    BigInt,
    /// `double precision`
    Double,
    /// `numeric`
    Numeric,
    /// `text`
    Text,
    /// `timestamptz`
    TimestampTz,
    /// `uuid`
    Uuid,
    /// `bytea`
    Bytea,
    /// `jsonb`
    Jsonb,
}

impl PgType {
    /// Every type, for look-ups by name.
    pub const ALL: [PgType; 10] = [
        PgType::Boolean,
        PgType::Integer,
        PgType::BigInt,
        PgType::Double,
        PgType::Numeric,
        PgType::Text,
        PgType::TimestampTz,
        PgType::Uuid,
        PgType::Bytea,
        PgType::Jsonb,
    ];

    /// PostgreSQL's name, as in `tailwater.paths.column_type`.
    #[must_use]
    pub fn sql_name(self) -> &'static str {
        match self {
            PgType::Boolean => "boolean",
            PgType::Integer => "integer",
            PgType::BigInt => "bigint",
            PgType::Double => "double precision",
            PgType::Numeric => "numeric",
            PgType::Text => "text",
            PgType::TimestampTz => "timestamptz",
            PgType::Uuid => "uuid",
            PgType::Bytea => "bytea",
            PgType::Jsonb => "jsonb",
        }
    }

    /// The type of that name, as [`PgType::sql_name`] writes it.
    #[must_use]
    pub fn from_sql_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.sql_name() == name)
    }

    /// True for the types that hold numbers.
    #[must_use]
    pub fn is_number(self) -> bool {
        matches!(self, PgType::Integer | PgType::BigInt | PgType::Double | PgType::Numeric)
    }
}

impl fmt::Display for PgType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sql_name())
    }
}

/// A table's identity in this process: it stays when the table is altered or renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId(u64);

impl TableId {
    /// An id that no other table of this process has.
    #[must_use]
    pub fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: Identifier,
    /// Its type.
    pub ty: PgType,
}

/// The columns that Tailwater adds to root tables of its own accord. They lie beside [`Table::columns`]: no value of a
/// document is in them, and `tailwater.paths` does not list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metadata {
    /// `_synced_at timestamptz`: when the document, any of its rows, was written last.
    pub synced_at: bool,
    /// `_source jsonb`: by which change.
    pub source: bool,
    /// `_deleted_at timestamptz`: deleted documents stay, marked by the time.
    pub deleted_at: bool,
}

impl Metadata {
    /// The time of the PostgreSQL transaction that wrote the document last.
    pub const SYNCED_AT: &str = "_synced_at";
    /// The change that did.
    pub const SOURCE: &str = "_source";
    /// The time of the PostgreSQL transaction that deleted it.
    pub const DELETED_AT: &str = "_deleted_at";

    /// The columns that are switched on, and their types.
    pub fn columns(self) -> impl Iterator<Item = (&'static str, PgType)> {
        [
            (self.synced_at, Self::SYNCED_AT, PgType::TimestampTz),
            (self.source, Self::SOURCE, PgType::Jsonb),
            (self.deleted_at, Self::DELETED_AT, PgType::TimestampTz),
        ]
        .into_iter()
        .filter_map(|(on, name, ty)| on.then_some((name, ty)))
    }

    /// True when any is switched on.
    #[must_use]
    pub fn any(self) -> bool {
        self.columns().next().is_some()
    }

    /// True when the name is taken by one of them.
    #[must_use]
    pub fn has(self, name: &str) -> bool {
        self.columns().any(|(column, _)| column == name)
    }
}

/// One table at one moment; a schema change makes a new value with the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Identity.
    pub id: TableId,
    /// PostgreSQL schema.
    pub schema: Identifier,
    /// Name within it.
    pub name: Identifier,
    /// The first `key` columns are the primary key.
    pub key: usize,
    /// All columns; a row image's slots are in this order.
    pub columns: Vec<Column>,
    /// Columns beside those; of a root table only.
    pub metadata: Metadata,
}

impl Table {
    /// Columns from which on a row may be too wide for a page of PostgreSQL. A row has 8,160 bytes there; whatever is
    /// stored out of line leaves a pointer of 18, and what is too short for that takes at most 27 with its padding
    /// (derived from `heap_toast_insert_or_update`). 24 + 290 / 8 + 290 × 27 is below 8,160.
    const WIDE: usize = 290;

    /// Columns of an index, at most (`INDEX_MAX_KEYS` of PostgreSQL as it is built everywhere).
    pub const MAX_KEY: usize = 32;

    /// True when the table has so many columns that a row of it may be too wide.
    #[must_use]
    pub fn is_wide(&self) -> bool {
        self.columns.len() > Self::WIDE
    }

    /// `"schema"."name"`.
    #[must_use]
    pub fn qualified(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// The key columns.
    #[must_use]
    pub fn key_columns(&self) -> &[Column] {
        self.columns.get(..self.key).unwrap_or_default()
    }

    /// True for `_extra`, in which NULL is an object without fields.
    #[must_use]
    pub fn is_extra(&self, column: usize) -> bool {
        column >= self.key && self.columns.get(column).is_some_and(|column| column.name.as_str() == EXTRA_COLUMN)
    }

    /// True when a column has that name.
    #[must_use]
    pub fn has_column(&self, name: &str) -> bool {
        self.metadata.has(name) || self.columns.iter().any(|column| column.name.as_str() == name)
    }
}

/// Tables are shared by the rows that are made for them.
pub type SharedTable = Arc<Table>;
