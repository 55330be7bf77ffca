//! `run --until-caught-up` ends with status 0 once everything up to its start is committed.

use std::time::Duration;

use crate::harness::case::Case;
use crate::harness::daemon::Daemon;
use crate::workload::random::{Random, seed};
use crate::workload::writer::Writer;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_from_time_to_time_is_enough() {
    const DEADLINE: Duration = Duration::from_secs(120);
    let case = Case::new("caughtup").await;
    let mut writer = Writer::new(case.database("db"), Random::new(seed("until_caught_up"), 0), 4);
    writer.ddl_every = 60;
    let config = case.config();
    for round in 0..4 {
        writer.load(400).await.expect("loaded");
        writer.work(300).await.expect("worked");
        let mut run = Daemon::start(&case.dir, &config, &["--until-caught-up"]);
        let status = run.end_within(DEADLINE);
        assert_eq!(status.code(), Some(0), "round {round}: {}", run.log_tail());
        let report = case.compare().await;
        assert!(report.findings.is_empty(), "round {round}: {report}");
    }
    // Nothing has changed: it ends as well.
    let mut run = Daemon::start(&case.dir, &config, &["--until-caught-up"]);
    assert_eq!(run.end_within(DEADLINE).code(), Some(0), "{}", run.log_tail());
}
