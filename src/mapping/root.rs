//! The root table and its key: `_id`, whose type every child table repeats.

use std::sync::Arc;

use super::cell;
use super::collection::{Collection, Reject};
use super::names::Claim;
use super::shape::ColumnState;
use super::types::{TypeSet, join_id, natural, subtype};
use crate::model::bson::Value;
use crate::model::identifier::Identifier;
use crate::model::table::{Column, PgType, Table, TableId};
use crate::model::write_set::{CollectionRow, Ddl, Form, PathRow};

/// A btree key ends at 2,704 bytes (PostgreSQL 18, seen: 54000 beyond); the rest is room for array indexes and headers.
const MAX_ID_BYTES: usize = 2500;

impl Collection {
    /// Makes the root table for the first `_id`, widens its key for a later one. Returns true when something changed.
    pub(super) fn ensure_root(&mut self, id: &Value<'_>) -> Result<bool, Reject> {
        let types = TypeSet::of(id);
        let Some(column) = &mut self.id_column else {
            return self.create_root(id).map(|()| true);
        };
        if column.seen.contains(types) && column.subtype == subtype(id) {
            return Ok(false);
        }
        let mixed = Reject("mixed_id_types");
        let ty = join_id(column.ty, natural(id)).ok_or(mixed)?;
        let both_text = ty == PgType::Text && !column.seen.contains(types);
        if both_text || column.subtype != subtype(id) {
            return Err(mixed); // a string and its ObjectId twin, or two subtypes, would become one key
        }
        let from = std::mem::replace(&mut column.ty, ty);
        column.seen = column.seen.union(types);
        if from != ty {
            self.widen_keys(from);
        }
        self.record_id_path();
        Ok(true)
    }

    fn create_root(&mut self, id: &Value<'_>) -> Result<(), Reject> {
        let ty = natural(id);
        if ty == PgType::Jsonb {
            return Err(Reject("unsupported_id_type"));
        }
        let (_, wanted) = self.shared.target(&self.namespace);
        let claim = self.shared.names.claim(&self.schema, &wanted, &self.namespace.to_string());
        self.ddl.extend(asides(&self.schema, &claim));
        let name = claim.name;
        let columns = Identifier::new("_id").map(|name| Column { name, ty }).into_iter().collect();
        let metadata = self.shared.options.metadata;
        let table = Table { id: TableId::fresh(), schema: self.schema.clone(), name, key: 1, columns, metadata };
        let table = Arc::new(table);
        self.tables.push(Arc::clone(&table));
        self.id_column = Some(ColumnState { index: 0, ty, seen: TypeSet::of(id), subtype: subtype(id) });
        self.ddl.push(Ddl::CreateTable(Arc::clone(&table)));
        let root = self.table_path_row(&[], Form::Root, &table);
        self.ddl.push(Ddl::Path(root));
        self.record_id_path();
        Ok(())
    }

    /// Every table's first column repeats `_id`.
    fn widen_keys(&mut self, from: PgType) {
        let Some(id) = &self.id_column else { return };
        for table in &mut self.tables {
            let mut wider = Table::clone(table);
            if let Some(key) = wider.columns.first_mut() {
                key.ty = id.ty;
            }
            *table = Arc::new(wider);
            self.ddl.push(Ddl::Widen {
                table: Arc::clone(table),
                column: 0,
                from,
                seen: id.seen.names(),
                subtype: id.subtype,
            });
        }
    }

    fn record_id_path(&mut self) {
        if let Some(row) = self.id_path_row() {
            self.ddl.push(Ddl::Path(row));
        }
    }

    /// The catalog row of `_id`.
    pub(super) fn id_path_row(&self) -> Option<PathRow> {
        let (id, table) = (self.id_column.as_ref()?, self.tables.first()?);
        let name = table.columns.first()?.name.clone();
        Some(PathRow {
            collection: self.id,
            namespace: self.namespace.clone(),
            path: vec!["_id".into()],
            form: Form::Column,
            schema: table.schema.clone(),
            table: table.name.clone(),
            column: Some((name, id.ty)),
            bson_types: id.seen.names(),
            subtype: id.subtype,
            key_columns: Vec::new(),
        })
    }

    /// The catalog row of a table.
    pub(super) fn table_path_row(&self, path: &[String], form: Form, table: &Table) -> PathRow {
        table_path_row(self.id, &self.namespace, path, form, table)
    }

    /// The `_id` as a key cell.
    pub(super) fn id_cell(&self, id: &Value<'_>) -> Result<Vec<u8>, Reject> {
        let ty = self.id_column.as_ref().map_or(PgType::Jsonb, |column| column.ty);
        // -0.0 and 0.0 are one `_id` to MongoDB and one key to PostgreSQL, so they are made one in memory too.
        let id = if *id == Value::Double(0.0) { Value::Double(0.0) } else { *id };
        let mut bytes = Vec::new();
        match cell::write(id, ty, &mut bytes) {
            Ok(None) if bytes.len() <= MAX_ID_BYTES => Ok(bytes),
            Ok(None) => Err(Reject("id_too_long")),
            Ok(Some(_)) => Err(Reject("id_not_representable")),
            Err(_) => Err(Reject("unsupported_id_type")),
        }
    }

    /// Puts the collection itself into the catalog.
    pub(super) fn register(&mut self) {
        self.ddl.push(Ddl::Collection(CollectionRow {
            id: self.id,
            namespace: self.namespace.clone(),
            copied: self.copied,
        }));
    }
}

/// How kept tables make way for a claim.
pub(super) fn asides(schema: &Identifier, claim: &Claim) -> impl Iterator<Item = Ddl> {
    claim.asides.iter().map(|(from, to)| Ddl::Aside { schema: schema.clone(), from: from.clone(), to: to.clone() })
}

/// The catalog row of a table.
pub(super) fn table_path_row(
    collection: crate::model::namespace::CollectionId,
    namespace: &crate::model::namespace::Namespace,
    path: &[String],
    form: Form,
    table: &Table,
) -> PathRow {
    PathRow {
        collection,
        namespace: namespace.clone(),
        path: path.to_vec(),
        form,
        schema: table.schema.clone(),
        table: table.name.clone(),
        column: None,
        bson_types: Vec::new(),
        subtype: None,
        key_columns: table.key_columns().iter().map(|column| column.name.as_str().to_owned()).collect(),
    }
}
