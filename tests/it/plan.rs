//! `tailwater plan` says before what `run` makes, and changes nothing.

use mongodb::bson::{Bson, DateTime, Document, doc, oid::ObjectId};

use crate::harness::case::Case;
use crate::harness::daemon::{command, write_config};

/// Every table and column of the case's database, the sentinel's aside.
async fn columns(case: &Case) -> Vec<String> {
    let query = "SELECT relname, attname, format_type(atttypid, atttypmod), collname FROM pg_attribute \
                 JOIN pg_class ON attrelid = pg_class.oid LEFT JOIN pg_collation ON attcollation = pg_collation.oid \
                 WHERE relnamespace = to_regnamespace('{db}') AND relkind IN ('r', 'i') AND attnum > 0 \
                 AND relname NOT LIKE 'zz_sentinel%' ORDER BY relname COLLATE \"C\", attnum";
    case.lines(query).await
}

async fn orders(case: &Case) {
    let order = |n: i32| {
        let odd = if n % 10 == 0 { Bson::String(format!("about {n}")) } else { Bson::Int32(n) };
        let lines: Vec<Document> = (0..n % 3).map(|i| doc! { "sku": format!("s{i}"), "price": 1.5 }).collect();
        doc! { "_id": ObjectId::new(), "total": odd, "at": DateTime::now(), "lines": lines, "to": { "city": "x" } }
    };
    case.collection("orders").insert_many((1..=200).map(order)).await.expect("inserted");
    case.collection("orders").insert_one(doc! { "_id": ObjectId::new(), "to": "pick-up" }).await.expect("inserted");
    let note = doc! { "_id": 1, "note": "cut\0here", "when": DateTime::MAX };
    case.collection("odd\nname").insert_one(note).await.expect("inserted");
    case.mongo.database(&format!("{}db", case.prefix)).create_collection("empty").await.expect("created");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_planned_is_what_run_makes() {
    let case = Case::new("plan").await;
    orders(&case).await;
    let config = case.config();
    let file = write_config(&case.dir, &config);
    let planned = command(&["plan", "-c", file.to_str().expect("UTF-8")]);
    assert_eq!(planned.code, Some(0), "{}", planned.stderr);
    let text = &planned.stdout;
    for said in [
        "db.orders: 201 documents, 0 MiB; from a sample of 201\n",
        "-- risk: total holds string and int, so its column is jsonb\n",
        "-- risk: to holds documents, but also string: column \"to\"\n",
        "-- risk: note: 1 values in 1 documents would be recorded in tailwater.anomalies (nul_removed)\n",
        "-- risk: when: 1 values in 1 documents would be recorded in tailwater.anomalies (date_out_of_range)\n",
        "db.odd\u{FFFD}name: 1 documents",
        "db.empty: no documents yet; its tables come with the first\n",
        "-- 3 collections, 4 tables, 4 risks; nothing was changed\n",
    ] {
        assert!(text.contains(said), "{said:?} in {text}");
    }
    let made = "SELECT count(*) FROM pg_namespace WHERE nspname = 'tailwater' OR nspname LIKE 'plan%'";
    assert_eq!(case.lines(made).await, ["0"], "nothing is made by planning");
    case.postgres.batch_execute(text).await.expect("the plan runs as it is");
    let planned = columns(&case).await;
    assert_eq!(planned.len(), 18, "{planned:?}");
    case.rows("DROP SCHEMA {db} CASCADE").await;
    let daemon = case.start(&config);
    case.expect_equal().await;
    assert_eq!(columns(&case).await, planned);
    daemon.sigterm();
}
