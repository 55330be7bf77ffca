//! `run --until-caught-up` ends by itself with everything up to its start, and goes on from there the next time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use mongodb::bson::doc;

use crate::harness::audit;
use crate::harness::case::Case;
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::wait::LONG;
use crate::workload::random::{Random, seed};
use crate::workload::writer::Writer;

/// Runs to the end.
fn catch_up(case: &Case, config: &Config) {
    let mut daemon = Daemon::start(&case.dir, config, &["--until-caught-up"]);
    let status = daemon.end_within(LONG);
    assert_eq!(status.code(), Some(0), "{}", daemon.log_tail());
}

async fn expect_equal_now(case: &Case) {
    let report = case.compare().await;
    assert!(report.findings.is_empty(), "{report}\n{}", case.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_run_applies_what_is_new_and_nothing_twice() {
    let case = Case::new("caught_up").await;
    let config = case.config();
    let students = case.collection("student");
    students.insert_many((0..500).map(|n| doc! {"_id": n, "n": n, "phones": [{"nr": n}]})).await.expect("inserted");
    case.database("other").collection("t").insert_one(doc! {"_id": 1}).await.expect("inserted");
    catch_up(&case, &config);
    expect_equal_now(&case).await;
    let copied = "SELECT count(*) FROM {db}.student";
    assert_eq!(case.lines(copied).await, ["500"]);

    audit::start(&case).await;
    students.insert_one(doc! {"_id": 500, "n": 0}).await.expect("inserted");
    students
        .update_one(doc! {"_id": 7}, doc! {"$inc": {"n": 1}, "$push": {"phones": {"nr": 1}}})
        .await
        .expect("updated");
    students.delete_one(doc! {"_id": 8}).await.expect("deleted");
    catch_up(&case, &config);
    expect_equal_now(&case).await;
    let written = "SELECT operation, id FROM tailwater.audit ORDER BY id";
    let once = ["UPDATE | 7", "DELETE | 8", "INSERT | 500"];
    assert_eq!(case.lines(written).await, once);

    let positions = "SELECT lane, token, committed_at FROM tailwater.checkpoint WHERE lane <> '' ORDER BY lane";
    let before = case.lines(positions).await;
    assert!(!before.is_empty(), "no database has a position");
    catch_up(&case, &config);
    expect_equal_now(&case).await;
    assert_eq!(case.lines(written).await, once);
    assert_eq!(case.lines(positions).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_although_writers_go_on() {
    let case = Case::new("caught_up_busy").await;
    case.collection("t").insert_one(doc! {"_id": 0}).await.expect("inserted");
    let written = Arc::new(AtomicI32::new(1));
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (collection, written, stop) = (case.collection("t"), Arc::clone(&written), Arc::clone(&stop));
        async move {
            while !stop.load(Ordering::SeqCst) {
                let n = written.load(Ordering::SeqCst);
                collection.insert_one(doc! {"_id": n}).await.expect("inserted");
                written.store(n + 1, Ordering::SeqCst);
            }
        }
    });
    let config = case.config();
    for round in 0..2 {
        let before = written.load(Ordering::SeqCst);
        catch_up(&case, &config);
        assert!(!writer.is_finished(), "the writer has given up");
        let copied = format!("SELECT count(*) FROM {{db}}.t WHERE _id < {before}");
        assert_eq!(case.lines(&copied).await, [before.to_string()], "round {round}");
    }
    stop.store(true, Ordering::SeqCst);
    writer.await.expect("the writer ends");
    catch_up(&case, &config);
    expect_equal_now(&case).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_from_time_to_time_is_enough() {
    let case = Case::new("caught_up_seldom").await;
    let mut writer = Writer::new(case.database("db"), Random::new(seed("until_caught_up"), 0), 4);
    writer.ddl_every = 60;
    let config = case.config();
    for _ in 0..4 {
        writer.load(400).await.expect("loaded");
        writer.work(300).await.expect("worked");
        catch_up(&case, &config);
        expect_equal_now(&case).await;
    }
}
