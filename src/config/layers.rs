//! Where settings come from: the file, the environment, the flags, the later over the earlier.
//!
//! In: their texts. Out: one flat map `section.key` → value with its origin, and the `[[collection]]` entries. No key is
//! judged here, so that the reader can report all that is wrong at once, each with the place where it stands.

use std::collections::BTreeMap;
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::json;

/// The prefix of our environment variables.
const PREFIX: &str = "TAILWATER_";

/// Where a setting stands. The order is the order of errors.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// Nowhere: something is missing.
    Missing,
    /// In the file.
    File {
        /// Its name as it was given.
        file: String,
        /// Line, from 1.
        line: usize,
    },
    /// In the environment.
    Environment {
        /// The variable's name.
        variable: String,
    },
    /// On the command line.
    Flag {
        /// The flag.
        name: &'static str,
    },
}

/// A value as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Raw {
    /// A text; everything from the environment and from flags is one.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A list of texts.
    List(Vec<String>),
    /// A list of tables, as Extended JSON.
    Documents(String),
    /// A section with nothing in it.
    Empty,
    /// Any other value, by its type's name; of a boolean, its word.
    Other(&'static str),
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setting {
    /// The value.
    pub value: Raw,
    /// Where it stands.
    pub origin: Origin,
}

/// Settings by full key.
pub(super) type Settings = BTreeMap<String, Setting>;

/// A problem and where it stands.
pub(super) type Problem = (Origin, String);

/// All settings, merged.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// Outside `[[collection]]`.
    pub settings: Settings,
    /// One per `[[collection]]`, with its place.
    pub collections: Vec<(Origin, Settings)>,
    /// What could not even be read.
    pub problems: Vec<Problem>,
}

impl Layers {
    /// Adds the file, the lowest layer.
    pub fn file(&mut self, name: &str, text: &str) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let reader = FileReader { file: name, text };
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            // Only the message: the parser's full text quotes the line, which may hold a password.
            self.problems.push((reader.origin(at), error.message().to_owned()));
        }
        let mut table = table.into_inner();
        if let Some(key) = table.keys().find(|key| key.get_ref() == "collection").cloned()
            && let Some(value) = table.get(&key)
            && let Some(entries) = value.get_ref().as_array()
        {
            for entry in entries {
                let mut settings = Settings::new();
                reader.flatten("", entry, &mut settings);
                self.collections.push((reader.origin(entry.span().start), settings));
            }
            table.remove(&key);
        }
        for (key, value) in &table {
            reader.flatten(key.get_ref(), value, &mut self.settings);
        }
    }

    /// Adds the environment. Variables of another prefix are not ours.
    pub fn environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        for (variable, value) in variables {
            let Some(name) = variable.strip_prefix(PREFIX).filter(|name| !is_no_setting(name)) else { continue };
            let key = name.split("__").map(str::to_lowercase).collect::<Vec<_>>().join(".");
            self.put(&key, Setting { value: Raw::Text(value), origin: Origin::Environment { variable } });
        }
    }

    /// Adds a flag, the highest layer.
    pub fn flag(&mut self, name: &'static str, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.put(key, Setting { value: Raw::Text(value.to_owned()), origin: Origin::Flag { name } });
        }
    }

    /// A higher layer's `uri` also replaces a lower layer's `uri_file`, and the other way round: they are one setting.
    fn put(&mut self, key: &str, setting: Setting) {
        let other = match key.strip_suffix("_file") {
            Some(plain) => plain.to_owned(),
            None => format!("{key}_file"),
        };
        if self.settings.get(&other).is_some_and(|below| below.origin.layer() < setting.origin.layer()) {
            self.settings.remove(&other);
        }
        self.settings.insert(key.to_owned(), setting);
    }
}

/// Kubernetes puts `TAILWATER_SERVICE_HOST`, `TAILWATER_PORT`, `TAILWATER_PORT_9187_TCP`… into every pod beside a service
/// called `tailwater`. They are no settings; refusing them would keep the daemon from starting in its own cluster.
/// The scripts' own variables, too, may be set where the daemon runs.
fn is_no_setting(name: &str) -> bool {
    matches!(name, "PORT" | "CACHE" | "EXTERNAL" | "SERVERS_DIR" | "TEST_SEED")
        || ["PORT_", "SERVICE_HOST", "SERVICE_PORT"].iter().any(|start| name.starts_with(start))
}

/// The name of the variable that sets a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

struct FileReader<'a> {
    file: &'a str,
    text: &'a str,
}

impl FileReader<'_> {
    fn origin(&self, at: usize) -> Origin {
        let before = self.text.get(..at).unwrap_or(self.text);
        Origin::File { file: self.file.to_owned(), line: before.matches('\n').count() + 1 }
    }

    fn flatten(&self, key: &str, value: &Spanned<DeValue<'_>>, into: &mut Settings) {
        match value.get_ref().as_table() {
            Some(table) if !table.is_empty() => {
                for (name, value) in table {
                    let full = if key.is_empty() { name.to_string() } else { format!("{key}.{name}") };
                    self.flatten(&full, value, into);
                }
            }
            Some(_) | None => {
                let setting = Setting { value: raw(value.get_ref()), origin: self.origin(value.span().start) };
                into.insert(key.to_owned(), setting);
            }
        }
    }
}

fn raw(value: &DeValue<'_>) -> Raw {
    if let Some(text) = value.as_str() {
        return Raw::Text(text.to_owned());
    }
    if let Some(number) = value.as_integer() {
        return i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Raw::Other("too large a number"), Raw::Integer);
    }
    let texts = |list: &[Spanned<DeValue<'_>>]| -> Option<Vec<String>> {
        list.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect()
    };
    if value.is_table() {
        return Raw::Empty;
    }
    match value.as_array() {
        Some(list) if !list.is_empty() && list.iter().all(|item| item.get_ref().is_table()) => {
            Raw::Documents(json::of_list(list))
        }
        Some(list) => texts(list).map_or(Raw::Other("a list of something else than texts"), Raw::List),
        None => Raw::Other(value.as_bool().map_or(value.type_str(), |yes| if yes { "true" } else { "false" })),
    }
}

impl Origin {
    /// File, environment, flags: the higher wins.
    pub fn layer(&self) -> u8 {
        match self {
            Origin::Missing => 0,
            Origin::File { .. } => 1,
            Origin::Environment { .. } => 2,
            Origin::Flag { .. } => 3,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Missing => Ok(()),
            Origin::File { file, line } => write!(f, "{file}:{line}: "),
            Origin::Environment { variable } => write!(f, "{variable}: "),
            Origin::Flag { name } => write!(f, "{name}: "),
        }
    }
}
