//! The load: flat users, nested students, and a mixed workload on them. The same seed gives the same load.

use bson::oid::ObjectId;
use bson::{DateTime, Document, doc};
use futures_util::future::try_join_all;
use mongodb::options::{DeleteOneModel, InsertOneModel, UpdateOneModel, WriteModel};
use mongodb::{Client, Namespace};

use crate::Result;
use crate::random::Random;

/// Writes in one command.
const COMMAND: u64 = 1000;
/// Commands at the same time, each for collections of its own, so that the order within a collection is kept.
const WRITERS: usize = 4;

/// Values of the load.
impl Random {
    fn text(&mut self, words: i64) -> String {
        const WORDS: [&str; 8] = ["mill", "station", "harbour", "garden", "winter", "copper", "north", "letter"];
        let word = |at: i64| usize::try_from(at).ok().and_then(|at| WORDS.get(at)).copied().unwrap_or_default();
        (0..words).map(|_| word(self.below(8))).collect::<Vec<_>>().join(" ")
    }

    fn date(&mut self) -> DateTime {
        DateTime::from_millis(1_700_000_000_000 + self.below(50_000_000_000))
    }
}

/// What a collection holds.
#[derive(Clone, Copy)]
pub enum Shape {
    /// Ten scalars, about 300 bytes: one row.
    Users,
    /// Two courses of two exams, a phone and an address: nine rows in five tables, about 750 bytes.
    Students,
}

impl Shape {
    pub fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Students => "students",
        }
    }
}

/// One collection that is written to. Its documents are those with an `_id` from `low` up to and without `high`.
pub struct Feed {
    pub database: String,
    pub collection: String,
    shape: Shape,
    low: i64,
    high: i64,
    /// Gives every update a value that was not there before: MongoDB writes nothing down for others.
    serial: i64,
    random: Random,
}

impl Feed {
    pub fn new(database: &str, collection: &str, shape: Shape) -> Self {
        let seed = database.bytes().chain(collection.bytes()).fold(7, |seed, b| seed * 31 % 1_000_003 + u64::from(b));
        let (database, collection) = (database.to_owned(), collection.to_owned());
        Self { database, collection, shape, low: 0, high: 0, serial: 0, random: Random::new(seed) }
    }

    /// Documents that are there.
    pub fn documents(&self) -> i64 {
        self.high - self.low
    }

    /// The next document to insert.
    pub fn document(&mut self) -> Document {
        let id = self.high;
        self.high += 1;
        match self.shape {
            Shape::Users => user(id, &mut self.random),
            Shape::Students => student(id, &mut self.random),
        }
    }

    fn namespace(&self) -> Namespace {
        Namespace::new(self.database.clone(), self.collection.clone())
    }

    fn insert(&mut self) -> WriteModel {
        let document = self.document();
        InsertOneModel::builder().namespace(self.namespace()).document(document).build().into()
    }

    /// 60 % inserts, 30 % updates, 10 % deletes (of the oldest).
    fn change(&mut self) -> WriteModel {
        let documents = u64::try_from(self.documents()).unwrap_or(0);
        match self.random.below(10) {
            0..=2 if documents > 0 => {
                let filter = doc! { "_id": self.low + self.random.below(documents) };
                let update = self.update();
                UpdateOneModel::builder().namespace(self.namespace()).filter(filter).update(update).build().into()
            }
            3 if documents > 1 => {
                let filter = doc! { "_id": self.low };
                self.low += 1;
                DeleteOneModel::builder().namespace(self.namespace()).filter(filter).build().into()
            }
            _ => self.insert(),
        }
    }

    fn update(&mut self) -> Document {
        self.serial += 1;
        match self.shape {
            Shape::Users => match self.random.below(2) {
                0 => doc! { "$set": { "visits": self.serial } },
                _ => doc! { "$set": { "note": format!("{} {}", self.random.text(5), self.serial) } },
            },
            Shape::Students => match self.random.below(4) {
                0 => doc! { "$set": { "year": self.serial } },
                1 => doc! { "$set": { "phone.work": format!("555-{}", self.serial) } },
                2 => doc! { "$set": { "courses.1.title": format!("{} {}", self.random.text(2), self.serial) } },
                _ => doc! { "$set": { "courses.0.exams.1.points": self.serial } },
            },
        }
    }
}

fn user(id: i64, random: &mut Random) -> Document {
    doc! {
        "_id": id,
        "name": random.text(2),
        "email": format!("{id}@example.org"),
        "token": ObjectId::from_bytes([7; 12]),
        "active": random.below(2) == 0,
        "visits": -1_i64,
        "balance": f64::from(i32::try_from(random.below(1_000_000)).unwrap_or(0)) / 100.0,
        "created": random.date(),
        "country": random.text(1),
        "note": random.text(16),
    }
}

fn student(id: i64, random: &mut Random) -> Document {
    let mut exam = || doc! { "date": random.date(), "points": -1_i64, "remark": random.text(4) };
    let exams = [[exam(), exam()], [exam(), exam()]];
    let courses: Vec<Document> = exams
        .into_iter()
        .map(|exams| doc! { "title": random.text(2), "teacher": random.text(2), "exams": exams.to_vec() })
        .collect();
    doc! {
        "_id": id,
        "name": random.text(2),
        "year": -1_i64,
        "born": random.date(),
        "phone": { "personal": format!("555-{}", random.below(10_000)), "work": "555-0" },
        "address": { "street": random.text(3), "city": random.text(1) },
        "tags": [random.text(1), random.text(1)],
        "courses": courses,
    }
}

/// Inserts so many documents, the collections taking turns.
pub async fn fill(client: &Client, feeds: &mut [Feed], documents: u64) -> Result<()> {
    write(client, feeds, documents, Feed::insert).await
}

/// Makes so many changes of the mixed workload, the collections taking turns.
pub async fn change(client: &Client, feeds: &mut [Feed], changes: u64) -> Result<()> {
    write(client, feeds, changes, Feed::change).await
}

async fn write(client: &Client, feeds: &mut [Feed], writes: u64, next: fn(&mut Feed) -> WriteModel) -> Result<()> {
    let all = u64::try_from(feeds.len())?;
    let mut given = 0;
    let mut shares = Vec::new();
    for part in feeds.chunks_mut(feeds.len().div_ceil(WRITERS).max(1)) {
        given += u64::try_from(part.len())?;
        let before: u64 = shares.iter().map(|(_, share)| share).sum();
        shares.push((part, writes * given / all - before));
    }
    try_join_all(shares.into_iter().map(|(part, share)| write_part(client, part, share, next))).await?;
    Ok(())
}

async fn write_part(client: &Client, feeds: &mut [Feed], writes: u64, next: fn(&mut Feed) -> WriteModel) -> Result<()> {
    let mut models = Vec::new();
    let mut left = writes;
    while left > 0 {
        for feed in feeds.iter_mut().take(usize::try_from(left)?) {
            models.push(next(feed));
            left -= 1;
            if u64::try_from(models.len())? == COMMAND {
                client.bulk_write(std::mem::take(&mut models)).await?;
            }
        }
    }
    if !models.is_empty() {
        client.bulk_write(models).await?;
    }
    Ok(())
}
