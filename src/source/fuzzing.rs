//! A door for the fuzz targets in `fuzz/`: what the source makes of bytes, without a server. No part of the interface.

use super::assembly::{Assembly, StreamBatch};
use super::faults::Site;
use super::public_form;
use super::reply::Reply;
use super::writer::Writer;
use crate::error::{Result, Stage};
use crate::model::bson::{Doc, Document, Malformed};
use crate::model::position::Position;

/// A change stream that is fed by hand.
#[derive(Debug)]
pub struct Stream(Assembly);

impl Stream {
    /// A stream that starts at `position`.
    #[must_use]
    pub fn new(position: Position, sharded: bool) -> Self {
        Self(Assembly::new(position, sharded))
    }

    /// Takes bytes as the next reply.
    ///
    /// # Errors
    /// As the stream's own `next`.
    pub fn reply(&mut self, bytes: &[u8]) -> Result<StreamBatch> {
        let site = Site { stage: Stage::Source, doing: "follow the change stream", hosts: "none" };
        self.0.batch(&Reply::new(bytes), site)
    }

    /// Everything up to here has been given out.
    #[must_use]
    pub fn position(&self) -> &Position {
        self.0.position()
    }
}

/// The diff of an `updateDescription`; `None` when it has none.
#[must_use]
pub fn public_diff(update: Doc<'_>) -> Option<Document> {
    public_form::diff(update).ok()
}

/// Reads a document and writes it again.
///
/// # Errors
/// When it is malformed.
pub fn rewritten(document: Doc<'_>) -> Result<Document, Malformed> {
    let mut writer = Writer::new();
    for element in document.elements() {
        let (name, value) = element?;
        writer.put(name, &value);
    }
    writer.finish()
}
