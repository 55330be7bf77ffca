//! Whole databases: MongoDB's documents one by one against what the rows say.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use mongodb::bson::{RawDocumentBuf, doc};
use tokio_postgres::Client;

use super::bson::{self, Fields};
use super::catalog::Catalog;
use super::differences::{Difference, Lost, compared, show};
use super::norm::Norm;
use super::records::{Quarantined, Records};
use super::rows;
use super::structure::{has_a_name_twice, lost_by_names};

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Report {
    pub collections: usize,
    pub documents: usize,
    /// Values that are on record because PostgreSQL cannot hold them.
    pub anomalies: usize,
    /// Documents that are not stored, for a reason.
    pub quarantined: usize,
    pub findings: Vec<Finding>,
}

/// One thing that is not as the contract says.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// The catalog or the tables contradict the contract or each other.
    Problem(String),
    /// PostgreSQL still has a collection that MongoDB has no more.
    Gone(String),
    /// A value that is not stored as it is, and is not on record either.
    Unrecorded { namespace: String, id: String, lost: Lost, recorded: Vec<String> },
    /// A document that is where it should not be.
    Wrong { namespace: String, id: String, what: String },
    /// A document in quarantine that MongoDB has no more.
    Unreleased { namespace: String, id: String, rows: Vec<String> },
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
                Finding::Unrecorded { namespace, id, lost, recorded } => {
                    let names: Vec<String> = lost.names.iter().map(|name| name.chars().take(20).collect()).collect();
                    let original = show(Some(&lost.original));
                    writeln!(
                        f,
                        "  {namespace} {id} has at {names:?} {original}, of which there is no record in {recorded:?}"
                    )?;
                }
                Finding::Wrong { namespace, id, what } => writeln!(f, "  {namespace} {id} {what}")?,
                Finding::Unreleased { namespace, id, rows } => {
                    writeln!(f, "  {namespace} {id} is in quarantine and not in MongoDB: {rows:?}")?;
                }
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
    let mut records = Records::read(postgres).await;
    let mut report = Report::default();
    report.findings.extend(catalog.problems.iter().chain(&records.problems).cloned().map(Finding::Problem));
    let mut seen = BTreeSet::new();
    for namespace in namespaces(mongo, prefix).await {
        let mut comparison = Comparison { namespace, records: &mut records, report: &mut report };
        comparison.collection(mongo, postgres, &catalog).await;
        seen.insert(comparison.namespace);
        report.collections += 1;
    }
    let left = records.quarantine.iter();
    let left = left.map(|((namespace, _), rows)| Finding::Unreleased {
        namespace: namespace.clone(),
        id: show(rows[0].id.as_ref()),
        rows: rows.iter().map(ToString::to_string).collect(),
    });
    report.findings.extend(left);
    let gone = catalog.roots.keys().filter(|namespace| !seen.contains(*namespace));
    report.findings.extend(gone.cloned().map(Finding::Gone));
    report
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

struct Comparison<'a> {
    namespace: String,
    records: &'a mut Records,
    report: &'a mut Report,
}

impl Comparison<'_> {
    async fn collection(&mut self, mongo: &mongodb::Client, postgres: &Client, catalog: &Catalog) {
        let (database, collection) = self.namespace.split_once('.').expect("a namespace has a dot");
        let mut decoded = match catalog.roots.get(&self.namespace) {
            Some(root) => rows::decode(postgres, root).await,
            // A collection without documents may have no table yet; with some, they are all missing.
            None => rows::Decoded::default(),
        };
        let problems = decoded.problems.drain(..).map(|p| Finding::Problem(format!("{}: {p}", self.namespace)));
        self.report.findings.extend(problems);
        let collection = mongo.database(database).collection::<RawDocumentBuf>(collection);
        let mut documents = collection.find(doc! {}).batch_size(1000).await.expect("MongoDB reads its documents");
        while documents.advance().await.expect("a document") {
            self.report.documents += 1;
            let raw = documents.current().as_bytes();
            let source = bson::decode(raw);
            let id = Norm::from_value(bson::get(&source, "_id").expect("every document has an _id"));
            let key = (self.namespace.clone(), id.key());
            match (take(&mut decoded.documents, &key.1, &source), self.records.quarantine.remove(&key)) {
                (Some(row), None) => self.document(&source, &id, &row),
                (None, Some(rows)) => self.quarantined(&source, raw, &id, &rows),
                (None, None) => {
                    let (namespace, id) = (self.namespace.clone(), show(Some(&id)));
                    self.report.findings.push(Finding::Missing { namespace, id });
                }
                (Some(_), Some(_)) => self.problem(&id, "is in quarantine and has rows"),
            }
        }
        let namespace = self.namespace.clone();
        let left = decoded.documents.into_iter().flat_map(|(id, rows)| vec![id; rows.len()]);
        self.report.findings.extend(left.map(|id| Finding::Extra { namespace: namespace.clone(), id }));
    }

    fn problem(&mut self, id: &Norm, what: &str) {
        let (namespace, id, what) = (self.namespace.clone(), show(Some(id)), what.to_owned());
        self.report.findings.push(Finding::Wrong { namespace, id, what });
    }

    fn document(&mut self, source: &Fields, id: &Norm, row: &Norm) {
        let found = compared(&Norm::from_fields(source), row);
        let mut differences = found.differences;
        differences.retain(|difference| {
            let gone = difference.gone.clone().map(|original| Lost { names: difference.names.clone(), original });
            let explained = gone.is_some_and(|lost| self.records.has_too_large(id, &lost));
            self.report.anomalies += usize::from(explained);
            !explained
        });
        let (namespace, shown) = (self.namespace.clone(), show(Some(id)));
        if !differences.is_empty() {
            self.report.findings.push(Finding::Different {
                namespace: namespace.clone(),
                id: shown.clone(),
                differences,
            });
        }
        for lost in found.lost.into_iter().chain(lost_by_names(source)) {
            if self.records.has(id, &lost) {
                self.report.anomalies += 1;
            } else {
                let (namespace, id, recorded) = (namespace.clone(), shown.clone(), self.records.of(id));
                self.report.findings.push(Finding::Unrecorded { namespace, id, lost, recorded });
            }
        }
    }

    fn quarantined(&mut self, source: &Fields, raw: &[u8], id: &Norm, rows: &[Quarantined]) {
        self.report.quarantined += 1;
        let reason = rows[0].reason.as_str();
        let justified = match reason {
            "duplicate_field" => has_a_name_twice(&bson::decode(&rows[0].raw)),
            "id_not_representable" => not_representable(id),
            _ => false,
        };
        if !justified {
            self.problem(id, &format!("is in quarantine: {reason}"));
        }
        let held = bson::decode(&rows[0].raw);
        if bson::get(&held, "_id").is_some() {
            // Alone it is the whole document as it is now.
            if rows.len() == 1 && rows[0].raw != raw {
                self.problem(id, &format!("is in quarantine as {held:?} and is {source:?}"));
            }
        }
    }
}

/// Of the documents whose `_id`s read the same, the one that is nearest.
fn take(documents: &mut HashMap<String, Vec<Norm>>, key: &str, source: &Fields) -> Option<Norm> {
    let same = documents.get_mut(key)?;
    let source = Norm::from_fields(source);
    let found = same.iter().map(|row| compared(&source, row).differences.len()).enumerate();
    let (nearest, _) = found.min_by_key(|(_, differences)| *differences)?;
    Some(same.swap_remove(nearest))
}

fn not_representable(id: &Norm) -> bool {
    match id {
        Norm::BadText(_) => true,
        Norm::Date(millis) => super::norm::beyond(*millis).is_some(),
        Norm::Document(fields) => fields.values().any(not_representable),
        Norm::Array(items) => items.iter().any(not_representable),
        _ => false,
    }
}
