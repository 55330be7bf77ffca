//! One normal form for the values of both sides, and the equivalences between a source value and a decoded one.

use std::collections::BTreeMap;
use std::fmt;

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Bson, Document};

/// A number as its sign, its digits without zeros at either end, and the power of ten of the last digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number {
    negative: bool,
    digits: String,
    exponent: i64,
}

/// A value. The last four are what only the decoding side can say.
#[derive(Debug, Clone, PartialEq)]
pub enum Norm {
    Null,
    Bool(bool),
    /// Any finite number but zero.
    Number(Number),
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
    /// A number in decimal text of `double precision`, whose zeros have a sign.
    pub fn double(text: &str) -> Option<Self> {
        Some(match Self::numeric(text)? {
            Norm::SomeZero if text.starts_with('-') => Norm::NegativeZero,
            Norm::SomeZero => Norm::Zero,
            other => other,
        })
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

    /// A date; one that PostgreSQL cannot hold is the infinity on its side (section 5 of the contract).
    pub fn date(millis: i64) -> Self {
        const FROM_4713_BC: i64 = -210_866_803_200_000;
        const UNTIL_294277_AD: i64 = 9_224_318_016_000_000;
        match millis {
            ..FROM_4713_BC => Norm::Date(i64::MIN),
            UNTIL_294277_AD.. => Norm::Date(i64::MAX),
            millis => Norm::Date(millis),
        }
    }

    /// An empty or a given document.
    pub fn document<const N: usize>(fields: [(&str, Norm); N]) -> Self {
        Norm::Document(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// A value of the source. What PostgreSQL cannot hold is normalised as section 5 of the contract says.
    pub fn from_bson(value: &Bson) -> Self {
        let text = |s: &str| Norm::Text(s.replace('\0', ""));
        match value {
            Bson::Null | Bson::Undefined => Norm::Null,
            Bson::Boolean(b) => Norm::Bool(*b),
            // Rust prints the shortest digits that read back as the same double.
            Bson::Double(d) if d.is_nan() => Norm::NaN,
            Bson::Double(d) if d.is_infinite() && *d > 0.0 => Norm::Infinity,
            Bson::Double(d) if d.is_infinite() => Norm::NegativeInfinity,
            Bson::Double(d) => Norm::double(&format!("{d:e}")).expect("a double's text is a number"),
            Bson::Int32(n) => Norm::numeric(&n.to_string()).expect("a number"),
            Bson::Int64(n) => Norm::numeric(&n.to_string()).expect("a number"),
            Bson::Decimal128(d) => decimal(&d.to_string()),
            Bson::String(s) => text(s),
            Bson::ObjectId(id) => Norm::ObjectId(id.to_hex()),
            Bson::DateTime(d) => Norm::date(d.timestamp_millis()),
            Bson::Binary(b) => Norm::Binary(u8::from(b.subtype), b.bytes.clone()),
            Bson::Document(d) => Norm::from_document(d),
            Bson::Array(a) => Norm::Array(a.iter().map(Norm::from_bson).collect()),
            Bson::RegularExpression(r) => Norm::document([(
                "$regularExpression",
                Norm::document([("pattern", text(r.pattern.as_str())), ("options", text(r.options.as_str()))]),
            )]),
            Bson::Timestamp(t) => Norm::document([(
                "$timestamp",
                Norm::document([
                    ("t", Norm::from_bson(&Bson::Int64(t.time.into()))),
                    ("i", Norm::from_bson(&Bson::Int64(t.increment.into()))),
                ]),
            )]),
            Bson::JavaScriptCode(code) => Norm::document([("$code", text(code))]),
            Bson::JavaScriptCodeWithScope(c) => {
                Norm::document([("$code", text(&c.code)), ("$scope", Norm::from_document(&c.scope))])
            }
            Bson::Symbol(s) => Norm::document([("$symbol", text(s))]),
            Bson::MinKey => Norm::document([("$minKey", Norm::from_bson(&Bson::Int32(1)))]),
            Bson::MaxKey => Norm::document([("$maxKey", Norm::from_bson(&Bson::Int32(1)))]),
            // The driver's type has no public parts; its own text is stable enough to compare.
            Bson::DbPointer(_) => Norm::Text(value.to_string()),
        }
    }

    /// A document of the source.
    pub fn from_document(document: &Document) -> Self {
        Norm::Document(document.iter().map(|(name, value)| (name.clone(), Norm::from_bson(value))).collect())
    }

    /// A text that is equal exactly for values that MongoDB's `_id` index takes as equal (scalars only).
    pub fn key(&self) -> String {
        match self {
            Norm::Zero | Norm::NegativeZero | Norm::SomeZero => "zero".to_owned(),
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

/// One place where the two sides differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    pub path: String,
    pub source: String,
    pub decoded: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at `{}`: MongoDB has {}, PostgreSQL has {}", self.path, self.source, self.decoded)
    }
}

fn show(value: Option<&Norm>) -> String {
    const LONGEST: usize = 200;
    let Some(value) = value else { return "nothing".to_owned() };
    let text = format!("{value:?}");
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
        None => text,
    }
}

/// Collects into `found` where a source value and a decoded one differ.
pub fn differences(path: &str, source: Option<&Norm>, decoded: Option<&Norm>, found: &mut Vec<Difference>) {
    let present = |v: &&Norm| **v != Norm::Null;
    let (source, decoded) = (source.filter(present), decoded.filter(present));
    match (source, decoded) {
        (None, None) => {}
        (Some(Norm::Document(a)), Some(Norm::Document(b))) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                differences(&format!("{path}.{name}"), a.get(name), b.get(name), found);
            }
        }
        (Some(Norm::Array(a)), Some(Norm::Array(b))) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{i}]"), Some(x), Some(y), found);
            }
        }
        (Some(Norm::Array(a)), Some(Norm::Elements(b))) => {
            for i in 0..a.len().max(b.keys().next_back().map_or(0, |last| last + 1)) {
                differences(&format!("{path}[{i}]"), a.get(i), b.get(&i), found);
            }
        }
        // An empty array decides no form, so it may have no place to be; one of nulls only is all gaps in a table.
        (Some(Norm::Array(a)), None) if a.iter().all(|v| *v == Norm::Null) => {}
        (Some(a), Some(b)) if same_scalar(a, b) => {}
        (a, b) => found.push(Difference { path: path.to_owned(), source: show(a), decoded: show(b) }),
    }
}

fn same_scalar(source: &Norm, decoded: &Norm) -> bool {
    match (source, decoded) {
        (Norm::Zero | Norm::NegativeZero | Norm::SomeZero, Norm::SomeZero) => true,
        // A zero that is no double has no sign; in a double column it is the positive one.
        (Norm::SomeZero, Norm::Zero) => true,
        (Norm::Text(a) | Norm::ObjectId(a), Norm::TextOrObjectId(b)) => a == b,
        (Norm::Binary(_, a), Norm::SomeBinary(b)) => a == b,
        (a, b) => a == b,
    }
}

/// The subtype of a UUID.
pub fn uuid(bytes: Vec<u8>) -> Norm {
    Norm::Binary(u8::from(BinarySubtype::Uuid), bytes)
}

#[cfg(test)]
mod tests {
    use super::{Norm, Number, differences};
    use mongodb::bson::{Bson, bson};

    fn differ(source: Bson, decoded: Norm) -> bool {
        let mut found = Vec::new();
        differences("", Some(&Norm::from_bson(&source)), Some(&decoded), &mut found);
        !found.is_empty()
    }

    #[test]
    fn numbers_are_compared_by_value_to_the_last_digit() {
        assert_eq!(Number::parse("1200.00"), Number::parse("1.2e3"));
        assert_eq!(Number::parse("0.0010"), Number::parse("1E-3"));
        assert_ne!(Number::parse("9007199254740993"), Number::parse("9007199254740992"));
        assert_ne!(Number::parse("-1"), Number::parse("1"));
        assert_eq!(Number::parse("1x"), None);
        assert!(!differ(bson!(0.1), Norm::double("0.1").expect("number")));
        assert!(!differ(bson!(1e300), Norm::numeric(&format!("1{}", "0".repeat(300))).expect("number")));
        assert!(differ(bson!(i64::MAX), Norm::numeric("9223372036854775806").expect("number")));
    }

    #[test]
    fn the_sign_of_zero_counts_in_a_double_column_only() {
        assert!(differ(bson!(-0.0), Norm::double("0").expect("number")));
        assert!(!differ(bson!(-0.0), Norm::double("-0").expect("number")));
        assert!(!differ(bson!(-0.0), Norm::numeric("0").expect("number")));
        assert!(!differ(bson!(0_i32), Norm::double("0").expect("number")));
    }

    #[test]
    fn missing_null_and_gaps_are_one_but_nothing_else_is() {
        let gaps = |pairs: &[(usize, i32)]| {
            Norm::Elements(pairs.iter().map(|(i, n)| (*i, Norm::from_bson(&Bson::Int32(*n)))).collect())
        };
        assert!(!differ(bson!({"a": null, "b": []}), Norm::document([])));
        assert!(!differ(bson!([1, null, 2, null]), gaps(&[(0, 1), (2, 2)])));
        assert!(differ(bson!([1, null, 2]), gaps(&[(0, 1), (1, 2)])));
        assert!(differ(bson!([1]), gaps(&[(0, 1), (1, 2)])));
        assert!(differ(bson!({"a": {}}), Norm::document([])));
        assert!(differ(bson!({}), Norm::document([("a", Norm::Array(vec![]))])));
        assert!(differ(bson!("1"), Norm::numeric("1").expect("number")));
    }
}
