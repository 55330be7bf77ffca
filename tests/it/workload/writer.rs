//! One writer at work on the collections of one database. It knows which documents exist, nobody else writes there.

use mongodb::bson::{Bson, Document, doc};
use mongodb::error::{Error, ErrorKind, Result, WriteFailure};
use mongodb::{Collection, Database};

use super::documents::student;
use super::random::Random;
use super::transactions::{Kind, transaction};
use super::updates::update;
use super::values;

/// The type of a collection's `_id`s: one for each collection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum IdKind {
    Int,
    Text,
    ObjectId,
    Uuid,
}

/// What the writer knows of a collection.
#[derive(Debug, Clone)]
pub struct Known {
    pub name: String,
    pub id_kind: IdKind,
    pub ids: Vec<Bson>,
}

/// The writer of one database.
pub struct Writer {
    pub database: Database,
    pub random: Random,
    pub collections: Vec<Known>,
    /// How many of its steps rename, drop or copy a collection: one in so many; 0 for none.
    pub ddl_every: usize,
    pub(super) steps: usize,
    next_id: i32,
    /// Operations that MongoDB refused because of what the document has at that place.
    pub refused: usize,
}

impl Writer {
    /// A writer of `collections` collections named `c0`, `c1` and so on.
    pub fn new(database: Database, random: Random, collections: usize) -> Self {
        const KINDS: [IdKind; 4] = [IdKind::Int, IdKind::Text, IdKind::ObjectId, IdKind::Uuid];
        let known = |i: usize| Known { name: format!("c{i}"), id_kind: KINDS[i % 4], ids: Vec::new() };
        Self {
            database,
            random,
            collections: (0..collections).map(known).collect(),
            ddl_every: 400,
            steps: 0,
            next_id: 0,
            refused: 0,
        }
    }

    /// Inserts that many documents, evenly over the collections.
    pub async fn load(&mut self, documents: usize) -> Result<()> {
        const BATCH: usize = 250;
        let mut left = documents;
        while left > 0 {
            let n = left.min(BATCH);
            let which = left / BATCH % self.collections.len();
            self.insert_many(which, n).await?;
            left -= n;
        }
        Ok(())
    }

    /// Makes that many steps.
    pub async fn work(&mut self, steps: usize) -> Result<()> {
        for _ in 0..steps {
            self.step().await?;
        }
        Ok(())
    }

    /// One operation. What MongoDB refuses because of a document's contents is counted and is no error.
    pub async fn step(&mut self) -> Result<()> {
        self.steps += 1;
        if self.ddl_every > 0 && self.steps.is_multiple_of(self.ddl_every) {
            return self.ddl().await;
        }
        let which = self.random.below(self.collections.len());
        let done = match self.random.below(100) {
            0..3 => self.insert_many_randomly(which).await,
            3..15 => self.insert(which).await,
            15..18 => self.upsert(which).await,
            18..26 => self.replace(which).await,
            26..36 => self.delete(which).await,
            36..38 => self.update_many(which).await,
            38..41 => transaction(std::slice::from_mut(self), Kind::Small).await.map(drop),
            _ => self.update(which).await,
        };
        self.tolerate(done)
    }

    /// What MongoDB refuses because of a document's contents is counted and is no error.
    pub fn tolerate(&mut self, done: Result<()>) -> Result<()> {
        match done {
            Err(error) if refused_by_content(&error) => {
                self.refused += 1;
                Ok(())
            }
            other => other,
        }
    }

    /// A handle of a collection.
    pub fn collection(&self, which: usize) -> Collection<Document> {
        self.database.collection(&self.collections[which].name)
    }

    pub(super) fn new_id(&mut self, which: usize) -> Bson {
        self.next_id += 1;
        let id = match self.collections[which].id_kind {
            IdKind::Int => Bson::Int32(self.next_id),
            IdKind::Text => {
                let odd = ["", "'", "\"", "\\", "é", "名", "Z", "z", "%", " "];
                Bson::String(format!("{}{}{}", self.random.pick(&odd), self.next_id, self.random.pick(&odd)))
            }
            IdKind::ObjectId => Bson::ObjectId(values::object_id(&mut self.random)),
            IdKind::Uuid => values::uuid(&mut self.random),
        };
        self.collections[which].ids.push(id.clone());
        id
    }

    pub(super) fn an_id(&mut self, which: usize) -> Option<Bson> {
        let ids = &self.collections[which].ids;
        if ids.is_empty() { None } else { Some(self.random.pick(ids).clone()) }
    }

    pub(super) fn new_student(&mut self, which: usize) -> Document {
        let id = self.new_id(which);
        student(&mut self.random, id)
    }

    async fn insert(&mut self, which: usize) -> Result<()> {
        let document = self.new_student(which);
        self.collection(which).insert_one(document).await.map(drop)
    }

    async fn insert_many_randomly(&mut self, which: usize) -> Result<()> {
        let n = 2 + self.random.below(30);
        self.insert_many(which, n).await
    }

    /// Inserts that many documents by one command.
    pub async fn insert_many(&mut self, which: usize, n: usize) -> Result<()> {
        let documents: Vec<Document> = (0..n).map(|_| self.new_student(which)).collect();
        self.collection(which).insert_many(documents).await.map(drop)
    }

    async fn upsert(&mut self, which: usize) -> Result<()> {
        let id = self.new_id(which);
        let set = doc! {"$set": {"name": values::text(&mut self.random), "phone.work": "upserted"}};
        self.collection(which).update_one(doc! {"_id": id}, set).upsert(true).await.map(drop)
    }

    async fn replace(&mut self, which: usize) -> Result<()> {
        let Some(id) = self.an_id(which) else { return Ok(()) };
        let document = student(&mut self.random, id.clone());
        self.collection(which).replace_one(doc! {"_id": id}, document).await.map(drop)
    }

    async fn delete(&mut self, which: usize) -> Result<()> {
        let n = if self.random.percent(90) { 1 } else { 8 };
        self.delete_many(which, n).await
    }

    /// Deletes that many of them by one command.
    pub async fn delete_many(&mut self, which: usize, n: usize) -> Result<()> {
        let mut ids = Vec::new();
        for _ in 0..n {
            let count = self.collections[which].ids.len();
            if count > 0 {
                let at = self.random.below(count);
                ids.push(self.collections[which].ids.swap_remove(at));
            }
        }
        self.collection(which).delete_many(doc! {"_id": {"$in": ids}}).await.map(drop)
    }

    async fn update(&mut self, which: usize) -> Result<()> {
        let Some(id) = self.an_id(which) else { return Ok(()) };
        let update = update(&mut self.random, self.steps);
        self.collection(which).update_one(doc! {"_id": id}, update).await.map(drop)
    }

    async fn update_many(&mut self, which: usize) -> Result<()> {
        let ids: Vec<Bson> = (0..6).filter_map(|_| self.an_id(which)).collect();
        let update = match self.random.below(3) {
            0 => doc! {"$set": {"address.$[].zip": values::value(&mut self.random, values::Kind::Number)}},
            1 => doc! {"$rename": {"note": "remark"}, "$currentDate": {"seen": true}},
            _ => doc! {"$inc": {"rollNo": 1}, "$min": {"average": 3.5}, "$unset": {"phone.ext": ""}},
        };
        self.collection(which).update_many(doc! {"_id": {"$in": ids}}, update).await.map(drop)
    }
}

/// Codes by which MongoDB refuses an operation because of what a document has at that place, or since other tests have filled
/// its cache (server's error_codes.yml).
fn refused_by_content(error: &Error) -> bool {
    const BAD_VALUE: i32 = 2;
    const TYPE_MISMATCH: i32 = 14;
    const PATH_NOT_VIABLE: i32 = 28;
    const CONFLICTING_OPERATORS: i32 = 40;
    const TRANSACTION_TOO_LARGE_FOR_CACHE: i32 = 388;
    const EXPECTED_ARRAY: [i32; 4] = [28664, 28689, 28724, 34435];
    let code = match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteError(refused)) => refused.code,
        ErrorKind::Command(refused) => refused.code,
        _ => return false,
    };
    matches!(
        code,
        BAD_VALUE | TYPE_MISMATCH | PATH_NOT_VIABLE | CONFLICTING_OPERATORS | TRANSACTION_TOO_LARGE_FOR_CACHE
    ) || EXPECTED_ARRAY.contains(&code)
}
