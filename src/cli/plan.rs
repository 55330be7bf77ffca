//! `tailwater plan`: the tables that `run` would make, as SQL with what looks risky as comments.

use std::collections::HashSet;
use std::process::ExitCode;

use super::{print, run};
use crate::config::Config;
use crate::error::Result;
use crate::pipeline::{self, CollectionPlan};
use crate::sink::sql::create_table_lines;

pub(super) fn plan(config: Config) -> Result<ExitCode> {
    let plans = run::runtime()?.block_on(pipeline::plan(&config))?;
    print(&script(&plans))?;
    Ok(ExitCode::SUCCESS)
}

fn script(plans: &[CollectionPlan]) -> String {
    let mut text = String::new();
    let mut schemas = HashSet::new();
    for plan in plans {
        text.push_str(&heading(plan));
        for risk in &plan.risks {
            text.push_str(&format!("-- risk: {}\n", comment(risk)));
        }
        for table in &plan.tables {
            if schemas.insert(table.schema.clone()) {
                text.push_str(&format!("CREATE SCHEMA {};\n", table.schema));
            }
            text.push_str(&create_table_lines(table));
            text.push_str(";\n");
        }
        text.push('\n');
    }
    let (tables, risks) = (plans.iter().map(|p| p.tables.len()).sum::<usize>(), plans.iter().map(|p| p.risks.len()));
    let risks: usize = risks.sum();
    text.push_str(&format!("-- {} collections, {tables} tables, {risks} risks; nothing was changed\n", plans.len()));
    text
}

fn heading(plan: &CollectionPlan) -> String {
    let name = comment(&plan.info.namespace.to_string());
    match (plan.size.documents, plan.sampled) {
        (_, 0) if plan.risks.is_empty() => format!("-- {name}: no documents yet; its tables come with the first\n"),
        (_, 0) => format!("-- {name}\n"),
        (documents, sampled) => {
            let mib = plan.size.bytes >> 20;
            format!("-- {name}: {documents} documents, {mib} MiB; from a sample of {sampled}\n")
        }
    }
}

/// A name may hold a line break, which would end the comment.
fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_stays_on_its_line() {
        assert_eq!(comment("a\nDROP TABLE b;\r"), "a\u{FFFD}DROP TABLE b;\u{FFFD}");
    }

    #[test]
    fn nothing_selected_is_said() {
        assert_eq!(script(&[]), "-- 0 collections, 0 tables, 0 risks; nothing was changed\n");
    }
}
