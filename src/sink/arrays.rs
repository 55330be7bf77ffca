//! Array parameters from cells that are already in PostgreSQL's binary format.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::model::row::Cell;
use crate::model::table::PgType;

/// The driver's element type.
#[must_use]
pub fn element_type(ty: PgType) -> Type {
    match ty {
        PgType::Boolean => Type::BOOL,
        PgType::Integer => Type::INT4,
        PgType::BigInt => Type::INT8,
        PgType::Double => Type::FLOAT8,
        PgType::Numeric => Type::NUMERIC,
        PgType::Text => Type::TEXT,
        PgType::TimestampTz => Type::TIMESTAMPTZ,
        PgType::Uuid => Type::UUID,
        PgType::Bytea => Type::BYTEA,
        PgType::Jsonb => Type::JSONB,
    }
}

/// The driver's array type.
#[must_use]
pub fn array_type(ty: PgType) -> Type {
    match ty {
        PgType::Boolean => Type::BOOL_ARRAY,
        PgType::Integer => Type::INT4_ARRAY,
        PgType::BigInt => Type::INT8_ARRAY,
        PgType::Double => Type::FLOAT8_ARRAY,
        PgType::Numeric => Type::NUMERIC_ARRAY,
        PgType::Text => Type::TEXT_ARRAY,
        PgType::TimestampTz => Type::TIMESTAMPTZ_ARRAY,
        PgType::Uuid => Type::UUID_ARRAY,
        PgType::Bytea => Type::BYTEA_ARRAY,
        PgType::Jsonb => Type::JSONB_ARRAY,
    }
}

/// A one-dimensional array in the format of `array_recv`.
#[derive(Debug)]
pub struct ArrayParam {
    element: u32,
    count: i32,
    has_null: bool,
    body: BytesMut,
}

/// Length of an element that is NULL.
const NULL_LENGTH: i32 = -1;

impl ArrayParam {
    /// An empty array of that element type.
    #[must_use]
    pub fn new(ty: PgType) -> Self {
        Self { element: element_type(ty).oid(), count: 0, has_null: false, body: BytesMut::new() }
    }

    /// Appends an element; an absent cell is NULL.
    pub fn push(&mut self, cell: Cell<'_>) {
        self.count += 1;
        match cell {
            Cell::Value(bytes) => {
                // A document has at most 16 MB, so no cell comes near the limit of an i32.
                self.body.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
                self.body.put_slice(bytes);
            }
            Cell::Null | Cell::Absent => {
                self.has_null = true;
                self.body.put_i32(NULL_LENGTH);
            }
        }
    }
}

impl ToSql for ArrayParam {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_i32(1); // dimensions
        out.put_i32(i32::from(self.has_null));
        out.put_u32(self.element);
        out.put_i32(self.count);
        out.put_i32(1); // lower bound
        out.put_slice(&self.body);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
