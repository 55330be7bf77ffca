//! What machines and people read of a daemon: metrics, probes, status, and the commands that ask for them.

use std::collections::BTreeMap;

use mongodb::bson::doc;
use serde_json::Value;

use crate::harness::case::Case;
use crate::harness::config::free_port;
use crate::harness::daemon::{Daemon, command, write_config};
use crate::harness::http;
use crate::harness::servers::{self, Servers};
use crate::harness::wait::{self, LONG};

const METRICS: [&str; 14] = [
    "tailwater_lag_seconds",
    "tailwater_changes_applied_total",
    "tailwater_snapshot_documents_total",
    "tailwater_snapshot_bytes_total",
    "tailwater_snapshot_expected_bytes",
    "tailwater_snapshot_copied_bytes",
    "tailwater_transactions_committed_total",
    "tailwater_buffered_bytes",
    "tailwater_target_connections",
    "tailwater_oplog_window_seconds",
    "tailwater_anomalies_total",
    "tailwater_quarantined_documents",
    "tailwater_retries_total",
    "tailwater_build_info",
];

const FIELDS: [&str; 18] = [
    "/pipeline",
    "/state",
    "/lag_seconds",
    "/oplog_window_seconds",
    "/changes_applied",
    "/anomalies",
    "/quarantined",
    "/snapshot/documents_done",
    "/snapshot/documents_total",
    "/snapshot/bytes_done",
    "/snapshot/bytes_total",
    "/snapshot/bytes_per_second",
    "/snapshot/eta_seconds",
    "/databases/0/name",
    "/databases/0/consistent",
    "/databases/0/lag_seconds",
    "/databases/0/position",
    "/can_cutover",
];

/// Every sample of `/metrics`, by name and labels as they are written.
fn metrics(port: u16) -> BTreeMap<String, f64> {
    let (code, text) = http::get(port, "/metrics").expect("the daemon answers");
    assert_eq!(code, 200, "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?} is no sample"));
        (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line:?} has no number")))
    };
    samples.map(sample).collect()
}

/// What was applied to database `db`, by operation.
fn applied(case: &Case, port: u16) -> BTreeMap<String, u64> {
    let start = format!("tailwater_changes_applied_total{{database=\"{}db\",operation=\"", case.prefix);
    let operation = |(name, value): (String, f64)| {
        let operation = name.strip_prefix(&start)?.strip_suffix("\"}")?;
        Some((operation.to_owned(), value as u64))
    };
    metrics(port).into_iter().filter_map(operation).collect()
}

/// Eight kinds of operations, each a different number of times.
async fn operate(case: &Case) -> BTreeMap<String, u64> {
    let students = case.collection("student");
    students.insert_many((10..16).map(|n| doc! {"_id": n, "n": n})).await.expect("inserted");
    students.update_many(doc! {"_id": {"$gte": 10, "$lt": 15}}, doc! {"$inc": {"n": 1}}).await.expect("updated");
    for n in 10..14 {
        students.replace_one(doc! {"_id": n}, doc! {"m": n}).await.expect("replaced");
    }
    students.delete_many(doc! {"_id": {"$gte": 13}}).await.expect("deleted");
    for name in ["a", "b"] {
        case.database("db").create_collection(name).await.expect("created");
    }
    let name = |name: &str| format!("{}db.{name}", case.prefix);
    let rename = doc! {"renameCollection": name("a"), "to": name("c")};
    case.mongo.database("admin").run_command(rename).await.expect("renamed");
    case.collection("b").drop().await.expect("dropped");
    let counts =
        [("insert", 6), ("update", 5), ("replace", 4), ("delete", 3), ("create", 2), ("rename", 1), ("drop", 1)];
    counts.map(|(operation, n)| (operation.to_owned(), n)).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_was_done() {
    let case = Case::new("metrics").await;
    case.collection("student").insert_many((0..3).map(|n| doc! {"_id": n})).await.expect("inserted");
    let daemon = case.start(&case.config());
    daemon.until_state("streaming").await;
    case.settle().await;
    let before = applied(&case, daemon.port);
    let mut expected = before.clone();
    for (operation, n) in operate(&case).await {
        *expected.entry(operation).or_default() += n;
    }
    // PostgreSQL has no NUL in texts, so this one is stored in another form.
    case.collection("student").insert_one(doc! {"_id": 99, "text": "a\0b"}).await.expect("inserted");
    case.settle().await;
    // That one and the sentinel.
    *expected.entry("insert".to_owned()).or_default() += 2;
    let total = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
    let found = wait::until(
        "all operations to be counted",
        LONG,
        || daemon.log_tail(),
        || async {
            let found = applied(&case, daemon.port);
            (total(&found) >= total(&expected)).then_some(found)
        },
    )
    .await;
    assert_eq!(found, expected);

    let (code, page) = http::get(daemon.port, "/").expect("the page for people");
    assert!(code == 200 && page.contains("<html"), "{page}");
    let all = metrics(daemon.port);
    for name in METRICS {
        let named = |sample: &&String| *sample == name || sample.starts_with(&format!("{name}{{"));
        assert!(all.keys().any(|sample| named(&sample)), "{name} has no sample: {all:?}");
    }
    assert_eq!(all["tailwater_snapshot_documents_total"], 3.0);
    // A document {_id: n} is 14 bytes.
    for name in ["bytes_total", "expected_bytes", "copied_bytes"] {
        assert_eq!(all[&format!("tailwater_snapshot_{name}")], 42.0, "{name}");
    }
    assert_eq!(all["tailwater_anomalies_total{reason=\"nul_removed\"}"], 1.0);
    assert_eq!(all["tailwater_quarantined_documents"], 0.0);
    assert!(all["tailwater_transactions_committed_total"] >= 1.0, "{all:?}");
    assert!((1.0..=4.0).contains(&all["tailwater_target_connections"]), "{all:?}");
    assert!(all["tailwater_oplog_window_seconds"] >= 0.0, "{all:?}");
}

fn ready(port: u16) -> Option<(u16, String)> {
    http::get(port, "/readyz")
}

async fn until_ready(daemon: &Daemon, code: u16, reason: &str) {
    let last = std::cell::RefCell::new(None);
    let state = || format!("/readyz said {:?}\n{}", last.borrow(), daemon.log_tail());
    wait::until(format!("/readyz {code} {reason}"), LONG, state, || async {
        let answer = ready(daemon.port);
        let found = answer.as_ref().is_some_and(|(found, text)| *found == code && text.contains(reason));
        *last.borrow_mut() = answer;
        found.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_only_while_it_streams() {
    let mut servers = Servers::start(&["--no-mongo"]);
    servers.mongodb_uri.clone_from(&servers::shared().mongodb_uri);
    let mut case = Case::on(&servers, "readyz").await;
    case.collection("student").insert_one(doc! {"_id": 1}).await.expect("inserted");
    let daemon = case.start(&case.config());
    until_ready(&daemon, 200, "ok").await;
    case.settle().await;
    servers.change("stop-postgres", &[]);
    case.collection("student").insert_one(doc! {"_id": 2}).await.expect("inserted");
    until_ready(&daemon, 503, "PostgreSQL").await;
    assert_eq!(http::get(daemon.port, "/livez").expect("alive all the same").0, 200);
    let status = daemon.until_status("state retrying", |status| status["state"] == "retrying").await;
    assert_eq!(status["can_cutover"], false, "{status}");
    servers.change("start-postgres", &[]);
    until_ready(&daemon, 200, "ok").await;
    assert!(metrics(daemon.port)["tailwater_retries_total{stage=\"sink\"}"] >= 1.0);
    case.reconnect().await;
    case.expect_equal().await;
    daemon.sigterm();

    // A start that cannot get on: the lock keeps it from reading its position.
    case.rows("BEGIN").await;
    case.rows("LOCK TABLE tailwater.checkpoint").await;
    let daemon = case.start(&case.config());
    until_ready(&daemon, 503, "starting").await;
    assert_eq!(http::get(daemon.port, "/livez").expect("alive all the same").0, 200);
    case.rows("COMMIT").await;
    until_ready(&daemon, 200, "ok").await;
}

/// What `tailwater status` prints for this configuration.
fn status(config: &str, arguments: &[&str]) -> String {
    let ended = command(&[&["status", "-c", config], arguments].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout
}

fn status_json(config: &str) -> Value {
    let status: Value = serde_json::from_str(&status(config, &["--json"])).expect("JSON");
    for field in FIELDS {
        assert!(status.pointer(field).is_some(), "{field} is missing: {status}");
    }
    status
}

/// Every line of the screen that starts with `name`, without it.
fn line<'a>(screen: &'a str, name: &str) -> &'a str {
    let line = screen.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name} is missing in\n{screen}")).trim()
}

#[tokio::test(flavor = "multi_thread")]
async fn status_is_known_with_the_daemon_and_without() {
    let case = Case::new("status").await;
    case.collection("student").insert_many((0..3).map(|n| doc! {"_id": n})).await.expect("inserted");
    let config = case.config();
    let path = write_config(&case.dir, &config);
    let path = path.to_str().expect("a plain name");
    let never = command(&["status", "-c", path]);
    assert_eq!(never.code, Some(1), "{}", never.stdout);
    assert!(never.stderr.contains("no catalog of pipeline"), "{}", never.stderr);

    let daemon = case.start(&config);
    daemon.until_state("streaming").await;
    case.settle().await;
    let name = format!("{}db", case.prefix);
    let settled = |status: &Value| {
        status["state"] == "streaming" && status["can_cutover"] == true && status["changes_applied"].as_u64() >= Some(2)
    };
    let told = daemon.until_status("streaming and consistent", settled).await;
    for field in FIELDS {
        assert!(told.pointer(field).is_some(), "{field} is missing: {told}");
    }
    let running = status_json(path);
    for field in ["pipeline", "state", "changes_applied", "snapshot", "can_cutover"] {
        assert_eq!(running[field], told[field], "{field}");
    }
    assert_eq!(running["snapshot"]["documents_done"], 3);
    assert_eq!(
        (&running["databases"][0]["name"], &running["databases"][0]["consistent"]),
        (&name.clone().into(), &true.into())
    );
    let screen = status(path, &[]);
    assert_eq!((line(&screen, "state"), line(&screen, "pipeline")), ("streaming", case.name.as_str()));
    assert!(line(&screen, &name).starts_with("yes"), "{screen}");
    daemon.sigterm();

    let stopped = status_json(path);
    assert_eq!((&stopped["pipeline"], &stopped["state"]), (&running["pipeline"], &"halted".into()));
    assert_eq!(stopped["snapshot"]["documents_done"], 3);
    assert_eq!(
        (&stopped["databases"][0]["name"], &stopped["databases"][0]["consistent"]),
        (&name.clone().into(), &true.into())
    );
    assert!(stopped["reason"].as_str().is_some_and(|reason| reason.contains("no daemon answers")), "{stopped}");
    let screen = status(path, &[]);
    assert_eq!(line(&screen, "state"), "halted");
    assert!(line(&screen, &name).starts_with("yes"), "{screen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_passes_on_good_servers_and_names_what_is_wrong_on_bad_ones() {
    let case = Case::new("check").await;
    case.collection("student").insert_one(doc! {"_id": 1}).await.expect("inserted");
    let mut config = case.config();
    let check = |config: &crate::harness::config::Config| {
        let path = write_config(&case.dir, config);
        let ended = command(&["check", "-c", path.to_str().expect("a plain name")]);
        (ended.code, ended.stdout)
    };
    let (code, good) = check(&config);
    assert_eq!(code, Some(0), "{good}");
    let says = |text: &str, verdict: &str, word: &str| {
        text.lines().any(|line| line.starts_with(verdict) && line.contains(word))
    };
    for word in ["source: MongoDB", "target: PostgreSQL", "target rights"] {
        assert!(says(&good, "pass", word), "{word} is missing in\n{good}");
    }
    assert!(good.contains("\nready to run") && !good.contains("\nfail"), "{good}");
    assert_eq!(case.lines("SELECT to_regnamespace('tailwater')").await, ["-"], "check has written");

    let nobody = format!("\"postgres://u:hunter2@127.0.0.1:{}/d\"", free_port());
    config.set("target.uri", &nobody);
    let (code, bad) = check(&config);
    assert_eq!(code, Some(1), "{bad}");
    assert!(says(&bad, "pass", "source: MongoDB") && says(&bad, "fail", "check that PostgreSQL runs"), "{bad}");
    assert!(bad.contains("\nnot ready: 1 to fix") && !bad.contains("hunter2"), "{bad}");
}
