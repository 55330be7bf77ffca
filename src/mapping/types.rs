//! Which PostgreSQL type a value wants, and how types join: the widening lattice of the mapping contract, section 4.

use crate::model::bson::Value;
use crate::model::table::PgType;

/// The BSON types that a column or an `_id` can hold, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TypeSet(u32);

/// MongoDB's type names in the order of the bits.
const NAMES: [&str; 19] = [
    "double",
    "string",
    "object",
    "array",
    "binData",
    "objectId",
    "bool",
    "date",
    "regex",
    "dbPointer",
    "javascript",
    "symbol",
    "javascriptWithScope",
    "int",
    "timestamp",
    "long",
    "decimal",
    "minKey",
    "maxKey",
];

impl TypeSet {
    fn bit(name: &str) -> u32 {
        NAMES.iter().position(|known| *known == name).map_or(0, |i| 1 << i)
    }

    /// The set of one value's type; empty for null.
    #[must_use]
    pub fn of(value: &Value<'_>) -> Self {
        Self(match value {
            Value::Double(_) => 1,
            Value::String(_) => 1 << 1,
            Value::Document(_) => 1 << 2,
            Value::Array(_) => 1 << 3,
            Value::Binary { .. } => 1 << 4,
            Value::ObjectId(_) => 1 << 5,
            Value::Boolean(_) => 1 << 6,
            Value::DateTime(_) => 1 << 7,
            Value::Regex { .. } => 1 << 8,
            Value::DbPointer { .. } => 1 << 9,
            Value::Code(_) => 1 << 10,
            Value::Symbol(_) => 1 << 11,
            Value::CodeWithScope { .. } => 1 << 12,
            Value::Int32(_) => 1 << 13,
            Value::Timestamp(..) => 1 << 14,
            Value::Int64(_) => 1 << 15,
            Value::Decimal128(_) => 1 << 16,
            Value::MinKey => 1 << 17,
            Value::MaxKey => 1 << 18,
            Value::Null | Value::Undefined => 0,
        })
    }

    /// The set of those names; unknown names are ignored.
    pub fn from_names<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self(names.into_iter().fold(0, |bits, name| bits | Self::bit(name)))
    }

    /// The names, in a fixed order.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        NAMES.iter().enumerate().filter(|(i, _)| self.0 & (1 << i) != 0).map(|(_, name)| *name).collect()
    }

    /// True when nothing was seen.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True when all of `other` is in it.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The type of a column that holds nothing but this value (section 2); `jsonb` for null, which never asks.
#[must_use]
pub fn natural(value: &Value<'_>) -> PgType {
    match value {
        Value::Double(_) => PgType::Double,
        Value::String(_) | Value::ObjectId(_) => PgType::Text,
        Value::Boolean(_) => PgType::Boolean,
        Value::Int32(_) => PgType::Integer,
        Value::Int64(_) => PgType::BigInt,
        Value::Decimal128(_) => PgType::Numeric,
        Value::DateTime(_) => PgType::TimestampTz,
        Value::Binary { subtype: 4, bytes } if bytes.len() == 16 => PgType::Uuid,
        Value::Binary { .. } => PgType::Bytea,
        Value::Document(_)
        | Value::Array(_)
        | Value::Undefined
        | Value::Null
        | Value::Regex { .. }
        | Value::DbPointer { .. }
        | Value::Code(_)
        | Value::Symbol(_)
        | Value::CodeWithScope { .. }
        | Value::Timestamp(..)
        | Value::MinKey
        | Value::MaxKey => PgType::Jsonb,
    }
}

/// The narrowest type that holds both without loss.
#[must_use]
pub fn join(a: PgType, b: PgType) -> PgType {
    use PgType::{BigInt, Double, Integer, Jsonb, Numeric};
    match (a, b) {
        _ if a == b => a,
        (Integer, BigInt) | (BigInt, Integer) => BigInt,
        (Integer, Double) | (Double, Integer) => Double,
        _ if a.is_number() && b.is_number() => Numeric,
        _ => Jsonb,
    }
}

/// [`join`] for `_id`, where equal numbers must stay equal keys: no integer ever becomes a double. `None` when the two
/// types have no common scalar type.
#[must_use]
pub fn join_id(a: PgType, b: PgType) -> Option<PgType> {
    use PgType::{BigInt, Integer, Numeric};
    match (a, b) {
        (PgType::Jsonb, _) | (_, PgType::Jsonb) => None,
        _ if a == b => Some(a),
        (Integer, BigInt) | (BigInt, Integer) => Some(BigInt),
        _ if a.is_number() && b.is_number() => Some(Numeric),
        _ => None,
    }
}

/// The subtype of binary data, for columns that can hold only one.
#[must_use]
pub fn subtype(value: &Value<'_>) -> Option<u8> {
    if let Value::Binary { subtype, .. } = value { Some(*subtype) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PgType::{BigInt, Boolean, Double, Integer, Jsonb, Numeric, Text, Uuid};

    #[test]
    fn types_only_widen() {
        let all = [Boolean, Integer, BigInt, Double, Numeric, Text, Uuid, Jsonb];
        for a in all {
            for b in all {
                assert_eq!(join(a, b), join(b, a));
                assert_eq!(join(join(a, b), b), join(a, b), "{a} {b}");
                for c in all {
                    assert!(join(join(a, b), c) == Jsonb || join(join(a, b), c) == join(a, join(b, c)));
                }
            }
        }
        assert_eq!(join(Integer, Double), Double);
        assert_eq!(join(BigInt, Double), Numeric);
        assert_eq!(join(Text, Integer), Jsonb);
        assert_eq!(join_id(Integer, Double), Some(Numeric));
        assert_eq!(join_id(Text, Integer), None);
    }

    #[test]
    fn every_type_has_its_name_and_bit() {
        for value in [Value::Double(0.0), Value::Int32(1), Value::MaxKey, Value::Boolean(true), Value::Int64(1)] {
            assert_eq!(TypeSet::of(&value).names(), [value.type_name()]);
        }
        assert!(TypeSet::of(&Value::Null).is_empty());
    }
}
