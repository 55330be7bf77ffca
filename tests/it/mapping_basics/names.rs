//! Section 1: names are kept, quoted, and made to fit without ever meeting another.

use mongodb::bson::{Document, doc};

use crate::harness::case::Case;

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_are_kept_as_they_are() {
    let case = Case::new("names").await;
    let odd = ["Order-Items", "a.b.c", "sp ace", "select", "quo\"te", "UPPER", "upper", "ünï", "100%", "semi;colon"];
    let document = doc! {
        "_id": 1, "age": 1, "Age": 2, "AGE": 3, "with space": 4, "quo\"te": 5, "per%cent": 6, "select": 7, "名": 8, "back\\slash": 9,
        "it's": 10, "tab\there": {"inner \"q\"": 1, "List": [{"x y": 1}]},
    };
    for name in odd {
        case.collection(name).insert_one(document.clone()).await.expect("inserted");
    }
    let dashed = case.database("My-Db");
    dashed.collection::<Document>("Order-Items").insert_one(document.clone()).await.expect("inserted");
    let _daemon = case.start(&case.config());
    case.settle().await;
    for name in odd {
        let update = doc! {"$set": {"age": 11, "tab\there.inner \"q\"": 2, "tab\there.List.1.x y": 2, "neu '\"": 1}};
        case.collection(name).update_one(doc! {"_id": 1}, update).await.expect("updated");
        case.collection(&format!("live {name}")).insert_one(document.clone()).await.expect("inserted");
    }
    case.expect_equal().await;
    let columns = case.columns("a.b.c").await;
    for column in [
        "Age integer",
        "AGE integer",
        "age integer",
        "quo\"te integer",
        "per%cent integer",
        "名 integer",
        "neu '\" integer",
    ] {
        assert!(columns.contains(&column.to_owned()), "{column} in {columns:?}");
    }
    assert!(case.tables().await.contains(&"quo\"te_tab\there_List".to_owned()));
    let schema = format!("SELECT age FROM \"{}My-Db\".\"Order-Items\"", case.prefix);
    assert_eq!(case.lines(&schema).await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_postgresql_cannot_have_are_cut_and_marked() {
    let case = Case::new("cut").await;
    let fields =
        ["x".repeat(70), format!("{}1", "x".repeat(69)), "ü".repeat(40), String::new(), "xmin".into(), "ctid".into()];
    let mut document = doc! {"_id": 1, "fits".to_owned() + &"y".repeat(59): 1};
    for (i, field) in fields.iter().enumerate() {
        document.insert(field.clone(), i as i32);
    }
    document.insert("o".repeat(60), doc! {"p".repeat(60): [{"q": 1}]});
    let long = format!("L{}", "o".repeat(80));
    case.collection("copied").insert_one(document.clone()).await.expect("inserted");
    case.collection(&long).insert_one(document.clone()).await.expect("inserted");
    let _daemon = case.start(&case.config());
    case.settle().await;
    case.collection("followed").insert_one(document).await.expect("inserted");
    case.expect_equal().await;
    let hash = |name: &str| name.rsplit_once('_').map(|(_, hash)| hash.to_owned()).unwrap_or_default();
    for (i, prefix) in [
        (0, "x".repeat(54)),
        (1, "x".repeat(54)),
        (2, "ü".repeat(27)),
        (3, String::new()),
        (4, "xmin".into()),
        (5, "ctid".into()),
    ] {
        for table in ["copied", "followed"] {
            let columns = case.columns(table).await;
            let query = format!(
                "SELECT column_name FROM tailwater.paths WHERE namespace LIKE '%.{table}' AND path = ARRAY['{}'] AND form = 'column'",
                fields[i]
            );
            let names = case.lines(&query).await;
            let name = names.first().expect("a column of this path");
            assert!(columns.contains(&format!("{name} integer")), "{name} in {columns:?}");
            assert_eq!(name.strip_suffix(&hash(name)), Some(format!("{prefix}_").as_str()));
            assert!(hash(name).len() == 8 && hash(name).chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')), "{name}");
        }
    }
    let tables = case.tables().await;
    let cut = format!("L{}_", "o".repeat(53));
    assert!(tables.iter().any(|t| t.starts_with(&cut) && t.len() == 63), "{tables:?}");
    assert!(tables.iter().all(|t| t.len() <= 63), "{tables:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_paths_never_share_a_table_or_a_column() {
    let case = Case::new("clash").await;
    // The child table of one and the root table of the other want the same name; so do two children.
    case.collection("student")
        .insert_one(doc! {"_id": 1, "phone": {"a": 1}, "a": {"b_c": {"x": 1}}})
        .await
        .expect("inserted");
    case.collection("student_phone").insert_one(doc! {"_id": 1, "z": 1}).await.expect("inserted");
    let _daemon = case.start(&case.config());
    case.settle().await;
    case.collection("student")
        .insert_one(doc! {"_id": 2, "a_b": {"c": {"x": 2}}, "a": {"b": {"c": {"x": 3}}}})
        .await
        .expect("inserted");
    case.collection("student_a").insert_one(doc! {"_id": 1, "z": 1}).await.expect("inserted");
    // Fields with the names of reserved columns, where they are reserved.
    let reserved = doc! {"_index": 1, "_value": 2, "_id": 3, "_extra": 4, "student__id": 5};
    case.collection("student")
        .insert_one(doc! {"_id": 3, "list": [reserved.clone(), {}], "one": reserved})
        .await
        .expect("inserted");
    case.expect_equal().await;
    let columns = case.columns("student_list").await;
    assert!(columns.contains(&"_id integer".to_owned()), "the element's own _id is a plain column: {columns:?}");
    assert_eq!(columns.iter().filter(|c| c.starts_with("_index")).count(), 2, "{columns:?}");
    assert_eq!(case.key("student_list").await, ["student__id", "_index"]);
}

/// The shape is learnt from a sample; what a later document adds is named no differently.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_sample_missed_has_its_plain_name() {
    const RARE: i32 = 40;
    let case = Case::new("sample").await;
    let documents = (0..4000).map(|id| {
        let mut document = doc! {"_id": id, "o": {"x": id}};
        if id % 100 == 50 {
            document.insert(format!("rare{}", id / 100), doc! {"list": [{"x": 1}]});
        }
        document
    });
    case.collection("c").insert_many(documents).await.expect("inserted");
    let _daemon = case.start(&case.config());
    case.expect_equal().await;
    let mut expected: Vec<String> = (0..RARE)
        .flat_map(|i| [format!("c_rare{i}"), format!("c_rare{i}_list")])
        .chain(["c".into(), "c_o".into()])
        .collect();
    expected.sort();
    assert_eq!(case.tables().await, expected);
}
