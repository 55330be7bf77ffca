//! An office of two databases, whose writers work alone and in common transactions.

use std::collections::BTreeMap;

use mongodb::Database;

use super::random::Random;
use super::transactions::{Kind, transaction};
use super::writer::Writer;

const COLLECTIONS: usize = 4;

/// See the module.
pub struct Office {
    pub writers: Vec<Writer>,
    random: Random,
    /// What was done, and how often.
    pub done: BTreeMap<String, usize>,
}

impl Office {
    /// Nothing is written yet.
    pub fn new(databases: [Database; 2], seed: u64) -> Self {
        let writer = |(database, n)| {
            let mut writer = Writer::new(database, Random::new(seed, n), COLLECTIONS);
            writer.ddl_every = 60;
            writer
        };
        Self {
            writers: databases.into_iter().zip(0..).map(writer).collect(),
            random: Random::new(seed, 2),
            done: BTreeMap::new(),
        }
    }

    fn count(&mut self, what: &str) {
        *self.done.entry(what.to_owned()).or_default() += 1;
    }

    /// Step number `n`: what is rare comes at its time, the rest by chance.
    pub async fn step(&mut self, n: usize) {
        match n % 100 {
            20 => self.until_committed(Kind::Large, n / 100 % 2 + 1).await,
            40 => self.until_committed(Kind::Many, n / 100 % 2 + 1).await,
            60 => self.until_committed(Kind::Create, n / 100 % 2 + 1).await,
            80 => self.hundreds().await,
            _ if self.random.percent(50) => {
                let several = 1 + self.random.below(2);
                let committed = self.transaction(Kind::Small, several).await;
                self.count(&format!("{several} databases, {}", if committed { "committed" } else { "aborted" }));
            }
            _ => {
                let which = self.random.below(2);
                self.writers[which].step().await.expect("worked");
            }
        }
    }

    /// In one of the databases or in both.
    async fn transaction(&mut self, kind: Kind, several: usize) -> bool {
        let first = if several == 1 { self.random.below(2) } else { 0 };
        let writers = &mut self.writers[first..first + several];
        let mut committed = false;
        let done = transaction(writers, kind).await.map(|done| committed = done);
        writers[0].tolerate(done).expect("a transaction");
        committed
    }

    async fn until_committed(&mut self, kind: Kind, several: usize) {
        while !self.transaction(kind, several).await {
            self.count(&format!("{kind:?}, aborted"));
        }
        self.count(&format!("{kind:?}, {several} databases"));
    }

    async fn hundreds(&mut self) {
        let writer = self.random.pick(&[0, 1]).to_owned();
        let writer = &mut self.writers[writer];
        let which = writer.random.below(COLLECTIONS);
        writer.insert_many(which, 1200).await.expect("inserted");
        writer.delete_many(which, 700).await.expect("deleted");
        self.count("hundreds");
    }
}
