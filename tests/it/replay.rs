//! `replay`: entries of the oplog from files, into PostgreSQL and into a text, end with the same rows.

use std::fs;
use std::path::{Path, PathBuf};

use futures_util::TryStreamExt;
use mongodb::bson::{Document, RawDocumentBuf, Timestamp, doc};
use tailwater::mapping::json::{self, Flavour};
use tailwater::model::bson::{Doc, Value};

use crate::harness::case::Case;
use crate::harness::config::Config;
use crate::harness::daemon::{Ended, command, write_config};
use crate::harness::psql;
use crate::harness::servers::Servers;
use crate::workload::office::Office;
use crate::workload::random::{Random, seed};
use crate::workload::writer::Writer;

fn write(case: &Case, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = case.dir.join(name);
    fs::write(&path, bytes).expect("written");
    path
}

fn replay(case: &Case, config: &Config, file: &Path, rest: &[&str]) -> Ended {
    let config = write_config(&case.dir, config);
    let (file, config) = (file.to_str().expect("a plain name"), config.to_str().expect("a plain name"));
    command(&[&["replay", file, "-c", config], rest].concat())
}

/// Replays into the target.
fn apply(case: &Case, file: &Path) {
    // What it says of schema changes would fill the pipe.
    let ended = replay(case, case.config().set("log.level", "\"warn\""), file, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// A configuration that selects everything and knows no source.
fn open_config(case: &Case, target: bool) -> Config {
    let mut config = case.config();
    config.remove("source.include").remove("source.uri");
    if !target {
        config.remove("target.uri");
    }
    config
}

/// The entries since a time that may concern the case's databases.
async fn oplog(case: &Case, since: Timestamp) -> Vec<RawDocumentBuf> {
    let ns = doc! {"$or": [{"ns": {"$regex": format!("^{}", case.prefix)}}, {"ns": "admin.$cmd"}]};
    let filter = doc! {"$and": [{"ts": {"$gte": since}}, ns]};
    let oplog = case.mongo.database("local").collection::<RawDocumentBuf>("oplog.rs");
    oplog.find(filter).sort(doc! {"$natural": 1}).await.expect("found").try_collect().await.expect("read")
}

fn canonical(bytes: &[u8]) -> String {
    let document = Doc::new(bytes).expect("BSON");
    json::to_text(Value::Document(document), Flavour::Canonical).expect("JSON")
}

async fn now(case: &Case) -> Timestamp {
    let answer = case.mongo.database("admin").run_command(doc! {"hello": 1}).await.expect("says hello");
    answer.get_timestamp("operationTime").expect("a time")
}

async fn expect_equal(case: &Case) {
    let report = case.compare().await;
    assert!(report.findings.is_empty(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_mongodb_wrote_is_replayed_from_bson_and_from_text() {
    for form in ["bson", "json"] {
        let case = Case::new(&format!("replay_oplog_{form}")).await;
        let since = now(&case).await;
        let mut writer = Writer::new(case.database("db"), Random::new(seed("replay_oplog"), 0), 4);
        writer.ddl_every = 60;
        writer.load(300).await.expect("loaded");
        writer.work(800).await.expect("worked");
        let entries = oplog(&case, since).await;
        let file = if form == "bson" {
            write(&case, "dump", entries.iter().flat_map(|entry| entry.as_bytes().to_vec()).collect::<Vec<u8>>())
        } else {
            let lines = entries.iter().map(|entry| canonical(entry.as_bytes()) + "\n");
            write(&case, "dump", lines.collect::<String>())
        };
        apply(&case, &file);
        expect_equal(&case).await;
        // Again: nothing is new.
        let rows =
            "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables WHERE schemaname <> 'tailwater'";
        let again = replay(&case, &case.config(), &file, &[]);
        assert!(again.stderr.contains("\"changes\":0"), "{}", again.stderr);
        assert_eq!(case.lines(rows).await.len(), 1);
        expect_equal(&case).await;
        // And a run goes on from there.
        writer.work(100).await.expect("worked");
        let mut daemon = crate::harness::daemon::Daemon::start(&case.dir, &case.config(), &["--until-caught-up"]);
        assert_eq!(daemon.end_within(crate::harness::wait::LONG).code(), Some(0), "{}", daemon.log_tail());
        expect_equal(&case).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_mongodb_wrote_is_replayed_into_a_text() {
    let case = Case::new("replay_text").await;
    let since = now(&case).await;
    let mut writer = Writer::new(case.database("db"), Random::new(seed("replay_text"), 0), 4);
    writer.ddl_every = 60;
    writer.load(300).await.expect("loaded");
    writer.work(800).await.expect("worked");
    let entries = oplog(&case, since).await;
    let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.as_bytes().to_vec()).collect();
    let (file, text) = (write(&case, "oplog.bson", bytes), case.dir.join("out.sql"));
    let mut config = case.config();
    config.remove("target.uri").remove("source.uri");
    let ended = replay(&case, &config, &file, &["--sql-out", text.to_str().expect("a plain name")]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    psql::run(&case.postgres_uri, &text).await;
    expect_equal(&case).await;
}

/// Transactions in one database and across two, some over 16 MiB, some aborted, beside everything else.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_replayed_into_the_target_and_into_a_text() {
    let servers = Servers::start(&["--oplog-mb", "1024"]);
    for into in ["target", "text"] {
        let case = Case::on(&servers, &format!("replay_office_{into}")).await;
        let since = now(&case).await;
        let mut office = Office::new(["w0", "w1"].map(|name| case.database(name)), seed("replay_office"));
        for writer in &mut office.writers {
            writer.load(100).await.expect("loaded");
        }
        for n in 0..150 {
            office.step(n).await;
        }
        println!("{:?}", office.done);
        let entries = oplog(&case, since).await;
        let file = write(&case, "dump", entries.iter().flat_map(|e| e.as_bytes().to_vec()).collect::<Vec<u8>>());
        if into == "target" {
            apply(&case, &file);
        } else {
            let text = case.dir.join("out.sql");
            let mut config = case.config();
            config.remove("target.uri").remove("source.uri").set("log.level", "\"warn\"");
            let ended = replay(&case, &config, &file, &["--sql-out", text.to_str().expect("a plain name")]);
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            psql::run(&case.postgres_uri, &text).await;
        }
        expect_equal(&case).await;
    }
}

/// As a person writes them: no time, no version, no UUID.
const BY_HAND: &str = r#"[
  {"op": "c", "ns": "test.$cmd", "o": {"create": "student"}},
  {"op": "i", "ns": "test.student", "o": {"_id": "635b79e231d82a8ab1de863b", "name": "Selena Miller", "roll_no": 51,
    "is_graduated": false, "date_of_birth": "2000-01-30", "phone": {"personal": "7678456640", "work": "8130097989"},
    "address": [{"line1": "481 Harborsburgh", "zip": "89799"}, {"line1": "329 Flatside", "zip": "80872"}]}},
  {"op": "i", "ns": "test.student", "o": {"_id": "14798c213f273a7ca2cf5174", "name": "O'Neil \"\\"}},
  {"op": "u", "ns": "test.student", "o": {"$v": 2, "diff": {"u": {"is_graduated": true}, "d": {"roll_no": false}}},
    "o2": {"_id": "635b79e231d82a8ab1de863b"}},
  {"op": "u", "ns": "test.student", "o": {"$v": 2, "diff": {"sphone": {"u": {"work": null}}}},
    "o2": {"_id": "635b79e231d82a8ab1de863b"}},
  {"op": "d", "ns": "test.student", "o": {"_id": "14798c213f273a7ca2cf5174"}},
  {"op": "c", "ns": "test.$cmd", "o": {"renameCollection": "test.student", "to": "test.pupil"}},
  {"op": "i", "ns": "test.pupil", "o": {"_id": "b", "tags": [1, "two"]}},
  {"op": "u", "ns": "test.pupil", "o": {"$v": 2, "diff": {"stags": {"a": true, "u1": {"x": 2}}}}, "o2": {"_id": "b"}}
]"#;

const RESULT: &[&str] = &["635b79e231d82a8ab1de863b | Selena Miller | - | t | -", "b | - | - | - | [1, {\"x\": 2}]"];

async fn expect_by_hand(case: &Case) {
    let pupils = "SELECT _id, name, roll_no, is_graduated, tags FROM test.pupil ORDER BY _id";
    assert_eq!(case.lines(pupils).await, RESULT);
    assert_eq!(
        case.lines("SELECT pupil__id, personal, work FROM test.pupil_phone").await,
        ["635b79e231d82a8ab1de863b | 7678456640 | -"]
    );
    let addresses = "SELECT _index, line1, zip FROM test.pupil_address ORDER BY _index";
    assert_eq!(case.lines(addresses).await, ["0 | 481 Harborsburgh | 89799", "1 | 329 Flatside | 80872"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_written_by_hand_need_no_time_and_no_uuid() {
    let case = Case::new("replay_hand").await;
    let file = write(&case, "entries.json", BY_HAND);
    for _ in 0..2 {
        // Without a time there is nothing to tell that they were applied; the second time they are new again.
        let ended = replay(&case, &open_config(&case, true), &file, &[]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        expect_by_hand(&case).await;
        let renamed_back = write(&case, "back.json", r#"{"op": "c", "ns": "test.$cmd", "o": {"drop": "pupil"}}"#);
        let ended = replay(&case, &open_config(&case, true), &renamed_back, &[]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(case.lines("SELECT 1 FROM pg_tables WHERE schemaname = 'test'").await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_written_by_hand_become_a_text_that_runs() {
    let case = Case::new("replay_hand_text").await;
    let file = write(&case, "entries.json", BY_HAND);
    let ended = replay(&case, &open_config(&case, false), &file, &["--sql-out", "-"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let text = write(&case, "out.sql", &ended.stdout);
    psql::run(&case.postgres_uri, &text).await;
    expect_by_hand(&case).await;
    // Without a configuration, one entry.
    let one = r#"{"op":"i","ns":"test.student","o":{"_id":"635b79e231d82a8ab1de863b","name":"Selena"}}"#;
    let one = write(&case, "one.json", one);
    let ended = command(&["replay", one.to_str().expect("a plain name"), "--sql-out", "-"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let start = "INSERT INTO \"test\".\"student\" (\"_id\", \"name\") VALUES ('635b79e231d82a8ab1de863b', 'Selena')";
    assert!(ended.stdout.lines().any(|line| line.starts_with(start)), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_entry_is_named_and_what_comes_before_is_applied() {
    let case = Case::new("replay_damaged").await;
    let line = |id: i32, rest: &str| {
        format!(
            "{{\"op\": \"i\", \"ns\": \"test.t\", \"ts\": {{\"$timestamp\": {{\"t\": {id}, \"i\": 1}}}}, \"o\": {{\"_id\": {id}}}{rest}\n"
        )
    };
    let file = write(&case, "lines.json", [line(1, "}"), line(2, "}"), line(3, ""), line(4, "}")].concat());
    let ended = replay(&case, &open_config(&case, true), &file, &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("entry 3 (line 3, byte 170)"), "{}", ended.stderr);
    assert_eq!(case.lines("SELECT _id FROM test.t ORDER BY 1").await, ["1", "2"]);
    let file = write(&case, "mended.json", [line(1, "}"), line(2, "}"), line(3, "}"), line(4, "}")].concat());
    let ended = replay(&case, &open_config(&case, true), &file, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("\"already_applied\":2"), "{}", ended.stderr);
    assert_eq!(case.lines("SELECT _id FROM test.t ORDER BY 1").await, ["1", "2", "3", "4"]);
    for (text, said) in [("hello", "an entry"), ("{\"op\":\"i\",\"ns\":\"a.b\"}", "lacks its field o")] {
        let file = write(&case, "wrong.json", text);
        let ended = replay(&case, &open_config(&case, true), &file, &[]);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains(said) && ended.stderr.contains("entry 1 (line 1, byte 0)"), "{}", ended.stderr);
    }
    let ended = replay(&case, &open_config(&case, true), Path::new("/nonexistent/oplog.bson"), &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
}

/// Parts of a transaction lie before its end, with other entries between; an aborted one never takes effect.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_several_entries_is_applied_where_it_ends() {
    let case = Case::new("replay_chain").await;
    let at = |n: u32| doc! {"ts": Timestamp { time: n, increment: n.min(1) }, "t": 1_i64};
    let insert = |id: i32| doc! {"op": "i", "ns": "test.t", "o": {"_id": id}};
    let mut entries = Vec::new();
    let mut entry = |n: u32, previous: u32, o: Document| {
        let mut entry = doc! {"op": "c", "ns": "admin.$cmd", "o": o, "prevOpTime": at(previous)};
        entry.extend(at(n));
        entries.push(canonical(&entry.to_vec().expect("encodes")));
    };
    entry(1, 0, doc! {"applyOps": [insert(1), insert(2)], "partialTxn": true});
    entry(2, 0, doc! {"applyOps": [insert(90)], "partialTxn": true});
    entry(3, 0, doc! {"applyOps": [insert(3)]});
    entry(4, 1, doc! {"applyOps": [insert(4)], "partialTxn": true});
    entry(5, 2, doc! {"abortTransaction": 1});
    entry(6, 4, doc! {"applyOps": [doc! {"op": "d", "ns": "test.t", "o": {"_id": 1}}], "count": 4_i64});
    entry(7, 0, doc! {"applyOps": [insert(7)], "prepare": true});
    entry(8, 7, doc! {"commitTransaction": 1});
    let file = write(&case, "chain.json", entries.join("\n"));
    let ended = replay(&case, &open_config(&case, true), &file, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(case.lines("SELECT _id FROM test.t ORDER BY 1").await, ["2", "3", "4", "7"]);
    let ended = replay(&case, &open_config(&case, false), &file, &["--sql-out", "-"]);
    let transactions: Vec<usize> =
        ended.stdout.split("COMMIT;").map(|text| text.matches("\"test\".\"t\" (\"_id\")").count()).collect();
    assert_eq!(transactions, [0, 1, 3, 1, 0, 0], "{}", ended.stdout);
}
