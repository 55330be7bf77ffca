//! Two daemons on one pipeline: one works, the other stands by and takes over, and the first never writes again unasked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mongodb::bson::{Document, doc};

use crate::harness::audit;
use crate::harness::case::Case;
use crate::harness::daemon::Daemon;
use crate::harness::http;

/// Backends of daemons, but for that of the standby, which asks for the lock again and again.
const WORKERS: &str = "SELECT pid FROM pg_stat_activity WHERE application_name = 'tailwater' \
                       AND datname = current_database() AND query NOT LIKE '%pg_try_advisory_lock%'";
/// The backend that holds the pipeline's lock.
const LEADER: &str = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted \
                      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// A daemon that streams and one that stands by.
async fn pair(case: &Case) -> (Daemon, Daemon) {
    case.collection("student").insert_many((0..100).map(student)).await.expect("inserted");
    let config = case.config();
    let first = case.start(&config);
    first.until_state("streaming").await;
    let second = case.start(&config.on_another_port());
    stands_by(&second).await;
    case.settle().await;
    (first, second)
}

async fn stands_by(daemon: &Daemon) {
    daemon.until_state("standby").await;
    let (code, reason) = http::get(daemon.port, "/readyz").expect("it answers");
    assert_eq!((code, reason.trim()), (503, "standby"));
}

fn student(n: i32) -> Document {
    doc! {"_id": n, "n": 0, "phones": [{"nr": n}]}
}

/// Changes that are no longer right when they are applied a second time, or after later ones.
async fn change(case: &Case, from: i32) {
    let students = case.collection("student");
    students.insert_many((from..from + 50).map(student)).await.expect("inserted");
    students.update_many(doc! {}, doc! {"$inc": {"n": 1}, "$push": {"phones": {"nr": from}}}).await.expect("updated");
    students.delete_many(doc! {"_id": {"$gte": from + 25}}).await.expect("deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standby_takes_over_when_the_first_is_killed() {
    let case = Case::new("two_kill").await;
    let (first, second) = pair(&case).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (students, stop) = (case.collection("student"), Arc::clone(&stop));
        async move {
            let mut n = 1000;
            while !stop.load(Ordering::SeqCst) {
                students.insert_one(student(n)).await.expect("inserted");
                students.update_one(doc! {"_id": n}, doc! {"$push": {"phones": {"nr": n}}}).await.expect("updated");
                students.update_one(doc! {"_id": n % 100}, doc! {"$inc": {"n": 1}}).await.expect("updated");
                n += 1;
            }
        }
    });
    first.until_status("changes of the writer", |status| status["changes_applied"].as_u64() > Some(100)).await;
    first.kill9();
    second.until_state("streaming").await;
    second.until_status("changes of the writer", |status| status["changes_applied"].as_u64() > Some(100)).await;
    stop.store(true, Ordering::SeqCst);
    writer.await.expect("the writer ends");
    case.expect_equal().await;
}

/// The first daemon freezes, loses the backends that `lost` selects, is replaced, and wakes up again with changes to write.
async fn replaced_while_frozen(name: &str, lost: &str) {
    let case = Case::new(name).await;
    let (first, second) = pair(&case).await;
    audit::start(&case).await;
    first.suspend(true);
    let workers = case.lines(WORKERS).await;
    assert!(workers.len() >= 2, "a leader and an executor: {workers:?}");
    let ended = case.lines(&format!("SELECT pg_terminate_backend(pid) FROM ({lost}) AS lost")).await;
    assert!(!ended.is_empty() && ended.iter().all(|ended| ended == "t"), "{ended:?}");
    change(&case, 200).await;
    second.until_state("streaming").await;
    change(&case, 300).await;
    case.settle().await;
    let written = case.lines("SELECT DISTINCT pid FROM tailwater.audit").await;
    assert!(!written.is_empty(), "the second has written nothing");

    first.suspend(false);
    stands_by(&first).await;
    change(&case, 400).await;
    case.expect_equal().await;
    let writers = case.lines("SELECT DISTINCT pid FROM tailwater.audit").await;
    assert!(!writers.iter().any(|pid| workers.contains(pid)), "the first has written: {writers:?} of {workers:?}");

    second.sigterm();
    first.until_state("streaming").await;
    change(&case, 500).await;
    case.expect_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_that_wakes_up_without_connections_stands_by() {
    replaced_while_frozen("two_frozen", WORKERS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_that_wakes_up_with_its_writers_connected_is_fenced() {
    replaced_while_frozen("two_fenced", LEADER).await;
}
