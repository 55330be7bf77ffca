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

/// The reader has one table and wants the other, and the daemon has changed the other already and has to change the one.
/// PostgreSQL finds that out only while both wait, and the daemon waits in turns.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_two_tables_and_a_change_of_both_do_not_wait_for_each_other_for_ever() {
    let case = Case::new("two_tables").await;
    let (a, b) = (case.collection("a"), case.collection("b"));
    a.insert_one(doc! {"_id": 1}).await.expect("inserted");
    b.insert_one(doc! {"_id": 1}).await.expect("inserted");
    let daemon = case.start(&case.config());
    case.settle().await;
    let reader = connect(&case.postgres_uri).await;
    let schema = format!("{}db", case.prefix);
    reader.batch_execute(&format!("BEGIN; SELECT * FROM \"{schema}\".a")).await.expect("read");
    let mut session = case.mongo.start_session().await.expect("a session");
    session.start_transaction().await.expect("a transaction");
    b.insert_one(doc! {"_id": 2, "new": "x"}).session(&mut session).await.expect("inserted");
    a.insert_one(doc! {"_id": 2, "new": "x"}).session(&mut session).await.expect("inserted");
    session.commit_transaction().await.expect("committed");
    until_it_waits(&case, "ADD COLUMN").await;
    let read = tokio::time::timeout(LONG, reader.batch_execute(&format!("SELECT * FROM \"{schema}\".b"))).await;
    let read = read.unwrap_or_else(|_| panic!("the reader still waits after {LONG:?}\n{}", case.logs()));
    read.expect("the daemon gives way");
    reader.batch_execute("ROLLBACK").await.expect("ended");
    case.expect_equal().await;
    daemon.sigterm();
}
