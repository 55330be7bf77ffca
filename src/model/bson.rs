//! A reader of raw BSON that never allocates and never gives up on a whole document because of one value.
//!
//! In: bytes as the server sent them. Out: elements in order, names and strings as bytes (the server accepts field
//! names and strings that are not UTF-8, and `bson`'s own iterator stops there). Only a length that does not fit or an
//! unknown type byte is an error, and it names where. Source: bsonspec.org, version 1.1.

use std::fmt;

/// Bytes that are not BSON; `at` is the offset inside the document that was being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Offset in bytes from the start of the (sub)document.
    pub at: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not valid BSON at byte {}: expected {}", self.at, self.expected)
    }
}

impl std::error::Error for Malformed {}

/// A borrowed document or array whose outer length and terminator are right; what lies inside is checked while read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doc<'a>(&'a [u8]);

/// An owned document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document(Box<[u8]>);

/// One value as it lies in the document.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// 64-bit float.
    Double(f64),
    /// String; usually UTF-8, not always.
    String(&'a [u8]),
    /// Embedded document.
    Document(Doc<'a>),
    /// Array; the names of its elements are ignored.
    Array(Doc<'a>),
    /// Binary data with its subtype.
    Binary {
        /// Subtype byte, 4 is a UUID.
        subtype: u8,
        /// The data.
        bytes: &'a [u8],
    },
    /// Deprecated undefined.
    Undefined,
    /// ObjectId.
    ObjectId([u8; 12]),
    /// Boolean.
    Boolean(bool),
    /// Milliseconds since 1970, UTC.
    DateTime(i64),
    /// Null.
    Null,
    /// Regular expression.
    Regex {
        /// The pattern.
        pattern: &'a [u8],
        /// The options, in alphabetical order.
        options: &'a [u8],
    },
    /// Deprecated DBPointer.
    DbPointer {
        /// The namespace it points into.
        namespace: &'a [u8],
        /// The id it points to.
        id: [u8; 12],
    },
    /// JavaScript code.
    Code(&'a [u8]),
    /// Deprecated symbol.
    Symbol(&'a [u8]),
    /// Deprecated JavaScript code with a scope.
    CodeWithScope {
        /// The code.
        code: &'a [u8],
        /// The scope.
        scope: Doc<'a>,
    },
    /// 32-bit integer.
    Int32(i32),
    /// MongoDB's internal timestamp: seconds, ordinal.
    Timestamp(u32, u32),
    /// 64-bit integer.
    Int64(i64),
    /// IEEE 754-2008 decimal, 16 bytes as they lie.
    Decimal128([u8; 16]),
    /// Less than everything.
    MinKey,
    /// More than everything.
    MaxKey,
}

impl<'a> Doc<'a> {
    /// Takes `bytes` as a document.
    ///
    /// # Errors
    /// When the first four bytes are not its length or the last is not zero.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor { bytes, at: 0 };
        let length = cursor.length("a document's length")?;
        match bytes.last() {
            Some(0) if length == bytes.len() && length >= 5 => Ok(Self(bytes)),
            _ => Err(Malformed { at: 0, expected: "a document of the length it states, ended by a zero byte" }),
        }
    }

    /// The bytes, length and terminator included.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// True when it has no element.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.len() <= 5
    }

    /// Its elements, in order.
    #[must_use]
    pub fn elements(self) -> Elements<'a> {
        let body = self.0.get(..self.0.len().saturating_sub(1)).unwrap_or_default();
        Elements { cursor: Cursor { bytes: body, at: 4 } }
    }

    /// The first element of that name, `None` when there is none.
    ///
    /// # Errors
    /// When the document is malformed before it.
    pub fn get(self, name: &str) -> Result<Option<Value<'a>>, Malformed> {
        for element in self.elements() {
            let (found, value) = element?;
            if found == name.as_bytes() {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// A document of the first element of that name alone, byte for byte; `None` when there is none.
    ///
    /// # Errors
    /// When the document is malformed before that element's end.
    pub fn only(self, name: &str) -> Result<Option<Document>, Malformed> {
        let mut elements = self.elements();
        loop {
            let start = elements.cursor.at;
            let Some(element) = elements.next() else { return Ok(None) };
            if element?.0 == name.as_bytes() {
                let element = self.0.get(start..elements.cursor.at).unwrap_or_default();
                // Shorter than the document that it is of, so its length fits.
                let length = i32::try_from(element.len() + 5).unwrap_or(i32::MAX).to_le_bytes();
                return Document::new([&length, element, &[0]].concat()).map(Some);
            }
        }
    }

    /// An owned copy.
    #[must_use]
    pub fn to_owned(self) -> Document {
        Document(self.0.into())
    }
}

impl Document {
    /// Takes `bytes` as a document.
    ///
    /// # Errors
    /// As [`Doc::new`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, Malformed> {
        Doc::new(&bytes)?;
        Ok(Self(bytes.into_boxed_slice()))
    }

    /// A borrowed view.
    #[must_use]
    pub fn as_doc(&self) -> Doc<'_> {
        Doc(&self.0)
    }

    /// Size in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when it has no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_doc().is_empty()
    }
}

/// Iterator over `(name, value)`; ends after the first error.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<(&'a [u8], Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.at >= self.cursor.bytes.len() {
            return None;
        }
        let element = self.cursor.element();
        if element.is_err() {
            self.cursor.at = self.cursor.bytes.len();
        }
        Some(element)
    }
}

#[derive(Debug, Clone)]
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize, expected: &'static str) -> Result<&'a [u8], Malformed> {
        let at = self.at;
        let end = at.checked_add(n).ok_or(Malformed { at, expected })?;
        let taken = self.bytes.get(at..end).ok_or(Malformed { at, expected })?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, expected: &'static str) -> Result<[u8; N], Malformed> {
        let at = self.at;
        self.take(N, expected)?.try_into().map_err(|_| Malformed { at, expected })
    }

    fn length(&mut self, expected: &'static str) -> Result<usize, Malformed> {
        let at = self.at;
        usize::try_from(i32::from_le_bytes(self.array(expected)?)).map_err(|_| Malformed { at, expected })
    }

    fn cstring(&mut self, expected: &'static str) -> Result<&'a [u8], Malformed> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|b| *b == 0).ok_or(Malformed { at: self.at, expected })?;
        let text = self.take(length, expected)?;
        self.at += 1;
        Ok(text)
    }

    fn string(&mut self) -> Result<&'a [u8], Malformed> {
        const EXPECTED: &str = "a string of the length it states, ended by a zero byte";
        let at = self.at;
        let length = self.length(EXPECTED)?;
        match self.take(length, EXPECTED)?.split_last() {
            Some((0, text)) => Ok(text),
            _ => Err(Malformed { at, expected: EXPECTED }),
        }
    }

    fn document(&mut self) -> Result<Doc<'a>, Malformed> {
        let at = self.at;
        let length = Cursor { bytes: self.bytes, at }.length("a document's length")?;
        let bytes = self.take(length, "a document of the length it states")?;
        Doc::new(bytes).map_err(|error| Malformed { at: at + error.at, ..error })
    }

    fn binary(&mut self) -> Result<Value<'a>, Malformed> {
        const EXPECTED: &str = "binary data of the length it states";
        let length = self.length(EXPECTED)?;
        let [subtype] = self.array(EXPECTED)?;
        let bytes = self.take(length, EXPECTED)?;
        // Subtype 2 repeats the length inside the data (bsonspec.org); the inner bytes are the value. MongoDB takes a wrong
        // length too, and tells such data from right ones (seen with `_id`s); there the whole is the value.
        let inner = bytes
            .split_first_chunk::<4>()
            .filter(|(length, rest)| subtype == 2 && usize::try_from(i32::from_le_bytes(**length)) == Ok(rest.len()));
        Ok(Value::Binary { subtype, bytes: inner.map_or(bytes, |(_, rest)| rest) })
    }

    fn code_with_scope(&mut self) -> Result<Value<'a>, Malformed> {
        self.length("the length of code with scope")?;
        Ok(Value::CodeWithScope { code: self.string()?, scope: self.document()? })
    }

    fn element(&mut self) -> Result<(&'a [u8], Value<'a>), Malformed> {
        let at = self.at;
        let [kind] = self.array("an element's type")?;
        let name = self.cstring("a field name ended by a zero byte")?;
        Ok((name, self.value(kind, at)?))
    }

    fn value(&mut self, kind: u8, at: usize) -> Result<Value<'a>, Malformed> {
        Ok(match kind {
            0x01 => Value::Double(f64::from_le_bytes(self.array("a double")?)),
            0x02 => Value::String(self.string()?),
            0x03 => Value::Document(self.document()?),
            0x04 => Value::Array(self.document()?),
            0x05 => self.binary()?,
            0x06 => Value::Undefined,
            0x07 => Value::ObjectId(self.array("an ObjectId")?),
            0x08 => Value::Boolean(self.array::<1>("a boolean")? != [0]),
            0x09 => Value::DateTime(i64::from_le_bytes(self.array("a date")?)),
            0x0A => Value::Null,
            0x0B => Value::Regex { pattern: self.cstring("a pattern")?, options: self.cstring("regex options")? },
            0x0C => Value::DbPointer { namespace: self.string()?, id: self.array("an ObjectId")? },
            0x0D => Value::Code(self.string()?),
            0x0E => Value::Symbol(self.string()?),
            0x0F => self.code_with_scope()?,
            0x10 => Value::Int32(i32::from_le_bytes(self.array("an int32")?)),
            0x11 => {
                let ordinal = u32::from_le_bytes(self.array("a timestamp")?);
                Value::Timestamp(u32::from_le_bytes(self.array("a timestamp")?), ordinal)
            }
            0x12 => Value::Int64(i64::from_le_bytes(self.array("an int64")?)),
            0x13 => Value::Decimal128(self.array("a decimal128")?),
            0x7F => Value::MaxKey,
            0xFF => Value::MinKey,
            _ => return Err(Malformed { at, expected: "a known element type" }),
        })
    }
}

impl Value<'_> {
    /// The name MongoDB's `$type` gives to this type (MongoDB manual, *BSON Types*, alias column).
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Document(_) => "object",
            Value::Array(_) => "array",
            Value::Binary { .. } => "binData",
            Value::Undefined => "undefined",
            Value::ObjectId(_) => "objectId",
            Value::Boolean(_) => "bool",
            Value::DateTime(_) => "date",
            Value::Null => "null",
            Value::Regex { .. } => "regex",
            Value::DbPointer { .. } => "dbPointer",
            Value::Code(_) => "javascript",
            Value::Symbol(_) => "symbol",
            Value::CodeWithScope { .. } => "javascriptWithScope",
            Value::Int32(_) => "int",
            Value::Timestamp(..) => "timestamp",
            Value::Int64(_) => "long",
            Value::Decimal128(_) => "decimal",
            Value::MinKey => "minKey",
            Value::MaxKey => "maxKey",
        }
    }

    /// True for null and undefined, which a column cannot tell from a missing field.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null | Value::Undefined)
    }
}
