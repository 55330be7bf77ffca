//! A bank: accounts in several collections, and bankers who move money between them in transactions of every kind. However
//! they end, the sum of all money stays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};
use mongodb::error::Result;
use mongodb::{Client, ClientSession, Collection};
use tokio::task::JoinHandle;

use crate::decode::rows::quote;
use crate::harness::case::Case;
use crate::harness::wait;
use crate::workload::random::Random;

/// Accounts of each place at the start, and the ids that there may be: some accounts are opened and closed.
const ACCOUNTS: i32 = 40;
const IDS: i64 = 60;
const START: i32 = 1000;
const BANKERS: u64 = 3;
/// As fast as an application, not as fast as the machine: what piles up has to be caught up with.
const PACE: Duration = Duration::from_millis(10);
/// One deal in so many of each banker carries padding, so that MongoDB writes a chain of oplog entries.
const LARGE_EVERY: usize = 120;
/// Three of them are more than the 16 MiB of an oplog entry.
const PADDING: usize = 6 << 20;
/// Fields that accounts get in the course of time: new columns among the transfers.
const NEW_FIELDS: usize = 12;

/// Where accounts may lie: in two collections of one database, and in one of another.
const PLACES: [(&str, &str); 3] = [("db", "left"), ("db", "right"), ("other", "third")];

/// Some of the places, with their accounts.
pub struct Bank {
    client: Client,
    prefix: String,
    which: Vec<usize>,
}

/// What a banker does in one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deal {
    /// From one account to another.
    Transfer,
    /// Many of them.
    Many,
    /// An account comes, with money from another.
    Open,
    /// An account goes, its money to another.
    Close,
    /// All of one place pay one account.
    Everybody,
    /// With padding.
    Large,
}

/// What bankers have done.
#[derive(Debug, Default)]
pub struct Done {
    pub committed: BTreeMap<Deal, usize>,
    pub aborted: usize,
    /// Conflicts with other bankers, accounts that are there already, elections.
    pub refused: usize,
    pub last_refusal: String,
}

impl Done {
    /// Adds what was committed to what others have committed.
    pub fn add_to(&self, committed: &mut BTreeMap<Deal, usize>) {
        println!("{self:?}");
        for (deal, n) in &self.committed {
            *committed.entry(*deal).or_default() += n;
        }
    }
}

impl Bank {
    /// Opens the accounts of these places.
    pub async fn open(case: &Case, which: &[usize]) -> Self {
        let bank = Self { client: case.mongo.clone(), prefix: case.prefix.clone(), which: which.to_vec() };
        for place in bank.places() {
            place.insert_many((0..ACCOUNTS).map(|id| doc! {"_id": id, "money": START})).await.expect("inserted");
        }
        bank
    }

    fn places(&self) -> Vec<Collection<Document>> {
        let place = |which: &usize| {
            let (database, collection) = PLACES[*which];
            self.client.database(&format!("{}{database}", self.prefix)).collection(collection)
        };
        self.which.iter().map(place).collect()
    }

    /// The names of its databases.
    pub fn databases(&self) -> Vec<String> {
        self.which.iter().map(|which| format!("{}{}", self.prefix, PLACES[*which].0)).collect()
    }

    /// One statement: what is missing of the sum, then the money of each place.
    pub fn query(&self) -> String {
        let sums: Vec<String> = self
            .which
            .iter()
            .map(|which| PLACES[*which])
            .map(|(database, collection)| {
                let schema = quote(&format!("{}{database}", self.prefix));
                format!("(SELECT coalesce(sum(money), 0) FROM {schema}.{})", quote(collection))
            })
            .collect();
        let expected = i64::from(ACCOUNTS * START) * self.which.len() as i64;
        format!("SELECT {expected} - ({}), {}", sums.join(" + "), sums.join(", "))
    }

    /// Puts bankers to work until `stop`.
    pub fn work(&self, seed: u64, stop: &Arc<AtomicBool>) -> Vec<JoinHandle<Done>> {
        let banker = |n: u64| {
            let (client, places, stop) = (self.client.clone(), self.places(), Arc::clone(stop));
            tokio::spawn(async move {
                let session = client.start_session().await.expect("a session");
                let random = Random::new(seed, 10 + n);
                let mut banker = Banker { places, session, random, deals: 0, done: Done::default() };
                while !stop.load(Ordering::Relaxed) {
                    wait::moment(PACE).await;
                    banker.one_deal().await;
                }
                banker.done
            })
        };
        (0..BANKERS).map(banker).collect()
    }
}

struct Banker {
    places: Vec<Collection<Document>>,
    session: ClientSession,
    random: Random,
    deals: usize,
    done: Done,
}

impl Banker {
    /// One transaction. Where it fails, nobody needs to know whether it was committed: the sum is the same.
    async fn one_deal(&mut self) {
        const SHOWN: usize = 160;
        let deal = self.next_deal();
        match self.transaction(deal).await {
            Ok(true) => *self.done.committed.entry(deal).or_default() += 1,
            Ok(false) => self.done.aborted += 1,
            Err(error) => {
                self.done.refused += 1;
                self.done.last_refusal = format!("{deal:?}: {error}").chars().take(SHOWN).collect();
                // After an error that has ended the transaction there is nothing left to abort.
                let _ = self.session.abort_transaction().await;
            }
        }
    }

    fn next_deal(&mut self) -> Deal {
        self.deals += 1;
        if self.deals % LARGE_EVERY == LARGE_EVERY / 4 {
            return Deal::Large;
        }
        match self.random.below(100) {
            0..60 => Deal::Transfer,
            60..72 => Deal::Many,
            72..84 => Deal::Open,
            84..96 => Deal::Close,
            _ => Deal::Everybody,
        }
    }

    /// True when it is committed, false when it is not meant to be.
    async fn transaction(&mut self, deal: Deal) -> Result<bool> {
        self.session.start_transaction().await?;
        match deal {
            Deal::Transfer => self.transfers(1).await,
            Deal::Many => {
                let n = 3 + self.random.below(20);
                self.transfers(n).await
            }
            Deal::Open => self.open().await,
            Deal::Close => self.close().await,
            Deal::Everybody => self.everybody().await,
            Deal::Large => self.large().await,
        }?;
        let commits = self.random.percent(90);
        if commits {
            self.session.commit_transaction().await?
        } else {
            self.session.abort_transaction().await?
        }
        Ok(commits)
    }

    fn place(&mut self) -> Collection<Document> {
        self.random.pick(&self.places).clone()
    }

    /// An account that was there at the start, most of which still are.
    fn account(&mut self) -> i32 {
        self.random.between(0, i64::from(ACCOUNTS) - 1) as i32
    }

    /// Gives money to some account, or takes it.
    async fn add(&mut self, amount: Bson) -> Result<()> {
        let update = doc! {
            "$inc": {"money": amount.clone(), "history.count": 1},
            "$push": {"history.last": {"$each": [{"by": amount}], "$slice": -5}},
            // What a large deal has left.
            "$unset": {"padding": ""},
        };
        loop {
            let (place, id) = (self.place(), self.account());
            let updated = place.update_one(doc! {"_id": id}, update.clone()).session(&mut self.session).await?;
            // Most accounts are there, but not all.
            if updated.matched_count == 1 {
                return Ok(());
            }
        }
    }

    async fn transfers(&mut self, n: usize) -> Result<()> {
        for _ in 0..n {
            let amount = self.random.between(1, 50) as i32;
            self.add((-amount).into()).await?;
            self.add(amount.into()).await?;
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<()> {
        let (place, id) = (self.place(), self.random.between(0, IDS - 1) as i32);
        let amount = self.random.between(1, 50) as i32;
        let new_field = format!("new_{}", self.random.below(NEW_FIELDS.min(1 + self.deals / 20)));
        let account = doc! {"_id": id, "money": amount, new_field: amount};
        place.insert_one(account).session(&mut self.session).await?;
        self.add((-amount).into()).await
    }

    async fn close(&mut self) -> Result<()> {
        loop {
            let (place, id) = (self.place(), self.random.between(0, IDS - 1) as i32);
            let closed = place.find_one_and_delete(doc! {"_id": id}).session(&mut self.session).await?;
            if let Some(money) = closed.and_then(|account| account.get("money").cloned()) {
                return self.add(money).await;
            }
        }
    }

    async fn everybody(&mut self) -> Result<()> {
        let place = self.place();
        let paid = place.update_many(doc! {}, doc! {"$inc": {"money": -1}}).session(&mut self.session).await?;
        self.add((paid.matched_count as i64).into()).await
    }

    async fn large(&mut self) -> Result<()> {
        let first = self.account();
        for n in 0..3 {
            let (place, id) = (self.place(), (first + n) % ACCOUNTS);
            let padding = doc! {"$set": {"padding": "p".repeat(PADDING)}, "$inc": {"money": -1}};
            place.update_one(doc! {"_id": id}, padding).upsert(true).session(&mut self.session).await?;
        }
        self.add(3.into()).await
    }
}
