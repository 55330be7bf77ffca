//! Reads the `[[collection]]` entries.

use super::keys::COLLECTION_KEYS;
use super::layers::{Origin, Raw, Settings};
use super::reader::{Reader, unknown_in_collection};
use crate::mapping::options::CollectionOptions;
use crate::model::namespace::Namespace;

/// Keys of the contract that this version does not honour yet.
const NOT_YET: [&str; 4] = ["objects", "arrays", "on_type_conflict", "columns"];

/// Reads all entries; problems go to `reader`.
pub(super) fn read(reader: &mut Reader, entries: Vec<(Origin, Settings)>) -> Vec<CollectionOptions> {
    let mut collections: Vec<CollectionOptions> = Vec::new();
    for (origin, settings) in entries {
        let Some(collection) = entry(reader, &origin, settings) else { continue };
        if collections.iter().any(|other| other.namespace == collection.namespace) {
            reader.wrong(origin, format!("collection {} is set twice", collection.namespace));
        } else {
            collections.push(collection);
        }
    }
    collections
}

fn entry(reader: &mut Reader, origin: &Origin, mut settings: Settings) -> Option<CollectionOptions> {
    let mut text = |key: &str, reader: &mut Reader| {
        let setting = settings.remove(key)?;
        match setting.value {
            Raw::Text(text) => Some((text, setting.origin)),
            Raw::Integer(_) | Raw::List(_) | Raw::Empty | Raw::Other(_) => {
                reader.wrong(setting.origin, format!("collection.{key} must be a text"));
                None
            }
        }
    };
    let namespace = text("namespace", reader);
    let table = text("table", reader);
    let mut rest: Vec<_> = settings.into_iter().collect();
    rest.sort_by(|(_, a), (_, b)| a.origin.cmp(&b.origin));
    let mut refused = Vec::new();
    for (key, setting) in rest {
        match NOT_YET.iter().find(|known| key.split('.').next() == Some(**known)) {
            Some(known) if refused.contains(known) => {}
            Some(known) => {
                refused.push(known);
                reader.wrong(setting.origin, format!("collection.{known} is not available in this version"));
            }
            None => reader.wrong(setting.origin, unknown_in_collection(&key, &COLLECTION_KEYS)),
        }
    }
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
    Some(CollectionOptions { namespace, schema, table })
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
