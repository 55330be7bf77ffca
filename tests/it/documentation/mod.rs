//! The examples of docs/mapping.md hold: each block runs through a daemon, and the tables are exactly those it shows.
//!
//! Examples without options share one daemon, a database for each. Every example is followed; one that only inserts
//! is copied as well and must give the same, unless it is marked `followed`.

mod example;
mod extended_json;
mod oplog;
mod page;
mod tables;

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use mongodb::bson::{Document, doc};

use crate::harness::case::Case;
use crate::harness::daemon::Daemon;
use example::{Example, Operation};
use extended_json::Json;
use page::Page;

const PAGE: &str = "docs/mapping.md";

/// Daemons beside each other.
const AT_ONCE: usize = 3;

#[test]
fn every_rule_of_the_mapping_has_an_example() {
    let bare = Page::read(PAGE).without_example();
    assert!(bare.is_empty(), "{PAGE}: {}", bare.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_mapping_hold() {
    let page = Page::read(PAGE);
    let mut groups: BTreeMap<String, Vec<Example>> = BTreeMap::new();
    for example in page.examples() {
        // Options that name a database are one example's own.
        let own = if example.options.contains("school.") { example.line.to_string() } else { String::new() };
        groups.entry(format!("{}{own}", example.options)).or_default().push(example.clone());
    }
    let groups = stream::iter(groups.into_values().enumerate().map(|(i, examples)| group(i, examples)));
    let wrong: Vec<String> = groups.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await.concat();
    assert!(wrong.is_empty(), "{PAGE}: {} examples do not hold\n\n{}", wrong.len(), wrong.join("\n"));
}

/// Runs examples with the same options; what is wrong with them.
async fn group(number: usize, examples: Vec<Example>) -> Vec<String> {
    let options = examples[0].options.clone();
    if options.contains("school.") {
        let copied = one(&format!("mapping{number}c"), &options, &examples, true).await;
        return [copied, one(&format!("mapping{number}f"), &options, &examples, false).await].concat();
    }
    let case = Case::new(&format!("mapping{number}")).await;
    for example in examples.iter().filter(|example| example.is_copied()) {
        perform(&case, &copied(example), example).await;
    }
    let daemon = start(&case, &options, "");
    case.settle().await;
    for example in &examples {
        perform(&case, &followed(example), example).await;
    }
    case.settle().await;
    let mut wrong = Vec::new();
    for example in &examples {
        if example.is_copied() {
            wrong.extend(tables::compare(&case, &copied(example), "copied", example).await);
        }
        wrong.extend(tables::compare(&case, &followed(example), "followed", example).await);
    }
    daemon.sigterm();
    wrong
}

/// One example whose options name its database: copied or followed, as they cannot have one name in one run.
async fn one(name: &str, options: &str, examples: &[Example], copy: bool) -> Vec<String> {
    let example = &examples[0];
    if copy && !example.is_copied() {
        return Vec::new();
    }
    let case = Case::new(name).await;
    let database = followed(example);
    if copy {
        perform(&case, &database, example).await;
    }
    let daemon = start(&case, options, &database);
    case.settle().await;
    if !copy {
        perform(&case, &database, example).await;
        case.settle().await;
    }
    let wrong = tables::compare(&case, &database, if copy { "copied" } else { "followed" }, example).await;
    daemon.sigterm();
    wrong.into_iter().collect()
}

fn start(case: &Case, options: &str, database: &str) -> Daemon {
    let mut config = case.config();
    config.append(&options.replace("school.", &format!("{}{database}.", case.prefix)));
    case.start(&config)
}

fn copied(example: &Example) -> String {
    format!("copied{}", example.line)
}

fn followed(example: &Example) -> String {
    format!("followed{}", example.line)
}

/// Does what an example does, and leaves a collection behind, so that its end can be awaited even when it drops all.
async fn perform(case: &Case, database: &str, example: &Example) {
    let line = example.line;
    for operation in &example.operations {
        let (on, command) = command(case, database, operation);
        let answer = case.mongo.database(&on).run_raw_command(command.document()).await;
        let answer = answer.unwrap_or_else(|error| panic!("{PAGE}:{line}: {operation:?}: {error}"));
        assert!(!answer.contains_key("writeErrors"), "{PAGE}:{line}: {operation:?}: {answer}");
        let done = answer.get_i32("n").unwrap_or(1);
        assert_eq!(done, 1, "{PAGE}:{line}: {operation:?} does nothing");
    }
    let last = case.database(database).collection::<Document>("zz_sentinel");
    last.insert_one(doc! {"_id": -1}).await.expect("inserted");
}

/// The command of an operation, and the database that it goes to.
fn command(case: &Case, database: &str, operation: &Operation) -> (String, Json) {
    let full = |collection: &str| Json::text(&format!("{}{database}.{collection}", case.prefix));
    let one = |fields: Json| Json::Array(vec![fields]);
    let update = |collection: &str, filter: &Json, update: &Json| {
        let update = Json::object([("q", filter.clone()), ("u", update.clone())]);
        Json::object([("update", Json::text(collection)), ("updates", one(update))])
    };
    let command = match operation {
        Operation::Insert { collection, document } => {
            Json::object([("insert", Json::text(collection)), ("documents", one(document.clone()))])
        }
        Operation::Update { collection, filter, update: by } => update(collection, filter, by),
        Operation::Replace { collection, filter, document } => update(collection, filter, document),
        Operation::Delete { collection, filter } => {
            let delete = Json::object([("q", filter.clone()), ("limit", Json::Plain(1.into()))]);
            Json::object([("delete", Json::text(collection)), ("deletes", one(delete))])
        }
        Operation::Create { collection } => Json::object([("create", Json::text(collection))]),
        Operation::View { collection, of } => Json::object([
            ("create", Json::text(collection)),
            ("viewOn", Json::text(of)),
            ("pipeline", Json::Array(Vec::new())),
        ]),
        Operation::Rename { collection, to } => {
            let drop_target = ("dropTarget", Json::Plain(true.into()));
            let rename = Json::object([("renameCollection", full(collection)), ("to", full(to)), drop_target]);
            return ("admin".into(), rename);
        }
        Operation::Drop { collection } => Json::object([("drop", Json::text(collection))]),
        Operation::DropDatabase => Json::object([("dropDatabase", Json::Plain(1.into()))]),
    };
    (format!("{}{database}", case.prefix), command)
}
