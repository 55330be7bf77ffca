//! `tailwater status`: what the daemon says, or what the target's catalog says when it does not answer.

use std::process::ExitCode;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{print, run};
use crate::config::StatusConfig;
use crate::error::{Error, Kind, Result, Stage};
use crate::sink::status;
use crate::telemetry::progress::{bytes, collections, count, duration, quantity, size};
use crate::telemetry::status::{SnapshotStatus, Status};

/// How long the daemon may take; it answers from memory.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest answer: a hundred thousand databases. Whoever sends more is not our daemon.
const LONGEST_ANSWER: u64 = 16 << 20;
/// Collections being copied that are shown: what leaves room for the rest on a screen.
const COLLECTIONS: usize = 12;

pub(super) fn status(config: StatusConfig, json: bool) -> Result<ExitCode> {
    let status = run::runtime()?.block_on(ask(&config))?;
    let text = if json {
        serde_json::to_string_pretty(&status).map(|text| text + "\n").map_err(|error| {
            Error::new(Kind::Defect, Stage::Http, "the status cannot be written as JSON").caused_by(error)
        })?
    } else {
        screen(&status)
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

async fn ask(config: &StatusConfig) -> Result<Status> {
    let daemon = match &config.http.listen {
        Some(listen) => from_daemon(listen, &config.pipeline).await,
        None => Err(unavailable("http.listen is switched off")),
    };
    match (daemon, &config.target) {
        (Ok(status), _) => Ok(status),
        (Err(error), None) => Err(error.remedy("name the configuration of its `tailwater run` with -c FILE")),
        (Err(daemon), Some(target)) => status::status_from_target(target, &config.pipeline)
            .await
            .map_err(|target| unavailable(format!("neither the daemon nor the target answers: {daemon}; {target}"))),
    }
}

fn unavailable(message: impl Into<String>) -> Error {
    Error::new(Kind::Unavailable, Stage::Http, message)
}

async fn from_daemon(listen: &str, pipeline: &str) -> Result<Status> {
    let wrong = |error: std::io::Error| unavailable(format!("no daemon answers at {listen}")).caused_by(error);
    let answer = tokio::time::timeout(PATIENCE, get(listen)).await;
    let answer = answer.map_err(|_| wrong(std::io::ErrorKind::TimedOut.into()))?.map_err(wrong)?;
    let status: Status = body(&answer)
        .and_then(|body| serde_json::from_str(body).ok())
        .ok_or_else(|| unavailable(format!("what listens at {listen} is not a Tailwater daemon")))?;
    if status.pipeline != pipeline {
        let other = &status.pipeline;
        return Err(unavailable(format!("the daemon at {listen} works on pipeline {other:?}, not {pipeline:?}")));
    }
    Ok(status)
}

async fn get(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /status HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(LONGEST_ANSWER).read_to_string(&mut answer).await?;
    Ok(answer)
}

/// The body of a good answer. Ours are never chunked.
fn body(answer: &str) -> Option<&str> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then_some(body)
}

fn screen(status: &Status) -> String {
    let mut lines = vec![("pipeline", status.pipeline.clone()), ("state", status.state.replace('_', " "))];
    lines.extend(status.reason.clone().map(|reason| ("reason", reason)));
    let rate = status.changes_per_second.map_or_else(String::new, |rate| format!(", {} per second", quantity(rate)));
    lines.extend([
        ("lag", time(status.lag_seconds)),
        ("changes", format!("{}{rate}", count(status.changes_applied))),
        ("oplog window", oplog_window(status)),
        ("anomalies", count(status.anomalies)),
        ("quarantined", count(status.quarantined)),
    ]);
    lines.push(("snapshot", copied(&status.snapshot)));
    lines.push(("cutover", if status.can_cutover { "ready" } else { "not ready" }.to_owned()));
    let mut text: String = lines.iter().map(|(name, value)| format!("{name:<14}{value}\n")).collect();
    let copying = collections(&status.snapshot, COLLECTIONS);
    if !copying.is_empty() {
        text.push_str(&format!("\n{}\n", copying.join("\n")));
    }
    if !status.databases.is_empty() {
        let names = status.databases.iter().map(|database| database.name.chars().count());
        let width = names.max().unwrap_or(0).clamp(8, 64);
        text.push_str(&format!("\n{:<width$}  consistent  {:>14}  applied up to\n", "database", "lag"));
        for database in &status.databases {
            let consistent = if database.consistent { "yes" } else { "not yet" };
            let (name, lag, position) = (&database.name, time(database.lag_seconds), &database.position);
            text.push_str(&format!("{name:<width$}  {consistent:<10}  {lag:>14}  {position}\n"));
        }
    }
    text
}

fn time(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "unknown".to_owned(), duration)
}

/// What is left until history is lost, should the position stand still.
fn oplog_window(status: &Status) -> String {
    let left =
        status.oplog_window_seconds.map_or_else(|| "unknown".to_owned(), |left| format!("{} left", duration(left)));
    let warning =
        if status.oplog_window_is_short() { ": less than half; enlarge the oplog (replSetResizeOplog)" } else { "" };
    left + warning
}

fn copied(snapshot: &SnapshotStatus) -> String {
    if snapshot.collections_left == 0 {
        let documents = format!("{} documents", count(snapshot.documents_done));
        return if snapshot.bytes_done == 0 {
            documents
        } else {
            format!("{documents}, {}", bytes(snapshot.bytes_done))
        };
    }
    let rate = snapshot.bytes_per_second.map_or_else(String::new, |rate| format!("{} per second, ", size(rate)));
    format!(
        "{}%: {} of {}, {} of {} documents, {rate}{} left",
        snapshot.percent(),
        bytes(snapshot.bytes_done),
        bytes(snapshot.bytes_total),
        count(snapshot.documents_done),
        count(snapshot.documents_total),
        time(snapshot.eta_seconds)
    )
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::{ask, body, from_daemon, screen};
    use crate::config::StatusConfig;
    use crate::model::namespace::Namespace;
    use crate::model::position::ClusterTime;
    use crate::model::secret::Secret;
    use crate::model::state::State;
    use crate::sink::options::TargetOptions;
    use crate::telemetry::Telemetry;
    use crate::telemetry::http;
    use crate::telemetry::options::HttpOptions;

    fn telemetry() -> Telemetry {
        let telemetry = Telemetry::new("p");
        telemetry.state(State::Streaming);
        telemetry.server_time(ClusterTime { seconds: 100, ordinal: 1 });
        telemetry.database("school", ClusterTime { seconds: 98, ordinal: 3 }, true);
        telemetry.applied("school", "insert", 1234);
        telemetry
    }

    #[test]
    fn a_screen_for_people() {
        let text = screen(&telemetry().status());
        let expected = "pipeline      p
state         streaming
lag           2 s
changes       1,234
oplog window  unknown
anomalies     0
quarantined   0
snapshot      0 documents
cutover       ready

database  consistent             lag  applied up to
school    yes                    2 s  98:3
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_screen_during_the_snapshot() {
        let telemetry = telemetry();
        for (name, documents, bytes) in [("a", 1000, 10 << 20), ("b", 20, 30 << 20)] {
            telemetry.snapshot_started(&Namespace::new("school", name), documents, bytes);
        }
        telemetry.snapshot_resumed(&Namespace::new("school", "a"), 250, 5 << 20);
        telemetry.oplog_window(1.0);
        telemetry.server_time(ClusterTime { seconds: 200, ordinal: 1 });
        let text = screen(&telemetry.status());
        for line in [
            "snapshot      12%: 5.0 MiB of 40 MiB, 250 of 1,020 documents, unknown left",
            "oplog window  1 s left: less than half; enlarge the oplog (replSetResizeOplog)",
            "school.b   0%       0 B/30 MiB                               0/20 documents",
            "school.a  50%   5.0 MiB/10 MiB                               250/1,000 documents",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn only_a_good_answer_has_a_body() {
        assert_eq!(body("HTTP/1.1 200 OK\r\nA: b\r\n\r\n{}"), Some("{}"));
        assert_eq!(body("HTTP/1.1 404 Not Found\r\n\r\n{}"), None);
        assert_eq!(body("SSH-2.0"), None);
    }

    #[tokio::test]
    async fn the_daemon_is_asked_over_its_endpoint() {
        // Ask the system for a free port, let go of it, and take it: the endpoint wants an address, not a socket.
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").to_string();
        let stop = CancellationToken::new();
        let server = http::serve(&free, telemetry(), stop.clone()).await.expect("serve");
        let status = from_daemon(&free, "p").await.expect("status");
        assert_eq!((status.changes_applied, status.lag_seconds), (1234, Some(2.0)));
        let other = from_daemon(&free, "q").await.expect_err("another pipeline");
        assert!(other.to_string().contains("works on pipeline \"p\", not \"q\""), "{other}");
        stop.cancel();
        server.await.expect("ends");
        let gone = from_daemon(&free, "p").await.expect_err("gone");
        assert!(gone.to_string().contains("no daemon answers at"), "{gone}");
    }

    #[tokio::test]
    async fn neither_answers() {
        let http = HttpOptions { listen: None };
        let target = TargetOptions { uri: Secret::new("postgres://127.0.0.1:1/none"), max_connections: 3 };
        let config = StatusConfig { pipeline: "p".to_owned(), http, target: Some(target) };
        let error = ask(&config).await.expect_err("nobody there");
        assert_eq!(error.exit_status(), 1);
        assert!(
            error.to_string().starts_with("neither the daemon nor the target answers: http.listen is switched off")
        );
    }
}
