//! The load: four shapes of documents, and a mixed workload on them. The same seed gives the same load.

use bson::oid::ObjectId;
use bson::{DateTime, Document, doc};
use futures_util::future::try_join_all;
use futures_util::{TryStreamExt as _, stream};
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
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Ten scalars, about 300 bytes: one row.
    Users,
    /// A phone and two courses, about 750 bytes: four rows in three tables.
    Students,
    /// Sixty scalars, about 1.2 kB: one row.
    Wide,
    /// A text, an array of numbers and an array of twenty documents, about 20 kB: 21 rows in two tables.
    Large,
    /// Ten of so many numbers; the first documents have all of them. Updates touch one.
    Sparse(u16),
}

impl Shape {
    pub fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Students => "students",
            Self::Wide => "wide",
            Self::Large => "large",
            Self::Sparse(_) => "sparse",
        }
    }

    /// Rows that a document becomes.
    pub fn rows(self) -> u64 {
        match self {
            Self::Users | Self::Wide | Self::Sparse(_) => 1,
            Self::Students => 4,
            Self::Large => 21,
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
        document(self.shape, id, &mut self.random)
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
                _ => doc! { "$set": { "courses.0.points": self.serial } },
            },
            Shape::Wide => doc! { "$set": { "integer_1": self.serial } },
            Shape::Large => doc! { "$set": { "version": self.serial } },
            Shape::Sparse(columns) => {
                let column = self.random.below(u64::from(columns));
                doc! { "$set": { format!("field_{column}"): self.serial } }
            }
        }
    }
}

fn document(shape: Shape, id: i64, random: &mut Random) -> Document {
    match shape {
        Shape::Users => user(id, random),
        Shape::Students => student(id, random),
        Shape::Wide => wide(id, random),
        Shape::Large => large(id, random),
        Shape::Sparse(columns) => sparse(id, columns, random),
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
        "balance": fraction(random),
        "created": random.date(),
        "country": random.text(1),
        "note": random.text(16),
    }
}

fn student(id: i64, random: &mut Random) -> Document {
    let mut course = || {
        doc! {
            "title": random.text(3), "teacher": random.text(2), "room": random.text(1), "begins": random.date(),
            "ends": random.date(), "points": -1_i64, "passed": random.below(2) == 0, "remark": random.text(12),
        }
    };
    let courses = [course(), course()];
    doc! {
        "_id": id,
        "name": random.text(2),
        "email": format!("{id}@example.org"),
        "year": -1_i64,
        "born": random.date(),
        "tags": [random.text(1), random.text(1)],
        "note": random.text(12),
        "phone": { "personal": format!("555-{}", random.below(10_000)), "work": "555-0" },
        "courses": courses.to_vec(),
    }
}

/// Twelve fields of each of five types.
fn wide(id: i64, random: &mut Random) -> Document {
    let mut document = doc! { "_id": id };
    for at in 1..=12 {
        document.insert(format!("text_{at}"), random.text(2));
        document.insert(format!("integer_{at}"), random.below(1 << 40));
        document.insert(format!("number_{at}"), fraction(random));
        document.insert(format!("date_{at}"), random.date());
        document.insert(format!("switch_{at}"), random.below(2) == 0);
    }
    document
}

fn large(id: i64, random: &mut Random) -> Document {
    let readings: Vec<f64> = (0..500).map(|_| fraction(random)).collect();
    let mut item = || {
        doc! {
            "name": random.text(3), "price": fraction(random), "count": random.below(1000), "since": random.date(),
            "remark": random.text(12),
        }
    };
    let items: Vec<Document> = (0..20).map(|_| item()).collect();
    doc! {
        "_id": id,
        "title": random.text(4),
        "version": -1_i64,
        "text": random.text(1250),
        "readings": readings,
        "items": items,
    }
}

fn sparse(id: i64, columns: u16, random: &mut Random) -> Document {
    /// Documents with every field, so that the first copy makes every column.
    const WHOLE: i64 = 10;
    /// Fields of the others.
    const SOME: usize = 10;
    let mut document = doc! { "_id": id };
    if id < WHOLE {
        document.extend((0..columns).map(|column| (format!("field_{column}"), (-1_i64).into())));
    }
    while document.len() <= SOME.min(columns.into()) {
        document.insert(format!("field_{}", random.below(columns.into())), -random.below(1 << 40) - 1);
    }
    document
}

fn fraction(random: &mut Random) -> f64 {
    f64::from(i32::try_from(random.below(1_000_000)).unwrap_or(0)) / 100.0
}

/// Inserts so many documents, the collections taking turns.
pub async fn fill(client: &Client, feeds: &mut [Feed], documents: u64) -> Result<()> {
    if let [feed] = feeds {
        return pour(client, feed, documents).await;
    }
    write(client, feeds, documents, Feed::insert).await
}

/// Inserts so many documents into one collection, by several commands at a time: their order does not matter.
async fn pour(client: &Client, feed: &mut Feed, documents: u64) -> Result<()> {
    let collection = client.database(&feed.database).collection::<Document>(&feed.collection);
    let commands = (0..documents.div_ceil(COMMAND)).map(|command| {
        let left = documents - command * COMMAND;
        Ok((0..left.min(COMMAND)).map(|_| feed.document()).collect::<Vec<_>>())
    });
    let insert = async |documents| collection.insert_many(documents).await.map(|_| ());
    stream::iter(commands).try_for_each_concurrent(WRITERS, insert).await?;
    Ok(())
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
