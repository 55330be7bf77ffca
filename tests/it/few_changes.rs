//! Few changes of one table at a time, of every kind: they become one statement.

use mongodb::bson::{Document, doc};

use crate::harness::case::Case;

/// What is done with document `n` while the daemon is down, so that all of it comes in one batch.
async fn change(collection: &mongodb::Collection<Document>, n: i32) {
    let id = doc! { "_id": n };
    let set = async |fields: Document| {
        let done = collection.update_one(id.clone(), doc! { "$set": fields }).await.expect("updated");
        assert_eq!(done.matched_count, 1);
    };
    match n % 8 {
        0 => set(doc! { "a": "other" }).await,
        1 => set(doc! { "b": 7, "d": { "e": "new" } }).await,
        2 => drop(collection.delete_one(id.clone()).await.expect("deleted")),
        3 => {
            collection.delete_one(id.clone()).await.expect("deleted");
            collection.insert_one(document(n, "again")).await.expect("inserted");
            set(doc! { "b": 1 }).await;
        }
        4 => drop(collection.replace_one(id.clone(), document(n, "replaced")).await.expect("replaced")),
        5 => {
            let unset = doc! { "$unset": { "a": "", "c": "" } };
            collection.update_one(id.clone(), unset).await.expect("updated");
        }
        6 => set(doc! { "c.1": { "x": 9 } }).await,
        _ => {}
    }
}

fn document(n: i32, a: &str) -> Document {
    doc! { "_id": n, "a": a, "b": n, "c": [{ "x": 1 }, { "x": 2 }], "d": { "e": "old" } }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_change_comes_of_one_statement() {
    let case = Case::new("few_changes").await;
    let names: Vec<String> = (0..4).map(|n| format!("c{n}")).collect();
    for name in &names {
        let documents = (0..24).map(|n| document(n, "first"));
        case.collection(name).insert_many(documents).await.expect("inserted");
    }
    let config = case.config();
    let daemon = case.start(&config);
    case.expect_equal().await;
    daemon.sigterm();
    for (more, name) in (0..).zip(&names) {
        let collection = case.collection(name);
        for n in 0..24 {
            change(&collection, n).await;
        }
        // New ones, from none on; and one that comes and goes.
        let new: Vec<Document> = (0..more * 5).map(|n| document(100 + n, "new")).collect();
        if !new.is_empty() {
            collection.insert_many(new).await.expect("inserted");
        }
        collection.insert_one(document(99, "brief")).await.expect("inserted");
        collection.delete_one(doc! { "_id": 99 }).await.expect("deleted");
    }
    let _daemon = case.start(&config);
    case.expect_equal().await;
    case.remove().await;
}
