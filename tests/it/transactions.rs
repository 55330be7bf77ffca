//! Transactions of every kind and size arrive, beside everything else, as does what one command writes by the hundred.

use std::time::Duration;

use crate::harness::case::Case;
use crate::workload::office::Office;
use crate::workload::random::seed;

const STEPS: usize = 400;
/// How often the daemon is killed meanwhile.
const KILLS: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn transactions_of_every_kind_arrive() {
    let case = Case::new("transactions_all").await;
    let seed = seed("transactions");
    let mut office = Office::new(["w0", "w1"].map(|name| case.database(name)), seed);
    for writer in &mut office.writers {
        writer.load(200).await.expect("loaded");
    }
    let config = case.config();
    let mut daemon = case.start(&config);
    case.settle().await;
    for n in 0..STEPS {
        office.step(n).await;
        if n % (STEPS / (KILLS + 1)) == 0 {
            daemon.kill9();
            daemon = case.start(&config);
        }
    }
    println!("{:?}", office.done);
    let kinds = ["Large", "Many", "Create"].map(|kind| [1, 2].map(|n| format!("{kind}, {n} databases")));
    let small = ["1 databases, aborted", "1 databases, committed", "2 databases, aborted", "2 databases, committed"];
    for what in kinds.as_flattened().iter().map(String::as_str).chain(small).chain(["hundreds"]) {
        assert!(office.done.contains_key(what), "{what}: {:?}", office.done);
    }
    let report = case.expect_equal_within(Duration::from_secs(120)).await;
    assert!(report.documents > 500, "{report}");
    daemon.sigterm();
}
