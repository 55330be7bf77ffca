//! What keeps `run` from starting is said at once: one message with the thing and the remedy, and exit status 1 or 2.

use std::net::TcpListener;

use crate::harness::case::Case;
use crate::harness::config::Config;
use crate::harness::daemon::{Ended, command, write_config};
use crate::harness::servers::Servers;

/// Runs with this configuration and expects it to end with `code`, naming all of `says`, and without a secret.
fn refused(case: &Case, config: &Config, code: i32, says: &[&str]) -> Ended {
    let file = write_config(&case.dir, config);
    let ended = command(&["run", "-c", file.to_str().expect("a path in UTF-8")]);
    let text = &ended.stderr;
    assert_eq!(ended.code, Some(code), "{says:?}: {text}");
    for part in says {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    // Before the configuration is known it is plain text, after that a record of the log, JSON here.
    let messages = text.matches("tailwater: error").count() + text.matches("\"level\":\"ERROR\"").count();
    assert_eq!(messages, 1, "{text}");
    assert!(!text.contains("hunter2") && !text.contains("panicked"), "{text}");
    ended
}

/// The configuration with one of the URIs changed.
fn with(case: &Case, key: &str, uri: &str) -> Config {
    let mut config = case.config();
    config.set(key, &format!("{uri:?}"));
    config
}

/// The URI with other credentials.
fn with_user(uri: &str, user: &str) -> String {
    let (scheme, rest) = uri.split_once("://").expect("a URI");
    let hosts = rest.split_once('@').map_or(rest, |(_, hosts)| hosts);
    format!("{scheme}://{user}@{hosts}")
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_addresses_are_named() {
    let case = Case::new("addresses").await;
    let nobody = "mongodb://user:hunter2@127.0.0.1:9/?replicaSet=rs0&serverSelectionTimeoutMS=2000";
    refused(&case, &with(&case, "source.uri", nobody), 1, &["127.0.0.1:9", "source"]);
    let nobody = "postgres://user:hunter2@127.0.0.1:9/warehouse";
    refused(&case, &with(&case, "target.uri", nobody), 1, &["PostgreSQL", "target.uri"]);
    let other_set = case.mongodb_uri.replace("replicaSet=rs0", "replicaSet=other&serverSelectionTimeoutMS=2000");
    refused(&case, &with(&case, "source.uri", &other_set), 2, &["other", "rs0"]);
    let missing = case.postgres_uri.replace(&case.prefix.trim_end_matches('_'), "no_such_database");
    refused(&case, &with(&case, "target.uri", &missing), 1, &["no_such_database", "create the database"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_configuration_is_refused_before_anything_is_done() {
    let case = Case::new("configuration").await;
    for (key, value, says) in [
        ("source.uri", "\"http://example.org\"", vec!["source.uri", "mongodb://"]),
        ("target.uri", "\"mysql://example.org/hunter2\"", vec!["target.uri", "postgres://"]),
        ("source.urll", "\"x\"", vec!["source.urll", "source.uri"]),
        ("snapshot.paralel", "4", vec!["snapshot.paralel", "snapshot.parallel"]),
        ("limits.memory_limit", "\"much\"", vec!["limits.memory_limit", "MiB"]),
        ("target.max_connections", "0", vec!["target.max_connections"]),
        ("source.updates", "\"some\"", vec!["source.updates", "public"]),
        ("http.listen", "\"nowhere\"", vec!["http.listen"]),
    ] {
        let mut config = case.config();
        config.set(key, value);
        refused(&case, &config, 2, &says);
    }
    // All errors at once.
    let mut config = case.config();
    config.set("colour.scheme", "\"dark\"").set("pipelin", "\"x\"").set("snapshot.parallel", "\"many\"");
    refused(&case, &config, 2, &["colour.scheme", "pipelin", "snapshot.parallel"]);
    assert_eq!(case.lines("SELECT count(*) FROM pg_namespace WHERE nspname = 'tailwater'").await, ["0"]);
    // Wrong usage.
    let no_uris = command(&["run"]);
    assert_eq!(no_uris.code, Some(2), "{}", no_uris.stderr);
    assert!(no_uris.stderr.contains("source") && no_uris.stderr.contains("target"), "{}", no_uris.stderr);
    let no_file = command(&["run", "-c", "/nonexistent/tailwater.toml"]);
    assert_eq!(no_file.code, Some(2), "{}", no_file.stderr);
    assert!(no_file.stderr.contains("/nonexistent/tailwater.toml"), "{}", no_file.stderr);
    assert_eq!(command(&["runn"]).code, Some(2));
    assert_eq!(command(&["--help"]).code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_an_error_at_start() {
    let case = Case::new("portinuse").await;
    let config = case.config();
    let _taken = TcpListener::bind(("127.0.0.1", config.port)).expect("a free port");
    refused(&case, &config, 1, &[&format!("127.0.0.1:{}", config.port), "http.listen"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_and_missing_rights_in_postgresql_are_told_apart() {
    let case = Case::new("postgresrights").await;
    let wrong = with_user(&case.postgres_uri, "locked:hunter2");
    refused(&case, &with(&case, "target.uri", &wrong), 1, &["password", "target.uri"]);
    let may_not = with_user(&case.postgres_uri, "locked:secret");
    refused(&case, &with(&case, "target.uri", &may_not), 1, &["permission denied", "grant"]);
    // With the right to create, it starts.
    case.rows(&format!("GRANT CREATE ON DATABASE \"{}\" TO locked", case.prefix.trim_end_matches('_'))).await;
    let daemon = case.start(&with(&case, "target.uri", &may_not));
    daemon.until_state("streaming").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_and_missing_rights_in_mongodb_are_told_apart() {
    let case = Case::new("mongodbrights").await;
    let guarded = Servers::start(&["--auth", "--no-postgres"]);
    let wrong = with_user(&guarded.mongodb_uri, "admin:hunter2");
    refused(&case, &with(&case, "source.uri", &wrong), 1, &["uthentication", "source"]);
    let may_not = with_user(&guarded.mongodb_uri, "weak:secret");
    refused(&case, &with(&case, "source.uri", &may_not), 1, &["grant"]);
    let nobody = guarded.mongodb_uri.replace("admin:secret@", "");
    refused(&case, &with(&case, "source.uri", &nobody), 1, &["uthentication"]);
    let daemon = case.start(&with(&case, "source.uri", &guarded.mongodb_uri));
    daemon.until_state("streaming").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standalone_mongod_is_refused_with_the_way_out() {
    let case = Case::new("standalone").await;
    let standalone = Servers::start(&["--standalone", "--no-postgres"]);
    refused(&case, &with(&case, "source.uri", &standalone.mongodb_uri), 1, &["standalone", "replica set"]);
}
