//! A collection's mapping from the catalog, so that a restarted daemon knows what the stopped one knew.

use std::collections::HashMap;
use std::sync::Arc;

use super::collection::{Collection, Shared};
use super::shape::{ColumnState, Kind, Node};
use super::types::TypeSet;
use crate::model::identifier::Identifier;
use crate::model::table::{Column, PgType, SharedTable, Table, TableId};
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
            let table = restore_table(path, id_type).ok_or_else(|| damaged(format!("key of {:?}", path.path)))?;
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
        let field = self.root.find(above)?.fields.entry(name.clone()).or_default();
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
        // A column of the path's own table is its `_value`; any other lies in the table of the parent.
        if let Some(own) = self.root.find(&path.path).filter(|own| own.table == table && !path.path.is_empty()) {
            own.value = Some(state);
            return Some(());
        }
        let (field, above) = path.path.split_last()?;
        let parent = self.root.find(above).filter(|parent| parent.table == table)?;
        parent.fields.entry(field.clone()).or_default().column = Some(state);
        Some(())
    }
}

impl Node {
    /// The node whose table holds what lies at `path`.
    fn find(&mut self, path: &[String]) -> Option<&mut Node> {
        let Some((name, below)) = path.split_first() else { return Some(self) };
        self.fields.get_mut(name)?.child.as_deref_mut()?.find(below)
    }
}

fn restore_table(path: &PathRow, id_type: PgType) -> Option<Table> {
    let mut columns = Vec::new();
    for (i, name) in path.key_columns.iter().enumerate() {
        columns.push(Column { name: Identifier::new(name)?, ty: if i == 0 { id_type } else { PgType::Integer } });
    }
    let (schema, name) = (path.schema.clone(), path.table.clone());
    (!columns.is_empty()).then(|| Table { id: TableId::fresh(), schema, name, key: columns.len(), columns })
}

fn push_column(place: &mut SharedTable, name: Identifier, ty: PgType) -> usize {
    let mut table = Table::clone(place);
    table.columns.push(Column { name, ty });
    let index = table.columns.len() - 1;
    *place = Arc::new(table);
    index
}
