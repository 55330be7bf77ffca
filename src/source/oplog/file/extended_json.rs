//! Extended JSON v2 as BSON, canonical and relaxed, byte for byte what the text says: order of fields, names that come
//! twice, types.
//!
//! In: the text of one document. Out: raw BSON, or what is wrong with it. The `bson` crate's own conversion goes through a
//! map, which keeps neither order nor a name that comes twice. Of the forms of v1 only `$binary` with `$type` and `$date`
//! with a number are read, as `mongoexport` of old wrote them. Source: MongoDB Extended JSON v2, specification.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::json::{self, Json};
use crate::model::bson::{Doc, Document, Value};
use crate::source::writer::Writer;

/// How deep documents may lie in others; MongoDB itself takes 180 (its `maxBSONDepth`) and a few more in an oplog entry.
const DEEPEST: usize = 220;

/// What is wrong with a text, without any of its values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotExtendedJson(String);

fn wrong(what: &str) -> NotExtendedJson {
    NotExtendedJson(what.to_owned())
}

/// Reads a document.
///
/// # Errors
/// When it is no JSON, or a `$…` form is not as the specification says.
pub fn document(text: &[u8]) -> Result<Document, NotExtendedJson> {
    let json = json::parse(text, DEEPEST).map_err(|error| NotExtendedJson(format!("it is no JSON: {error}")))?;
    match json {
        Json::Object(fields) => of_fields(&fields),
        Json::Null | Json::Boolean(_) | Json::Integer(_) | Json::Double(_) | Json::String(_) | Json::Array(_) => {
            Err(wrong("it is no document"))
        }
    }
}

/// Reads a list of documents.
///
/// # Errors
/// As [`document`].
pub fn documents(text: &[u8]) -> Result<Vec<Document>, NotExtendedJson> {
    let json = json::parse(text, DEEPEST).map_err(|error| NotExtendedJson(format!("it is no JSON: {error}")))?;
    let Json::Array(elements) = json else { return Err(wrong("it is no list")) };
    let document = |element: &Json| match element {
        Json::Object(fields) => of_fields(fields),
        Json::Null | Json::Boolean(_) | Json::Integer(_) | Json::Double(_) | Json::String(_) | Json::Array(_) => {
            Err(wrong("it holds something else than documents"))
        }
    };
    elements.iter().map(document).collect()
}

fn of_fields(fields: &[(String, Json)]) -> Result<Document, NotExtendedJson> {
    let mut writer = Writer::new();
    for (name, value) in fields {
        put(&mut writer, name, value)?;
    }
    writer.finish().map_err(|error| NotExtendedJson(error.to_string()))
}

fn put(writer: &mut Writer, name: &str, json: &Json) -> Result<(), NotExtendedJson> {
    let name = name.as_bytes();
    match json {
        Json::Null => writer.put(name, &Value::Null),
        Json::Boolean(yes) => writer.put(name, &Value::Boolean(*yes)),
        Json::Integer(number) => writer.put(name, &i32::try_from(*number).map_or(Value::Int64(*number), Value::Int32)),
        Json::Double(number) => writer.put(name, &Value::Double(*number)),
        Json::String(text) => writer.put(name, &Value::String(text.as_bytes())),
        Json::Array(elements) => {
            let mut array = Writer::new();
            for (i, element) in elements.iter().enumerate() {
                put(&mut array, &i.to_string(), element)?;
            }
            let array = array.finish().map_err(|error| NotExtendedJson(error.to_string()))?;
            writer.put(name, &Value::Array(array.as_doc()));
        }
        Json::Object(fields) => {
            if !put_special(writer, name, fields)? {
                writer.put(name, &Value::Document(of_fields(fields)?.as_doc()));
            }
        }
    }
    Ok(())
}

/// Writes an object that stands for a value of another type; false when it stands for itself.
fn put_special(writer: &mut Writer, name: &[u8], fields: &[(String, Json)]) -> Result<bool, NotExtendedJson> {
    match fields {
        [(key, value)] if key.starts_with('$') => put_one(writer, name, key, value),
        [(a, first), (b, second)] if a.starts_with('$') && b.starts_with('$') => {
            // In either order.
            let (a, first, b, second) = if a < b { (a, first, b, second) } else { (b, second, a, first) };
            match (a.as_str(), first, b.as_str(), second) {
                ("$code", Json::String(code), "$scope", Json::Object(scope)) => {
                    let scope = of_fields(scope)?;
                    writer.put(name, &Value::CodeWithScope { code: code.as_bytes(), scope: scope.as_doc() });
                    Ok(true)
                }
                ("$binary", Json::String(data), "$type", Json::String(subtype)) => {
                    put_binary(writer, name, data, subtype).map(|()| true)
                }
                _ => Ok(false),
            }
        }
        _ => Ok(false),
    }
}

fn put_one(writer: &mut Writer, name: &[u8], key: &str, value: &Json) -> Result<bool, NotExtendedJson> {
    let malformed = || NotExtendedJson(format!("{key} is not as Extended JSON v2 writes it"));
    let text = || if let Json::String(text) = value { Ok(text.as_str()) } else { Err(malformed()) };
    match key {
        "$oid" => writer.put(name, &Value::ObjectId(object_id(text()?).ok_or_else(malformed)?)),
        "$symbol" => writer.put(name, &Value::Symbol(text()?.as_bytes())),
        "$code" => writer.put(name, &Value::Code(text()?.as_bytes())),
        "$numberInt" => writer.put(name, &Value::Int32(text()?.parse().map_err(|_| malformed())?)),
        "$numberLong" => writer.put(name, &Value::Int64(text()?.parse().map_err(|_| malformed())?)),
        "$numberDouble" => writer.put(name, &Value::Double(double(text()?).ok_or_else(malformed)?)),
        "$numberDecimal" => {
            let decimal = bson::Decimal128::from_str(text()?).map_err(|_| malformed())?;
            writer.put(name, &Value::Decimal128(decimal.bytes()));
        }
        "$uuid" => {
            let bytes = uuid(text()?).ok_or_else(malformed)?;
            writer.put(name, &Value::Binary { subtype: 4, bytes: &bytes });
        }
        "$minKey" | "$maxKey" if *value != Json::Integer(1) => return Err(malformed()),
        "$minKey" => writer.put(name, &Value::MinKey),
        "$maxKey" => writer.put(name, &Value::MaxKey),
        "$undefined" if *value == Json::Boolean(true) => writer.put(name, &Value::Undefined),
        "$date" => writer.put(name, &Value::DateTime(date(value).ok_or_else(malformed)?)),
        "$binary" | "$timestamp" | "$regularExpression" | "$dbPointer" => {
            put_object(writer, name, key, value, &malformed)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn put_object(
    writer: &mut Writer,
    name: &[u8],
    key: &str,
    value: &Json,
    malformed: &dyn Fn() -> NotExtendedJson,
) -> Result<(), NotExtendedJson> {
    let Json::Object(fields) = value else { return Err(malformed()) };
    let get = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value);
    let text = |name: &str| if let Some(Json::String(text)) = get(name) { Ok(text) } else { Err(malformed()) };
    let number = |name: &str| match get(name) {
        Some(Json::Integer(number)) => u32::try_from(*number).map_err(|_| malformed()),
        _ => Err(malformed()),
    };
    if fields.len() != 2 {
        return Err(malformed());
    }
    match key {
        "$binary" => put_binary(writer, name, text("base64")?, text("subType")?)?,
        "$timestamp" => writer.put(name, &Value::Timestamp(number("t")?, number("i")?)),
        "$regularExpression" => {
            let (pattern, options) = (text("pattern")?, text("options")?);
            if pattern.contains('\0') || options.contains('\0') {
                return Err(malformed());
            }
            let mut options: Vec<u8> = options.bytes().collect();
            options.sort_unstable();
            writer.put(name, &Value::Regex { pattern: pattern.as_bytes(), options: &options });
        }
        _ => {
            let namespace = text("$ref")?.as_bytes();
            let Some(Json::Object(id)) = get("$id") else { return Err(malformed()) };
            let [(oid, Json::String(id))] = id.as_slice() else { return Err(malformed()) };
            let id = object_id(id).filter(|_| oid == "$oid").ok_or_else(malformed)?;
            writer.put(name, &Value::DbPointer { namespace, id });
        }
    }
    Ok(())
}

fn put_binary(writer: &mut Writer, name: &[u8], data: &str, subtype: &str) -> Result<(), NotExtendedJson> {
    let malformed = || wrong("$binary is not as Extended JSON v2 writes it");
    let bytes = STANDARD.decode(data).map_err(|_| malformed())?;
    let subtype = u8::from_str_radix(subtype, 16).map_err(|_| malformed())?;
    writer.put(name, &Value::Binary { subtype, bytes: &bytes });
    Ok(())
}

fn object_id(text: &str) -> Option<[u8; 12]> {
    bson::oid::ObjectId::parse_str(text).ok().map(|id| id.bytes())
}

fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok().filter(|number: &f64| number.is_finite()),
    }
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32).map(u128::to_be_bytes)
}

/// Milliseconds since 1970.
fn date(value: &Json) -> Option<i64> {
    match value {
        Json::String(text) => Some(bson::DateTime::parse_rfc3339_str(text).ok()?.timestamp_millis()),
        Json::Integer(millis) => Some(*millis),
        Json::Object(fields) => match fields.as_slice() {
            [(key, Json::String(digits))] if key == "$numberLong" => digits.parse().ok(),
            _ => None,
        },
        Json::Null | Json::Boolean(_) | Json::Double(_) | Json::Array(_) => None,
    }
}

/// True when the bytes are a document whose every value can be read.
#[must_use]
pub fn is_whole(document: Doc<'_>) -> bool {
    is_whole_below(document, 0)
}

fn is_whole_below(document: Doc<'_>, depth: usize) -> bool {
    document.elements().all(|element| match element {
        Ok((_, Value::Document(below) | Value::Array(below) | Value::CodeWithScope { scope: below, .. })) => {
            depth < DEEPEST && is_whole_below(below, depth + 1)
        }
        Ok(_) => true,
        Err(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::json::{Flavour, to_text};

    fn canonical(text: &str) -> String {
        let document = document(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
        to_text(Value::Document(document.as_doc()), Flavour::Canonical).expect("JSON")
    }

    #[test]
    fn every_type_comes_back_as_it_went() {
        for text in [
            r#"{"b":{"$oid":"635b79e231d82a8ab1de863b"},"a":{"$numberInt":"1"},"l":{"$numberLong":"1"}}"#,
            r#"{"d":{"$numberDouble":"1.5"},"n":{"$numberDouble":"NaN"},"z":{"$numberDouble":"-0.0"}}"#,
            r#"{"m":{"$numberDecimal":"1.50"},"t":{"$timestamp":{"t":4294967295,"i":7}},"s":{"$symbol":"x"}}"#,
            r#"{"x":{"$binary":{"base64":"AP8=","subType":"80"}},"e":{"$date":{"$numberLong":"-1"}}}"#,
            r#"{"r":{"$regularExpression":{"pattern":"a","options":"im"}},"c":{"$code":"f","$scope":{"q":null}}}"#,
            r#"{"p":{"$dbPointer":{"$ref":"d.c","$id":{"$oid":"635b79e231d82a8ab1de863b"}}},"k":{"$code":"f"}}"#,
            r#"{"y":{"$minKey":1},"w":{"$maxKey":1},"v":[null,true,"t",{"":{}}]}"#,
            r#"{"twice":"a","twice":"b","$v":{"$numberInt":"2"},"ref":{"$ref":"c","$id":{"$numberInt":"1"}}}"#,
        ] {
            assert_eq!(canonical(text), text);
        }
    }

    #[test]
    fn an_undefined_is_no_null() {
        let found = document(br#"{"u":{"$undefined":true}}"#).expect("a document");
        assert_eq!(found.as_doc().get("u"), Ok(Some(Value::Undefined)));
    }

    #[test]
    fn relaxed_forms_have_the_types_that_the_specification_gives_them() {
        assert_eq!(
            canonical(r#"{"a":1,"b":2147483648,"c":1.0,"d":{"$date":"1970-01-01T00:00:01.5Z"},"e":-0.0,"f":1e3}"#),
            r#"{"a":{"$numberInt":"1"},"b":{"$numberLong":"2147483648"},"c":{"$numberDouble":"1.0"},"d":{"$date":{"$numberLong":"1500"}},"e":{"$numberDouble":"-0.0"},"f":{"$numberDouble":"1000.0"}}"#
        );
        assert_eq!(
            canonical(r#"{"u":{"$uuid":"00112233-4455-6677-8899-aabbccddeeff"},"v":{"$type":"00","$binary":"AA=="}}"#),
            r#"{"u":{"$uuid":"00112233-4455-6677-8899-aabbccddeeff"},"v":{"$binary":{"base64":"AA==","subType":"00"}}}"#
        );
    }

    #[test]
    fn what_is_wrong_is_said_without_values() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(300), "]".repeat(300));
        for (text, said) in [
            (r#"{"a":{"$oid":"secret"}}"#, "$oid"),
            (r#"{"a":{"$numberInt":"99999999999"}}"#, "$numberInt"),
            (r#"{"a":{"$date":true}}"#, "$date"),
            (r#"{"a":{"$binary":{"base64":"*"}}}"#, "$binary"),
            (r#"{"a":1"#, "no JSON"),
            (r#"{"a\u0000":1}"#, "U+0000"),
            ("[1]", "no document"),
            (&deep, "too deep"),
        ] {
            let error = document(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains(said) && !error.contains("secret"), "{error}");
        }
    }
}
