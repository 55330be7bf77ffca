//! What people and machines see: probes, metrics, status, by HTTP and by the command.

use mongodb::bson::doc;
use serde_json::Value;

use crate::harness::case::Case;
use crate::harness::daemon::{command, write_config};
use crate::harness::http;
use crate::harness::wait::{self, LONG};

const METRICS: [&str; 11] = [
    "tailwater_lag_seconds",
    "tailwater_changes_applied_total",
    "tailwater_snapshot_documents_total",
    "tailwater_transactions_committed_total",
    "tailwater_buffered_bytes",
    "tailwater_target_connections",
    "tailwater_oplog_window_seconds",
    "tailwater_anomalies_total",
    "tailwater_quarantined_documents",
    "tailwater_retries_total",
    "tailwater_build_info",
];

/// The value of a metric, its labels included in `name`.
fn metric(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

fn expect_status_fields(status: &Value) {
    for field in ["lag_seconds", "oplog_window_seconds", "changes_applied", "anomalies", "quarantined"] {
        assert!(status.get(field).is_some_and(|v| v.is_number() || v.is_null()), "{field} in {status}");
    }
    for field in ["documents_done", "documents_total", "eta_seconds"] {
        assert!(status["snapshot"].get(field).is_some(), "snapshot.{field} in {status}");
    }
    assert!(status["pipeline"].is_string() && status["state"].is_string(), "{status}");
    assert!(status["can_cutover"].is_boolean(), "{status}");
    for database in status["databases"].as_array().expect("databases") {
        assert!(database["name"].is_string() && database["consistent"].is_boolean(), "{status}");
        assert!(database.get("lag_seconds").is_some() && !database["position"].is_null(), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_promised_can_be_read() {
    let case = Case::new("endpoints").await;
    case.collection("c").insert_many((0..7).map(|id| doc! {"_id": id})).await.expect("inserted");
    let config = case.config();
    let daemon = case.start(&config);
    let ready = || async { http::get(config.port, "/readyz").filter(|(code, _)| *code == 200) };
    wait::until("/readyz says 200", LONG, || daemon.log_tail(), ready).await;
    case.collection("c").insert_one(doc! {"_id": 100}).await.expect("inserted");
    case.collection("c").update_one(doc! {"_id": 1}, doc! {"$set": {"x": "a\0b"}}).await.expect("updated");
    case.collection("c").delete_one(doc! {"_id": 2}).await.expect("deleted");
    case.settle().await;
    let database = format!("{}db", case.prefix);
    let done = |status: &Value| {
        let ours = |d: &Value| d["name"] == *database && d["consistent"] == true;
        status["state"] == "streaming"
            && status["anomalies"] == 1
            && status["lag_seconds"].as_f64().is_some_and(|lag| lag < 5.0)
            && status["databases"].as_array().is_some_and(|all| all.iter().any(ours))
    };
    let status = daemon.until_status("everything counted", done).await;
    expect_status_fields(&status);
    assert_eq!(status["pipeline"], "endpoints");
    assert!(status["changes_applied"].as_u64() >= Some(4), "{status}");
    assert_eq!(status["snapshot"]["documents_done"], status["snapshot"]["documents_total"], "{status}");
    assert!(status["snapshot"]["documents_done"].as_u64() >= Some(7), "{status}");

    assert_eq!(http::get(config.port, "/livez").map(|(code, _)| code), Some(200));
    let (code, page) = http::get(config.port, "/").expect("the page");
    assert!(code == 200 && page.to_lowercase().contains("<html"), "{page}");
    let (code, metrics) = http::get(config.port, "/metrics").expect("metrics");
    assert_eq!(code, 200);
    for name in METRICS {
        assert!(metrics.contains(&format!("# TYPE {name} ")), "{name} in {metrics}");
    }
    let applied = |operation: &str| {
        metric(
            &metrics,
            &format!("tailwater_changes_applied_total{{database=\"{database}\",operation=\"{operation}\"}}"),
        )
    };
    assert_eq!((applied("update"), applied("delete")), (Some(1.0), Some(1.0)), "{metrics}");
    assert!(metric(&metrics, "tailwater_snapshot_documents_total") >= Some(7.0), "{metrics}");
    assert!(metric(&metrics, "tailwater_target_connections").is_some_and(|n| (1.0..=4.0).contains(&n)), "{metrics}");
    assert!(!metrics.contains("a\\0b"), "no values in metrics");

    let file = write_config(&case.dir, &config);
    let file = file.to_str().expect("a path in UTF-8");
    let told = command(&["status", "--json", "-c", file]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let told: Value = serde_json::from_str(&told.stdout).expect("JSON");
    expect_status_fields(&told);
    assert_eq!(
        (told["state"].clone(), told["anomalies"].clone()),
        (status["state"].clone(), status["anomalies"].clone())
    );
    assert!(command(&["status", "-c", file]).stdout.contains("endpoints"));
    daemon.sigterm();
    // Nobody answers now: the catalog knows less, but it knows.
    let told = command(&["status", "--json", "-c", file]);
    let told: Value = serde_json::from_str(&told.stdout).expect("JSON");
    expect_status_fields(&told);
    assert_ne!(told["state"], "streaming");
    assert_eq!(told["anomalies"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_everything_in_order_and_changes_nothing() {
    let case = Case::new("checked").await;
    case.collection("c").insert_one(doc! {"_id": 1}).await.expect("inserted");
    let file = write_config(&case.dir, &case.config());
    let checked = command(&["check", "-c", file.to_str().expect("a path in UTF-8")]);
    assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
    assert!(checked.stdout.to_lowercase().contains("pass"), "{}", checked.stdout);
    assert_eq!(case.lines("SELECT count(*) FROM pg_namespace WHERE nspname = 'tailwater'").await, ["0"]);
}
