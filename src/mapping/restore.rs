//! A collection's mapping from the catalog, so that a restarted daemon knows what the stopped one knew.

use std::collections::HashMap;
use std::sync::Arc;

use super::collection::{Collection, Shared};
use super::options::NestedForm;
use super::policy::Policies;
use super::shape::{ColumnState, Field, Kind, Node, field_mut};
use super::types::TypeSet;
use crate::model::identifier::Identifier;
use crate::model::table::{Column, Metadata, PgType, SharedTable, Table, TableId};
use crate::model::write_set::{CollectionRow, Form, PathRow};

/// A catalog that contradicts itself; the text says where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the catalog of {namespace} is damaged: {what}")]
pub struct Damaged {
    namespace: String,
    what: String,
}

impl Collection {
    /// Builds the mapping that wrote those rows; the rows may be in any order.
    ///
    /// # Errors
    /// When the rows do not fit together.
    pub fn restore(row: &CollectionRow, mut paths: Vec<PathRow>, shared: Shared) -> Result<Self, Damaged> {
        let damaged = |what: String| Damaged { namespace: row.namespace.to_string(), what };
        let mut collection = Collection::new(row.id, row.namespace.clone(), shared);
        collection.copied = row.copied;
        collection.wide_ids = row.wide_ids;
        collection.ddl.clear();
        // Tables before their columns, parents before their children.
        paths.sort_by_key(|path| (path.path.len(), path.form == Form::Column));
        let id_type = paths.iter().find(|path| path.form == Form::Column && path.path == ["_id"]);
        // An `_id` of type `jsonb` is not the key; `_key` is.
        let key_type = |ty| if ty == PgType::Jsonb { PgType::Bytea } else { ty };
        let id_type = id_type.and_then(|path| path.column.as_ref()).map(|(_, ty)| key_type(*ty));
        let mut index = HashMap::new();
        for path in paths.iter().filter(|path| path.form != Form::Column) {
            let id_type = id_type.ok_or_else(|| damaged("no row for _id".into()))?;
            let mut table = restore_table(path, id_type).ok_or_else(|| damaged(format!("key of {:?}", path.path)))?;
            if path.form == Form::Root {
                table.metadata = collection.shared.options.metadata;
            }
            collection.shared.names.occupy(&table.schema, table.name.as_str());
            index.insert((table.schema.clone(), table.name.clone()), collection.tables.len());
            collection.tables.push(Arc::new(table));
            collection.restore_node(path).ok_or_else(|| damaged(format!("parent of {:?}", path.path)))?;
        }
        for path in paths.iter().filter(|path| path.form == Form::Column) {
            let table = index.get(&(path.schema.clone(), path.table.clone())).copied();
            let restored = table.and_then(|table| collection.restore_column(path, table));
            restored.ok_or_else(|| damaged(format!("column of {:?}", path.path)))?;
        }
        Ok(collection)
    }

    fn restore_node(&mut self, path: &PathRow) -> Option<()> {
        let table = self.tables.len() - 1;
        let kind = match path.form {
            Form::Root => return (table == 0).then_some(()),
            Form::ObjectTable => Kind::Object,
            Form::ArrayTable => Kind::Array,
            Form::Column => return None,
        };
        let (name, above) = path.path.split_last()?;
        let parent = self.root.reach(above, &self.policies)?;
        let field = field_mut(&mut parent.fields, &self.policies, above, name);
        field.child = Some(Box::new(Node::new(table, kind, path.path.clone())));
        Some(())
    }

    fn restore_column(&mut self, path: &PathRow, table: usize) -> Option<()> {
        let (name, ty) = path.column.clone()?;
        let seen = TypeSet::from_names(path.bson_types.iter().copied());
        if table == 0 && path.path == ["_id"] {
            let keyed = ty == PgType::Jsonb;
            let index = if keyed { push_column(self.tables.get_mut(table)?, name, ty) } else { 0 };
            self.id_column = Some(ColumnState { index, ty, seen, subtype: path.subtype });
            return Some(());
        }
        let index = push_column(self.tables.get_mut(table)?, name, ty);
        let state = ColumnState { index, ty, seen, subtype: path.subtype };
        // A column of the path's own table is its `_value` or `_extra`; any other lies in the table of the parent.
        if let Some(own) = self.root.find(&path.path).filter(|own| own.table == table && own.flat == 0) {
            if self.tables.get(table)?.is_extra(index) {
                self.extras.insert(table, state);
            } else {
                own.value = Some(state);
            }
            return Some(());
        }
        let (field, above) = path.path.split_last()?;
        let parent = self.root.reach(above, &self.policies).filter(|parent| parent.table == table)?;
        field_mut(&mut parent.fields, &self.policies, above, field).column = Some(state);
        Some(())
    }
}

/// Where the configuration and the catalog say different things.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Disagreements {
    /// Types that cannot be given to columns which are there: what to tell, one sentence each.
    pub refused: Vec<String>,
    /// Paths that keep the form which they have.
    pub kept: Vec<String>,
}

impl Collection {
    /// Where the configuration wants another form or type than the catalog has.
    #[must_use]
    pub fn disagreements(&self) -> Disagreements {
        let mut found = Disagreements::default();
        self.compare(&self.root, &mut found);
        found.refused.sort();
        found.kept.sort();
        found
    }

    fn compare(&self, node: &Node, found: &mut Disagreements) {
        for (name, field) in node.fields.iter() {
            let path = || node.place().names(Some(name)).collect::<Vec<_>>().join(".");
            let table = |index: usize| self.tables.get(index).map(|table| table.qualified()).unwrap_or_default();
            let other_type =
                field.column.as_ref().filter(|column| field.options.fixed.is_some_and(|ty| ty != column.ty));
            if let (Some(column), Some(wanted)) = (other_type, field.options.fixed) {
                let columns = self.tables.get(node.table).map(|table| table.columns.as_slice()).unwrap_or_default();
                let place = columns.get(column.index).map(|column| column.name.to_string()).unwrap_or_default();
                let (path, table) = (path(), table(node.table));
                found.refused.push(format!(
                    "type = \"{wanted}\" is set for {path} of {}, and its column {place} of {table} is {}",
                    self.namespace, column.ty
                ));
            }
            if let (Some(child), Some(wanted)) = (&field.child, field.options.fixed) {
                let (path, table) = (path(), table(child.table));
                found.refused.push(format!(
                    "type = \"{wanted}\" is set for {path} of {}, and its values lie in {table}",
                    self.namespace
                ));
            } else if field.keeps_its_form() {
                found.kept.push(path());
            }
            if let Some(child) = &field.child {
                self.compare(child, found);
            }
        }
    }
}

impl Field {
    /// True when the configuration wants another form than the one that was decided.
    fn keeps_its_form(&self) -> bool {
        let Self { options, column, child, .. } = self;
        let wanted = |wanted: NestedForm, is: NestedForm| options.jsonb || wanted != is;
        match (child, column) {
            (Some(child), _) if child.is_array() => wanted(options.arrays, NestedForm::Table),
            (Some(child), _) if child.flat > 0 => wanted(options.objects, NestedForm::Flatten),
            (Some(_), _) => wanted(options.objects, NestedForm::Table),
            (None, Some(column)) if options.jsonb => column.ty != PgType::Jsonb,
            // Documents and nothing else in a column: a form that only the configuration makes.
            (None, Some(column)) => {
                let documents = column.seen == TypeSet::from_names(["object"]);
                documents && options.fixed.is_none() && options.objects != NestedForm::Jsonb
            }
            (None, None) => false,
        }
    }
}

impl Node {
    /// The node at `path`.
    fn find(&mut self, path: &[String]) -> Option<&mut Node> {
        let Some((name, below)) = path.split_first() else { return Some(self) };
        self.fields.get_mut(name)?.child.as_deref_mut()?.find(below)
    }

    /// The node whose table holds what lies below `path`. A document that has no table of its own was flattened: the
    /// catalog has rows of its fields only.
    fn reach(&mut self, path: &[String], policies: &Policies) -> Option<&mut Node> {
        let Some((name, below)) = path.split_first() else { return Some(self) };
        let (place, fields, _) = self.parts();
        let field = field_mut(fields, policies, place.path, name);
        field.child.get_or_insert_with(|| Box::new(Node::flattened(place, name))).reach(below, policies)
    }
}

fn restore_table(path: &PathRow, id_type: PgType) -> Option<Table> {
    let mut columns = Vec::new();
    for (i, name) in path.key_columns.iter().enumerate() {
        columns.push(Column { name: Identifier::new(name)?, ty: if i == 0 { id_type } else { PgType::Integer } });
    }
    let (schema, name) = (path.schema.clone(), path.table.clone());
    let (id, key, metadata) = (TableId::fresh(), columns.len(), Metadata::default());
    (!columns.is_empty()).then_some(Table { id, schema, name, key, columns, metadata })
}

fn push_column(place: &mut SharedTable, name: Identifier, ty: PgType) -> usize {
    let mut table = Table::clone(place);
    table.columns.push(Column { name, ty });
    let index = table.columns.len() - 1;
    *place = Arc::new(table);
    index
}
