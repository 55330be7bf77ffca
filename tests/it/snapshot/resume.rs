//! A copy that is killed goes on where it was.

use std::time::Duration;

use mongodb::bson::{Bson, doc};

use super::{SLOW, load, slowly};
use crate::harness::case::Case;
use crate::harness::servers::Servers;
use crate::harness::wait;
use crate::workload::random::{Random, seed};

const DOCUMENTS: i64 = 20_000;
const BYTES: usize = 2000;
const KILLS: i64 = 3;
const PARALLEL: usize = 2;

/// Documents that the server has given to anybody.
async fn given(case: &Case) -> i64 {
    let status = case.mongo.database("admin").run_command(doc! {"serverStatus": 1}).await.expect("status");
    let document =
        status.get_document("metrics").and_then(|metrics| metrics.get_document("document")).expect("metrics");
    let returned = document.get("returned").expect("a counter");
    returned.as_i64().or(returned.as_i32().map(i64::from)).expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_costs_the_ranges_in_flight_and_no_more() {
    let servers = Servers::start(&[]);
    let case = Case::on(&servers, "resume").await;
    load(&case, "large", (0..DOCUMENTS).map(Bson::from), BYTES).await;
    let mut random = Random::new(seed("resume"), 0);
    // 40 MB in ranges of some 4 MB.
    let config = slowly(&case, "2MiB", PARALLEL);
    let done = "SELECT count(*) FILTER (WHERE done), coalesce(max(documents), 0) FROM tailwater.snapshot_chunks";
    let before = given(&case).await;
    // Nobody changes anything, so the keys are built when all is there.
    let keys = "SELECT count(*) FROM pg_constraint WHERE contype = 'p' \
                AND conrelid IN ('{db}.large'::regclass, '{db}.large_l'::regclass)";
    for kill in 0..KILLS {
        let daemon = case.start(&config);
        daemon.until_state("snapshot").await;
        let copied =
            |status: &serde_json::Value| status["snapshot"]["documents_done"].as_i64() > Some(2000 * (kill + 1));
        daemon.until_status_within("some ranges are copied", SLOW, copied).await;
        wait::moment(Duration::from_millis(random.next() % 700)).await;
        daemon.kill9();
        assert_eq!(case.lines(keys).await, ["0"]);
        println!("killed at {:?}", case.lines(done).await);
    }
    let daemon = case.start(&config);
    daemon.until_state("streaming").await;
    assert_eq!(case.lines(keys).await, ["2"]);
    let read = given(&case).await - before;
    let largest: i64 =
        case.lines("SELECT max(documents) FROM tailwater.snapshot_chunks").await[0].parse().expect("a number");
    let ranges = case.lines("SELECT count(*) FROM tailwater.snapshot_chunks").await;
    let in_flight = KILLS * PARALLEL as i64 * largest;
    // Beside the documents: the sample, split points, and what is asked of catalogs and by the stream.
    let beside = 3000;
    println!("{read} documents read of {DOCUMENTS}, in {ranges:?} ranges of at most {largest}");
    assert!(read >= DOCUMENTS, "{read}");
    assert!(read <= DOCUMENTS + in_flight + beside, "{read} documents were read, at most {in_flight} were in flight");
    assert!(in_flight < DOCUMENTS, "the ranges are small enough for this to say something: {largest}");
    case.expect_equal_within(SLOW).await;
    daemon.sigterm();
}
