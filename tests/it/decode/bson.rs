//! BSON as bytes allow it: names and strings that are not UTF-8, a name twice, any subtype. Read and written here because
//! the driver's own types refuse what the server accepts. Source: bsonspec.org, version 1.1.

use std::fmt;

use mongodb::bson::Decimal128;

/// Fields in order; a name may come twice.
pub type Fields = Vec<(Vec<u8>, Value)>;

/// One value.
#[derive(Clone, PartialEq)]
pub enum Value {
    Double(f64),
    String(Vec<u8>),
    Document(Fields),
    Array(Vec<Value>),
    /// Of subtype 2 the inner bytes.
    Binary(u8, Vec<u8>),
    Undefined,
    ObjectId([u8; 12]),
    Boolean(bool),
    DateTime(i64),
    Null,
    Regex(Vec<u8>, Vec<u8>),
    DbPointer(Vec<u8>, [u8; 12]),
    Code(Vec<u8>),
    Symbol(Vec<u8>),
    CodeWithScope(Vec<u8>, Fields),
    Int32(i32),
    Timestamp(u32, u32),
    Int64(i64),
    Decimal128([u8; 16]),
    MinKey,
    MaxKey,
}

impl Value {
    /// Text.
    pub fn text(text: &str) -> Self {
        Value::String(text.as_bytes().to_vec())
    }

    /// The type byte.
    fn kind(&self) -> u8 {
        match self {
            Value::Double(_) => 0x01,
            Value::String(_) => 0x02,
            Value::Document(_) => 0x03,
            Value::Array(_) => 0x04,
            Value::Binary(..) => 0x05,
            Value::Undefined => 0x06,
            Value::ObjectId(_) => 0x07,
            Value::Boolean(_) => 0x08,
            Value::DateTime(_) => 0x09,
            Value::Null => 0x0A,
            Value::Regex(..) => 0x0B,
            Value::DbPointer(..) => 0x0C,
            Value::Code(_) => 0x0D,
            Value::Symbol(_) => 0x0E,
            Value::CodeWithScope(..) => 0x0F,
            Value::Int32(_) => 0x10,
            Value::Timestamp(..) => 0x11,
            Value::Int64(_) => 0x12,
            Value::Decimal128(_) => 0x13,
            Value::MaxKey => 0x7F,
            Value::MinKey => 0xFF,
        }
    }
}

/// The first field of that name.
pub fn get<'f>(fields: &'f Fields, name: &str) -> Option<&'f Value> {
    fields.iter().find(|(n, _)| n == name.as_bytes()).map(|(_, value)| value)
}

/// A document or a command from pairs.
pub fn fields<const N: usize>(pairs: [(&str, Value); N]) -> Fields {
    pairs.into_iter().map(|(name, value)| (name.as_bytes().to_vec(), value)).collect()
}

/// The bytes of a document.
pub fn encode(fields: &Fields) -> Vec<u8> {
    let mut out = Vec::new();
    write_fields(fields.iter().map(|(name, value)| (name.as_slice(), value)), &mut out);
    out
}

fn write_fields<'f>(fields: impl Iterator<Item = (&'f [u8], &'f Value)>, out: &mut Vec<u8>) {
    with_length(out, 0, |out| {
        for (name, value) in fields {
            out.push(value.kind());
            cstring(name, out);
            write_value(value, out);
        }
        out.push(0);
    });
}

/// Writes a length, then what `write` makes; the length counts `less` bytes fewer.
fn with_length(out: &mut Vec<u8>, less: usize, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = i32::try_from(out.len() - at - less).expect("a length");
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

fn cstring(bytes: &[u8], out: &mut Vec<u8>) {
    assert!(!bytes.contains(&0), "a zero byte ends a name");
    out.extend_from_slice(bytes);
    out.push(0);
}

fn string(bytes: &[u8], out: &mut Vec<u8>) {
    with_length(out, 4, |out| {
        out.extend_from_slice(bytes);
        out.push(0);
    });
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Double(n) => out.extend_from_slice(&n.to_le_bytes()),
        Value::String(s) | Value::Code(s) | Value::Symbol(s) => string(s, out),
        Value::Document(inner) => write_fields(inner.iter().map(|(n, v)| (n.as_slice(), v)), out),
        Value::Array(items) => {
            let names: Vec<String> = (0..items.len()).map(|i| i.to_string()).collect();
            write_fields(names.iter().map(|n| n.as_bytes()).zip(items), out);
        }
        Value::Binary(subtype, bytes) => {
            let inner = if *subtype == 2 { 4 } else { 0 };
            let length = i32::try_from(bytes.len()).expect("a length");
            out.extend_from_slice(&(length + inner).to_le_bytes());
            out.push(*subtype);
            if *subtype == 2 {
                out.extend_from_slice(&length.to_le_bytes());
            }
            out.extend_from_slice(bytes);
        }
        Value::Undefined | Value::Null | Value::MinKey | Value::MaxKey => {}
        Value::ObjectId(id) => out.extend_from_slice(id),
        Value::Boolean(b) => out.push(u8::from(*b)),
        Value::DateTime(n) | Value::Int64(n) => out.extend_from_slice(&n.to_le_bytes()),
        Value::Regex(pattern, options) => {
            cstring(pattern, out);
            cstring(options, out);
        }
        Value::DbPointer(namespace, id) => {
            string(namespace, out);
            out.extend_from_slice(id);
        }
        Value::CodeWithScope(code, scope) => with_length(out, 0, |out| {
            string(code, out);
            write_fields(scope.iter().map(|(n, v)| (n.as_slice(), v)), out);
        }),
        Value::Int32(n) => out.extend_from_slice(&n.to_le_bytes()),
        Value::Timestamp(t, i) => {
            out.extend_from_slice(&i.to_le_bytes());
            out.extend_from_slice(&t.to_le_bytes());
        }
        Value::Decimal128(bytes) => out.extend_from_slice(bytes),
    }
}

/// Reads a document that the server has checked: what is malformed is a failed test.
pub fn decode(bytes: &[u8]) -> Fields {
    let mut cursor = Cursor(bytes);
    let fields = cursor.fields();
    assert!(cursor.0.is_empty(), "bytes after the document");
    fields
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n);
        self.0 = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.take(N).try_into().expect("taken")
    }

    fn length(&mut self) -> usize {
        usize::try_from(i32::from_le_bytes(self.array())).expect("a length")
    }

    fn cstring(&mut self) -> Vec<u8> {
        let end = self.0.iter().position(|b| *b == 0).expect("a zero byte");
        let text = self.take(end).to_vec();
        self.take(1);
        text
    }

    fn string(&mut self) -> Vec<u8> {
        let length = self.length();
        self.take(length).split_last().expect("a zero byte").1.to_vec()
    }

    fn fields(&mut self) -> Fields {
        let length = self.length();
        let mut inner = Cursor(self.take(length - 4));
        let mut fields = Vec::new();
        while inner.0 != [0] {
            let [kind] = inner.array();
            let name = inner.cstring();
            fields.push((name, inner.value(kind)));
        }
        fields
    }

    fn value(&mut self, kind: u8) -> Value {
        match kind {
            0x01 => Value::Double(f64::from_le_bytes(self.array())),
            0x02 => Value::String(self.string()),
            0x03 => Value::Document(self.fields()),
            0x04 => Value::Array(self.fields().into_iter().map(|(_, value)| value).collect()),
            0x05 => {
                let length = self.length();
                let [subtype] = self.array();
                let bytes = self.take(length);
                Value::Binary(subtype, if subtype == 2 { bytes[4..].to_vec() } else { bytes.to_vec() })
            }
            0x06 => Value::Undefined,
            0x07 => Value::ObjectId(self.array()),
            0x08 => Value::Boolean(self.array() != [0]),
            0x09 => Value::DateTime(i64::from_le_bytes(self.array())),
            0x0A => Value::Null,
            0x0B => Value::Regex(self.cstring(), self.cstring()),
            0x0C => Value::DbPointer(self.string(), self.array()),
            0x0D => Value::Code(self.string()),
            0x0E => Value::Symbol(self.string()),
            0x0F => {
                self.length();
                Value::CodeWithScope(self.string(), self.fields())
            }
            0x10 => Value::Int32(i32::from_le_bytes(self.array())),
            0x11 => {
                let i = u32::from_le_bytes(self.array());
                Value::Timestamp(u32::from_le_bytes(self.array()), i)
            }
            0x12 => Value::Int64(i64::from_le_bytes(self.array())),
            0x13 => Value::Decimal128(self.array()),
            0x7F => Value::MaxKey,
            0xFF => Value::MinKey,
            other => panic!("type {other:#x}"),
        }
    }
}

/// Short enough to read in a failed test's message.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 40;
        let lossy = |bytes: &[u8]| {
            let text = format!("\"{}\"", bytes.escape_ascii());
            match text.get(..LONGEST) {
                Some(start) => format!("{start}… ({} bytes)", bytes.len()),
                None => text,
            }
        };
        match self {
            Value::Double(n) => write!(f, "{n:?}"),
            Value::String(s) => write!(f, "{}", lossy(s)),
            Value::Document(inner) => show_fields(inner, f),
            Value::Array(items) => f.debug_list().entries(items).finish(),
            Value::Binary(subtype, bytes) => write!(f, "Binary({subtype}, {})", lossy(bytes)),
            Value::Undefined => write!(f, "undefined"),
            Value::ObjectId(id) => write!(f, "ObjectId({})", id.iter().map(|b| format!("{b:02x}")).collect::<String>()),
            Value::Boolean(b) => write!(f, "{b}"),
            Value::DateTime(n) => write!(f, "Date({n})"),
            Value::Null => write!(f, "null"),
            Value::Regex(pattern, options) => write!(f, "Regex({}, {})", lossy(pattern), lossy(options)),
            Value::DbPointer(namespace, _) => write!(f, "DBPointer({})", lossy(namespace)),
            Value::Code(code) => write!(f, "Code({})", lossy(code)),
            Value::Symbol(symbol) => write!(f, "Symbol({})", lossy(symbol)),
            Value::CodeWithScope(code, scope) => {
                write!(f, "Code({}, ", lossy(code))?;
                show_fields(scope, f)?;
                write!(f, ")")
            }
            Value::Int32(n) => write!(f, "{n}"),
            Value::Timestamp(t, i) => write!(f, "Timestamp({t}, {i})"),
            Value::Int64(n) => write!(f, "Long({n})"),
            Value::Decimal128(bytes) => write!(f, "Decimal({})", Decimal128::from_bytes(*bytes)),
            Value::MinKey => write!(f, "MinKey"),
            Value::MaxKey => write!(f, "MaxKey"),
        }
    }
}

fn show_fields(fields: &Fields, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{{")?;
    for (i, (name, value)) in fields.iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        write!(f, "{comma}{:?}: {value:?}", Value::String(name.clone()))?;
    }
    write!(f, "}}")
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Document, doc, deserialize_from_slice};

    use super::{Value, decode, encode, fields};

    #[test]
    fn what_is_written_reads_back() {
        let inner = fields([("", Value::Null), ("", Value::Binary(2, vec![7])), ("x", Value::MinKey)]);
        let mut all = vec![(vec![0xFF], Value::String(vec![0, 0xFF])), (b"t".to_vec(), Value::Timestamp(1, 2))];
        all.push((b"c".to_vec(), Value::CodeWithScope(b"f()".to_vec(), inner.clone())));
        all.push((
            b"a".to_vec(),
            Value::Array(vec![Value::Document(inner), Value::Regex(b"a".to_vec(), b"i".to_vec())]),
        ));
        assert_eq!(decode(&encode(&all)), all);
    }

    #[test]
    fn the_driver_reads_what_is_written() {
        let document =
            fields([("a", Value::Int32(1)), ("b", Value::text("x")), ("c", Value::Array(vec![Value::Null]))]);
        let read: Document = deserialize_from_slice(&encode(&document)).expect("BSON");
        assert_eq!(read, doc! {"a": 1, "b": "x", "c": [null]});
    }
}
