//! The root table and its key, which every child table repeats.
//!
//! While all ids are of one scalar type the key is the column `_id` itself. From the moment that they are not, it is the
//! column `_key` (see [`super::identity`]), and `_id` is an ordinary column of type `jsonb`. That moment comes once and in
//! order with the data: [`Ddl::Rekey`]. The invariant of both: two ids are one key exactly when MongoDB takes them for one.

use std::sync::Arc;

use super::cell::{self, CellError};
use super::collection::{Collection, Reject};
use super::document::DUPLICATE;
use super::grow::full_path;
use super::identity;
use super::names::{Claim, identifier};
use super::shape::ColumnState;
use super::types::{TypeSet, join_id, natural, subtype};
use crate::model::bson::Value;
use crate::model::identifier::Identifier;
use crate::model::table::{Column, PgType, Table, TableId};
use crate::model::write_set::{CollectionRow, ColumnChange, Ddl, Form, PathRow, Rekey};

/// A btree key ends at 2,704 bytes (PostgreSQL 18, seen: 54000 beyond); the rest is room for array indexes and headers.
const MAX_ID_BYTES: usize = 2500;

/// From here on a double is a whole number whose shortest decimal, which a `numeric` column would hold, can be another
/// number: 2 to the 62 reads 4611686018427388000.
const WIDE: f64 = 9_007_199_254_740_992.0;

/// How the key of a root table stands for ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredKey {
    /// It is the id.
    Id {
        /// Its type.
        ty: PgType,
        /// The BSON types that lie in it.
        seen: Vec<&'static str>,
        /// The subtype of its binary data, where it has such.
        subtype: Option<u8>,
    },
    /// It is the digest of the id's canonical form.
    Digest,
}

/// What an id asks of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// Nothing.
    Holds,
    /// To know its type.
    Notes,
    /// A wider type.
    Widens(PgType),
    /// The column `_key`.
    Keys,
}

impl Collection {
    /// Makes the root table for the first `_id`, and its key hold a later one. Returns true when something changed.
    pub(super) fn ensure_root(&mut self, id: &Value<'_>) -> Result<bool, Reject> {
        let Some(column) = &self.id_column else {
            let ty = if too_long(id) { PgType::Jsonb } else { natural(id) };
            write_id(*id, ty)?;
            self.create_root(id, ty);
            return Ok(true);
        };
        let (fit, from) = (self.fit(column, id), column.ty);
        let ty = match fit {
            Fit::Holds => return Ok(false),
            Fit::Notes => from,
            Fit::Widens(ty) => ty,
            Fit::Keys => PgType::Jsonb,
        };
        // An id that is not stored must not change how others are.
        write_id(*id, ty)?;
        let seen_before = column.seen.names();
        let before = column.subtype;
        self.note(id, ty);
        match fit {
            Fit::Holds | Fit::Notes => {}
            Fit::Widens(_) => self.widen_keys(from),
            Fit::Keys => self.add_key(from, seen_before, before),
        }
        self.record_id_path();
        Ok(true)
    }

    /// True when no row can have this id: none of its kind has been stored. What waits in the stream for such an id
    /// belongs to a document that was gone, or of another number type, before the snapshot read it; its later changes
    /// set that right.
    pub(super) fn lacks(&self, id: &Value<'_>) -> bool {
        self.id_column.as_ref().is_none_or(|column| self.fit(column, id) != Fit::Holds)
    }

    fn fit(&self, column: &ColumnState, id: &Value<'_>) -> Fit {
        let (types, ty) = (TypeSet::of(id), natural(id));
        let known = column.seen.contains(types);
        if column.ty == PgType::Jsonb {
            return if known { Fit::Holds } else { Fit::Notes };
        }
        if too_long(id) {
            return Fit::Keys;
        }
        if column.ty.is_number() && ty.is_number() {
            return self.fit_number(column, id, known);
        }
        // A string and its ObjectId twin, or two subtypes, would become one key.
        if ty == column.ty && known && column.subtype == subtype(id) { Fit::Holds } else { Fit::Keys }
    }

    /// Of a double, `numeric` holds the shortest decimal. That is a key as long as no other type can equal the double
    /// and differ from the decimal, or the reverse: beside decimals 0.1 would be one id with Decimal128("0.1").
    fn fit_number(&self, column: &ColumnState, id: &Value<'_>, known: bool) -> Fit {
        let wide = self.wide_ids || is_wide(id);
        let joined = join_id(column.ty, natural(id)).unwrap_or(PgType::Jsonb);
        if known && joined == column.ty && wide == self.wide_ids {
            return Fit::Holds;
        }
        let seen = column.seen.union(TypeSet::of(id)).names();
        let (double, decimal) = (seen.contains(&"double"), seen.contains(&"decimal"));
        if joined == PgType::Numeric && double && (wide || decimal) {
            Fit::Keys
        } else if joined == column.ty {
            Fit::Notes
        } else {
            Fit::Widens(joined)
        }
    }

    /// How the root's key stands for ids; `None` before the first document.
    #[must_use]
    pub fn stored_key(&self) -> Option<StoredKey> {
        let column = self.id_column.as_ref()?;
        let (ty, seen, subtype) = (column.ty, column.seen.names(), column.subtype);
        Some(if column.index == 0 { StoredKey::Id { ty, seen, subtype } } else { StoredKey::Digest })
    }

    /// Keeps in mind what ids there are.
    fn note(&mut self, id: &Value<'_>, ty: PgType) {
        if is_wide(id) && !self.wide_ids {
            self.wide_ids = true;
            self.register();
        }
        if let Some(column) = &mut self.id_column {
            column.ty = ty;
            column.seen = column.seen.union(TypeSet::of(id));
            column.subtype = column.subtype.or(subtype(id));
        }
    }

    fn create_root(&mut self, id: &Value<'_>, ty: PgType) {
        let (_, wanted) = self.shared.target(&self.namespace);
        let claim = self.shared.names.claim(&self.schema, &wanted, &self.namespace.to_string());
        self.ddl.extend(asides(&self.schema, &claim));
        let name = claim.name;
        let keyed = ty == PgType::Jsonb;
        let key = keyed.then(|| Column { name: key_name(), ty: PgType::Bytea });
        let columns = key.into_iter().chain([Column { name: id_name(), ty }]).collect();
        let metadata = self.shared.options.metadata;
        let table = Table { id: TableId::fresh(), schema: self.schema.clone(), name, key: 1, columns, metadata };
        let table = Arc::new(table);
        self.tables.push(Arc::clone(&table));
        let state = ColumnState { index: usize::from(keyed), ty, seen: TypeSet::default(), subtype: None };
        self.id_column = Some(state);
        self.note(id, ty);
        self.ddl.push(Ddl::CreateTable(Arc::clone(&table)));
        let root = self.table_path_row(&[], Form::Root, &table);
        self.ddl.push(Ddl::Path(root));
        self.record_id_path();
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
            let widen = ColumnChange::Widen { index: 0, from, seen: id.seen.names(), subtype: id.subtype };
            self.ddl.push(Ddl::Alter { table: Arc::clone(table), columns: vec![widen] });
        }
    }

    /// `_key` takes the place of `_id` as every table's first column, and `_id` becomes the root's last.
    fn add_key(&mut self, from: PgType, seen: Vec<&'static str>, subtype: Option<u8>) {
        let before = self.tables.clone();
        let wanted = self.tables.first().map(|root| format!("{}__key", root.name.as_str())).unwrap_or_default();
        let hashed = full_path(&self.namespace, std::iter::once(wanted.as_str()));
        for (i, table) in self.tables.iter_mut().enumerate() {
            let mut keyed = Table::clone(table);
            let others = keyed.columns.get(1..).unwrap_or_default();
            let taken = |name: &str| others.iter().any(|column| column.name.as_str() == name);
            let name = if i == 0 { key_name() } else { identifier(&wanted, &hashed, taken) };
            if let Some(key) = keyed.columns.first_mut() {
                *key = Column { name, ty: PgType::Bytea };
            }
            if let (0, Some(id)) = (i, &mut self.id_column) {
                id.index = keyed.columns.len();
                keyed.columns.push(Column { name: id_name(), ty: PgType::Jsonb });
            }
            *table = Arc::new(keyed);
        }
        let tables = before.into_iter().zip(self.tables.iter().cloned()).collect();
        self.ddl.push(Ddl::Rekey(Rekey { tables, from, seen, subtype }));
        let rows = self.path_rows().into_iter().filter(|row| row.form != Form::Column);
        self.ddl.extend(rows.map(Ddl::Path));
    }

    fn record_id_path(&mut self) {
        if let Some(row) = self.id_path_row() {
            self.ddl.push(Ddl::Path(row));
        }
    }

    /// The catalog row of `_id`.
    pub(super) fn id_path_row(&self) -> Option<PathRow> {
        let (id, table) = (self.id_column.as_ref()?, self.tables.first()?);
        let name = table.columns.get(id.index)?.name.clone();
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
        match self.id_column.as_ref().map(|column| column.ty) {
            None | Some(PgType::Jsonb) => Ok(identity::key(*id)?.to_vec()),
            Some(ty) => write_id(one_form(*id), ty),
        }
    }

    /// Puts the collection itself into the catalog.
    pub(super) fn register(&mut self) {
        self.ddl.push(Ddl::Collection(CollectionRow {
            id: self.id,
            namespace: self.namespace.clone(),
            copied: self.copied,
            wide_ids: self.wide_ids,
        }));
    }
}

fn id_name() -> Identifier {
    identifier("_id", "", |_| false)
}

fn key_name() -> Identifier {
    identifier("_key", "", |_| false)
}

/// An `_id` as a cell of that type.
///
/// # Errors
/// When the cell would say less than the id.
pub(super) fn write_id(id: Value<'_>, ty: PgType) -> Result<Vec<u8>, Reject> {
    let mut bytes = Vec::new();
    match cell::write(id, ty, &mut bytes) {
        Ok(None) => Ok(bytes),
        Ok(Some(_)) => Err(Reject("id_not_representable")),
        Err(CellError::Twice) => Err(DUPLICATE),
        Err(CellError::Malformed(error)) => Err(error.into()),
        Err(CellError::WrongType) => Err(Reject("defect_key_too_narrow")),
    }
}

/// Both zeros, and everything that is not a number, are one `_id` to MongoDB and one key to PostgreSQL, so they are
/// made one in memory too.
fn one_form(id: Value<'_>) -> Value<'_> {
    let Value::Double(n) = id else { return id };
    if n == 0.0 {
        Value::Double(0.0)
    } else if n.is_nan() {
        Value::Double(f64::NAN)
    } else {
        id
    }
}

fn too_long(id: &Value<'_>) -> bool {
    matches!(id, Value::String(bytes) | Value::Binary { bytes, .. } if bytes.len() > MAX_ID_BYTES)
}

fn is_wide(id: &Value<'_>) -> bool {
    matches!(id, Value::Double(n) if n.is_finite() && n.abs() >= WIDE)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::collection::Shared;
    use crate::model::namespace::{CollectionId, Namespace};

    fn collection() -> Collection {
        let shared = Shared { names: Arc::default(), options: Arc::default(), collections: Arc::default() };
        Collection::new(CollectionId([1; 16]), Namespace::parse("db.c").expect("a namespace"), shared)
    }

    fn key_after(ids: &[Value<'_>]) -> (String, PgType) {
        let mut collection = collection();
        for id in ids {
            collection.ensure_root(id).expect("stored");
        }
        let key = collection.tables().first().and_then(|table| table.columns.first()).expect("a key").clone();
        (key.name.as_str().to_owned(), key.ty)
    }

    fn decimal(text: &str) -> Value<'static> {
        Value::Decimal128(text.parse::<bson::Decimal128>().expect("a decimal").bytes())
    }

    #[test]
    fn numbers_stay_numbers_as_long_as_their_keys_say_all() {
        let (int, long, half) = (Value::Int32(1), Value::Int64(1 << 60), Value::Double(0.5));
        let (wide, nan) = (Value::Double(-1e20), Value::Double(f64::NAN));
        for (ids, ty) in [
            (vec![int, long], PgType::BigInt),
            (vec![half, wide, nan], PgType::Double),
            (vec![int, half, long, nan], PgType::Numeric),
            (vec![half, long], PgType::Numeric),
            (vec![decimal("0.1"), int, long], PgType::Numeric),
        ] {
            assert_eq!(key_after(&ids), ("_id".into(), ty), "{ids:?}");
        }
        for ids in [
            vec![int, wide],
            vec![wide, int],
            vec![half, wide, long],
            vec![int, half, wide],
            vec![half, decimal("0.1")],
            vec![decimal("0.1"), int, half],
            vec![int, half, decimal("1")],
        ] {
            assert_eq!(key_after(&ids), ("_key".into(), PgType::Bytea), "{ids:?}");
        }
    }

    #[test]
    fn any_other_second_type_makes_a_key() {
        let (text, oid) = (Value::String(b"a"), Value::ObjectId([1; 12]));
        let binary = |subtype, bytes| Value::Binary { subtype, bytes };
        let long = [b'x'; MAX_ID_BYTES + 1];
        for ids in [
            vec![text, oid],
            vec![text, Value::Int32(1)],
            vec![text, Value::Symbol(b"a")],
            vec![binary(0, b"a"), binary(5, b"a")],
            vec![binary(4, &[1; 16]), binary(4, b"a")],
            vec![text, Value::String(&long)],
            vec![Value::String(&long)],
            vec![Value::Null],
            vec![Value::Boolean(true), Value::Null],
        ] {
            assert_eq!(key_after(&ids), ("_key".into(), PgType::Bytea), "{ids:?}");
        }
        assert_eq!(key_after(&[text, Value::String(b"b")]), ("_id".into(), PgType::Text));
    }

    #[test]
    fn an_id_that_is_not_stored_changes_nothing() {
        let mut collection = collection();
        collection.ensure_root(&Value::Int32(1)).expect("stored");
        collection.take_ddl();
        assert_eq!(collection.ensure_root(&Value::String(b"\0")), Err(Reject("id_not_representable")));
        assert!(collection.is_settled() && collection.lacks(&Value::String(b"a")));
    }

    #[test]
    fn both_zeros_and_every_nan_are_one_key_in_memory() {
        let mut collection = collection();
        collection.ensure_root(&Value::Double(0.5)).expect("stored");
        let cell = |n: f64| collection.id_cell(&Value::Double(n)).expect("stored");
        assert_eq!(cell(0.0), cell(-0.0));
        assert_eq!(cell(f64::NAN), cell(-f64::from_bits(0x7FF0_0000_0000_0001)));
    }
}
