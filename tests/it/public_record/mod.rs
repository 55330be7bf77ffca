//! What went wrong in similar tools, by their public record: each case is what lost a row, crashed or stopped one of them.
//!
//! `docs/public-record.md` says where each comes from. A case goes three ways through one daemon: everything before the
//! first copy, the changes after it, and everything after it. The independent decoder then compares all three; where rows
//! say more, the case names them.

mod changes;
mod names;
mod runner;
mod shapes;
mod values;

/// Every case is in the document, and the document names no other.
#[test]
fn the_document_and_the_cases_are_the_same() {
    let document = include_str!("../../../docs/public-record.md");
    let documented: Vec<&str> = document
        .lines()
        .filter_map(|line| line.rsplit_once("| `")?.1.strip_suffix("` |"))
        .filter(|name| !name.contains(':'))
        .collect();
    let cases = [values::cases(), shapes::cases(), names::cases(), changes::cases()].concat();
    let cases: Vec<&str> = cases.iter().map(|case| case.name).collect();
    for name in &cases {
        assert!(documented.contains(name), "docs/public-record.md has no line for {name}");
        assert_eq!(cases.iter().filter(|other| *other == name).count(), 1, "{name} is there once");
    }
    for name in documented {
        assert!(cases.contains(&name), "docs/public-record.md names {name}, and there is no such case");
    }
}
