//! `on_drop = "keep"`: the tables of a dropped collection stay, and make way together when their name is wanted again.

use mongodb::bson::{Document, doc};

use crate::decode::rows::quote;
use crate::harness::case::Case;
use crate::harness::config::Config;

fn config(case: &Case) -> Config {
    let mut config = case.config();
    config.set("mapping.on_drop", "\"keep\"");
    config
}

fn documents(generation: i32) -> Vec<Document> {
    (0..3).map(|id| doc! {"_id": id, "generation": generation, "l": [{"y": generation}]}).collect()
}

impl Case {
    /// Tables that were kept: what they were called, and the generation in their rows.
    async fn kept(&self) -> Vec<String> {
        let mut kept = Vec::new();
        let sql = "SELECT schema_name, table_name, was_named, table_name = was_named FROM tailwater.kept \
                   WHERE was_named <> 'zz_sentinel' ORDER BY kept_at, 3";
        for row in self.rows(sql).await {
            let [schema, table, was, same] = [0, 1, 2, 3].map(|at| row[at].clone().expect("never null"));
            let column = if was.ends_with("_l") { "y" } else { "generation" };
            let sql = format!("SELECT DISTINCT {column} FROM {}.{}", quote(&schema), quote(&table));
            kept.push(format!(
                "{was} {} {}",
                self.lines(&sql).await.join(","),
                if same == "t" { "in place" } else { "aside" }
            ));
        }
        kept
    }

    /// The generation in a table of database `db`.
    async fn generation(&self, table: &str) -> Vec<String> {
        self.lines(&format!("SELECT DISTINCT generation FROM {{db}}.{}", quote(table))).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_tables_stay_until_their_name_is_wanted() {
    let case = Case::new("keep").await;
    let collection = case.collection("c");
    collection.insert_many(documents(1)).await.expect("inserted");
    let mut daemon = case.start(&config(&case));
    case.settle().await;
    for generation in 1..4 {
        let more = doc! {"_id": 9, "generation": generation, "l": []};
        collection.insert_one(more).await.expect("inserted");
        collection.drop().await.expect("dropped");
        case.expect_equal().await;
        let last = "SELECT count(*) FROM {db}.c WHERE _id = 9";
        assert_eq!(case.lines(last).await, ["1"], "what came before the drop is there");
        assert_eq!(case.kept().await.last(), Some(&format!("c_l {generation} in place")));
        daemon.sigterm();
        daemon = case.start(&config(&case));
        case.settle().await;
        assert_eq!(case.generation("c").await, [generation.to_string()]);
        // A collection without `l`: the old `c_l` must not look like its.
        let next = generation + 1;
        collection.insert_one(doc! {"_id": 5, "generation": next}).await.expect("inserted");
        case.expect_equal().await;
        assert_eq!(case.generation("c").await, [next.to_string()]);
        assert!(!case.lines("SELECT to_regclass('{db}.c_l') IS NULL").await.contains(&"f".to_owned()));
        collection.insert_many(documents(next)).await.expect("inserted");
        case.expect_equal().await;
    }
    let kept = case.kept().await;
    assert_eq!(kept, ["c 1 aside", "c_l 1 aside", "c 2 aside", "c_l 2 aside", "c 3 aside", "c_l 3 aside"]);
    daemon.sigterm();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_victims_of_renames_and_out_are_kept_too() {
    let case = Case::new("keepvictim").await;
    for (name, generation) in [("a", 1), ("b", 2), ("c", 3)] {
        case.collection(name).insert_many(documents(generation)).await.expect("inserted");
    }
    let daemon = case.start(&config(&case));
    case.settle().await;
    let name = |name: &str| format!("{}db.{name}", case.prefix);
    let rename = doc! {"renameCollection": name("a"), "to": name("b"), "dropTarget": true};
    case.mongo.database("admin").run_command(rename).await.expect("renamed");
    case.expect_equal().await;
    assert_eq!(case.generation("b").await, ["1"]);
    assert_eq!(case.kept().await, ["b 2 aside", "b_l 2 aside"]);
    case.collection("c").aggregate([doc! {"$out": "b"}]).await.expect("written");
    case.expect_equal().await;
    assert_eq!(case.generation("b").await, ["3"]);
    assert_eq!(case.kept().await, ["b 2 aside", "b_l 2 aside", "b 1 aside", "b_l 1 aside"]);
    daemon.sigterm();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_databases_tables_are_kept() {
    let case = Case::new("keepdatabase").await;
    case.collection("c").insert_many(documents(1)).await.expect("inserted");
    let daemon = case.start(&config(&case));
    case.settle().await;
    case.database("db").drop().await.expect("dropped");
    case.collection("c").insert_many(documents(2)).await.expect("inserted");
    case.expect_equal().await;
    assert_eq!(case.generation("c").await, ["2"]);
    assert!(case.kept().await.contains(&"c 1 aside".to_owned()));
    daemon.sigterm();
}

/// Dropped and made again while nobody watches: the new one is copied before the drop is seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_was_replaced_meanwhile_gets_the_name() {
    let case = Case::new("keepmeanwhile").await;
    case.collection("c").insert_many(documents(1)).await.expect("inserted");
    case.collection("gone").insert_many(documents(1)).await.expect("inserted");
    let daemon = case.start(&config(&case));
    case.settle().await;
    daemon.sigterm();
    case.collection("gone").drop().await.expect("dropped");
    case.collection("c").drop().await.expect("dropped");
    case.collection("c").insert_many(documents(2)).await.expect("inserted");
    let daemon = case.start(&config(&case));
    case.expect_equal().await;
    assert_eq!((case.generation("c").await, case.generation("gone").await), (vec!["2".into()], vec!["1".into()]));
    // A kept table is in nobody's way at a start, nor is one that somebody has dropped.
    daemon.sigterm();
    case.rows("DROP TABLE {db}.gone_l").await;
    case.collection("gone").insert_one(doc! {"_id": 1, "generation": 2}).await.expect("inserted");
    case.collection("gone_l").insert_many(documents(3)).await.expect("inserted");
    let daemon = case.start(&config(&case));
    case.expect_equal().await;
    assert_eq!((case.generation("gone").await, case.generation("gone_l").await), (vec!["2".into()], vec!["3".into()]));
    daemon.sigterm();
}
