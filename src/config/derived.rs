//! Reads what a collection's table is made of when it is not its documents: `pipeline`, `ids_file` and `ids_field`.
//!
//! Stages are a list of tables, or a text of Extended JSON; both keep the order of their fields. Ids are the first column
//! of a CSV file.

use std::borrow::Cow;

use super::Open;
use super::collection::text;
use super::layers::{Origin, Raw, Setting, Settings};
use super::reader::Reader;
use crate::mapping::options::{Derived, Ids, Listed};
use crate::model::bson::Document;
use crate::source::oplog::file::extended_json;

/// The field that has the id when none is named.
const USUAL_FIELD: &str = "_id";

/// How a list of stages is written, for messages.
const EXAMPLE: &str = r#"[{ "$match" = { … } }, …] or the same as a text of Extended JSON"#;

/// Takes the three keys; problems go to `reader`.
pub(super) fn read(reader: &mut Reader, settings: &mut Settings, open: Open<'_>) -> Option<Derived> {
    let pipeline = settings.remove("pipeline");
    refuse_a_single_stage(reader, settings);
    let file = text(reader, settings, "ids_file");
    let field = text(reader, settings, "ids_field");
    if let (None, Some((_, origin))) = (&file, &field) {
        reader.wrong(origin.clone(), "collection.ids_field is set without collection.ids_file, which lists the ids");
    }
    if pipeline.is_none() && file.is_none() {
        return None;
    }
    let stages = pipeline.map(|setting| stages(reader, setting)).unwrap_or_default();
    let ids = file.and_then(|(name, origin)| {
        let (field, field_origin) = field.unwrap_or_else(|| (USUAL_FIELD.to_owned(), origin.clone()));
        ids(reader, (&name, origin), (&field, field_origin), open)
    });
    Some(Derived { pipeline: stages, ids })
}

/// `pipeline = { "$match" = … }`, a stage where a list of them belongs.
fn refuse_a_single_stage(reader: &mut Reader, settings: &mut Settings) {
    let below: Vec<String> = settings.keys().filter(|key| key.starts_with("pipeline.")).cloned().collect();
    let mut settings = below.iter().filter_map(|key| settings.remove(key));
    if let Some(setting) = settings.next() {
        reader.wrong(setting.origin, format!("collection.pipeline must be a list of stages, {EXAMPLE}"));
    }
    settings.for_each(drop);
}

fn stages(reader: &mut Reader, setting: Setting) -> Vec<Document> {
    let origin = setting.origin;
    let text = match setting.value {
        Raw::Text(text) | Raw::Documents(text) => text,
        Raw::List(list) if list.is_empty() => "[]".to_owned(),
        Raw::Integer(_) | Raw::List(_) | Raw::Empty | Raw::Other(_) => {
            reader.wrong(origin, format!("collection.pipeline must be a list of stages, {EXAMPLE}"));
            return Vec::new();
        }
    };
    let stages = match extended_json::documents(text.as_bytes()) {
        Ok(stages) => stages,
        Err(error) => {
            reader.wrong(origin, format!("collection.pipeline must be a list of stages, {EXAMPLE}: {error}"));
            return Vec::new();
        }
    };
    for (i, stage) in stages.iter().enumerate() {
        if let Some(problem) = problem_of(stage) {
            reader.wrong(origin.clone(), format!("collection.pipeline: stage {} {problem}", i + 1));
        }
    }
    stages
}

/// Why a document is no stage for us.
fn problem_of(stage: &Document) -> Option<String> {
    let mut names = stage.as_doc().elements().map_while(Result::ok).map(|(name, _)| String::from_utf8_lossy(name));
    match (names.next().as_deref(), names.next()) {
        (Some(name @ ("$out" | "$merge")), None) => {
            Some(format!("is {name}, which writes into MongoDB; leave it out, the results go into the table"))
        }
        (Some(name), None) if name.starts_with('$') => None,
        _ => Some(r#"must have one field, the stage's name, as in { "$match" = { … } }"#.to_owned()),
    }
}

fn ids(
    reader: &mut Reader,
    (file, file_origin): (&str, Origin),
    (field, field_origin): (&str, Origin),
    open: Open<'_>,
) -> Option<Ids> {
    let wrong = |reader: &mut Reader, problem: String| {
        reader.wrong(file_origin.clone(), format!("collection.ids_file: {problem}"));
        None
    };
    let text = match open(file) {
        Ok(text) => text,
        Err(error) => {
            let remedy = "it must name a CSV file whose first column has the ids";
            return wrong(reader, format!("cannot read {file}: {error}; {remedy}"));
        }
    };
    let listed = match first_column(&text, field) {
        Ok(listed) => listed,
        Err((line, problem)) => return wrong(reader, format!("{file}:{line}: {problem}")),
    };
    match Ids::new(field, listed) {
        Ok(ids) if ids.is_empty() => wrong(reader, format!("{file} lists no id; write one on each line")),
        Ok(ids) => Some(ids),
        Err(problem) => {
            reader.wrong(field_origin, format!("collection.ids_field = {field:?} {problem}"));
            None
        }
    }
}

/// The first column of each line that has one, a heading apart. Columns are parted by commas; a quoted one may hold commas,
/// line breaks, and quotes written twice (RFC 4180).
fn first_column<'t>(text: &'t str, heading: &str) -> Result<Vec<Listed<'t>>, (usize, &'static str)> {
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let line_of = |rest: &str| {
        let read = text.len() - rest.len();
        text.get(..read).unwrap_or(text).matches('\n').count() + 1
    };
    let mut ids = Vec::new();
    let mut is_first = true;
    while !rest.is_empty() {
        let line = line_of(rest);
        let mut first = None;
        loop {
            let (column, after) = column(rest).map_err(|problem| (line, problem))?;
            first.get_or_insert(column);
            match after.strip_prefix(',') {
                Some(next) => rest = next,
                None => {
                    rest = after.strip_prefix("\r\n").or(after.strip_prefix('\n')).unwrap_or(after);
                    break;
                }
            }
        }
        let Some(id) = first.filter(|id| id.quoted || !id.text.is_empty()) else { continue };
        if !(is_first && id.text == heading) {
            ids.push(id);
        }
        is_first = false;
    }
    Ok(ids)
}

/// The next column, and the text from the comma or the line's end on.
fn column(text: &str) -> Result<(Listed<'_>, &str), &'static str> {
    let start = text.trim_start_matches([' ', '\t']);
    let Some(mut rest) = start.strip_prefix('"') else {
        let end = text.find([',', '\n']).unwrap_or(text.len());
        let (column, after) = text.split_at(end);
        return Ok((Listed { text: column.trim().into(), quoted: false }, after));
    };
    let mut text = Cow::Borrowed("");
    loop {
        let (part, after) = rest.split_once('"').ok_or("a quote is not closed")?;
        if text.is_empty() {
            text = part.into()
        } else {
            text.to_mut().push_str(part)
        }
        match after.strip_prefix('"') {
            Some(more) => {
                text.to_mut().push('"');
                rest = more;
            }
            None => {
                let after = after.trim_start_matches([' ', '\t']);
                let ends = after.is_empty() || [",", "\n", "\r\n"].iter().any(|end| after.starts_with(end));
                return if ends {
                    Ok((Listed { text, quoted: true }, after))
                } else {
                    Err("text follows a closing quote")
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::first_column;

    fn read(text: &str) -> Vec<(String, bool)> {
        let listed = first_column(text, "user").expect("CSV");
        listed.into_iter().map(|id| (id.text.into_owned(), id.quoted)).collect()
    }

    #[test]
    fn the_first_column_is_read() {
        let plain = |text: &str| (text.to_owned(), false);
        let quoted = |text: &str| (text.to_owned(), true);
        assert_eq!(read("a\nb\n"), [plain("a"), plain("b")]);
        assert_eq!(read("user\n a ,x\r\n\r\n\n17,\"y\n,z\"\r\nuser"), [plain("a"), plain("17"), plain("user")]);
        assert_eq!(read("\u{feff}\"user\",name\n\"\"\n\"17\" , 2\n"), [quoted(""), quoted("17")]);
        assert_eq!(
            read("\"a,b\"\n\"say \"\"a\"\"\"\n\"\"\"\"\n\"two\nlines\""),
            [quoted("a,b"), quoted("say \"a\""), quoted("\""), quoted("two\nlines")]
        );
        assert_eq!(read("a\"b\n,x\nid\n"), [plain("a\"b"), plain("id")]);
        assert_eq!(read(""), []);
    }

    #[test]
    fn what_is_no_csv_is_named_by_its_line() {
        assert_eq!(first_column("a\n\"b\n", "user"), Err((2, "a quote is not closed")));
        assert_eq!(first_column("\"a\n\nb\"\n\"c\"d", "user"), Err((4, "text follows a closing quote")));
    }
}
