//! The oplog's `$v: 2` diff applied to a `jsonb` value.
//!
//! In: the stored text and diffs in order. Out: the new text. The rules are those of `mapping/delta.rs`; a diff that does
//! not fit the value (it may be of a later state) leaves it alone.
//!
//! Two sections are ours, for the overflow column (see `extra.rs`): `j` sets fields to values given as JSON text, and
//! `S<name>` goes below a document, which it makes where it is missing.

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::json::{self, Flavour};
use crate::model::bson::{Doc, Document, Malformed, Value};

/// More elements than a document has room for: it ends at 16 MiB, and each takes three bytes. A diff that says more is
/// damaged and must not take all memory.
pub const MOST_ELEMENTS: usize = (16 << 20) / 3;

/// Why a diff could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// The diff is not valid BSON.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The stored text or a converted value is not valid JSON: a defect.
    #[error("not valid JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Applies `diffs` in order to a `jsonb` value in text form.
///
/// # Errors
/// When a diff is malformed or the text is no JSON.
pub fn apply<'d>(stored: &str, diffs: impl IntoIterator<Item = &'d Document>) -> Result<String, DiffError> {
    let mut value = parse(stored)?;
    for diff in diffs {
        apply_one(&mut value, diff.as_doc())?;
    }
    Ok(value.to_string())
}

fn apply_one(value: &mut Json, diff: Doc<'_>) -> Result<(), DiffError> {
    let is_array = diff.get("a")? == Some(Value::Boolean(true));
    match value {
        Json::Array(elements) if is_array => apply_to_array(elements, diff),
        Json::Object(fields) if !is_array => apply_to_object(fields, diff),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) | Json::Object(_) => Ok(()),
    }
}

fn apply_to_object(fields: &mut Map<String, Json>, diff: Doc<'_>) -> Result<(), DiffError> {
    for element in diff.elements() {
        let (section, value) = element?;
        match (section.split_first(), value) {
            (Some((b'd', [])), Value::Document(names)) => {
                for element in names.elements() {
                    fields.remove(&name(element?.0));
                }
            }
            (Some((b'u' | b'i', [])), Value::Document(values)) => {
                for element in values.elements() {
                    let (field, value) = element?;
                    fields.insert(name(field), convert(value)?);
                }
            }
            (Some((b'j', [])), Value::Document(values)) => {
                for element in values.elements() {
                    let (field, value) = element?;
                    let Value::String(text) = value else { continue };
                    fields.insert(name(field), parse(&String::from_utf8_lossy(text))?);
                }
            }
            (Some((b'S', field)), Value::Document(below)) => {
                let value = fields.entry(name(field)).or_insert(Json::Null);
                if !value.is_object() {
                    *value = Json::Object(Map::new());
                }
                apply_one(value, below)?;
            }
            (Some((b's', field)), Value::Document(below)) => {
                if let Some(value) = fields.get_mut(&name(field)) {
                    apply_one(value, below)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn apply_to_array(elements: &mut Vec<Json>, diff: Doc<'_>) -> Result<(), DiffError> {
    if let Some(Value::Int32(length)) = diff.get("l")? {
        let length = usize::try_from(length).unwrap_or(0);
        if length <= MOST_ELEMENTS {
            elements.resize(length, Json::Null);
        }
    }
    for element in diff.elements() {
        let (section, value) = element?;
        let Some((kind, digits)) = section.split_first() else { continue };
        let Some(index) = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<usize>().ok()) else {
            continue; // `a` and `l`
        };
        if index >= MOST_ELEMENTS {
            continue;
        }
        if elements.len() <= index {
            elements.resize(index + 1, Json::Null);
        }
        let Some(place) = elements.get_mut(index) else { continue };
        match (kind, value) {
            (b'u', _) => *place = convert(value)?,
            (b's', Value::Document(below)) => apply_one(place, below)?,
            _ => {}
        }
    }
    Ok(())
}

/// A name as it stands in `jsonb`.
fn name(bytes: &[u8]) -> String {
    json::clean_text(bytes).0.into_owned()
}

fn convert(value: Value<'_>) -> Result<Json, DiffError> {
    Ok(parse(&json::to_text(value, Flavour::Relaxed)?)?)
}

/// Reads JSON of any depth: the text was written by us, or by PostgreSQL from what we wrote, so that its depth is within
/// what `json` lets through; the parser's own limit of 128 is below what MongoDB takes.
fn parse(text: &str) -> Result<Json, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.disable_recursion_limit();
    let value = Json::deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Bson, doc};

    fn applied(stored: &str, diff: &bson::Document) -> String {
        let diff = Document::new(diff.to_vec().expect("bson")).expect("bson");
        apply(stored, [&diff]).expect("applies")
    }

    #[test]
    fn arrays_grow_shrink_and_change() {
        assert_eq!(applied("[1,2]", &doc! {"a": true, "u2": 3}), "[1,2,3]");
        assert_eq!(applied("[1,2]", &doc! {"a": true, "u4": 3}), "[1,2,null,null,3]");
        assert_eq!(applied("[1,2,3]", &doc! {"a": true, "l": 1}), "[1]");
        assert_eq!(applied("[1]", &doc! {"a": true, "l": 3, "u0": 9}), "[9,null,null]");
        assert_eq!(applied(r#"[{"b":1}]"#, &doc! {"a": true, "s0": {"u": {"b": 2i64}}}), r#"[{"b":2}]"#);
    }

    #[test]
    fn objects_lose_gain_and_change_fields() {
        let diff = doc! {"d": {"x": false}, "u": {"y": "q"}, "i": {"z": Bson::Null}, "sw": {"u": {"n": 1.5}}};
        assert_eq!(applied(r#"{"w":{"n":0},"x":1,"y":2}"#, &diff), r#"{"w":{"n":1.5},"y":"q","z":null}"#);
    }

    #[test]
    fn our_own_sections_set_json_and_make_the_way() {
        let diff = doc! {"Sa": {"Sb": {"j": {"c": "[1,9223372036854775807]"}}}, "j": {"d": "null"}};
        assert_eq!(applied("{}", &diff), r#"{"a":{"b":{"c":[1,9223372036854775807]}},"d":null}"#);
        assert_eq!(applied(r#"{"a":5}"#, &diff), r#"{"a":{"b":{"c":[1,9223372036854775807]}},"d":null}"#);
        assert_eq!(applied(r#"{"a":{"x":1}}"#, &doc! {"Sa": {"j": {"y": "2"}}}), r#"{"a":{"x":1,"y":2}}"#);
    }

    #[test]
    fn what_does_not_fit_is_left_alone() {
        assert_eq!(applied("5", &doc! {"u": {"y": 1}}), "5");
        assert_eq!(applied("[5]", &doc! {"u": {"y": 1}}), "[5]");
        assert_eq!(applied("{}", &doc! {"a": true, "u0": 1}), "{}");
        assert_eq!(applied("{}", &doc! {"sx": {"u": {"y": 1}}}), "{}");
    }

    #[test]
    fn an_array_that_no_document_can_hold_takes_no_memory() {
        assert_eq!(applied("[1]", &doc! {"a": true, "l": i32::MAX, "u4294967295": 1, "u1": 2}), "[1,2]");
    }

    #[test]
    fn numbers_keep_every_digit() {
        let stored = "[9223372036854775807,1e300,0.1]";
        let digits = format!("1{}", "0".repeat(300));
        assert_eq!(applied(stored, &doc! {"a": true}), "[9223372036854775807,1e+300,0.1]");
        assert_eq!(applied(&format!("[{digits}]"), &doc! {"a": true}), "[1e+300]");
    }
}
