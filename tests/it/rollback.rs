//! What a primary accepts without a majority, and rolls back later, is never seen in PostgreSQL, not even for a moment.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::error::Result;
use mongodb::{Client, Database};

use crate::decode::rows::quote;
use crate::harness::case::Case;
use crate::harness::servers::Servers;
use crate::harness::wait::{self, LONG};
use crate::harness::watch::{Seen, Watcher};

const STUDENTS: i32 = 60;
/// Ids that the minority and the majority give to different documents.
const TWICE: i32 = 1000;

/// A client of one member, whatever that is to the others. What it writes is on that member's disk, and maybe nowhere else.
async fn member(servers: &Servers, number: usize) -> Client {
    let uri = format!("{}?directConnection=true&w=1&journal=true", servers.member_uri(number));
    Client::with_uri_str(uri).await.expect("a member's URI")
}

fn student(id: i32, mark: &str) -> Document {
    doc! {"_id": id, "mark": mark, "list": [{"mark": mark}, {"mark": mark}]}
}

async fn load(db: &Database) -> Result<()> {
    let students = (0..STUDENTS).map(|id| student(id, "first"));
    db.collection("students").insert_many(students).await?;
    for name in ["stays", "named", "teachers"] {
        db.collection(name).insert_many((0..3).map(|id| doc! {"_id": id, "mark": "first"})).await?;
    }
    Ok(())
}

/// Changes of every kind that will have been for nothing.
async fn lost_changes(db: &Database) -> Result<()> {
    let (students, teachers) = (db.collection("students"), db.collection::<Document>("teachers"));
    students.insert_many((TWICE..TWICE + 20).map(|id| student(id, "lost"))).await?;
    let field = doc! {"_id": TWICE + 30, "mark": "lost", "lost_field": 1, "lost_list": [{"a": 1}]};
    students.insert_one(field).await?;
    let update = doc! {"$set": {"mark": "lost", "list.1.mark": "lost"}, "$inc": {"lost_count": 1}};
    students.update_many(doc! {"_id": {"$lt": 20}}, update).await?;
    students.update_many(doc! {"_id": 50}, doc! {"$push": {"list": {"mark": "lost"}}}).await?;
    students.replace_one(doc! {"_id": 20}, student(20, "lost")).await?;
    students.delete_many(doc! {"_id": {"$gt": 20, "$lt": 40}}).await?;
    let mut session = db.client().start_session().await?;
    session.start_transaction().await?;
    students.delete_one(doc! {"_id": 40}).session(&mut session).await?;
    teachers.update_many(doc! {}, doc! {"$set": {"mark": "lost"}}).session(&mut session).await?;
    session.commit_transaction().await?;
    db.collection("lost_made").insert_one(doc! {"_id": 1}).await?;
    db.collection::<Document>("stays").drop().await?;
    let rename = doc! {
        "renameCollection": format!("{}.named", db.name()), "to": format!("{}.lost_named", db.name()),
    };
    db.client().database("admin").run_command(rename).await.map(drop)
}

/// What the others do meanwhile, to some of the same documents.
async fn kept_changes(db: &Database, mark: &str) -> Result<()> {
    let students = db.collection("students");
    let documents = (TWICE..TWICE + 5).map(|id| student(id, mark));
    students.delete_many(doc! {"_id": {"$gte": TWICE}}).await?;
    students.insert_many(documents).await?;
    let update = doc! {"$set": {"mark": mark, "list.0.mark": mark}};
    students.update_many(doc! {"_id": {"$gt": 10, "$lt": 50}}, update).await?;
    db.collection("kept_made").insert_one(doc! {"mark": mark}).await.map(drop)
}

/// One statement: what must not be there, then what must.
fn query(case: &Case) -> String {
    let name = format!("{}db", case.prefix);
    let lost = "SELECT count(*) FROM {db}.students WHERE mark = 'lost' \
                UNION ALL SELECT count(*) FROM {db}.students_list WHERE mark = 'lost' \
                UNION ALL SELECT count(*) FROM {db}.teachers WHERE mark = 'lost' \
                UNION ALL SELECT count(*) FROM information_schema.columns \
                WHERE table_schema = '{name}' AND (table_name LIKE 'lost%' OR column_name LIKE 'lost%')";
    let there = format!(
        "(SELECT count(*) FROM {{db}}.students WHERE _id < {STUDENTS}), (SELECT count(*) FROM {{db}}.stays), \
         (SELECT count(*) FROM {{db}}.named)"
    );
    format!("SELECT (SELECT sum(count) FROM ({lost}) AS l), {there}")
        .replace("{db}", &quote(&name))
        .replace("{name}", &name)
}

fn as_if_nothing_was_lost(seen: &Seen) -> std::result::Result<(), String> {
    let expected = ["0".to_owned(), STUDENTS.to_string(), "3".to_owned(), "3".to_owned()];
    if seen[..] == expected { Ok(()) } else { Err(format!("the majority's state has {expected:?}")) }
}

/// How often a member has rolled back.
async fn rollbacks(member: &Client) -> i32 {
    let reply = member.database("admin").run_command(doc! {"replSetGetRBID": 1}).await.expect("a member");
    reply.get_i32("rbid").expect("a number")
}

/// Kills both others, changes what will be lost, and waits until the primary sees that it is none. What is killed is
/// noticed there only after the election timeout, so that it still takes writes.
async fn isolated(servers: &Servers, primary: usize, name: &str) {
    let alone = member(servers, primary).await;
    // Connected before the others go, which is when time starts to run.
    rollbacks(&alone).await;
    for other in others(primary) {
        servers.change("kill-mongo", &[&other]);
    }
    lost_changes(&alone.database(name)).await.expect("taken without a majority");
    wait::until("the primary to step down", LONG, String::new, || async {
        let hello = alone.database("admin").run_command(doc! {"hello": 1}).await.expect("a member");
        (!hello.get_bool("isWritablePrimary").expect("a flag")).then_some(())
    })
    .await;
}

fn others(primary: usize) -> Vec<String> {
    (0..3).filter(|number| *number != primary).map(|number| number.to_string()).collect()
}

/// Makes a member the primary, which has to catch up first.
async fn step_up(servers: &Servers, number: usize) {
    let client = member(servers, number).await;
    wait::until(format!("member {number} to be primary"), LONG, String::new, || async {
        let done = client.database("admin").run_command(doc! {"replSetStepUp": 1}).await;
        (done.is_ok() && servers.primary() == number).then_some(())
    })
    .await;
}

async fn some_looks(watcher: &Watcher, case: &Case) {
    const LOOKS: usize = 100;
    let before = watcher.looks();
    let looked = || async {
        watcher.expect_content(|| case.logs());
        (watcher.looks() > before + LOOKS).then_some(())
    };
    wait::until("the reader to look", LONG, || case.logs(), looked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rolled_back_is_never_seen() {
    let servers = Servers::start(&["--members", "3", "--oplog-mb", "512"]);
    let case = Case::on(&servers, "rollback").await;
    let db = case.database("db");
    load(&db).await.expect("loaded");
    let config = case.config();
    let mut daemon = case.start(&config);
    case.settle().await;
    let watcher = Watcher::start(&case, query(&case), as_if_nothing_was_lost).await;
    let primary = servers.primary();
    let before = rollbacks(&member(&servers, primary).await).await;

    isolated(&servers, primary, db.name()).await;
    // One that starts anew on the member that is alone, beside the one that read there already.
    some_looks(&watcher, &case).await;
    daemon.kill9();
    daemon = case.start(&config);
    some_looks(&watcher, &case).await;
    servers.change("kill-mongo", &[&primary.to_string()]);
    for other in others(primary) {
        servers.change("start-mongo", &[&other]);
    }
    kept_changes(&db, "kept").await.expect("changed by a majority");
    case.settle().await;
    servers.change("start-mongo", &[&primary.to_string()]);
    let after = rollbacks(&member(&servers, primary).await).await;
    assert!(after > before, "the old primary has rolled back: {before}, {after}");
    case.expect_equal_within(Duration::from_secs(120)).await;

    // Read from the member that has rolled back.
    step_up(&servers, primary).await;
    kept_changes(&db, "later").await.expect("changed by a majority");
    case.expect_equal_within(Duration::from_secs(120)).await;
    println!("{} looks, {before} to {after} rollbacks", watcher.stop().await);
    daemon.sigterm();
}
