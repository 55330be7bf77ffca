//! The copy needs no oplog from before its ranges are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mongodb::Collection;
use mongodb::bson::{Document, doc};
use tokio::task::JoinHandle;

use super::{SLOW, load, padding, slowly};
use crate::harness::case::Case;
use crate::harness::servers::Servers;
use crate::harness::wait;
use crate::workload::random::{Random, seed};

const DOCUMENTS: i32 = 12_000;
const BYTES: usize = 4000;

/// Writers, each with every so many documents. Together they have a rate that a slow disk hardly changes: the oplog is to wrap
/// during the copy, and not before it can be read.
const WRITERS: usize = 6;
const PAUSE: Duration = Duration::from_millis(50);

/// Changes documents all over the collection until it is told to stop; gives how many.
fn write_everywhere(case: &Case) -> (Arc<AtomicBool>, JoinHandle<usize>) {
    let stop = Arc::new(AtomicBool::new(false));
    let seed = seed("window");
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            tokio::spawn(write(case.collection("large"), writer, Random::new(seed, writer as u64), Arc::clone(&stop)))
        })
        .collect();
    let all = async {
        let mut done = 0;
        for writer in writers {
            done += writer.await.expect("a writer");
        }
        done
    };
    (stop, tokio::spawn(all))
}

async fn write(collection: Collection<Document>, writer: usize, mut random: Random, stop: Arc<AtomicBool>) -> usize {
    let text = padding(4 * BYTES);
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        wait::moment(PAUSE).await;
        let id = (random.below(DOCUMENTS as usize / WRITERS) * WRITERS + writer) as i32 - DOCUMENTS / 2;
        let one = doc! {"_id": id};
        match random.below(6) {
            0 => drop(collection.delete_one(one).await.expect("deleted")),
            1 => drop(collection.insert_one(doc! {"_id": id, "n": 1, "text": &text}).await), // or it is there
            2 => {
                let new = doc! {"n": 2, "text": &text, "l": [{"m": id}]};
                drop(collection.replace_one(one, new).upsert(true).await.expect("replaced"));
            }
            _ => {
                let update = doc! {"$inc": {"n": 1}, "$push": {"l": {"m": id}}, "$set": {"text": &text}};
                drop(collection.update_one(one, update).await.expect("updated"));
            }
        }
        done += 1;
    }
    done
}

pub async fn oplog(case: &Case) -> (u32, i64) {
    let local = case.mongo.database("local");
    let first: Document = local
        .collection("oplog.rs")
        .find_one(doc! {})
        .sort(doc! {"$natural": 1})
        .await
        .expect("read")
        .expect("an entry");
    let stats = local.run_command(doc! {"collStats": "oplog.rs"}).await.expect("stats");
    let bytes = stats.get("size").and_then(|n| n.as_i64().or(n.as_i32().map(i64::from))).expect("a size");
    (first.get_timestamp("ts").expect("a time").time, bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oplog_that_wraps_several_times_during_the_copy_costs_nothing() {
    const OPLOG_MB: i64 = 12;
    let servers = Servers::start(&["--oplog-mb", "12", "--mongod-arg", "--syncdelay", "--mongod-arg", "1"]);
    let case = Case::on(&servers, "window").await;
    load(&case, "large", (0..DOCUMENTS).map(|n| (n - DOCUMENTS / 2).into()), BYTES).await;
    let (stop, writer) = write_everywhere(&case);
    let daemon = case.start(&slowly(&case, "1MiB", 2));
    daemon.until_state("snapshot").await;
    let started = oplog(&case).await.0;
    // Each time, all that the oplog had at the time before is gone from it.
    let mut wraps = 0;
    let mut since = started.max(now(&case).await);
    let ended = daemon.until_status_within("the copy is done", SLOW, |status| {
        status["state"] != "snapshot" && status["state"] != "starting"
    });
    tokio::pin!(ended);
    loop {
        let looked = async {
            wait::moment(Duration::from_millis(200)).await;
            oplog(&case).await.0
        };
        tokio::select! {
            _ = &mut ended => break,
            first = looked => if first > since {
                wraps += 1;
                since = now(&case).await;
            },
        }
    }
    stop.store(true, Ordering::Relaxed);
    let changes = writer.await.expect("a writer");
    let size = oplog(&case).await.1;
    println!("{changes} changes, the oplog of {OPLOG_MB} MB (now {size} bytes) wrapped {wraps} times during the copy");
    assert!(wraps >= 3, "{wraps} times");
    let report = case.expect_equal_within(SLOW).await;
    assert!(report.documents > DOCUMENTS as usize / 2, "{report}");
}

pub async fn now(case: &Case) -> u32 {
    let reply = case.mongo.database("admin").run_command(doc! {"ping": 1}).await.expect("pong");
    reply.get_timestamp("operationTime").expect("a time").time
}
