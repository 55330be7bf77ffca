//! Both forms of update events lead to the same rows: the oplog's own diffs, and the public description.

use std::time::Duration;

use crate::harness::case::Case;
use crate::workload::random::{Random, seed};
use crate::workload::writer::Writer;

async fn follow(name: &str, updates: &str) {
    let case = Case::new(name).await;
    let seed = seed(name);
    let mut config = case.config();
    config.set("source.updates", &format!("\"{updates}\""));
    let mut writers: Vec<Writer> =
        (0..2).map(|i| Writer::new(case.database(&format!("w{i}")), Random::new(seed, i), 4)).collect();
    for writer in &mut writers {
        writer.load(300).await.expect("loaded");
        writer.ddl_every = 90;
    }
    let daemon = case.start(&config);
    let work = writers.into_iter().map(|mut writer| {
        tokio::spawn(async move {
            writer.work(1800).await.expect("worked");
            writer.refused
        })
    });
    for done in work.collect::<Vec<_>>() {
        println!("{} operations were refused by MongoDB", done.await.expect("a writer"));
    }
    let report = case.expect_equal_within(Duration::from_secs(120)).await;
    println!("{name}: {} documents in {} collections are equal", report.documents, report.collections);
    assert!(report.documents > 200, "{report}");
    daemon.sigterm();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_description_is_enough() {
    follow("publicupdates", "public").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oplogs_diff_is_enough() {
    follow("rawupdates", "raw").await;
}
