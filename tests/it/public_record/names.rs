//! Names that other tools changed, lost or took for each other, and ids that they could not follow.

use mongodb::bson::{Bson, Uuid, doc, oid::ObjectId};

use super::runner::{Do, Entry, run};

#[tokio::test(flavor = "multi_thread")]
async fn names_that_others_took_for_each_other() {
    run("recordnames", cases()).await;
}

const LONG: &str = "this_is_a_field_with_an_overly_and_exceedingly_long_name_that_ends";

pub fn cases() -> Vec<Entry> {
    [names(), ids()].concat()
}

fn names() -> Vec<Entry> {
    vec![
        Entry::new("names_alike_in_63_bytes", vec![doc! {
            "_id": 1, format!("{LONG}_a"): 1, format!("{LONG}_b"): "two", "o": {format!("{LONG}_a"): [{"x": 1}], format!("{LONG}_b"): [{"x": 2}]},
        }])
            .then(Do::Replace(doc! {"_id": 1}, doc! {format!("{LONG}_b"): "three"})),
        Entry::new("names_alike_but_for_case", vec![doc! {"_id": 1, "Aa": 1, "aA": 2, "o": {"x": 1}, "O": {"x": 2}}])
            .update(doc! {"$set": {"aA": 3, "O.x": 3}})
            .rows("SELECT \"Aa\", \"aA\" FROM {t}", &["1 | 3"]),
        Entry::new("dots_and_dollars", vec![doc! {"_id": 1, "int.field": 100, "string$field": "x", "kubernetes.io/config.source": "y", "$price": 1}])
            .rows("SELECT \"int.field\", \"$price\" FROM {t}", &["100 | 1"]),
        Entry::new("a_dot_in_a_name_and_a_path", vec![
            doc! {"_id": 1, "c.d.e": 1}, doc! {"_id": 2, "c": {"d.e": 2}}, doc! {"_id": 3, "c.d": {"e": 3}}, doc! {"_id": 4, "c": {"d": {"e": 4}}},
            doc! {"_id": 5, "c.d.e": 1, "c": {"d.e": 2, "d": {"e": 4}}, "c.d": {"e": 3}},
        ])
            .then(Do::Update(doc! {"_id": 5}, doc! {"$set": {"c.d.e": 5}}.into()))
            .rows("SELECT \"c.d.e\" FROM {t} WHERE _id IN (1, 5) ORDER BY _id", &["1", "1"]),
        Entry::new("names_with_underscores_first", vec![doc! {"_id": 1, "__v": 0, "_class": "com.x", "_id_": 1, "o": {"_id": 7, "__v": 1}}])
            .update(doc! {"$inc": {"__v": 1}})
            .rows("SELECT __v, _class FROM {t}", &["1 | com.x"])
            .rows("SELECT _id, __v FROM {t_o}", &["7 | 1"]),
        Entry::new("names_that_are_words_of_sql", vec![doc! {"_id": 1, "order": 1, "user": "u", "select": {"from": [{"where": 1}]}, "String": "s", "end": true}])
            .update(doc! {"$set": {"order": 2, "select.from.0.where": 2}})
            .rows("SELECT \"order\", \"user\", \"String\" FROM {t}", &["2 | u | s"]),
        Entry::new("names_that_are_columns_already", vec![doc! {"_id": 1, "xmin": 1, "ctid": "x", "_index": 1, "l": [{"_index": 5, "_value": 6, "_extra": 7}, 8]}])
            .update(doc! {"$set": {"xmin": 2, "l.0._index": 9}}),
        Entry::new("id_beside__id", vec![doc! {"_id": 1, "id": 396, "name": "foo"}, doc! {"_id": 2, "id": "x"}])
            .rows("SELECT _id, id FROM {t} ORDER BY 1", &["1 | 396", "2 | \"x\""]),
        Entry::new("identifier", vec![doc! {"_id": 1, "identifier": [{"system": "s", "value": "v"}], "org": {"identifier": {"value": "w"}}}])
            .rows("SELECT system, value FROM {t_identifier}", &["s | v"])
            .rows("SELECT value FROM {t_org_identifier}", &["w"]),
        Entry::new("Names-With Dashes & Capitals", vec![doc! {"_id": 1, "First-Name": "a", "Größe": 1, "a b": {"C-D": 1}}])
            .rows("SELECT \"First-Name\", \"Größe\" FROM {t}", &["a | 1"])
            .rows("SELECT \"C-D\" FROM {t_a b}", &["1"]),
        Entry::new("names_that_are_numbers", vec![doc! {"_id": 1, "0": "a", "o": {"1": {"2": "b"}}, "l": [{"0": "c"}]}])
            .update(doc! {"$set": {"0": "d", "o.1.2": "e", "l.0.0": "f"}})
            .rows("SELECT \"0\" FROM {t}", &["d"])
            .rows("SELECT \"0\" FROM {t_l}", &["f"]),
        Entry::new("a_name_that_is_empty", vec![doc! {"_id": 1, "": 1, "o": {"": {"": 2}}}]),
    ]
}

fn ids() -> Vec<Entry> {
    let uuid = |byte| Uuid::from_bytes([byte; 16]);
    vec![
        Entry::new(
            "ids_of_text",
            vec![
                doc! {"_id": "a", "x": 1},
                doc! {"_id": "b", "x": 1},
                doc! {"_id": "507f1f77bcf86cd799439011", "x": 1},
            ],
        )
        .then(Do::Update(doc! {"_id": "a"}, doc! {"$set": {"x": 2}}.into()))
        .then(Do::Delete(doc! {"_id": "b"}))
        .rows("SELECT _id, x FROM {t} ORDER BY 1", &["507f1f77bcf86cd799439011 | 1", "a | 2"]),
        Entry::new(
            "ids_of_numbers",
            vec![doc! {"_id": 5i64 << 40, "x": 1}, doc! {"_id": 7, "x": 1}, doc! {"_id": 8i64, "x": 1}],
        )
        .then(Do::Update(doc! {"_id": 7i64}, doc! {"$set": {"x": 2}}.into()))
        .then(Do::Delete(doc! {"_id": 8.0}))
        .rows("SELECT _id, x FROM {t} ORDER BY 1", &["7 | 2", "5497558138880 | 1"]),
        Entry::new(
            "ids_of_uuids",
            vec![doc! {"_id": uuid(1), "l": [{"x": 1}]}, doc! {"_id": uuid(2), "l": [{"x": 1}]}],
        )
        .then(Do::Update(doc! {"_id": uuid(1)}, doc! {"$set": {"l.0.x": 2}}.into()))
        .then(Do::Delete(doc! {"_id": uuid(2)}))
        .rows("SELECT x FROM {t_l}", &["2"]),
        Entry::new(
            "ids_of_mixed_types",
            vec![
                doc! {"_id": 1, "x": 1, "l": [{"a": 1}]},
                doc! {"_id": "ping", "x": 2, "l": [{"a": 2}]},
                doc! {"_id": ObjectId::from_bytes([7; 12]), "x": 3},
                doc! {"_id": {"a": 1}, "x": 4},
                doc! {"_id": "1", "x": 5},
                doc! {"_id": uuid(3), "x": 6},
            ],
        )
        .then(Do::Update(doc! {"_id": "ping"}, doc! {"$set": {"l.0.a": 9}}.into()))
        .then(Do::Delete(doc! {"_id": {"a": 1}}))
        .rows("SELECT x FROM {t} ORDER BY 1", &["1", "2", "3", "5", "6"])
        .rows("SELECT a FROM {t_l} ORDER BY 1", &["1", "9"]),
        Entry::new("an_id_that_comes_again", vec![doc! {"_id": 1, "x": 1, "l": [{"a": 1}, {"a": 2}]}])
            .then(Do::Delete(doc! {"_id": 1}))
            .then(Do::Insert(vec![doc! {"_id": 1, "y": 2, "l": [{"b": 1}]}]))
            .then(Do::Delete(doc! {"_id": 1}))
            .then(Do::Insert(vec![doc! {"_id": 1, "l": [{"b": 3}]}]))
            .rows("SELECT _index, b FROM {t_l}", &["0 | 3"]),
        Entry::new("an_id_that_is_last", vec![doc! {"x": Bson::Null, "_id": 1}, doc! {"x": 2, "_id": 2}])
            .rows("SELECT _id, x FROM {t} ORDER BY 1", &["1 | -", "2 | 2"]),
    ]
}
