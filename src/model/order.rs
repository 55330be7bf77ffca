//! The order of values in an index without a collation.
//!
//! In: two values, as a rule `_id`s. Out: which of them comes first in MongoDB's index; equal exactly when the index takes
//! them for one (compare `mapping/identity.rs`). Types come in groups; within a group the value decides, for numbers the
//! exact one whatever their type. Source: MongoDB's `key_string.cpp`, whose bytes are what an index sorts by; seen on the
//! server by `tests/it/mixed_ids/order.rs`.
//!
//! A collation changes the order of strings and of what contains them; then only the server knows it.

use std::cmp::{Ordering, Reverse};

use super::bson::{Doc, Malformed, Value};

/// Where `a` lies, seen from `b`.
///
/// # Errors
/// When a nested document is malformed before the first difference.
pub fn compare(a: &Value<'_>, b: &Value<'_>) -> Result<Ordering, Malformed> {
    Ok(match (*a, *b) {
        (Value::String(a) | Value::Symbol(a), Value::String(b) | Value::Symbol(b)) => a.cmp(b),
        (Value::Document(a), Value::Document(b)) => elements(a, b, true)?,
        (Value::Array(a), Value::Array(b)) => elements(a, b, false)?,
        (Value::Binary { subtype: s, bytes: a }, Value::Binary { subtype: t, bytes: b }) => {
            (stored_length(s, a), s, a).cmp(&(stored_length(t, b), t, b))
        }
        (Value::ObjectId(a), Value::ObjectId(b)) => a.cmp(&b),
        (Value::Boolean(a), Value::Boolean(b)) => a.cmp(&b),
        (Value::DateTime(a), Value::DateTime(b)) => a.cmp(&b),
        (Value::Timestamp(a, i), Value::Timestamp(b, j)) => (a, i).cmp(&(b, j)),
        (Value::Regex { pattern: a, options: o }, Value::Regex { pattern: b, options: p }) => (a, o).cmp(&(b, p)),
        (Value::DbPointer { namespace: a, id: i }, Value::DbPointer { namespace: b, id: j }) => {
            let (a, b) = (up_to_zero(a), up_to_zero(b));
            (a.len(), a, i).cmp(&(b.len(), b, j))
        }
        (Value::Code(a), Value::Code(b)) => a.cmp(b),
        (Value::CodeWithScope { code: a, scope: s }, Value::CodeWithScope { code: b, scope: t }) => {
            let codes = a.cmp(b);
            if codes.is_eq() { elements(s, t, true)? } else { codes }
        }
        (a, b) => match (Number::of(a), Number::of(b)) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => group(a).cmp(&group(b)),
        },
    })
}

/// The group of a type: what is in one group is compared by value.
fn group(value: Value<'_>) -> u8 {
    match value {
        Value::MinKey => 0,
        Value::Undefined => 1,
        Value::Null => 2,
        Value::Double(_) | Value::Int32(_) | Value::Int64(_) | Value::Decimal128(_) => 3,
        Value::String(_) | Value::Symbol(_) => 4,
        Value::Document(_) => 5,
        Value::Array(_) => 6,
        Value::Binary { .. } => 7,
        Value::ObjectId(_) => 8,
        Value::Boolean(_) => 9,
        Value::DateTime(_) => 10,
        Value::Timestamp(..) => 11,
        Value::Regex { .. } => 12,
        Value::DbPointer { .. } => 13,
        Value::Code(_) => 14,
        Value::CodeWithScope { .. } => 15,
        Value::MaxKey => 16,
    }
}

/// Element by element: its group, then its name where names count, then its value. The start of another comes before it.
fn elements(a: Doc<'_>, b: Doc<'_>, named: bool) -> Result<Ordering, Malformed> {
    let (mut a, mut b) = (a.elements(), b.elements());
    loop {
        let ((m, x), (n, y)) = match (a.next().transpose()?, b.next().transpose()?) {
            (Some(a), Some(b)) => (a, b),
            (a, b) => return Ok(a.is_some().cmp(&b.is_some())),
        };
        let names = if named { m.cmp(n) } else { Ordering::Equal };
        let kinds = group(x).cmp(&group(y)).then(names);
        let order = if kinds.is_eq() { compare(&x, &y)? } else { kinds };
        if order.is_ne() {
            return Ok(order);
        }
    }
}

/// What the index knows of a pointer's namespace.
fn up_to_zero(namespace: &[u8]) -> &[u8] {
    namespace.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The index counts the length that subtype 2 repeats inside the data and that [`Value`] leaves out. Where that length is
/// wrong, [`Value`] does not say so, and the place is only near the right one.
fn stored_length(subtype: u8, bytes: &[u8]) -> usize {
    bytes.len() + if subtype == 2 { 4 } else { 0 }
}

/// A number as its exact value. The variants are in order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Number {
    Nan,
    MinusInfinity,
    Negative(Reverse<Magnitude>),
    Zero,
    Positive(Magnitude),
    Infinity,
}

impl Number {
    /// `None` for what is no number.
    fn of(value: Value<'_>) -> Option<Self> {
        if let Value::Int32(n) = value {
            Some(Self::of_long(n.into()))
        } else if let Value::Int64(n) = value {
            Some(Self::of_long(n))
        } else if let Value::Double(n) = value {
            Some(Self::of_double(n))
        } else if let Value::Decimal128(bytes) = value {
            Some(Self::of_decimal(bytes))
        } else {
            None
        }
    }

    fn finite(negative: bool, magnitude: Magnitude) -> Self {
        match (magnitude.mantissa, negative) {
            (0, _) => Self::Zero,
            (_, true) => Self::Negative(Reverse(magnitude)),
            (_, false) => Self::Positive(magnitude),
        }
    }

    fn infinite(negative: bool) -> Self {
        if negative { Self::MinusInfinity } else { Self::Infinity }
    }

    fn of_long(n: i64) -> Self {
        Self::finite(n < 0, Magnitude { mantissa: n.unsigned_abs().into(), twos: 0, fives: 0 })
    }

    fn of_double(n: f64) -> Self {
        if n.is_nan() {
            return Self::Nan;
        }
        if n.is_infinite() {
            return Self::infinite(n.is_sign_negative());
        }
        let bits = n.to_bits();
        let fraction = u128::from(bits & ((1 << 52) - 1));
        let exponent = low(u128::from(bits >> 52), 11);
        // Below the normal ones the first bit is not implied, and the exponent stays.
        let (mantissa, exponent) = if exponent == 0 { (fraction, 1) } else { (fraction | 1 << 52, exponent) };
        Self::finite(n.is_sign_negative(), Magnitude { mantissa, twos: exponent - 1075, fives: 0 })
    }

    /// IEEE 754-2008, 3.5.2, binary encoding of the coefficient.
    fn of_decimal(bytes: [u8; 16]) -> Self {
        const LARGEST: u128 = 10u128.pow(34) - 1;
        let bits = u128::from_le_bytes(bytes);
        let negative = bits >> 127 == 1;
        match low(bits >> 122, 5) {
            0b11111 => return Self::Nan,
            0b11110 => return Self::infinite(negative),
            _ => {}
        }
        let coefficient = bits & ((1 << 113) - 1);
        // A coefficient of more than 34 digits is zero; the other way to write one has only such.
        if low(bits >> 125, 2) == 0b11 || coefficient > LARGEST {
            return Self::Zero;
        }
        let power = low(bits >> 113, 14) - 6176;
        Self::finite(negative, Magnitude { mantissa: coefficient, twos: power, fives: power })
    }
}

/// The lowest `count` bits, at most 30 of them.
fn low(bits: u128, count: u32) -> i32 {
    i32::try_from(bits & ((1 << count) - 1)).unwrap_or(i32::MAX)
}

/// mantissa · 2^twos · 5^fives, more than zero.
#[derive(Debug)]
struct Magnitude {
    mantissa: u128,
    twos: i32,
    fives: i32,
}

impl Magnitude {
    /// Less than the logarithm to base 2, by 1 at most.
    fn log2(&self) -> f64 {
        let bits = u128::BITS - self.mantissa.leading_zeros();
        f64::from(bits) - 1.0 + f64::from(self.twos) + f64::from(self.fives) * 5f64.log2()
    }

    /// Multiplied by what makes `twos` and `fives` zero: an integer, its lowest 32 bits first, without leading zeros.
    fn integer(&self, twos: i32, fives: i32) -> Vec<u32> {
        let mut rest = self.mantissa;
        let mut digits = Vec::new();
        while rest > 0 {
            digits.push(u32::try_from(rest & u128::from(u32::MAX)).unwrap_or(u32::MAX));
            rest >>= 32;
        }
        multiply(&mut digits, 2, self.twos.abs_diff(twos));
        multiply(&mut digits, 5, self.fives.abs_diff(fives));
        digits
    }
}

/// `digits` · `base` ^ `power`.
fn multiply(digits: &mut Vec<u32>, base: u32, power: u32) {
    const AT_ONCE: u32 = 13; // 5 to the 13 has 31 bits
    let mut left = power;
    while left > 0 {
        let now = left.min(AT_ONCE);
        let factor = u64::from(base.pow(now));
        let mut carry = 0;
        for digit in digits.iter_mut() {
            let product = u64::from(*digit) * factor + carry;
            *digit = u32::try_from(product & u64::from(u32::MAX)).unwrap_or(u32::MAX);
            carry = product >> 32;
        }
        if carry > 0 {
            digits.push(u32::try_from(carry).unwrap_or(u32::MAX));
        }
        left -= now;
    }
}

impl Ord for Magnitude {
    fn cmp(&self, other: &Self) -> Ordering {
        // So far apart that neither the floors nor the rounding of the logarithms matter.
        const APART: f64 = 1.5;
        if (self.twos, self.fives) == (other.twos, other.fives) {
            return self.mantissa.cmp(&other.mantissa);
        }
        let (a, b) = (self.log2(), other.log2());
        if (a - b).abs() > APART {
            return a.total_cmp(&b);
        }
        // As near as that, a double has a partner of at most some 1100 bits.
        let (twos, fives) = (self.twos.min(other.twos), self.fives.min(other.fives));
        let (a, b) = (self.integer(twos, fives), other.integer(twos, fives));
        a.len().cmp(&b.len()).then_with(|| a.iter().rev().cmp(b.iter().rev()))
    }
}

impl PartialOrd for Magnitude {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Magnitude {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Magnitude {}

#[cfg(test)]
mod tests {
    use bson::{Bson, Decimal128, Timestamp, doc};
    use proptest::prelude::*;

    use super::*;
    use crate::model::bson::Document;

    fn order(a: impl Into<Bson>, b: impl Into<Bson>) -> Ordering {
        let document = |value: Bson| Document::new(doc! {"v": value}.to_vec().expect("BSON")).expect("BSON");
        let (a, b) = (document(a.into()), document(b.into()));
        let value = |document| Doc::get(document, "v").expect("valid").expect("there");
        compare(&value(a.as_doc()), &value(b.as_doc())).expect("valid")
    }

    fn dec(text: &str) -> Bson {
        Bson::Decimal128(text.parse::<Decimal128>().expect("a decimal"))
    }

    fn expect_ascending(values: &[Bson]) {
        for (i, a) in values.iter().enumerate() {
            for (j, b) in values.iter().enumerate() {
                assert_eq!(order(a.clone(), b.clone()), i.cmp(&j), "{a} {b}");
            }
        }
    }

    #[test]
    fn types_come_in_groups() {
        expect_ascending(&[
            Bson::MinKey,
            Bson::Undefined,
            Bson::Null,
            Bson::Int32(7),
            Bson::String("a".into()),
            Bson::Symbol("b".into()),
            Bson::String("c".into()),
            Bson::Document(doc! {}),
            Bson::Array(vec![]),
            Bson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![] }),
            Bson::ObjectId(bson::oid::ObjectId::from_bytes([0; 12])),
            Bson::Boolean(false),
            Bson::Boolean(true),
            Bson::DateTime(bson::DateTime::from_millis(-1)),
            Bson::DateTime(bson::DateTime::from_millis(0)),
            Bson::Timestamp(Timestamp { time: 1, increment: u32::MAX }),
            Bson::Timestamp(Timestamp { time: u32::MAX, increment: 0 }),
            Bson::JavaScriptCode("b".into()),
            Bson::JavaScriptCodeWithScope(bson::JavaScriptCodeWithScope { code: "a".into(), scope: doc! {"y": 0} }),
            Bson::JavaScriptCodeWithScope(bson::JavaScriptCodeWithScope { code: "b".into(), scope: doc! {"x": 0} }),
            Bson::MaxKey,
        ]);
    }

    #[test]
    fn numbers_are_their_values() {
        expect_ascending(&[
            Bson::Double(f64::NAN),
            Bson::Double(f64::NEG_INFINITY),
            dec("-1E+6144"),
            Bson::Double(f64::MIN),
            Bson::Int64(i64::MIN),
            dec("-1E-6176"),
            Bson::Double(-0.0),
            dec("1E-6176"),
            Bson::Double(5e-324),
            dec("0.1"),
            Bson::Double(0.1), // a little more
            Bson::Double(9_007_199_254_740_992.0),
            Bson::Int64(9_007_199_254_740_993),
            dec("9007199254740993.000000000000000001"),
            Bson::Int64(i64::MAX),
            Bson::Double(9_223_372_036_854_775_808.0),
            Bson::Double(1e23), // a little less
            dec("1E+23"),
            Bson::Double(f64::MAX),
            dec("1E+6144"),
            dec("Infinity"),
        ]);
        let equal = [
            (Bson::Double(-0.0), dec("-0E+5")),
            (Bson::Double(f64::NAN), dec("NaN")),
            (Bson::Double(f64::INFINITY), dec("Infinity")),
            (Bson::Int32(1), dec("1.000")),
            (Bson::Double(0.5), dec("0.50")),
        ];
        for (a, b) in equal {
            assert_eq!(order(a.clone(), b.clone()), Ordering::Equal, "{a} {b}");
        }
    }

    #[test]
    fn documents_are_compared_by_type_then_name_then_value() {
        expect_ascending(&[
            Bson::Document(doc! {}),
            Bson::Document(doc! {"z": Bson::MinKey}),
            Bson::Document(doc! {"b": 1, "a": 0}),
            Bson::Document(doc! {"b": 1, "a": {}}),
            Bson::Document(doc! {"b": 2}),
            Bson::Document(doc! {"a": "x"}),
            Bson::Document(doc! {"a": ["x"]}),
            Bson::Document(doc! {"a": ["x", 0]}),
            Bson::Document(doc! {"a": ["y"]}),
        ]);
        let broken = Doc::new(&[9, 0, 0, 0, 0x33, b'a', 0, 0, 0]).expect("a document outside");
        assert!(compare(&Value::Document(broken), &Value::Document(broken)).is_err());
    }

    /// The sign and all digits, as many for one number as for another, by another way than the product's.
    fn written(value: &Bson) -> (bool, String) {
        // Rust prints as many places as are asked for, and every one is right.
        let text = value.as_f64().map_or_else(|| value.to_string(), |n| format!("{n:.1074}"));
        let (mantissa, exponent) = text.split_once('E').unwrap_or((&text, "0"));
        let (whole, places) = mantissa.trim_start_matches('-').split_once('.').unwrap_or((mantissa, ""));
        let whole = whole.trim_start_matches('-');
        let power = exponent.parse::<i32>().expect("an exponent") - i32::try_from(places.len()).expect("short");
        let zeros = "0".repeat(usize::try_from(power + 6200).expect("a power of a decimal"));
        (text.starts_with('-'), format!("{:0>13000}", format!("{whole}{places}{zeros}")))
    }

    fn by_digits(a: &Bson, b: &Bson) -> Ordering {
        let zero = |digits: &str| digits.bytes().all(|digit| digit == b'0');
        let ((a_below, a), (b_below, b)) = (written(a), written(b));
        let (a_below, b_below) = (a_below && !zero(&a), b_below && !zero(&b));
        let order = if a_below { b.cmp(&a) } else { a.cmp(&b) };
        b_below.cmp(&a_below).then(order)
    }

    fn number() -> impl Strategy<Value = Bson> {
        prop_oneof![
            any::<i64>().prop_map(Bson::Int64),
            (-20i64..20).prop_map(Bson::Int64),
            any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Bson::Double),
            (-20i32..20).prop_map(|n| Bson::Double(f64::from(n) / 4.0)),
            (any::<i64>(), -6000i32..6000).prop_map(|(n, e)| dec(&format!("{n}E{e}"))),
            (-2000i64..2000, -3i32..1).prop_map(|(n, e)| dec(&format!("{n}E{e}"))),
        ]
    }

    proptest! {
        #[test]
        fn numbers_have_the_order_of_their_digits(a in number(), b in number()) {
            prop_assert_eq!(order(a.clone(), b.clone()), by_digits(&a, &b), "{} {}", a, b);
        }

        #[test]
        fn a_double_and_its_neighbours_in_decimal_have_the_order_of_their_digits(
            n in any::<f64>(),
            places in 14usize..34,
        ) {
            prop_assume!(n.is_finite());
            let (double, decimal) = (Bson::Double(n), dec(&format!("{n:.places$e}")));
            prop_assert_eq!(order(double.clone(), decimal.clone()), by_digits(&double, &decimal), "{} {}", n, decimal);
        }
    }
}
