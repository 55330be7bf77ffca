//! `_id`s: of one type in a collection, or of all.

use mongodb::bson::Decimal128;

use super::values::{self, Kind, object_id};
use crate::decode::bson::Value;
use crate::workload::random::Random;

/// What the `_id`s of a collection are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum IdKind {
    Int,
    Long,
    Double,
    Decimal,
    /// Numbers of every type, equal ones among them.
    Number,
    Text,
    ObjectId,
    Uuid,
    Bytes,
    Date,
    Bool,
    /// All of them, and documents of two.
    Any,
}

const KINDS: [IdKind; 17] = [
    IdKind::Int,
    IdKind::Int,
    IdKind::Text,
    IdKind::Text,
    IdKind::ObjectId,
    IdKind::ObjectId,
    IdKind::Long,
    IdKind::Double,
    IdKind::Decimal,
    IdKind::Number,
    IdKind::Uuid,
    IdKind::Bytes,
    IdKind::Date,
    IdKind::Bool,
    IdKind::Any,
    IdKind::Any,
    IdKind::Any,
];

/// A kind for a collection.
pub fn kind(random: &mut Random) -> IdKind {
    *random.pick(&KINDS)
}

/// An `_id`; MongoDB refuses it if it exists.
pub fn id(random: &mut Random, kind: IdKind) -> Value {
    match kind {
        IdKind::Int => Value::Int32(random.between(-20, 2000) as i32),
        IdKind::Long => values::value(random, Kind::Long),
        IdKind::Double => values::value(random, Kind::Double),
        IdKind::Decimal => values::value(random, Kind::Decimal),
        IdKind::Number if random.percent(50) => {
            let n = random.between(-5, 30);
            match random.below(4) {
                0 => Value::Int32(n as i32),
                1 => Value::Int64(n),
                2 => Value::Double(n as f64),
                _ => Value::Decimal128(n.to_string().parse::<Decimal128>().expect("a number").bytes()),
            }
        }
        IdKind::Number => values::value(random, Kind::Number),
        IdKind::Text => Value::String(values::text(random)),
        IdKind::ObjectId => Value::ObjectId(object_id(random)),
        IdKind::Uuid => Value::Binary(4, values::bytes(random, 16)),
        IdKind::Bytes => {
            let length = random.below(20);
            Value::Binary(0, values::bytes(random, length))
        }
        IdKind::Date => values::value(random, Kind::Date),
        IdKind::Bool => Value::Boolean(random.percent(50)),
        IdKind::Any if random.percent(25) => {
            let (a, b) = (self::kind(random), self::kind(random));
            let mut fields = vec![(b"a".to_vec(), id(random, a)), (b"b".to_vec(), id(random, b))];
            fields.rotate_left(random.below(2));
            Value::Document(fields)
        }
        IdKind::Any => {
            let one = self::kind(random);
            id(random, one)
        }
    }
}
