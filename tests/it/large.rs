//! Large values: strings of 10 MB, documents near 16 MB, events over 16 MiB, batches of them, in little memory.

use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};

use crate::harness::case::Case;
use crate::harness::config::Config;
use crate::harness::servers::Servers;
use crate::harness::wait::LONG;

const MIB: usize = 1 << 20;

/// On servers of its own: with the small cache of the shared MongoDB, large writes are refused now and then.
async fn large_case(name: &str) -> (Servers, Case) {
    let servers = Servers::start(&["--oplog-mb", "4096"]);
    let case = Case::on(&servers, name).await;
    let cache = doc! {"setParameter": 1, "wiredTigerEngineRuntimeConfig": "cache_size=1GB"};
    case.mongo.database("admin").run_command(cache).await.expect("a larger cache");
    (servers, case)
}

fn config(case: &Case) -> Config {
    let mut config = case.config();
    config.set("limits.memory_limit", "\"64MiB\"");
    config
}

/// A document of 15 MB: as text, inside jsonb, in child tables, or control characters, which JSON writes six times as long.
fn document(id: i32) -> Document {
    let text = |n: usize| "x".repeat(n);
    match id % 5 {
        0 => doc! {"_id": id, "text": text(15 * MIB)},
        1 => doc! {"_id": id, "list": [text(7 * MIB), text(8 * MIB)]},
        2 => doc! {"_id": id, "text": "\u{1}".repeat(15 * MIB)},
        3 => doc! {"_id": id, "list": ["\u{1}".repeat(15 * MIB)]},
        _ => doc! {"_id": id, "rows": (0..150).map(|n| doc! {"n": n, "text": text(MIB / 10)}).collect::<Vec<_>>()},
    }
}

/// Length and MD5 of what the rows hold.
const SUMS: &str = "SELECT _id, length(text), md5(text), jsonb_array_length(list), length(list ->> 0), md5(list ->> 0), \
                    md5(list ->> 1), (SELECT count(*) || ' ' || sum(length(r.text)) FROM {db}.c_rows r WHERE c__id = _id) \
                    FROM {db}.c ORDER BY _id";

#[tokio::test(flavor = "multi_thread")]
async fn forty_documents_of_15_mb_are_copied_and_followed_in_little_memory() {
    const DOCUMENTS: i32 = 20;
    let (_servers, case) = large_case("large").await;
    let collection = case.collection("c");
    for id in 0..DOCUMENTS {
        collection.insert_one(document(id)).await.expect("inserted");
    }
    let daemon = case.start(&config(&case));
    case.settle_within(LONG * 10).await;
    let copied = daemon.peak_memory_mib();
    for id in 0..DOCUMENTS {
        collection.insert_one(document(id + 1000)).await.expect("inserted");
    }
    case.settle_within(LONG * 10).await;
    println!("peak: {copied} MiB copied, {} MiB followed", daemon.peak_memory_mib());
    let sums = case.rows(SUMS).await;
    assert_eq!(sums.len(), 2 * usize::try_from(DOCUMENTS).expect("positive"));
    for row in &sums {
        let id: i32 = row[0].as_deref().expect("an id").parse().expect("a number");
        let expected = &sums[usize::try_from(id % 5).expect("positive")];
        assert_eq!(row[1..], expected[1..], "{id}");
    }
    let of = |n: usize| (1..8).filter_map(|at| sums[n][at].clone()).collect::<Vec<_>>();
    let md5 = |sql: &str| format!("SELECT md5({sql})");
    let letters = case.lines(&md5("repeat('x', 15 << 20)")).await;
    let controls = case.lines(&md5("repeat(chr(1), 15 << 20)")).await;
    assert_eq!(of(0), ["15728640".to_owned(), letters[0].clone()]);
    assert_eq!(of(2), ["15728640".to_owned(), controls[0].clone()]);
    assert_eq!(of(3)[..3], ["1".to_owned(), "15728640".to_owned(), controls[0].clone()]);
    assert_eq!(of(4), [format!("150 {}", 150 * (MIB / 10))]);
    assert!(daemon.peak_memory_mib() < 1024, "{} MiB", daemon.peak_memory_mib());
    daemon.sigterm();
}

/// An update's event holds what changed in both of MongoDB's forms, so that a large one is over 16 MiB and comes in parts.
#[tokio::test(flavor = "multi_thread")]
async fn events_over_16_mib_arrive_whole() {
    let (_servers, case) = large_case("splitevents").await;
    let collection = case.collection("c");
    let daemon = case.start(&config(&case));
    case.settle().await;
    let big = |letter: &str, mib: usize| letter.repeat(mib * MIB);
    collection.insert_one(doc! {"_id": 1, "a": big("a", 10), "b": 1}).await.expect("inserted");
    collection.insert_one(doc! {"_id": 2, "l": [big("a", 7), big("b", 7)], "n": 0}).await.expect("inserted");
    let updates = [
        (1, doc! {"$set": {"a": big("b", 15)}}),
        (1, doc! {"$set": {"a": big("\u{1}", 15), "b": 2}}),
        (2, doc! {"$set": {"l.1": big("c", 8)}}),
        (2, doc! {"$push": {"l": "end"}, "$inc": {"n": 1}}),
        (2, doc! {"$set": {"l": [1, {"deep": big("d", 14)}]}}),
    ];
    for (id, update) in updates {
        collection.update_one(doc! {"_id": id}, update).await.expect("updated");
    }
    collection.replace_one(doc! {"_id": 1}, doc! {"a": big("z", 15)}).await.expect("replaced");
    case.expect_equal_within(LONG * 3).await;
    daemon.sigterm();
}

/// Many small changes of one large `jsonb` cell cost neither its size each time nor its memory.
#[tokio::test(flavor = "multi_thread")]
async fn many_changes_of_a_large_cell_stay_small() {
    let (_servers, case) = large_case("largecell").await;
    let daemon = case.start(&config(&case));
    case.settle().await;
    let collection = case.collection("c");
    daemon.suspend(true);
    collection.insert_one(doc! {"_id": 1, "l": ["x".repeat(12 * MIB)], "t": ""}).await.expect("inserted");
    for n in 0..300 {
        let update = doc! {"$push": {"l": n}, "$set": {"t": "y".repeat(20_000)}};
        collection.update_one(doc! {"_id": 1}, update).await.expect("updated");
    }
    daemon.suspend(false);
    case.expect_equal_within(LONG * 3).await;
    for n in 0..300 {
        collection.update_one(doc! {"_id": 1}, doc! {"$push": {"l": n}}).await.expect("updated");
    }
    case.expect_equal_within(LONG * 3).await;
    println!("peak: {} MiB", daemon.peak_memory_mib());
    assert!(daemon.peak_memory_mib() < 700, "{} MiB", daemon.peak_memory_mib());
    daemon.sigterm();
}

/// The largest document that there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_16_mib_to_the_byte_arrives() {
    let case = Case::new("largest").await;
    let size =
        |n: usize| RawDocumentBuf::try_from(&doc! {"_id": 1, "t": "x".repeat(n)}).expect("BSON").as_bytes().len();
    let room = 16 * MIB - size(0);
    let make = |id: i32| doc! {"_id": id, "t": Bson::String("x".repeat(room))};
    case.collection("c").insert_one(make(1)).await.expect("the server takes it");
    let daemon = case.start(&config(&case));
    case.settle().await;
    case.collection("c").insert_one(make(2)).await.expect("the server takes it");
    case.expect_equal_within(LONG * 3).await;
    daemon.sigterm();
}
