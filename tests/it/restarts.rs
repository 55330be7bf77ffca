//! Either server stops, is killed, comes back; the daemon is told to stop and starts again: nothing is lost or doubled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::harness::case::Case;
use crate::harness::daemon::Daemon;
use crate::harness::http;
use crate::harness::servers::Servers;
use crate::harness::wait::{self, LONG};
use crate::workload::random::{Random, seed};
use crate::workload::writer::Writer;

const PACE: Duration = Duration::from_millis(4);

/// A writer that goes on whatever happens to its server, until it is told to stop.
fn keep_writing(case: &Case, stream: u64, seed: u64) -> (Arc<AtomicBool>, JoinHandle<usize>) {
    let mut writer = Writer::new(case.database(&format!("w{stream}")), Random::new(seed, stream), 4);
    writer.ddl_every = 0;
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let task = tokio::spawn(async move {
        writer.load(500).await.expect("loaded");
        let mut done = 0;
        while !told.load(Ordering::Relaxed) {
            // As fast as an application, not as fast as the machine: what piles up has to be caught up with.
            wait::moment(PACE).await;
            // An operation that failed with its server may have happened or not: the comparison reads what is there.
            done += usize::from(writer.step().await.is_ok());
        }
        done
    });
    (stop, task)
}

async fn until_ready(daemon: &Daemon) {
    let ready = || async { http::get(daemon.port, "/readyz").filter(|(code, _)| *code == 200) };
    wait::until("/readyz says 200", LONG, || daemon.log_tail(), ready).await;
}

async fn until_not_ready(daemon: &Daemon) -> String {
    let unready = || async { http::get(daemon.port, "/readyz").filter(|(code, _)| *code == 503) };
    wait::until("/readyz says 503", LONG, || daemon.log_tail(), unready).await.1
}

#[tokio::test(flavor = "multi_thread")]
async fn both_servers_may_stop_and_start_again() {
    let servers = Servers::start(&["--oplog-mb", "2048"]);
    let mut case = Case::on(&servers, "restarts").await;
    let seed = seed("restarts");
    let writers: Vec<_> = (0..2).map(|i| keep_writing(&case, i, seed)).collect();
    let config = case.config();
    let mut daemon = case.start(&config);
    for kill in ["stop", "kill"] {
        for server in ["mongo", "postgres"] {
            until_ready(&daemon).await;
            servers.change(&format!("{kill}-{server}"), &[]);
            let reason = until_not_ready(&daemon).await;
            assert!(reason.len() > 10, "the reason is told: {reason}");
            servers.change(&format!("start-{server}"), &[]);
            if server == "postgres" {
                case.reconnect().await;
            }
            until_ready(&daemon).await;
        }
        daemon.sigterm();
        daemon = case.start(&config);
    }
    until_ready(&daemon).await;
    // Both at once.
    servers.change("kill-postgres", &[]);
    servers.change("kill-mongo", &[]);
    servers.change("start-mongo", &[]);
    servers.change("start-postgres", &[]);
    case.reconnect().await;
    for (stop, task) in writers {
        stop.store(true, Ordering::Relaxed);
        let done = task.await.expect("a writer");
        println!("{done} operations");
        assert!(done > 100, "{done} operations were done");
    }
    case.expect_equal_within(Duration::from_secs(120)).await;
    let retries = http::get(daemon.port, "/metrics").expect("metrics").1;
    assert!(retries.lines().any(|l| l.starts_with("tailwater_retries_total{")), "{retries}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_of_anything_is_clean_and_quick() {
    let case = Case::new("sigterm").await;
    let seed = seed("sigterm");
    let mut random = Random::new(seed, 99);
    let writers: Vec<_> = (0..2).map(|i| keep_writing(&case, i, seed)).collect();
    let config = case.config();
    for _ in 0..8 {
        let daemon = case.start(&config);
        wait::moment(Duration::from_millis(200 + random.next() % 1500)).await;
        daemon.sigterm();
    }
    for (stop, task) in writers {
        stop.store(true, Ordering::Relaxed);
        task.await.expect("a writer");
    }
    let _daemon = case.start(&config);
    case.expect_equal_within(Duration::from_secs(120)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn elections_pass_by() {
    let servers = Servers::start(&["--members", "3", "--oplog-mb", "1024"]);
    let case = Case::on(&servers, "elections").await;
    let seed = seed("elections");
    let (stop, task) = keep_writing(&case, 0, seed);
    let daemon = case.start(&case.config());
    until_ready(&daemon).await;
    for kill in ["kill-mongo", "stop-mongo"] {
        servers.change(kill, &["primary"]);
        until_ready(&daemon).await;
        servers.change("start-mongo", &["all"]);
    }
    stop.store(true, Ordering::Relaxed);
    assert!(task.await.expect("a writer") > 50);
    case.expect_equal_within(Duration::from_secs(120)).await;
}
