//! Runs cases: one daemon, three collections for each.

use mongodb::Collection;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::options::UpdateModifications;

use crate::decode::compare::Finding;
use crate::decode::rows::quote;
use crate::harness::case::Case;

/// One entry of the record.
#[derive(Clone)]
pub struct Entry {
    pub name: &'static str,
    /// The documents it starts with.
    documents: Vec<Do>,
    changes: Vec<Do>,
    /// Queries and their lines; `{t}` is the table, `{t_x}` that of its field `x`, `{t y}` that of the collection renamed so.
    rows: Vec<(&'static str, Vec<&'static str>)>,
    /// Anomalies that it leaves: reason and path.
    anomalies: Vec<(&'static str, &'static str)>,
}

/// One thing done to the collection.
#[derive(Clone)]
pub enum Do {
    Insert(Vec<Document>),
    /// Documents that only raw BSON can be.
    Raw(Vec<RawDocumentBuf>),
    Update(Document, UpdateModifications),
    Upsert(Document, Document),
    Replace(Document, Document),
    Delete(Document),
    /// All of them in one transaction.
    Together(Vec<Do>),
    /// To its name and this.
    Rename(&'static str),
    /// Another collection, of its name and this, takes its name.
    Swap(&'static str),
    Drop,
}

impl Entry {
    pub fn new(name: &'static str, documents: Vec<Document>) -> Self {
        let documents = vec![Do::Insert(documents)];
        Self { name, documents, changes: Vec::new(), rows: Vec::new(), anomalies: Vec::new() }
    }

    pub fn raw(name: &'static str, documents: Vec<RawDocumentBuf>) -> Self {
        Self { documents: vec![Do::Raw(documents)], ..Self::new(name, Vec::new()) }
    }

    pub fn then(mut self, change: Do) -> Self {
        self.changes.push(change);
        self
    }

    /// An update of the document 1.
    pub fn update(self, update: Document) -> Self {
        self.then(Do::Update(doc! {"_id": 1}, UpdateModifications::Document(update)))
    }

    pub fn rows(mut self, query: &'static str, lines: &[&'static str]) -> Self {
        self.rows.push((query, lines.to_vec()));
        self
    }

    pub fn anomaly(mut self, reason: &'static str, path: &'static str) -> Self {
        self.anomalies.push((reason, path));
        self
    }
}

/// The ways of a case: what its collection's name starts with.
const COPIED: &str = "copied ";
const CHANGED: &str = "changed ";
const FOLLOWED: &str = "followed ";

/// Runs all of them and tells which differ.
pub async fn run(test: &str, entries: Vec<Entry>) {
    let case = Case::new(test).await;
    for entry in &entries {
        play(&case, COPIED, entry, &entry.documents).await;
        play(&case, COPIED, entry, &entry.changes).await;
        play(&case, CHANGED, entry, &entry.documents).await;
    }
    let _daemon = case.start(&case.config());
    case.settle().await;
    for entry in &entries {
        play(&case, CHANGED, entry, &entry.changes).await;
        play(&case, FOLLOWED, entry, &entry.documents).await;
        play(&case, FOLLOWED, entry, &entry.changes).await;
    }
    case.settle().await;
    let report = case.compare().await;
    let mut wrong: Vec<String> = report.findings.iter().map(|finding| shown(&case, finding)).collect();
    for entry in &entries {
        check_rows(&case, entry, &mut wrong).await;
        check_anomalies(&case, entry, &mut wrong).await;
    }
    assert!(wrong.is_empty(), "{}\n{report}", wrong.join("\n"));
    let logs = case.logs();
    assert!(!logs.contains("retry_in_ms"), "it has done so in one attempt\n{logs}");
}

fn shown(case: &Case, finding: &Finding) -> String {
    format!("{finding:?}").replace(&case.prefix, "")
}

async fn play(case: &Case, way: &str, entry: &Entry, doings: &[Do]) {
    let name = format!("{way}{}", entry.name);
    for doing in doings {
        let done = apply(case, &name, doing).await;
        done.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

async fn apply(case: &Case, name: &str, doing: &Do) -> mongodb::error::Result<()> {
    let collection = case.collection(name);
    match doing {
        Do::Insert(documents) if documents.is_empty() => {}
        Do::Insert(documents) => {
            collection.insert_many(documents).await?;
        }
        Do::Raw(documents) => {
            case.database("db").collection::<RawDocumentBuf>(name).insert_many(documents).await?;
        }
        Do::Together(doings) => together(case, &collection, doings).await?,
        Do::Rename(suffix) => rename(case, name, &format!("{name}{suffix}")).await?,
        Do::Swap(suffix) => {
            rename(case, name, &format!("{name} old")).await?;
            rename(case, &format!("{name}{suffix}"), name).await?;
        }
        Do::Drop => collection.drop().await?,
        Do::Update(..) | Do::Upsert(..) | Do::Replace(..) | Do::Delete(_) => {
            write(&collection, doing, None).await?;
        }
    }
    Ok(())
}

async fn rename(case: &Case, from: &str, to: &str) -> mongodb::error::Result<()> {
    let full = |name: &str| format!("{}db.{name}", case.prefix);
    let command = doc! {"renameCollection": full(from), "to": full(to)};
    case.mongo.database("admin").run_command(command).await.map(drop)
}

/// One write, in a session where there is one. Each must meet something.
async fn write(
    collection: &Collection<Document>,
    doing: &Do,
    session: Option<&mut mongodb::ClientSession>,
) -> mongodb::error::Result<()> {
    macro_rules! send {
        ($action:expr) => {
            match session {
                Some(session) => $action.session(session).await?,
                None => $action.await?,
            }
        };
    }
    match doing {
        Do::Insert(documents) => {
            send!(collection.insert_many(documents));
        }
        Do::Update(which, update) => {
            let done = send!(collection.update_many(which.clone(), update.clone()));
            assert!(done.modified_count > 0, "{update:?} changes something");
        }
        Do::Upsert(which, update) => {
            let done = send!(collection.update_one(which.clone(), update.clone()).upsert(true));
            assert!(done.upserted_id.is_some(), "{update} inserts");
        }
        Do::Replace(which, document) => {
            let done = send!(collection.replace_one(which.clone(), document));
            assert_eq!(done.modified_count, 1, "{document} replaces");
        }
        Do::Delete(which) => {
            let done = send!(collection.delete_many(which.clone()));
            assert!(done.deleted_count > 0, "{which} deletes");
        }
        Do::Raw(_) | Do::Together(_) | Do::Rename(_) | Do::Swap(_) | Do::Drop => panic!("not in here"),
    }
    Ok(())
}

async fn together(case: &Case, collection: &Collection<Document>, doings: &[Do]) -> mongodb::error::Result<()> {
    let mut session = case.mongo.start_session().await?;
    session.start_transaction().await?;
    for doing in doings {
        write(collection, doing, Some(&mut session)).await?;
    }
    session.commit_transaction().await
}

/// `{t}`, and with what follows the `t` other tables, quoted and in the case's schema.
fn with_tables(query: &str, collection: &str) -> String {
    let mut text = query.to_owned();
    while let Some(start) = text.find("{t") {
        let end = start + text[start..].find('}').expect("a closing brace");
        let table = format!("{collection}{}", &text[start + 2..end]);
        text.replace_range(start..=end, &format!("{{db}}.{}", quote(&table)));
    }
    text
}

/// Not of what was copied in its last state: that has no columns for fields that were gone by then.
async fn check_rows(case: &Case, entry: &Entry, wrong: &mut Vec<String>) {
    for way in [CHANGED, FOLLOWED] {
        for (query, expected) in &entry.rows {
            let found = case.lines(&with_tables(query, &format!("{way}{}", entry.name))).await;
            if found != *expected {
                wrong.push(format!("{way}{}: {query}: {found:?}, expected {expected:?}", entry.name));
            }
        }
    }
}

async fn check_anomalies(case: &Case, entry: &Entry, wrong: &mut Vec<String>) {
    for way in [COPIED, CHANGED, FOLLOWED] {
        let namespace = format!("{}db.{way}{}", case.prefix, entry.name);
        let query = format!(
            "SELECT DISTINCT reason, array_to_string(path, '.') FROM tailwater.anomalies WHERE namespace = '{namespace}' \
             ORDER BY 1, 2"
        );
        let found = case.lines(&query).await;
        let mut expected: Vec<String> =
            entry.anomalies.iter().map(|(reason, path)| format!("{reason} | {path}")).collect();
        expected.sort();
        if found != expected {
            wrong.push(format!("{namespace}: anomalies {found:?}, expected {expected:?}"));
        }
    }
}

/// An array of BSON values.
pub fn list<const N: usize>(values: [Bson; N]) -> Bson {
    Bson::Array(values.to_vec())
}
