//! What the tree promises about its own shape: layers, sizes, headers, and things that must not be in it.
//!
//! Pure: it reads files that git knows or would add, starts nothing, and names every offence with its place.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The layers from the bottom up. A module may import from lower layers and from itself, never from its own layer.
const LAYERS: &[&[&str]] = &[
    &["model"],
    &["error"],
    &["mapping", "telemetry"],
    &["copying"],
    &["source", "router", "lane", "sink"],
    &["config"],
    &["pipeline", "verify", "cutover"],
    &["cli"],
];

/// Driver crates and the only folder that may name them.
const DRIVERS: &[(&str, &str)] =
    &[("mongodb", "source"), ("tokio_postgres", "sink"), ("deadpool_postgres", "sink"), ("postgres_types", "sink")];

const MAX_LINES: usize = 500;

/// The one file of the tests that may sleep: it awaits conditions.
const WAIT: &str = "tests/it/harness/wait.rs";

struct File {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file that is tracked, or would be after `git add`.
fn files() -> Vec<File> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let names: BTreeSet<String> = String::from_utf8(listed.stdout)
        .expect("file names are UTF-8")
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    assert!(names.contains("Cargo.toml"), "git lists nothing of this package");
    names
        .into_iter()
        .filter_map(|path| {
            let text = String::from_utf8(fs::read(root().join(&path)).ok()?).ok()?;
            Some(File { path, text })
        })
        .collect()
}

fn rust_files(below: &str) -> Vec<File> {
    files().into_iter().filter(|f| f.path.starts_with(below) && f.path.ends_with(".rs")).collect()
}

/// The lines with their numbers, comments cut off (a `//` inside a string is cut too: good enough for paths).
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(i, line)| (i + 1, line.split("//").next().unwrap_or_default()))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `needle` stands in `line` as a word of its own (its last character may be a colon).
fn words<'a>(line: &'a str, needle: &'a str) -> impl Iterator<Item = usize> + 'a {
    line.match_indices(needle).map(|(at, _)| at).filter(move |at| {
        let before = line.get(..*at).and_then(|s| s.chars().next_back());
        let after = line.get(at + needle.len()..).and_then(|s| s.chars().next());
        !before.is_some_and(is_word) && (needle.ends_with(':') || !after.is_some_and(is_word))
    })
}

fn report(offences: &[String]) {
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}

/// The module path of a source file: `src/sink/pool.rs` is `[sink, pool]`, `src/sink/mod.rs` is `[sink]`.
fn module_path(path: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = path.trim_start_matches("src/").trim_end_matches(".rs").split('/').collect();
    if parts.last() == Some(&"mod") {
        parts.pop();
    }
    parts
}

/// The names that follow a path prefix: one, or those of a `{…}` group (at its top level).
fn heads(rest: &str) -> Vec<String> {
    let Some(group) = rest.strip_prefix('{') else {
        return vec![rest.chars().take_while(|c| is_word(*c)).collect()];
    };
    let mut depth = 0;
    let mut start_of_item = true;
    let mut found = vec![String::new()];
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(String::new());
                start_of_item = true;
            }
            c if depth == 0 && start_of_item && is_word(c) => found.last_mut().expect("never empty").push(c),
            c if c.is_whitespace() => {}
            _ => start_of_item = false,
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// Every top-level module that a file names by `crate::…`, `tailwater::…` or enough `super::`, with the line.
fn imports(file: &File) -> Vec<(usize, String)> {
    let code_text: String = code(&file.text).map(|(_, line)| format!("{line}\n")).collect();
    let depth = module_path(&file.path).len();
    let inline_from = code_text.find("\nmod tests {").unwrap_or(code_text.len());
    let mut found = Vec::new();
    for (prefix, needed) in [("crate::", 0), ("tailwater::", 0), ("super::", depth)] {
        for at in words(&code_text, prefix) {
            let mut rest = code_text.get(at + prefix.len()..).unwrap_or_default();
            let mut supers = usize::from(needed > 0);
            while let Some(deeper) = rest.strip_prefix("super::").filter(|_| needed > 0) {
                rest = deeper;
                supers += 1;
            }
            let nested = usize::from(needed > 0 && at > inline_from);
            let follows_another = code_text.get(..at).is_some_and(|before| before.ends_with("super::"));
            if supers == needed + nested && !(needed > 0 && follows_another) {
                let line = code_text.get(..at).map_or(0, |before| before.matches('\n').count() + 1);
                found.extend(heads(rest).into_iter().map(|name| (line, name)));
            }
        }
    }
    found
}

#[test]
fn imports_only_go_down() {
    let layer = |module: &str| LAYERS.iter().position(|modules| modules.contains(&module));
    let mut offences = Vec::new();
    for file in rust_files("src/") {
        let Some(own) = module_path(&file.path).first().map(|m| (*m).to_owned()) else { continue };
        if own == "main" || own == "lib" {
            continue;
        }
        let Some(own_layer) = layer(&own) else {
            offences.push(format!("{}: give the module `{own}` a layer in tests/tidy.rs", file.path));
            continue;
        };
        for (line, name) in imports(&file) {
            // A name in no layer is an item of lib.rs or a macro, not a module of the flow.
            let Some(other) = layer(&name) else { continue };
            if name != own && other >= own_layer {
                offences.push(format!("{}:{line}: `{own}` must not import `{name}`", file.path));
            }
        }
    }
    report(&offences);
}

#[test]
fn the_layering_check_sees_every_form_of_import() {
    let seen = |path: &str, text: &str| {
        let file = File { path: path.into(), text: text.into() };
        imports(&file).into_iter().map(|(_, name)| name).collect::<Vec<_>>()
    };
    assert_eq!(seen("src/router.rs", "use crate::sink::Pool;"), ["sink"]);
    assert_eq!(seen("src/router.rs", "use crate::{error::{Error, Kind},\n    sink};"), ["error", "sink"]);
    assert_eq!(seen("src/router.rs", "fn f() { let x = super::sink::open(); }"), ["sink"]);
    assert_eq!(seen("src/sink/pool.rs", "use super::Settings; use super::super::source::Probe;"), ["source"]);
    assert_eq!(seen("src/sink/mod.rs", "use super::source::Probe;"), ["source"]);
    assert_eq!(seen("src/router.rs", "\nmod tests {\n    use super::sink;\n}"), Vec::<String>::new());
    assert_eq!(seen("src/router.rs", "/// See [`crate::sink`].\n// use crate::sink;"), Vec::<String>::new());
}

#[test]
fn drivers_stay_at_the_edge() {
    let mut offences = Vec::new();
    for file in rust_files("src/") {
        for (driver, folder) in DRIVERS {
            let allowed = module_path(&file.path).first() == Some(folder);
            for (line, text) in code(&file.text).filter(|_| !allowed) {
                // As a path only: `mongodb://` in a string is no import, and code() has cut it off anyway.
                if words(text, &format!("{driver}::")).next().is_some()
                    || words(text, &format!("use {driver}")).next().is_some()
                {
                    offences.push(format!("{}:{line}: `{driver}` belongs in src/{folder}", file.path));
                }
            }
        }
    }
    report(&offences);
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut offences = Vec::new();
    for file in files().iter().filter(|f| f.path.starts_with("src/") || f.path.starts_with("tests/")) {
        let lines = file.text.lines().count();
        if lines > MAX_LINES {
            offences.push(format!("{}: {lines} lines, at most {MAX_LINES}", file.path));
        }
        if file.path.ends_with(".rs") && !file.text.starts_with("//! ") {
            offences.push(format!("{}: the first line is not a `//!` header", file.path));
        }
    }
    report(&offences);
}

#[test]
fn nothing_is_left_for_later() {
    let needles = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("unimplemented", "!"), concat!("#[ig", "nore")];
    let mut offences = Vec::new();
    for file in files().iter().filter(|f| !f.path.ends_with(".lock")) {
        for (i, line) in file.text.lines().enumerate() {
            let rust = file.path.ends_with(".rs");
            let found = needles.iter().find(|n| words(line, n).next().is_some());
            if let Some(needle) = found {
                offences.push(format!("{}:{}: {needle}", file.path, i + 1));
            }
            if rust && words(line, concat!("todo", "!")).next().is_some() {
                offences.push(format!("{}:{}: an open end", file.path, i + 1));
            }
        }
    }
    report(&offences);
}

#[test]
fn tests_await_and_never_sleep() {
    let mut offences = Vec::new();
    for file in rust_files("tests/").iter().filter(|f| f.path != WAIT && f.path != "tests/tidy.rs") {
        for (line, text) in code(&file.text) {
            if words(text, "sleep").next().is_some() || words(text, "sleep_until").next().is_some() {
                offences.push(format!("{}:{line}: await a condition (harness::wait) instead of sleeping", file.path));
            }
        }
    }
    report(&offences);
}

/// A tree that names its author's machine or a registry's mirror works nowhere else.
#[test]
fn the_tree_names_no_registry_and_no_workplace() {
    let hosts = [
        concat!("registry.", "npmjs"),
        concat!("registry.", "yarnpkg"),
        concat!("://crates", ".io"),
        concat!("index.crates", ".io"),
        concat!("static.crates", ".io"),
        concat!("py", "pi.org"),
        concat!("proxy.", "golang.org"),
        concat!("deb.", "debian.org"),
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
    ];
    let mut offences = Vec::new();
    for file in files() {
        for (i, line) in file.text.lines().enumerate() {
            for host in hosts.iter().filter(|host| line.contains(*host)) {
                offences.push(format!("{}:{}: {host}", file.path, i + 1));
            }
        }
    }
    report(&offences);
}

#[test]
fn decisions_are_numbered_and_changes_are_logged() {
    let mut names: Vec<String> = fs::read_dir(root().join("docs/adr"))
        .expect("docs/adr exists")
        .map(|entry| entry.expect("a folder entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".md") && name != "README.md")
        .collect();
    names.sort();
    assert!(!names.is_empty(), "docs/adr holds no decision");
    for (i, name) in names.iter().enumerate() {
        assert!(name.starts_with(&format!("{:04}-", i + 1)), "{name}: expected number {:04}", i + 1);
        let text = fs::read_to_string(root().join("docs/adr").join(name)).expect("a readable decision");
        assert!(text.starts_with("# "), "{name} starts with its title");
        assert!(text.lines().count() <= 60, "{name} is longer than a page");
    }
    for required in ["CHANGELOG.md", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "LICENSE"] {
        assert!(Path::new(&root()).join(required).is_file(), "{required} is missing");
    }
}
