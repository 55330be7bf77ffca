//! One event of the change stream, read in place and put together when it came in parts.
//!
//! In: documents of a batch. Out: the fields that matter, borrowed. Invariant: an event that `$changeStreamSplitLargeEvent`
//! has cut is passed on only when its last part is there, under the last part's token, so nobody can resume in its middle.

use super::catalog::uuid;
use super::reply::time;
use crate::model::bson::{Doc, Document, Malformed, Value};
use crate::model::namespace::CollectionId;
use crate::model::position::ClusterTime;

/// The fields of an event. A field that the event lacks is `None`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fields<'a> {
    /// `operationType`.
    pub(super) operation: &'a [u8],
    /// `_id`, the resume token.
    pub(super) token: Option<Doc<'a>>,
    /// `clusterTime`.
    pub(super) cluster_time: Option<ClusterTime>,
    /// `ns.db`.
    pub(super) database: Option<&'a [u8]>,
    /// `ns.coll`.
    pub(super) collection_name: Option<&'a [u8]>,
    /// `to`, of a rename.
    pub(super) to: Option<Doc<'a>>,
    /// `collectionUUID`.
    pub(super) collection: Option<CollectionId>,
    /// `documentKey`.
    pub(super) key: Option<Doc<'a>>,
    /// `fullDocument`.
    pub(super) document: Option<Doc<'a>>,
    /// `rawUpdateDescription`.
    pub(super) raw_update: Option<Doc<'a>>,
    /// `updateDescription`.
    pub(super) public_update: Option<Doc<'a>>,
    /// `operationDescription.dropTarget`.
    pub(super) drop_target: Option<CollectionId>,
    /// True with `lsid` or `txnNumber`: the event is part of a transaction. Retryable writes do not show theirs
    /// (measured on 8.2).
    pub(super) in_transaction: bool,
    /// `splitEvent`: which part of how many.
    pub(super) part: Option<(i32, i32)>,
}

impl<'a> Fields<'a> {
    /// Reads the fields of `event` over those that are there already.
    pub(super) fn absorb(&mut self, event: Doc<'a>) -> Result<(), Malformed> {
        for element in event.elements() {
            match element? {
                (b"operationType", Value::String(text)) => self.operation = text,
                (b"_id", Value::Document(token)) => self.token = Some(token),
                (b"clusterTime", value) => self.cluster_time = time(Some(value)),
                (b"ns", Value::Document(ns)) => {
                    (self.database, self.collection_name) = (text(ns, "db")?, text(ns, "coll")?);
                }
                (b"to", Value::Document(to)) => self.to = Some(to),
                (b"collectionUUID", value) => self.collection = uuid(Some(value)),
                (b"documentKey", Value::Document(key)) => self.key = Some(key),
                (b"fullDocument", Value::Document(document)) => self.document = Some(document),
                (b"rawUpdateDescription", Value::Document(update)) => self.raw_update = Some(update),
                (b"updateDescription", Value::Document(update)) => self.public_update = Some(update),
                (b"operationDescription", Value::Document(description)) => {
                    self.drop_target = uuid(description.get("dropTarget")?);
                }
                (b"lsid" | b"txnNumber", _) => self.in_transaction = true,
                (b"splitEvent", Value::Document(part)) => self.part = split(part)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// A string field.
pub(super) fn text<'a>(document: Doc<'a>, name: &str) -> Result<Option<&'a [u8]>, Malformed> {
    Ok(match document.get(name)? {
        Some(Value::String(text)) => Some(text),
        _ => None,
    })
}

fn split(part: Doc<'_>) -> Result<Option<(i32, i32)>, Malformed> {
    Ok(match (part.get("fragment")?, part.get("of")?) {
        (Some(Value::Int32(fragment)), Some(Value::Int32(of))) => Some((fragment, of)),
        _ => None,
    })
}

/// Collects the parts of one event.
#[derive(Debug, Default)]
pub(super) struct Parts {
    parts: Vec<Document>,
}

/// What became of a document of the batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is an event by itself.
    Whole,
    /// It is a part, others follow.
    Waiting,
    /// It was the last part: these are all of them.
    Complete(Vec<Document>),
    /// Parts came in another order than they must.
    OutOfOrder,
}

impl Parts {
    /// Takes the next document, whose fields were read.
    pub(super) fn take(&mut self, event: Doc<'_>, fields: &Fields<'_>) -> Step {
        let Some((part, of)) = fields.part else {
            return if self.parts.is_empty() { Step::Whole } else { Step::OutOfOrder };
        };
        self.parts.push(event.to_owned());
        if i32::try_from(self.parts.len()) != Ok(part) || part > of {
            return Step::OutOfOrder;
        }
        if part < of { Step::Waiting } else { Step::Complete(std::mem::take(&mut self.parts)) }
    }

    /// True while parts are missing.
    pub(super) fn is_waiting(&self) -> bool {
        !self.parts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use bson::{Document as Map, doc};

    use super::{Fields, Parts, Step};
    use crate::model::bson::{Doc, Document};

    fn owned(map: &Map) -> Document {
        Document::new(map.to_vec().expect("encodes")).expect("valid")
    }

    fn take(parts: &mut Parts, map: &Map) -> Step {
        let event = owned(map);
        let mut fields = Fields::default();
        fields.absorb(event.as_doc()).expect("valid");
        parts.take(event.as_doc(), &fields)
    }

    #[test]
    fn parts_become_one_event_under_the_last_token() {
        let mut parts = Parts::default();
        let first = doc! { "_id": { "_data": "82AA" }, "operationType": "update", "ns": { "db": "d", "coll": "c" },
        "splitEvent": { "fragment": 1, "of": 2 } };
        let last =
            doc! { "_id": { "_data": "82BB" }, "fullDocument": { "_id": 1 }, "splitEvent": { "fragment": 2, "of": 2 } };
        assert_eq!(take(&mut parts, &first), Step::Waiting);
        assert!(parts.is_waiting());
        let Step::Complete(all) = take(&mut parts, &last) else { panic!("complete") };
        assert!(!parts.is_waiting());
        let mut fields = Fields::default();
        for part in &all {
            fields.absorb(part.as_doc()).expect("valid");
        }
        assert_eq!((fields.operation, fields.database), (&b"update"[..], Some(&b"d"[..])));
        assert_eq!(fields.token.map(Doc::bytes), Some(owned(&doc! { "_data": "82BB" }).as_doc().bytes()));
        assert!(fields.document.is_some());
    }

    #[test]
    fn a_missing_part_is_noticed() {
        let mut parts = Parts::default();
        assert_eq!(take(&mut parts, &doc! { "splitEvent": { "fragment": 2, "of": 3 } }), Step::OutOfOrder);
        let mut parts = Parts::default();
        assert_eq!(take(&mut parts, &doc! { "splitEvent": { "fragment": 1, "of": 3 } }), Step::Waiting);
        assert_eq!(take(&mut parts, &doc! { "operationType": "insert" }), Step::OutOfOrder);
    }
}
