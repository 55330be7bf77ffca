//! Scalars of every plain type, the awkward ones among them.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Decimal128};

use super::random::Random;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Int,
    Long,
    Double,
    Decimal,
    Text,
    Bool,
    Date,
    ObjectId,
    Uuid,
    Bytes,
    /// Mostly int32, more and more of the others: the column widens.
    Number,
    /// Strings and ObjectIds, which may share a column.
    Reference,
    /// Any of them: the column becomes jsonb.
    Anything,
}

const PLAIN: [Kind; 10] = [
    Kind::Int,
    Kind::Long,
    Kind::Double,
    Kind::Decimal,
    Kind::Text,
    Kind::Bool,
    Kind::Date,
    Kind::ObjectId,
    Kind::Uuid,
    Kind::Bytes,
];

/// A value of this kind, in one of thirty cases null.
pub fn value(random: &mut Random, kind: Kind) -> Bson {
    if random.below(30) == 0 { Bson::Null } else { telling_value(random, kind) }
}

/// A value of this kind that is not null.
pub fn telling_value(random: &mut Random, kind: Kind) -> Bson {
    match kind {
        Kind::Int => Bson::Int32(int(random)),
        Kind::Long => Bson::Int64(long(random)),
        Kind::Double => Bson::Double(double(random)),
        Kind::Decimal => Bson::Decimal128(decimal(random)),
        Kind::Text => Bson::String(text(random)),
        Kind::Bool => Bson::Boolean(random.percent(50)),
        Kind::Date => Bson::DateTime(DateTime::from_millis(random.between(-2_000_000_000_000, 4_000_000_000_000))),
        Kind::ObjectId => Bson::ObjectId(object_id(random)),
        Kind::Uuid => uuid(random),
        Kind::Bytes => Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: bytes(random, 24) }),
        Kind::Number => {
            let kind = match random.below(40) {
                0 => Kind::Decimal,
                1..4 => Kind::Double,
                4..8 => Kind::Long,
                _ => Kind::Int,
            };
            telling_value(random, kind)
        }
        Kind::Reference => {
            let kind = if random.percent(70) { Kind::ObjectId } else { Kind::Text };
            telling_value(random, kind)
        }
        Kind::Anything => {
            let kind = *random.pick(&PLAIN);
            telling_value(random, kind)
        }
    }
}

fn int(random: &mut Random) -> i32 {
    match random.below(20) {
        0 => i32::MIN,
        1 => i32::MAX,
        2 => 0,
        _ => random.between(-1000, 1000) as i32,
    }
}

fn long(random: &mut Random) -> i64 {
    match random.below(10) {
        0 => i64::MIN,
        1 => i64::MAX,
        2 => 0,
        3 => 9_007_199_254_740_993,
        _ => random.next() as i64 >> random.below(60),
    }
}

fn double(random: &mut Random) -> f64 {
    match random.below(24) {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => f64::NEG_INFINITY,
        3 => -0.0,
        4 => 0.1 + 0.2,
        5 => f64::MIN_POSITIVE,
        6 => f64::MAX,
        7 => 3.0,
        _ => random.between(-1_000_000, 1_000_000) as f64 / 128.0,
    }
}

fn decimal(random: &mut Random) -> Decimal128 {
    let text = match random.below(10) {
        0 => "NaN".to_owned(),
        1 => "Infinity".to_owned(),
        2 => "-Infinity".to_owned(),
        3 => "1234567890123456789012345678901234".to_owned(),
        4 => "0".to_owned(),
        5 => format!("{}E-20", random.between(1, 1_000_000)),
        6 => format!("{}E+30", random.between(1, 1_000_000)),
        _ => format!("{}.{:02}", random.between(-100_000, 100_000), random.below(100)),
    };
    text.parse().expect("a decimal")
}

/// Names, quotes, backslashes, characters of every length, the empty string, and now and then a long one.
pub fn text(random: &mut Random) -> String {
    const PARTS: [&str; 16] = [
        "Ada",
        "Grace",
        "o'Neil",
        "\"quoted\"",
        "back\\slash",
        "Zoë",
        "名前",
        "🎓",
        "line\nbreak",
        "tab\t",
        "{\"a\": 1}",
        "NULL",
        "\\N",
        "%",
        "$1",
        " ",
    ];
    match random.below(100) {
        0 => String::new(),
        1 => random.pick(&PARTS).repeat(500),
        _ => (0..=random.below(3)).map(|_| *random.pick(&PARTS)).collect::<Vec<_>>().join(" "),
    }
}

/// Twelve bytes of the sequence.
pub fn object_id(random: &mut Random) -> ObjectId {
    let mut id = [0; 12];
    id.copy_from_slice(&bytes_exactly(random, 12));
    ObjectId::from_bytes(id)
}

/// Binary data of subtype 4.
pub fn uuid(random: &mut Random) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: bytes_exactly(random, 16) })
}

fn bytes(random: &mut Random, at_most: usize) -> Vec<u8> {
    let length = random.below(at_most + 1);
    bytes_exactly(random, length)
}

fn bytes_exactly(random: &mut Random, length: usize) -> Vec<u8> {
    (0..length).map(|_| random.next() as u8).collect()
}
