//! The examples of docs/oplog.md hold: entries through `tailwater replay --sql-out -`, compared to the letter.

use std::fs;

use crate::harness::daemon::command;

const PAGE: &str = "docs/oplog.md";

/// A block marked `oplog`: entries, an empty line, the text. Without the empty line nothing is written.
struct Example {
    line: usize,
    entries: String,
    text: Vec<String>,
}

fn examples() -> Vec<Example> {
    let path = format!("{}/{PAGE}", env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(&path).expect("the page");
    let mut lines = page.lines().enumerate();
    let mut examples = Vec::new();
    while let Some((number, line)) = lines.next() {
        if line.trim() != "```oplog" {
            continue;
        }
        let inside = lines.by_ref().map(|(_, line)| line.trim()).take_while(|line| *line != "```");
        let (entries, text): (Vec<&str>, Vec<&str>) =
            inside.filter(|line| !line.is_empty()).partition(|line| line.starts_with('{'));
        let text = text.into_iter().map(str::to_owned).collect();
        examples.push(Example { line: number + 1, entries: entries.join("\n"), text });
    }
    examples
}

/// What a reader wants to see: not the settings and not Tailwater's own tables.
fn is_about_the_data(line: &str) -> bool {
    !["SET ", "DO ", "CREATE OR REPLACE "].iter().any(|start| line.starts_with(start))
        && !line.contains("tailwater.")
        && line != "CREATE SCHEMA IF NOT EXISTS tailwater;"
}

/// Tables below one row lose theirs in no certain order.
fn with_deletes_in_order<'l>(lines: impl Iterator<Item = &'l str>) -> Vec<&'l str> {
    let mut lines: Vec<&str> = lines.collect();
    lines.chunk_by_mut(|a, b| [a, b].iter().all(|line| line.starts_with("DELETE "))).for_each(<[&str]>::sort_unstable);
    lines
}

#[test]
fn the_examples_of_the_oplog_hold() {
    let examples = examples();
    assert!(examples.len() >= 9, "{PAGE} has {} examples", examples.len());
    for Example { line, entries, text } in examples {
        let file = format!("{}/oplog_{line}_{}.json", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        fs::write(&file, entries).expect("a file");
        let ended = command(&["replay", &file, "--sql-out", "-"]);
        fs::remove_file(&file).expect("the file");
        assert_eq!(ended.code, Some(0), "{PAGE}:{line}: {}", ended.stderr);
        let written = with_deletes_in_order(ended.stdout.lines().filter(|line| is_about_the_data(line)));
        let text = with_deletes_in_order(text.iter().map(String::as_str));
        assert_eq!(written, text, "{PAGE}:{line}:\n{}", written.join("\n"));
    }
}
