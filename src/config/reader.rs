//! Takes typed values out of the layers and collects everything that is wrong with them.
//!
//! Every method takes its key out; what is left at the end is unknown. A wrong value yields the default, so that reading
//! goes on and finds the next error; the caller throws the result away when there is any.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::keys::{KEYS, Key, nearest};
use super::layers::{Layers, Origin, Problem, Raw, Setting, Settings, variable};
use super::size;
use crate::model::secret::Secret;

/// What a key may be set to: a value, or `None` for a word of the contract that this version does not honour yet.
pub(super) type Choices<'a, T> = &'a [(&'a str, Option<T>)];

/// Reads settings and keeps the problems.
pub(super) struct Reader {
    settings: Settings,
    problems: Vec<Problem>,
}

impl Reader {
    /// A reader of everything outside `[[collection]]`, and the entries of `[[collection]]`.
    pub fn new(layers: Layers) -> (Self, Vec<(Origin, Settings)>) {
        (Self { settings: layers.settings, problems: layers.problems }, layers.collections)
    }

    /// Takes a key out as it was written.
    pub fn take(&mut self, key: &str) -> Option<Setting> {
        self.settings.remove(key)
    }

    /// Notes a problem.
    pub fn wrong(&mut self, origin: Origin, problem: impl Into<String>) {
        self.problems.push((origin, problem.into()));
    }

    /// A text.
    pub fn text(&mut self, key: &str) -> Option<(String, Origin)> {
        let setting = self.take(key)?;
        match setting.value {
            Raw::Text(text) => Some((text, setting.origin)),
            other @ (Raw::Integer(_) | Raw::List(_) | Raw::Documents(_) | Raw::Empty | Raw::Other(_)) => {
                self.wrong(setting.origin, format!("{key} must be a text, not {}", other.type_name()));
                None
            }
        }
    }

    /// One of several words.
    pub fn choice<T: Copy>(&mut self, key: &str, default: T, choices: Choices<'_, T>) -> T {
        let Some((text, origin)) = self.text(key) else { return default };
        self.pick(key, &text, origin, choices).unwrap_or(default)
    }

    /// The value of one of several words; `None`, and a problem, for any other.
    pub fn pick<T: Copy>(&mut self, key: &str, text: &str, origin: Origin, choices: Choices<'_, T>) -> Option<T> {
        match choices.iter().find(|(word, _)| *word == text) {
            Some((_, Some(value))) => return Some(*value),
            Some((_, None)) => self.wrong(origin, format!("{key} = {text:?} is not available in this version")),
            None => {
                let words: Vec<String> =
                    choices.iter().filter(|(_, value)| value.is_some()).map(|(word, _)| format!("{word:?}")).collect();
                self.wrong(origin, format!("{key} = {text:?} must be {}", words.join(" or ")));
            }
        }
        None
    }

    /// Yes or no.
    pub fn switch(&mut self, key: &str, default: bool) -> bool {
        let Some(setting) = self.take(key) else { return default };
        match &setting.value {
            Raw::Other("true") => true,
            Raw::Other("false") => false,
            Raw::Text(text) if text == "true" => true,
            Raw::Text(text) if text == "false" => false,
            Raw::Text(_) | Raw::Integer(_) | Raw::List(_) | Raw::Documents(_) | Raw::Empty | Raw::Other(_) => {
                self.wrong(setting.origin, format!("{key} must be true or false"));
                default
            }
        }
    }

    /// A whole number within bounds.
    pub fn number(&mut self, key: &str, default: usize, range: &RangeInclusive<usize>) -> usize {
        let Some(setting) = self.take(key) else { return default };
        let number = match &setting.value {
            Raw::Integer(number) => usize::try_from(*number).ok(),
            Raw::Text(text) => text.trim().parse().ok(),
            Raw::List(_) | Raw::Documents(_) | Raw::Empty | Raw::Other(_) => None,
        };
        match number.filter(|number| range.contains(number)) {
            Some(number) => number,
            None => {
                let bounds = match (*range.start(), *range.end()) {
                    (low, usize::MAX) => format!("of {low} or more"),
                    (low, high) => format!("from {low} to {high}"),
                };
                self.wrong(setting.origin, format!("{key} must be a whole number {bounds}"));
                default
            }
        }
    }

    /// A size in bytes.
    pub fn bytes(&mut self, key: &str, default: usize, least: (usize, &str)) -> usize {
        let Some(setting) = self.take(key) else { return default };
        self.size(key, setting, least, "").unwrap_or(default)
    }

    /// A size in bytes, or `""` for none.
    pub fn limit(&mut self, key: &str, least: (usize, &str)) -> Option<usize> {
        let setting = self.take(key)?;
        match &setting.value {
            Raw::Text(text) if text.is_empty() => None,
            Raw::Text(_) | Raw::Integer(_) | Raw::List(_) | Raw::Documents(_) | Raw::Empty | Raw::Other(_) => {
                self.size(key, setting, least, ", or \"\" for no limit")
            }
        }
    }

    fn size(&mut self, key: &str, setting: Setting, least: (usize, &str), or: &str) -> Option<usize> {
        let bytes = match &setting.value {
            Raw::Integer(number) => usize::try_from(*number).ok(),
            Raw::Text(text) => size::parse(text),
            Raw::List(_) | Raw::Documents(_) | Raw::Empty | Raw::Other(_) => None,
        };
        let size = bytes.filter(|bytes| *bytes >= least.0);
        if size.is_none() {
            let wanted = format!("{key} must be a size such as \"256MiB\" (KiB, MiB, GiB), at least {}{or}", least.1);
            self.wrong(setting.origin, wanted);
        }
        size
    }

    /// A list, in the environment comma separated, each item read by `parse`.
    pub fn list<T, E: Display>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, E>) -> Vec<T> {
        let Some(setting) = self.take(key) else { return Vec::new() };
        let items = match setting.value {
            Raw::List(items) => items,
            Raw::Text(text) => {
                text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
            }
            other @ (Raw::Integer(_) | Raw::Documents(_) | Raw::Empty | Raw::Other(_)) => {
                self.wrong(setting.origin, format!("{key} must be a list of texts, not {}", other.type_name()));
                return Vec::new();
            }
        };
        let mut parsed = Vec::new();
        for item in items {
            match parse(&item) {
                Ok(item) => parsed.push(item),
                Err(error) => self.wrong(setting.origin.clone(), format!("{key}: {error}")),
            }
        }
        parsed
    }

    /// A connection string: `key` itself or the file that `key_file` names. Its text never enters a message.
    pub fn uri(
        &mut self,
        key: &str,
        schemes: &[&str],
        open: &dyn Fn(&str) -> std::io::Result<String>,
    ) -> Option<Secret> {
        let file_key = format!("{key}_file");
        let (plain, file) = (self.text(key), self.text(&file_key));
        let (text, origin, key) = match (plain, file) {
            (Some(_), Some((_, origin))) => {
                self.wrong(origin, format!("{key} and {file_key} are both set; keep one"));
                return None;
            }
            (Some((text, origin)), None) => (text, origin, key),
            (None, Some((file, origin))) => match open(&file) {
                Ok(text) => (text, origin, file_key.as_str()),
                Err(error) => {
                    self.wrong(origin, format!("{file_key}: cannot read {file}: {error}"));
                    return None;
                }
            },
            (None, None) => return None,
        };
        let text = text.trim();
        if !schemes.iter().any(|scheme| text.starts_with(scheme)) {
            self.wrong(origin, format!("{key} must be a URI that starts with {}", schemes.join(" or ")));
        }
        Some(Secret::new(text))
    }

    /// Everything that is wrong, in the order of its places; what was not taken is unknown.
    pub fn finish(mut self) -> Vec<String> {
        for (key, setting) in std::mem::take(&mut self.settings) {
            if setting.value == Raw::Empty && is_section(&key) {
                continue;
            }
            let problem = unknown(&key, &setting.origin);
            self.wrong(setting.origin, problem);
        }
        self.problems.sort();
        self.problems.into_iter().map(|(origin, problem)| format!("{origin}{problem}")).collect()
    }
}

fn is_section(key: &str) -> bool {
    KEYS.iter().any(|known| known.name.split_once('.').is_some_and(|(section, _)| section == key))
}

/// Says that a key is unknown, and which one was probably meant.
fn unknown(key: &str, origin: &Origin) -> String {
    let in_environment = matches!(origin, Origin::Environment { .. });
    if key == "collection" || key.starts_with("collection.") {
        let place = if in_environment { "only in the file, " } else { "" };
        return format!("collections are set {place}one by one, each under [[collection]]");
    }
    if is_section(key) {
        return format!("{key} is a section, not a key; write [{key}] and its keys below");
    }
    let name = |key: &str| if in_environment { variable(key) } else { key.to_owned() };
    unknown_among(&name(key), nearest(key, &KEYS).map(name))
}

/// Says that a key of `[[collection]]` is unknown.
pub(super) fn unknown_in_collection(key: &str, known: &[Key]) -> String {
    unknown_among(&format!("collection.{key}"), nearest(key, known).map(str::to_owned))
}

fn unknown_among(name: &str, meant: Option<String>) -> String {
    match meant {
        Some(meant) => format!("unknown key {name}; did you mean {meant}?"),
        None => format!("unknown key {name}"),
    }
}

impl Raw {
    fn type_name(&self) -> &'static str {
        match self {
            Raw::Text(_) => "a text",
            Raw::Integer(_) => "a number",
            Raw::List(_) => "a list",
            Raw::Documents(_) => "a list of tables",
            Raw::Empty => "a section",
            Raw::Other(name) => name,
        }
    }
}
