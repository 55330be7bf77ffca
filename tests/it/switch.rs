//! One pipeline, and another reader at every start: the position that one has committed is where the other goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mongodb::bson::doc;
use tokio::task::JoinHandle;

use crate::harness::audit;
use crate::harness::case::Case;
use crate::harness::wait;
use crate::workload::office::Office;
use crate::workload::random::{Random, seed};

const READERS: [&str; 2] = ["change_stream", "oplog"];
const SWITCHES: i32 = 10;
/// As fast as an application, not as fast as the machine.
const PACE: Duration = Duration::from_millis(10);

/// Two databases and their common transactions, until somebody says stop.
pub fn keep_working(mut office: Office, stop: &Arc<AtomicBool>) -> JoinHandle<usize> {
    let told = Arc::clone(stop);
    tokio::spawn(async move {
        let mut steps = 0;
        while !told.load(Ordering::Relaxed) {
            wait::moment(PACE).await;
            office.step(steps).await;
            steps += 1;
        }
        println!("{:?}", office.done);
        steps
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_may_change_its_reader_whenever_it_starts() {
    let case = Case::new("switch").await;
    let seed = seed("switch");
    let mut random = Random::new(seed, 9);
    let mut office = Office::new(["w0", "w1"].map(|name| case.database(name)), seed);
    for writer in &mut office.writers {
        writer.load(200).await.expect("loaded");
    }
    let students = case.collection("student");
    students.insert_one(doc! {"_id": 0}).await.expect("inserted");
    let mut config = case.config();
    let mut daemon = case.start(config.set("source.reader", &format!("{:?}", READERS[0])));
    case.settle().await;
    audit::start(&case).await;
    let stop = Arc::new(AtomicBool::new(false));
    let working = keep_working(office, &stop);
    for n in 1..=SWITCHES {
        wait::moment(Duration::from_millis(200 + random.next() % 1500)).await;
        students.insert_one(doc! {"_id": 2 * n}).await.expect("inserted");
        // Now and then the reader has nothing left to do; mostly it is in the middle of something.
        if n % 4 == 0 {
            case.settle().await;
        }
        if random.percent(60) {
            daemon.kill9()
        } else {
            daemon.sigterm()
        }
        students.insert_one(doc! {"_id": 2 * n + 1}).await.expect("inserted");
        config.set("source.reader", &format!("{:?}", READERS[n as usize % 2]));
        daemon = case.start(&config);
    }
    stop.store(true, Ordering::Relaxed);
    let steps = working.await.expect("an office");
    case.expect_equal_within(Duration::from_secs(120)).await;
    println!("{steps} steps, {SWITCHES} switches");
    // What one reader has written the other does not write again, the same way or another.
    let once = format!("{} | {}", 2 * SWITCHES, 2 * SWITCHES);
    let written = "SELECT count(*), count(DISTINCT id) FILTER (WHERE operation = 'INSERT') FROM tailwater.audit";
    assert_eq!(case.lines(written).await, [once], "{}", case.logs());
    daemon.sigterm();
}
