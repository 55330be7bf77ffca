//! Forms, policies, fixed types and names as the configuration wants them.

use bson::doc;

use super::{World, row};
use crate::mapping::collection::Reject;
use crate::mapping::options::{MappingOptions, Naming, NestedForm, OnTypeConflict, PathOptions};
use crate::mapping::restore::Disagreements;
use crate::model::table::PgType;

fn path(path: &str) -> PathOptions {
    PathOptions::new(path.split('.').map(str::to_owned).collect())
}

fn form(at: &str, form: NestedForm) -> PathOptions {
    PathOptions { form: Some(form), ..path(at) }
}

fn fixed(at: &str, ty: PgType) -> PathOptions {
    PathOptions { ty: Some(ty), ..path(at) }
}

fn on_conflict(policy: OnTypeConflict) -> MappingOptions {
    MappingOptions { on_type_conflict: policy, ..MappingOptions::default() }
}

fn flat() -> World {
    let mut world =
        World::new(MappingOptions { objects: NestedForm::Flatten, ..MappingOptions::default() }, Vec::new());
    let document =
        doc! {"_id": 1, "phone": {"work": "1", "geo": {"lat": 1, "lon": 2}, "calls": [{"n": 1, "to": {"x": 7}}]}};
    let made = world.put(document).expect("put");
    let call = row("t_phone_calls", [("n", "1"), ("to_x", "7")]);
    assert_eq!(made.puts, [call, row("t", [("phone_work", "1"), ("phone_geo_lat", "1"), ("phone_geo_lon", "2")])]);
    world
}

#[test]
fn flattened_documents_are_columns_of_the_table_around() {
    let world = flat();
    let columns = [
        "_id t._id integer",
        "phone.calls.n t_phone_calls.n integer",
        "phone.calls.to.x t_phone_calls.to_x integer",
        "phone.geo.lat t.phone_geo_lat integer",
        "phone.geo.lon t.phone_geo_lon integer",
        "phone.work t.phone_work text",
    ];
    assert_eq!(world.columns(), columns);
    let key: Vec<_> = world.collection.tables()[1].key_columns().iter().map(|column| column.name.to_string()).collect();
    assert_eq!(key, ["\"t__id\"", "\"_index\""]);
}

#[test]
fn deltas_reach_flattened_fields() {
    let mut world = flat().restarted();
    let made = world.update(doc! {"sphone": {"u": {"work": "2"}, "sgeo": {"d": {"lat": false}}}}).expect("update");
    assert_eq!(made.patches, [row("t", [("phone_work", "2"), ("phone_geo_lat", "NULL")])]);
    let made = world.update(doc! {"u": {"phone": {"geo": {"lat": 5}}}}).expect("update");
    let cells = [("phone_work", "NULL"), ("phone_geo_lat", "5"), ("phone_geo_lon", "NULL")];
    assert_eq!((made.patches, made.deletes), (vec![row("t", cells)], vec!["t_phone_calls".to_owned()]));
    let made = world.update(doc! {"d": {"phone": false}}).expect("update");
    let cells = [("phone_work", "NULL"), ("phone_geo_lat", "NULL"), ("phone_geo_lon", "NULL")];
    assert_eq!((made.patches, made.deletes), (vec![row("t", cells)], vec!["t_phone_calls".to_owned()]));
    let made = world.update(doc! {"u": {"phone": "none"}}).expect("update");
    assert_eq!(made.patches[0].1.get("phone").map(String::as_str), Some("none"));
    let made = world.update(doc! {"sphone": {"u": {"work": "3"}}}).expect("update");
    assert_eq!(made.patches, [row("t", [("phone", "NULL"), ("phone_work", "3")])]);
}

#[test]
fn flattened_names_meet_no_others() {
    let mut world = flat();
    let made =
        world.put(doc! {"_id": 2, "phone_work": "mine", "phone": {"work": "1", "geo_lat": 3, "geo": {"lat": 4}}});
    let (_, cells) = &made.expect("put").puts[0];
    assert_eq!((cells["phone_work"].as_str(), cells["phone_geo_lat"].as_str()), ("1", "4"));
    assert!(cells.iter().any(|(name, text)| name.starts_with("phone_work_") && text == "mine"), "{cells:?}");
    assert!(cells.iter().any(|(name, text)| name.starts_with("phone_geo_lat_") && text == "3"), "{cells:?}");
}

#[test]
fn flattened_fields_overflow_into_objects_of_their_own() {
    let options = MappingOptions { objects: NestedForm::Flatten, max_columns: 2, ..MappingOptions::default() };
    let mut world = World::new(options, Vec::new());
    let made = world.put(doc! {"_id": 1, "a": {"b": {"c": 1, "d": 2}, "e": [1]}, "f": {"g": 3}}).expect("put");
    assert_eq!(made.puts, [row("t", [("a_b_c", "1"), ("_extra", r#"{"a":{"b":{"d":2},"e":[1]},"f":{"g":3}}"#)])]);
    let mut world = world.restarted();
    let update = doc! {"sa": {"sb": {"u": {"d": 5}, "sq": {"u": {"r": 1}}}, "d": {"e": false}}};
    let made = world.update(update).expect("update");
    let diffs: Vec<_> = made.diffs.into_iter().map(|(_, diff)| diff).collect();
    let expected = [
        doc! {"sa": {"sb": {"d": {"d": false}}}},
        doc! {"sa": {"sb": {"sq": {"d": {"r": false}}}}},
        doc! {"sa": {"d": {"e": false}}},
        doc! {"Sa": {"Sb": {"j": {"d": "5"}}}},
        // `q` may have been an empty document before, which is nowhere.
        doc! {"Sa": {"Sb": {"Sq": {"j": {"r": "1"}}}}},
    ];
    assert_eq!(diffs, expected);
}

#[test]
fn a_flattened_document_goes_away_with_what_overflowed_of_it() {
    let options = MappingOptions { objects: NestedForm::Flatten, max_columns: 3, ..MappingOptions::default() };
    let mut world = World::new(options, Vec::new());
    world.put(doc! {"_id": 1, "a": {"b": 1}}).expect("put");
    world.put(doc! {"_id": 1, "a": "none"}).expect("put");
    world.put(doc! {"_id": 1, "a": {"b": 1, "c": 2}}).expect("put");
    for diff in [doc! {"d": {"a": false}}, doc! {"u": {"a": "none"}}] {
        let made = world.update(diff).expect("update");
        assert_eq!(made.diffs, [("_extra".to_owned(), doc! {"d": {"a": false}})]);
    }
}

#[test]
fn single_paths_have_forms_of_their_own() {
    let paths = vec![
        form("a", NestedForm::Jsonb),
        form("b", NestedForm::Flatten),
        form("b.c", NestedForm::Table),
        form("l", NestedForm::Jsonb),
        form("m.n", NestedForm::Jsonb),
    ];
    let mut world = World::new(MappingOptions::default(), paths);
    let document = doc! {"_id": 1, "a": 1, "b": {"c": {"x": 1}, "d": 2}, "l": [{"x": 1}], "m": [{"n": {"o": 1}}]};
    world.put(document).expect("put");
    let columns = [
        "_id t._id integer",
        "a t.a jsonb",
        "b.c.x t_b_c.x integer",
        "b.d t.b_d integer",
        "l t.l jsonb",
        "m.n t_m.n jsonb",
    ];
    assert_eq!(world.columns(), columns);
    world.restarted();
}

#[test]
fn a_conflict_is_null_where_that_is_wanted() {
    let mut world = World::new(on_conflict(OnTypeConflict::Null), Vec::new());
    world.put(doc! {"_id": 1, "n": 1, "o": {"x": "text"}}).expect("put");
    let made = world.put(doc! {"_id": 2, "n": "one", "o": {"x": 5}}).expect("put");
    assert_eq!(made.puts, [row("t_o", []), row("t", [])]);
    assert_eq!(made.anomalies, [("n".to_owned(), "type_conflict"), ("o.x".to_owned(), "type_conflict")]);
    let made = world.update(doc! {"u": {"n": [1, 2]}}).expect("update");
    assert_eq!((made.patches, made.anomalies.len()), (vec![row("t", [("n", "NULL")])], 1));
    // The same number is no conflict, and another form has a column of its own.
    let made = world.put(doc! {"_id": 3, "n": 5.0, "o": 7}).expect("put");
    assert_eq!((made.puts, made.anomalies.len()), (vec![row("t", [("n", "5"), ("o", "7")])], 0));
    assert_eq!(world.put(doc! {"_id": 3, "n": 5.5}).expect("put").anomalies.len(), 1);
}

#[test]
fn a_conflict_sends_the_document_to_quarantine_where_that_is_wanted() {
    let own = PathOptions { on_type_conflict: Some(OnTypeConflict::Quarantine), ..path("n") };
    let mut world = World::new(MappingOptions::default(), vec![own]);
    world.put(doc! {"_id": 1, "n": 1, "m": 1}).expect("put");
    assert_eq!(world.put(doc! {"_id": 2, "n": "one"}).err(), Some(Reject("type_conflict")));
    assert_eq!(world.update(doc! {"u": {"n": "one"}}).err(), Some(Reject("type_conflict")));
    assert!(world.put(doc! {"_id": 2, "m": "one"}).is_ok(), "the other path widens");
}

#[test]
fn a_fixed_type_is_cast_to() {
    let paths = vec![fixed("n", PgType::Integer), fixed("s", PgType::Text), fixed("j", PgType::Jsonb), {
        PathOptions { on_type_conflict: Some(OnTypeConflict::Quarantine), ..fixed("q", PgType::Integer) }
    }];
    let mut world = World::new(MappingOptions::default(), paths);
    let made = world.put(doc! {"_id": 1, "n": "12", "s": 1.5, "j": {"x": [1]}, "q": 1}).expect("put");
    let cells = [("n", "12"), ("s", "1.5"), ("j", r#"{"x":[1]}"#), ("q", "1")];
    assert_eq!((made.puts, made.anomalies.len()), (vec![row("t", cells)], 0));
    let made = world.put(doc! {"_id": 2, "n": "twelve", "s": {"x": 1}}).expect("put");
    assert_eq!(made.puts, [row("t", [])]);
    assert_eq!(made.anomalies, [("n".to_owned(), "cast_failed"), ("s".to_owned(), "cast_failed")]);
    assert_eq!(world.put(doc! {"_id": 3, "q": 1.5}).err(), Some(Reject("cast_failed")));
    assert!(world.columns().contains(&"n t.n integer".to_owned()));
    world.restarted();
}

#[test]
fn a_type_that_is_taken_back_leaves_a_column_that_widens() {
    let mut world = World::new(MappingOptions::default(), vec![fixed("s", PgType::Text)]);
    world.put(doc! {"_id": 1, "s": 1}).expect("put");
    let mut plain = world.restarted();
    plain.collection.shared.collections = std::sync::Arc::new(Vec::new());
    let mut plain = plain.restarted();
    plain.put(doc! {"_id": 1, "s": 2}).expect("put");
    assert!(plain.columns().contains(&"s t.s jsonb".to_owned()), "{:?}", plain.columns());
}

#[test]
fn names_in_snake_case_meet_no_others_and_stay() {
    let options = MappingOptions { naming: Naming::SnakeCase, ..MappingOptions::default() };
    let mut world = World::new(options, Vec::new());
    let document = doc! {"_id": 1, "rollNo": 1, "roll_no": 2, "Index": 3, "_Index": 4, "examResults": [{"subParts": [{"maxScore": 5}]}]};
    let made = world.put(document.clone()).expect("put");
    let (_, cells) = made.puts.last().expect("the root's row");
    assert_eq!((cells["roll_no"].as_str(), cells["index"].as_str()), ("1", "3"));
    assert_eq!(cells.len(), 4, "{cells:?}");
    let part = &world.collection.tables()[2];
    assert_eq!(part.name.as_str(), "t_exam_results_sub_parts");
    let names: Vec<_> = part.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["t__id", "exam_results__index", "_index", "max_score"]);
    let mut restarted = world.restarted();
    assert_eq!(restarted.put(document).expect("put").puts, made.puts);
}

#[test]
fn the_catalog_wins_over_the_configuration_and_says_where() {
    let mut world = World::new(MappingOptions::default(), Vec::new());
    world.put(doc! {"_id": 1, "o": {"x": 1}, "l": [{"x": 1}], "n": "text", "m": 5}).expect("put");
    assert_eq!(world.collection.disagreements(), Disagreements::default());
    let restarted = |paths: Vec<PathOptions>| {
        let mut world = world.restarted();
        let own = World::new(MappingOptions::default(), paths).collection.shared.collections;
        world.collection.shared.collections = own;
        world.restarted()
    };
    let mut other = restarted(vec![
        form("o", NestedForm::Flatten),
        form("l", NestedForm::Jsonb),
        form("n", NestedForm::Jsonb),
        fixed("m", PgType::Integer),
    ]);
    let kept = ["l", "n", "o"].map(str::to_owned).to_vec();
    assert_eq!(other.collection.disagreements(), Disagreements { refused: Vec::new(), kept });
    let made = other.put(doc! {"_id": 2, "o": {"x": 2}}).expect("put");
    assert_eq!(made.puts, [row("t_o", [("x", "2")]), row("t", [])]);
    let other = restarted(vec![fixed("n", PgType::Uuid), fixed("l", PgType::Jsonb)]);
    let refused = [
        r#"type = "jsonb" is set for l of s.t, and its values lie in "s"."t_l""#,
        r#"type = "uuid" is set for n of s.t, and its column "n" of "s"."t" is text"#,
    ];
    assert_eq!(other.collection.disagreements().refused, refused);
}
