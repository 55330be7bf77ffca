//! One value in PostgreSQL's binary format for a column's type: the field format of COPY BINARY and of array elements.
//!
//! In: a value and a type that holds it (`types::join` has seen to that). Out: bytes appended, and what was lost.
//! Formats: the `*_recv` functions of PostgreSQL.

use super::json::{self, Flavour, clean_text, hex};
use super::losses::reason_of;
use super::numeric::{OutOfRange, write_numeric};
use crate::model::bson::{Malformed, Value};
use crate::model::table::PgType;

/// Why a value could not be stored as it is; the fixed words of `tailwater.anomalies.reason`.
pub mod reason {
    /// U+0000 was removed.
    pub const NUL: &str = "nul_removed";
    /// U+FFFD stands for bytes that are not UTF-8.
    pub const UTF8: &str = "invalid_utf8";
    /// A date that `timestamptz` does not reach.
    pub const DATE: &str = "date_out_of_range";
    /// A number that `numeric` does not reach.
    pub const NUMBER: &str = "number_out_of_range";
    /// U+FFFD stands for bytes of a field name that are not UTF-8.
    pub const NAME: &str = "invalid_utf8_name";
    /// The row had no room for the value.
    pub const ROW: &str = "row_too_wide";
    /// A type that its column does not hold and does not widen to.
    pub const CONFLICT: &str = "type_conflict";
    /// A value that is no value of the type which the configuration gives its column.
    pub const CAST: &str = "cast_failed";
}

/// A value that does not go into a cell of that type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellError {
    /// The column must widen first.
    WrongType,
    /// A nested document has a name twice, of which `jsonb` would keep one.
    Twice,
    /// A nested document is malformed.
    Malformed(Malformed),
}

impl From<Malformed> for CellError {
    fn from(error: Malformed) -> Self {
        CellError::Malformed(error)
    }
}

/// Appends `value` as a `ty`; returns why the stored value differs from it, if it does.
///
/// # Errors
/// [`CellError::WrongType`] when the type does not hold such values; nothing is appended then.
pub fn write(value: Value<'_>, ty: PgType, out: &mut Vec<u8>) -> Result<Option<&'static str>, CellError> {
    match ty {
        PgType::Boolean | PgType::Integer | PgType::BigInt | PgType::Double | PgType::Uuid | PgType::Bytea => {
            write_fixed(value, ty, out)
        }
        PgType::Numeric => number(value, out),
        PgType::Text => text(value, out),
        PgType::TimestampTz => {
            let Value::DateTime(millis) = value else { return Err(CellError::WrongType) };
            Ok(timestamp(millis, out))
        }
        PgType::Jsonb => {
            out.push(1); // the version byte of jsonb_recv
            match json::write_value(value, Flavour::Relaxed, out)? {
                losses if losses.twice => Err(CellError::Twice),
                losses => Ok(reason_of(losses)),
            }
        }
    }
}

fn write_fixed(value: Value<'_>, ty: PgType, out: &mut Vec<u8>) -> Result<Option<&'static str>, CellError> {
    match (ty, value) {
        (PgType::Boolean, Value::Boolean(yes)) => out.push(u8::from(yes)),
        (PgType::Integer, Value::Int32(n)) => out.extend_from_slice(&n.to_be_bytes()),
        (PgType::BigInt, Value::Int32(n)) => out.extend_from_slice(&i64::from(n).to_be_bytes()),
        (PgType::BigInt, Value::Int64(n)) => out.extend_from_slice(&n.to_be_bytes()),
        (PgType::Double, Value::Double(n)) => out.extend_from_slice(&n.to_be_bytes()),
        (PgType::Double, Value::Int32(n)) => out.extend_from_slice(&f64::from(n).to_be_bytes()),
        (PgType::Uuid, Value::Binary { subtype: 4, bytes }) if bytes.len() == 16 => out.extend_from_slice(bytes),
        (PgType::Bytea, Value::Binary { bytes, .. }) => out.extend_from_slice(bytes),
        _ => return Err(CellError::WrongType),
    }
    Ok(None)
}

#[allow(clippy::wildcard_enum_match_arm, reason = "every other type widens the column")]
fn number(value: Value<'_>, out: &mut Vec<u8>) -> Result<Option<&'static str>, CellError> {
    let text = match value {
        Value::Int32(n) => n.to_string(),
        Value::Int64(n) => n.to_string(),
        Value::Double(n) => json::double_text(n),
        Value::Decimal128(bytes) => json::decimal_text(bytes),
        _ => return Err(CellError::WrongType),
    };
    let start = out.len();
    match write_numeric(&text, out) {
        Ok(()) => Ok(None),
        // No decimal128 and no double is out of numeric's range; the branch keeps the promise of section 5 all the same.
        Err(OutOfRange) => {
            out.truncate(start);
            write_numeric("NaN", out).map_err(|OutOfRange| CellError::WrongType)?;
            Ok(Some(reason::NUMBER))
        }
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "every other type widens the column")]
fn text(value: Value<'_>, out: &mut Vec<u8>) -> Result<Option<&'static str>, CellError> {
    match value {
        Value::ObjectId(id) => {
            out.extend_from_slice(hex(&id).as_bytes());
            Ok(None)
        }
        Value::String(bytes) => {
            let (text, losses) = clean_text(bytes);
            out.extend_from_slice(text.as_bytes());
            Ok(reason_of(losses))
        }
        _ => Err(CellError::WrongType),
    }
}

/// Microseconds since 2000, PostgreSQL's epoch; outside its range (manual, 8.5: 4713 BC to 294276 AD) an infinity.
fn timestamp(millis: i64, out: &mut Vec<u8>) -> Option<&'static str> {
    const EPOCH_MILLIS: i64 = 946_684_800_000;
    // MIN_TIMESTAMP and END_TIMESTAMP of PostgreSQL's timestamp.h, in milliseconds.
    const FIRST: i64 = -211_813_488_000_000;
    const END: i64 = 9_223_371_331_200_000;
    let since_2000 = millis.saturating_sub(EPOCH_MILLIS);
    let (micros, reason) = if since_2000 < FIRST {
        (i64::MIN, Some(reason::DATE))
    } else if since_2000 >= END {
        (i64::MAX, Some(reason::DATE))
    } else {
        (since_2000.saturating_mul(1000), None)
    };
    out.extend_from_slice(&micros.to_be_bytes());
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: Value<'_>, ty: PgType) -> (Vec<u8>, Option<&'static str>) {
        let mut out = Vec::new();
        let reason = write(value, ty, &mut out).expect("fits");
        (out, reason)
    }

    #[test]
    fn a_wider_column_takes_a_narrower_value() {
        assert_eq!(bytes(Value::Int32(-2), PgType::BigInt).0, (-2i64).to_be_bytes());
        assert_eq!(bytes(Value::Int32(3), PgType::Double).0, 3f64.to_be_bytes());
        assert_eq!(bytes(Value::Int32(3), PgType::Jsonb).0, b"\x013");
        assert_eq!(bytes(Value::Int32(3), PgType::Numeric), bytes(Value::Double(3.0), PgType::Numeric));
    }

    #[test]
    fn a_narrower_column_refuses_and_stays_clean() {
        let mut out = vec![7];
        assert_eq!(write(Value::Int64(1), PgType::Integer, &mut out), Err(CellError::WrongType));
        assert_eq!(write(Value::Int64(1), PgType::Double, &mut out), Err(CellError::WrongType));
        assert_eq!(write(Value::Boolean(true), PgType::Text, &mut out), Err(CellError::WrongType));
        assert_eq!(out, [7]);
    }

    #[test]
    fn values_beyond_postgresql_are_reported() {
        assert_eq!(bytes(Value::String(b"a\0b"), PgType::Text), (b"ab".to_vec(), Some(reason::NUL)));
        assert_eq!(bytes(Value::DateTime(i64::MAX), PgType::TimestampTz).1, Some(reason::DATE));
        assert_eq!(
            bytes(Value::DateTime(946_684_800_001), PgType::TimestampTz),
            (1000i64.to_be_bytes().to_vec(), None)
        );
    }
}
