//! One normal form for the values of both sides.

use std::collections::BTreeMap;

use mongodb::bson::{Bson, Decimal128, doc};

use super::bson::{self, Fields, Value};

/// A number as its sign, its digits without zeros at either end, and the power of ten of the last digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number {
    negative: bool,
    digits: String,
    exponent: i64,
}

/// A value. `BadText` is what only the source can say, all after it what only the decoding side can.
#[derive(Debug, Clone, PartialEq)]
pub enum Norm {
    Null,
    Bool(bool),
    /// Any finite number but zero, and no double.
    Number(Number),
    /// A finite double but zero.
    Double(f64),
    Zero,
    NegativeZero,
    NaN,
    Infinity,
    NegativeInfinity,
    Text(String),
    ObjectId(String),
    /// Milliseconds since 1970.
    Date(i64),
    Binary(u8, Vec<u8>),
    Document(BTreeMap<String, Norm>),
    Array(Vec<Norm>),
    /// A string that PostgreSQL cannot hold: with U+0000, or not UTF-8.
    BadText(Vec<u8>),
    /// A date that PostgreSQL cannot hold: before everything, or else after.
    Beyond {
        before: bool,
    },
    /// A zero from where its sign is not kept.
    SomeZero,
    /// Text from a column that strings and ObjectIds share.
    TextOrObjectId(String),
    /// Binary data from a column whose catalog row does not say the subtype.
    SomeBinary(Vec<u8>),
    /// An array of the child-table form: gaps for null elements, no trailing ones.
    Elements(BTreeMap<usize, Norm>),
}

impl Number {
    /// From decimal text: sign, digits, point, exponent. `None` for anything else; zero has no digits.
    pub fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (negative, unsigned) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
        };
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let kept = all.trim_end_matches('0');
        let exponent = exponent - i64::try_from(fraction.len()).ok()? + i64::try_from(all.len() - kept.len()).ok()?;
        let digits = kept.trim_start_matches('0').to_owned();
        let exponent = if digits.is_empty() { 0 } else { exponent };
        Some(Self { negative, digits, exponent })
    }

    /// The double that its digits, few enough for one, are read as.
    fn to_f64(&self) -> Option<f64> {
        const MOST_DIGITS: usize = 17;
        let sign = if self.negative { "-" } else { "" };
        if self.digits.len() > MOST_DIGITS {
            return None;
        }
        format!("{sign}{}e{}", self.digits, self.exponent).parse().ok()
    }

    /// True when both are one number, as far as a double and decimal digits can be.
    pub fn is_double(&self, double: f64) -> bool {
        self.to_f64() == Some(double)
    }

    fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    /// The integer that it is.
    pub fn to_i64(&self) -> Option<i64> {
        let zeros = usize::try_from(self.exponent).ok().filter(|n| *n < 20)?;
        let sign = if self.negative { "-" } else { "" };
        format!("{sign}{}{}", self.digits, "0".repeat(zeros)).parse().ok()
    }
}

impl Norm {
    /// A number in decimal text of a double, whose zeros have a sign.
    pub fn double(text: &str) -> Option<Self> {
        Self::numeric(text)?;
        text.parse().ok().map(|double| Norm::from_value(&Value::Double(double)))
    }

    /// A number in decimal text of any other type.
    pub fn numeric(text: &str) -> Option<Self> {
        Some(match text {
            "NaN" => Norm::NaN,
            "Infinity" => Norm::Infinity,
            "-Infinity" => Norm::NegativeInfinity,
            _ => match Number::parse(text)? {
                number if number.is_zero() => Norm::SomeZero,
                number => Norm::Number(number),
            },
        })
    }

    /// An empty or a given document.
    pub fn document<const N: usize>(fields: [(&str, Norm); N]) -> Self {
        Norm::Document(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// A value of the source, nothing lost but the order of fields, all but the last of equal names, and what in a name
    /// is not UTF-8.
    pub fn from_value(value: &Value) -> Self {
        let number = |text: String| Norm::numeric(&text).expect("a number");
        match value {
            Value::Null | Value::Undefined => Norm::Null,
            Value::Boolean(b) => Norm::Bool(*b),
            Value::Double(d) if d.is_nan() => Norm::NaN,
            Value::Double(d) if d.is_infinite() && *d > 0.0 => Norm::Infinity,
            Value::Double(d) if d.is_infinite() => Norm::NegativeInfinity,
            Value::Double(d) if *d == 0.0 => {
                if d.is_sign_negative() {
                    Norm::NegativeZero
                } else {
                    Norm::Zero
                }
            }
            Value::Double(d) => Norm::Double(*d),
            Value::Int32(n) => number(n.to_string()),
            Value::Int64(n) => number(n.to_string()),
            Value::Decimal128(bytes) => decimal(&Decimal128::from_bytes(*bytes).to_string()),
            Value::String(s) => text(s),
            Value::ObjectId(id) => object_id(id),
            Value::DateTime(millis) => Norm::Date(*millis),
            Value::Binary(subtype, bytes) => Norm::Binary(*subtype, bytes.clone()),
            Value::Document(fields) => Norm::from_fields(fields),
            Value::Array(items) => Norm::Array(items.iter().map(Norm::from_value).collect()),
            Value::Regex(pattern, options) => {
                let parts = Norm::document([("pattern", text(pattern)), ("options", text(options))]);
                Norm::document([("$regularExpression", parts)])
            }
            Value::Timestamp(t, i) => {
                let parts = Norm::document([("t", number(t.to_string())), ("i", number(i.to_string()))]);
                Norm::document([("$timestamp", parts)])
            }
            Value::Code(code) => Norm::document([("$code", text(code))]),
            Value::CodeWithScope(code, scope) => {
                Norm::document([("$code", text(code)), ("$scope", Norm::from_fields(scope))])
            }
            Value::Symbol(symbol) => Norm::document([("$symbol", text(symbol))]),
            Value::DbPointer(namespace, id) => {
                let parts = Norm::document([("$ref", text(namespace)), ("$id", object_id(id))]);
                Norm::document([("$dbPointer", parts)])
            }
            Value::MinKey => Norm::document([("$minKey", number("1".to_owned()))]),
            Value::MaxKey => Norm::document([("$maxKey", number("1".to_owned()))]),
        }
    }

    /// A document of the source.
    pub fn from_fields(fields: &Fields) -> Self {
        let named = |(name, value): &(Vec<u8>, Value)| (field_name(name), Norm::from_value(value));
        Norm::Document(fields.iter().map(named).collect())
    }

    /// A value of the driver's.
    pub fn from_bson(value: &Bson) -> Self {
        let fields = bson::decode(&doc! {"v": value}.to_vec().expect("the driver writes BSON"));
        Norm::from_value(&fields[0].1)
    }

    /// A text that is equal for values that MongoDB's `_id` index takes as equal, and else only where they differ in what
    /// jsonb does not keep.
    pub fn key(&self) -> String {
        match self {
            Norm::Zero | Norm::NegativeZero | Norm::SomeZero => "zero".to_owned(),
            Norm::Double(double) => Norm::numeric(&shortest(*double)).expect("a number").key(),
            // As `tailwater.quarantine` and `tailwater.anomalies` write it.
            Norm::BadText(bytes) => Norm::Binary(0, bytes.clone()).key(),
            Norm::Document(fields) => {
                let add = |text: String, (name, value): (&String, &Norm)| text + &format!("{name:?}:{},", value.key());
                fields.iter().fold("{".to_owned(), add) + "}"
            }
            Norm::Array(items) => items.iter().fold("[".to_owned(), |text, item| text + &item.key() + ",") + "]",
            other => format!("{other:?}"),
        }
    }
}

fn decimal(text: &str) -> Norm {
    match text {
        "-NaN" | "NaN" => Norm::NaN,
        _ => Norm::numeric(text).expect("a decimal128's text is a number"),
    }
}

/// The shortest decimal that everybody reads as that double: nothing that lies exactly between two doubles (1e23) and
/// depends on the reader's rounding. PostgreSQL prints none of those.
pub(super) fn shortest(double: f64) -> String {
    let text = format!("{double:e}");
    let is_tie = |text: &str| {
        let (digits, exponent) = text.split_once('e').expect("an exponent");
        let point = if digits.contains('.') { "" } else { "." };
        let above = format!("{digits}{point}{}1e{exponent}", "0".repeat(40));
        above.parse::<f64>() != Ok(double) || {
            let less = digits.len() - 1;
            let lower = digits.as_bytes()[less] - 1;
            let below = format!("{}{}{point}{}e{exponent}", &digits[..less], char::from(lower), "9".repeat(40));
            below.parse::<f64>() != Ok(double)
        }
    };
    if double == 0.0 {
        return text;
    }
    // The even one of two that are as near. Beside a power of two the nearest of as many digits can be another double.
    let least = text.split('e').next().expect("digits").trim_start_matches('-').len().saturating_sub(2);
    let nearest = |precision: usize| format!("{double:.precision$e}");
    let mut candidates = [nearest(least), text.clone()].into_iter().chain((least + 1..17).map(nearest));
    candidates.find(|t| t.parse() == Ok(double) && !is_tie(t)).unwrap_or(text)
}

/// A field name; bytes that are not UTF-8 become U+FFFD.
pub fn field_name(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// What PostgreSQL holds instead of a string (section 5 of the contract).
pub fn cleaned(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "")
}

/// True for a date that PostgreSQL cannot hold and that lies before what it can.
pub fn beyond(millis: i64) -> Option<Norm> {
    const FROM_4713_BC: i64 = -210_866_803_200_000;
    const UNTIL_294277_AD: i64 = 9_224_318_016_000_000;
    match millis {
        ..FROM_4713_BC => Some(Norm::Beyond { before: true }),
        UNTIL_294277_AD.. => Some(Norm::Beyond { before: false }),
        _ => None,
    }
}

fn text(bytes: &[u8]) -> Norm {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Norm::Text(text.to_owned()),
        _ => Norm::BadText(bytes.to_vec()),
    }
}

fn object_id(id: &[u8; 12]) -> Norm {
    Norm::ObjectId(id.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Binary data of subtype 4.
pub fn uuid(bytes: Vec<u8>) -> Norm {
    Norm::Binary(4, bytes)
}
