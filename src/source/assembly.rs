//! From replies to batches of changes: the part of the change stream that needs no connection.
//!
//! In: replies in order. Out: changes in source order, and how far they reach. Invariants: those of `stream`. It is a room
//! of its own so that a fuzz target can give it replies that no server sends.

use super::decode::Decoder;
use super::event::{Fields, Parts, Step};
use super::faults::{Site, malformed};
use super::lookahead::Lookahead;
use super::reply::{Held, Reply};
use crate::error::{Error, Kind, Result, Stage};
use crate::model::bson::{Doc, Malformed};
use crate::model::change::Change;
use crate::model::position::{ClusterTime, Position};

/// What one answer of the server brought.
#[derive(Debug)]
pub struct StreamBatch {
    /// Changes in source order. Empty when there was nothing, or nothing of interest.
    pub changes: Vec<Change>,
    /// Where the stream stands, when that is later than the last change and nothing before it is held back.
    pub watermark: Option<Position>,
    /// The server's newest operation when it answered.
    pub server_time: ClusterTime,
    /// True when the server had nothing more and nothing is held back.
    pub caught_up: bool,
}

/// What is known of the stream between two replies.
#[derive(Debug)]
pub(super) struct Assembly {
    sharded: bool,
    start: Position,
    /// The end of the last answer: what was given out, and what is held back.
    seen: Position,
    position: Position,
    parts: Parts,
    lookahead: Lookahead,
    decoder: Decoder,
}

impl Assembly {
    /// For a stream that starts at `position`.
    pub(super) fn new(position: Position, sharded: bool) -> Self {
        Self {
            sharded,
            start: position.clone(),
            seen: position.clone(),
            position,
            parts: Parts::default(),
            lookahead: Lookahead::default(),
            decoder: Decoder::default(),
        }
    }

    /// Everything up to here has been given out.
    pub(super) fn position(&self) -> &Position {
        &self.position
    }

    /// The end of the last reply.
    pub(super) fn seen(&self) -> &Position {
        &self.seen
    }

    /// True while parts of an event are missing.
    pub(super) fn is_in_parts(&self) -> bool {
        self.parts.is_waiting()
    }

    /// The changes of the next reply.
    pub(super) fn batch<H: Held>(&mut self, reply: &Reply<H>, site: Site<'_>) -> Result<StreamBatch> {
        let malformed = |error: Malformed| malformed(error, site);
        let mut changes = Vec::new();
        let mut empty = true;
        for event in reply.documents().map_err(malformed)? {
            self.event(event.map_err(malformed)?, &mut changes, site)?;
            empty = false;
        }
        let token = reply.resume_token(site)?;
        self.seen = token.clone().unwrap_or_else(|| self.seen.clone());
        if self.nothing_more_of_the_transaction(token.as_ref(), empty) {
            self.lookahead.release(&mut changes);
        }
        let complete = self.lookahead.holding().is_none() && !self.parts.is_waiting();
        if let Some(change) = changes.last() {
            self.position = change.position.clone();
        }
        let watermark = token.filter(|token| complete && *token > self.position);
        if let Some(watermark) = &watermark {
            self.position = watermark.clone();
        }
        // A mongos may report less than what its stream has passed already.
        let reported = reply.operation_time().map_err(malformed)?.unwrap_or_default();
        let server_time = reported.max(self.position.cluster_time());
        let caught_up = complete && (empty || self.position.cluster_time() >= server_time);
        Ok(StreamBatch { changes, watermark, server_time, caught_up })
    }

    /// One replica set shows a transaction as a whole, so an answer without events ends it. Of a sharded cluster the
    /// part of another shard may still be on its way until the stream has passed that cluster time.
    fn nothing_more_of_the_transaction(&self, token: Option<&Position>, empty: bool) -> bool {
        let Some(time) = self.lookahead.holding() else { return false };
        token.is_some_and(|token| token.cluster_time() > time) || (empty && !self.sharded && !self.parts.is_waiting())
    }

    fn event(&mut self, event: Doc<'_>, changes: &mut Vec<Change>, site: Site<'_>) -> Result<()> {
        let malformed = |error| malformed(error, site);
        let mut fields = Fields::default();
        fields.absorb(event).map_err(malformed)?;
        match self.parts.take(event, &fields) {
            Step::Whole => self.whole(&fields, changes, site),
            Step::Waiting => Ok(()),
            Step::Complete(parts) => {
                let mut fields = Fields::default();
                for part in &parts {
                    fields.absorb(part.as_doc()).map_err(malformed)?;
                }
                self.whole(&fields, changes, site)
            }
            Step::OutOfOrder => {
                let message = format!("{} sent the parts of a large event out of order", site.hosts);
                Err(Error::new(Kind::Unsupported, Stage::Source, message))
            }
        }
    }

    fn whole(&mut self, fields: &Fields<'_>, changes: &mut Vec<Change>, site: Site<'_>) -> Result<()> {
        let mut change = self.decoder.decode(fields, site)?;
        // From a place of the oplog reader the stream begins with events that lie before it.
        change = change.filter(|change| change.position > self.start);
        let at = match (fields.cluster_time, &change) {
            (Some(at), _) => at,
            (None, Some(change)) => change.position.cluster_time(),
            (None, None) => return Ok(()),
        };
        self.lookahead.push(at, fields.in_transaction, change, changes);
        Ok(())
    }
}
