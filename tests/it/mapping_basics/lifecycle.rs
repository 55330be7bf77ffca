//! Section 6: collections and databases that come, go and change their names.

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};

use crate::harness::case::Case;

fn documents(from: i32) -> Vec<Document> {
    (from..from + 3).map(|id| doc! {"_id": id, "o": {"x": id}, "l": [{"y": id, "m": [{"z": id}]}]}).collect()
}

async fn rename(case: &Case, from: &str, to: &str, drop_target: bool) {
    let name = |name: &str| format!("{}{name}", case.prefix);
    let command = doc! {"renameCollection": name(from), "to": name(to), "dropTarget": drop_target};
    case.mongo.database("admin").run_command(command).await.expect("renamed");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_collections_and_databases_are_picked_up() {
    let case = Case::new("pickedup").await;
    // Started on nothing at all.
    let _daemon = case.start(&case.config());
    case.settle().await;
    case.collection("new").insert_many(documents(0)).await.expect("inserted");
    case.database("other").collection("new").insert_many(documents(5)).await.expect("inserted");
    case.database("db").create_collection("empty").await.expect("created");
    let report = case.expect_equal().await;
    assert!(report.documents >= 6);
    assert!(
        case.tables().await.starts_with(&["new".into(), "new_l".into()]) || case.tables().await.contains(&"new".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_collections_take_all_their_tables_along() {
    let case = Case::new("dropped").await;
    case.collection("a").insert_many(documents(0)).await.expect("inserted");
    case.collection("b").insert_many(documents(0)).await.expect("inserted");
    let _daemon = case.start(&case.config());
    case.settle().await;
    case.collection("a").drop().await.expect("dropped");
    case.expect_equal().await;
    assert_eq!(case.tables().await, ["b", "b_l", "b_l_m", "b_o"]);
    // The same name again is a new collection, with types of its own.
    case.collection("b").drop().await.expect("dropped");
    case.collection("b").insert_one(doc! {"_id": "text", "o": 5, "l": "text"}).await.expect("inserted");
    case.expect_equal().await;
    assert_eq!(case.tables().await, ["b"]);
    assert_eq!(case.columns("b").await, ["_id text", "l text", "o integer"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_takes_the_children_along() {
    let case = Case::new("renamed").await;
    case.collection("a").insert_many(documents(0)).await.expect("inserted");
    let _daemon = case.start(&case.config());
    case.settle().await;
    rename(&case, "db.a", "db.b", false).await;
    case.collection("b")
        .update_one(doc! {"_id": 1}, doc! {"$set": {"l.0.m.0.z": 7, "o.new": 1}})
        .await
        .expect("updated");
    case.expect_equal().await;
    assert_eq!(case.tables().await, ["b", "b_l", "b_l_m", "b_o"]);
    assert_eq!(case.key("b_l_m").await, ["b__id", "l__index", "_index"]);
    // What follows under the old name is another collection.
    case.collection("a").insert_many(documents(10)).await.expect("inserted");
    case.expect_equal().await;
    // To another database.
    rename(&case, "db.b", "elsewhere.b", false).await;
    case.expect_equal().await;
    assert_eq!(case.tables().await, ["a", "a_l", "a_l_m", "a_o"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_onto_a_collection_removes_that_one_first() {
    let case = Case::new("victim").await;
    case.collection("a").insert_many(documents(0)).await.expect("inserted");
    let victim = doc! {"_id": 1, "only": {"in": [{"the": "victim"}]}};
    case.collection("b").insert_one(victim).await.expect("inserted");
    let _daemon = case.start(&case.config());
    case.settle().await;
    rename(&case, "db.a", "db.b", true).await;
    case.collection("b").update_one(doc! {"_id": 1}, doc! {"$set": {"after": 1}}).await.expect("updated");
    case.expect_equal().await;
    assert_eq!(case.tables().await, ["b", "b_l", "b_l_m", "b_o"]);
    // Two names swapped through a third, with writes in between.
    case.collection("c").insert_one(doc! {"_id": "text", "l": [{"other": true}]}).await.expect("inserted");
    rename(&case, "db.b", "db.tmp", false).await;
    rename(&case, "db.c", "db.b", false).await;
    case.collection("b").insert_one(doc! {"_id": "more"}).await.expect("inserted");
    rename(&case, "db.tmp", "db.c", false).await;
    case.collection("c").delete_one(doc! {"_id": 2}).await.expect("deleted");
    case.expect_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn out_and_merge_arrive() {
    let case = Case::new("outmerge").await;
    case.collection("from").insert_many(documents(0)).await.expect("inserted");
    case.collection("to").insert_one(doc! {"_id": "other", "x": 1}).await.expect("inserted");
    let _daemon = case.start(&case.config());
    case.settle().await;
    let stages = [
        doc! {"$out": "to"},
        doc! {"$out": {"db": format!("{}db", case.prefix), "coll": "fresh"}},
        doc! {"$merge": {"into": "merged"}},
        doc! {"$merge": {"into": "merged", "whenMatched": [{"$set": {"o.x": {"$add": ["$o.x", 1]}}}]}},
    ];
    for stage in stages {
        let aggregated = case.collection("from").aggregate([doc! {"$match": {"_id": {"$lt": 2}}}, stage]).await;
        let nothing: Vec<Document> = aggregated.expect("aggregates").try_collect().await.expect("aggregated");
        assert!(nothing.is_empty());
    }
    case.expect_equal().await;
    assert_eq!(case.lines("SELECT x FROM {db}.merged_o ORDER BY 1").await, ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_database_is_gone() {
    let case = Case::new("dropdatabase").await;
    for database in ["one", "two"] {
        case.database(database).collection("c").insert_many(documents(0)).await.expect("inserted");
    }
    let _daemon = case.start(&case.config());
    case.settle().await;
    case.database("one").drop().await.expect("dropped");
    let report = case.expect_equal().await;
    assert!(!report.findings.iter().any(|_| true));
    case.database("two").drop().await.expect("dropped");
    case.database("two").collection("c").insert_one(doc! {"_id": "again"}).await.expect("inserted");
    case.expect_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_selected_is_left_alone() {
    let case = Case::new("selected").await;
    for name in ["kept", "tmp_not", "later"] {
        case.collection(name).insert_many(documents(0)).await.expect("inserted");
    }
    let mut config = case.config();
    config.set("source.exclude", &format!("[\"{}db.tmp_*\"]", case.prefix));
    let _daemon = case.start(&config);
    case.settle().await;
    case.collection("tmp_not").insert_many(documents(5)).await.expect("inserted");
    case.collection("tmp_new").insert_many(documents(5)).await.expect("inserted");
    case.database("db").create_collection("a_view").view_on("kept").await.expect("created");
    case.settle().await;
    let tables = ["kept", "kept_l", "kept_l_m", "kept_o", "later", "later_l", "later_l_m", "later_o"];
    assert_eq!(case.tables().await, tables);
    // Renames across the border: out of the selection, and into it.
    rename(&case, "db.later", "db.tmp_later", false).await;
    rename(&case, "db.tmp_not", "db.found", false).await;
    case.settle().await;
    let found = "SELECT _id FROM {db}.found ORDER BY 1";
    assert_eq!(case.lines(found).await, ["0", "1", "2", "5", "6", "7"]);
    assert!(!case.tables().await.iter().any(|t| t.starts_with("later") || t.starts_with("tmp")));
}
