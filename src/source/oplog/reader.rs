//! The oplog followed: a tailable cursor on `local.oplog.rs`, read as raw batches.
//!
//! In: a position, or none. Out: batches of changes in source order, as the change stream gives them. Invariants: nothing
//! is read that a rollback could take back (majority read concern, which such a cursor keeps from batch to batch; measured
//! on 8.2); a position that is given out has nothing before it that was not given out, and is never inside an entry or a
//! transaction; on every open the first entry proves that nothing was skipped. A cursor that is left behind goes dead
//! without an error (measured on 8.2), which ends the reader here; what opens next finds out whether history is lost.

use std::time::Duration;

use bson::{RawDocumentBuf, Timestamp, rawdoc};

use super::chain::Chain;
use super::decode::{Decoder, damaged};
use super::entry::{Effect, Entry, OpTime};
use crate::error::{Error, Kind, Result, Stage};
use crate::model::bson::Doc;
use crate::model::change::Change;
use crate::model::position::{ClusterTime, Position};
use crate::source::assembly::StreamBatch;
use crate::source::faults::{LOST, Site, classify, malformed};
use crate::source::probe::Probe;
use crate::source::replies::Ahead;
use crate::source::reply::Reply;
use crate::source::{EVENTS, More, Source, primary};

/// How long the server waits for an entry before it answers that there is none.
const IDLE_ANSWER: Duration = Duration::from_millis(25);
const DOING: &str = "follow the oplog";
/// Bytes of changes that are given out together: they are copies of what lies in the reply, and nobody's yet.
const CHANGES: usize = 2 << 20;

/// An open reader. Dropping it closes the cursor.
#[derive(Debug)]
pub struct OplogReader {
    source: Source,
    replies: Ahead,
    /// A reply that is not done, and how many of its entries are.
    reply: Option<(Reply, usize)>,
    /// A transaction whose earlier entries are being read back.
    chain: Option<Chain>,
    /// The last entry of a transaction whose earlier ones are read.
    chain_read: Option<OpTime>,
    /// Entries up to here are done already.
    done: ClusterTime,
    unfold: Unfold,
    /// Everything up to here has been given out.
    position: Position,
}

/// Makes changes of operations.
#[derive(Debug, Default)]
struct Unfold {
    decoder: Decoder,
    /// The last change of a transaction so far: whether it is the end is not known yet.
    held: Option<Change>,
}

impl Source {
    /// Opens the oplog after `from`, or after its newest entry.
    ///
    /// # Errors
    /// [`Kind::HistoryLost`] when it no longer reaches back to `from`, or is another one.
    pub async fn open_oplog(&self, probe: &Probe, from: Option<&Position>) -> Result<OplogReader> {
        let site = self.site(Stage::Source, "open the oplog");
        let from = match from {
            Some(from) => from.clone(),
            None => self.newest_entry(site).await?,
        };
        let opened = self.open("local", tail(from.cluster_time()), primary(), waiting(), site).await?;
        let (replies, first) = opened.map_err(|error| classify(&error, site))?;
        self.prove(&first, &from, site).await?;
        let done = if from.is_after_its_time() { from.cluster_time() } else { ClusterTime::default() };
        let decoder = Decoder::of_server(probe.is_shard);
        Ok(OplogReader {
            source: self.clone(),
            replies: Ahead::new(replies, DOING),
            reply: Some((first, 0)),
            chain: None,
            chain_read: None,
            done,
            unfold: Unfold { decoder, held: None },
            position: from,
        })
    }

    /// The newest entry that a majority has.
    async fn newest_entry(&self, site: Site<'_>) -> Result<Position> {
        let command = rawdoc! {
            "find": "oplog.rs", "sort": { "$natural": -1 }, "limit": 1, "singleBatch": true,
            "projection": { "ts": 1, "t": 1 }, "readConcern": { "level": "majority" },
        };
        let opened = self.open("local", command, primary(), More::default(), site).await?;
        let (_, reply) = opened.map_err(|error| classify(&error, site))?;
        match first_entry(&reply, site)? {
            Some(at) => Ok(Position::after(at.time, Some(at.term))),
            None => Err(Error::new(Kind::Interrupted, Stage::Source, format!("the oplog of {} is empty", site.hosts))),
        }
    }

    /// The entry that a position is after must still be there, or, where the position names none, an older one.
    async fn prove(&self, first: &Reply, from: &Position, site: Site<'_>) -> Result<()> {
        let wanted = from.cluster_time();
        let lost = |what: &str| {
            let message = format!("the oplog of {} {what} (position {wanted})", site.hosts);
            Err(Error::new(Kind::HistoryLost, Stage::Source, message).remedy(LOST))
        };
        let found = first_entry(first, site)?;
        if let Some(found) = found.filter(|found| found.time == wanted) {
            let same = from.term().is_none_or(|term| term == found.term);
            return if same { Ok(()) } else { lost("has another entry at that time: it is of another history") };
        }
        if from.is_after_its_time() {
            return match found {
                Some(_) => lost("no longer has the entry that was read last"),
                None => lost("ends before the entry that was read last"),
            };
        }
        match self.oplog_window().await? {
            Some(window) if window.first <= wanted => Ok(()),
            Some(_) => lost("begins later"),
            None => {
                let message = format!("cannot look at the oldest entry of the oplog of {}", site.hosts);
                Err(Error::new(Kind::Permission, Stage::Source, message)
                    .remedy("grant the user the role read on the database local"))
            }
        }
    }
}

fn waiting() -> More {
    More { wait: Some(IDLE_ANSWER), documents: Some(EVENTS), ..More::default() }
}

/// The `find` that tails the oplog. By `ts` the server finds its start without a scan.
fn tail(from: ClusterTime) -> RawDocumentBuf {
    let from = Timestamp { time: from.seconds, increment: from.ordinal };
    rawdoc! {
        "find": "oplog.rs", "filter": { "ts": { "$gte": from } }, "tailable": true, "awaitData": true,
        "readConcern": { "level": "majority" },
    }
}

pub(super) fn first_entry(reply: &Reply, site: Site<'_>) -> Result<Option<OpTime>> {
    let malformed = |error| malformed(error, site);
    let first = reply.documents().map_err(malformed)?.next().transpose().map_err(malformed)?;
    first.map(|entry| OpTime::of(entry).map_err(malformed)).transpose()
}

/// What stopped the reading of a reply.
enum Stop {
    /// All its entries are done.
    End,
    /// There are enough changes for now.
    Enough,
    /// A transaction ends with the next one, and has earlier entries.
    Chain(OpTime, OpTime),
}

impl OplogReader {
    /// Everything up to here has been given out by [`OplogReader::next`].
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The next changes; comes within some tens of milliseconds even when there are none.
    ///
    /// # Errors
    /// Any error ends the reader: open another one from the last committed position.
    ///
    /// A call that is dropped while it waits may end the reader with an error, and loses no change.
    pub async fn next(&mut self) -> Result<StreamBatch> {
        let source = self.source.clone();
        let site = source.site(Stage::Source, DOING);
        if let Some(batch) = self.next_of_chain(site).await? {
            return Ok(batch);
        }
        let (reply, done) = match self.reply.take() {
            Some(unfinished) => unfinished,
            None => (self.fetch(site).await?, 0),
        };
        let empty = reply.is_empty().map_err(|error| malformed(error, site))?;
        let reported = reply.operation_time().map_err(|error| malformed(error, site))?.unwrap_or_default();
        let mut changes = Vec::new();
        let (read, stop) = self.read(&reply, done, &mut changes, site)?;
        if let Stop::Chain(at, previous) = stop {
            self.chain = Some(Chain::back_from(&self.source, at, previous).await?);
        }
        let whole = self.chain.is_none();
        let more = !matches!(stop, Stop::End);
        if more {
            self.reply = Some((reply, read));
        }
        let server_time = reported.max(self.position.cluster_time());
        let caught_up = !more && (empty || self.position.cluster_time() >= server_time);
        Ok(StreamBatch { changes, watermark: whole.then(|| self.position.clone()), server_time, caught_up })
    }

    /// The changes of the next entry of a chain; `None` when there is none.
    async fn next_of_chain(&mut self, site: Site<'_>) -> Result<Option<StreamBatch>> {
        let Some(chain) = &mut self.chain else { return Ok(None) };
        let last = chain.at;
        let Some(part) = chain.next(&self.source).await? else {
            self.chain = None;
            self.chain_read = Some(last);
            return Ok(None);
        };
        let at = Position::after(last.time, Some(last.term));
        let mut changes = Vec::new();
        let entry = first_document(&part, site)?;
        if let Effect::Part { operations, .. } = Entry::read(entry).map_err(damaged)?.effect {
            self.unfold.operations(&operations, &at, &mut changes)?;
        }
        let server_time = self.source.newest().max(at.cluster_time());
        Ok(Some(StreamBatch { changes, watermark: None, server_time, caught_up: false }))
    }

    async fn fetch(&mut self, site: Site<'_>) -> Result<Reply> {
        match self.replies.try_next().await? {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => {
                let message =
                    format!("{} closed the cursor on the oplog, which is behind or lost its place", site.hosts);
                Err(Error::new(Kind::Interrupted, Stage::Source, message))
            }
            Err(error) => Err(classify(&error, site)),
        }
    }

    /// Reads the entries of a reply after the first `done`; says how many are done then.
    fn read(&mut self, reply: &Reply, done: usize, changes: &mut Vec<Change>, site: Site<'_>) -> Result<(usize, Stop)> {
        let malformed = |error| malformed(error, site);
        let mut read = done;
        let mut weight = 0;
        for entry in reply.documents().map_err(malformed)?.skip(done) {
            let entry = Entry::read(entry.map_err(malformed)?).map_err(damaged)?;
            if let Some(previous) = self.chain_before(&entry) {
                return Ok((read, Stop::Chain(entry.at, previous)));
            }
            if weight >= CHANGES {
                return Ok((read, Stop::Enough));
            }
            let before = changes.len();
            self.entry(&entry, changes)?;
            weight += changes.iter().skip(before).map(Change::weight).sum::<usize>();
            read += 1;
        }
        Ok((read, Stop::End))
    }

    /// The entry before in the chain of a transaction that ends here, when that is still to be read.
    fn chain_before(&self, entry: &Entry<'_>) -> Option<OpTime> {
        let wanted = entry.at.time > self.done && self.chain_read != Some(entry.at);
        match &entry.effect {
            Effect::Operations { previous, .. } if wanted => *previous,
            Effect::Operations { .. } | Effect::Part { .. } | Effect::Nothing => None,
        }
    }

    fn entry(&mut self, entry: &Entry<'_>, changes: &mut Vec<Change>) -> Result<()> {
        if entry.at.time <= self.done {
            return Ok(());
        }
        let at = Position::after(entry.at.time, Some(entry.at.term));
        if let Effect::Operations { operations, .. } = &entry.effect {
            self.unfold.operations(operations, &at, changes)?;
            self.unfold.end(changes);
        }
        self.position = at;
        Ok(())
    }
}

impl Unfold {
    fn operations(&mut self, operations: &[Doc<'_>], at: &Position, changes: &mut Vec<Change>) -> Result<()> {
        for operation in operations {
            if let Some(change) = self.decoder.decode(*operation, at)? {
                changes.extend(self.held.replace(change));
            }
        }
        Ok(())
    }

    /// The transaction, or the entry, ends: a commit may follow its last change.
    fn end(&mut self, changes: &mut Vec<Change>) {
        changes.extend(self.held.take().map(|last| Change { boundary: true, ..last }));
    }
}

pub(super) fn first_document<'r>(reply: &'r Reply, site: Site<'_>) -> Result<Doc<'r>> {
    let malformed = |error| malformed(error, site);
    match reply.documents().map_err(malformed)?.next().transpose().map_err(malformed)? {
        Some(document) => Ok(document),
        None => Err(Error::new(Kind::Defect, Stage::Source, "a reply that was not empty has no document")),
    }
}
