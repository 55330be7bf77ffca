//! Where a source value and a decoded one differ, up to the contract's equivalences.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::json;
use super::norm::{Norm, beyond, cleaned};

/// One place where the two sides differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    pub path: String,
    /// The field names of the path, without array positions.
    pub names: Vec<String>,
    pub source: String,
    pub decoded: String,
    /// The source's value, where the other side has none.
    pub gone: Option<Norm>,
}

/// A value that is stored as section 5 says instead of as it is: it wants a row in `tailwater.anomalies`.
#[derive(Debug, Clone, PartialEq)]
pub struct Lost {
    /// The field names of its path, without array positions.
    pub names: Vec<String>,
    pub original: Norm,
}

/// What a comparison of two documents found.
#[derive(Debug, Default)]
pub struct Compared {
    pub differences: Vec<Difference>,
    pub lost: Vec<Lost>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at `{}`: MongoDB has {}, PostgreSQL has {}", self.path, self.source, self.decoded)
    }
}

/// A value, short enough for a message.
pub fn show(value: Option<&Norm>) -> String {
    const LONGEST: usize = 200;
    let Some(value) = value else { return "nothing".to_owned() };
    let text = format!("{value:?}");
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
        None => text,
    }
}

/// Compares a source value with a decoded one.
pub fn compared(source: &Norm, decoded: &Norm) -> Compared {
    let mut walk = Walk::default();
    walk.compare("", Some(source), Some(decoded));
    walk.compared
}

/// The fields of a document that are not null.
fn present(fields: &BTreeMap<String, Norm>) -> Norm {
    Norm::Document(
        fields.iter().filter(|(_, value)| **value != Norm::Null).map(|(k, v)| (k.clone(), v.clone())).collect(),
    )
}

#[derive(Default)]
struct Walk {
    names: Vec<String>,
    compared: Compared,
}

impl Walk {
    fn compare(&mut self, path: &str, source: Option<&Norm>, decoded: Option<&Norm>) {
        let present = |v: &&Norm| **v != Norm::Null;
        let (source, decoded) = (source.filter(present), decoded.filter(present));
        match (source, decoded) {
            (None, None) => {}
            (Some(Norm::Document(a)), Some(Norm::Document(b))) => self.fields(path, a, b),
            (Some(Norm::Array(a)), Some(Norm::Array(b))) if a.len() == b.len() => {
                for (i, (x, y)) in a.iter().zip(b).enumerate() {
                    self.compare(&format!("{path}[{i}]"), Some(x), Some(y));
                }
            }
            (Some(Norm::Array(a)), Some(Norm::Elements(b))) => {
                for i in 0..a.len().max(b.keys().next_back().map_or(0, |last| last + 1)) {
                    self.compare(&format!("{path}[{i}]"), a.get(i), b.get(&i));
                }
            }
            // An empty array decides no form, so it may have no place to be; one of nulls only is all gaps in a table.
            (Some(Norm::Array(a)), None) if a.iter().all(|v| *v == Norm::Null) => {}
            (Some(a), Some(b)) => self.scalars(path, a, b),
            (a, b) => self.differ(path, a, b),
        }
    }

    fn fields(&mut self, path: &str, a: &BTreeMap<String, Norm>, b: &BTreeMap<String, Norm>) {
        let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for name in names {
            self.names.push(name.clone());
            self.compare(&format!("{path}.{name}"), a.get(name), b.get(name));
            self.names.pop();
        }
    }

    fn scalars(&mut self, path: &str, source: &Norm, decoded: &Norm) {
        match (source, decoded) {
            (Norm::Zero | Norm::NegativeZero | Norm::SomeZero, Norm::SomeZero) => {}
            // A zero that is no double has no sign; in a double column it is the positive one.
            (Norm::SomeZero, Norm::Zero) => {}
            (Norm::Text(a) | Norm::ObjectId(a), Norm::TextOrObjectId(b)) if a == b => {}
            (Norm::Binary(_, a), Norm::SomeBinary(b)) if a == b => {}
            (Norm::BadText(a), Norm::Text(b) | Norm::TextOrObjectId(b)) if cleaned(a) == *b => self.lose(source),
            (Norm::Date(millis), Norm::Beyond { .. }) if beyond(*millis).as_ref() == Some(decoded) => self.lose(source),
            (Norm::Double(a), Norm::Number(b)) | (Norm::Number(b), Norm::Double(a)) if b.is_double(*a) => {}
            (a, b) if a == b => {}
            // One `_id` for MongoDB, one key for PostgreSQL.
            (Norm::NegativeZero, Norm::Zero) if self.names == ["_id"] => {}
            // A document that looks like one of Extended JSON's wrappers, nulls apart, cannot be told from it in jsonb.
            (Norm::Document(fields), b) => match json::unwrapped(&present(fields)) {
                Norm::Document(_) => self.differ(path, Some(source), Some(b)),
                looks_like => self.compare(path, Some(&looks_like), Some(b)),
            },
            (a, b) => self.differ(path, Some(a), Some(b)),
        }
    }

    fn lose(&mut self, original: &Norm) {
        self.compared.lost.push(Lost { names: self.names.clone(), original: original.clone() });
    }

    fn differ(&mut self, path: &str, source: Option<&Norm>, decoded: Option<&Norm>) {
        self.compared.differences.push(Difference {
            path: path.to_owned(),
            names: self.names.clone(),
            source: show(source),
            decoded: show(decoded),
            gone: if decoded.is_none() { source.cloned() } else { None },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::compared;
    use crate::decode::norm::{Norm, Number};
    use mongodb::bson::{Bson, bson};

    fn differ(source: Bson, decoded: Norm) -> bool {
        !compared(&Norm::from_bson(&source), &decoded).differences.is_empty()
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
    fn a_double_is_compared_as_everybody_reads_it() {
        let tie = Norm::numeric("99999999999999990000000").expect("number");
        assert!(!differ(bson!(1e23), tie.clone()) && differ(bson!(1e24), tie));
        assert!(!differ(bson!(1e22), Norm::numeric("1E+22").expect("number")));
        assert!(!differ(bson!(5e-324), Norm::numeric("5E-324").expect("number")));
    }

    #[test]
    fn the_sign_of_zero_counts_in_a_double_column_only() {
        assert!(differ(bson!(-0.0), Norm::double("0").expect("number")));
        assert!(!differ(bson!(-0.0), Norm::double("-0").expect("number")));
        assert!(!differ(bson!(-0.0), Norm::numeric("0").expect("number")));
        assert!(!differ(bson!(0_i32), Norm::double("0").expect("number")));
    }

    #[test]
    fn what_looks_like_a_wrapper_in_jsonb_may_be_one() {
        let date = Norm::document([("a", Norm::Date(0))]);
        assert!(!differ(bson!({"a": {"$date": 0, "u": null}}), date.clone()));
        assert!(differ(bson!({"a": {"$date": 0, "u": 1}}), date.clone()));
        assert!(differ(bson!({"a": {"$date": 1}}), date));
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
