//! The HTTP endpoint: metrics, probes, status, and a page for people. Read-only.
//!
//! It listens before the pipeline starts, so that a port in use is an error before anything is written, and runs beside
//! it: a request reads a copy of the numbers, and no answer of ours waits for the pipeline nor the pipeline for a reader.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Telemetry;
use crate::error::{Error, Kind, Result, Stage};

/// The page; it asks `/status` by itself and needs nothing else.
const PAGE: &str = include_str!("page.html");
/// The page runs its own script and style and talks to its own server only.
const PAGE_POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'";

/// Listens on `listen` and serves until `shutdown`; the task ends soon after it.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(listen: &str, telemetry: Telemetry, shutdown: CancellationToken) -> Result<JoinHandle<()>> {
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        Error::new(Kind::Local, Stage::Http, format!("cannot listen on {listen}"))
            .caused_by(error)
            .remedy("set http.listen to a free address:port, or to \"\" to switch the endpoint off")
    })?;
    let address = listener.local_addr().map_or_else(|_| listen.to_owned(), |address| address.to_string());
    tracing::info!(address, "listening: /metrics, /livez, /readyz, /status, and / for people");
    Ok(tokio::spawn(async move {
        let server = axum::serve(listener, routes(telemetry)).with_graceful_shutdown(shutdown.cancelled_owned());
        if let Err(error) = server.await {
            tracing::error!("the HTTP endpoint ended: {error}");
        }
    }))
}

fn routes(telemetry: Telemetry) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/metrics", get(metrics))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/status", get(status))
        .with_state(telemetry)
}

async fn page() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
    ];
    (headers, PAGE)
}

async fn metrics(State(telemetry): State<Telemetry>) -> impl IntoResponse {
    (plain("text/plain; version=0.0.4; charset=utf-8"), telemetry.metrics())
}

/// Answering at all is the proof of life.
async fn live() -> impl IntoResponse {
    (plain("text/plain; charset=utf-8"), "ok\n")
}

async fn ready(State(telemetry): State<Telemetry>) -> impl IntoResponse {
    let (status, text) = match telemetry.unready() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    };
    (status, plain("text/plain; charset=utf-8"), text)
}

async fn status(State(telemetry): State<Telemetry>) -> impl IntoResponse {
    match serde_json::to_string(&telemetry.status()) {
        Ok(json) => (StatusCode::OK, plain("application/json"), json),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, plain("text/plain"), error.to_string()),
    }
}

fn plain(content_type: &'static str) -> [(HeaderName, &'static str); 2] {
    [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")]
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_util::sync::CancellationToken;

    use super::{Telemetry, routes, serve};
    use crate::error::Kind;
    use crate::model::position::ClusterTime;
    use crate::model::state::State;

    /// Asks a server of its own for one path; the whole answer.
    async fn get(telemetry: &Telemetry, path: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let server = tokio::spawn(axum::serve(listener, routes(telemetry.clone())).into_future());
        let mut stream = TcpStream::connect(address).await.expect("connect");
        let request = format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("write");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("read");
        server.abort();
        answer
    }

    fn streaming() -> Telemetry {
        let telemetry = Telemetry::new("p");
        telemetry.state(State::Streaming);
        telemetry.server_time(ClusterTime { seconds: 100, ordinal: 1 });
        telemetry.database("shop", ClusterTime { seconds: 97, ordinal: 1 }, true);
        telemetry
    }

    #[tokio::test]
    async fn ready_while_streaming_and_the_reason_otherwise() {
        let telemetry = streaming();
        assert!(get(&telemetry, "/readyz").await.starts_with("HTTP/1.1 200 "));
        telemetry.state(State::Retrying { stage: "source", message: "no primary".to_owned() });
        let answer = get(&telemetry, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("retrying: source: no primary\n"), "{answer}");
        assert!(get(&telemetry, "/livez").await.starts_with("HTTP/1.1 200 "), "alive all the same");
    }

    #[tokio::test]
    async fn metrics_are_what_happened() {
        let telemetry = streaming();
        telemetry.applied("shop", "insert", 3);
        telemetry.applied("shop", "insert", 2);
        telemetry.committed();
        let answer = get(&telemetry, "/metrics").await;
        for line in [
            "tailwater_changes_applied_total{database=\"shop\",operation=\"insert\"} 5",
            "tailwater_transactions_committed_total 1",
            "tailwater_lag_seconds 3",
            "tailwater_database_lag_seconds{database=\"shop\"} 3",
            "tailwater_state{state=\"streaming\"} 1",
            "tailwater_state{state=\"halted\"} 0",
            "tailwater_retries_total{stage=\"sink\"} 0",
            "tailwater_oplog_window_seconds NaN",
        ] {
            assert!(answer.lines().any(|found| found == line), "{line} in {answer}");
        }
        telemetry.database_gone("shop");
        assert!(!get(&telemetry, "/metrics").await.contains("tailwater_database_lag_seconds{"));
    }

    #[tokio::test]
    async fn the_page_needs_nothing_from_elsewhere() {
        let answer = get(&Telemetry::new("p"), "/").await;
        assert!(answer.contains("content-security-policy: default-src 'none'"), "{answer}");
        assert!(!answer.contains("http://") && !answer.contains("https://"), "{answer}");
        assert!(get(&Telemetry::new("p"), "/nothing").await.starts_with("HTTP/1.1 404 "));
    }

    #[tokio::test]
    async fn a_port_in_use_is_told_with_the_key_to_change() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = taken.local_addr().expect("address").to_string();
        let error = serve(&address, Telemetry::new("p"), CancellationToken::new()).await.expect_err("in use");
        assert_eq!((error.kind(), error.exit_status()), (Kind::Local, 1));
        assert!(error.to_string().contains("http.listen"), "{error}");
    }
}
