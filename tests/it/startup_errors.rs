//! What keeps a daemon from starting ends it by itself, with exactly one error that names the thing and the remedy, and
//! never with a password.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use mongodb::bson::doc;

use crate::harness::case::{Case, connect};
use crate::harness::config::Config;
use crate::harness::daemon::{command_with, write_config};
use crate::harness::servers::Servers;

/// Stands in URIs that are wrong in some other way, and as a wrong password.
const PASSWORD: &str = "hunter2";
/// The password of the servers' users.
const SECRET: &str = "secret";
/// No endpoint: starts in parallel must not want the same port.
const NO_ENDPOINT: (&str, &str) = ("TAILWATER_HTTP__LISTEN", "");

/// Runs `tailwater run`, which must end by itself with `code` and one error that says all of `words`.
fn refused(environment: &[(&str, &str)], arguments: &[&str], code: i32, words: &[&str]) {
    let ended = command_with(environment, &[&["run"], arguments].concat());
    let said = &ended.stderr;
    assert_eq!(ended.code, Some(code), "{arguments:?}: {said}");
    let is_error = |line: &&str| line.starts_with("tailwater: error: ") || line.contains("\"level\":\"ERROR\"");
    assert_eq!(said.lines().filter(is_error).count(), 1, "{arguments:?}: {said}");
    let from = said.lines().position(|line| is_error(&line)).unwrap_or_default();
    let error = said.lines().skip(from).collect::<Vec<_>>().join("\n");
    for word in words {
        assert!(error.contains(word), "{arguments:?}: {word:?} is missing in {error}");
    }
    for password in [PASSWORD, SECRET] {
        let anywhere = [said, &ended.stdout].into_iter().any(|text| text.contains(password));
        assert!(!anywhere, "{arguments:?}: the password is shown: {said}");
    }
}

fn refused_uris(source: &str, target: &str, code: i32, words: &[&str]) {
    refused(&[NO_ENDPOINT], &["--source", source, "--target", target], code, words);
}

/// A URI with another user and password.
pub fn login(uri: &str, user: &str, password: &str) -> String {
    let (scheme, rest) = uri.split_once("://").expect("a URI");
    let host = rest.split_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{user}:{password}@{host}")
}

#[test]
fn malformed_uris_are_wrong_configuration() {
    let source = &format!("mongodb://u:{PASSWORD}@127.0.0.1:1/?replicaSet=rs0");
    let target = &format!("postgres://u:{PASSWORD}@127.0.0.1:1/d");
    let wrong = |uri: &str| uri.replace("HIDDEN", PASSWORD);
    refused_uris(&wrong("mongo//u:HIDDEN@h/"), target, 2, &["source.uri", "mongodb://"]);
    refused_uris(&wrong("mongodb://u:HIDDEN@h:port/"), target, 2, &["source URI", "percent-encode"]);
    // A wrong target is told before anything is connected, and so before the source that nobody answers for.
    refused_uris(source, &wrong("http://u:HIDDEN@h/"), 2, &["target.uri", "postgres://"]);
    refused_uris(source, &wrong("postgres://u:HIDDEN@h:port/d"), 2, &["target.uri", "postgres://user:password@"]);
    refused_uris(source, &wrong("postgres://u:HIDDEN@/d"), 2, &["target.uri", "host"]);
    refused(&[], &["--source", source], 2, &["target.uri", "--target"]);
    refused(&[("TAILWATER_SOURCE__URI", source)], &[], 2, &["target.uri", "--target"]);
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_and_all_errors_at_once() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let source = format!("mongodb://u:{PASSWORD}@127.0.0.1:1/");
    let target = "postgres://127.0.0.1:1/d";
    for (key, value, words) in [
        ("source.urll", "\"x\"", ["source.urll", "source.uri"]),
        ("pipelin", "\"x\"", ["pipelin", "did you mean pipeline?"]),
        ("source.updates", "\"some\"", ["source.updates", "\"public\""]),
        ("limits.memory_limit", "\"much\"", ["limits.memory_limit", "MiB"]),
        ("http.listen", "\"nowhere\"", ["http.listen", "address:port"]),
    ] {
        let mut config = Config::new("p", &source, target, "*.*");
        config.set(key, value);
        let path = write_config(dir, &config);
        refused(&[], &["-c", path.to_str().expect("a plain name")], 2, &words);
        fs::remove_file(path).expect("removed");
    }
    let mut config = Config::new("p", &source, target, "*.*");
    config.set("snapshot.paralel", "4");
    let path = write_config(dir, &config);
    let file = path.to_str().expect("a plain name");
    let unknown = "unknown key snapshot.paralel; did you mean snapshot.parallel?";
    refused(&[], &["-c", file], 2, &[&format!("{file}:"), unknown]);
    config.set("target.max_connections", "2").set("log.format", "\"xml\"");
    write_config(dir, &config);
    let all =
        ["3 errors", unknown, "target.max_connections must be a whole number of 3 or more", "log.format", "\"text\""];
    refused(&[], &["-c", file], 2, &all);
    fs::remove_file(path).expect("removed");
    let variable = [("TAILWATER_SOURCE__RAEDER", "oplog")];
    let meant = ["unknown key TAILWATER_SOURCE__RAEDER", "did you mean TAILWATER_SOURCE__READER?"];
    refused(&variable, &["--source", &source, "--target", target], 2, &meant);
    refused(&[], &["-c", "/nonexistent/tailwater.toml"], 2, &["/nonexistent/tailwater.toml", "tailwater init"]);
}

/// Wrong source or target, exit status, and what the error says.
type Wrong = (String, String, i32, &'static [&'static str]);

fn wrong_addresses(mongodb: &str, postgres: &str) -> Vec<Wrong> {
    let nobody = format!("mongodb://u:{PASSWORD}@127.0.0.1:1/?replicaSet=rs0");
    let no_server = format!("postgres://u:{PASSWORD}@127.0.0.1:1/d");
    let other_set = mongodb.replace("replicaSet=rs0", "replicaSet=other");
    let no_database = postgres.replace("/warehouse", "/nosuch");
    vec![
        (nobody, postgres.into(), 1, &["MongoDB", "127.0.0.1:1", "refused", "check that MongoDB runs"]),
        (other_set, postgres.into(), 2, &["belongs to the replica set", "rs0", "other"]),
        (mongodb.into(), no_server, 1, &["PostgreSQL", "127.0.0.1:1", "refused", "check that PostgreSQL runs"]),
        (mongodb.into(), no_database, 1, &["database", "nosuch", "does not exist", "create the database"]),
    ]
}

fn wrong_logins(mongodb: &str, postgres: &str) -> Vec<Wrong> {
    let no_source_login = mongodb.replace("admin:secret@", "");
    let no_target_login = login(postgres, "locked", "").replace(":@", "@");
    let weak = login(mongodb, "weak", SECRET);
    let locked = login(postgres, "locked", SECRET);
    vec![
        (
            login(mongodb, "admin", PASSWORD),
            postgres.into(),
            1,
            &["MongoDB", "Authentication failed", "check user, password and authSource"],
        ),
        (no_source_login, postgres.into(), 1, &["authentication", "give user and password in the source URI"]),
        (weak, postgres.into(), 1, &["Unauthorized", "grant the user the roles readAnyDatabase"]),
        (mongodb.into(), login(postgres, "locked", PASSWORD), 1, &["locked", "check user, password and pg_hba.conf"]),
        (
            mongodb.into(),
            no_target_login,
            1,
            &["PostgreSQL", "password missing", "check user and password in target.uri"],
        ),
        (mongodb.into(), locked, 1, &["permission denied for database", "warehouse", "CREATE on the database"]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_cannot_be_used_are_named_with_the_remedy() {
    let servers = Servers::start(&["--auth"]);
    let alone = Servers::start(&["--standalone", "--no-postgres"]);
    let target = connect(&servers.postgres_uri).await;
    let locked = "SELECT has_database_privilege('locked', current_database(), 'CREATE')";
    let may_create: bool = target.query_one(locked, &[]).await.expect("asked").get(0);
    assert!(!may_create, "the role that is to lack the right has it");
    let mut all = wrong_addresses(&servers.mongodb_uri, &servers.postgres_uri);
    all.extend(wrong_logins(&servers.mongodb_uri, &servers.postgres_uri));
    let standalone: &[&str] = &["standalone", "--replSet rs0", "rs.initiate()"];
    for query in ["", "?replicaSet=rs0"] {
        let source = format!("{}{query}", alone.mongodb_uri);
        all.push((source, servers.postgres_uri.clone(), 1, standalone));
    }
    // Side by side, because those that wait for a server wait for seconds.
    thread::scope(|scope| {
        for (source, target, code, words) in &all {
            scope.spawn(move || refused_uris(source, target, *code, words));
        }
    });
    let there = target.query_one("SELECT to_regnamespace('tailwater') IS NOT NULL", &[]).await;
    assert!(!there.expect("asked").get::<_, bool>(0), "a daemon that could not start has written");
    // What was missing is granted, and it starts.
    target.batch_execute("GRANT CREATE ON DATABASE warehouse TO locked").await.expect("granted");
    let locked = login(&servers.postgres_uri, "locked", SECRET);
    let arguments = ["run", "--until-caught-up", "--source", &servers.mongodb_uri, "--target", &locked];
    let ended = command_with(&[NO_ENDPOINT], &arguments);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_told_before_anything_is_written() {
    let case = Case::new("startup_port").await;
    let config = case.config();
    let _taken = TcpListener::bind(("127.0.0.1", config.port)).expect("the port was free");
    let path = write_config(&case.dir, &config);
    let address = format!("127.0.0.1:{}", config.port);
    let words = ["cannot listen on", &address, "in use", "set http.listen to a free address:port"];
    refused(&[], &["-c", path.to_str().expect("a plain name")], 1, &words);
    assert_eq!(case.lines("SELECT to_regnamespace('tailwater')").await, ["-"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_somebody_elses_is_left_alone() {
    let case = Case::new("startup_table").await;
    case.collection("student").insert_one(doc! {"_id": 1}).await.expect("inserted");
    case.rows("CREATE SCHEMA {db}").await;
    case.rows("CREATE TABLE {db}.student AS SELECT 'mine' AS whose").await;
    let path = write_config(&case.dir, &case.config());
    let namespace = format!("{}db.student", case.prefix);
    let words = [&namespace, "\\\"student\\\"", "not this pipeline's", "rename or drop it", "[[collection]]"];
    refused(&[], &["-c", path.to_str().expect("a plain name")], 1, &words);
    assert_eq!(case.lines("SELECT whose FROM {db}.student").await, ["mine"]);
}
