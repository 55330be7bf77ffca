//! Prefix consistency: once a database is consistent, every reader sees a state that MongoDB had, whatever happens.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::error::Result;
use mongodb::{ClientSession, Collection};
use tokio::task::JoinHandle;

use crate::harness::case::Case;
use crate::harness::wait;
use crate::workload::random::{Random, seed};

const ACCOUNTS: i32 = 40;
const START: i32 = 1000;
const TRANSFERS: usize = 1500;
/// The bank's three places: two collections of one database, and one of another.
const PLACES: [(&str, &str); 3] = [("db", "left"), ("db", "right"), ("other", "third")];

fn place(case: &Case, which: usize) -> Collection<Document> {
    let (database, collection) = PLACES[which];
    case.database(database).collection(collection)
}

/// Moves money from one account to another; some of the accounts' documents are nested.
async fn transfer(places: &[Collection<Document>], session: &mut ClientSession, random: &mut Random) -> Result<()> {
    session.start_transaction().await?;
    let amount = random.between(1, 50) as i32;
    for sign in [-1, 1] {
        let id = random.between(0, i64::from(ACCOUNTS) - 1) as i32;
        let update = doc! {"$inc": {"money": sign * amount, "history.count": 1}, "$push": {"history.last": {"by": sign * amount}}};
        random.pick(places).update_one(doc! {"_id": id}, update).session(&mut *session).await?;
    }
    if random.percent(10) { session.abort_transaction().await } else { session.commit_transaction().await }
}

fn transfers(case: &Case, seed: u64, places: Vec<Collection<Document>>) -> JoinHandle<()> {
    let client = case.mongo.clone();
    tokio::spawn(async move {
        let mut random = Random::new(seed, 0);
        let mut session = client.start_session().await.expect("a session");
        for _ in 0..TRANSFERS {
            wait::moment(Duration::from_millis(2)).await;
            transfer(&places, &mut session, &mut random).await.expect("transferred");
        }
    })
}

/// The sum as one PostgreSQL statement sees it, which is one snapshot.
async fn total(case: &Case, places: &[usize]) -> i64 {
    let sums: Vec<String> = places
        .iter()
        .map(|which| {
            let (database, collection) = PLACES[*which];
            format!("(SELECT sum(money) FROM \"{}{database}\".\"{collection}\")", case.prefix)
        })
        .collect();
    case.lines(&format!("SELECT {}", sums.join(" + "))).await[0].parse().expect("a sum")
}

/// Kills the daemon again and again while money moves between `places`, and looks at the sum all the time.
async fn the_sum_stays(name: &str, which: &[usize]) {
    let case = Case::new(name).await;
    let seed = seed(name);
    for place in which.iter().map(|which| place(&case, *which)) {
        place.insert_many((0..ACCOUNTS).map(|id| doc! {"_id": id, "money": START})).await.expect("inserted");
    }
    let expected = i64::from(ACCOUNTS * START) * which.len() as i64;
    let config = case.config();
    let daemon = case.start(&config);
    daemon.until_state("streaming").await;
    daemon.kill9();
    let moving = transfers(&case, seed, which.iter().map(|which| place(&case, *which)).collect());
    let mut random = Random::new(seed, 1);
    let (mut kills, mut looks) = (0, 0);
    while !moving.is_finished() {
        let daemon = case.start(&config);
        for _ in 0..50 + random.below(150) {
            assert_eq!(total(&case, which).await, expected, "after {kills} kills\n{}", case.logs());
            looks += 1;
            wait::moment(Duration::from_millis(5)).await;
        }
        daemon.kill9();
        kills += 1;
    }
    moving.await.expect("the bank");
    println!("{looks} looks, {kills} kills");
    assert!(kills > 1 && looks > 100, "{looks} looks, {kills} kills");
    let _daemon = case.start(&config);
    case.expect_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_moves_within_a_database_and_the_sum_stays() {
    the_sum_stays("moneywithin", &[0, 1]).await;
}
