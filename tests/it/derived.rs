//! Derived tables: what an aggregation makes of a collection, at one time and in parts by ids.

use std::collections::BTreeMap;

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use tailwater::error::Kind;
use tailwater::mapping::options::{Derived, Ids, Listed};
use tailwater::model::bson::Document as Raw;
use tailwater::model::position::ClusterTime;

use crate::harness::case::Case;
use crate::harness::source::read_all;

const USERS: i32 = 3000;

fn stage(stage: &Document) -> Raw {
    Raw::new(stage.to_vec().expect("BSON")).expect("a document")
}

fn parsed(raw: &Raw) -> Document {
    Document::from_reader(raw.as_doc().bytes()).expect("decodes")
}

/// The user of a number: of one of the types that a list cannot tell apart, in it as the text beside.
fn user(n: i32) -> (Bson, String) {
    match n % 3 {
        0 => (Bson::Int32(n), n.to_string()),
        1 => (Bson::String(n.to_string()), n.to_string()),
        _ => {
            let id = ObjectId::parse_str(format!("{n:024x}")).expect("an ObjectId");
            (Bson::ObjectId(id), id.to_hex())
        }
    }
}

async fn insert_orders(case: &Case) {
    let order = |n: i32| {
        let (user, _) = user(n % USERS);
        doc! {"_id": n, "user": user, "price": n / USERS + 1}
    };
    case.collection("orders").insert_many((0..3 * USERS).map(order)).await.expect("inserted");
}

fn sum_per_user() -> Vec<Raw> {
    vec![stage(&doc! {"$group": {"_id": "$user", "orders": {"$sum": 1}, "total": {"$sum": "$price"}}})]
}

/// Every second user, and some that have no order.
fn listed() -> Ids {
    let texts: Vec<String> = (0..USERS).step_by(2).map(|n| user(n).1).chain(["nobody".to_owned()]).collect();
    let listed = texts.iter().map(|text| Listed { text: text.as_str().into(), quoted: false });
    Ids::new("user", listed).expect("a field")
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_of_listed_users_come_in_parts_of_one_time() {
    let case = Case::new("derived").await;
    insert_orders(&case).await;
    let source = case.source().await;
    let info = case.info(&source, "orders").await;
    let derived = Derived { pipeline: sum_per_user(), ids: Some(listed()) };
    let parts: Vec<Vec<Raw>> = derived.partitions().collect();
    assert_eq!(parts.len(), 2);
    let mut at: Option<ClusterTime> = None;
    let mut sums = BTreeMap::new();
    for stages in &parts {
        let reader = source.read_derived(&info, stages, at).await.expect("opens");
        assert_eq!(*at.get_or_insert(reader.cluster_time()), reader.cluster_time());
        // What comes after the time of the first part is in none of them.
        case.collection("orders").update_many(doc! {}, doc! {"$inc": {"price": 100}}).await.expect("updated");
        for result in read_all(reader).await {
            let result = parsed(&result);
            let user = result.get("_id").expect("a user").to_string();
            let sum = (result.get_i32("orders").expect("a sum"), result.get_i32("total").expect("a sum"));
            assert_eq!(sums.insert(user, sum), None, "no user comes twice");
        }
    }
    let expected = (0..USERS).step_by(2).map(|n| (user(n).0.to_string(), (3, 1 + 2 + 3)));
    assert_eq!(sums, expected.collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_ids_everything_comes_in_the_order_of_the_stages() {
    let case = Case::new("derived_all").await;
    insert_orders(&case).await;
    let source = case.source().await;
    let info = case.info(&source, "orders").await;
    // More than a batch holds; and one without `_id`, which is left as it is.
    let stages = [doc! {"$sort": {"price": -1, "_id": 1}}, doc! {"$project": {"_id": 0, "n": "$_id"}}];
    let stages: Vec<Raw> = stages.iter().map(stage).collect();
    let all = read_all(source.read_derived(&info, &stages, None).await.expect("opens")).await;
    let numbers: Vec<i32> = all.iter().map(|raw| parsed(raw).get_i32("n").expect("a number")).collect();
    let expected: Vec<i32> = (0..3).rev().flat_map(|price| price * USERS..(price + 1) * USERS).collect();
    assert_eq!(numbers, expected);
    assert!(all.iter().all(|raw| raw.as_doc().get("_id").expect("valid").is_none()));
    let nothing = [stage(&doc! {"$match": {"user": "nobody"}})];
    assert_eq!(read_all(source.read_derived(&info, &nothing, None).await.expect("opens")).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_found_by_its_uuid_and_errors_are_told_apart() {
    let case = Case::new("derived_moves").await;
    insert_orders(&case).await;
    let source = case.source().await;
    let info = case.info(&source, "orders").await;
    let database = case.database("db").name().to_owned();
    let rename = doc! {"renameCollection": format!("{database}.orders"), "to": format!("{database}.moved")};
    case.mongo.database("admin").run_command(rename).await.expect("renamed");
    case.collection("orders").insert_one(doc! {"_id": 1, "user": 1}).await.expect("inserted");
    let count = [stage(&doc! {"$count": "n"})];
    let counted = read_all(source.read_derived(&info, &count, None).await.expect("follows the rename")).await;
    assert_eq!(counted.iter().map(parsed).collect::<Vec<_>>(), [doc! {"n": 3 * USERS}]);
    let old = ClusterTime { seconds: 1000, ordinal: 1 };
    let error = source.read_derived(&info, &count, Some(old)).await.expect_err("too old");
    assert_eq!(error.kind(), Kind::Interrupted, "{error}");
    let unknown = [stage(&doc! {"$total": 1})];
    let error = source.read_derived(&info, &unknown, None).await.expect_err("no stage");
    assert!(error.kind() != Kind::Interrupted && error.to_string().contains("$total"), "{error}");
    case.collection("moved").drop().await.expect("dropped");
    let error = source.read_derived(&info, &count, None).await.expect_err("gone");
    assert_eq!(error.kind(), Kind::Interrupted, "{error}");
}
