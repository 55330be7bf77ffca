//! The change stream: one for the whole source, read as raw batches.
//!
//! In: a position, or none. Out: batches of changes in source order, and how far the stream has got. Invariants: a
//! position or watermark that is given out has nothing before it that was not given out; a boundary is never inside a
//! transaction; whatever an event is, it moves the stream on. An error ends the stream, and the caller opens another one
//! from the position it has committed.
//!
//! One error is met here: an event that is too large. `$changeStreamSplitLargeEvent` cuts between top-level fields only,
//! and its own limit is lower by four to six times the length of the `_id`: with an `_id` over about 1.5 kB, the insert of
//! a document of nearly 16 MiB fails with the stage (7182500) and passes without (measured on 8.2), while an event with
//! two large fields passes only with it (10334). So on either error the stream goes on the other way, once.

use std::time::Duration;

use bson::spec::BinarySubtype;
use bson::{RawArrayBuf, RawDocumentBuf, rawdoc};
use tracing::warn;

use super::assembly::{Assembly, StreamBatch};
use super::faults::{Site, TOO_LARGE, classify, malformed, server_code};
use super::probe::{Probe, Topology};
use super::replies::{Ahead, Answer, Replies};
use super::reply::Reply;
use super::{EVENTS, More, Source, primary};
use crate::error::{Error, Kind, Result, Stage};
use crate::model::position::{ClusterTime, Position};

/// How long the server waits for a change before it answers that there is none. The end of a transaction is known only by
/// such an answer, so on an idle source this delays the last change of a transaction (no other); 25 ms costs mongod about
/// 3 % of one core and us 1 %; with 10 ms it is 4 %, with 100 ms 0.6 % (measured on 8.2 with one idle stream).
const IDLE_ANSWER: Duration = Duration::from_millis(25);
const DOING: &str = "follow the change stream";

/// Which options the stream is opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// `showRawUpdateDescription`.
    pub(super) raw: bool,
    /// `showMigrationEvents`.
    pub(super) migration_events: bool,
    /// `$changeStreamSplitLargeEvent`.
    pub(super) split: bool,
}

/// An open change stream. Dropping it closes the cursor.
#[derive(Debug)]
pub struct ChangeStream {
    source: Source,
    replies: Ahead,
    first: Option<Reply>,
    shape: Shape,
    /// What the server grants may be tried the other way when an event is too large.
    may_split: bool,
    /// True from such a change until an event came.
    changed_ways: bool,
    assembly: Assembly,
}

impl Source {
    /// Opens the stream after `from`, or from now on; then [`ChangeStream::position`] is where it starts.
    ///
    /// # Errors
    /// [`Kind::HistoryLost`] when the oplog no longer reaches back to `from`.
    pub async fn open_stream(&self, probe: &Probe, from: Option<&Position>) -> Result<ChangeStream> {
        let site = self.site(Stage::Source, "open the change stream");
        let mut shape = probe.shape();
        let mut opened = self.open_cursor(shape, from, site).await?;
        if opened.as_ref().is_err_and(too_large) && shape.split {
            shape.split = false;
            opened = self.open_cursor(shape, from, site).await?;
        }
        let (replies, first) = opened.map_err(|error| classify(&error, site))?;
        let start = match from {
            Some(from) => Some(from.clone()),
            None => first.resume_token(site)?,
        };
        let Some(position) = start else {
            let message = format!("{} opened a change stream and gave no resume token", self.inner.hosts);
            return Err(Error::new(Kind::Unsupported, Stage::Source, message));
        };
        Ok(ChangeStream {
            source: self.clone(),
            replies: Ahead::new(replies, DOING),
            // The first reply of a new stream is empty because it was asked to be, which says nothing about the source.
            first: from.map(|_| first),
            shape,
            may_split: probe.split_large_events,
            changed_ways: false,
            assembly: Assembly::new(position, probe.topology == Topology::Sharded),
        })
    }

    async fn open_cursor(&self, shape: Shape, from: Option<&Position>, site: Site<'_>) -> Answer<(Replies, Reply)> {
        let more = More { wait: Some(IDLE_ANSWER), documents: Some(EVENTS), ..More::default() };
        self.open("admin", command(shape, from)?, primary(), more, site).await
    }
}

fn too_large(error: &mongodb::error::Error) -> bool {
    server_code(error).is_some_and(|code| TOO_LARGE.contains(&code))
}

/// The `aggregate` that opens the stream.
pub(super) fn command(shape: Shape, from: Option<&Position>) -> Result<RawDocumentBuf> {
    let mut options = rawdoc! { "allChangesForCluster": true, "showExpandedEvents": true };
    if shape.raw {
        options.append(bson::cstr!("showRawUpdateDescription"), true);
    }
    if shape.migration_events {
        options.append(bson::cstr!("showMigrationEvents"), true);
    }
    if let Some(from) = from {
        match from.token() {
            Some((data, type_bits)) => {
                let mut token = rawdoc! { "_data": data };
                if !type_bits.is_empty() {
                    let type_bits = bson::Binary { subtype: BinarySubtype::Generic, bytes: type_bits };
                    token.append(bson::cstr!("_typeBits"), type_bits);
                }
                options.append(bson::cstr!("resumeAfter"), token);
            }
            // The events of that time come again (it is inclusive), and `Assembly` passes them over.
            None => {
                let ClusterTime { seconds: time, ordinal: increment } = from.cluster_time();
                options.append(bson::cstr!("startAtOperationTime"), bson::Timestamp { time, increment });
            }
        }
    }
    let mut pipeline = RawArrayBuf::new();
    pipeline.push(rawdoc! { "$changeStream": options });
    if shape.split {
        pipeline.push(rawdoc! { "$changeStreamSplitLargeEvent": {} });
    }
    // A new stream must give its start before any event; a resumed one shall fail here when its history is lost.
    let cursor = if from.is_some() {
        rawdoc! {}
    } else {
        rawdoc! { "batchSize": 0 }
    };
    Ok(rawdoc! { "aggregate": 1, "pipeline": pipeline, "cursor": cursor, "readConcern": { "level": "majority" } })
}

impl ChangeStream {
    /// Everything up to here has been given out by [`ChangeStream::next`].
    #[must_use]
    pub fn position(&self) -> &Position {
        self.assembly.position()
    }

    /// The next answer of the server; comes within some tens of milliseconds even when nothing changes.
    ///
    /// # Errors
    /// Any error ends the stream: open another one from the last committed position.
    ///
    /// Cancel-safe: a call that is dropped while it waits loses no change, at worst the stream ends with an error.
    pub async fn next(&mut self) -> Result<StreamBatch> {
        let source = self.source.clone();
        let site = source.site(Stage::Source, DOING);
        let reply = match self.first.take() {
            Some(first) => first,
            None => self.reply(site).await?,
        };
        self.changed_ways &= reply.is_empty().map_err(|error| malformed(error, site))?;
        self.assembly.batch(&reply, site)
    }

    async fn reply(&mut self, site: Site<'_>) -> Result<Reply> {
        match self.replies.try_next().await? {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => {
                let message = format!("{} closed the change stream", site.hosts);
                Err(Error::new(Kind::Interrupted, Stage::Source, message))
            }
            Err(error) => {
                if !too_large(&error) || !self.may_split || self.changed_ways || self.assembly.is_in_parts() {
                    return Err(classify(&error, site));
                }
                warn!(
                    splitting = !self.shape.split,
                    "an event is too large for how the stream is read; trying the other way"
                );
                self.changed_ways = true;
                self.shape.split = !self.shape.split;
                let opened = self.source.open_cursor(self.shape, Some(self.assembly.seen()), site).await?;
                let (replies, first) = opened.map_err(|error| classify(&error, site))?;
                self.replies = Ahead::new(replies, DOING);
                Ok(first)
            }
        }
    }
}
