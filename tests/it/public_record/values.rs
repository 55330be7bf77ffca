//! Values that other tools could not carry.

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, RawDocumentBuf, Regex, Timestamp, Uuid,
    bson, doc, oid::ObjectId,
};

use super::runner::{Entry, list, run};

#[tokio::test(flavor = "multi_thread")]
async fn values_that_others_could_not_carry() {
    run("recordvalues", cases()).await;
}

fn decimal(text: &str) -> Bson {
    Bson::Decimal128(text.parse::<Decimal128>().expect("a decimal"))
}

fn pattern() -> Bson {
    let regex = |pattern: &str, options: &str| Regex {
        pattern: pattern.try_into().expect("no zero byte"),
        options: options.try_into().expect("no zero byte"),
    };
    Bson::RegularExpression(regex("^a\"\\d+", "im"))
}

fn rare() -> Document {
    let scope = doc! {"x": 1};
    doc! {
        "regex": pattern(), "min": Bson::MinKey, "max": Bson::MaxKey, "symbol": Bson::Symbol("s".into()),
        "code": Bson::JavaScriptCode("f()".into()), "undefined": Bson::Undefined,
        "scoped": Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope { code: "f()".into(), scope }),
        "time": Timestamp { time: 1_686_813_362, increment: 110 },
    }
}

fn year(year: i64) -> DateTime {
    // The middle of it, as far as years are equally long.
    DateTime::from_millis((year - 1970) * 31_556_952_000 + 15_778_476_000)
}

/// `{_id, text, list: [text]}` with bytes that are not UTF-8.
fn broken_text(id: i32) -> RawDocumentBuf {
    let mut bytes = doc! {"_id": id, "text": "caf#", "list": ["#", "fine"]}.to_vec().expect("BSON");
    bytes.iter_mut().filter(|byte| **byte == b'#').for_each(|byte| *byte = 0xE9);
    RawDocumentBuf::from_bytes(bytes).expect("lengths that fit")
}

pub fn cases() -> Vec<Entry> {
    [numbers(), dates_nulls_and_broken_text(), ids_and_rare_types(), text_and_the_rest()].concat()
}

fn numbers() -> Vec<Entry> {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    vec![
        Entry::new("numbers_that_json_lacks", odd.iter().zip(1..).map(|(n, id)| doc! {"_id": id, "n": *n}).collect())
            .rows("SELECT n FROM {t} ORDER BY _id", &["NaN", "Infinity", "-Infinity"]),
        Entry::new(
            "numbers_that_json_lacks_deeper",
            vec![doc! {"_id": 1, "l": [1, f64::NAN], "o": {"n": f64::INFINITY}}],
        )
        .update(doc! {"$push": {"l": f64::NEG_INFINITY}})
        .rows("SELECT n FROM {t_o}", &["Infinity"]),
        Entry::new(
            "the_ends_of_int64",
            vec![doc! {"_id": 1, "n": i64::MIN}, doc! {"_id": 2, "n": i64::MAX, "l": [i64::MIN]}],
        )
        .update(doc! {"$set": {"n": -1i64}})
        .rows("SELECT n, l FROM {t} ORDER BY _id", &["-1 | -", "9223372036854775807 | [-9223372036854775808]"]),
        Entry::new(
            "a_double_at_the_end_of_int64",
            vec![doc! {"_id": 1, "n": -9_223_372_036_854_775_808f64, "l": [9.223_372_036_854_776e18]}],
        ),
        Entry::new("int32_first_then_int64", vec![doc! {"_id": 1, "n": 1}, doc! {"_id": 2, "n": 1_563_051_934_000i64}])
            .rows("SELECT n FROM {t} ORDER BY _id", &["1", "1563051934000"]),
        Entry::new(
            "a_long_that_becomes_a_double",
            vec![doc! {"_id": 1, "o": {"n": 5i64}}, doc! {"_id": 2, "o": {"n": 5i64}}],
        )
        .update(doc! {"$set": {"o.n": 0.5}})
        .rows("SELECT n FROM {t_o} ORDER BY 1", &["0.5", "5"]),
        Entry::new(
            "decimals_first_then_integers",
            vec![doc! {"_id": 1, "n": decimal("1.50")}, doc! {"_id": 2, "n": 7}],
        )
        .update(doc! {"$set": {"n": decimal("9.999999999999999999999999999999999E+6144")}}),
        Entry::new(
            "decimals_that_are_no_numbers",
            vec![doc! {"_id": 1, "n": decimal("NaN"), "l": [decimal("-Infinity")]}],
        )
        .update(doc! {"$set": {"n": decimal("Infinity")}})
        .rows("SELECT n FROM {t}", &["Infinity"]),
        Entry::new(
            "text_where_numbers_were",
            vec![doc! {"_id": 1, "code": 9414.5}, doc! {"_id": 2, "code": "P0009414"}],
        )
        .rows("SELECT code FROM {t} ORDER BY _id", &["9414.5", "\"P0009414\""]),
        Entry::new("numbers_and_text_in_one_array", vec![doc! {"_id": 1, "l": [1, "1", 1.5, null]}])
            .rows("SELECT l FROM {t}", &["[1, \"1\", 1.5, null]"]),
    ]
}

fn dates_nulls_and_broken_text() -> Vec<Entry> {
    vec![
        Entry::new(
            "years_beyond_9999",
            vec![doc! {"_id": 1, "at": year(10_217), "l": [year(46_312)], "o": {"at": year(275_760)}}],
        )
        .rows("SELECT extract(year FROM at) FROM {t}", &["10217"]),
        Entry::new("the_year_0_and_before", vec![doc! {"_id": 1, "at": year(0)}, doc! {"_id": 2, "at": year(-3000)}]),
        Entry::new(
            "years_beyond_postgresql",
            vec![doc! {"_id": 1, "at": DateTime::MAX}, doc! {"_id": 2, "at": DateTime::MIN}],
        )
        .rows("SELECT at FROM {t} ORDER BY _id", &["infinity", "-infinity"])
        .anomaly("date_out_of_range", "at"),
        Entry::new(
            "dates_inside_arrays",
            vec![doc! {"_id": 1, "l": [year(2016), {"d": year(2016)}], "m": [{"d": year(2016)}]}],
        ),
        Entry::new(
            "a_date_that_is_null_for_most",
            vec![doc! {"_id": 1, "end": null}, doc! {"_id": 2, "end": year(2024)}],
        )
        .rows("SELECT pg_typeof(\"end\") FROM {t} LIMIT 1", &["timestamp with time zone"]),
        Entry::new(
            "a_null_where_numbers_are",
            vec![doc! {"_id": 1, "n": 1}, doc! {"_id": 2, "n": null}, doc! {"_id": 3}],
        )
        .update(doc! {"$set": {"n": null}})
        .rows("SELECT n FROM {t} ORDER BY _id", &["-", "-", "-"]),
        Entry::new("nulls_inside_arrays", vec![doc! {"_id": 1, "l": [1, null, 3], "d": [{"a": 1}, null, {"a": 3}]}])
            .rows("SELECT _index, a FROM {t_d} ORDER BY 1", &["0 | 1", "2 | 3"]),
        Entry::new("a_zero_byte_in_text", vec![doc! {"_id": 1, "email": "a\0b", "l": ["\0"], "o": {"t": "x\0"}}])
            .rows("SELECT email, l FROM {t}", &["ab | [\"\"]"])
            .anomaly("nul_removed", "email")
            .anomaly("nul_removed", "l")
            .anomaly("nul_removed", "o.t"),
        Entry::raw("text_that_is_not_utf8", vec![broken_text(1), broken_text(2)])
            .rows(
                "SELECT text, l FROM (SELECT text, list AS l FROM {t} LIMIT 1) AS one",
                &["caf\u{FFFD} | [\"\u{FFFD}\", \"fine\"]"],
            )
            .anomaly("invalid_utf8", "list")
            .anomaly("invalid_utf8", "text"),
    ]
}

fn ids_and_rare_types() -> Vec<Entry> {
    let id = ObjectId::from_bytes([0x53; 12]);
    let uuid = Uuid::from_bytes([0x11; 16]);
    let legacy = Binary { subtype: BinarySubtype::UuidOld, bytes: vec![0x11; 16] };
    vec![
        Entry::new(
            "object_ids_inside_arrays",
            vec![doc! {"_id": 1, "refs": [id, ObjectId::from_bytes([1; 12])], "m": [{"ref": id}]}],
        )
        .rows("SELECT ref FROM {t_m}", &["535353535353535353535353"]),
        Entry::new("uuids_of_both_kinds", vec![doc! {"_id": uuid, "u": uuid, "old": legacy, "l": [uuid]}]).rows(
            "SELECT _id, u FROM {t}",
            &["11111111-1111-1111-1111-111111111111 | 11111111-1111-1111-1111-111111111111"],
        ),
        Entry::new(
            "binary_data",
            vec![doc! {"_id": 1, "b": Binary { subtype: BinarySubtype::Generic, bytes: vec![0, 255, 39, 92] }}],
        )
        .rows("SELECT b FROM {t}", &["\\x00ff275c"]),
        Entry::new(
            "rare_types",
            vec![{
                let mut document = doc! {"_id": 1};
                document.extend(rare());
                document
            }],
        ),
        Entry::new(
            "rare_types_deeper",
            vec![doc! {"_id": 1, "o": rare(), "l": [[pattern(), Bson::MaxKey], Bson::MinKey], "d": [rare()]}],
        )
        .update(doc! {"$push": {"l": pattern(), "d": rare()}}),
    ]
}

fn text_and_the_rest() -> Vec<Entry> {
    let id = ObjectId::from_bytes([0x53; 12]);
    vec![
        Entry::new(
            "quotes_and_brackets",
            vec![
                doc! {"_id": 1, "t": "[\"33 Avenue du Président\"]", "q": "it's \"\\ {}\t\n", "l": ["a\"b'c\\", "{}"]},
            ],
        )
        .rows("SELECT t FROM {t}", &["[\"33 Avenue du Président\"]"]),
        Entry::new(
            "text_of_every_plane",
            vec![doc! {"_id": 1, "t": "é 漢 \u{1F600} \u{FFFE}\u{200B}", "l": ["\u{1F600}"]}],
        ),
        Entry::new("empty_text_is_no_null", vec![doc! {"_id": 1, "t": "", "l": [""]}])
            .rows("SELECT t = '' FROM {t}", &["t"]),
        Entry::new(
            "one_odd_value_among_many",
            (1..=300)
                .map(|id| match id {
                    100 => doc! {"_id": id, "t": "\0", "n": 1},
                    200 => doc! {"_id": id, "t": "x", "n": list([bson!({"deep": [f64::NAN]})])},
                    id => doc! {"_id": id, "t": "x", "n": id},
                })
                .collect(),
        )
        .rows("SELECT count(*) FROM {t}", &["300"])
        .anomaly("nul_removed", "t"),
        Entry::new(
            "pointers_into_other_collections",
            vec![doc! {"_id": 1, "ref": {"$ref": "c", "$id": id, "$db": "d"}}],
        )
        .rows("SELECT \"$ref\", \"$id\" FROM {t_ref}", &["c | 535353535353535353535353"]),
    ]
}
