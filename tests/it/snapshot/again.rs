//! Copying once more over the rows that are there: as somebody wishes, or since history was lost. Nobody sees a table empty.

use std::time::Duration;

use mongodb::bson::{Bson, doc};

use super::window::{now, oplog};
use super::{SLOW, load, padding};
use crate::harness::case::Case;
use crate::harness::daemon::{Daemon, command, write_config};
use crate::harness::servers::Servers;
use crate::harness::wait;
use crate::harness::watch::{Seen, Watcher};

/// More than half of the documents are never missing.
fn never_empty(seen: &Seen) -> Result<(), String> {
    match seen.first().and_then(|count| count.parse::<i64>().ok()) {
        Some(count) if count > 2000 => Ok(()),
        _ => Err("the table is (nearly) empty".to_owned()),
    }
}

fn count(case: &Case, table: &str) -> String {
    format!("SELECT count(*) FROM \"{}db\".{table}", case.prefix)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_is_copied_again_while_everything_streams() {
    let case = Case::new("again").await;
    load(&case, "damaged", (0..5000).map(Bson::from), 500).await;
    load(&case, "other", (0..100).map(Bson::from), 500).await;
    let mut config = case.config();
    config.set("snapshot.max_bytes_per_second", "\"2MiB\"").set("snapshot.parallel", "2");
    let daemon = case.start(&config);
    case.settle_within(SLOW).await;
    // Somebody's own column is left alone; what he did to the rows is not.
    for sql in [
        "ALTER TABLE {db}.damaged ADD COLUMN mine integer DEFAULT 7",
        "DELETE FROM {db}.damaged WHERE _id % 7 = 3",
        "UPDATE {db}.damaged SET n = 99, text = NULL WHERE _id % 5 = 1",
        "DELETE FROM {db}.damaged_l WHERE _index = 1",
        "INSERT INTO {db}.damaged_l (damaged__id, _index, m) SELECT _id, 5, 5 FROM {db}.damaged WHERE _id % 11 = 2",
        "INSERT INTO {db}.damaged (_id, n) SELECT 1000000 + n, 1 FROM generate_series(1, 500) n",
        "INSERT INTO {db}.damaged_l (damaged__id, _index, m) SELECT 1000000 + n, 0, 1 FROM generate_series(1, 500) n",
    ] {
        case.rows(sql).await;
    }
    let oid = case.lines(&format!("SELECT '{}'::regclass::oid", "{db}.damaged")).await;
    let watcher = Watcher::start(&case, count(&case, "damaged"), never_empty).await;
    let path = write_config(&case.dir, &config);
    let namespace = format!("{}db.damaged", case.prefix);
    let ended = command(&["resnapshot", "-c", path.to_str().expect("UTF-8"), &namespace]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("the running daemon copies"), "{ended:?}");
    for n in 0..1000 {
        let one = doc! {"_id": n * 5};
        match n % 4 {
            0 => drop(case.collection("damaged").delete_one(one).await.expect("deleted")),
            // Among them ids that only PostgreSQL has.
            1 => drop(
                case.collection("damaged").insert_one(doc! {"_id": 1_000_000 + n, "n": 3}).await.expect("inserted"),
            ),
            _ => drop(
                case.collection("damaged").update_one(one, doc! {"$inc": {"n": 1, "l.0.m": 1}}).await.expect("updated"),
            ),
        }
        case.collection("other").update_one(doc! {"_id": n % 100}, doc! {"$inc": {"n": 1}}).await.expect("updated");
    }
    let done = || async { (case.lines("SELECT count(*) FROM tailwater.recopies").await == ["0"]).then_some(()) };
    wait::until("the copy is done", SLOW, || daemon.log_tail(), done).await;
    assert_eq!(case.lines("SELECT count(*) > 1000 FROM {db}.damaged WHERE mine = 7").await, ["t"]);
    case.rows("ALTER TABLE {db}.damaged DROP COLUMN mine").await;
    case.expect_equal_within(SLOW).await;
    assert!(watcher.stop().await > 10);
    assert_eq!(case.lines("SELECT '{db}.damaged'::regclass::oid").await, oid, "it is the same table");
    assert_eq!(case.lines("SELECT count(*) FROM tailwater.unmet").await, ["0"]);
    let unknown = command(&["resnapshot", "-c", path.to_str().expect("UTF-8"), "no.such"]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.stderr.contains("has no collection no.such"), "{unknown:?}");
    daemon.sigterm();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_again_survives_kills_and_a_key_of_another_type() {
    let case = Case::new("again_killed").await;
    load(&case, "c", (0..4000).map(Bson::from), 500).await;
    let mut config = case.config();
    config.set("snapshot.max_bytes_per_second", "\"1MiB\"").set("snapshot.parallel", "2");
    let mut daemon = case.start(&config);
    case.settle_within(SLOW).await;
    case.rows("INSERT INTO {db}.c (_id, n) SELECT 1000000 + n, 1 FROM generate_series(1, 300) n").await;
    case.rows("DELETE FROM {db}.c WHERE _id < 50").await;
    daemon.sigterm();
    let path = write_config(&case.dir, &config);
    let namespace = format!("{}db.c", case.prefix);
    let ended = command(&["resnapshot", "-c", path.to_str().expect("UTF-8"), &namespace]);
    assert!(ended.stdout.contains("no daemon runs"), "{ended:?}");
    for id in [Bson::from("text"), Bson::from(i64::MAX)] {
        daemon = case.start(&config);
        daemon.until_state("snapshot").await;
        case.collection("c").insert_one(doc! {"_id": id, "n": 1}).await.expect("inserted");
        wait::moment(Duration::from_millis(300)).await;
        daemon.kill9();
    }
    let daemon = case.start(&config);
    case.expect_equal_within(SLOW).await;
    daemon.until_state("streaming").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_is_selected_later_is_copied_beside_the_others() {
    let case = Case::new("later").await;
    load(&case, "first", (0..100).map(Bson::from), 100).await;
    load(&case, "second", (0..4000).map(Bson::from), 1000).await;
    let mut config = case.config();
    config.set("source.include", &format!("[\"{}db.first\", \"{}zz_sentinel.*\"]", case.prefix, case.prefix));
    let daemon = case.start(&config);
    daemon.until_state("streaming").await;
    daemon.sigterm();
    case.collection("second").update_many(doc! {"_id": {"$lt": 50}}, doc! {"$inc": {"n": 1}}).await.expect("updated");
    let mut config = case.config();
    config.set("snapshot.max_bytes_per_second", "\"1MiB\"");
    let daemon = case.start(&config);
    daemon.until_state("snapshot").await;
    case.collection("first").insert_one(doc! {"_id": 1_000_000}).await.expect("inserted");
    let arrived = || async { (case.lines("SELECT count(*) FROM {db}.first").await == ["101"]).then_some(()) };
    wait::until("the first streams", SLOW, || daemon.log_tail(), arrived).await;
    let status = daemon.until_state("snapshot").await;
    let database =
        status["databases"].as_array().expect("a list").iter().find(|d| d["name"] == format!("{}db", case.prefix));
    assert_eq!(database.expect("the database")["consistent"], false, "{status}");
    case.expect_equal_within(SLOW).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_history_is_made_up_for_in_place() {
    let servers = Servers::start(&["--oplog-mb", "8", "--mongod-arg", "--syncdelay", "--mongod-arg", "1"]);
    let case = Case::on(&servers, "lost").await;
    for name in ["kept", "swapped_a", "swapped_b", "dropped"] {
        load(&case, name, (0..3000).map(Bson::from), 200).await;
    }
    let mut config = case.config();
    let daemon = case.start(&config);
    case.settle_within(SLOW).await;
    daemon.sigterm();
    // What nobody is going to tell the daemon.
    let kept = case.collection("kept");
    kept.delete_many(doc! {"_id": {"$mod": [5, 0]}}).await.expect("deleted");
    kept.update_many(doc! {"_id": {"$mod": [3, 1]}}, doc! {"$inc": {"n": 1}, "$push": {"l": {"m": 3}}})
        .await
        .expect("updated");
    load(&case, "kept", (10_000..10_300).map(Bson::from), 200).await;
    load(&case, "swapped_b", [Bson::from("of another type")], 200).await;
    case.collection("dropped").drop().await.expect("dropped");
    load(&case, "new", (0..50).map(Bson::from), 200).await;
    let admin = case.mongo.database("admin");
    let name = |name: &str| format!("{}db.{name}", case.prefix);
    for (from, to) in [("swapped_a", "between"), ("swapped_b", "swapped_a"), ("between", "swapped_b")] {
        admin.run_command(doc! {"renameCollection": name(from), "to": name(to)}).await.expect("renamed");
    }
    let stopped_at = now(&case).await;
    let lost = || async {
        let filler = case.mongo.database("elsewhere").collection("filler");
        let text = padding(100_000);
        filler.insert_many((0..100).map(|_| doc! {"text": &text})).await.expect("inserted");
        (oplog(&case).await.0 > stopped_at).then_some(())
    };
    wait::until("history is lost", SLOW, String::new, lost).await;
    let mut daemon = Daemon::start(&case.dir, &config, &[]);
    assert!(!daemon.end_within(SLOW).success(), "it stops");
    let said = daemon.log_tail();
    assert!(said.contains("on.history_lost"), "the remedy is named: {said}");
    let watcher = Watcher::start(&case, count(&case, "kept"), never_empty).await;
    config.set("on.history_lost", "\"resnapshot\"");
    let daemon = case.start(&config);
    daemon.until_state("streaming").await;
    case.expect_equal_within(SLOW).await;
    watcher.stop().await;
    let events = case.lines("SELECT count(*) FROM tailwater.events WHERE kind = 'history_lost'").await;
    assert_eq!(events, ["1"]);
    daemon.sigterm();
}
