//! When two ids are one: the canonical form of an `_id`, and the key that is made of it.
//!
//! In: any value. Out: bytes that are equal exactly when MongoDB's `_id` index takes the values for equal (seen pair by
//! pair on the server by `tests/it/mixed_ids/equality.rs`): a number is its value whatever its type, a symbol is a string,
//! the order of fields counts, and every other difference does. No form is the start of another, so that forms can stand
//! in one another.
//!
//! `sink/rekey.rs` makes the same bytes in SQL from what a table holds. A number is therefore its decimal digits, which
//! SQL can make of an integer and of a `numeric`; only a double that no decimal128 can equal is its eight bytes.

use sha2::{Digest, Sha256};

use super::json::{decimal_text, double_text};
use super::numeric::plain_text;
use crate::model::bson::{Doc, Malformed, Value};

/// The first byte of a form: one for each group of types that MongoDB compares with one another.
pub mod tag {
    /// Ends a document, an array and the digits of a number.
    pub const END: u8 = 0x00;
    /// Comes before each field and each element.
    pub const MORE: u8 = 0x01;
    /// Numbers, as decimal digits.
    pub const NUMBER: u8 = 0x02;
    /// Doubles that no decimal128 equals.
    pub const DOUBLE: u8 = 0x03;
    /// Strings and symbols.
    pub const STRING: u8 = 0x04;
    /// Binary data.
    pub const BINARY: u8 = 0x05;
    /// ObjectIds.
    pub const OBJECT_ID: u8 = 0x06;
    /// Booleans.
    pub const BOOLEAN: u8 = 0x07;
    /// Dates.
    pub const DATE: u8 = 0x08;
    pub(super) const DOCUMENT: u8 = 0x09;
    pub(super) const ARRAY: u8 = 0x0A;
    pub(super) const UNDEFINED: u8 = 0x0B;
    pub(super) const NULL: u8 = 0x0C;
    pub(super) const REGEX: u8 = 0x0D;
    pub(super) const DB_POINTER: u8 = 0x0E;
    pub(super) const CODE: u8 = 0x0F;
    pub(super) const CODE_WITH_SCOPE: u8 = 0x10;
    pub(super) const TIMESTAMP: u8 = 0x11;
    pub(super) const MIN_KEY: u8 = 0x12;
    pub(super) const MAX_KEY: u8 = 0x13;
}

/// A double is written as digits when it is a multiple of 2 to this power …
pub const DIGITS_FROM_EXPONENT: i32 = -48;

/// … and less than 2 to this one. What a decimal128 (34 digits, any power of ten) can equal lies between: 34 digits hold
/// at most 48 factors of 5 behind the point, and a multiple of 10 to the 23 has no odd part below 2 to the 53, so that
/// 10 to the 34+22 (less than 2 to the 187) is never reached.
pub const DIGITS_BELOW_EXPONENT: i32 = 187;

/// The 32 bytes of the column `_key`.
///
/// # Errors
/// When a nested document is malformed.
pub fn key(id: Value<'_>) -> Result<[u8; 32], Malformed> {
    let mut form = Vec::new();
    write(id, &mut form)?;
    Ok(Sha256::digest(&form).into())
}

/// Appends the canonical form of `value`.
///
/// # Errors
/// When a nested document is malformed.
pub fn write(value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    match value {
        Value::Int32(n) => number(&n.to_string(), out),
        Value::Int64(n) => number(&n.to_string(), out),
        Value::Double(n) => double(n, out),
        Value::Decimal128(bytes) => decimal(bytes, out),
        Value::String(bytes) | Value::Symbol(bytes) => tagged(tag::STRING, bytes, out),
        Value::Document(document) => {
            out.push(tag::DOCUMENT);
            fields(document, out)?;
        }
        Value::Array(array) => {
            out.push(tag::ARRAY);
            elements(array, out)?;
        }
        Value::Binary { subtype, bytes } => {
            out.push(tag::BINARY);
            length(bytes, out);
            out.push(subtype);
            out.extend_from_slice(bytes);
        }
        Value::ObjectId(id) => fixed(tag::OBJECT_ID, &id, out),
        Value::Boolean(yes) => fixed(tag::BOOLEAN, &[u8::from(yes)], out),
        Value::DateTime(millis) => fixed(tag::DATE, &millis.to_be_bytes(), out),
        Value::Undefined => out.push(tag::UNDEFINED),
        Value::Null => out.push(tag::NULL),
        Value::Regex { pattern, options } => {
            tagged(tag::REGEX, pattern, out);
            text(options, out);
        }
        Value::DbPointer { namespace, id } => {
            tagged(tag::DB_POINTER, namespace, out);
            out.extend_from_slice(&id);
        }
        Value::Code(code) => tagged(tag::CODE, code, out),
        Value::CodeWithScope { code, scope } => {
            tagged(tag::CODE_WITH_SCOPE, code, out);
            fields(scope, out)?;
        }
        Value::Timestamp(seconds, ordinal) => {
            fixed(tag::TIMESTAMP, &seconds.to_be_bytes(), out);
            out.extend_from_slice(&ordinal.to_be_bytes());
        }
        Value::MinKey => out.push(tag::MIN_KEY),
        Value::MaxKey => out.push(tag::MAX_KEY),
    }
    Ok(())
}

/// Names and values in their order.
fn fields(document: Doc<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    for element in document.elements() {
        let (name, value) = element?;
        tagged(tag::MORE, name, out);
        write(value, out)?;
    }
    out.push(tag::END);
    Ok(())
}

/// The names of an array's elements mean nothing.
fn elements(array: Doc<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    for element in array.elements() {
        out.push(tag::MORE);
        write(element?.1, out)?;
    }
    out.push(tag::END);
    Ok(())
}

fn number(digits: &str, out: &mut Vec<u8>) {
    fixed(tag::NUMBER, digits.as_bytes(), out);
    out.push(tag::END);
}

/// Zero has no sign here, and all that is not a number is one.
fn double(n: f64, out: &mut Vec<u8>) {
    if !n.is_finite() {
        number(&double_text(n), out);
    } else if n == 0.0 {
        number("0", out);
    } else if n.abs() < 2f64.powi(DIGITS_BELOW_EXPONENT)
        && (n.fract() * 2f64.powi(-DIGITS_FROM_EXPONENT)).fract() == 0.0
    {
        // Rust prints as many places as are asked for, and every one is right.
        let exact = format!("{n:.48}");
        number(exact.trim_end_matches('0').trim_end_matches('.'), out);
    } else {
        fixed(tag::DOUBLE, &n.to_be_bytes(), out);
    }
}

fn decimal(bytes: [u8; 16], out: &mut Vec<u8>) {
    match plain_text(&decimal_text(bytes)) {
        Ok(digits) => number(&digits, out),
        Err(_) => number("NaN", out), // no decimal128 has such a text
    }
}

fn fixed(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

fn tagged(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    text(bytes, out);
}

fn text(bytes: &[u8], out: &mut Vec<u8>) {
    length(bytes, out);
    out.extend_from_slice(bytes);
}

fn length(bytes: &[u8], out: &mut Vec<u8>) {
    // A document has at most 16 MB, so a length always fits.
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "what a double keeps of a number is the question")]
#[allow(clippy::wildcard_enum_match_arm, reason = "the values come from the strategies below")]
mod tests {
    use bson::{Bson, Decimal128, doc};
    use proptest::prelude::*;

    use super::*;
    use crate::model::bson::Document;

    fn form(value: &Bson) -> Vec<u8> {
        let document = Document::new(doc! {"v": value.clone()}.to_vec().expect("bson")).expect("bson");
        let mut out = Vec::new();
        write(document.as_doc().get("v").expect("valid").expect("there"), &mut out).expect("valid");
        out
    }

    fn dec(text: &str) -> Bson {
        Bson::Decimal128(text.parse::<Decimal128>().expect("a decimal"))
    }

    /// A finite number other than zero as sign, what is left of it without its factors 2 and 5, and their powers: there
    /// is one such form of every number that a double or a decimal128 can be.
    type Factors = (bool, u128, i32, i32);

    fn factors(negative: bool, mut rest: u128, mut twos: i32, mut fives: i32) -> Factors {
        while rest.is_multiple_of(2) {
            (rest, twos) = (rest / 2, twos + 1);
        }
        while rest.is_multiple_of(5) {
            (rest, fives) = (rest / 5, fives + 1);
        }
        (negative, rest, twos, fives)
    }

    fn of_double(n: f64) -> Factors {
        let bits = n.to_bits();
        let exponent = i32::try_from(bits >> 52 & 0x7FF).expect("11 bits");
        let fraction = u128::from(bits & ((1 << 52) - 1));
        let (mantissa, exponent) = if exponent == 0 { (fraction, 1) } else { (fraction | 1 << 52, exponent) };
        factors(n < 0.0, mantissa, exponent - 1075, 0)
    }

    fn of_decimal(text: &str) -> Factors {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, places) = mantissa.trim_start_matches('-').split_once('.').unwrap_or((mantissa, ""));
        let whole = whole.trim_start_matches('-');
        let digits: u128 = format!("{whole}{places}").parse().expect("digits");
        let power = exponent.parse::<i32>().expect("exponent") - i32::try_from(places.len()).expect("short");
        factors(text.starts_with('-'), digits, power, power)
    }

    /// MongoDB's equality of the values that `small` makes.
    fn same(a: &Bson, b: &Bson) -> bool {
        match (a, b) {
            (Bson::Document(a), Bson::Document(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|((m, x), (n, y))| m == n && same(x, y))
            }
            (Bson::Array(a), Bson::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(x, y)| same(x, y)),
            _ => match (small_number(a), small_number(b), text(a), text(b)) {
                (Some(x), Some(y), ..) => x.total_cmp(&y).is_eq(),
                (.., Some(x), Some(y)) => x == y,
                _ => a == b,
            },
        }
    }

    fn small_number(value: &Bson) -> Option<f64> {
        let number = match value {
            Bson::Int32(n) => f64::from(*n),
            Bson::Int64(n) => f64::from(i32::try_from(*n).expect("small")),
            Bson::Double(n) => *n,
            Bson::Decimal128(n) => n.to_string().parse().expect("a number"),
            _ => return None,
        };
        Some(if number == 0.0 { 0.0 } else { number })
    }

    fn text(value: &Bson) -> Option<&str> {
        match value {
            Bson::String(text) | Bson::Symbol(text) => Some(text),
            _ => None,
        }
    }

    /// Values of few sorts, so that many pairs are equal.
    fn small() -> impl Strategy<Value = Bson> {
        let leaf = prop_oneof![
            (-2i32..3).prop_map(Bson::Int32),
            (-2i64..3).prop_map(Bson::Int64),
            (-4i32..5).prop_map(|n| Bson::Double(f64::from(n) / 2.0)),
            (-4i32..5).prop_map(|n| dec(&format!("{:.1}", f64::from(n) / 2.0))),
            "[ab]{0,2}".prop_map(Bson::String),
            "[ab]{0,1}".prop_map(Bson::Symbol),
            any::<bool>().prop_map(Bson::Boolean),
            (0i64..2).prop_map(|n| Bson::DateTime(bson::DateTime::from_millis(n))),
            Just(Bson::Null),
            Just(Bson::Undefined),
            Just(Bson::MinKey),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Bson::Array),
                prop::collection::vec(("[ab]", inner), 0..3).prop_map(|f| Bson::Document(f.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn forms_are_equal_exactly_for_equal_values(a in small(), b in small()) {
            prop_assert_eq!(form(&a) == form(&b), same(&a, &b), "{} {}", a, b);
        }

        #[test]
        fn no_form_is_the_start_of_another(a in small(), b in small()) {
            let (a, b) = (form(&a), form(&b));
            prop_assert!(a == b || !(a.starts_with(&b) || b.starts_with(&a)));
        }

        #[test]
        fn a_double_and_a_decimal_are_one_exactly_when_their_values_are(
            n in prop_oneof![
                any::<f64>(),
                (-(1i64 << 53)..1 << 53, -80i32..150).prop_map(|(n, power)| n as f64 * 2f64.powi(power)),
            ],
            other in (1u64.., -60i32..60),
        ) {
            prop_assume!(n.is_finite() && n != 0.0);
            for text in [format!("{n:.33e}"), format!("{n:e}"), format!("{}E{}", other.0, other.1)] {
                let equal = of_double(n) == of_decimal(&text);
                prop_assert_eq!(form(&Bson::Double(n)) == form(&dec(&text)), equal, "{:e} {}", n, text);
            }
        }

        #[test]
        fn a_long_is_one_with_its_decimal_and_with_a_double_of_its_value(n in any::<i64>(), shift in 0u32..63) {
            let n = n >> shift;
            let form_of = form(&Bson::Int64(n));
            prop_assert_eq!(&form_of, &form(&dec(&format!("{n}.00"))));
            let double = n as f64;
            let equal = i128::from(n) == double as i128;
            prop_assert_eq!(form_of == form(&Bson::Double(double)), equal);
        }
    }
}
