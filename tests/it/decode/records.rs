//! `tailwater.anomalies` and `tailwater.quarantine`: what is not in the rows as it was.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use tokio_postgres::Client;

use super::bson::{self, Value};
use super::differences::Lost;
use super::json;
use super::norm::Norm;

/// Both tables, by the normal form of the `_id`.
#[derive(Debug, Default)]
pub struct Records {
    anomalies: HashMap<String, Vec<Anomaly>>,
    /// Rows of each document, in the order in which they came.
    pub quarantine: HashMap<(String, String), Vec<Quarantined>>,
    pub problems: Vec<String>,
}

#[derive(Debug)]
struct Anomaly {
    path: Vec<String>,
    reason: String,
    original: Norm,
}

/// A document, or a change of one, that is not stored.
#[derive(Debug, Clone)]
pub struct Quarantined {
    pub id: Option<Norm>,
    /// Where in the stream it came from; nothing for the snapshot.
    position: Option<String>,
    pub reason: String,
    pub raw: Vec<u8>,
}

impl fmt::Display for Quarantined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = if self.position.is_some() { "stream" } else { "snapshot" };
        write!(f, "{} ({from}) {:?}", self.reason, Value::Document(bson::decode(&self.raw)))
    }
}

impl Records {
    /// Reads both, as far as they exist.
    pub async fn read(postgres: &Client) -> Self {
        let mut records = Self::default();
        if exists(postgres, "tailwater.anomalies").await {
            records.read_anomalies(postgres).await;
        }
        if exists(postgres, "tailwater.quarantine").await {
            records.read_quarantine(postgres).await;
        }
        records
    }

    async fn read_anomalies(&mut self, postgres: &Client) {
        let query = "SELECT document_id::text, path, reason, original::text FROM tailwater.anomalies";
        for row in postgres.query(query, &[]).await.expect("tailwater.anomalies can be read") {
            let read = |i: usize| match row.get::<_, Option<&str>>(i).map(json::parse) {
                None => Ok(Norm::Null),
                Some(value) => value,
            };
            match (read(0), read(3)) {
                (Ok(id), Ok(original)) => {
                    let anomaly = Anomaly { path: row.get(1), reason: row.get(2), original };
                    self.anomalies.entry(id.key()).or_default().push(anomaly);
                }
                (id, original) => self.problems.push(format!("tailwater.anomalies: {id:?} {original:?}")),
            }
        }
    }

    async fn read_quarantine(&mut self, postgres: &Client) {
        let query =
            "SELECT namespace, id_key, document_id::text, reason, raw, position FROM tailwater.quarantine ORDER BY id";
        let mut documents: BTreeMap<(String, String), (Option<Norm>, Vec<Quarantined>)> = BTreeMap::new();
        for row in postgres.query(query, &[]).await.expect("tailwater.quarantine can be read") {
            let quarantined = Quarantined { id: None, position: row.get(5), reason: row.get(3), raw: row.get(4) };
            let (id, rows) = documents.entry((row.get(0), row.get(1))).or_default();
            // Whole documents have an `_id`; in `document_id` it may have lost something.
            let whole = bson::get(&bson::decode(&quarantined.raw), "_id").map(Norm::from_value);
            *id = whole.or(id.take()).or_else(|| json::parse(row.get::<_, Option<&str>>(2)?).ok());
            rows.push(quarantined);
        }
        for ((namespace, id_key), (id, mut rows)) in documents {
            rows.iter_mut().for_each(|row| row.id.clone_from(&id));
            match id {
                Some(id) => self.quarantine.entry((namespace, id.key())).or_default().extend(rows),
                None => self.problems.push(format!("{namespace}: a document without an id is in quarantine: {id_key}")),
            }
        }
    }

    /// True when a lost value of that document is on record.
    pub fn has(&self, id: &Norm, lost: &Lost) -> bool {
        let of_id = self.anomalies.get(&id.key()).into_iter().flatten();
        of_id.filter(|anomaly| lost.names.starts_with(&anomaly.path)).any(|a| contains(&a.original, &lost.original))
    }

    /// What is on record for a document.
    pub fn of(&self, id: &Norm) -> Vec<String> {
        let show = |a: &Anomaly| format!("{:?} {} {:?}", a.path, a.reason, a.original);
        self.anomalies.get(&id.key()).into_iter().flatten().map(show).collect()
    }

    /// True when a value that is missing was too large for PostgreSQL and is on record.
    pub fn has_too_large(&self, id: &Norm, lost: &Lost) -> bool {
        let of_id = self.anomalies.get(&id.key()).into_iter().flatten();
        of_id.filter(|a| a.reason == "row_too_wide").any(|a| a.path == lost.names && same(&a.original, &lost.original))
    }
}

/// True when there is a table of that name.
pub async fn exists(postgres: &Client, table: &str) -> bool {
    let query = "SELECT to_regclass($1) IS NOT NULL";
    postgres.query_one(query, &[&table]).await.expect("pg_catalog can be read").get(0)
}

/// A value, or something that holds it.
fn contains(recorded: &Norm, original: &Norm) -> bool {
    same(recorded, original)
        || match recorded {
            Norm::Document(fields) => fields.values().any(|value| contains(value, original)),
            Norm::Array(items) => items.iter().any(|item| contains(item, original)),
            _ => false,
        }
}

/// Canonical Extended JSON in jsonb: a string that jsonb cannot hold is there as the bytes that it has.
fn same(recorded: &Norm, original: &Norm) -> bool {
    match (recorded, original) {
        (Norm::Binary(0, a), Norm::BadText(b)) => a == b,
        (Norm::Document(a), Norm::Document(b)) => {
            a.len() == b.len() && a.iter().all(|(name, value)| b.get(name).is_some_and(|other| same(value, other)))
        }
        (Norm::Array(a), Norm::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(x, y)| same(x, y)),
        (Norm::SomeZero, Norm::Zero | Norm::NegativeZero) => true,
        (a, b) => a == b,
    }
}
