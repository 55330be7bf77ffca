//! Whole texts: a random workload, a snapshot with changes on top, going on from a target, stopping.

use std::fs;
use std::time::Duration;

use mongodb::bson::doc;

use super::{expect_equal_after, without_target, write_text};
use crate::harness::case::Case;
use crate::harness::daemon::{Daemon, command};
use crate::harness::{psql, wait};
use crate::workload::random::{Random, seed};
use crate::workload::writer::Writer;

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_what_the_source_has() {
    let case = Case::new("sql_snapshot").await;
    let mut writer = Writer::new(case.database("db"), Random::new(seed("sql_snapshot"), 0), 4);
    writer.load(800).await.expect("loaded");
    writer.work(400).await.expect("worked");
    let file = write_text(&case, &without_target(&case), "out.sql");
    expect_equal_after(&case, &file).await;
}

/// The daemon is held while the workload goes on, so that the stream has all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_random_workload_is_followed_into_the_text() {
    let case = Case::new("sql_stream").await;
    let mut writer = Writer::new(case.database("db"), Random::new(seed("sql_stream"), 0), 4);
    writer.ddl_every = 60;
    writer.load(200).await.expect("loaded");
    let config = without_target(&case);
    let file = case.dir.join("out.sql");
    let daemon = Daemon::start(&case.dir, &config, &["--sql-out", file.to_str().expect("a plain name")]);
    daemon.until_state("streaming").await;
    writer.work(1500).await.expect("worked");
    case.collection("last").insert_one(doc! {"_id": 1}).await.expect("inserted");
    let arrived = || async { fs::read_to_string(&file).ok()?.contains("\"last\" (\"_id\")").then_some(()) };
    wait::until("the last change in the text", wait::LONG, || daemon.log_tail(), arrived).await;
    daemon.sigterm();
    expect_equal_after(&case, &file).await;
}

/// What a run wrote, a text goes on with; and after the text, a run goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_goes_on_where_the_target_stands() {
    let case = Case::new("sql_go_on").await;
    let mut writer = Writer::new(case.database("db"), Random::new(seed("sql_go_on"), 0), 4);
    writer.ddl_every = 60;
    writer.load(200).await.expect("loaded");
    let config = case.config();
    let run = |arguments: &[&str]| {
        let mut daemon = Daemon::start(&case.dir, &config, arguments);
        assert_eq!(daemon.end_within(wait::LONG).code(), Some(0), "{}", daemon.log_tail());
    };
    run(&["--until-caught-up"]);
    let before = case.lines("SELECT lane, token FROM tailwater.checkpoint ORDER BY lane").await;
    for round in 0..2 {
        writer.work(300).await.expect("worked");
        case.database(&format!("new{round}")).collection("t").insert_one(doc! {"_id": 1}).await.expect("inserted");
        let file = write_text(&case, &config, &format!("{round}.sql"));
        if round == 0 {
            let after = case.lines("SELECT lane, token FROM tailwater.checkpoint ORDER BY lane").await;
            assert_eq!(after, before, "nothing is written to the target");
        }
        expect_equal_after(&case, &file).await;
    }
    writer.work(300).await.expect("worked");
    run(&["--until-caught-up"]);
    let report = case.compare().await;
    assert!(report.findings.is_empty(), "{report}\n{}", case.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_file_is_refused() {
    let case = Case::new("sql_exists").await;
    let file = case.dir.join("there.sql");
    fs::write(&file, "mine").expect("written");
    let name = file.to_str().expect("a plain name");
    let ended = command(&["run", "--source", &case.mongodb_uri, "--sql-out", name]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("there.sql") && ended.stderr.contains("exists"), "{}", ended.stderr);
    assert_eq!(fs::read_to_string(&file).expect("still there"), "mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_output_takes_the_text_and_nothing_else() {
    let case = Case::new("sql_stdout").await;
    case.collection("student").insert_one(doc! {"_id": "a", "name": "Selena"}).await.expect("inserted");
    let config = crate::harness::daemon::write_config(&case.dir, &without_target(&case));
    let config = config.to_str().expect("a plain name");
    let ended = command(&["run", "-c", config, "--until-caught-up", "--sql-out", "-"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let file = case.dir.join("stdout.sql");
    fs::write(&file, &ended.stdout).expect("written");
    let insert = format!("INSERT INTO \"{}db\".\"student\" (\"_id\", \"name\") VALUES ('a', 'Selena');", case.prefix);
    assert!(ended.stdout.lines().any(|line| line == insert), "{}", ended.stdout);
    expect_equal_after(&case, &file).await;
}

/// A stop in the middle of a snapshot leaves a text that runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_text_is_good() {
    let case = Case::new("sql_stop").await;
    let mut writer = Writer::new(case.database("db"), Random::new(seed("sql_stop"), 0), 2);
    writer.load(20_000).await.expect("loaded");
    let file = case.dir.join("out.sql");
    let daemon = Daemon::start(&case.dir, &without_target(&case), &["--sql-out", file.to_str().expect("a plain name")]);
    let begun = || async { (fs::metadata(&file).ok()?.len() > 300_000).then_some(()) };
    wait::until("some of the snapshot in the text", Duration::from_secs(60), || daemon.log_tail(), begun).await;
    daemon.sigterm();
    psql::run(&case.postgres_uri, &file).await;
    // Whoever goes on from there copies the rest.
    let mut rest = Daemon::start(&case.dir, &case.config(), &["--until-caught-up"]);
    assert_eq!(rest.end_within(wait::LONG).code(), Some(0), "{}", rest.log_tail());
    let report = case.compare().await;
    assert!(report.findings.is_empty(), "{report}\n{}", case.logs());
}
