//! Writes raw BSON, the counterpart of [`model::bson`]: what that reader yields comes out byte for byte.
//!
//! [`model::bson`]: crate::model::bson

use crate::model::bson::{Document, Malformed, Value};

/// A document being written.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty document.
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; 4] }
    }

    /// Appends an element.
    pub(super) fn put(&mut self, name: &[u8], value: &Value<'_>) {
        self.bytes.push(kind(value));
        self.cstring(name);
        self.value(value);
    }

    /// Ends the document.
    pub(super) fn finish(mut self) -> Result<Document, Malformed> {
        self.bytes.push(0);
        let length = length(self.bytes.len());
        for (byte, digit) in self.bytes.iter_mut().zip(length) {
            *byte = digit;
        }
        Document::new(self.bytes)
    }

    fn cstring(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.bytes.push(0);
    }

    fn string(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(&length(text.len() + 1));
        self.cstring(text);
    }

    fn value(&mut self, value: &Value<'_>) {
        let bytes = &mut self.bytes;
        match value {
            Value::Double(n) => bytes.extend_from_slice(&n.to_le_bytes()),
            Value::String(text) | Value::Code(text) | Value::Symbol(text) => self.string(text),
            Value::Document(doc) | Value::Array(doc) => bytes.extend_from_slice(doc.bytes()),
            Value::Binary { subtype, bytes } => self.binary(*subtype, bytes),
            Value::ObjectId(id) => bytes.extend_from_slice(id),
            Value::Boolean(truth) => bytes.push(u8::from(*truth)),
            Value::DateTime(n) | Value::Int64(n) => bytes.extend_from_slice(&n.to_le_bytes()),
            Value::Regex { pattern, options } => {
                self.cstring(pattern);
                self.cstring(options);
            }
            Value::DbPointer { namespace, id } => {
                self.string(namespace);
                self.bytes.extend_from_slice(id);
            }
            Value::CodeWithScope { code, scope } => {
                // Its own length (4), the string's length (4) and terminator (1).
                bytes.extend_from_slice(&length(9 + code.len() + scope.bytes().len()));
                self.string(code);
                self.bytes.extend_from_slice(scope.bytes());
            }
            Value::Int32(n) => bytes.extend_from_slice(&n.to_le_bytes()),
            Value::Timestamp(seconds, ordinal) => {
                bytes.extend_from_slice(&ordinal.to_le_bytes());
                bytes.extend_from_slice(&seconds.to_le_bytes());
            }
            Value::Decimal128(decimal) => bytes.extend_from_slice(decimal),
            Value::Undefined | Value::Null | Value::MinKey | Value::MaxKey => {}
        }
    }

    fn binary(&mut self, subtype: u8, data: &[u8]) {
        // Subtype 2 repeats the length inside the data, and the reader took it off.
        let old = subtype == 2;
        self.bytes.extend_from_slice(&length(data.len() + if old { 4 } else { 0 }));
        self.bytes.push(subtype);
        if old {
            self.bytes.extend_from_slice(&length(data.len()));
        }
        self.bytes.extend_from_slice(data);
    }
}

/// A length as BSON writes it. No document reaches 2 GiB; one that did would be refused by `Document::new`.
fn length(n: usize) -> [u8; 4] {
    i32::try_from(n).unwrap_or(i32::MAX).to_le_bytes()
}

/// The type byte (bsonspec.org, version 1.1).
fn kind(value: &Value<'_>) -> u8 {
    match value {
        Value::Double(_) => 0x01,
        Value::String(_) => 0x02,
        Value::Document(_) => 0x03,
        Value::Array(_) => 0x04,
        Value::Binary { .. } => 0x05,
        Value::Undefined => 0x06,
        Value::ObjectId(_) => 0x07,
        Value::Boolean(_) => 0x08,
        Value::DateTime(_) => 0x09,
        Value::Null => 0x0A,
        Value::Regex { .. } => 0x0B,
        Value::DbPointer { .. } => 0x0C,
        Value::Code(_) => 0x0D,
        Value::Symbol(_) => 0x0E,
        Value::CodeWithScope { .. } => 0x0F,
        Value::Int32(_) => 0x10,
        Value::Timestamp(..) => 0x11,
        Value::Int64(_) => 0x12,
        Value::Decimal128(_) => 0x13,
        Value::MinKey => 0xFF,
        Value::MaxKey => 0x7F,
    }
}

#[cfg(test)]
mod tests {
    use super::Writer;
    use crate::model::bson::{Doc, Value};

    #[test]
    fn what_is_read_is_written_byte_for_byte() {
        let inner = Doc::new(&[5, 0, 0, 0, 0]).expect("empty");
        let values = [
            Value::Double(-0.0),
            Value::String(b"a\xFF"),
            Value::Document(inner),
            Value::Array(inner),
            Value::Binary { subtype: 2, bytes: b"old" },
            Value::Binary { subtype: 0, bytes: b"" },
            Value::Undefined,
            Value::ObjectId([7; 12]),
            Value::Boolean(true),
            Value::DateTime(-1),
            Value::Null,
            Value::Regex { pattern: b"^a", options: b"i" },
            Value::DbPointer { namespace: b"a.b", id: [1; 12] },
            Value::Code(b"f"),
            Value::Symbol(b"s"),
            Value::CodeWithScope { code: b"g", scope: inner },
            Value::Int32(-5),
            Value::Timestamp(3, 4),
            Value::Int64(i64::MIN),
            Value::Decimal128([9; 16]),
            Value::MinKey,
            Value::MaxKey,
        ];
        let mut writer = Writer::new();
        for value in &values {
            writer.put(value.type_name().as_bytes(), value);
        }
        let written = writer.finish().expect("valid");
        let mut again = Writer::new();
        let read: Vec<_> = written.as_doc().elements().map(|element| element.expect("valid")).collect();
        assert_eq!(read.len(), values.len());
        for ((name, value), wanted) in read.iter().zip(&values) {
            assert_eq!((*name, value), (wanted.type_name().as_bytes(), wanted));
            again.put(name, value);
        }
        assert_eq!(again.finish().expect("valid"), written);
    }
}
