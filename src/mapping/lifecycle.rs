//! What happens to a collection as a whole: renamed, dropped.

use std::collections::HashSet;
use std::sync::Arc;

use super::collection::{Collection, schema_identifier};
use super::grow::{child_name, full_path};
use super::names::identifier;
use super::options::OnDrop;
use super::root::asides;
use super::shape::{Field, Node};
use crate::model::identifier::Identifier;
use crate::model::namespace::Namespace;
use crate::model::table::{SharedTable, Table};
use crate::model::write_set::{Ddl, Form, PathRow};

impl Collection {
    /// The collection is gone: its tables and their names go with it, or are kept and make way, and its catalog rows go.
    pub fn drop_all(&mut self) {
        for table in self.tables.drain(..).rev() {
            match self.shared.options.on_drop {
                OnDrop::Drop => {
                    self.shared.names.release(&table.schema, table.name.as_str());
                    self.ddl.push(Ddl::DropTable(table));
                }
                OnDrop::Keep => {
                    self.shared.names.keep(&table.schema, table.name.as_str(), self.id, false);
                    let (collection, namespace) = (self.id, self.namespace.clone());
                    self.ddl.push(Ddl::Keep { table, collection, namespace });
                }
            }
        }
        self.ddl.push(Ddl::Forget(self.id));
        self.ddl.push(Ddl::Gone(self.id));
        self.root.fields.clear();
        self.extras.clear();
        self.id_column = None;
        self.wide_ids = false;
    }

    /// The collection is called `to` now; its tables, children and key columns follow. Does nothing when everything has
    /// the right name already, so it also settles names that were not free before.
    pub fn rename(&mut self, to: Namespace) {
        let schema = schema_identifier(&self.shared, &to);
        for table in &self.tables {
            self.shared.names.release(&table.schema, table.name.as_str());
        }
        let namespace = std::mem::replace(&mut self.namespace, to);
        self.schema = schema;
        self.policies = self.shared.policies(&self.namespace);
        self.root.follow(&self.policies);
        let mut moved = Vec::new();
        let renamed = self.renamed_tables(&mut moved);
        self.ddl.append(&mut moved);
        if renamed == self.tables && namespace == self.namespace {
            return;
        }
        self.push_renames(&renamed);
        self.tables = renamed;
        self.ddl.push(Ddl::Forget(self.id));
        self.register();
        self.ddl.extend(self.path_rows().into_iter().map(Ddl::Path));
    }

    /// The tables under the names that the namespace wants; claims those names.
    fn renamed_tables(&self, moved: &mut Vec<Ddl>) -> Vec<SharedTable> {
        let mut renamed = self.tables.clone();
        let Some(root) = self.tables.first() else { return renamed };
        let (_, wanted) = self.shared.target(&self.namespace);
        let claim = self.shared.names.claim(&self.schema, &wanted, &self.namespace.to_string());
        moved.extend(asides(&self.schema, &claim));
        let name = claim.name;
        let key = root.columns.first().map_or("_id", |key| key.name.as_str());
        let new_key = format!("{}_{key}", name.as_str());
        place(&mut renamed, self.root.table, |table| {
            table.schema = self.schema.clone();
            table.name = name.clone();
        });
        self.rename_children(&self.root, name.as_str(), &new_key, &mut renamed, moved);
        renamed
    }

    fn rename_children(
        &self,
        node: &Node,
        root: &str,
        key: &str,
        renamed: &mut Vec<SharedTable>,
        moved: &mut Vec<Ddl>,
    ) {
        for child in node.children() {
            if child.flat > 0 {
                self.rename_children(child, root, key, renamed, moved);
                continue;
            }
            let wanted = child_name(&self.shared, root, &child.path);
            let hashed = full_path(&self.namespace, child.path.iter().map(String::as_str));
            let claim = self.shared.names.claim(&self.schema, &wanted, &hashed);
            moved.extend(asides(&self.schema, &claim));
            let name = claim.name;
            place(renamed, child.table, |table| {
                table.schema = self.schema.clone();
                table.name = name.clone();
                rename_key(table, key, &hashed);
            });
            self.rename_children(child, root, key, renamed, moved);
        }
    }

    /// Renames in two steps where a new name is still an old one of another table.
    fn push_renames(&mut self, renamed: &[SharedTable]) {
        let old: HashSet<String> = self.tables.iter().map(|table| table.qualified()).collect();
        let pairs: Vec<_> = self.tables.iter().cloned().zip(renamed.iter().cloned()).collect();
        let crossing = pairs.iter().any(|(from, to)| from != to && old.contains(&to.qualified()));
        for (i, (from, to)) in pairs.iter().enumerate().filter(|(_, (from, to))| from != to) {
            let step = if crossing { between(from, i) } else { None };
            self.ddl.push(Ddl::RenameTable { from: Arc::clone(from), to: step.unwrap_or_else(|| Arc::clone(to)) });
        }
        for (i, (from, to)) in pairs.iter().enumerate().filter(|(_, (from, to))| crossing && from != to) {
            if let Some(from) = between(from, i) {
                self.ddl.push(Ddl::RenameTable { from, to: Arc::clone(to) });
            }
        }
    }

    /// Every catalog row of the collection's paths.
    #[must_use]
    pub fn path_rows(&self) -> Vec<PathRow> {
        let mut rows = Vec::new();
        if !self.tables.is_empty() {
            rows.extend(self.id_path_row());
            self.node_rows(&self.root, &mut rows);
        }
        rows
    }

    fn node_rows(&self, node: &Node, rows: &mut Vec<PathRow>) {
        let Some(table) = self.tables.get(node.table) else { return };
        if node.flat == 0 {
            rows.push(self.table_path_row(&node.path, node.kind.form(), table));
            let extra = self.extras.get(&node.table);
            rows.extend(extra.map(|extra| self.column_row(table, node.path.clone(), extra)));
        }
        rows.extend(node.value.as_ref().map(|value| self.column_row(table, node.path.clone(), value)));
        for (name, Field { column, child, .. }) in node.fields.iter() {
            let path = || node.place().names(Some(name)).map(str::to_owned).collect();
            rows.extend(column.as_ref().map(|column| self.column_row(table, path(), column)));
            if let Some(child) = child {
                self.node_rows(child, rows);
            }
        }
    }

    fn column_row(&self, table: &Table, path: Vec<String>, column: &super::shape::ColumnState) -> PathRow {
        PathRow {
            column: table.columns.get(column.index).map(|found| (found.name.clone(), column.ty)),
            bson_types: column.seen.names(),
            subtype: column.subtype,
            key_columns: Vec::new(),
            ..self.table_path_row(&path, Form::Column, table)
        }
    }
}

fn place(tables: &mut [SharedTable], index: usize, change: impl FnOnce(&mut Table)) {
    if let Some(place) = tables.get_mut(index) {
        let mut table = Table::clone(place);
        change(&mut table);
        *place = Arc::new(table);
    }
}

/// `<old root>__id` becomes `<new root>__id` in a child table, and `__key` likewise.
fn rename_key(table: &mut Table, new: &str, hashed: &str) {
    let others: Vec<Identifier> = table.columns.iter().skip(1).map(|column| column.name.clone()).collect();
    if let Some(key) = table.columns.first_mut() {
        key.name = identifier(new, hashed, |name| others.iter().any(|other| other.as_str() == name));
    }
}

/// A name that no collection wants, for a rename in two steps.
fn between(table: &SharedTable, index: usize) -> Option<SharedTable> {
    let name = Identifier::new(&format!("tailwater renaming {index}"))?;
    Some(Arc::new(Table { name, ..Table::clone(table) }))
}
