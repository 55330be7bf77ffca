//! `tailwater quarantine`: what is not stored, and asking for it again.
//!
//! Both talk to the target only: a request is a mark in `tailwater.quarantine` that the daemon finds, so it is kept when no
//! daemon runs. Of the documents' contents nothing is shown but the `_id`, by which they are named.

use std::collections::{BTreeMap, HashSet};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::{print, run};
use crate::config::StatusConfig;
use crate::error::{Error, Kind, Result, Stage};
use crate::mapping::json::{self, Flavour};
use crate::model::bson::Doc;
use crate::model::namespace::CollectionId;
use crate::sink::quarantine::{Listed, Selection};
use crate::sink::status::never_ran;
use crate::sink::target::Target;
use crate::telemetry::progress::count;

/// How often it is looked whether the daemon is done.
const POLL: Duration = Duration::from_millis(100);

/// Characters of an `_id` in the list for people; `--json` shows all.
const ID_SHOWN: usize = 40;

/// Documents that are named when they are still in quarantine.
const NAMED: usize = 20;

/// Exit status when nobody has taken the request yet.
const NOT_DONE_YET: u8 = 4;

pub(super) fn list(config: &StatusConfig, namespace: Option<String>, as_json: bool) -> Result<ExitCode> {
    let selection = Selection { namespace, ids: None };
    let listed = run::runtime()?.block_on(async { connect(config).await?.list_quarantine(&selection).await })?;
    print(&if as_json { document_list(&listed)? } else { table(&listed) })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn retry(
    config: &StatusConfig,
    namespace: Option<String>,
    id: Option<&str>,
    wait: Duration,
) -> Result<ExitCode> {
    let selection = Selection { namespace, ids: id.map(ids) };
    let outcome = run::runtime()?.block_on(ask(config, &selection, wait))?;
    print(&outcome.text(&config.pipeline))?;
    Ok(outcome.status(wait))
}

pub(super) async fn connect(config: &StatusConfig) -> Result<Target> {
    let Some(options) = &config.target else {
        let missing = Error::new(Kind::Configuration, Stage::Config, "target.uri is missing");
        return Err(missing.remedy("set it in the file or with --target URI"));
    };
    let target = Target::connect(options, &config.pipeline).await?;
    if target.has_catalog().await? { Ok(target) } else { Err(never_ran(&config.pipeline)) }
}

/// What became of a request.
#[derive(Debug, Default)]
struct Outcome {
    released: usize,
    /// Tried again and still not stored.
    kept: Vec<Listed>,
    /// Not tried yet.
    waiting: usize,
    /// Without an `_id` that can be read.
    nameless: usize,
    /// True when a daemon works on the pipeline.
    daemon: bool,
}

async fn ask(config: &StatusConfig, selection: &Selection, wait: Duration) -> Result<Outcome> {
    let target = connect(config).await?;
    let (asked, nameless): (Vec<Listed>, Vec<Listed>) =
        target.list_quarantine(selection).await?.into_iter().partition(|listed| !listed.id_key.is_empty());
    target.mark_quarantined(&asked).await?;
    let id = |listed: &Listed| (listed.collection, listed.id_key.clone());
    let wanted: HashSet<(CollectionId, String)> = asked.iter().map(id).collect();
    let end = Instant::now() + wait;
    loop {
        let daemon = target.has_leader().await?;
        let mut left = target.list_quarantine(selection).await?;
        left.retain(|listed| wanted.contains(&id(listed)));
        let released = wanted.len() - left.len();
        let (waiting, kept): (Vec<Listed>, Vec<Listed>) = left.into_iter().partition(|left| left.retry_at.is_some());
        if waiting.is_empty() || !daemon || Instant::now() >= end {
            return Ok(Outcome { released, kept, waiting: waiting.len(), nameless: nameless.len(), daemon });
        }
        tokio::time::sleep(POLL).await;
    }
}

impl Outcome {
    fn status(&self, wait: Duration) -> ExitCode {
        if !self.kept.is_empty() || self.nameless > 0 {
            return ExitCode::FAILURE;
        }
        // Who does not wait has asked for no more than the mark.
        if self.waiting > 0 && !wait.is_zero() { ExitCode::from(NOT_DONE_YET) } else { ExitCode::SUCCESS }
    }

    fn text(&self, pipeline: &str) -> String {
        let (kept, waiting, nameless) = (self.kept.len(), self.waiting, self.nameless);
        if self.released + kept + waiting + nameless == 0 {
            return "nothing of that is in quarantine\n".to_owned();
        }
        let mut text = format!("{} released, {kept} still in quarantine, {waiting} waiting\n", self.released);
        for listed in self.kept.iter().take(NAMED) {
            let (namespace, id) = (plain(&listed.namespace), shortened(&listed.document_id));
            text.push_str(&format!("  {namespace} {id}: {}\n", listed.reason));
        }
        if kept > NAMED {
            text.push_str(&format!("  and {} more; `tailwater quarantine list` shows all\n", kept - NAMED));
        }
        text.push_str(&hints(&self.kept));
        if waiting > 0 && !self.daemon {
            text.push_str(&format!("No daemon works on pipeline {pipeline:?}: the next one does it when it starts.\n"));
        } else if waiting > 0 {
            text.push_str(
                "The daemon does the rest when it gets there; `tailwater quarantine list` shows what is left.\n",
            );
        }
        if nameless > 0 {
            text.push_str(&format!("{nameless} cannot be looked up: {}\n", hint("no_id")));
        }
        text
    }
}

/// What an ID on the command line may mean, each as relaxed Extended JSON: the JSON value, the text, the ObjectId. An
/// id that nobody meant is tried again in vain, which does no harm.
fn ids(text: &str) -> Vec<String> {
    let mut values = vec![bson::Bson::String(text.to_owned())];
    values.extend(serde_json::from_str::<bson::Bson>(text).ok());
    values.extend(bson::oid::ObjectId::parse_str(text).ok().map(bson::Bson::ObjectId));
    values.into_iter().filter_map(relaxed).collect()
}

/// As the daemon writes `document_id`.
fn relaxed(value: bson::Bson) -> Option<String> {
    let bytes = bson::serialize_to_vec(&bson::doc! { "_id": value }).ok()?;
    let id = Doc::new(&bytes).ok()?.get("_id").ok()??;
    json::to_text(id, Flavour::Relaxed).ok()
}

fn document_list(listed: &[Listed]) -> Result<String> {
    let document = |listed: &Listed| {
        json!({
            "namespace": listed.namespace,
            "id": serde_json::from_str::<Json>(&listed.document_id).unwrap_or(Json::Null),
            "reason": listed.reason,
            "since": listed.since,
            "events": listed.events,
            "bytes": listed.bytes,
            "retry_requested_at": listed.retry_at,
        })
    };
    let all: Vec<Json> = listed.iter().map(document).collect();
    serde_json::to_string_pretty(&all).map(|text| text + "\n").map_err(|error| {
        Error::new(Kind::Defect, Stage::Config, "the quarantine cannot be written as JSON").caused_by(error)
    })
}

fn table(listed: &[Listed]) -> String {
    if listed.is_empty() {
        return "nothing is in quarantine\n".to_owned();
    }
    let header = ["namespace", "_id", "reason", "since", "events", "bytes"].map(str::to_owned);
    let rows = listed.iter().map(|listed| {
        let waiting = if listed.retry_at.is_some() { " (retry asked for)" } else { "" };
        [
            plain(&listed.namespace),
            shortened(&listed.document_id),
            format!("{}{waiting}", listed.reason),
            listed.since.clone(),
            count(listed.events),
            count(listed.bytes),
        ]
    });
    let rows: Vec<[String; 6]> = std::iter::once(header).chain(rows).collect();
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text + "\n" + &hints(listed)
}

/// What to do, a line for each reason.
fn hints(listed: &[Listed]) -> String {
    let reasons: BTreeMap<&str, &str> = listed.iter().map(|l| (l.reason.as_str(), hint(&l.reason))).collect();
    reasons.iter().map(|(reason, hint)| format!("{reason}: {hint}\n")).collect()
}

/// What to do about a reason, so that a retry can succeed.
fn hint(reason: &str) -> &'static str {
    match reason {
        "duplicate_field" => "in MongoDB, replace the document by one that has the field once; that alone releases it",
        "id_not_representable" => "insert it under an _id without U+0000 and with valid UTF-8, and delete this one",
        "type_conflict" | "cast_failed" => {
            "change the value, or the field's policy or type in the configuration and restart; then retry"
        }
        "ambiguous_name" => "nothing: the daemon reads the document again by itself within seconds",
        "array_too_long" => "shorten the array, then retry",
        "update_of_quarantined" => "retry: the document is read again as it is now",
        "malformed_bson" | "no_id" => {
            "the row holds what was read, and no _id to read it again by; save it and delete it"
        }
        defect if defect.starts_with("defect_") || defect == "unknown_diff" => {
            "a defect of Tailwater: please report it; a retry reads the whole document instead"
        }
        _ => "see section 5 of docs/mapping.md; change the document or the configuration, then retry",
    }
}

/// A name may hold anything.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

fn shortened(id: &str) -> String {
    let id = plain(id);
    if id.chars().count() <= ID_SHOWN { id } else { id.chars().take(ID_SHOWN - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(id: &str, reason: &str) -> Listed {
        Listed {
            collection: CollectionId([0; 16]),
            id_key: id.to_owned(),
            namespace: "school.students".to_owned(),
            document_id: id.to_owned(),
            reason: reason.to_owned(),
            since: "2026-01-02T03:04:05Z".to_owned(),
            events: 2,
            bytes: 1234,
            retry_at: None,
        }
    }

    #[test]
    fn an_id_is_what_it_looks_like() {
        assert_eq!(ids("s1"), [r#""s1""#]);
        assert_eq!(ids("5"), [r#""5""#, "5"]);
        assert_eq!(ids(r#"{"$numberLong": "5"}"#), [r#""{\"$numberLong\": \"5\"}""#, "5"]);
        assert_eq!(ids(r#""5""#), [r#""\"5\"""#, r#""5""#]);
        let hex = "65f0a1b2c3d4e5f601234567";
        assert_eq!(ids(hex), [format!("\"{hex}\""), format!("{{\"$oid\":\"{hex}\"}}")]);
    }

    #[test]
    fn a_list_for_people() {
        let text = table(&[listed("1", "duplicate_field"), listed(&format!("\"{}\"", "x".repeat(60)), "cast_failed")]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1],
            "school.students  1                                         duplicate_field  2026-01-02T03:04:05Z  2       1,234"
        );
        assert!(lines[2].contains("xxx…  cast_failed"), "{text}");
        assert!(lines[4].starts_with("cast_failed: "), "{text}");
        assert!(lines[5].starts_with("duplicate_field: in MongoDB"), "{text}");
        assert_eq!(table(&[]), "nothing is in quarantine\n");
    }

    #[test]
    fn the_exit_status_says_whether_it_is_done() {
        let (wait, none) = (Duration::from_secs(1), Duration::ZERO);
        let status = |outcome: &Outcome, wait| format!("{:?}", outcome.status(wait));
        let code = |n: u8| format!("{:?}", ExitCode::from(n));
        assert_eq!(status(&Outcome { released: 1, ..Outcome::default() }, wait), code(0));
        assert_eq!(status(&Outcome { waiting: 1, ..Outcome::default() }, wait), code(4));
        assert_eq!(status(&Outcome { waiting: 1, ..Outcome::default() }, none), code(0));
        let kept = Outcome { kept: vec![listed("1", "duplicate_field")], ..Outcome::default() };
        assert_eq!(status(&kept, wait), code(1));
    }
}
