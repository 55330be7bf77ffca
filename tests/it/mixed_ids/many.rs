//! Large tables: keys are made in one go, and ids of nine types are copied in ranges.

use std::time::{Duration, Instant};

use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Decimal128, Timestamp, doc};

use super::ids::Id;
use crate::harness::case::Case;
use crate::harness::wait::{self, LONG};

const PATIENCE: Duration = Duration::from_secs(120);

async fn insert_numbers(case: &Case, rows: i32) {
    let documents = (0..rows).map(|n| doc! {"_id": n, "v": n, "l": [{"y": n, "m": [{"z": n}]}]});
    case.collection("c").insert_many(documents).await.expect("inserted");
}

/// The key is changed in one transaction, however long it takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_keys_are_made_leaves_the_old_ones() {
    let case = Case::new("rekey_kill").await;
    insert_numbers(&case, 40_000).await;
    let config = case.config();
    let daemon = case.start(&config);
    case.settle_within(PATIENCE).await;
    case.insert_id("c", &Id::text("the first of another type"), &doc! {}).await;
    let begun = || async { case.logs().contains("ADD PRIMARY KEY").then_some(()) };
    wait::until("the new key to be made", LONG, || case.logs(), begun).await;
    daemon.kill9();
    case.expect_plain("c", "integer").await;
    let _daemon = case.start(&config);
    case.expect_equal_within(PATIENCE).await;
    case.expect_keyed("c").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_rows_get_their_key_in_one_go() {
    const ROWS: i32 = 100_000;
    let case = Case::new("rekey_many").await;
    insert_numbers(&case, ROWS).await;
    let _daemon = case.start(&case.config());
    case.settle_within(PATIENCE).await;
    case.expect_plain("c", "integer").await;
    let start = Instant::now();
    case.insert_id("c", &Id::text("the first of another type"), &doc! {}).await;
    case.settle_within(PATIENCE).await;
    println!("{ROWS} documents, three tables, another key after {:?}", start.elapsed());
    case.expect_keyed("c").await;
    case.collection("c")
        .update_many(doc! {"v": {"$mod": [100, 7]}}, doc! {"$inc": {"l.0.m.0.z": 1}})
        .await
        .expect("updated");
    case.collection("c").delete_many(doc! {"v": {"$mod": [100, 8]}}).await.expect("deleted");
    case.expect_equal_within(PATIENCE).await;
    let statements = "SELECT count(*) FROM tailwater.events WHERE kind = 'rekey_table'";
    assert_eq!(case.lines(statements).await, ["6"]);
}

/// The number `n` as an id of one of nine types.
fn nine(n: i64) -> Bson {
    let id = n / 9;
    match n % 9 {
        0 => Bson::Int32(id as i32),
        1 => Bson::Double(id as f64 + 0.25),
        2 => Bson::String(format!("{id:05}")),
        3 => Bson::ObjectId(ObjectId::parse_str(format!("{id:024x}")).expect("24 digits")),
        4 => Bson::DateTime(DateTime::from_millis(id * 1_000_003)),
        5 => Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: id.to_be_bytes().to_vec() }),
        6 => Bson::Document(doc! {"a": id, "b": {"c": [id]}}),
        7 => Bson::Decimal128(format!("{id}.7").parse::<Decimal128>().expect("a decimal")),
        _ => Bson::Timestamp(Timestamp { time: id as u32, increment: 1 }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn seventeen_thousand_ids_of_nine_types() {
    let case = Case::new("nine_types").await;
    let filler = "x".repeat(4000); // several ranges
    let document = |n: i64| doc! {"_id": nine(n), "n": n, "filler": &filler, "l": [{"y": n}]};
    case.collection("c").insert_many((0..17_000).map(document)).await.expect("inserted");
    let _daemon = case.start(&case.config());
    case.collection("c").insert_many((17_000..18_000).map(document)).await.expect("inserted");
    case.collection("c")
        .update_many(doc! {"n": {"$mod": [7, 1]}}, doc! {"$set": {"l.0.y": -1}})
        .await
        .expect("updated");
    case.collection("c").delete_many(doc! {"n": {"$mod": [11, 1]}}).await.expect("deleted");
    case.expect_equal_within(PATIENCE).await;
    assert_eq!(case.key("c_l").await, ["c__key", "_index"]);
    let ranges = case.lines("SELECT count(*) > 1 FROM tailwater.snapshot_chunks WHERE namespace LIKE '%.c'").await;
    assert_eq!(ranges, ["t"]);
}
