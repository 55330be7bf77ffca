//! Metadata columns and soft delete: when a document was written, by what, and whether it is deleted; kept up by every
//! way in which any row of it changes.

use mongodb::bson::{Document, doc};
use serde_json::Value as Json;

use crate::harness::case::Case;
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;

const ALL: [&str; 3] = ["mapping.synced_at", "mapping.source", "mapping.soft_delete"];

fn config(case: &Case, on: &[&str]) -> Config {
    let mut config = case.config();
    for key in on {
        config.set(key, "true");
    }
    config
}

fn document(id: i32) -> Document {
    doc! {"_id": id, "n": id, "o": {"x": id}, "l": [{"x": 1}, {"x": 2, "deep": [{"y": 1}]}], "j": [1, 2]}
}

impl Case {
    /// `_source` of a document of collection `c`: operation and namespace.
    async fn source_of(&self, id: i32) -> String {
        let row = self.lines(&format!("SELECT _source FROM {{db}}.c WHERE _id = {id}")).await;
        let source: Json = serde_json::from_str(&row[0]).expect("JSON");
        assert_eq!(source["ns"], format!("{}db.c", self.prefix));
        assert!(
            source["t"].as_u64().expect("seconds") > 1_600_000_000 && source["i"].as_u64().expect("an ordinal") > 0
        );
        source["op"].as_str().expect("an operation").to_owned()
    }

    /// `_synced_at` as text.
    async fn synced_at(&self, id: i32) -> String {
        self.lines(&format!("SELECT _synced_at FROM {{db}}.c WHERE _id = {id}")).await.remove(0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_change_a_document_is_noted_in_its_root_row() {
    let case = Case::new("metadata").await;
    let collection = case.collection("c");
    collection.insert_many((0..3).map(document)).await.expect("inserted");
    let daemon = case.start(&config(&case, &ALL));
    case.settle().await;
    assert_eq!(case.source_of(0).await, "snapshot");
    let now = "SELECT now() - _synced_at < interval '1 minute' AND _deleted_at IS NULL FROM {db}.c";
    assert!(case.lines(now).await.iter().all(|row| row == "t"));
    // The columns lie in the root table only.
    let others = "SELECT count(*) FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid WHERE relname LIKE 'c\\_%' \
                  AND relkind = 'r' AND attname IN ('_synced_at', '_source', '_deleted_at')";
    assert_eq!(case.lines(others).await, ["0"]);
    let updates = [
        doc! {"$set": {"n": 7}},
        doc! {"$set": {"o.x": 8}},
        doc! {"$set": {"l.1.deep.0.y": 9}},
        doc! {"$push": {"l": {"x": 3}}},
        doc! {"$unset": {"o": 1}},
        doc! {"$push": {"j": 3}},
    ];
    for update in updates {
        let before = case.synced_at(0).await;
        collection.update_one(doc! {"_id": 0}, update.clone()).await.expect("updated");
        case.settle().await;
        assert_eq!(case.source_of(0).await, "update", "{update}");
        assert_ne!(case.synced_at(0).await, before, "{update}");
    }
    assert_eq!(case.source_of(1).await, "snapshot");
    collection.replace_one(doc! {"_id": 1}, doc! {"n": 1}).await.expect("replaced");
    collection.insert_one(document(5)).await.expect("inserted");
    case.settle().await;
    assert_eq!((case.source_of(1).await, case.source_of(5).await), ("replace".into(), "insert".into()));
    case.expect_equal().await;
    daemon.sigterm();
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_documents_stay_until_they_come_again() {
    let case = Case::new("softdelete").await;
    let collection = case.collection("c");
    collection.insert_many((0..4).map(document)).await.expect("inserted");
    let daemon = case.start(&config(&case, &ALL));
    case.settle().await;
    collection.delete_many(doc! {"_id": {"$lt": 3}}).await.expect("deleted");
    case.expect_equal().await;
    let state = "SELECT _id, _deleted_at IS NOT NULL, (SELECT count(*) FROM {db}.c_l WHERE c__id = _id), _source ->> 'op' \
                 FROM {db}.c ORDER BY _id";
    assert_eq!(
        case.lines(state).await,
        ["0 | t | 2 | delete", "1 | t | 2 | delete", "2 | t | 2 | delete", "3 | f | 2 | snapshot"]
    );
    let age = "SELECT bool_and(now() - _deleted_at < interval '1 minute') FROM {db}.c WHERE _deleted_at IS NOT NULL";
    assert_eq!(case.lines(age).await, ["t"]);
    // It lives again, and its old child rows are gone.
    collection.insert_one(doc! {"_id": 1, "l": [{"x": 5}]}).await.expect("inserted");
    case.expect_equal().await;
    assert_eq!(case.lines(state).await[1], "1 | f | 1 | insert");
    daemon.sigterm();
    let daemon = case.start(&config(&case, &ALL));
    collection.delete_one(doc! {"_id": 3}).await.expect("deleted");
    collection.update_one(doc! {"_id": 1}, doc! {"$set": {"n": 2}}).await.expect("updated");
    case.expect_equal().await;
    assert_eq!(case.lines(state).await[3], "3 | t | 2 | delete");
    daemon.sigterm();
}

/// Changes of one document in one batch are one row change.
#[tokio::test(flavor = "multi_thread")]
async fn the_net_effect_of_a_batch_is_that_of_its_changes() {
    let case = Case::new("netmetadata").await;
    let collection = case.collection("c");
    collection.insert_many((0..3).map(document)).await.expect("inserted");
    let daemon = case.start(&config(&case, &ALL));
    case.settle().await;
    let mut session = case.mongo.start_session().await.expect("a session");
    session.start_transaction().await.expect("started");
    let session = &mut session;
    collection.delete_one(doc! {"_id": 0}).session(&mut *session).await.expect("deleted");
    collection.insert_one(doc! {"_id": 0, "n": 10}).session(&mut *session).await.expect("inserted");
    collection.update_one(doc! {"_id": 1}, doc! {"$set": {"o.x": 1000}}).session(&mut *session).await.expect("updated");
    collection.delete_one(doc! {"_id": 1}).session(&mut *session).await.expect("deleted");
    collection.insert_one(document(9)).session(&mut *session).await.expect("inserted");
    collection.delete_one(doc! {"_id": 9}).session(&mut *session).await.expect("deleted");
    collection.insert_one(document(8)).session(&mut *session).await.expect("inserted");
    collection.update_one(doc! {"_id": 8}, doc! {"$set": {"l.0.x": 9}}).session(&mut *session).await.expect("updated");
    session.commit_transaction().await.expect("committed");
    case.expect_equal().await;
    let state = "SELECT _id, n, _deleted_at IS NOT NULL, (SELECT count(*) FROM {db}.c_l WHERE c__id = _id), \
                 _source ->> 'op' FROM {db}.c ORDER BY _id";
    let expected = [
        "0 | 10 | f | 0 | insert",
        "1 | 1 | t | 2 | delete",
        "2 | 2 | f | 2 | snapshot",
        "8 | 8 | f | 2 | update",
        "9 | 9 | t | 2 | delete",
    ];
    assert_eq!(case.lines(state).await, expected);
    daemon.sigterm();
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_can_be_switched_on_for_tables_that_exist() {
    let case = Case::new("latermetadata").await;
    let collection = case.collection("c");
    collection.insert_many((0..2).map(document)).await.expect("inserted");
    let daemon = case.start(&config(&case, &[]));
    case.settle().await;
    daemon.sigterm();
    for round in 0..2 {
        let daemon = case.start(&config(&case, &ALL));
        case.settle().await;
        if round == 0 {
            let unknown = "SELECT _synced_at, _source, _deleted_at FROM {db}.c";
            assert_eq!(case.lines(unknown).await, ["- | - | -", "- | - | -"]);
        }
        collection.update_one(doc! {"_id": 0}, doc! {"$inc": {"o.x": 1}}).await.expect("updated");
        collection.delete_one(doc! {"_id": 1}).await.expect("deleted");
        case.expect_equal().await;
        assert_eq!(case.source_of(0).await, "update");
        assert_eq!(case.source_of(1).await, "delete");
        daemon.sigterm();
    }
}

/// The names are reserved where the columns are, and nowhere else.
#[tokio::test(flavor = "multi_thread")]
async fn fields_of_the_same_names_make_way() {
    let case = Case::new("metadatanames").await;
    let fields = doc! {"_id": 1, "_synced_at": "mine", "_source": 5, "_deleted_at": true, "o": {"_source": 1}};
    case.collection("c").insert_one(&fields).await.expect("inserted");
    let mut with_two = config(&case, &ALL[..2]);
    let daemon = case.start(&with_two);
    case.settle().await;
    case.collection("later").insert_one(&fields).await.expect("inserted");
    case.collection("c").update_one(doc! {"_id": 1}, doc! {"$set": {"_source": 6}}).await.expect("updated");
    case.expect_equal().await;
    let named = "SELECT path[1], column_name ~ '^_[a-z_]+_[0-9a-f]{8}$' FROM tailwater.paths \
                 WHERE namespace LIKE '%.c' AND form = 'column' AND path[1] LIKE '\\_%' AND path[1] <> '_id' ORDER BY 1";
    assert_eq!(case.lines(named).await, ["_deleted_at | f", "_source | t", "_synced_at | t"]);
    assert_eq!(case.lines("SELECT _source FROM {db}.c_o").await, ["1"]);
    daemon.sigterm();
    // Switched on later, it meets the field's column: told at the start, with what to do.
    let mut refused: Daemon = case.start(with_two.set("mapping.soft_delete", "true"));
    assert_eq!(refused.end_within(crate::harness::wait::LONG).code(), Some(1));
    assert!(refused.log_tail().contains("_deleted_at"), "{}", refused.log_tail());
}
