//! One writer: the second daemon of a pipeline stands by, and takes over when the first is gone.

use mongodb::bson::doc;

use crate::harness::case::Case;
use crate::harness::http;

async fn write(case: &Case, from: i32) {
    for id in from..from + 50 {
        case.collection("c").insert_one(doc! {"_id": id, "l": [{"x": id}]}).await.expect("inserted");
        case.collection("c")
            .update_many(doc! {"_id": {"$gt": id - 5}}, doc! {"$inc": {"n": 1}})
            .await
            .expect("updated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_takes_over_from_a_killed_first() {
    let case = Case::new("takeover").await;
    write(&case, 0).await;
    let config = case.config();
    let first = case.start(&config);
    first.until_state("streaming").await;
    let second = case.start(&config.on_another_port());
    second.until_state("standby").await;
    let (code, reason) = http::get(second.port, "/readyz").expect("an answer");
    assert!(code == 503 && reason.contains("standby"), "{code} {reason}");
    write(&case, 100).await;
    case.settle().await;
    first.kill9();
    write(&case, 200).await;
    second.until_state("streaming").await;
    case.expect_equal().await;
    // And back again, this time in peace.
    let third = case.start(&config);
    third.until_state("standby").await;
    second.sigterm();
    third.until_state("streaming").await;
    write(&case, 300).await;
    case.expect_equal().await;
}

/// A daemon that was stopped for a while does not know that it has lost its lock: the fence keeps it from writing.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_that_wakes_up_late_writes_nothing() {
    let case = Case::new("fenced").await;
    write(&case, 0).await;
    let config = case.config();
    let first = case.start(&config);
    first.until_state("streaming").await;
    let second = case.start(&config.on_another_port());
    second.until_state("standby").await;
    first.suspend(true);
    write(&case, 100).await;
    // The server loses the first one's lock as it would with a dead network; its other connections live on.
    let lock = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted \
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(case.lines(lock).await, ["t"]);
    second.until_state("streaming").await;
    write(&case, 200).await;
    case.settle().await;
    first.suspend(false);
    write(&case, 300).await;
    case.expect_equal().await;
    let status = second.until_state("streaming").await;
    assert!(status["changes_applied"].as_u64() > Some(0), "{status}");
}
