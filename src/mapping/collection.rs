//! One collection's mapping: its shape, and the way from a change to rows and schema changes.
//!
//! In: documents and deltas in source order. Out: row changes through [`Output`], schema changes through
//! [`Collection::take_ddl`], and `true` when the shape changed on the way: rows made before that moment are for the old
//! shape, so the caller throws them away and converts again. Converting the same thing twice changes nothing more.

use std::collections::HashMap;
use std::sync::Arc;

use super::delta::check_names;
use super::document::{Borrowed, Pass};
use super::names::TableNames;
use super::options::{CollectionOptions, Derived, MappingOptions};
use super::policy::Policies;
use super::shape::{ColumnState, Node};
use crate::model::bson::{Doc, Document, Malformed, Value};
use crate::model::identifier::Identifier;
use crate::model::namespace::{CollectionId, Namespace};
use crate::model::row::{Key, Row};
use crate::model::table::{PgType, SharedTable};
use crate::model::write_set::{Anomaly, Ddl};

/// Takes what a conversion makes.
pub trait Output {
    /// A row that is exactly this.
    fn put(&mut self, table: &SharedTable, key: &Key, row: &Row);
    /// Changed cells of a row, and diffs for its `jsonb` cells.
    fn patch(&mut self, table: &SharedTable, key: &Key, row: Row, diffs: Vec<(usize, Document)>);
    /// Rows that go away (see [`crate::model::row::RowChange::Delete`]).
    fn delete(&mut self, table: &SharedTable, prefix: &Key, from: Option<i32>);
    /// A value that could not be stored as it is.
    fn anomaly(&mut self, anomaly: Anomaly);
}

/// Takes nothing: for learning what the tables look like.
#[derive(Debug)]
pub struct Nothing;

impl Output for Nothing {
    fn put(&mut self, _: &SharedTable, _: &Key, _: &Row) {}
    fn patch(&mut self, _: &SharedTable, _: &Key, _: Row, _: Vec<(usize, Document)>) {}
    fn delete(&mut self, _: &SharedTable, _: &Key, _: Option<i32>) {}
    fn anomaly(&mut self, _: Anomaly) {}
}

/// Why a document cannot be stored; it goes to quarantine. The fixed words of `tailwater.quarantine.reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject(pub &'static str);

impl From<Malformed> for Reject {
    fn from(_: Malformed) -> Self {
        Reject("malformed_bson")
    }
}

/// What every collection of a pipeline shares.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The table names in use.
    pub names: Arc<TableNames>,
    /// Options for all.
    pub options: Arc<MappingOptions>,
    /// Options per collection.
    pub collections: Arc<Vec<CollectionOptions>>,
}

impl Shared {
    /// The schema and the table that a namespace wants.
    #[must_use]
    pub fn target(&self, namespace: &Namespace) -> (String, String) {
        let own = self.own(namespace);
        let made = |name: &str| self.options.naming.apply(name).into_owned();
        let schema = own.and_then(|own| own.schema.clone()).unwrap_or_else(|| made(&namespace.database));
        let table = own.and_then(|own| own.table.clone()).unwrap_or_else(|| made(&namespace.collection));
        (schema, table)
    }

    fn own(&self, namespace: &Namespace) -> Option<&CollectionOptions> {
        self.collections.iter().find(|options| options.namespace == *namespace)
    }

    /// How the table of a collection is filled, where not by its documents.
    #[must_use]
    pub fn derived(&self, namespace: &Namespace) -> Option<&Derived> {
        self.own(namespace)?.derived.as_ref()
    }

    /// The options that hold for the paths of a collection.
    pub(super) fn policies(&self, namespace: &Namespace) -> Arc<Policies> {
        Arc::new(Policies::new(&self.options, self.own(namespace)))
    }
}

/// The mapping of one collection.
#[derive(Debug, Clone)]
pub struct Collection {
    pub(super) id: CollectionId,
    pub(super) namespace: Namespace,
    pub(super) schema: Identifier,
    pub(super) shared: Shared,
    pub(super) policies: Arc<Policies>,
    /// The tables, the root's first; empty until the first document, which decides the key's type.
    pub(super) tables: Vec<SharedTable>,
    /// The columns `_extra`, by table.
    pub(super) extras: HashMap<usize, ColumnState>,
    pub(super) root: Node,
    pub(super) id_column: Option<ColumnState>,
    /// True once a double `_id` was seen that a `numeric` column could not tell from others (see [`super::root`]).
    pub(super) wide_ids: bool,
    pub(super) copied: bool,
    pub(super) ddl: Vec<Ddl>,
    /// Rows put so far, for [`super::shape::Field::last_row`].
    rows: u64,
}

impl Collection {
    /// A collection of which nothing is known yet.
    #[must_use]
    pub fn new(id: CollectionId, namespace: Namespace, shared: Shared) -> Self {
        let schema = schema_identifier(&shared, &namespace);
        let root = Node::new(0, super::shape::Kind::Root, Vec::new());
        let mut new = Self {
            id,
            policies: shared.policies(&namespace),
            namespace,
            schema,
            shared,
            tables: Vec::new(),
            extras: HashMap::new(),
            root,
            id_column: None,
            wide_ids: false,
            copied: false,
            ddl: Vec::new(),
            rows: 0,
        };
        new.register();
        new
    }

    /// Identity.
    #[must_use]
    pub fn id(&self) -> CollectionId {
        self.id
    }

    /// Name now.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// True once its snapshot is complete.
    #[must_use]
    pub fn is_copied(&self) -> bool {
        self.copied
    }

    /// Notes that its snapshot is complete, or that it was born under our eyes and needs none.
    pub fn set_copied(&mut self) {
        self.copied = true;
        self.register();
    }

    /// The schema changes since the last call, in order.
    pub fn take_ddl(&mut self) -> Vec<Ddl> {
        std::mem::take(&mut self.ddl)
    }

    /// True when there are no schema changes to take.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.ddl.is_empty()
    }

    /// A copy to try a conversion on: the table names that it takes are its own, so that throwing it away leaves them free.
    #[must_use]
    pub fn trial(&self) -> Self {
        let mut trial = self.clone();
        trial.shared.names = Arc::new(TableNames::default());
        trial
    }

    /// The tables, the root's first.
    #[must_use]
    pub fn tables(&self) -> &[SharedTable] {
        &self.tables
    }

    /// Converts a whole document: the rows that it is. With `replace`, also the removal of child rows that an earlier
    /// version may have left. Returns true when the shape changed.
    ///
    /// # Errors
    /// When the document cannot be stored.
    pub fn document(&mut self, document: Doc<'_>, replace: bool, out: &mut impl Output) -> Result<bool, Reject> {
        let id = document.get("_id")?.ok_or(Reject("no_id"))?;
        self.pass(id, out, |pass, root| {
            if replace {
                pass.delete_children(root);
            }
            pass.put_row(root, document)
        })
    }

    /// Converts an update, given as the oplog's `$v: 2` diff. Returns true when the shape changed.
    ///
    /// # Errors
    /// When the diff cannot be applied.
    pub fn update(&mut self, id: Value<'_>, diff: Doc<'_>, out: &mut impl Output) -> Result<bool, Reject> {
        if self.lacks(&id) {
            return Ok(false); // an update of a missing document: only while catching up, ignored (contract, section 6)
        }
        check_names(diff)?;
        self.pass(id, out, |pass, root| pass.apply_diff(root, diff))
    }

    /// Converts a delete: every row of the document goes away.
    ///
    /// # Errors
    /// When the id is of a type that cannot be stored.
    pub fn delete(&mut self, id: Value<'_>, out: &mut impl Output) -> Result<bool, Reject> {
        if self.lacks(&id) {
            return Ok(false);
        }
        self.pass(id, out, |pass, root| {
            pass.delete_tree(root, None);
            Ok(())
        })
    }

    /// Converts a delete where deleted documents stay: its root row is marked.
    ///
    /// # Errors
    /// As [`Collection::delete`].
    pub fn retire(&mut self, id: Value<'_>, out: &mut impl Output) -> Result<bool, Reject> {
        if self.lacks(&id) {
            return Ok(false);
        }
        self.pass(id, out, |pass, root| {
            let mut row = Row::default();
            row.set_deleted();
            let table = pass.table(root.table)?;
            pass.out.patch(&table, &pass.key, row, Vec::new());
            Ok(())
        })
    }

    /// The tables, the root's first, and the key in them of a document that is deleted and stays; `None` where there is
    /// nothing below the root.
    #[must_use]
    pub fn orphans(&self, id: Value<'_>) -> Option<(Vec<SharedTable>, Key)> {
        let mut key = Key::default();
        key.push(&self.id_cell(&id).ok()?);
        (self.tables.len() > 1).then(|| (self.tables.clone(), key))
    }

    /// True when its table is filled at the snapshot alone, by what is derived from its documents.
    #[must_use]
    pub fn is_derived(&self) -> bool {
        self.shared.derived(&self.namespace).is_some()
    }

    /// Options that every collection shares.
    #[must_use]
    pub fn options(&self) -> &MappingOptions {
        &self.shared.options
    }

    fn pass<'d, O: Output>(
        &mut self,
        id: Value<'d>,
        out: &mut O,
        convert: impl FnOnce(&mut Pass<'_, 'd, O>, &mut Node) -> Result<(), Reject>,
    ) -> Result<bool, Reject> {
        let mut changed = self.ensure_root(&id)?;
        let mut key = Key::default();
        key.push(&self.id_cell(&id)?);
        let borrowed = Borrowed {
            collection: self.id,
            namespace: &self.namespace,
            shared: &self.shared,
            policies: &self.policies,
            tables: &mut self.tables,
            extras: &mut self.extras,
            ddl: &mut self.ddl,
            rows: self.rows,
        };
        let mut pass = Pass::new(borrowed, out, id, key);
        pass.id_column = self.id_column.as_ref().filter(|column| column.ty == PgType::Jsonb).map(|column| column.index);
        let result = convert(&mut pass, &mut self.root);
        changed |= pass.changed();
        self.rows = pass.rows;
        result.map(|()| changed)
    }
}

/// The identifier of the schema that a namespace goes to.
#[must_use]
pub fn schema_identifier(shared: &Shared, namespace: &Namespace) -> Identifier {
    let (schema, _) = shared.target(namespace);
    let reserved = |name: &str| name.starts_with("pg_") || name == "tailwater";
    // PostgreSQL keeps every name that starts so, suffix or not: the longest prefix that fits is the first letter.
    let prefix = if schema.starts_with("pg_") { "p" } else { &schema };
    super::names::identifier(prefix, &namespace.database, |name| name == prefix && reserved(&schema))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by the fuzz target: the suffix alone does not make such a name free, and the search for one never ended.
    #[test]
    fn a_database_whose_name_postgresql_keeps_for_itself_gets_another_schema() {
        let shared = Shared { names: Arc::default(), options: Arc::default(), collections: Arc::default() };
        let schema = |database| schema_identifier(&shared, &Namespace::new(database, "c")).as_str().to_owned();
        assert_eq!(schema("pga"), "pga");
        assert_eq!(schema("tailwater").len(), "tailwater_12345678".len());
        for database in ["pg_x", "pg_", "pg_catalog"] {
            let schema = schema(database);
            assert!(schema.starts_with("p_") && schema.len() == 10, "{schema}");
        }
        assert_ne!(schema("pg_x"), schema("pg_y"));
    }
}
