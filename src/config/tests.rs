//! The whole way from texts to a `Config`.

use super::keys::KEYS;
use super::layers::Layers;
use super::{Config, HistoryLost, ReadPreference, ReaderKind, UpdateForm};
use crate::mapping::json::{Flavour, to_text};
use crate::mapping::options::{Ids, Naming, NestedForm, OnDrop, OnTypeConflict, PathOptions};
use crate::model::bson::Value;
use crate::model::namespace::Namespace;
use crate::model::table::{Metadata, PgType};
use crate::telemetry::options::{LogFormat, LogLevel};

const URIS: &str = "[source]\nuri = \"mongodb://u:hunter2@h/\"\n[target]\nuri = \"postgres://u:hunter3@h/d\"\n";

fn parse(file: &str, environment: &[(&str, &str)], flags: &[(&'static str, &str, &str)]) -> Result<Config, String> {
    let mut layers = Layers::default();
    layers.file("t.toml", file);
    layers.environment(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    for (name, key, value) in flags {
        layers.flag(name, key, Some(value));
    }
    let open = |path: &str| match path {
        "/secret" => Ok("mongodb://from-a-file/\n".to_owned()),
        "users.csv" => Ok("user,name\n17,Ada\n\"17\",again\n\nb\n".to_owned()),
        "empty.csv" => Ok("user\n\n".to_owned()),
        "broken.csv" => Ok("a\n\"b\n".to_owned()),
        _ => Err(std::io::Error::other("no such file")),
    };
    Config::parse(layers, &open, super::Needs::BOTH).map_err(|error| error.to_string())
}

fn with_uris(rest: &str) -> Result<Config, String> {
    parse(&format!("{rest}\n{URIS}"), &[], &[])
}

#[test]
fn two_uris_are_enough() {
    let config = with_uris("").expect("config");
    assert_eq!(config.pipeline, "default");
    assert_eq!(config.target.max_connections, 16);
    assert_eq!(config.limits.memory, 256 << 20);
    assert_eq!(
        (config.source.read_preference, config.source.updates),
        (ReadPreference::SecondaryPreferred, UpdateForm::Auto)
    );
    assert_eq!(config.source.reader, ReaderKind::Auto);
    assert_eq!((config.mapping.objects, config.mapping.arrays), (NestedForm::Table, NestedForm::Table));
    assert_eq!((config.mapping.max_columns, config.snapshot.parallel), (800, 4));
    assert_eq!(config.http.listen.as_deref(), Some("127.0.0.1:9187"));
    assert_eq!((config.log.format, config.log.level), (LogFormat::Auto, LogLevel::Info));
    assert!(config.filter.selects(&Namespace::new("any", "thing")));
}

#[test]
fn the_contracts_own_example_is_valid() {
    let example = r#"
pipeline = "default"
[source]
uri = "mongodb://127.0.0.1:27017/?replicaSet=rs0"
reader = "change_stream"
include = ["shop.*"]
exclude = ["shop.tmp_*"]
read_preference = "secondaryPreferred"
[target]
uri = "postgres://tailwater@127.0.0.1/warehouse"
max_connections = 16
[mapping]
objects = "table"
arrays = "table"
naming = "preserve"
on_type_conflict = "widen"
on_drop = "drop"
foreign_keys = "cutover"
max_columns = 800
[[collection]]
namespace = "shop.orders"
table = "sales.orders"
[collection.columns]
"placed_at" = { type = "timestamptz" }
"notes" = { form = "jsonb" }
[snapshot]
parallel = 4
[limits]
memory_limit = "256MiB"
[on]
history_lost = "stop"
[http]
listen = "127.0.0.1:9187"
[log]
format = "auto"
"#;
    let config = parse(example, &[], &[]).expect("config");
    let orders = &config.collections[0];
    assert_eq!((orders.schema.as_deref(), orders.table.as_deref()), (Some("sales"), Some("orders")));
    let placed_at = PathOptions { ty: Some(PgType::TimestampTz), ..PathOptions::new(vec!["placed_at".into()]) };
    let notes = PathOptions { form: Some(NestedForm::Jsonb), ..PathOptions::new(vec!["notes".into()]) };
    assert_eq!(orders.paths, [notes, placed_at]);
    assert!(!config.filter.selects(&Namespace::new("shop", "tmp_1")));
    assert_eq!(config.source.reader, ReaderKind::ChangeStream);
}

#[test]
fn the_reader_is_one_of_three() {
    let reader = |word| parse(URIS, &[("TAILWATER_SOURCE__READER", word)], &[]).map(|config| config.source.reader);
    for (word, kind) in
        [("auto", ReaderKind::Auto), ("change_stream", ReaderKind::ChangeStream), ("oplog", ReaderKind::Oplog)]
    {
        assert_eq!(reader(word), Ok(kind));
    }
    let wrong = reader("best").expect_err("no reader");
    assert!(wrong.contains("source.reader") && wrong.contains("\"auto\""), "{wrong}");
}

#[test]
fn collections_and_paths_have_options_of_their_own() {
    let config = with_uris(
        r#"
mapping.objects = "flatten"
mapping.on_type_conflict = "quarantine"
mapping.naming = "snake_case"
[[collection]]
namespace = "a.b"
objects = "table"
arrays = "jsonb"
on_type_conflict = "null"
[collection.columns]
"address.geo" = { form = "flatten", on_type_conflict = "widen" }
"a\\.b.c\\\\" = { type = "double precision" }
"" = { form = "table" }
[[collection]]
namespace = "a.c"
columns = {}
"#,
    )
    .expect("config");
    let all = config.mapping;
    assert_eq!(
        (all.objects, all.on_type_conflict, all.naming),
        (NestedForm::Flatten, OnTypeConflict::Quarantine, Naming::SnakeCase)
    );
    let own = &config.collections[0];
    assert_eq!(
        (own.objects, own.arrays, own.on_type_conflict),
        (Some(NestedForm::Table), Some(NestedForm::Jsonb), Some(OnTypeConflict::Null))
    );
    let path = |names: &[&str]| PathOptions::new(names.iter().map(|name| (*name).to_owned()).collect());
    let widen = Some(OnTypeConflict::Widen);
    let expected = [
        PathOptions { form: Some(NestedForm::Table), ..path(&[""]) },
        PathOptions { ty: Some(PgType::Double), ..path(&["a.b", "c\\"]) },
        PathOptions { form: Some(NestedForm::Flatten), on_type_conflict: widen, ..path(&["address", "geo"]) },
    ];
    assert_eq!(own.paths, expected);
}

#[test]
fn paths_that_contradict_themselves_are_refused_all_at_once() {
    let message = with_uris(
        r#"[[collection]]
namespace = "a.b"
objects = "lists"
arrays = "flatten"
[collection.columns]
"_id" = { type = "text" }
"a" = { type = "varchar" }
"b" = { type = "text", form = "table" }
"c" = { form = "jsonb", type = "jsonb" }
"c.d" = { type = "text" }
"e" = "jsonb"
"f" = { from = "jsonb" }
"g\\h" = { form = "jsonb" }
"i" = { on_type_conflict = 3 }
"#,
    )
    .expect_err("wrong");
    let types = r#""boolean" or "integer" or "bigint" or "double precision" or "numeric" or "text" or "timestamptz" or "uuid" or "bytea" or "jsonb""#;
    let expected = [
        "t.toml:3: collection.objects = \"lists\" must be \"table\" or \"jsonb\" or \"flatten\"".to_owned(),
        "t.toml:4: collection.arrays = \"flatten\" must be \"table\" or \"jsonb\"".to_owned(),
        "t.toml:6: collection.columns.\"_id\" cannot be set: the type of the key follows from the ids that the collection has".to_owned(),
        format!("t.toml:7: collection.columns.\"a\": type = \"varchar\" must be {types}"),
        "t.toml:8: collection.columns.\"b\" has type = \"text\", one column, and form = \"table\"; keep one".to_owned(),
        "t.toml:10: collection.columns.\"c.d\" lies below \"c\", which is one column".to_owned(),
        "t.toml:11: collection.columns.\"e\" must be a table that sets type, form or on_type_conflict".to_owned(),
        "t.toml:12: unknown key from of collection.columns.\"f\"; it may set type, form or on_type_conflict".to_owned(),
        "t.toml:13: collection.columns.\"g\\\\h\": a backslash stands before a dot or a backslash only".to_owned(),
        "t.toml:14: collection.columns.i.on_type_conflict must be a text".to_owned(),
    ];
    assert_eq!(message, format!("wrong configuration, 10 errors:\n  {}", expected.join("\n  ")));
}

#[test]
fn switches_are_words_in_the_file_and_in_the_environment() {
    let file = format!("[mapping]\nsynced_at = true\nsoft_delete = false\non_drop = \"keep\"\n{URIS}");
    let config = parse(&file, &[("TAILWATER_MAPPING__SOURCE", "true")], &[]).expect("config");
    let Metadata { synced_at, source, deleted_at } = config.mapping.metadata;
    assert_eq!((synced_at, source, deleted_at, config.mapping.on_drop), (true, true, false, OnDrop::Keep));
    let wrong = parse(&format!("[mapping]\nsource = 1\n{URIS}"), &[], &[]).expect_err("a number");
    assert_eq!(wrong, "wrong configuration: t.toml:2: mapping.source must be true or false");
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let environment = [("TAILWATER_SOURCE__URI", "mongodb://env/"), ("TAILWATER_PIPELINE", "env"), ("HOME", "/x")];
    let flags = [("--source", "source.uri", "mongodb://flag/")];
    let config =
        parse(&format!("pipeline = \"file\"\nsnapshot.parallel = 7\n{URIS}"), &environment, &flags).expect("config");
    assert_eq!(config.source.uri.expose(), "mongodb://flag/");
    assert_eq!(config.pipeline, "env");
    assert_eq!(config.snapshot.parallel, 7);
    let config = parse(URIS, &environment, &[]).expect("config");
    assert_eq!(config.source.uri.expose(), "mongodb://env/");
}

#[test]
fn the_environment_can_set_numbers_sizes_and_lists() {
    let environment = [
        ("TAILWATER_LIMITS__MEMORY_LIMIT", "64MiB"),
        ("TAILWATER_TARGET__MAX_CONNECTIONS", "5"),
        ("TAILWATER_SOURCE__INCLUDE", "shop.*, school.student"),
        ("TAILWATER_HTTP__LISTEN", ""),
    ];
    let config = parse(URIS, &environment, &[]).expect("config");
    assert_eq!((config.limits.memory, config.target.max_connections), (64 << 20, 5));
    assert!(config.filter.selects(&Namespace::new("school", "student")));
    assert!(!config.filter.selects(&Namespace::new("school", "teacher")));
    assert_eq!(config.http.listen, None);
}

#[test]
fn a_uri_may_lie_in_a_file_and_a_higher_layer_replaces_either_form() {
    let file = "[source]\nuri_file = \"/secret\"\n[target]\nuri = \"postgresql://h/d\"\n";
    assert_eq!(parse(file, &[], &[]).expect("config").source.uri.expose(), "mongodb://from-a-file/");
    let config = parse(file, &[], &[("--source", "source.uri", "mongodb://flag/")]).expect("config");
    assert_eq!(config.source.uri.expose(), "mongodb://flag/");
    let config = parse(URIS, &[("TAILWATER_SOURCE__URI_FILE", "/secret")], &[]).expect("config");
    assert_eq!(config.source.uri.expose(), "mongodb://from-a-file/");
    let both =
        parse("source.uri_file = \"/secret\"\nsource.uri = \"mongodb://h/\"\ntarget.uri = \"postgres://h\"", &[], &[]);
    assert!(both.expect_err("both").contains("source.uri and source.uri_file are both set"));
    let gone = parse("source.uri_file = \"/gone\"\ntarget.uri = \"postgres://h\"", &[], &[]);
    assert!(gone.expect_err("gone").contains("source.uri_file: cannot read /gone: no such file"));
}

#[test]
fn everything_wrong_is_reported_at_once_with_its_place() {
    let file = "pipeline = \"\"\n[source]\nurl = \"mongodb://h/\"\n[snapshot]\nparallel = 0\n[mapping]\nobjects = \"flat\"\narrays = \"lists\"\n";
    let environment =
        [("TAILWATER_SORUCE__URI", "x"), ("TAILWATER_LOG__LEVEL", "loud"), ("TAILWATER_LIMITS__MEMORY_LIMIT", "1MiB")];
    let message = parse(file, &environment, &[]).expect_err("wrong");
    let expected = "wrong configuration, 10 errors:
  source.uri is missing; set it in the file or with --source URI
  target.uri is missing; set it in the file or with --target URI
  t.toml:1: pipeline must be a name of 1 to 63 bytes
  t.toml:3: unknown key source.url; did you mean source.uri?
  t.toml:5: snapshot.parallel must be a whole number from 1 to 64
  t.toml:7: mapping.objects = \"flat\" must be \"table\" or \"jsonb\" or \"flatten\"
  t.toml:8: mapping.arrays = \"lists\" must be \"table\" or \"jsonb\"
  TAILWATER_LIMITS__MEMORY_LIMIT: limits.memory_limit must be a size such as \"256MiB\" (KiB, MiB, GiB), at least 16MiB
  TAILWATER_LOG__LEVEL: log.level = \"loud\" must be \"error\" or \"warn\" or \"info\" or \"debug\" or \"trace\"
  TAILWATER_SORUCE__URI: unknown key TAILWATER_SORUCE__URI; did you mean TAILWATER_SOURCE__URI?";
    assert_eq!(message, expected);
}

#[test]
fn what_the_contract_has_and_this_version_has_not_is_refused_by_name() {
    let message = with_uris("mapping.foreign_keys = \"always\"").expect_err("not available");
    assert!(message.contains("mapping.foreign_keys = \"always\" is not available in this version"), "{message}");
}

#[test]
fn lost_history_stops_unless_it_may_be_copied_again() {
    let set = |value: &str| with_uris(&format!("on.history_lost = {value:?}"));
    assert_eq!(with_uris("").expect("config").history_lost, HistoryLost::Stop);
    assert_eq!(set("stop").expect("config").history_lost, HistoryLost::Stop);
    assert_eq!(set("resnapshot").expect("config").history_lost, HistoryLost::Resnapshot);
    let message = set("ignore").expect_err("unknown");
    assert!(message.contains("on.history_lost = \"ignore\" must be \"stop\" or \"resnapshot\""), "{message}");
}

#[test]
fn the_snapshot_is_throttled_only_on_demand() {
    let limit = |file: &str, environment: &[(&str, &str)]| {
        parse(&format!("{file}\n{URIS}"), environment, &[]).map(|config| config.snapshot.max_bytes_per_second)
    };
    assert_eq!(limit("", &[]), Ok(None));
    assert_eq!(limit("snapshot.max_bytes_per_second = \"20MiB\"", &[]), Ok(Some(20 << 20)));
    assert_eq!(limit("snapshot.max_bytes_per_second = 5000000", &[]), Ok(Some(5_000_000)));
    let lifted = [("TAILWATER_SNAPSHOT__MAX_BYTES_PER_SECOND", "")];
    assert_eq!(limit("snapshot.max_bytes_per_second = \"20MiB\"", &lifted), Ok(None), "lifted by the environment");
    for wrong in ["\"1KiB\"", "0", "\"fast\"", "true"] {
        let message = limit(&format!("snapshot.max_bytes_per_second = {wrong}"), &[]).expect_err(wrong);
        assert!(message.ends_with("at least 1MiB, or \"\" for no limit"), "{message}");
    }
}

#[test]
fn collections_are_checked() {
    for (entry, problem) in [
        ("table = \"t\"", "t.toml:1: collection.namespace is missing"),
        ("namespace = \"shop\"", "collection.namespace = \"shop\" must be database.collection"),
        ("namespace = \"admin.users\"", "is the server's own and never replicated"),
        ("namespace = \"a.b\"\ntable = \"\"", "must be table or schema.table"),
        ("namespace = \"a.b\"\ntable = \"tailwater.x\"", "must not lie in schema tailwater"),
        ("namespace = \"a.b\"\ntabel = \"x\"", "t.toml:3: unknown key collection.tabel; did you mean table?"),
        ("namespace = \"a.b\"\ntable = 3", "collection.table must be a text"),
        ("namespace = \"a.b\"\n[[collection]]\nnamespace = \"a.b\"", "collection a.b is set twice"),
    ] {
        let message = with_uris(&format!("[[collection]]\n{entry}")).expect_err(entry);
        assert!(message.contains(problem), "{entry}: {message}");
        assert!(!message.contains("errors"), "{entry}: one problem only: {message}");
    }
    let message = with_uris("[collection]\nnamespace = \"a.b\"").expect_err("single");
    assert!(message.contains("each under [[collection]]"), "{message}");
    let plain = with_uris("[[collection]]\nnamespace = \"a.b\"\ntable = \"t\"").expect("config");
    assert_eq!((plain.collections[0].schema.as_deref(), plain.collections[0].table.as_deref()), (None, Some("t")));
}

#[test]
fn a_table_may_be_derived_from_a_pipeline_and_a_list_of_ids() {
    let tables = r#"
[[collection]]
namespace = "a.tables"
ids_file = "users.csv"
ids_field = "user"
pipeline = [
    { "$match" = { z = { "$gte" = 2024-05-06T07:08:09Z }, a = { "$oid" = "635b79e231d82a8ab1de863b" } } },
    { "$sort" = { z = 1, a = -1.5 } },
]
[[collection]]
namespace = "a.text"
pipeline = """[
  {"$match": {"z": {"$gte": {"$date": "2024-05-06T07:08:09Z"}}, "a": {"$oid": "635b79e231d82a8ab1de863b"}}},
  {"$sort": {"z": 1, "a": -1.5}}]"""
[[collection]]
namespace = "a.ids"
ids_file = "users.csv"
[[collection]]
namespace = "a.one_by_one"
[[collection.pipeline]]
"$skip" = 1
[[collection.pipeline]]
"$limit" = 2
[[collection]]
namespace = "a.b"
"#;
    let config = with_uris(tables).expect("config");
    let [tables, text, ids, one_by_one, plain] = config.collections.as_slice() else { panic!("five") };
    let (tables, text) = (tables.derived.as_ref().expect("derived"), text.derived.as_ref().expect("derived"));
    assert_eq!(tables.pipeline, text.pipeline);
    assert_eq!((tables.pipeline.len(), &text.ids), (2, &None));
    let users = tables.ids.as_ref().expect("ids");
    assert_eq!((users.field(), users.partitions().len()), ("user", 1));
    let stage = users.partitions()[0].as_doc();
    let stage = to_text(Value::Document(stage), Flavour::Canonical).expect("JSON");
    assert_eq!(stage, r#"{"$match":{"user":{"$in":[{"$numberLong":"17"},"17","b"]}}}"#);
    let ids = ids.derived.as_ref().expect("derived");
    assert_eq!(ids.ids.as_ref().map(Ids::field), Some("_id"));
    assert_eq!((ids.pipeline.len(), one_by_one.derived.as_ref().map(|derived| derived.pipeline.len())), (0, Some(2)));
    assert_eq!(plain.derived, None);
}

#[test]
fn what_is_wrong_with_a_derived_table_is_named() {
    for (entry, problem) in [
        (
            "pipeline = 3",
            "t.toml:3: collection.pipeline must be a list of stages, [{ \"$match\" = { … } }, …] or the same",
        ),
        ("pipeline = [\"$match\"]", "collection.pipeline must be a list of stages"),
        ("pipeline = { \"$match\" = { a = 1, b = 2 } }", "collection.pipeline must be a list of stages"),
        (
            "pipeline = \"[{]\"",
            "collection.pipeline must be a list of stages, [{ \"$match\" = { … } }, …] or the same as a text of Extended JSON: it is no JSON: ",
        ),
        ("pipeline = \"{}\"", "Extended JSON: it is no list"),
        (
            "pipeline = [{ \"$match\" = { at = 2024-05-06 } }]",
            "Extended JSON: $date is not as Extended JSON v2 writes it",
        ),
        ("pipeline = [{ \"$limit\" = 9223372036854775808 }]", "$numberLong is not as"),
        (
            "pipeline = [{ \"$limit\" = 1 }, { limit = 1 }]",
            "collection.pipeline: stage 2 must have one field, the stage's name",
        ),
        ("pipeline = [{ \"$limit\" = 1, \"$skip\" = 1 }]", "collection.pipeline: stage 1 must have one field"),
        (
            "pipeline = [{ \"$out\" = \"x\" }]",
            "collection.pipeline: stage 1 is $out, which writes into MongoDB; leave it out",
        ),
        (
            "pipeline = '[{\"$merge\": {\"into\": \"x\"}}]'",
            "collection.pipeline: stage 1 is $merge, which writes into MongoDB",
        ),
        ("pipelines = []", "unknown key collection.pipelines; did you mean pipeline?"),
        ("ids_file = 3", "collection.ids_file must be a text"),
        (
            "ids_file = \"gone.csv\"",
            "t.toml:3: collection.ids_file: cannot read gone.csv: no such file; it must name a CSV file",
        ),
        (
            "ids_file = \"empty.csv\"\nids_field = \"user\"",
            "collection.ids_file: empty.csv lists no id; write one on each line",
        ),
        ("ids_file = \"broken.csv\"", "collection.ids_file: broken.csv:2: a quote is not closed"),
        (
            "ids_file = \"users.csv\"\nids_field = \"$user\"",
            "t.toml:4: collection.ids_field = \"$user\" must be the name of a field",
        ),
        (
            "ids_field = \"user\"",
            "t.toml:3: collection.ids_field is set without collection.ids_file, which lists the ids",
        ),
    ] {
        let message = with_uris(&format!("[[collection]]\nnamespace = \"a.b\"\n{entry}")).expect_err(entry);
        assert!(message.contains(problem), "{entry}: {message}");
        assert!(!message.contains("errors"), "{entry}: one problem only: {message}");
    }
    let two = "pipeline = [{ \"$out\" = \"x\" }]\nids_file = \"gone.csv\"";
    let message = with_uris(&format!("[[collection]]\nnamespace = \"a.b\"\n{two}")).expect_err("two");
    assert!(message.contains("2 errors"), "{message}");
}

#[test]
fn shapes_that_fit_no_key_are_refused() {
    for (line, problem) in [
        ("source = \"mongodb://h/\"", "source is a section, not a key"),
        ("[sources]", "unknown key sources"),
        ("pipeline = 3", "pipeline must be a text, not a number"),
        ("source.include = \"shop\"", "names no collection; write \"shop.*\""),
        ("source.include = [1]", "source.include must be a list of texts"),
        ("target.max_connections = 2", "target.max_connections must be a whole number of 3 or more"),
        ("target.max_connections = 4.5", "target.max_connections must be a whole number"),
        ("mapping.max_columns = 1501", "mapping.max_columns must be a whole number from 1 to 1500"),
        ("http.listen = \"9187\"", "must be address:port"),
        ("pipeline = \"a\"\npipeline = \"b\"", "t.toml:2: "),
    ] {
        let uris = "source.uri = \"mongodb://h/\"\ntarget.uri = \"postgres://h\"\n";
        let file = if line.starts_with("source =") { line.to_owned() } else { format!("{line}\n") };
        let environment = [("TAILWATER_SOURCE__URI", "mongodb://h/"), ("TAILWATER_TARGET__URI", "postgres://h")];
        let message = parse(&file, &environment, &[]).expect_err(line);
        assert!(message.contains(problem), "{line}: {message}");
        assert!(parse(uris, &[], &[]).is_ok());
    }
}

#[test]
fn no_secret_is_printed() {
    let config = with_uris("").expect("config");
    assert!(!format!("{config:?}").contains("hunter"));
    for wrong in ["uri = \"mysql://u:hunter2@h/\"", "uri = \"mongodb://u:hunter2@h/", "uri = [\"hunter2\"]"] {
        let message = parse(&format!("[source]\n{wrong}\n"), &[], &[]).expect_err(wrong);
        assert!(!message.contains("hunter"), "{message}");
    }
    let layered = parse("", &[("TAILWATER_SOURCE__URI", "hunter2"), ("TAILWATER_SOURCE__URL", "hunter2")], &[]);
    assert!(!layered.expect_err("wrong").contains("hunter"));
}

#[test]
fn kubernetes_service_variables_are_not_settings() {
    let links = [
        ("TAILWATER_SERVICE_HOST", "10.0.0.1"),
        ("TAILWATER_SERVICE_PORT_HTTP", "9187"),
        ("TAILWATER_PORT", "tcp://10.0.0.1:9187"),
        ("TAILWATER_PORT_9187_TCP_ADDR", "10.0.0.1"),
    ];
    assert!(parse(URIS, &links, &[]).is_ok());
    assert!(parse(URIS, &[("TAILWATER_PORTS", "1")], &[]).is_err());
}

#[test]
fn every_key_of_the_catalogue_is_read_and_its_default_is_the_default() {
    let defaults: String = KEYS
        .iter()
        .filter(|key| !key.default.is_empty())
        .map(|key| format!("{} = {}\n", key.name, key.default))
        .collect();
    let uris = "source.uri = \"mongodb://h/\"\ntarget.uri = \"postgres://h\"\n";
    let spelled = parse(&format!("{defaults}{uris}"), &[], &[]).expect("every key is known and every default allowed");
    let implied = parse(uris, &[], &[]).expect("config");
    assert_eq!(format!("{spelled:?}"), format!("{implied:?}"));
}
