//! Tables that are filled by an aggregation: a sum per user, for the users of a list.

use std::fs;

use mongodb::bson::{Document, doc};

use crate::harness::case::Case;

#[tokio::test(flavor = "multi_thread")]
async fn a_sum_per_user_of_a_list_is_a_table() {
    const USERS: i32 = 2500;
    let case = Case::new("sums").await;
    let order = |n: i32| doc! {"_id": n, "user": n % USERS, "amount": n % 13, "lines": [{"n": n}]};
    let orders: Vec<Document> = (0..10_000).map(order).collect();
    case.collection("orders").insert_many(orders).await.expect("inserted");
    case.collection("plain").insert_one(doc! {"_id": 1}).await.expect("inserted");
    // Those with an even number, so that there are two partitions.
    let list = case.dir.join("users.csv");
    let lines: Vec<String> = (0..USERS).filter(|n| n % 2 == 0).map(|n| n.to_string()).collect();
    fs::write(&list, format!("user\n{}\n", lines.join("\n"))).expect("written");
    let mut config = case.config();
    let path = list.to_str().expect("UTF-8");
    config.append(&format!(
        "[[collection]]\nnamespace = \"{}db.orders\"\ntable = \"sums\"\nids_file = \"{path}\"\nids_field = \"user\"\n\
         pipeline = [{{ \"$group\" = {{ _id = \"$user\", total = {{ \"$sum\" = \"$amount\" }} }} }}]\n",
        case.prefix
    ));
    let daemon = case.start(&config);
    daemon.until_state("streaming").await;
    case.collection("orders").update_many(doc! {}, doc! {"$inc": {"amount": 1}}).await.expect("updated");
    case.collection("plain").insert_one(doc! {"_id": 2}).await.expect("inserted");
    let mut expected = vec![0; USERS as usize];
    for n in 0..10_000 {
        expected[(n % USERS) as usize] += n % 13;
    }
    let streamed = || async { (case.lines("SELECT count(*) FROM {db}.plain").await == ["2"]).then_some(()) };
    crate::harness::wait::until("the other streams", super::SLOW, || daemon.log_tail(), streamed).await;
    let expected: Vec<String> =
        (0..USERS).filter(|n| n % 2 == 0).map(|n| format!("{n} | {}", expected[n as usize])).collect();
    assert_eq!(case.lines("SELECT _id, total FROM {db}.sums ORDER BY _id").await, expected);
    let partitions = "SELECT count(*) FROM tailwater.snapshot_chunks WHERE namespace LIKE '%.orders' AND done";
    assert_eq!(case.lines(partitions).await, ["2"]);
    daemon.sigterm();
}
