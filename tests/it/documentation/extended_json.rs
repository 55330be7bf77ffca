//! Extended JSON as the pages write it, into raw BSON.
//!
//! Own code because the examples hold what no JSON library keeps: a name twice, and bytes that are not UTF-8, which stand
//! as `\xff`.

use std::fmt;

use mongodb::bson::{Bson, Document, RawDocumentBuf, doc, serialize_to_vec};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// Stands for the byte FF between the page and the document: no example needs this character itself.
const BYTE_FF: char = '\u{F8FF}';

/// Objects that are one value of another type.
const WRAPPERS: [&str; 17] = [
    "$oid",
    "$date",
    "$numberInt",
    "$numberLong",
    "$numberDouble",
    "$numberDecimal",
    "$binary",
    "$uuid",
    "$regularExpression",
    "$timestamp",
    "$code",
    "$symbol",
    "$undefined",
    "$minKey",
    "$maxKey",
    "$dbPointer",
    "$scope",
];

/// A JSON value, names in their order and as often as they are written.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    Plain(Bson),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads the values of a text, one after the other.
    pub fn read_all(text: &str) -> Result<Vec<Self>, serde_json::Error> {
        let text = text.replace("\\xff", &BYTE_FF.to_string());
        serde_json::Deserializer::from_str(&text).into_iter().collect()
    }

    pub fn text(text: &str) -> Self {
        Self::Plain(Bson::String(text.to_owned()))
    }

    pub fn object<const N: usize>(fields: [(&str, Json); N]) -> Self {
        Self::Object(fields.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// The document that an object is.
    pub fn document(&self) -> RawDocumentBuf {
        let Self::Object(fields) = self else { panic!("{self:?} is no document") };
        let mut bytes = Vec::new();
        document(fields.iter().map(|(name, value)| (name.as_str(), value)), &mut bytes);
        RawDocumentBuf::from_bytes(bytes).expect("a length and a zero byte")
    }

    /// The value that an object stands for, when it is not a document.
    fn wrapped(fields: &[(String, Json)]) -> Option<Bson> {
        let (first, _) = fields.first()?;
        let plain = WRAPPERS.contains(&first.as_str()).then(|| Self::Object(fields.to_vec()).into_serde())?;
        Some(serde_json::from_value(plain).expect("Extended JSON"))
    }

    fn into_serde(self) -> serde_json::Value {
        match self {
            Self::Plain(value) => serde_json::to_value(value).expect("JSON"),
            Self::Array(elements) => elements.into_iter().map(Self::into_serde).collect(),
            Self::Object(fields) => fields.into_iter().map(|(name, value)| (name, value.into_serde())).collect(),
        }
    }

    /// Type byte, name and value.
    fn element(&self, name: &str, out: &mut Vec<u8>) {
        match self {
            Self::Plain(Bson::String(text)) => {
                named(2, name, out);
                let bytes = raw(text);
                out.extend(u32::try_from(bytes.len() + 1).expect("short").to_le_bytes());
                out.extend(bytes);
                out.push(0);
            }
            Self::Plain(value) => plain(value, name, out),
            Self::Array(elements) => {
                named(4, name, out);
                let names: Vec<String> = (0..elements.len()).map(|i| i.to_string()).collect();
                document(names.iter().map(String::as_str).zip(elements), out);
            }
            Self::Object(fields) => match Self::wrapped(fields) {
                Some(value) => plain(&value, name, out),
                None => {
                    named(3, name, out);
                    document(fields.iter().map(|(name, value)| (name.as_str(), value)), out);
                }
            },
        }
    }
}

fn named(kind: u8, name: &str, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend(raw(name));
    out.push(0);
}

/// A value of which the library knows the bytes: those of a document of one nameless field, less what surrounds it.
fn plain(value: &Bson, name: &str, out: &mut Vec<u8>) {
    let alone = serialize_to_vec(&doc! { "": value.clone() }).expect("BSON");
    let (kind, rest) = (alone[4], &alone[6..alone.len() - 1]);
    named(kind, name, out);
    out.extend(rest);
}

fn document<'j>(fields: impl Iterator<Item = (&'j str, &'j Json)>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend([0; 4]);
    for (name, value) in fields {
        value.element(name, out);
    }
    out.push(0);
    let length = u32::try_from(out.len() - start).expect("short").to_le_bytes();
    out[start..start + 4].copy_from_slice(&length);
}

fn raw(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for c in text.chars() {
        if c == BYTE_FF { bytes.push(0xFF) } else { bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()) }
    }
    bytes
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Values)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Plain(Bson::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Plain(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Plain(i32::try_from(value).map_or(Bson::Int64(value), Bson::Int32)))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Json, E> {
        self.visit_i64(i64::try_from(value).map_err(E::custom)?)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Plain(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Json, A::Error> {
        let mut all = Vec::new();
        while let Some(element) = elements.next_element()? {
            all.push(element);
        }
        Ok(Json::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Json, A::Error> {
        let mut all = Vec::new();
        while let Some(field) = fields.next_entry()? {
            all.push(field);
        }
        Ok(Json::Object(all))
    }
}

#[test]
fn what_the_library_can_read_becomes_the_same_document() {
    let text = r#"{"_id": 1, "a": {"b": [1, 2.5, "x", null, true, {"c": 3000000000}]}, "d": {"$date": "2020-01-01T00:00:00Z"},
        "u": {"$uuid": "00112233-4455-6677-8899-aabbccddeeff"}, "r": {"$regularExpression": {"pattern": "a", "options": "i"}}}"#;
    let ours = Json::read_all(text).expect("JSON").remove(0).document();
    let theirs: Document = serde_json::from_str(text).expect("Extended JSON");
    assert_eq!(ours.as_bytes(), serialize_to_vec(&theirs).expect("BSON"));
    let odd = Json::read_all(r#"{"a": "\xff", "a": 1}"#).expect("JSON").remove(0).document();
    assert_eq!(odd.as_bytes(), b"\x15\0\0\0\x02a\0\x02\0\0\0\xff\0\x10a\0\x01\0\0\0\0");
}
