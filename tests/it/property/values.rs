//! Scalars of every type that MongoDB has, their extremes and their oddities among them.

use mongodb::bson::Decimal128;

use crate::decode::bson::{Value, fields};
use crate::workload::random::Random;

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
    /// Of this subtype.
    Binary(u8),
    Null,
    Undefined,
    Regex,
    Timestamp,
    Code,
    CodeWithScope,
    Symbol,
    DbPointer,
    MinKey,
    MaxKey,
    /// Numbers of every type.
    Number,
    /// Strings and ObjectIds.
    Reference,
    /// Anything.
    Any,
}

use Kind::{Any, Binary, Bool, Code, CodeWithScope, Date, DbPointer, Decimal, Double, Int, Long, MaxKey, MinKey};
use Kind::{Null, Number, ObjectId, Reference, Regex, Symbol, Text, Timestamp, Undefined, Uuid};

/// The types that columns of their own are made for, more often than the others.
const PLAIN: [Kind; 13] = [Int, Int, Long, Double, Decimal, Text, Text, Bool, Date, ObjectId, Uuid, Number, Reference];

const RARE: [Kind; 11] =
    [Null, Undefined, Regex, Timestamp, Code, CodeWithScope, Symbol, DbPointer, MinKey, MaxKey, Any];

/// A kind for a field.
pub fn kind(random: &mut Random) -> Kind {
    match random.below(10) {
        0 => Binary(subtype(random)),
        1 | 2 => *random.pick(&RARE),
        _ => *random.pick(&PLAIN),
    }
}

fn subtype(random: &mut Random) -> u8 {
    *random.pick(&[0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 128, 200, 255])
}

/// A value of that kind.
pub fn value(random: &mut Random, kind: Kind) -> Value {
    match kind {
        Int => Value::Int32(int(random)),
        Long => Value::Int64(long(random)),
        Double => Value::Double(double(random)),
        Decimal => Value::Decimal128(decimal(random)),
        Text => Value::String(text(random)),
        Bool => Value::Boolean(random.percent(50)),
        Date => Value::DateTime(date(random)),
        ObjectId => Value::ObjectId(object_id(random)),
        Uuid => Value::Binary(4, bytes(random, 16)),
        Binary(subtype) => {
            let length = *random.pick(&[0, 1, 3, 12, 16, 16, 17, 40]);
            Value::Binary(subtype, bytes(random, length))
        }
        Null => Value::Null,
        Undefined => Value::Undefined,
        Regex => Value::Regex(cstring(random), random.pick(&[&b""[..], b"i", b"imsx"]).to_vec()),
        Timestamp => Value::Timestamp(random.next() as u32, random.next() as u32),
        Code => Value::Code(text(random)),
        CodeWithScope => {
            let scope = fields([("x", scalar(random)), ("y", Value::Array(vec![scalar(random)]))]);
            Value::CodeWithScope(text(random), scope)
        }
        Symbol => Value::Symbol(text(random)),
        DbPointer => {
            // The server's public form of an update ends a pointer's namespace at U+0000 (seen on 8.2).
            let namespace = text(random).into_iter().filter(|byte| *byte != 0).collect();
            Value::DbPointer(namespace, object_id(random))
        }
        MinKey => Value::MinKey,
        MaxKey => Value::MaxKey,
        Number => {
            let kind = *random.pick(&[Int, Int, Int, Long, Double, Decimal]);
            value(random, kind)
        }
        Reference => {
            let kind = *random.pick(&[Text, ObjectId, ObjectId]);
            value(random, kind)
        }
        Any => scalar(random),
    }
}

/// A value of any kind.
pub fn scalar(random: &mut Random) -> Value {
    let mut kind = kind(random);
    if kind == CodeWithScope && random.percent(50) || kind == Any {
        kind = Int;
    }
    value(random, kind)
}

fn int(random: &mut Random) -> i32 {
    match random.below(12) {
        0 => i32::MIN,
        1 => i32::MAX,
        2 => 0,
        _ => random.between(-1000, 1000) as i32,
    }
}

fn long(random: &mut Random) -> i64 {
    match random.below(8) {
        0 => i64::MIN,
        1 => i64::MAX,
        2 => 9_007_199_254_740_993,
        3 => -9_007_199_254_740_993,
        4 => random.between(-3, 3),
        _ => random.next() as i64 >> random.below(60),
    }
}

fn double(random: &mut Random) -> f64 {
    const ODD: [f64; 12] = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
        0.0,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        9_007_199_254_740_993.0,
        1e23,
        0.1 + 0.2,
    ];
    match random.below(10) {
        0..4 => *random.pick(&ODD),
        4 => f64::from_bits(random.next()),
        5 => random.between(-5, 5) as f64,
        _ => random.between(-1_000_000, 1_000_000) as f64 / 128.0,
    }
}

fn decimal(random: &mut Random) -> [u8; 16] {
    const ODD: [&str; 20] = [
        "NaN",
        "Infinity",
        "-Infinity",
        "0",
        "-0",
        "0E+10",
        "0E-6176",
        "0E+6111",
        "1.000",
        "1E+3",
        "9.999999999999999999999999999999999E+6144",
        "-9.999999999999999999999999999999999E+6144",
        "1E-6176",
        "-1E-6176",
        "1234567890123456789012345678901234",
        "0.1234567890123456789012345678901234",
        "1E+6111",
        "5",
        "5.0",
        "-123456789.123456789",
    ];
    let text = match random.below(10) {
        0..5 => (*random.pick(&ODD)).to_owned(),
        5 => format!("{}E{}", random.between(-99_999, 99_999), random.between(-6000, 6000)),
        6 => {
            let mut raw = [0; 16];
            raw.copy_from_slice(&bytes(random, 16));
            return raw;
        }
        _ => format!("{}.{:02}", random.between(-100_000, 100_000), random.below(100)),
    };
    text.parse::<Decimal128>().expect("a decimal").bytes()
}

fn date(random: &mut Random) -> i64 {
    const YEAR: i64 = 31_556_952_000;
    const ODD: [i64; 18] = [
        i64::MIN,
        i64::MAX,
        0,
        -1,
        // The year 0, the last and first milliseconds of what timestamptz and four-digit years hold, and their neighbours.
        -62_167_219_200_000,
        -62_135_596_800_000,
        -62_135_596_800_001,
        -210_866_803_200_000,
        -210_866_803_200_001,
        9_224_318_015_999_999,
        9_224_318_016_000_000,
        253_402_300_799_999,
        253_402_300_800_000,
        9_223_372_036_854_775,
        -9_223_372_036_854_776,
        8_640_000_000_000_000,
        951_782_399_999,
        -30_610_224_000_000,
    ];
    match random.below(10) {
        0 | 1 => *random.pick(&ODD),
        2 => random.between(-4800, 292_000) * YEAR + random.between(0, YEAR),
        3 => random.next() as i64,
        _ => random.between(-2_000_000_000_000, 4_000_000_000_000),
    }
}

/// Strings with quotes, backslashes, characters of every length, now and then something that PostgreSQL cannot hold.
pub fn text(random: &mut Random) -> Vec<u8> {
    const PARTS: [&str; 26] = [
        "Ada",
        "o'Neil",
        "\"q\"",
        "back\\slash",
        "Zoë",
        "名前",
        "🎓",
        "line\nbreak",
        "tab\t",
        "{\"a\": 1}",
        "NULL",
        "\\N",
        "\\x00",
        "\\u0000",
        "%",
        "$1",
        " ",
        "",
        "\u{7f}\u{80}\u{1}\u{1f}",
        "\u{feff}",
        "\u{fffd}",
        "\u{10ffff}",
        "507f1f77bcf86cd799439011",
        "{\"$oid\":\"507f1f77bcf86cd799439011\"}",
        "null",
        "1",
    ];
    const BAD: [&[u8]; 8] =
        [b"\0", b"a\0b", b"\0\0", b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\0\xff"];
    match random.below(60) {
        0 | 1 => [random.pick(&PARTS).as_bytes(), *random.pick(&BAD)].concat(),
        2 => random.pick(&BAD).to_vec(),
        3 => random.pick(&PARTS).repeat(500).into_bytes(),
        _ => {
            let parts: Vec<&str> = (0..=random.below(3)).map(|_| *random.pick(&PARTS)).collect();
            parts.join(" ").into_bytes()
        }
    }
}

fn cstring(random: &mut Random) -> Vec<u8> {
    text(random).into_iter().filter(|b| *b != 0).collect()
}

/// Twelve bytes of the sequence.
pub fn object_id(random: &mut Random) -> [u8; 12] {
    let mut id = [0; 12];
    id.copy_from_slice(&bytes(random, 12));
    id
}

/// So many bytes of the sequence.
pub fn bytes(random: &mut Random, length: usize) -> Vec<u8> {
    (0..length).map(|_| random.next() as u8).collect()
}
