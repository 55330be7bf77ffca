//! Ids byte by byte: of every type, also of those that the driver does not make and of values that are not quite right.

use mongodb::bson::{Decimal128, Document, RawArrayBuf, RawDocumentBuf, rawdoc};
use tailwater::mapping::identity;
use tailwater::model::bson::Doc;

use crate::harness::case::Case;

/// A BSON value: its type byte and its bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Id(u8, Vec<u8>);

impl Id {
    pub fn int(n: i32) -> Self {
        Id(0x10, n.to_le_bytes().to_vec())
    }

    pub fn long(n: i64) -> Self {
        Id(0x12, n.to_le_bytes().to_vec())
    }

    pub fn double(n: f64) -> Self {
        Id(0x01, n.to_le_bytes().to_vec())
    }

    pub fn decimal(text: &str) -> Self {
        Id(0x13, text.parse::<Decimal128>().unwrap_or_else(|e| panic!("{text}: {e}")).bytes().to_vec())
    }

    pub fn decimal_bits(bits: u128) -> Self {
        Id(0x13, bits.to_le_bytes().to_vec())
    }

    pub fn text(text: impl AsRef<[u8]>) -> Self {
        Id(0x02, string(text.as_ref()))
    }

    pub fn symbol(text: &str) -> Self {
        Id(0x0E, string(text.as_bytes()))
    }

    pub fn code(text: &str) -> Self {
        Id(0x0D, string(text.as_bytes()))
    }

    pub fn code_with_scope(text: &str, scope: &[(&str, Id)]) -> Self {
        let body = [string(text.as_bytes()), document(scope)].concat();
        Id(0x0F, [length(body.len() + 4).to_vec(), body].concat())
    }

    pub fn regex(pattern: &str, options: &str) -> Self {
        Id(0x0B, format!("{pattern}\0{options}\0").into_bytes())
    }

    pub fn timestamp(seconds: u32, ordinal: u32) -> Self {
        Id(0x11, [ordinal.to_le_bytes(), seconds.to_le_bytes()].concat())
    }

    pub fn date(millis: i64) -> Self {
        Id(0x09, millis.to_le_bytes().to_vec())
    }

    pub fn oid(byte: u8) -> Self {
        Id(0x07, vec![byte; 12])
    }

    pub fn db_pointer(namespace: &str, byte: u8) -> Self {
        Id(0x0C, [string(namespace.as_bytes()), vec![byte; 12]].concat())
    }

    pub fn binary(subtype: u8, bytes: &[u8]) -> Self {
        Id(0x05, [&length(bytes.len()), &[subtype][..], bytes].concat())
    }

    pub fn boolean(yes: bool) -> Self {
        Id(0x08, vec![u8::from(yes)])
    }

    pub fn null() -> Self {
        Id(0x0A, Vec::new())
    }

    pub fn undefined() -> Self {
        Id(0x06, Vec::new())
    }

    pub fn min() -> Self {
        Id(0xFF, Vec::new())
    }

    pub fn max() -> Self {
        Id(0x7F, Vec::new())
    }

    pub fn object(fields: &[(&str, Id)]) -> Self {
        Id(0x03, document(fields))
    }

    pub fn array(elements: &[Id]) -> Self {
        let names: Vec<String> = (0..elements.len()).map(|i| i.to_string()).collect();
        let fields: Vec<_> = names.iter().map(String::as_str).zip(elements.iter().cloned()).collect();
        Id(0x04, document(&fields))
    }

    /// A document with this `_id` first.
    pub fn with(&self, rest: &Document) -> RawDocumentBuf {
        let rest = rest.to_vec().expect("BSON");
        let id = element(b"_id", self);
        let body = [&id, &rest[4..]].concat();
        RawDocumentBuf::from_bytes([&length(body.len() + 4)[..], &body].concat()).expect("a document")
    }

    /// The product's key, in hexadecimal digits.
    pub fn key(&self) -> String {
        let document = self.with(&Document::new());
        let id = Doc::new(document.as_bytes()).expect("a document").get("_id").expect("valid").expect("an id");
        identity::key(id).expect("valid").iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn length(n: usize) -> [u8; 4] {
    i32::try_from(n).expect("short").to_le_bytes()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&length(bytes.len() + 1)[..], bytes, &[0]].concat()
}

fn element(name: &[u8], Id(kind, bytes): &Id) -> Vec<u8> {
    [&[*kind], name, &[0], bytes].concat()
}

fn document(fields: &[(&str, Id)]) -> Vec<u8> {
    let body: Vec<u8> = fields.iter().flat_map(|(name, value)| element(name.as_bytes(), value)).collect();
    [&length(body.len() + 5)[..], &body, &[0]].concat()
}

impl Case {
    /// Inserts a document as it is; `None` when it is stored, else the error's code.
    pub(super) async fn insert_raw(&self, collection: &str, document: &RawDocumentBuf) -> Option<i32> {
        let mut documents = RawArrayBuf::new();
        documents.push(document.clone());
        let command = rawdoc! { "insert": collection, "documents": documents };
        let answer = self.database("db").run_raw_command(command).await.expect("the command runs");
        let errors = answer.get_array("writeErrors").ok()?;
        errors.first()?.as_document()?.get_i32("code").ok()
    }

    /// The same for a document that must be stored.
    pub(super) async fn insert_id(&self, collection: &str, id: &Id, rest: &Document) {
        let refused = self.insert_raw(collection, &id.with(rest)).await;
        assert_eq!(refused, None, "{id:?} in {collection}");
    }
}
