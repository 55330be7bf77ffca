//! What a lane hands to an executor: everything one change does to PostgreSQL, in order.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{OwnedRwLockWriteGuard, oneshot};

use super::bson::Document;
use super::identifier::Identifier;
use super::namespace::{CollectionId, Namespace};
use super::position::Position;
use super::row::{Key, RowChange};
use super::table::{PgType, SharedTable};

/// One change of the source, converted.
#[derive(Debug)]
pub struct WriteSet {
    /// Where the source stands after it; `None` when it is no change of the source.
    pub position: Option<Position>,
    /// True when a commit may follow.
    pub boundary: bool,
    /// The database whose lane position it moves.
    pub database: Arc<str>,
    /// The operation, as in the metric's label; `None` when nothing is applied.
    pub operation: Option<&'static str>,
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// True when no row of its document can be there: an insert, of a collection whose rows are exactly the source's.
    pub fresh: bool,
    /// What is kept until it is committed.
    pub held: Held,
}

/// What is kept until a write set is committed.
#[derive(Debug, Default)]
pub struct Held {
    /// Ranges of the collection are kept out while its tables change.
    pub gate: Option<Arc<OwnedRwLockWriteGuard<()>>>,
    /// Told of the commit.
    pub committed: Option<oneshot::Sender<()>>,
}

impl Held {
    /// True when there is nothing.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.gate.is_none() && self.committed.is_none()
    }
}

/// One thing to do.
#[derive(Debug)]
pub enum Step {
    /// A schema change; flushes the rows before it.
    Ddl(Ddl),
    /// A change of rows.
    Row(RowChange),
    /// A value that could not be stored as it is.
    Anomaly(Anomaly),
    /// A document that could not be stored at all.
    Quarantine(Quarantined),
    /// A document of a collection that is copied over rows which are there is met at the source.
    Met {
        /// Its collection.
        collection: CollectionId,
        /// The digest of its id.
        id: [u8; 32],
    },
    /// A quarantined document is gone from the source, or is replaced.
    Release {
        /// Its collection.
        collection: CollectionId,
        /// Its id, as in [`Quarantined::id_key`].
        id_key: String,
    },
    /// A deleted document's rows stay, if it has a root row. While the stream catches up with the copy it may have none, and
    /// an update of it has made rows that belong to nothing.
    Orphans {
        /// The root's table, and those below it.
        tables: Vec<SharedTable>,
        /// The document's key.
        key: Key,
    },
}

/// A schema change. Tables in it are as they are afterwards.
#[derive(Debug, Clone)]
pub enum Ddl {
    /// A new table, and its schema where that is missing.
    CreateTable(SharedTable),
    /// Columns are added or widen.
    Alter {
        /// The table.
        table: SharedTable,
        /// What happens to which columns, each named once.
        columns: Vec<ColumnChange>,
    },
    /// The key becomes the column `_key`.
    Rekey(Rekey),
    /// A table goes away.
    DropTable(SharedTable),
    /// Tables that lack their primary key get it: they were being filled.
    Keys(Vec<SharedTable>),
    /// A table stays although its collection is gone.
    Keep {
        /// The table.
        table: SharedTable,
        /// Its collection.
        collection: CollectionId,
        /// The collection's last name.
        namespace: Namespace,
    },
    /// A table that was kept gets out of the way of one that wants its name.
    Aside {
        /// Its schema.
        schema: Identifier,
        /// Its name until now.
        from: Identifier,
        /// Its name from now on.
        to: Identifier,
    },
    /// A table gets another name, within or across schemas.
    RenameTable {
        /// As it was.
        from: SharedTable,
        /// As it is.
        to: SharedTable,
    },
    /// A catalog row to insert or replace.
    Path(PathRow),
    /// A collection's catalog row to insert or replace.
    Collection(CollectionRow),
    /// A collection and the rows of its paths go away; under another name it may come back in the same write set.
    Forget(CollectionId),
    /// A collection is gone for good: the marks of its snapshot and its quarantine go too.
    Gone(CollectionId),
}

/// What happens to one column of a table that is altered.
#[derive(Debug, Clone)]
pub enum ColumnChange {
    /// It is new, with the type that the table gives it.
    Add {
        /// Its position in the table.
        index: usize,
    },
    /// Its type widens to what the table gives it.
    Widen {
        /// Its position in the table.
        index: usize,
        /// Its type before.
        from: PgType,
        /// The BSON types that lie in it.
        seen: Vec<&'static str>,
        /// The subtype of its binary data, where it has such.
        subtype: Option<u8>,
    },
}

impl ColumnChange {
    /// The column's position in its table.
    #[must_use]
    pub fn index(&self) -> usize {
        let (Self::Add { index } | Self::Widen { index, .. }) = self;
        *index
    }

    /// The column's type before, where it was there.
    #[must_use]
    pub fn from(&self) -> Option<PgType> {
        match self {
            Self::Add { .. } => None,
            Self::Widen { from, .. } => Some(*from),
        }
    }
}

/// All tables of a collection get another key: the digest of the canonical form of the id that it was.
#[derive(Debug, Clone)]
pub struct Rekey {
    /// Each table as it was and as it is, the root's first. There, `_id` becomes an ordinary column of type `jsonb`.
    pub tables: Vec<(SharedTable, SharedTable)>,
    /// The key's type before.
    pub from: PgType,
    /// The BSON types that lie in it.
    pub seen: Vec<&'static str>,
    /// The subtype of its binary data, where it has such.
    pub subtype: Option<u8>,
}

/// The form of a path, as in `tailwater.paths.form`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// The document itself.
    Root,
    /// Embedded documents, one row each.
    ObjectTable,
    /// Arrays of documents, one row per element.
    ArrayTable,
    /// A column.
    Column,
}

impl Form {
    /// The name in the catalog.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Form::Root => "root",
            Form::ObjectTable => "object_table",
            Form::ArrayTable => "array_table",
            Form::Column => "column",
        }
    }

    /// The form of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Form::Root, Form::ObjectTable, Form::ArrayTable, Form::Column].into_iter().find(|form| form.name() == name)
    }
}

/// One row of `tailwater.paths`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRow {
    /// The collection.
    pub collection: CollectionId,
    /// Its name now.
    pub namespace: Namespace,
    /// Field names from the root.
    pub path: Vec<String>,
    /// What lies there.
    pub form: Form,
    /// PostgreSQL schema.
    pub schema: Identifier,
    /// Table.
    pub table: Identifier,
    /// Column, for the form `column`.
    pub column: Option<(Identifier, PgType)>,
    /// BSON types seen there, by MongoDB's names; empty for a column that has only held empty arrays.
    pub bson_types: Vec<&'static str>,
    /// Subtype of the binary data in the column, where it holds such.
    pub subtype: Option<u8>,
    /// The key columns, for a table.
    pub key_columns: Vec<String>,
}

/// One row of `tailwater.collections`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionRow {
    /// The collection.
    pub id: CollectionId,
    /// Its name now.
    pub namespace: Namespace,
    /// True once every document that it had at the start is in PostgreSQL.
    pub copied: bool,
    /// True once it had an `_id` that is a double of 2 to the 53 or more, which no `numeric` key may hold.
    pub wide_ids: bool,
}

/// One row of `tailwater.anomalies`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anomaly {
    /// The collection's name.
    pub namespace: Namespace,
    /// The document's id, relaxed Extended JSON.
    pub document_id: String,
    /// Where in it.
    pub path: Vec<String>,
    /// Why, one of a few fixed words (a metric's label).
    pub reason: &'static str,
    /// The value, canonical Extended JSON.
    pub original: String,
}

/// One row of `tailwater.quarantine`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The collection.
    pub collection: CollectionId,
    /// Its name.
    pub namespace: Namespace,
    /// The document's id, relaxed Extended JSON; `null` when it has none that can be read.
    pub document_id: String,
    /// The id in a form in which equal ids are equal texts.
    pub id_key: String,
    /// `{_id: …}`, by which the document is looked up; `None` when it has no id that can be read.
    pub key: Option<Document>,
    /// The document, or the diff of an update, as raw BSON.
    pub raw: Document,
    /// Why.
    pub reason: &'static str,
    /// True when the document is to be read again: so much has come for it that the document itself is less.
    pub retry: bool,
}

/// Documents in quarantine by [`Quarantined::id_key`], each with the number of its rows.
pub type Waiting = HashMap<String, u64>;

/// A document of the quarantine that is to be read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// The collection.
    pub collection: CollectionId,
    /// Its name now.
    pub namespace: Namespace,
    /// The id, as in [`Quarantined::id_key`].
    pub id_key: String,
    /// As [`Quarantined::key`].
    pub key: Document,
    /// When it was asked for; another text when it is asked for again.
    pub asked: String,
}
