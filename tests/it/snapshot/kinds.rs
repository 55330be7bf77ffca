//! Every kind of collection is copied beside changes of it, whatever happens to it meanwhile.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Decimal128, doc};

use super::{SLOW, load, slowly};
use crate::harness::case::Case;

/// Ids of nine types in equal parts.
fn nine_types(n: i32) -> Bson {
    let k = n / 9;
    match n % 9 {
        0 => Bson::Int32(k),
        1 => Bson::Int64(i64::from(k) + (1 << 40)),
        2 => Bson::Double(f64::from(k) + 0.5),
        3 => Bson::Decimal128(format!("{k}.25").parse::<Decimal128>().expect("a number")),
        4 => Bson::String(format!("{k:05}")),
        5 => {
            Bson::ObjectId(ObjectId::from_bytes([&[7; 8][..], &k.to_be_bytes()].concat().try_into().expect("12 bytes")))
        }
        6 => Bson::DateTime(DateTime::from_millis(i64::from(k) * 1000)),
        7 => Bson::Document(doc! {"a": k, "b": "x"}),
        _ => Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: k.to_be_bytes().to_vec() }),
    }
}

async fn none_is_lost_at(parallel: usize) {
    const IDS: i32 = 17_000;
    let case = Case::new(&format!("nine_types_{parallel}")).await;
    load(&case, "mixed", (0..IDS).map(nine_types), 1500).await;
    // Small ranges, at a pace that hardly slows anything down.
    let _daemon = case.start(&slowly(&case, &format!("{}MiB", 2 * parallel), parallel));
    let writer = async {
        for n in (0..IDS).step_by(40) {
            let one = doc! {"_id": nine_types(n)};
            match n % 3 {
                0 => drop(case.collection("mixed").delete_one(one).await.expect("deleted")),
                _ => drop(case.collection("mixed").update_one(one, doc! {"$inc": {"n": 1}}).await.expect("updated")),
            }
        }
    };
    writer.await;
    let report = case.expect_equal_within(SLOW).await;
    assert!(report.documents >= 16_000, "{report}");
    let ranges = case.lines("SELECT count(*) FROM tailwater.snapshot_chunks WHERE namespace LIKE '%.mixed'").await;
    assert!(ranges[0].parse::<i32>().expect("a number") >= 3, "{ranges:?} ranges");
    let copied = "SELECT count(*) FROM {db}.mixed";
    let expected = case.collection("mixed").count_documents(doc! {}).await.expect("counted");
    assert_eq!(case.lines(copied).await, [expected.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_nine_types_are_all_copied_by_one_reader() {
    none_is_lost_at(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_nine_types_are_all_copied_by_many_readers() {
    none_is_lost_at(4).await;
    none_is_lost_at(13).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn capped_clustered_collated_and_empty_collections_are_copied_beside_changes() {
    let case = Case::new("kinds").await;
    let database = case.database("db");
    database.create_collection("capped").capped(true).size(64 << 20).await.expect("created");
    let command = doc! {"create": "clustered", "clusteredIndex": {"key": {"_id": 1}, "unique": true}};
    database.run_command(command).await.expect("created");
    let command = doc! {"create": "collated", "collation": {"locale": "en", "strength": 2, "caseLevel": false}};
    database.run_command(command).await.expect("created");
    database.create_collection("empty").await.expect("created");
    let name = |n: i32| Bson::String(format!("{}{}", ["Ä", "b", "Ça", "z", "A"][n as usize % 5], n / 5));
    load(&case, "capped", (0..4000).map(Bson::from), 1000).await;
    load(&case, "clustered", (0..6000).map(Bson::from), 1000).await;
    load(&case, "collated", (0..6000).map(name), 1000).await;
    let daemon = case.start(&slowly(&case, "4MiB", 4));
    daemon.until_state("snapshot").await;
    for n in 0..600 {
        let id = if n % 2 == 0 { Bson::from(n * 10) } else { name(n * 10) };
        let collection = case.collection(["clustered", "collated"][n as usize % 2]);
        match n % 6 {
            0 | 1 => drop(collection.delete_one(doc! {"_id": id}).await.expect("deleted")),
            _ => drop(
                collection.update_one(doc! {"_id": id}, doc! {"$inc": {"n": 1, "l.0.m": 1}}).await.expect("updated"),
            ),
        }
        case.collection("capped").insert_one(doc! {"_id": 100_000 + n}).await.expect("inserted");
    }
    let report = case.expect_equal_within(SLOW).await;
    assert!(report.documents > 15_000, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_may_be_renamed_dropped_and_made_again_during_their_copy() {
    let case = Case::new("moved").await;
    for name in ["renamed", "dropped", "remade", "stays"] {
        load(&case, name, (0..4000).map(Bson::from), 1000).await;
    }
    let daemon = case.start(&slowly(&case, "2MiB", 2));
    daemon.until_state("snapshot").await;
    let copied = |status: &serde_json::Value| status["snapshot"]["documents_done"].as_i64() > Some(1000);
    daemon.until_status_within("the copy is under way", SLOW, copied).await;
    let admin = case.mongo.database("admin");
    let name = |name: &str| format!("{}db.{name}", case.prefix);
    admin.run_command(doc! {"renameCollection": name("renamed"), "to": name("other")}).await.expect("renamed");
    case.collection("dropped").drop().await.expect("dropped");
    case.collection("remade").drop().await.expect("dropped");
    load(&case, "remade", (0..50).map(Bson::from), 10).await;
    for n in 0..400 {
        let update = doc! {"$set": {"n": n, format!("new_{}", n / 100): n}};
        case.collection("other").update_one(doc! {"_id": n * 10}, update.clone()).await.expect("updated");
        case.collection("stays").update_one(doc! {"_id": n * 10}, update).await.expect("updated");
    }
    assert_eq!(daemon.until_state("snapshot").await["state"], "snapshot", "it is still copying");
    let report = case.expect_equal_within(SLOW).await;
    assert_eq!(report.documents - 50 - 8000, report.documents % 50, "{report}");
    assert_eq!(case.lines("SELECT count(*) FROM tailwater.collections WHERE NOT copied").await, ["0"]);
    daemon.until_state("streaming").await;
}
