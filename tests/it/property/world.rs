//! The databases of one round and what is done to them: commands as raw BSON, since the driver's types refuse what the
//! server takes.

use std::collections::BTreeMap;

use mongodb::bson::{Document, RawDocumentBuf};
use mongodb::error::{Error, ErrorKind};
use mongodb::{ClientSession, Database};

use super::ids::{self, IdKind};
use super::names;
use super::shapes::{self, Field};
use crate::decode::bson::{Fields, Value, decode, encode, fields, get};
use crate::decode::differences::show;
use crate::decode::norm::Norm;
use crate::workload::random::Random;

/// A collection, as far as the generator knows it.
#[derive(Debug, Clone)]
pub struct Known {
    pub name: String,
    pub id_kind: IdKind,
    pub tree: Vec<Field>,
    /// About how many documents it has.
    pub count: usize,
}

/// One operation that was done.
#[derive(Debug)]
struct Done {
    collection: String,
    /// Empty when it was many documents'.
    id: String,
    text: String,
}

/// See the module.
pub struct World {
    pub database: Database,
    pub random: Random,
    pub collections: Vec<Known>,
    /// The transaction that is under way.
    pub session: Option<ClientSession>,
    pub operations: usize,
    /// What MongoDB refused, by its code.
    pub refused: BTreeMap<i32, usize>,
    log: Vec<Done>,
}

impl World {
    /// Nothing is written yet.
    pub fn new(database: Database, mut random: Random) -> Self {
        let mut collections: Vec<Known> = Vec::new();
        for n in 0..3 + random.below(4) {
            collections.push(Self::known(&mut random, n));
        }
        let refused = BTreeMap::new();
        Self { database, random, collections, session: None, operations: 0, refused, log: Vec::new() }
    }

    fn known(random: &mut Random, n: usize) -> Known {
        let name = names::collection(random, n);
        Known { name, id_kind: ids::kind(random), tree: shapes::tree(random, 0), count: 0 }
    }

    /// A collection by chance.
    pub fn some(&mut self) -> usize {
        self.random.below(self.collections.len())
    }

    /// A new document of that collection.
    pub fn new_document(&mut self, which: usize) -> Fields {
        let known = &self.collections[which];
        let id = ids::id(&mut self.random, known.id_kind);
        let mut document = vec![(b"_id".to_vec(), id)];
        document.extend(shapes::document(&mut self.random, &known.tree));
        document
    }

    /// A document that exists.
    pub async fn existing(&mut self, which: usize) -> Option<Fields> {
        let count = self.collections[which].count;
        let skip = self.random.below(count) as i32;
        let command = fields([
            ("find", Value::text(&self.collections[which].name)),
            ("sort", Value::Document(fields([("_id", Value::Int32(1))]))),
            ("skip", Value::Int32(skip)),
            ("limit", Value::Int32(1)),
        ]);
        let command = RawDocumentBuf::from_bytes(encode(&command)).expect("a document");
        let mut found = self.database.run_raw_cursor_command(command).await.expect("MongoDB reads");
        if found.advance().await.expect("MongoDB reads") {
            return Some(decode(found.current().as_bytes()));
        }
        self.collections[which].count = count / 2;
        None
    }

    /// Notes an operation for the message of a failed round.
    pub fn note(&mut self, which: usize, id: Option<&Value>, text: String) {
        let id = id.map(|id| show(Some(&Norm::from_value(id)))).unwrap_or_default();
        self.log.push(Done { collection: self.collections[which].name.clone(), id, text });
    }

    /// The last operations on a document, and on many, of that collection.
    pub fn history(&self, namespace: &str, id: &str) -> Vec<String> {
        const LAST: usize = 20;
        const LONGEST: usize = 700;
        let collection = namespace.split_once('.').map_or(namespace, |(_, name)| name);
        let of_it =
            self.log.iter().filter(|done| done.collection == collection && (done.id.is_empty() || done.id == id));
        let mut last: Vec<String> =
            of_it.rev().take(LAST).map(|done| done.text.chars().take(LONGEST).collect()).collect();
        last.reverse();
        last
    }

    /// Runs a write command; what MongoDB refuses is counted. Returns its reply when it was done.
    pub async fn write(&mut self, command: &Fields) -> Option<Document> {
        let database = self.database.clone();
        self.write_to(&database, command).await
    }

    /// The same on another database.
    pub async fn write_to(&mut self, database: &Database, command: &Fields) -> Option<Document> {
        self.operations += 1;
        let raw = RawDocumentBuf::from_bytes(encode(command)).expect("a document");
        let run = database.run_raw_command(raw);
        let answer = match &mut self.session {
            Some(session) => run.session(session).await,
            None => run.await,
        };
        match answer {
            Ok(reply) => {
                let errors = reply.get_array("writeErrors").ok();
                let code = errors.and_then(|errors| errors.first()?.as_document()?.get_i32("code").ok());
                if let Some(code) = code {
                    *self.refused.entry(code).or_default() += 1;
                }
                Some(reply)
            }
            Err(error) => {
                *self.refused.entry(refusal(&error)).or_default() += 1;
                None
            }
        }
    }

    /// How many operations MongoDB refused.
    pub fn refusals(&self) -> usize {
        self.refused.values().sum()
    }
}

/// The code of an error that says no; any other is a failed test.
fn refusal(error: &Error) -> i32 {
    match &*error.kind {
        ErrorKind::Command(refused) => refused.code,
        ErrorKind::Write(_) => -1,
        // The reply quotes the document, and what it quotes is not UTF-8.
        ErrorKind::BsonDeserialization(_) | ErrorKind::InvalidResponse { .. } | ErrorKind::Bson(_) => -2,
        other => panic!("MongoDB fails: {other:?}"),
    }
}

/// The `_id` of a document.
pub fn id_of(document: &Fields) -> Value {
    get(document, "_id").cloned().expect("every document has an _id")
}
