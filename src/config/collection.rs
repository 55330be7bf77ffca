//! Reads the `[[collection]]` entries.

use super::Open;
use super::columns;
use super::derived;
use super::keys::COLLECTION_KEYS;
use super::layers::{Origin, Raw, Settings};
use super::reader::{Choices, Reader, unknown_in_collection};
use crate::mapping::options::CollectionOptions;
use crate::model::namespace::Namespace;

/// Reads all entries; problems go to `reader`.
pub(super) fn read(reader: &mut Reader, entries: Vec<(Origin, Settings)>, open: Open<'_>) -> Vec<CollectionOptions> {
    let mut collections: Vec<CollectionOptions> = Vec::new();
    for (origin, settings) in entries {
        let Some(collection) = entry(reader, &origin, settings, open) else { continue };
        if collections.iter().any(|other| other.namespace == collection.namespace) {
            reader.wrong(origin, format!("collection {} is set twice", collection.namespace));
        } else {
            collections.push(collection);
        }
    }
    collections
}

fn entry(reader: &mut Reader, origin: &Origin, mut settings: Settings, open: Open<'_>) -> Option<CollectionOptions> {
    let namespace = text(reader, &mut settings, "namespace");
    let table = text(reader, &mut settings, "table");
    let objects = choice(reader, &mut settings, "objects", columns::OBJECTS);
    let arrays = choice(reader, &mut settings, "arrays", columns::ARRAYS);
    let on_type_conflict = choice(reader, &mut settings, "on_type_conflict", columns::ON_TYPE_CONFLICT);
    let derived = derived::read(reader, &mut settings, open);
    let mut paths = Vec::new();
    for (key, setting) in settings {
        match (key.strip_prefix("columns."), key.as_str(), &setting.value) {
            (Some(path), _, _) => paths.push((path.to_owned(), setting)),
            (None, "columns", Raw::Empty) => {}
            (None, "columns", _) => {
                reader.wrong(setting.origin, "collection.columns must be a table, one key for each path");
            }
            (None, _, _) => reader.wrong(setting.origin, unknown_in_collection(&key, &COLLECTION_KEYS)),
        }
    }
    let paths = columns::read(reader, paths);
    let namespace = match namespace {
        None => {
            reader.wrong(origin.clone(), "collection.namespace is missing");
            return None;
        }
        Some((text, origin)) => namespace_of(reader, &text, origin)?,
    };
    let (schema, table) = match table {
        None => (None, None),
        Some((text, origin)) => table_of(reader, &text, origin)?,
    };
    Some(CollectionOptions { namespace, schema, table, objects, arrays, on_type_conflict, paths, derived })
}

pub(super) fn text(reader: &mut Reader, settings: &mut Settings, key: &str) -> Option<(String, Origin)> {
    let setting = settings.remove(key)?;
    match setting.value {
        Raw::Text(text) => Some((text, setting.origin)),
        Raw::Integer(_) | Raw::List(_) | Raw::Documents(_) | Raw::Empty | Raw::Other(_) => {
            reader.wrong(setting.origin, format!("collection.{key} must be a text"));
            None
        }
    }
}

fn choice<T: Copy>(reader: &mut Reader, settings: &mut Settings, key: &str, choices: Choices<'_, T>) -> Option<T> {
    let (text, origin) = text(reader, settings, key)?;
    reader.pick(&format!("collection.{key}"), &text, origin, choices)
}

fn namespace_of(reader: &mut Reader, text: &str, origin: Origin) -> Option<Namespace> {
    let namespace = Namespace::parse(text);
    match &namespace {
        None => reader.wrong(origin, format!("collection.namespace = {text:?} must be database.collection")),
        Some(internal) if internal.is_internal() => {
            reader.wrong(origin, format!("collection.namespace = {text:?} is the server's own and never replicated"));
        }
        Some(_) => {}
    }
    namespace
}

fn table_of(reader: &mut Reader, text: &str, origin: Origin) -> Option<(Option<String>, Option<String>)> {
    let (schema, table) = match text.split_once('.') {
        Some((schema, table)) => (Some(schema.to_owned()), table),
        None => (None, text),
    };
    // PostgreSQL cuts longer names silently; tables of one's own choice are not renamed behind one's back.
    let fits = |name: &str| (1..=63).contains(&name.len()) && !name.contains('\0');
    let problem = if !fits(table) || !schema.as_deref().is_none_or(fits) {
        "must be table or schema.table, each of 1 to 63 bytes"
    } else if schema.as_deref() == Some("tailwater") {
        "must not lie in schema tailwater, which holds the daemon's catalog"
    } else {
        return Some((schema, Some(table.to_owned())));
    };
    reader.wrong(origin, format!("collection.table = {text:?} {problem}"));
    None
}
