//! Servers that stop, are killed and come back under a running daemon, and a daemon that is stopped and started.

use std::time::Duration;

use crate::harness::case::Case;
use crate::harness::servers::Servers;
use crate::harness::wait;
use crate::kill::Crowd;
use crate::workload::random::{Random, seed};

const CATCH_UP: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn it_outlives_postgresql_and_stops_cleanly() {
    let seed = seed("restarts_postgres");
    let servers = Servers::start(&["--members", "1"]);
    let mut case = Case::on(&servers, "restarts_postgres").await;
    let crowd = Crowd::start(&case, "d", seed, 2, 4, 10_000).await;
    let mut random = Random::new(seed, 9);
    let config = case.config();
    let mut daemon = case.start(&config);
    for round in 0..6 {
        wait::moment(Duration::from_millis(random.below(1500) as u64)).await;
        servers.change(if round % 2 == 0 { "kill-postgres" } else { "stop-postgres" }, &[]);
        wait::moment(Duration::from_millis(random.below(700) as u64)).await;
        servers.change("start-postgres", &[]);
        if round % 3 == 2 {
            daemon.until_state("streaming").await;
            daemon.sigterm();
            daemon = case.start(&config);
        }
    }
    crowd.stop().await;
    case.reconnect().await;
    daemon.until_state_within("streaming", CATCH_UP).await;
    case.expect_equal_within(CATCH_UP).await;
    daemon.sigterm();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_outlives_mongodb() {
    let seed = seed("restarts_mongodb");
    let servers = Servers::start(&["--members", "1"]);
    let case = Case::on(&servers, "restarts_mongodb").await;
    let mut random = Random::new(seed, 9);
    let daemon = case.start(&case.config());
    for round in 0..4 {
        // A writer cannot go on without its server, so it works between the restarts; the daemon sees both.
        let crowd = Crowd::start(&case, &format!("r{round}_"), seed + round, 2, 4, 2_000).await;
        wait::moment(Duration::from_millis(random.below(1200) as u64)).await;
        crowd.stop().await;
        servers.change(if round % 2 == 0 { "kill-mongo" } else { "stop-mongo" }, &[]);
        wait::moment(Duration::from_millis(random.below(700) as u64)).await;
        servers.change("start-mongo", &[]);
    }
    daemon.until_state_within("streaming", CATCH_UP).await;
    case.expect_equal_within(CATCH_UP).await;
    daemon.sigterm();
}
