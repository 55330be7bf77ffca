//! Changes that other tools lost, misread or stopped at.

use mongodb::bson::{Document, doc};

use super::runner::{Do, Entry, run};

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_others_lost() {
    run("recordchanges", cases()).await;
}

pub fn cases() -> Vec<Entry> {
    [fields(), arrays(), whole(), collections()].concat()
}

fn student() -> Document {
    doc! {
        "_id": 1, "name": "a", "age": 7, "profile": {"age": 7, "city": "x", "deep": {"er": 1}},
        "content": [{"count": 0}, {"count": 1}, {"count": 2, "date": 5}], "tags": ["a", "b", "c"],
    }
}

fn fields() -> Vec<Entry> {
    vec![
        Entry::new("an_unset_leaves_null", vec![student(), doc! {"_id": 2, "age": 1}])
            .update(doc! {"$unset": {"age": ""}})
            .rows("SELECT _id, age FROM {t} ORDER BY 1", &["1 | -", "2 | 1"]),
        Entry::new("an_unset_below", vec![student(), doc! {"_id": 2, "profile": {"age": 1}}])
            .update(doc! {"$unset": {"profile.age": "", "profile.deep": ""}})
            .rows("SELECT city, age FROM {t_profile} ORDER BY city", &["x | -", "- | 1"]),
        Entry::new("a_set_below", vec![student()])
            .update(doc! {"$set": {"profile.city": "Canberra"}})
            .rows("SELECT city, age FROM {t_profile}", &["Canberra | 7"])
            .rows("SELECT count(*) FROM information_schema.columns WHERE column_name = 'profile.city'", &["0"]),
        Entry::new("a_set_and_nothing_else", vec![student()])
            .update(doc! {"$set": {"count": 787_039i64, "last_connect": 1_440_643_853.555802}})
            .rows("SELECT name, count, last_connect FROM {t}", &["a | 787039 | 1440643853.555802"]),
        Entry::new("many_kinds_in_one_update", vec![student()])
            .update(doc! {"$set": {"name": "b"}, "$unset": {"profile.city": ""}, "$inc": {"age": 1}, "$push": {"tags": "d"}, "$rename": {"profile.age": "years"}})
            .rows("SELECT name, age, years, tags FROM {t}", &["b | 8 | 7 | [\"a\", \"b\", \"c\", \"d\"]"]),
        Entry::new("many_updates_of_one_document", vec![doc! {"_id": 1, "status": 0}])
            .update(doc! {"$set": {"status": 10}})
            .update(doc! {"$set": {"status": 20, "gone": 1}})
            .update(doc! {"$set": {"status": 90}, "$unset": {"gone": ""}})
            .rows("SELECT status FROM {t}", &["90"]),
        Entry::new("an_upsert", vec![doc! {"_id": 1, "n": 1}])
            .then(Do::Upsert(doc! {"_id": 2}, doc! {"$set": {"n": 2, "o.x": 1}, "$setOnInsert": {"new": true}}))
            .rows("SELECT n, new FROM {t} ORDER BY _id", &["1 | -", "2 | t"]),
    ]
}

fn arrays() -> Vec<Entry> {
    vec![
        Entry::new("an_element_by_its_position", vec![student()])
            .update(doc! {"$set": {"content.2.count": 9, "content.2.date": null, "tags.1": "z"}})
            .rows("SELECT count, date FROM {t_content} ORDER BY _index", &["0 | -", "1 | -", "9 | -"]),
        Entry::new("an_element_past_the_end", vec![student()])
            .update(doc! {"$set": {"content.5.count": 5, "tags.5": "f"}})
            .rows("SELECT _index, count FROM {t_content} WHERE _index > 2", &["5 | 5"])
            .rows("SELECT tags FROM {t}", &["[\"a\", \"b\", \"c\", null, null, \"f\"]"]),
        Entry::new("elements_added_and_pulled", vec![student()])
            .update(doc! {"$addToSet": {"tags": {"$each": ["a", "d"]}}})
            .update(doc! {"$pull": {"tags": "a", "content": {"count": 1}}})
            .rows("SELECT tags FROM {t}", &["[\"b\", \"c\", \"d\"]"])
            .rows("SELECT _index, count FROM {t_content} ORDER BY 1", &["0 | 0", "1 | 2"]),
        Entry::new("two_arrays_in_one_update", vec![student()])
            .update(doc! {"$push": {"tags": "d", "content": {"count": 3}}, "$set": {"profile.list": [1]}})
            .update(doc! {"$set": {"tags.0": "x", "content.0.count": 7, "profile.list.0": 2}})
            .rows("SELECT tags FROM {t}", &["[\"x\", \"b\", \"c\", \"d\"]"])
            .rows("SELECT list FROM {t_profile}", &["[2]"]),
        Entry::new("an_array_cut_short", vec![student()])
            .update(doc! {"$push": {"content": {"$each": [], "$slice": 1}, "tags": {"$each": [], "$slice": -1}}})
            .rows("SELECT count FROM {t_content}", &["0"])
            .rows("SELECT tags FROM {t}", &["[\"c\"]"]),
        Entry::new("an_element_of_an_element", vec![doc! {"_id": 1, "a": [{"b": [{"c": 1}, {"c": 2}]}]}])
            .update(doc! {"$push": {"a.0.b": {"c": 3}}})
            .update(doc! {"$set": {"a.0.b.1.d": ["x"]}})
            .rows("SELECT c, d FROM {t_a_b} ORDER BY _index", &["1 | -", "2 | [\"x\"]", "3 | -"]),
    ]
}

fn whole() -> Vec<Entry> {
    vec![
        Entry::new("a_replacement_takes_away", vec![student(), doc! {"_id": 2, "name": "b"}])
            .then(Do::Replace(doc! {"_id": 1}, doc! {"name": "new", "content": [{"count": 5}]}))
            .rows("SELECT name, age, tags FROM {t} ORDER BY _id", &["new | - | -", "b | - | -"])
            .rows("SELECT count FROM {t_content}", &["5"])
            .rows("SELECT count(*) FROM {t_profile}", &["0"]),
        Entry::new("a_delete_takes_all_of_it", vec![student(), doc! {"_id": 2, "profile": {"city": "y"}}])
            .then(Do::Delete(doc! {"_id": 1}))
            .rows("SELECT count(*) FROM {t_content}", &["0"])
            .rows("SELECT city FROM {t_profile}", &["y"]),
        Entry::new("many_at_once", (1..=1200).map(|id| doc! {"_id": id, "n": id}).collect())
            .then(Do::Delete(doc! {"_id": {"$gt": 700}}))
            .then(Do::Update(doc! {"_id": {"$lt": 500}}, doc! {"$inc": {"n": 1000}}.into()))
            .rows("SELECT count(*), sum(n) FROM {t}", &["700 | 744350"]),
        Entry::new(
            "a_transaction_with_every_kind",
            vec![student(), doc! {"_id": 2, "name": "b"}, doc! {"_id": 3, "name": "c"}],
        )
        .then(Do::Together(vec![
            Do::Insert(vec![doc! {"_id": 4, "name": "d"}]),
            Do::Update(doc! {"_id": 1}, doc! {"$set": {"profile.city": "t"}}.into()),
            Do::Replace(doc! {"_id": 2}, doc! {"other": 1}),
            Do::Delete(doc! {"_id": 3}),
            Do::Update(doc! {"_id": 4}, doc! {"$set": {"name": "e"}}.into()),
        ]))
        .rows("SELECT _id, name, other FROM {t} ORDER BY 1", &["1 | a | -", "2 | - | 1", "4 | e | -"]),
        Entry::new("an_update_and_a_delete_at_once", vec![student(), doc! {"_id": 2}])
            .update(doc! {"$set": {"content.0.count": 1}})
            .then(Do::Delete(doc! {"_id": 1}))
            .rows("SELECT _id FROM {t}", &["2"]),
    ]
}

fn collections() -> Vec<Entry> {
    vec![
        Entry::new("nobody_writes_to_it", vec![student()]).rows("SELECT name FROM {t}", &["a"]),
        Entry::new("a_drop", vec![student()]).then(Do::Drop),
        Entry::new("a_drop_and_a_new_one", vec![student()])
            .then(Do::Drop)
            .then(Do::Insert(vec![doc! {"_id": "text", "name": 5, "content": "x"}]))
            .rows("SELECT _id, name, content FROM {t}", &["text | 5 | x"]),
        Entry::new("a_rename", vec![student()])
            .then(Do::Rename(" elsewhere"))
            .rows("SELECT count FROM {t elsewhere_content} ORDER BY 1", &["0", "1", "2"]),
        Entry::new("a_rename_and_a_new_one", vec![student()])
            .then(Do::Rename(" new"))
            .then(Do::Insert(vec![doc! {"_id": 1, "name": "old name"}]))
            .then(Do::Swap(" new"))
            .rows("SELECT name FROM {t}", &["a"])
            .rows("SELECT name FROM {t old}", &["old name"])
            .rows("SELECT count(*) FROM {t_content}", &["3"]),
    ]
}
