//! `tailwater init`: a configuration file in which everything is written down and only the two URIs are set.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use super::{local, print};
use crate::config::{Arguments, COLLECTION_KEYS, KEYS, Key};
use crate::error::{Error, Kind, Result, Stage};

/// Where the file goes when no name is given.
const USUAL_FILE: &str = "tailwater.toml";
/// URIs that show the form; the file is of no use before they are replaced.
const EXAMPLE_SOURCE: &str = "mongodb://127.0.0.1:27017/?replicaSet=rs0";
const EXAMPLE_TARGET: &str = "postgres://tailwater@127.0.0.1/warehouse";

pub(super) fn init(arguments: &Arguments) -> Result<ExitCode> {
    let path = arguments.file.as_deref().unwrap_or(Path::new(USUAL_FILE));
    let source = arguments.source.as_deref().unwrap_or(EXAMPLE_SOURCE);
    let target = arguments.target.as_deref().unwrap_or(EXAMPLE_TARGET);
    let text = template(source, target);
    if path == Path::new("-") {
        print(&text)?;
    } else {
        write_new(path, &text)?;
        print(&format!("{} written; next: tailwater check -c {0}\n", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Only the owner may read it: it may hold passwords.
fn write_new(path: &Path, text: &str) -> Result<()> {
    let name = path.display();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        let remedy = "an existing file is left alone; name another with -c FILE, or - for standard output";
        Error::new(Kind::Local, Stage::Config, format!("cannot create {name}")).caused_by(error).remedy(remedy)
    })?;
    file.write_all(text.as_bytes()).map_err(local(format!("cannot write {name}")))
}

fn template(source: &str, target: &str) -> String {
    let mut text = String::from(
        "# Tailwater's configuration. What is commented out shows its default.\n\
         # Each key can also be set by the environment, e.g. TAILWATER_SOURCE__URI.\n\n",
    );
    let mut section = "";
    for key in &KEYS {
        let (in_section, name) = key.name.split_once('.').unwrap_or(("", key.name));
        if in_section != section {
            if in_section == "snapshot" {
                text.push_str(&collection_example());
            }
            section = in_section;
            text.push_str(&format!("\n[{section}]\n"));
        }
        let line = match key.name {
            "source.uri" => format!("{name} = {}", quoted(source)),
            "target.uri" => format!("{name} = {}", quoted(target)),
            _ if key.default.is_empty() => format!("# {name} = \"/run/secrets/{section}\""),
            _ => format!("# {name} = {}", key.default),
        };
        text.push_str(&commented(&line, key));
    }
    text
}

/// A TOML text. JSON's escapes are a subset of TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The line with its explanation beside it, or above it when both do not fit.
fn commented(line: &str, key: &Key) -> String {
    let beside = format!("{line:<36} # {}\n", key.help);
    if beside.chars().count() <= 110 { beside } else { format!("# {}:\n{line}\n", key.help) }
}

fn collection_example() -> String {
    let mut text = String::from("\n# [[collection]]                     # one for each collection that is to differ\n");
    for key in &COLLECTION_KEYS {
        let example = match key.name {
            "namespace" => r#""shop.orders""#,
            "table" => r#""sales.orders""#,
            "objects" => r#""flatten""#,
            "arrays" => r#""jsonb""#,
            "on_type_conflict" => r#""null""#,
            "pipeline" => r#"[{ "$group" = { _id = "$user", total = { "$sum" = "$price" } } }]"#,
            "ids_file" => r#""users.csv""#,
            "ids_field" => r#""user""#,
            _ => r#"{ "placed_at" = { type = "timestamptz" }, "notes" = { form = "jsonb" } }"#,
        };
        text.push_str(&commented(&format!("# {} = {example}", key.name), key));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::template;
    use crate::config::{Arguments, Config, KEYS};

    fn load(name: &str, text: &str) -> crate::error::Result<Config> {
        let path = std::env::temp_dir().join(format!("tailwater-init-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).expect("write");
        let config = Config::load(&Arguments { file: Some(path.clone()), ..Arguments::default() });
        std::fs::remove_file(path).expect("remove");
        config
    }

    #[test]
    fn what_init_writes_is_a_valid_configuration() {
        let config = load("plain", &template("mongodb://\"q\\uote\"/", "postgres://t/")).expect("valid");
        assert_eq!(config.source.uri.expose(), "mongodb://\"q\\uote\"/");
    }

    #[test]
    fn every_key_is_in_it_and_can_be_switched_on_as_it_stands() {
        let text = template("mongodb://s/", "postgres://t/");
        for key in KEYS {
            let name = key.name.rsplit('.').next().expect("name");
            assert!(text.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{name} ="))), "{name}");
        }
        let is_key =
            |line: &str| line.strip_prefix("# ").is_some_and(|rest| rest.contains(" = ") || rest.starts_with("[["));
        let switched_on: Vec<&str> = text
            .lines()
            // Files that are not there, and what needs one of them.
            .filter(|line| !["uri_file", "ids_file", "ids_field"].iter().any(|key| line.contains(&format!("{key} ="))))
            .map(|line| if is_key(line) { &line[2..] } else { line })
            .collect();
        let config = load("all", &switched_on.join("\n")).expect("valid");
        assert_eq!(config.collections[0].table.as_deref(), Some("orders"));
        assert!(config.collections[0].derived.is_some());
        assert!(switched_on.iter().all(|line| line.len() <= 120));
    }

    #[test]
    fn an_existing_file_is_left_alone() {
        let path = std::env::temp_dir().join(format!("tailwater-init-{}-exists.toml", std::process::id()));
        std::fs::write(&path, "mine").expect("write");
        let error = super::write_new(&path, "yours").expect_err("exists");
        assert_eq!(error.exit_status(), 1);
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "mine");
        std::fs::remove_file(path).expect("remove");
    }
}
