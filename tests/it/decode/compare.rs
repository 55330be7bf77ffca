//! Whole databases: MongoDB's documents one by one against what the rows say.

use std::collections::BTreeSet;
use std::fmt;

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use tokio_postgres::Client;

use super::catalog::Catalog;
use super::norm::{Difference, Norm, differences};
use super::rows;

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Report {
    pub collections: usize,
    pub documents: usize,
    pub findings: Vec<Finding>,
}

/// One thing that is not as the contract says.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// The catalog or the tables contradict the contract or each other.
    Problem(String),
    /// PostgreSQL still has a collection that MongoDB has no more.
    Gone(String),
    /// A document that only MongoDB has.
    Missing { namespace: String, id: String },
    /// A document that only PostgreSQL has.
    Extra { namespace: String, id: String },
    /// A document that both have, not the same.
    Different { namespace: String, id: String, differences: Vec<Difference> },
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        let (findings, documents, collections) = (self.findings.len(), self.documents, self.collections);
        writeln!(f, "{findings} findings in {documents} documents of {collections} collections")?;
        for finding in self.findings.iter().take(SHOWN) {
            match finding {
                Finding::Problem(problem) => writeln!(f, "  {problem}")?,
                Finding::Gone(namespace) => writeln!(f, "  {namespace} was dropped in MongoDB and is in PostgreSQL")?,
                Finding::Missing { namespace, id } => writeln!(f, "  {namespace} {id} is missing in PostgreSQL")?,
                Finding::Extra { namespace, id } => writeln!(f, "  {namespace} {id} is in PostgreSQL only")?,
                Finding::Different { namespace, id, differences } => {
                    writeln!(f, "  {namespace} {id} differs")?;
                    for difference in differences.iter().take(SHOWN) {
                        writeln!(f, "    {difference}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Compares every collection of the databases whose names start with `prefix`. Both sides must be at rest.
pub async fn compare(mongo: &mongodb::Client, postgres: &Client, prefix: &str) -> Report {
    let catalog = Catalog::read(postgres).await;
    let mut report = Report::default();
    report.findings.extend(catalog.problems.iter().cloned().map(Finding::Problem));
    report.findings.extend(quarantined(postgres).await);
    let mut seen = BTreeSet::new();
    for namespace in namespaces(mongo, prefix).await {
        compare_collection(mongo, postgres, &catalog, &namespace, &mut report).await;
        report.collections += 1;
        seen.insert(namespace);
    }
    let gone = catalog.roots.keys().filter(|namespace| !seen.contains(*namespace));
    report.findings.extend(gone.cloned().map(Finding::Gone));
    report
}

/// What the daemon did not store, with its reason: it explains what is missing.
async fn quarantined(postgres: &Client) -> Vec<Finding> {
    let query = "SELECT to_regclass('tailwater.quarantine') IS NOT NULL";
    let exists: bool = postgres.query_one(query, &[]).await.expect("pg_catalog can be read").get(0);
    if !exists {
        return Vec::new();
    }
    let query = "SELECT namespace, document_id::text, reason FROM tailwater.quarantine";
    let rows = postgres.query(query, &[]).await.expect("tailwater.quarantine can be read");
    let text = |row: &tokio_postgres::Row, i| row.get::<_, Option<String>>(i).unwrap_or_default();
    let finding = |row| format!("{} {} is in quarantine: {}", text(row, 0), text(row, 1), text(row, 2));
    rows.iter().map(finding).map(Finding::Problem).collect()
}

/// Every collection that is to be replicated.
pub async fn namespaces(mongo: &mongodb::Client, prefix: &str) -> Vec<String> {
    let databases = mongo.list_database_names().await.expect("MongoDB lists its databases");
    let mut found = Vec::new();
    for database in databases.iter().filter(|name| name.starts_with(prefix)) {
        let names = mongo.database(database).list_collection_names().filter(doc! {"type": "collection"}).await;
        let names = names.expect("MongoDB lists its collections");
        found.extend(names.iter().filter(|n| !n.starts_with("system.")).map(|n| format!("{database}.{n}")));
    }
    found.sort();
    found
}

async fn compare_collection(
    mongo: &mongodb::Client,
    postgres: &Client,
    catalog: &Catalog,
    namespace: &str,
    report: &mut Report,
) {
    let (database, collection) = namespace.split_once('.').expect("a namespace has a dot");
    let mut decoded = match catalog.roots.get(namespace) {
        Some(root) => rows::decode(postgres, root).await,
        // A collection without documents may have no table yet; with some, they are all missing.
        None => rows::Decoded::default(),
    };
    let problems = decoded.problems.drain(..).map(|p| Finding::Problem(format!("{namespace}: {p}")));
    report.findings.extend(problems);
    let collection = mongo.database(database).collection::<Document>(collection);
    let mut documents = collection.find(doc! {}).batch_size(1000).await.expect("MongoDB reads its documents");
    while let Some(document) = documents.try_next().await.expect("a document") {
        report.documents += 1;
        let source = Norm::from_document(&document);
        let id = document.get("_id").map(ToString::to_string).unwrap_or_default();
        let key = document.get("_id").map(|id| Norm::from_bson(id).key()).unwrap_or_default();
        let namespace = namespace.to_owned();
        let Some(row) = decoded.documents.remove(&key) else {
            report.findings.push(Finding::Missing { namespace, id });
            continue;
        };
        let mut found = Vec::new();
        differences("", Some(&source), Some(&row), &mut found);
        if !found.is_empty() {
            report.findings.push(Finding::Different { namespace, id, differences: found });
        }
    }
    let namespace = namespace.to_owned();
    let extra = decoded.documents.into_keys().map(|id| Finding::Extra { namespace: namespace.clone(), id });
    report.findings.extend(extra);
}
