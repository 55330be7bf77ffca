//! Oplog entries in a file: `oplog.bson` as `mongodump --oplog` writes it, or Extended JSON.
//!
//! In: a file. Out: changes in the form of every reader, transactions put together. An entry may be written by hand: without
//! `ts` it has no place in the source's history, and is applied whenever it is read; without `ui` its collection is the one
//! that has the name, or one whose UUID is made of the name. Positions never go back.

pub mod extended_json;
mod json;
mod split;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::decode::Decoder;
use super::entry::{Effect, Entry, OpTime};
use crate::error::{Error, Kind, Result, Stage};
use crate::model::bson::Document;
use crate::model::change::{Change, Operation};
use crate::model::namespace::{CollectionId, Namespace};
use crate::model::position::{ClusterTime, Position};
use split::{Place, Splitter, Wrong};

/// What is known before the first entry.
#[derive(Debug, Clone, Default)]
pub struct FileStart {
    /// Everything up to here is applied already.
    pub floor: Option<Position>,
    /// And in these databases, up to there.
    pub lanes: HashMap<String, Position>,
    /// The collections by name.
    pub names: HashMap<Namespace, CollectionId>,
}

/// Reads the changes of a file.
pub struct FileReader {
    path: PathBuf,
    entries: Splitter<BufReader<File>>,
    decoder: Decoder,
    start: FileStart,
    /// Where databases stand by what is read.
    reached: HashMap<Box<str>, Position>,
    /// Parts of transactions that have not taken effect, and where they lie; read again when they do.
    parts: HashMap<OpTime, (Place, Option<OpTime>)>,
    transaction: Option<Transaction>,
    /// The last change, until it is known whether its transaction goes on.
    held: Option<Change>,
    last: Option<Position>,
    skipped: u64,
}

/// A transaction that takes effect: what is to be read of it, the oldest part last, and its last entry.
struct Transaction {
    parts: Vec<Place>,
    last: (Place, Document),
    at: OpTime,
}

impl FileReader {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path, start: FileStart) -> Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            entries: entries(path)?,
            decoder: Decoder::of_file(made_of_name),
            start,
            reached: HashMap::new(),
            parts: HashMap::new(),
            transaction: None,
            held: None,
            last: None,
            skipped: 0,
        })
    }

    /// The time of the first entry that has one.
    ///
    /// # Errors
    /// When the file cannot be read or an entry before that one is damaged.
    pub fn first_time(path: &Path) -> Result<Option<ClusterTime>> {
        let mut entries = entries(path)?;
        while let Some((place, document)) = entries.next().map_err(|wrong| damaged(path, &wrong))? {
            let at = OpTime::of(document.as_doc()).map_err(|error| damaged(path, &(place, error.to_string())))?;
            if at.time != ClusterTime::default() {
                return Ok(Some(at.time));
            }
        }
        Ok(None)
    }

    /// The place after the last entry that has one.
    #[must_use]
    pub fn last(&self) -> Option<&Position> {
        self.last.as_ref()
    }

    /// Changes that were applied before.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The changes of the next entry, or of the next part of a transaction; `None` at the end.
    ///
    /// # Errors
    /// When an entry is damaged or cannot be applied: it names the entry and its place.
    pub fn next_changes(&mut self) -> Result<Option<Vec<Change>>> {
        let mut changes = Vec::new();
        if let Some(mut transaction) = self.transaction.take() {
            let at = transaction.at;
            match transaction.parts.pop() {
                Some(place) => {
                    let document = self.again(place)?;
                    self.decode(place, &document, at, &mut changes)?;
                    self.transaction = Some(transaction);
                }
                None => {
                    let (place, document) = &transaction.last;
                    self.decode(*place, document, at, &mut changes)?;
                    self.end(at, &mut changes);
                }
            }
            return Ok(Some(changes));
        }
        let next = self.entries.next().map_err(|wrong| damaged(&self.path, &wrong))?;
        let Some((place, document)) = next else { return Ok(None) };
        let wrong = |error: crate::model::bson::Malformed| damaged(&self.path, &(place, error.to_string()));
        let entry = Entry::read(document.as_doc()).map_err(wrong)?;
        let at = entry.at;
        match entry.effect {
            Effect::Nothing => self.end(at, &mut changes),
            Effect::Part { previous, .. } => {
                self.parts.insert(at, (place, previous));
            }
            Effect::Operations { previous: None, .. } => {
                self.decode(place, &document, at, &mut changes)?;
                self.end(at, &mut changes);
            }
            Effect::Operations { previous: Some(previous), .. } => {
                let parts = self.chain(place, previous)?;
                self.transaction = Some(Transaction { parts, last: (place, document), at });
            }
        }
        Ok(Some(changes))
    }

    /// The parts of a transaction, the newest first.
    fn chain(&mut self, place: Place, last: OpTime) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        let mut next = Some(last);
        while let Some(part) = next {
            let Some((found, previous)) = self.parts.remove(&part) else {
                let what = format!("it ends a transaction of which the entry at {} is not in the file", part.time);
                return Err(damaged(&self.path, &(place, what)));
            };
            places.push(found);
            next = previous;
        }
        Ok(places)
    }

    /// Reads an entry once more.
    fn again(&self, place: Place) -> Result<Document> {
        let mut file = File::open(&self.path).map_err(|error| unreadable(&self.path, error))?;
        file.seek(SeekFrom::Start(place.offset)).map_err(|error| unreadable(&self.path, error))?;
        let found = Splitter::at(BufReader::new(file), place).next().map_err(|wrong| damaged(&self.path, &wrong))?;
        let gone = || damaged(&self.path, &(place, "it is gone".to_owned()));
        found.map(|(_, document)| document).ok_or_else(gone)
    }

    fn decode(&mut self, place: Place, document: &Document, at: OpTime, changes: &mut Vec<Change>) -> Result<()> {
        let read = Entry::read(document.as_doc());
        let entry = read.map_err(|error| damaged(&self.path, &(place, error.to_string())))?;
        let (Effect::Operations { operations, .. } | Effect::Part { operations, .. }) = entry.effect else {
            return Ok(());
        };
        for operation in operations {
            let decoded = self.decoder.decode(operation, &position(at).unwrap_or_else(beginning));
            let change = decoded.map_err(|error| {
                let message = format!("{}: {}", self.path.display(), named(place));
                Error::new(error.kind(), Stage::Source, message).caused_by(error)
            })?;
            let Some(mut change) = change else { continue };
            self.identify(&mut change);
            if self.place(&mut change, at) {
                changes.extend(self.held.replace(change));
            } else {
                self.skipped += 1;
            }
        }
        Ok(())
    }

    /// The transaction ends, and with it the entry.
    fn end(&mut self, at: OpTime, changes: &mut Vec<Change>) {
        changes.extend(self.held.take().map(|change| Change { boundary: true, ..change }));
        if let Some(position) = position(at)
            && self.last.as_ref().is_none_or(|last| *last < position)
        {
            self.last = Some(position);
        }
    }

    /// Gives a change its position; false when it is applied already. One without a time stands where its database does.
    fn place(&mut self, change: &mut Change, at: OpTime) -> bool {
        let database = &*change.namespace.database;
        let lane = self.start.lanes.get(database).into_iter();
        let done = lane.chain(&self.start.floor).max();
        let reached = self.reached.get(database).or(done);
        let own = position(at);
        if own.as_ref().is_some_and(|own| done.is_some_and(|done| own <= done)) {
            return false;
        }
        let here = own.as_ref().into_iter().chain(reached).max().cloned().unwrap_or_else(beginning);
        change.position = here.clone();
        self.reached.insert(database.into(), here);
        true
    }

    /// Finds the collection of an entry that does not say its UUID, and follows the names.
    fn identify(&mut self, change: &mut Change) {
        let names = &mut self.start.names;
        let by_name = change.collection == made_of_name(&change.namespace);
        if by_name && let Some(known) = names.get(&change.namespace) {
            change.collection = *known;
        }
        match &mut change.operation {
            Operation::Drop => {
                names.remove(&change.namespace);
            }
            Operation::DropDatabase => names.retain(|name, _| name.database != change.namespace.database),
            Operation::Rename { to, drop_target } => {
                names.remove(&change.namespace);
                let victim = names.insert(to.clone(), change.collection);
                if by_name && drop_target.is_none() {
                    *drop_target = victim.filter(|victim| *victim != change.collection);
                }
            }
            Operation::Insert { .. }
            | Operation::Replace { .. }
            | Operation::Update { .. }
            | Operation::Delete { .. }
            | Operation::Retry { .. }
            | Operation::Create => {
                if names.get(&change.namespace) != Some(&change.collection) {
                    names.insert(change.namespace.clone(), change.collection);
                }
            }
        }
    }
}

/// After an entry; `None` when it says no time. A term that it does not say is none.
fn position(at: OpTime) -> Option<Position> {
    (at.time != ClusterTime::default()).then(|| Position::after(at.time, Some(at.term).filter(|term| *term > 0)))
}

/// Before everything.
fn beginning() -> Position {
    Position::after(ClusterTime::default(), None)
}

/// The UUID of a collection that is only known by name: the same in every file.
fn made_of_name(namespace: &Namespace) -> CollectionId {
    let digest = Sha256::digest(format!("tailwater\0collection\0{namespace}"));
    let mut bytes = digest.first_chunk::<16>().copied().unwrap_or_default();
    // Version 8, of the maker's own kind, and the variant of RFC 9562.
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
    *version = (*version & 0x0F) | 0x80;
    *variant = (*variant & 0x3F) | 0x80;
    CollectionId(bytes)
}

fn entries(path: &Path) -> Result<Splitter<BufReader<File>>> {
    const BUFFER: usize = 1 << 20;
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    Splitter::new(BufReader::with_capacity(BUFFER, file)).map_err(|wrong| damaged(path, &wrong))
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::new(Kind::Local, Stage::Source, format!("cannot read {}", path.display())).caused_by(error)
}

fn named(Place { number, line, offset }: Place) -> String {
    let line = line.map(|line| format!("line {line}, ")).unwrap_or_default();
    format!("entry {number} ({line}byte {offset})")
}

fn damaged(path: &Path, (place, what): &Wrong) -> Error {
    let message = format!("{}: {}: {what}", path.display(), named(*place));
    Error::new(Kind::Undeliverable, Stage::Source, message)
}
