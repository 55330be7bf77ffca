//! Many databases and collections at once over few connections, in bounded memory.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use mongodb::bson::{Document, doc};

use crate::harness::case::Case;
use crate::harness::daemon::Daemon;
use crate::harness::http;

const DATABASES: usize = 16;
const COLLECTIONS: usize = 128;
const CONNECTIONS: usize = 16;
const MEMORY_MIB: u64 = 400;

/// One document for every collection, one database after the other.
async fn insert(case: &Case, id: i32) {
    for d in 0..DATABASES {
        let database = case.database(&format!("d{d}"));
        let inserts = (0..COLLECTIONS).map(|c| {
            let collection = database.collection::<Document>(&format!("c{c}"));
            async move { collection.insert_one(doc! {"_id": id, "d": c as i32, "l": [{"x": id}, {"y": "text"}]}).await }
        });
        try_join_all(inserts).await.expect("inserted");
    }
}

/// Counts what PostgreSQL itself sees until `until` is over; the most at a time.
async fn most_connections(case: &Case, daemon: &Daemon, until: impl Fn(&serde_json::Value) -> bool) -> usize {
    let query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tailwater' \
                 AND datname = current_database()";
    let mut most = 0;
    let start = Instant::now();
    loop {
        let now: usize = case.lines(query).await[0].parse().expect("a number");
        most = most.max(now);
        if http::status(daemon.port).is_some_and(|status| until(&status)) {
            return most;
        }
        assert!(start.elapsed() < Duration::from_secs(180), "{}", daemon.log_tail());
        crate::harness::wait::moment(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_collections_stream_over_sixteen_connections() {
    let case = Case::new("many").await;
    let start = Instant::now();
    insert(&case, 0).await;
    println!("created in {:?}", start.elapsed());
    let mut config = case.config();
    config.set("target.max_connections", &CONNECTIONS.to_string()).set("limits.memory_limit", "\"64MiB\"");
    let daemon = case.start(&config);
    let streaming = |status: &serde_json::Value| status["state"] == "streaming";
    let mut most = most_connections(&case, &daemon, streaming).await;
    println!("streaming after {:?}", start.elapsed());
    // Every collection changes, all databases at once.
    let writing = async {
        for id in 1..=3 {
            insert(&case, id).await;
        }
    };
    let counting = most_connections(&case, &daemon, |s| s["changes_applied"].as_u64() >= Some(3 * 2048));
    most = most.max(tokio::join!(writing, counting).1);
    let report = case.expect_equal_within(Duration::from_secs(120)).await;
    let memory = daemon.peak_memory_mib();
    println!("{} documents equal after {:?}; {most} connections, {memory} MiB", report.documents, start.elapsed());
    assert!(report.documents >= DATABASES * COLLECTIONS * 4, "{report}");
    assert!((2..=CONNECTIONS).contains(&most), "{most} connections");
    assert!(memory < MEMORY_MIB, "{memory} MiB resident");
    let lanes: BTreeMap<String, ()> = case
        .lines("SELECT DISTINCT schema_name FROM tailwater.paths")
        .await
        .into_iter()
        .map(|name| (name, ()))
        .collect();
    assert!(lanes.len() >= DATABASES, "{} schemas", lanes.len());
    daemon.sigterm();
}
