//! The earlier entries of a transaction that has just taken effect.
//!
//! In: the optime before the last entry's. Out: the entries before that one, the oldest first, read back one by one. They are
//! found by following `prevOpTime`, not kept while they come by: a transaction needs no memory until it takes effect, a
//! prepared one that is older than the reader's start is found too, and one that is aborted costs nothing.

use bson::{RawDocumentBuf, Timestamp, rawdoc};

use super::decode::damaged;
use super::entry::{Effect, Entry, OpTime};
use super::reader::{first_document, first_entry};
use crate::error::{Error, Kind, Result, Stage};
use crate::source::faults::{LOST, Site, classify};
use crate::source::reply::Reply;
use crate::source::{More, Source, primary};

const DOING: &str = "read a transaction back from the oplog";

/// The way back through a transaction.
#[derive(Debug)]
pub struct Chain {
    /// The entry that it takes effect with.
    pub at: OpTime,
    /// Entries to read, the newest first.
    parts: Vec<OpTime>,
}

impl Chain {
    /// Finds the entries before `at`, of which `previous` is the last.
    pub(super) async fn back_from(source: &Source, at: OpTime, previous: OpTime) -> Result<Self> {
        let mut parts = Vec::new();
        let mut next = Some(previous);
        while let Some(part) = next {
            parts.push(part);
            let reply = entry_at(source, part, true).await?;
            let entry = first_document(&reply, source.site(Stage::Source, DOING))?;
            next = match Entry::read(entry).map_err(damaged)?.effect {
                Effect::Part { previous, .. } => previous.filter(|previous| *previous < part),
                Effect::Operations { .. } | Effect::Nothing => return Err(broken(source, part)),
            };
        }
        Ok(Self { at, parts })
    }

    /// The next entry; `None` after the last before `at`.
    pub(super) async fn next(&mut self, source: &Source) -> Result<Option<Reply>> {
        match self.parts.pop() {
            Some(part) => entry_at(source, part, false).await.map(Some),
            None => Ok(None),
        }
    }
}

/// The entry of an optime; for `its_place` without its operations.
async fn entry_at(source: &Source, at: OpTime, its_place: bool) -> Result<Reply> {
    let site: Site<'_> = source.site(Stage::Source, DOING);
    let opened = source.open("local", command(at, its_place), primary(), More::default(), site).await?;
    let (_, reply) = opened.map_err(|error| classify(&error, site))?;
    if first_entry(&reply, site)? == Some(at) { Ok(reply) } else { Err(broken(source, at)) }
}

fn command(at: OpTime, its_place: bool) -> RawDocumentBuf {
    let time = Timestamp { time: at.time.seconds, increment: at.time.ordinal };
    let mut command = rawdoc! {
        "find": "oplog.rs", "filter": { "ts": time }, "limit": 1, "singleBatch": true,
        "readConcern": { "level": "majority" },
    };
    if its_place {
        // The operations are most of it; an empty list in their place keeps its kind.
        let projection = rawdoc! { "o.applyOps": { "$slice": 0 } };
        command.append(bson::cstr!("projection"), projection);
    }
    command
}

fn broken(source: &Source, at: OpTime) -> Error {
    let site = source.site(Stage::Source, DOING);
    let message = format!("the oplog of {} no longer has a part of a transaction (at {})", site.hosts, at.time);
    Error::new(Kind::HistoryLost, Stage::Source, message).remedy(LOST)
}
