//! A change on an idle pipeline arrives by itself, without a later one that pushes it. How fast is `scripts/bench`'s part.

use std::time::Instant;

use mongodb::bson::doc;

use crate::harness::case::Case;
use crate::harness::wait::{self, LONG};

#[tokio::test(flavor = "multi_thread")]
async fn a_single_change_needs_no_company() {
    let case = Case::new("latency").await;
    case.collection("c").insert_one(doc! {"_id": 0, "n": 0}).await.expect("inserted");
    let daemon = case.start(&case.config());
    daemon.until_state("streaming").await;
    let mut times = Vec::new();
    for n in 1..=40 {
        let start = Instant::now();
        case.collection("c").update_one(doc! {"_id": 0}, doc! {"$set": {"n": n}}).await.expect("updated");
        let arrived = || async { (case.lines("SELECT n FROM {db}.c").await == [n.to_string()]).then_some(()) };
        wait::until(format!("change {n}"), LONG, || case.logs(), arrived).await;
        times.push(start.elapsed());
    }
    times.sort();
    println!("median of {}: {:?}", times.len(), times[times.len() / 2]);
    case.expect_equal().await;
}
