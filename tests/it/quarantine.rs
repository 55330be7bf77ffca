//! Documents in quarantine: listed, tried again, released, and never a lost update or a state that the source did not have.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use mongodb::bson::{Document, RawDocumentBuf, cstr, doc};
use serde_json::Value;

use crate::harness::case::Case;
use crate::harness::config::Config;
use crate::harness::daemon::{Daemon, Ended, command, write_config};
use crate::harness::wait::{self, LONG};

/// A document that cannot be stored: it has the field `f` twice.
fn twice(id: i32) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("_id"), id);
    document.append(cstr!("n"), 0);
    document.append(cstr!("f"), 1);
    document.append(cstr!("f"), 2);
    document
}

async fn insert(case: &Case, collection: &str, ids: impl IntoIterator<Item = i32>) {
    let collection = case.database("db").collection::<RawDocumentBuf>(collection);
    collection.insert_many(ids.into_iter().map(twice)).await.expect("inserted");
}

async fn update(case: &Case, collection: &str, filter: Document, update: Document) {
    case.collection(collection).update_many(filter, update).await.expect("updated");
}

/// Takes one of the two fields away, by updates that leave the document in quarantine.
async fn fix(case: &Case, collection: &str, filter: Document) {
    update(case, collection, filter, doc! {"$unset": {"f": ""}}).await;
}

fn quarantine(case: &Case, config: &Config, arguments: &[&str]) -> Ended {
    let path = write_config(&case.dir, config);
    let path = path.to_str().expect("UTF-8");
    command(&[&["quarantine", arguments[0], "-c", path], &arguments[1..]].concat())
}

fn expect(ended: &Ended, code: i32, text: &str) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert!(ended.stdout.contains(text), "{text} in {ended:?}");
}

async fn waiting(case: &Case) -> Vec<String> {
    case.lines("SELECT document_id, reason FROM tailwater.quarantine ORDER BY id").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fixed_is_stored_when_it_is_tried_again() {
    let case = Case::new("fixed").await;
    insert(&case, "c", [1, 2]).await;
    let config = case.config();
    let daemon = case.start(&config);
    case.settle().await;
    insert(&case, "c", [3]).await;
    case.collection("c").insert_one(doc! {"_id": "a\0b", "o": {"x": "n\0l"}}).await.expect("inserted");
    fix(&case, "c", doc! {"_id": {"$lt": 3}}).await;
    case.settle().await;

    let listed = quarantine(&case, &config, &["list", "--json"]);
    let all: Vec<Value> = serde_json::from_str(&listed.stdout).unwrap_or_else(|e| panic!("{e}: {listed:?}"));
    let line = |row: &Value| format!("{} {} {}", row["id"], row["reason"].as_str().expect("text"), row["events"]);
    let lines: Vec<String> = all.iter().map(line).collect();
    assert_eq!(lines[..3], ["1 duplicate_field 2", "2 duplicate_field 2", "3 duplicate_field 1"]);
    assert!(
        all.iter().all(|row| row["namespace"] == format!("{}db.c", case.prefix) && row["retry_requested_at"].is_null())
    );
    let people = quarantine(&case, &config, &["list", &format!("{}db.c", case.prefix)]);
    expect(&people, 0, "duplicate_field: in MongoDB, replace the document");
    expect(&quarantine(&case, &config, &["list", "no.such"]), 0, "nothing is in quarantine");

    // One document, a collection, all.
    let namespace = format!("{}db.c", case.prefix);
    expect(&quarantine(&case, &config, &["retry", &namespace, "1"]), 0, "1 released, 0 still in quarantine, 0 waiting");
    assert_eq!(case.lines("SELECT _id::text FROM {db}.c ORDER BY 1").await, ["1"]);
    let rest = quarantine(&case, &config, &["retry"]);
    expect(&rest, 1, "1 released, 2 still in quarantine, 0 waiting");
    assert!(rest.stdout.contains("db.c 3: duplicate_field"), "{rest:?}");
    expect(&quarantine(&case, &config, &["retry", &namespace, "1"]), 0, "nothing of that is in quarantine");
    daemon.until_status("two in quarantine", |s| s["quarantined"] == 2).await;

    case.collection("c").delete_one(doc! {"_id": "a\0b"}).await.expect("deleted");
    case.collection("c").replace_one(doc! {"_id": 3}, doc! {"f": 1}).await.expect("replaced");
    case.expect_equal().await;
    daemon.until_status("none in quarantine", |s| s["quarantined"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_bad_stays_as_the_newest_document_alone() {
    let case = Case::new("stillbad").await;
    let config = case.config();
    let _daemon = case.start(&config);
    case.settle().await;
    insert(&case, "c", [1]).await;
    for n in 0..5 {
        update(&case, "c", doc! {}, doc! {"$set": {"n": n, "word": "nul\0"}}).await;
    }
    case.settle().await;
    assert_eq!(waiting(&case).await.len(), 6);
    expect(&quarantine(&case, &config, &["retry"]), 1, "0 released, 1 still in quarantine, 0 waiting");
    assert_eq!(waiting(&case).await, ["1 | duplicate_field"]);
    let newest = "SELECT position('nul'::bytea IN raw) > 0, retry_at IS NULL FROM tailwater.quarantine";
    assert_eq!(case.lines(newest).await, ["t | t"]);
    assert_eq!(case.lines("SELECT count(*) FROM tailwater.anomalies").await, ["0"]);
    // What is stored at last is on record like any other document.
    fix(&case, "c", doc! {}).await;
    expect(&quarantine(&case, &config, &["retry"]), 0, "1 released");
    assert_eq!(
        case.lines("SELECT document_id, path, reason FROM tailwater.anomalies").await,
        ["1 | {word} | nul_removed"]
    );
    case.expect_equal().await;
}

/// Transfers between an account that is stored and one that comes out of the quarantine: no commit shows both with a sum that
/// the source never had, and no update is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_comes_back_as_it_was_when_the_stream_got_there() {
    const PAIRS: i32 = 16;
    let case = Case::new("transfers").await;
    insert(&case, "account", (0..PAIRS).map(|pair| 2 * pair)).await;
    let others = (0..PAIRS).map(|pair| doc! {"_id": 2 * pair + 1, "n": 0, "f": 0});
    case.collection("account").insert_many(others).await.expect("inserted");
    let config = case.config();
    let _daemon = case.start(&config);
    case.settle().await;
    check_each_commit(&case).await;
    let path = write_config(&case.dir, &config).to_str().expect("UTF-8").to_owned();
    // Transfers go where a document is being tried again, so that many fall around that moment.
    let pair = AtomicI32::new(0);
    let retries = async {
        for n in 0..PAIRS {
            pair.store(n, Ordering::SeqCst);
            fix(&case, "account", doc! {"_id": 2 * n}).await;
            // On a thread of its own: the writers go on meanwhile.
            let (namespace, id) = (format!("{}db.account", case.prefix), (2 * n).to_string());
            let path = path.clone();
            let retry = tokio::task::spawn_blocking(move || {
                command(&["quarantine", "retry", "-c", &path, &namespace, &id, "--wait", "60"])
            });
            expect(&retry.await.expect("it ran"), 0, "1 released");
        }
        pair.store(PAIRS, Ordering::SeqCst);
    };
    let ((), transferred) = tokio::join!(retries, transfers(&case, &pair, PAIRS));
    assert!(transferred > 10 * PAIRS, "{transferred} transfers are too few to show anything");
    case.expect_equal().await;
    assert_eq!(case.lines("SELECT * FROM tailwater.wrong").await, Vec::<String>::new(), "pair and sum at a commit");
}

/// Notes every commit that shows both accounts of a pair with another sum than nothing.
async fn check_each_commit(case: &Case) {
    case.rows("CREATE TABLE tailwater.wrong (pair int, sum bigint)").await;
    case.rows(
        "CREATE FUNCTION tailwater.check_pair() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN \
         INSERT INTO tailwater.wrong SELECT NEW._id / 2, sum(n) FROM {db}.account WHERE _id / 2 = NEW._id / 2 \
         HAVING count(*) = 2 AND sum(n) <> 0; RETURN NULL; END'",
    )
    .await;
    case.rows(
        "CREATE CONSTRAINT TRIGGER check_pair AFTER INSERT OR UPDATE ON {db}.account DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION tailwater.check_pair()",
    )
    .await;
}

/// Moves money within the pair of the moment until there is none; how often.
async fn transfers(case: &Case, pair: &AtomicI32, pairs: i32) -> i32 {
    // Slow enough for a loaded machine to keep up.
    const PACE: Duration = Duration::from_millis(20);
    let mut session = case.mongo.start_session().await.expect("a session");
    let accounts = case.collection("account");
    let mut done = 0;
    loop {
        let pair = pair.load(Ordering::SeqCst);
        if pair == pairs {
            return done;
        }
        session.start_transaction().await.expect("started");
        let mut moved = Ok(());
        for (id, by) in [(2 * pair, -1), (2 * pair + 1, 1)] {
            let update = doc! {"$inc": {"n": by}};
            let one = accounts.update_one(doc! {"_id": id}, update).session(&mut session).await;
            moved = moved.and(one.map(|_| ()));
        }
        match moved {
            Ok(()) => {
                session.commit_transaction().await.expect("committed");
                done += 1;
            }
            // Whoever mends the document was faster.
            Err(_) => session.abort_transaction().await.expect("aborted"),
        }
        wait::moment(PACE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_the_next_daemon() {
    let case = Case::new("nodaemon").await;
    insert(&case, "c", [1, 2, 3]).await;
    let config = case.config();
    let daemon = case.start(&config);
    case.settle().await;
    daemon.sigterm();
    fix(&case, "c", doc! {"_id": 1}).await;
    let asked = quarantine(&case, &config, &["retry"]);
    expect(&asked, 4, "0 released, 0 still in quarantine, 3 waiting");
    assert!(asked.stdout.contains("No daemon works on pipeline"), "{asked:?}");
    expect(&quarantine(&case, &config, &["retry", "--wait", "0"]), 0, "3 waiting");
    expect(&quarantine(&case, &config, &["list"]), 0, "duplicate_field (retry asked for)");
    // A document that is no longer there, of which the stream tells nothing more: its rows were left by somebody.
    case.rows(
        "INSERT INTO tailwater.quarantine (pipeline, collection, namespace, document_id, id_key, raw, reason, document_key, \
         retry_at) SELECT pipeline, collection, namespace, '99', id_key || ' 99', raw, reason, \
         '\\x0e000000105f6964006300000000'::bytea, now() FROM tailwater.quarantine WHERE document_id = '1'",
    )
    .await;
    // What was mended before it was asked for counts, however far the stream is behind.
    let padding = "x".repeat(200_000);
    for n in 0..200 {
        update(&case, "c", doc! {"_id": 3}, doc! {"$set": {"n": n, "padding": &padding}}).await;
    }
    fix(&case, "c", doc! {"_id": 2}).await;
    // Requests are done before a daemon ends that was to catch up only.
    let mut daemon = Daemon::start(&case.dir, &config, &["--until-caught-up"]);
    assert_eq!(daemon.end_within(LONG).code(), Some(0), "{}", daemon.log_tail());
    let left = "SELECT DISTINCT document_id, retry_at IS NULL FROM tailwater.quarantine ";
    assert_eq!(case.lines(left).await, ["3 | t"]);
    assert_eq!(case.lines("SELECT count(*) FROM tailwater.quarantine").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_a_retry_loses_nothing() {
    let case = Case::new("retrykill").await;
    insert(&case, "c", 0..300).await;
    let config = case.config();
    let mut daemon = case.start(&config);
    case.settle().await;
    fix(&case, "c", doc! {}).await;
    case.settle().await;
    let count = "SELECT count(DISTINCT id_key) FROM tailwater.quarantine";
    assert_eq!(case.lines(count).await, ["300"]);
    expect(&quarantine(&case, &config, &["retry", "--wait", "0"]), 0, "300 waiting");
    for _ in 0..5 {
        let before = case.lines(count).await;
        let fewer = || async { (before == ["0"] || case.lines(count).await != before).then_some(()) };
        wait::until("some to be released", LONG, || case.logs(), fewer).await;
        daemon.kill9();
        update(&case, "c", doc! {}, doc! {"$inc": {"n": 1}}).await;
        daemon = case.start(&config);
    }
    let none = || async { (case.lines(count).await == ["0"]).then_some(()) };
    wait::until("all to be released", LONG, || case.logs(), none).await;
    case.expect_equal().await;
    daemon.sigterm();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_concerns_one_pipeline() {
    let case = Case::new("twopipelines").await;
    let mut configs = ["one", "two"].map(|name| {
        let mut config = case.config().on_another_port();
        config.set("pipeline", &format!("\"{name}\"")).set("source.include", &format!("[\"{}{name}.*\"]", case.prefix));
        config
    });
    for name in ["one", "two"] {
        let collection = case.database(name).collection::<RawDocumentBuf>("c");
        collection.insert_one(twice(1)).await.expect("inserted");
    }
    let daemons = configs.each_ref().map(|config| case.start(config));
    for daemon in &daemons {
        daemon.until_status("one in quarantine", |s| s["quarantined"] == 1 && s["state"] == "streaming").await;
    }
    for name in ["one", "two"] {
        let collection = case.database(name).collection::<Document>("c");
        collection.update_one(doc! {}, doc! {"$unset": {"f": ""}}).await.expect("updated");
    }
    let left = "SELECT DISTINCT pipeline FROM tailwater.quarantine";
    let arrived = || async { (case.lines("SELECT count(*) FROM tailwater.quarantine").await == ["4"]).then_some(()) };
    wait::until("both updates", LONG, || case.logs(), arrived).await;
    expect(&quarantine(&case, &configs[0], &["retry"]), 0, "1 released");
    assert_eq!(case.lines(left).await, ["two"]);
    configs[0].set("pipeline", "\"three\"");
    expect(&quarantine(&case, &configs[0], &["retry"]), 0, "nothing of that is in quarantine");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quarantine_follows_its_collection() {
    let case = Case::new("follows").await;
    insert(&case, "a", [1]).await;
    insert(&case, "dropped", [1]).await;
    let mut config = case.config();
    config.set("source.exclude", &format!("[\"{}db.out_*\"]", case.prefix));
    let daemon = case.start(&config);
    case.settle().await;
    let rename = async |from: &str, to: &str| {
        let name = |name: &str| format!("{}db.{name}", case.prefix);
        let command = doc! {"renameCollection": name(from), "to": name(to)};
        case.mongo.database("admin").run_command(command).await.expect("renamed");
    };
    rename("a", "b").await;
    fix(&case, "b", doc! {}).await;
    case.collection("dropped").drop().await.expect("dropped");
    case.settle().await;
    let namespace = |name: &str| format!("{}db.{name}", case.prefix);
    expect(&quarantine(&case, &config, &["retry", &namespace("a")]), 0, "nothing of that");
    expect(&quarantine(&case, &config, &["retry", &namespace("b")]), 0, "1 released");
    assert_eq!(waiting(&case).await, Vec::<String>::new());
    daemon.until_status("none in quarantine", |s| s["quarantined"] == 0).await;
    // Out of the selection and back: copied again, with what cannot be stored.
    insert(&case, "b", [2]).await;
    rename("b", "out_b").await;
    case.settle().await;
    assert_eq!(waiting(&case).await, Vec::<String>::new());
    rename("out_b", "b").await;
    let copied = || async { (waiting(&case).await == ["2 | duplicate_field"]).then_some(()) };
    wait::until("the copy", LONG, || case.logs(), copied).await;
    fix(&case, "b", doc! {"_id": 2}).await;
    case.settle().await;
    expect(&quarantine(&case, &config, &["retry"]), 0, "1 released");
    case.expect_equal().await;
}

/// A document that nobody repairs and everybody updates does not fill the table.
#[tokio::test(flavor = "multi_thread")]
async fn updates_of_one_document_do_not_pile_up_for_ever() {
    const UPDATES: i32 = 2500;
    let case = Case::new("pileup").await;
    let daemon = case.start(&case.config());
    insert(&case, "c", [1]).await;
    case.settle().await;
    let collection = case.collection("c");
    for n in 0..UPDATES {
        collection.update_one(doc! {"_id": 1}, doc! {"$set": {"n": n}}).await.expect("updated");
    }
    case.settle().await;
    let few = || async {
        let rows = case.lines("SELECT count(*) FROM tailwater.quarantine WHERE retry_at IS NULL").await;
        (rows[0].parse::<u32>().expect("a number") < 1500).then_some(())
    };
    wait::until("the newest document in place of its updates", LONG, || case.logs(), few).await;
    daemon.until_status("it streams", |s| s["state"] == "streaming" && s["quarantined"] == 1).await;
}

#[test]
fn without_a_target_it_says_so() {
    let ended = command(&["quarantine", "list"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("target.uri is missing"), "{ended:?}");
}
