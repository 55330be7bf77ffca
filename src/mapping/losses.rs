//! What a `jsonb` cell could not hold, value by value: each one is a row of `tailwater.anomalies`.
//!
//! In: a value, or a diff of one, of which `json::write_value` said that something is lost. Out: places below it, reasons
//! and originals. The walk is made only then, so that it costs nothing where nothing is lost.

use super::cell::reason;
use super::json::{Losses, clean_text};
use crate::model::bson::{Doc, Malformed, Value};

/// One value, or one name, that is not stored as it is.
#[derive(Debug, PartialEq)]
pub struct Loss<'v> {
    /// Field names below the cell, without array positions.
    pub below: Vec<String>,
    /// One of `cell::reason`.
    pub reason: &'static str,
    /// The value; of a name its bytes.
    pub original: Value<'v>,
}

/// The losses of a value.
///
/// # Errors
/// When a nested document is malformed.
pub fn in_value(value: Value<'_>) -> Result<Vec<Loss<'_>>, Malformed> {
    let mut walk = Walk::default();
    walk.value(value)?;
    Ok(walk.found)
}

/// The losses of a diff (grammar: `mapping/delta.rs`), by what it sets.
///
/// # Errors
/// When a nested document is malformed.
pub fn in_diff(diff: Doc<'_>) -> Result<Vec<Loss<'_>>, Malformed> {
    let mut walk = Walk::default();
    walk.diff(diff)?;
    Ok(walk.found)
}

/// The word for what was lost of a string, if anything was.
#[must_use]
pub fn reason_of(losses: Losses) -> Option<&'static str> {
    if losses.nul {
        Some(reason::NUL)
    } else if losses.utf8 {
        Some(reason::UTF8)
    } else {
        None
    }
}

#[derive(Default)]
struct Walk<'v> {
    below: Vec<String>,
    found: Vec<Loss<'v>>,
}

impl<'v> Walk<'v> {
    fn lose(&mut self, reason: &'static str, original: Value<'v>) {
        self.found.push(Loss { below: self.below.clone(), reason, original });
    }

    fn value(&mut self, value: Value<'v>) -> Result<(), Malformed> {
        match value {
            Value::Document(document) => self.document(document),
            Value::Array(array) => array.elements().try_for_each(|element| self.value(element?.1)),
            Value::String(bytes) | Value::Code(bytes) | Value::Symbol(bytes) => self.strings(value, &[bytes]),
            Value::Regex { pattern, options } => self.strings(value, &[pattern, options]),
            Value::DbPointer { namespace, .. } => self.strings(value, &[namespace]),
            Value::CodeWithScope { code, scope } => {
                self.strings(value, &[code])?;
                self.named(b"$scope", |walk| walk.document(scope))
            }
            Value::Double(_)
            | Value::Binary { .. }
            | Value::Undefined
            | Value::ObjectId(_)
            | Value::Boolean(_)
            | Value::DateTime(_)
            | Value::Null
            | Value::Int32(_)
            | Value::Timestamp(..)
            | Value::Int64(_)
            | Value::Decimal128(_)
            | Value::MinKey
            | Value::MaxKey => Ok(()),
        }
    }

    fn strings(&mut self, value: Value<'v>, strings: &[&[u8]]) -> Result<(), Malformed> {
        if let Some(reason) = strings.iter().find_map(|bytes| reason_of(clean_text(bytes).1)) {
            self.lose(reason, value);
        }
        Ok(())
    }

    fn document(&mut self, document: Doc<'v>) -> Result<(), Malformed> {
        for element in document.elements() {
            let (name, value) = element?;
            self.named(name, |walk| {
                walk.name(name);
                walk.value(value)
            })?;
        }
        Ok(())
    }

    fn name(&mut self, name: &'v [u8]) {
        if clean_text(name).1.any() {
            self.lose(reason::NAME, Value::Binary { subtype: 0, bytes: name });
        }
    }

    fn named(&mut self, name: &[u8], below: impl FnOnce(&mut Self) -> Result<(), Malformed>) -> Result<(), Malformed> {
        self.below.push(clean_text(name).0.into_owned());
        let done = below(self);
        self.below.pop();
        done
    }

    fn diff(&mut self, diff: Doc<'v>) -> Result<(), Malformed> {
        let is_array = diff.get("a")? == Some(Value::Boolean(true));
        for element in diff.elements() {
            let (section, value) = element?;
            match (section.split_first(), value) {
                (Some((b'u' | b'i', [])), Value::Document(values)) if !is_array => self.document(values)?,
                (Some((b's', name)), Value::Document(below)) if !is_array => {
                    self.named(name, |walk| walk.diff(below))?;
                }
                (Some((b's', _)), Value::Document(below)) => self.diff(below)?,
                (Some((b'u', _)), value) if is_array => self.value(value)?,
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    fn places(found: Vec<Loss<'_>>) -> Vec<(String, &'static str)> {
        found.into_iter().map(|loss| (loss.below.join("."), loss.reason)).collect()
    }

    #[test]
    fn every_value_is_found_at_its_place() {
        let bytes = doc! {"a": ["\0", {"b": "\0", "c": "fine"}], "d": 1}.to_vec().expect("bson");
        let found = in_value(Value::Document(Doc::new(&bytes).expect("bson"))).expect("bson");
        assert_eq!(places(found), [("a".into(), reason::NUL), ("a.b".into(), reason::NUL)]);
    }

    #[test]
    fn a_diff_is_read_along_its_grammar() {
        let diff = doc! {
            "d": {"gone": false}, "u": {"x": "\0"}, "i": {"y": {"z": "\0"}},
            "sl": {"a": true, "l": 2, "u0": "\0", "s1": {"u": {"w": "\0"}}},
        };
        let bytes = diff.to_vec().expect("bson");
        let found = in_diff(Doc::new(&bytes).expect("bson")).expect("bson");
        let expected = ["x", "y.z", "l", "l.w"].map(|place| (place.to_owned(), reason::NUL));
        assert_eq!(places(found), expected);
    }
}
