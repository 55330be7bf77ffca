//! `source.reader = "auto"`: the oplog where it may be read, the change stream elsewhere, and no change is lost or given again
//! when that is another one than before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, doc};

use crate::harness::audit;
use crate::harness::case::Case;
use crate::harness::config::Config;
use crate::harness::daemon::{Daemon, command, write_config};
use crate::harness::servers::Servers;
use crate::harness::wait::{self, LONG};
use crate::startup_errors::login;
use crate::switch::keep_working;
use crate::workload::office::Office;
use crate::workload::random::{Random, seed};

const OPLOG: &str =
    "the oplog: source.reader is auto, the source is a plain replica set, and the user may read local.oplog.rs";
const FORBIDDEN: &str = "one change stream: source.reader is auto, and the user may not read local.oplog.rs (grant it the \
                         role clusterMonitor, or read on the database local, to use the oplog, which costs mongod less)";
const INSIDE: &str =
    "one change stream: source.reader is auto, and the change stream has committed a part of a write of many";
const REFUSED: &str = "one change stream: source.reader is auto, and the oplog could not be read on";

fn auto(case: &Case) -> Config {
    let mut config = case.config();
    config.set("source.reader", "\"auto\"");
    config
}

/// What the log says about the reader, one line an attempt.
fn readings(daemon: &Daemon) -> Vec<String> {
    let log = daemon.log();
    let messages = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let messages = messages.filter_map(|record| Some(record["message"].as_str()?.strip_prefix("reading ")?.to_owned()));
    messages.collect()
}

/// Waits for attempt number `n` to choose; what it says then.
async fn reading(daemon: &Daemon, n: usize) -> String {
    let chosen = || async { readings(daemon).get(n - 1).cloned() };
    wait::until(format!("reader {n}"), LONG, || daemon.log_tail(), chosen).await
}

/// `tailwater check` passes and says `reader` of the reader.
fn checked(case: &Case, config: &Config, reader: &str) {
    let path = write_config(&case.dir, config);
    let ended = command(&["check", "-c", path.to_str().expect("a plain name")]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let line = format!("pass  reader: {reader}");
    assert!(ended.stdout.lines().any(|found| found == line), "no line {line:?} in\n{}", ended.stdout);
}

/// The committed positions, by lane.
async fn position(case: &Case, lane: &str) -> String {
    case.lines(&format!("SELECT token FROM tailwater.checkpoint WHERE lane = '{lane}'")).await.concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_replica_set_is_read_by_its_oplog() {
    let case = Case::new("auto_oplog").await;
    let students = case.collection("student");
    students.insert_one(doc! {"_id": 1}).await.expect("inserted");
    let mut config = auto(&case);
    checked(&case, &config, OPLOG);
    let daemon = case.start(&config);
    assert_eq!(reading(&daemon, 1).await, OPLOG);
    case.settle().await;
    students.update_one(doc! {"_id": 1}, doc! {"$set": {"name": "Eve"}}).await.expect("updated");
    case.expect_equal().await;
    daemon.sigterm();
    let floor = position(&case, "").await;
    assert!(floor.starts_with('T'), "{floor} is no place of the oplog");
    // It is the default, and what is asked for is done without a reason of ours.
    config.remove("source.reader");
    checked(&case, &config, OPLOG);
    config.set("source.updates", "\"public\"");
    let public =
        "one change stream: source.reader is auto, and source.updates is public, which the oplog does not have";
    checked(&case, &config, public);
    config.set("source.reader", "\"oplog\"");
    checked(&case, &config, "the oplog: source.reader is oplog");
    config.set("source.reader", "\"change_stream\"");
    checked(&case, &config, "one change stream: source.reader is change_stream");
}

/// A user of its own, who may read everything but the oplog.
struct Reader {
    admin: mongodb::Database,
    uri: String,
}

impl Reader {
    async fn new(servers: &Servers) -> Self {
        let admin = Client::with_uri_str(&servers.mongodb_uri).await.expect("a URI").database("admin");
        let create = doc! {"createUser": "reader", "pwd": "secret", "roles": ["readAnyDatabase"]};
        admin.run_command(create).await.expect("created");
        Self { admin, uri: login(&servers.mongodb_uri, "reader", "secret") }
    }

    /// Gives or takes the right to read the oplog.
    async fn may_read_the_oplog(&self, yes: bool) {
        let how = if yes { "grantRolesToUser" } else { "revokeRolesFromUser" };
        let command = doc! {how: "reader", "roles": [{"role": "read", "db": "local"}]};
        self.admin.run_command(command).await.expect("done");
    }

    /// Adds a role on everything.
    async fn is_also(&self, role: &str) {
        self.admin.run_command(doc! {"grantRolesToUser": "reader", "roles": [role]}).await.expect("granted");
    }
}

/// Rights come and go while two databases and their common transactions are followed.
#[tokio::test(flavor = "multi_thread")]
async fn rights_may_come_and_go() {
    const ROUNDS: i32 = 4;
    let servers = Servers::start(&["--auth", "--oplog-mb", "1024"]);
    let case = Case::on(&servers, "auto_rights").await;
    let seed = seed("auto_rights");
    let mut random = Random::new(seed, 9);
    let mut office = Office::new(["w0", "w1"].map(|name| case.database(name)), seed);
    for writer in &mut office.writers {
        writer.load(200).await.expect("loaded");
    }
    let reader = Reader::new(&servers).await;
    let mut config = auto(&case);
    config.set("source.uri", &format!("{:?}", reader.uri));
    checked(&case, &config, FORBIDDEN);
    let students = case.collection("student");
    students.insert_one(doc! {"_id": 0}).await.expect("inserted");
    let mut daemon = case.start(&config);
    assert_eq!(reading(&daemon, 1).await, FORBIDDEN);
    case.settle().await;
    audit::start(&case).await;
    let stop = Arc::new(AtomicBool::new(false));
    let working = keep_working(office, &stop);
    let mut by_oplog = 0;
    for n in 1..=ROUNDS {
        // Granted, the next start uses it, unless the change stream has stopped inside a write of many documents.
        wait::moment(Duration::from_millis(200 + random.next() % 1500)).await;
        reader.may_read_the_oplog(true).await;
        students.insert_one(doc! {"_id": 2 * n - 1}).await.expect("inserted");
        let before = readings(&daemon).len();
        if n % 2 == 0 {
            daemon.kill9()
        } else {
            daemon.sigterm()
        }
        daemon = case.start(&config);
        let now = reading(&daemon, before + 1).await;
        assert!(now == OPLOG || now.starts_with(INSIDE), "{now}");
        by_oplog += i32::from(now == OPLOG);
        // Taken away, the change stream takes over, with the same daemon.
        wait::moment(Duration::from_millis(200 + random.next() % 1500)).await;
        reader.may_read_the_oplog(false).await;
        students.insert_one(doc! {"_id": 2 * n}).await.expect("inserted");
        if now == OPLOG {
            assert_eq!(reading(&daemon, before + 2).await, REFUSED);
        }
    }
    stop.store(true, Ordering::Relaxed);
    let steps = working.await.expect("an office");
    checked(&case, &config, FORBIDDEN);
    case.expect_equal_within(Duration::from_secs(120)).await;
    println!("{steps} steps, {by_oplog} of {ROUNDS} rounds by the oplog: {:#?}", readings(&daemon));
    assert!(by_oplog > 0, "the oplog was never read");
    let once = format!("{} | {}", 2 * ROUNDS, 2 * ROUNDS);
    let written = "SELECT count(*), count(DISTINCT id) FILTER (WHERE operation = 'INSERT') FROM tailwater.audit";
    assert_eq!(case.lines(written).await, [once], "{}", case.logs());
    daemon.sigterm();
    // The roles that an error names are enough.
    reader.is_also("clusterMonitor").await;
    checked(&case, &config, OPLOG);
}

/// Stops the change stream's daemon right behind what it has just committed to database `db`, as a kill may.
async fn stop_behind_it(case: &Case, daemon: Daemon) {
    daemon.sigterm();
    let last = position(case, case.database("db").name()).await;
    assert!(!last.starts_with('T') && last.get(22..24) != Some("29"), "{last} is no event's");
    case.rows(&format!("UPDATE tailwater.checkpoint SET token = '{last}' WHERE lane = ''")).await;
    case.rows("TRUNCATE tailwater.audit").await;
}

/// Ends a daemon that was to write nothing but what is new.
async fn end_without_a_second_write(case: &Case, daemon: Daemon) {
    case.expect_equal().await;
    assert!(case.lines("SELECT operation, id FROM tailwater.audit").await.is_empty(), "{}", case.logs());
    daemon.sigterm();
}

async fn written(case: &Case, n: usize) {
    let sql = "SELECT 1 FROM {db}.student WHERE n = 1";
    let there = || async { (case.rows(sql).await.len() == n).then_some(()) };
    wait::until(format!("{n} students"), LONG, || case.logs(), there).await;
}

fn student(id: i32, n: i32) -> Document {
    doc! {"_id": id, "n": n}
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oplog_gives_nothing_again_that_the_change_stream_has_given() {
    let case = Case::new("auto_exact").await;
    let students = case.collection("student");
    students.insert_one(student(0, 0)).await.expect("inserted");
    let mut streaming = case.config();
    streaming.set("source.reader", "\"change_stream\"");
    let mut config = streaming.clone();
    config.set("source.reader", "\"auto\"");
    let daemon = case.start(&streaming);
    case.settle().await;
    audit::start(&case).await;
    // A transaction is one entry, and is done when it is committed.
    let mut session = case.mongo.start_session().await.expect("a session");
    session.start_transaction().await.expect("started");
    for id in [1, 2] {
        students.insert_one(student(id, 0)).session(&mut session).await.expect("inserted");
        let change = doc! {"$set": {"n": 1}};
        students.update_one(doc! {"_id": id}, change).session(&mut session).await.expect("updated");
    }
    session.commit_transaction().await.expect("committed");
    written(&case, 2).await;
    stop_behind_it(&case, daemon).await;
    let daemon = case.start(&config);
    assert_eq!(reading(&daemon, 2).await, OPLOG);
    end_without_a_second_write(&case, daemon).await;
    // So is a single write.
    let daemon = case.start(&streaming);
    case.settle().await;
    students.insert_one(student(3, 1)).await.expect("inserted");
    written(&case, 3).await;
    stop_behind_it(&case, daemon).await;
    let daemon = case.start(&config);
    assert_eq!(reading(&daemon, 4).await, OPLOG);
    end_without_a_second_write(&case, daemon).await;
    // Of a write of many, the change stream may have committed some; it goes on until that is behind it.
    let daemon = case.start(&streaming);
    case.settle().await;
    students.insert_many((10..15).map(|id| student(id, 1))).await.expect("inserted");
    written(&case, 8).await;
    stop_behind_it(&case, daemon).await;
    let daemon = case.start(&config);
    let inside = reading(&daemon, 6).await;
    assert!(inside.starts_with(INSIDE), "{inside}");
    end_without_a_second_write(&case, daemon).await;
    let daemon = case.start(&config);
    assert_eq!(reading(&daemon, 7).await, OPLOG);
    end_without_a_second_write(&case, daemon).await;
}
