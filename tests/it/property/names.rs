//! Names of fields and collections: all that MongoDB takes.

use crate::workload::random::Random;

const ODD: [&[u8]; 62] = [
    b"",
    b" ",
    b".",
    b"a.b",
    b"a.b.c",
    b"b.",
    b"$",
    b"$price",
    b"a$b",
    b"$oid",
    b"$date",
    b"$ref",
    b"$numberLong",
    b"\"",
    b"\"q\"",
    b"'",
    b"\\",
    b"with space",
    b"line\nbreak",
    b"{",
    b",",
    b"select",
    b"table",
    b"user",
    b"order",
    b"null",
    b"NULL",
    b"_id",
    b"_index",
    b"_value",
    b"_extra",
    b"_key",
    b"_synced_at",
    b"_source",
    b"_deleted_at",
    b"ctid",
    b"xmin",
    b"tableoid",
    b"oid",
    b"Name",
    b"name",
    b"NAME",
    b"0",
    b"1",
    b"10",
    b"-1",
    b"007",
    b"a",
    b"b",
    b"a_b",
    b"a__index",
    b"c0__id",
    b"c1__id",
    b"a\xff",
    b"\xff",
    b"\xfe",
    b"\xed\xa0\x80x",
    b"length",
    b"u",
    b"s0",
    b"d",
    b"i",
];

const WIDE: [&str; 5] = ["é", "名前", "🎓", "Ünï çödé", "\u{feff}"];

/// A field name.
pub fn field(random: &mut Random) -> Vec<u8> {
    match random.below(20) {
        0..9 => random.pick(&ODD).to_vec(),
        9 => random.pick(&WIDE).as_bytes().to_vec(),
        // Equal in what PostgreSQL keeps of a name.
        10 => format!("{}{}", "p".repeat(63), random.below(3)).into_bytes(),
        11 => format!("{}{}", random.pick(&WIDE).repeat(40), random.below(2)).into_bytes(),
        12 => random.pick(&["x", "名"]).repeat(200).into_bytes(),
        _ => format!("f{}", random.below(12)).into_bytes(),
    }
}

/// A name that update operators can address.
pub fn is_plain(name: &[u8]) -> bool {
    !name.is_empty() && name[0] != b'$' && !name.contains(&b'.') && std::str::from_utf8(name).is_ok()
}

/// The name of collection number `n`.
pub fn collection(random: &mut Random, n: usize) -> String {
    match random.below(8) {
        0 => format!("a.b.{n}"),
        1 => format!("Order-Items \"{n}\""),
        2 => format!("名前{n}"),
        3 => format!("{}{n}", "long".repeat(25)),
        4 => format!("c{n}_a"),
        5 => format!("C{n}"),
        _ => format!("c{n}"),
    }
}
