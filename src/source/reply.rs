//! One reply of a cursor, read in place.
//!
//! In: the driver's raw batch. Out: borrowed documents and the few fields beside them. It goes through [`model::bson`],
//! because the driver's own iterator stops at names and strings that are not UTF-8, and the server stores such.
//!
//! [`model::bson`]: crate::model::bson

use mongodb::raw_batch_cursor::RawBatch;

use super::faults::{Site, malformed};
use crate::error::{Error, Kind, Result, Stage};
use crate::model::bson::{Doc, Malformed, Value};
use crate::model::position::{ClusterTime, Position};

/// What holds the bytes of a reply: the driver, or a fuzz target.
pub(super) trait Held {
    /// The reply as it lies.
    fn bytes(&self) -> &[u8];
}

impl Held for RawBatch {
    fn bytes(&self) -> &[u8] {
        self.as_raw_document().as_bytes()
    }
}

impl Held for &[u8] {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// A reply to `find`, `aggregate` or `getMore`.
#[derive(Debug)]
pub(super) struct Reply<H = RawBatch>(H);

impl<H: Held> Reply<H> {
    /// Wraps what the driver gave.
    pub(super) fn new(held: H) -> Self {
        Self(held)
    }

    /// Size of the reply in bytes.
    pub(super) fn len(&self) -> usize {
        self.0.bytes().len()
    }

    fn root(&self) -> Result<Doc<'_>, Malformed> {
        Doc::new(self.0.bytes())
    }

    fn cursor(&self) -> Result<Doc<'_>, Malformed> {
        match self.root()?.get("cursor")? {
            Some(Value::Document(cursor)) => Ok(cursor),
            _ => Err(Malformed { at: 0, expected: "the field cursor" }),
        }
    }

    /// The batch.
    pub(super) fn documents(&self) -> Result<impl Iterator<Item = Result<Doc<'_>, Malformed>>, Malformed> {
        for element in self.cursor()?.elements() {
            if let (b"firstBatch" | b"nextBatch", Value::Array(batch)) = element? {
                return Ok(batch.elements().map(|element| {
                    let (_, Value::Document(document)) = element? else {
                        return Err(Malformed { at: 0, expected: "a document in the batch" });
                    };
                    Ok(document)
                }));
            }
        }
        Err(Malformed { at: 0, expected: "a batch in the reply" })
    }

    /// True when the batch has no document.
    pub(super) fn is_empty(&self) -> Result<bool, Malformed> {
        Ok(self.documents()?.next().is_none())
    }

    /// Where the stream stands after this batch.
    pub(super) fn resume_token(&self, site: Site<'_>) -> Result<Option<Position>> {
        let malformed = |error| malformed(error, site);
        match self.cursor().and_then(|cursor| cursor.get("postBatchResumeToken")).map_err(malformed)? {
            Some(Value::Document(token)) => position(token, site).map(Some),
            _ => Ok(None),
        }
    }

    /// The server's newest operation when it replied.
    pub(super) fn operation_time(&self) -> Result<Option<ClusterTime>, Malformed> {
        Ok(time(self.root()?.get("operationTime")?))
    }

    /// The point in time of a snapshot read.
    pub(super) fn at_cluster_time(&self) -> Result<Option<ClusterTime>, Malformed> {
        Ok(time(self.cursor()?.get("atClusterTime")?))
    }
}

/// A cluster time, when the value is one.
pub(super) fn time(value: Option<Value<'_>>) -> Option<ClusterTime> {
    match value {
        Some(Value::Timestamp(seconds, ordinal)) => Some(ClusterTime { seconds, ordinal }),
        _ => None,
    }
}

/// Reads a resume token.
pub(super) fn position(token: Doc<'_>, site: Site<'_>) -> Result<Position> {
    let (mut data, mut type_bits) = (None, &[][..]);
    for element in token.elements() {
        match element.map_err(|error| malformed(error, site))? {
            (b"_data", Value::String(text)) => data = std::str::from_utf8(text).ok(),
            (b"_typeBits", Value::Binary { bytes, .. }) => type_bits = bytes,
            _ => {}
        }
    }
    let position = data.map(|data| Position::from_parts(data, type_bits));
    match position {
        Some(Ok(position)) => Ok(position),
        // The text of a token holds an _id, so it is not shown.
        _ => Err(Error::new(
            Kind::Unsupported,
            Stage::Source,
            format!("{} sent a resume token of an unknown form", site.hosts),
        )),
    }
}
