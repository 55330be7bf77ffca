//! Prefix consistency: once a database is consistent, every reader sees a state that MongoDB had, whatever happens. A
//! transaction of several databases is seen in all of them at once.
//!
//! `scripts/bank` runs these tests for as long as you like.
//!
//! - `bank`: accounts, and transactions of every kind between them
//! - `troubles`: what happens to the daemon and to MongoDB meanwhile

mod bank;
mod troubles;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bank::Bank;
use troubles::{Trouble, Troubles};

use crate::harness::case::Case;
use crate::harness::daemon::Daemon;
use crate::harness::servers::Servers;
use crate::harness::watch::{Seen, Watcher};
use crate::workload::random::{Random, seed};

/// TAILWATER_TEST_MINUTES, which `scripts/bank` sets, else as long as it takes to see something.
fn length_of_this_run(otherwise: Duration) -> Duration {
    let minutes = std::env::var("TAILWATER_TEST_MINUTES").ok();
    minutes.map_or(otherwise, |minutes| Duration::from_secs(60 * minutes.parse::<u64>().expect("a number of minutes")))
}

fn nothing_is_missing(seen: &Seen) -> Result<(), String> {
    if seen[0] == "0" { Ok(()) } else { Err(format!("{} are missing, of the places' {:?}", seen[0], &seen[1..])) }
}

/// Waits until the daemon says of each of the bank's databases that it is consistent.
async fn until_consistent(daemon: &Daemon, bank: &Bank) {
    let names = bank.databases();
    daemon
        .until_status("every database consistent", |status| {
            let databases = status["databases"].as_array().cloned().unwrap_or_default();
            let consistent = |name: &String| databases.iter().any(|d| d["name"] == **name && d["consistent"] == true);
            names.iter().all(consistent)
        })
        .await;
}

/// Lets bankers move money between the places `which`, from before the copy on, and looks at the sum all the time while
/// one trouble follows the other.
async fn the_sum_stays(case: &Case, which: &[usize], length: Duration, troubles: Troubles<'_>) {
    let seed = seed(&case.name);
    let bank = Bank::open(case, which).await;
    let stop = Arc::new(AtomicBool::new(false));
    let bankers = bank.work(seed, &stop);
    let config = case.config();
    let mut daemon = case.start(&config);
    until_consistent(&daemon, &bank).await;
    let watcher = Watcher::start(case, bank.query(), nothing_is_missing).await;
    let end = Instant::now() + length_of_this_run(length);
    let mut random = Random::new(seed, 1);
    let mut troubled = 0;
    while Instant::now() < end {
        daemon = troubles.one_more(case, &config, daemon, &mut random, troubled).await;
        watcher.expect_content(|| format!("after {troubled} troubles\n{}", case.logs()));
        troubled += 1;
    }
    stop.store(true, Ordering::Relaxed);
    let mut committed = BTreeMap::new();
    for banker in bankers {
        banker.await.expect("a banker").add_to(&mut committed);
    }
    // A bank that does nothing proves nothing.
    assert_eq!(committed.len(), 6, "every kind of deal was made: {committed:?}");
    case.expect_equal_within(Duration::from_secs(120)).await;
    let looks = watcher.stop().await;
    println!("{looks} looks, {troubled} troubles");
    assert!(troubled > 4 && looks > 100, "{looks} looks, {troubled} troubles");
    daemon.sigterm();
}

#[tokio::test(flavor = "multi_thread")]
async fn money_moves_within_a_database_and_the_sum_stays() {
    let case = Case::new("moneywithin").await;
    let troubles = Troubles::new(&[Trouble::Kill, Trouble::Kill, Trouble::Terminate], None);
    the_sum_stays(&case, &[0, 1], Duration::from_secs(15), troubles).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_moves_while_primaries_come_and_go_and_the_sum_stays() {
    let servers = Servers::start(&["--members", "3", "--oplog-mb", "2048"]);
    let case = Case::on(&servers, "moneyelections").await;
    let kinds = [Trouble::KillPrimary, Trouble::Kill, Trouble::StepDown, Trouble::Kill];
    the_sum_stays(&case, &[0, 1, 2], Duration::from_secs(30), Troubles::new(&kinds, Some(&servers))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_moves_between_databases_and_the_sum_stays() {
    let case = Case::new("moneybetween").await;
    let troubles = Troubles::new(&[Trouble::Kill, Trouble::Kill, Trouble::Terminate], None);
    the_sum_stays(&case, &[0, 1, 2], Duration::from_secs(15), troubles).await;
}
