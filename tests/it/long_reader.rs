//! Somebody reads a table for long while its schema has to change.

use std::time::Duration;

use mongodb::bson::doc;

use crate::harness::case::{Case, connect};
use crate::harness::wait::{self, LONG};

/// Waits until the daemon says that it waits.
async fn until_it_waits(case: &Case, statement: &str) {
    let says = || async {
        let waits = |line: &str| line.contains("waits for its table") && line.contains(statement);
        case.logs().lines().any(waits).then_some(())
    };
    wait::until(format!("{statement} to wait"), LONG, || case.logs(), says).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn others_still_read_while_a_schema_change_waits_for_a_long_reader() {
    let case = Case::new("long_reader").await;
    case.collection("t").insert_one(doc! { "_id": 1, "a": 1, "gone": { "x": 1 } }).await.expect("inserted");
    let daemon = case.start(&case.config());
    case.settle().await;
    let reader = connect(&case.postgres_uri).await;
    let schema = format!("{}db", case.prefix);
    let read = format!("BEGIN; SELECT * FROM \"{schema}\".t; SELECT * FROM \"{schema}\".t_gone");
    reader.batch_execute(&read).await.expect("read");

    case.collection("t").insert_one(doc! { "_id": 2, "new": "x" }).await.expect("inserted");
    until_it_waits(&case, "ADD COLUMN").await;
    // Far longer than a turn of waiting, far shorter than the reader, which does not end by itself.
    let others = connect(&case.postgres_uri).await;
    let count = format!("SET statement_timeout = '20s'; SELECT count(*) FROM \"{schema}\".t");
    for _ in 0..20 {
        others.batch_execute(&count).await.expect("read beside the waiting ALTER");
        wait::moment(Duration::from_millis(20)).await;
    }
    reader.batch_execute("COMMIT").await.expect("ended");
    case.expect_equal().await;

    reader.batch_execute(&read).await.expect("read");
    case.collection("t").drop().await.expect("dropped");
    until_it_waits(&case, "DROP TABLE").await;
    others.batch_execute(&count).await.expect("read beside the waiting DROP");
    reader.batch_execute("COMMIT").await.expect("ended");
    case.expect_equal().await;
    daemon.sigterm();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_long_reader() {
    let case = Case::new("stop_reader").await;
    case.collection("t").insert_one(doc! { "_id": 1, "a": 1 }).await.expect("inserted");
    let config = case.config();
    let daemon = case.start(&config);
    case.settle().await;
    let reader = connect(&case.postgres_uri).await;
    let read = format!("BEGIN; SELECT * FROM \"{}db\".t", case.prefix);
    reader.batch_execute(&read).await.expect("read");
    case.collection("t").insert_one(doc! { "_id": 2, "late": "x" }).await.expect("inserted");
    until_it_waits(&case, "late").await;
    daemon.sigterm();
    reader.batch_execute("COMMIT").await.expect("ended");
    let daemon = case.start(&config);
    case.expect_equal().await;
    daemon.sigterm();
}
