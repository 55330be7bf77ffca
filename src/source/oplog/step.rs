//! Where the oplog's reader goes on after the change stream's.
//!
//! In: a committed position. Out: a position from which nothing is given again that lies before it, when there is one. An
//! event's token says that the event is applied, not whether its entry is: only the entry tells.

use bson::{RawDocumentBuf, Timestamp, rawdoc};

use super::decode::damaged;
use super::entry::is_one_step;
use super::reader::{first_document, first_entry};
use crate::error::{Result, Stage};
use crate::model::position::{ClusterTime, Position};
use crate::source::faults::classify;
use crate::source::{More, Source, primary};

impl Source {
    /// `from` as the oplog's reader goes on from it exactly; `None` when a part of an entry may lie before it, or when there
    /// is no such entry.
    pub(in crate::source) async fn in_whole_entries(&self, from: &Position) -> Result<Option<Position>> {
        if !from.is_of_an_event() {
            return Ok(Some(from.clone()));
        }
        let site = self.site(Stage::Source, "find a position in the oplog");
        let command = entry_at(from.cluster_time());
        let opened = self.open("local", command, primary(), More::default(), site).await?;
        let (_, reply) = opened.map_err(|error| classify(&error, site))?;
        let Some(found) = first_entry(&reply, site)? else { return Ok(None) };
        let one = is_one_step(first_document(&reply, site)?).map_err(damaged)?;
        Ok(one.then(|| Position::after(found.time, Some(found.term))))
    }
}

/// The entry without its operations, which are most of it.
fn entry_at(time: ClusterTime) -> RawDocumentBuf {
    let time = Timestamp { time: time.seconds, increment: time.ordinal };
    rawdoc! {
        "find": "oplog.rs", "filter": { "ts": time }, "limit": 1, "singleBatch": true,
        "projection": { "o.applyOps": { "$slice": 0 } }, "readConcern": { "level": "majority" },
    }
}
