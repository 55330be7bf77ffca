//! The oplog's `$v: 2` diff as the `jsonb` that the text's own function takes (`functions.sql`).
//!
//! In: diffs as `mapping::json_diff` takes them. Out: JSON text in which the order of sections is kept, as `jsonb` keeps
//! only that of arrays: `{"o": [["d", name], ["u", name, value], ["s", name, diff], ["S", name, diff]]}` for documents,
//! `{"a": [["l", length], ["n", index], ["u", index, value], ["s", index, diff]]}` for arrays. The rules of
//! `json_diff` that need no value (which sections are none, how long an array may be) are applied here.

use crate::mapping::json::{self, Flavour};
use crate::mapping::json_diff::MOST_ELEMENTS;
use crate::model::bson::{Doc, Malformed, Value};

/// A diff as JSON text.
///
/// # Errors
/// When it is malformed.
pub fn as_json(diff: Doc<'_>) -> Result<String, Malformed> {
    let mut out = String::with_capacity(2 * diff.bytes().len());
    write(diff, &mut out)?;
    Ok(out)
}

fn write(diff: Doc<'_>, out: &mut String) -> Result<(), Malformed> {
    let is_array = diff.get("a")? == Some(Value::Boolean(true));
    out.push_str(if is_array { "{\"a\":[" } else { "{\"o\":[" });
    let before = out.len();
    if is_array {
        array(diff, out)?
    } else {
        object(diff, out)?
    }
    if out.len() > before {
        out.pop(); // each step ends with a comma
    }
    out.push_str("]}");
    Ok(())
}

fn object(diff: Doc<'_>, out: &mut String) -> Result<(), Malformed> {
    for element in diff.elements() {
        let (section, value) = element?;
        match (section.split_first(), value) {
            (Some((b'd', [])), Value::Document(names)) => {
                for element in names.elements() {
                    step(out, 'd', &name(element?.0)?);
                    out.push_str("],");
                }
            }
            (Some((b'u' | b'i', [])), Value::Document(values)) => {
                for element in values.elements() {
                    let (field, value) = element?;
                    set(out, &name(field)?, &json::to_text(value, Flavour::Relaxed)?);
                }
            }
            (Some((b'j', [])), Value::Document(values)) => {
                for element in values.elements() {
                    let (field, value) = element?;
                    let Value::String(text) = value else { continue };
                    set(out, &name(field)?, &String::from_utf8_lossy(text));
                }
            }
            (Some((b'S', field)), Value::Document(below)) => go_below(out, 'S', &name(field)?, below)?,
            (Some((b's', field)), Value::Document(below)) => go_below(out, 's', &name(field)?, below)?,
            _ => {}
        }
    }
    Ok(())
}

fn array(diff: Doc<'_>, out: &mut String) -> Result<(), Malformed> {
    if let Some(Value::Int32(length)) = diff.get("l")? {
        let length = usize::try_from(length).unwrap_or(0);
        if length <= MOST_ELEMENTS {
            step(out, 'l', &length.to_string());
            out.push_str("],");
        }
    }
    for element in diff.elements() {
        let (section, value) = element?;
        let Some((kind, digits)) = section.split_first() else { continue };
        let index = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<usize>().ok());
        let Some(index) = index.filter(|index| *index < MOST_ELEMENTS) else { continue };
        let index = index.to_string();
        match (kind, value) {
            (b'u', _) => set(out, &index, &json::to_text(value, Flavour::Relaxed)?),
            (b's', Value::Document(below)) => go_below(out, 's', &index, below)?,
            _ => {
                step(out, 'n', &index);
                out.push_str("],");
            }
        }
    }
    Ok(())
}

fn step(out: &mut String, kind: char, place: &str) {
    out.push_str("[\"");
    out.push(kind);
    out.push_str("\",");
    out.push_str(place);
}

fn set(out: &mut String, place: &str, value: &str) {
    step(out, 'u', place);
    out.push(',');
    out.push_str(value);
    out.push_str("],");
}

fn go_below(out: &mut String, kind: char, place: &str, below: Doc<'_>) -> Result<(), Malformed> {
    step(out, kind, place);
    out.push(',');
    write(below, out)?;
    out.push_str("],");
    Ok(())
}

/// A name as JSON, as it stands in `jsonb`.
fn name(bytes: &[u8]) -> Result<String, Malformed> {
    json::to_text(Value::String(bytes), Flavour::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    #[test]
    fn sections_become_steps_in_order() {
        let text = |diff: &bson::Document| {
            let bytes = diff.to_vec().expect("bson");
            as_json(Doc::new(&bytes).expect("bson")).expect("a diff")
        };
        assert_eq!(text(&doc! {}), r#"{"o":[]}"#);
        assert_eq!(
            text(&doc! {"d": {"x": false}, "u": {"y": "q\""}, "i": {"z": 1i64}, "sw": {"a": true, "l": 2, "u1": 1.5}}),
            r#"{"o":[["d","x"],["u","y","q\""],["u","z",1],["s","w",{"a":[["l",2],["u",1,1.5]]}]]}"#
        );
        assert_eq!(text(&doc! {"Sa": {"j": {"c": "[1]"}}, "a": false}), r#"{"o":[["S","a",{"o":[["u","c",[1]]]}]]}"#);
        assert_eq!(text(&doc! {"a": true, "s0": 5, "u4294967295": 1, "l": i32::MAX}), r#"{"a":[["n",0]]}"#);
    }
}
