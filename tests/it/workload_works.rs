//! The workload itself: the same seed makes the same data, and most of what it does has an effect.

use crate::decode::compare::namespaces;
use crate::harness::case::Case;
use crate::workload::random::Random;
use crate::workload::writer::Writer;
use mongodb::bson::{Document, doc};

async fn contents(case: &Case, name: &str) -> (usize, Vec<String>) {
    let mut writer = Writer::new(case.database(name), Random::new(7, 0), 5);
    writer.ddl_every = 50;
    writer.load(300).await.expect("loaded");
    writer.work(1500).await.expect("worked");
    let mut found = Vec::new();
    for namespace in namespaces(&case.mongo, &format!("{}{name}", case.prefix)).await {
        let (database, collection) = namespace.split_once('.').expect("a namespace");
        let collection = case.mongo.database(database).collection::<Document>(collection);
        let known = writer.collections.iter().find(|k| k.name == collection.name()).map_or(0, |k| k.ids.len());
        let count = collection.count_documents(doc! {}).await.expect("counted");
        // `seen` is the clock's.
        let sum =
            collection.find_one(doc! {"rollNo": {"$gt": 0}}).sort(doc! {"rollNo": 1, "name": 1}).await.expect("read");
        let sum = sum.map(|d| d.into_iter().filter(|(name, _)| name != "seen").collect::<Document>());
        found.push(format!("{} {known} {count} {sum:?}", collection.name()));
    }
    (writer.refused, found)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_determines_the_data_and_the_writer_knows_it() {
    let case = Case::new("workload").await;
    let (refused, first) = contents(&case, "a").await;
    let (_, second) = contents(&case, "b").await;
    assert_eq!(first, second);
    assert!(first.len() >= 3, "{first:?}");
    for line in &first {
        let counts: Vec<&str> = line.split(' ').skip(1).take(2).collect();
        assert_eq!(counts[0], counts[1], "the writer does not know what there is: {line}");
    }
    assert!(refused < 500, "{refused} of 1,500 operations were refused");
}
