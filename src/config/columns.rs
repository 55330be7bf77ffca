//! Reads `[collection.columns]`: options for single paths.
//!
//! A key is the path from the root, its names joined by dots, without array positions; `\.` is a dot and `\\` a backslash
//! inside a name. What contradicts itself is refused: it would be a setting that is silently ignored.

use std::collections::BTreeMap;

use super::layers::{Origin, Raw, Setting};
use super::reader::{Choices, Reader};
use crate::mapping::options::{NestedForm, OnTypeConflict, PathOptions};
use crate::model::table::PgType;

/// What a path may be set to, for messages.
const OPTIONS: &str = "type, form or on_type_conflict";

/// The words of `objects`.
pub(super) const OBJECTS: Choices<'_, NestedForm> =
    &[("table", Some(NestedForm::Table)), ("jsonb", Some(NestedForm::Jsonb)), ("flatten", Some(NestedForm::Flatten))];

/// The words of `arrays`.
pub(super) const ARRAYS: Choices<'_, NestedForm> =
    &[("table", Some(NestedForm::Table)), ("jsonb", Some(NestedForm::Jsonb))];

/// The words of `on_type_conflict`.
pub(super) const ON_TYPE_CONFLICT: Choices<'_, OnTypeConflict> = &[
    ("widen", Some(OnTypeConflict::Widen)),
    ("null", Some(OnTypeConflict::Null)),
    ("quarantine", Some(OnTypeConflict::Quarantine)),
];

/// Reads the settings below `columns`, their keys without that word; problems go to `reader`.
pub(super) fn read(reader: &mut Reader, settings: Vec<(String, Setting)>) -> Vec<PathOptions> {
    let mut paths: BTreeMap<String, (Origin, PathOptions)> = BTreeMap::new();
    for (key, setting) in settings {
        let origin = setting.origin.clone();
        let Some((text, option, value)) = split(reader, key, setting) else { continue };
        if !paths.contains_key(&text) {
            let Some(path) = parse(reader, &text, &origin) else { continue };
            paths.insert(text.clone(), (origin.clone(), PathOptions::new(path)));
        }
        if let Some((_, options)) = paths.get_mut(&text) {
            set(reader, &text, &option, &value, origin, options);
        }
    }
    for (text, (origin, options)) in &paths {
        if let Some(problem) = contradiction(options, paths.values().map(|(_, other)| other)) {
            reader.wrong(origin.clone(), format!("collection.columns.{text:?} {problem}"));
        }
    }
    paths.into_values().map(|(_, options)| options).collect()
}

/// The path, the option and its word.
fn split(reader: &mut Reader, key: String, setting: Setting) -> Option<(String, String, String)> {
    let (key, value) = match setting.value {
        Raw::Text(value) if key.contains('.') => (key, value),
        Raw::Text(_) | Raw::Empty => {
            let message = format!("collection.columns.{key:?} must be a table that sets {OPTIONS}");
            reader.wrong(setting.origin, message);
            return None;
        }
        Raw::Integer(_) | Raw::List(_) | Raw::Documents(_) | Raw::Other(_) => {
            reader.wrong(setting.origin, format!("collection.columns.{key} must be a text"));
            return None;
        }
    };
    let (path, option) = key.rsplit_once('.')?;
    if !["type", "form", "on_type_conflict"].contains(&option) {
        let message = format!("unknown key {option} of collection.columns.{path:?}; it may set {OPTIONS}");
        reader.wrong(setting.origin, message);
        return None;
    }
    Some((path.to_owned(), option.to_owned(), value))
}

fn set(reader: &mut Reader, path: &str, option: &str, value: &str, origin: Origin, options: &mut PathOptions) {
    let key = format!("collection.columns.{path:?}: {option}");
    match option {
        "type" => {
            let types = PgType::ALL.map(|ty| (ty.sql_name(), Some(ty)));
            options.ty = reader.pick(&key, value, origin, &types);
        }
        "form" => options.form = reader.pick(&key, value, origin, OBJECTS),
        _ => options.on_type_conflict = reader.pick(&key, value, origin, ON_TYPE_CONFLICT),
    }
}

fn parse(reader: &mut Reader, text: &str, origin: &Origin) -> Option<Vec<String>> {
    let mut path = vec![String::new()];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let letter = match letter {
            '.' => {
                path.push(String::new());
                continue;
            }
            '\\' => letters.next().filter(|escaped| matches!(escaped, '.' | '\\')),
            other => Some(other),
        };
        let Some(letter) = letter else {
            let message = format!("collection.columns.{text:?}: a backslash stands before a dot or a backslash only");
            reader.wrong(origin.clone(), message);
            return None;
        };
        path.last_mut()?.push(letter);
    }
    Some(path)
}

fn contradiction<'o>(options: &PathOptions, mut all: impl Iterator<Item = &'o PathOptions>) -> Option<String> {
    let form = options.form.and_then(|form| OBJECTS.iter().find(|(_, known)| *known == Some(form)));
    if options.path.first().is_some_and(|name| name == "_id") {
        return Some("cannot be set: the type of the key follows from the ids that the collection has".to_owned());
    }
    if let (Some(ty), Some((form, _))) = (options.ty, form)
        && (ty, *form) != (PgType::Jsonb, "jsonb")
    {
        return Some(format!("has type = \"{ty}\", one column, and form = {form:?}; keep one"));
    }
    let is_column = |other: &PathOptions| other.ty.is_some() || other.form == Some(NestedForm::Jsonb);
    let above = all.find(|other| {
        other.path.len() < options.path.len() && options.path.starts_with(&other.path) && is_column(other)
    })?;
    Some(format!("lies below {:?}, which is one column", above.path.join(".")))
}
