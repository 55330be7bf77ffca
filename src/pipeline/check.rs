//! `tailwater check`: every precondition of `run`, looked at without changing anything.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::model::finding::{Finding, Verdict};
use crate::sink::target::Target;
use crate::source::{CollectionInfo, CollectionKind, Source};

/// An oplog shorter than this is worth a word: it has to reach back over every pause of the daemon.
const SHORT_OPLOG_SECONDS: u32 = 24 * 3600;

/// Looks at every precondition of `run` and changes nothing.
///
/// # Errors
/// Never today: what cannot be looked at is a finding.
pub async fn preflight(config: &Config) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    match Source::connect(&config.source).await {
        Ok(source) => check_source(config, &source, &mut findings).await,
        Err(error) => findings.push(fail("source", &error)),
    }
    match Target::connect(&config.target, &config.pipeline).await {
        Ok(target) => check_target(&target, &mut findings).await,
        Err(error) => findings.push(fail("target", &error)),
    }
    Ok(findings)
}

async fn check_source(config: &Config, source: &Source, findings: &mut Vec<Finding>) {
    match source.probe().await {
        Ok(probe) => {
            findings.push(pass("source", format!("MongoDB {}, {:?}", probe.version, probe.topology)));
            findings.push(pass("reader", probe.way.to_string()));
        }
        Err(error) => return findings.push(fail("source", &error)),
    }
    match source.collections().await {
        Ok(found) => check_selection(config, &found, findings),
        Err(error) => findings.push(fail("source collections", &error)),
    }
    match source.oplog_window().await {
        Ok(Some(window)) => {
            let seconds = window.last.seconds.saturating_sub(window.first.seconds);
            let detail = format!("reaches back {seconds} s");
            findings.push(if seconds < SHORT_OPLOG_SECONDS {
                warn("oplog", detail, "on a set that has run for long, enlarge it (replSetResizeOplog)")
            } else {
                pass("oplog", detail)
            });
        }
        Ok(None) => findings.push(warn("oplog", "may not be read".into(), "grant clusterMonitor to watch its window")),
        Err(error) => findings.push(fail("oplog", &error)),
    }
}

fn check_selection(config: &Config, found: &[CollectionInfo], findings: &mut Vec<Finding>) {
    let selected: Vec<&CollectionInfo> = found.iter().filter(|info| config.filter.selects(&info.namespace)).collect();
    let copied = selected.iter().filter(|info| info.kind == CollectionKind::Collection).count();
    let detail = format!("{copied} of {} collections", found.len());
    findings.push(if copied == 0 {
        warn("selection", detail, "check source.include and source.exclude; new collections are picked up as they come")
    } else {
        pass("selection", detail)
    });
    for info in selected.iter().filter(|info| info.kind != CollectionKind::Collection) {
        let detail = format!("{} is no plain collection ({:?})", info.namespace, info.kind);
        let named = config.collections.iter().any(|options| options.namespace == info.namespace);
        let fix = "it is not replicated; name what it is made from instead";
        let verdict = if named { Verdict::Fail } else { Verdict::Warn };
        findings.push(Finding { verdict, ..warn("selection", detail, fix) });
    }
}

async fn check_target(target: &Target, findings: &mut Vec<Finding>) {
    match target.rights().await {
        Ok(rights) => {
            findings.push(pass("target", format!("PostgreSQL {}", rights.version)));
            findings.push(if rights.may_create {
                pass("target rights", format!("{} may create schemas in {}", rights.user, rights.database))
            } else {
                let detail = format!("{} may not create schemas in {}", rights.user, rights.database);
                let fix = "GRANT CREATE ON DATABASE, or create the schemas and tailwater and make it their owner";
                Finding { verdict: Verdict::Fail, ..warn("target rights", detail, fix) }
            });
        }
        Err(error) => findings.push(fail("target", &error)),
    }
}

fn pass(subject: &str, detail: String) -> Finding {
    Finding { verdict: Verdict::Pass, subject: subject.into(), detail, fix: None }
}

fn warn(subject: &str, detail: String, fix: &str) -> Finding {
    Finding { verdict: Verdict::Warn, subject: subject.into(), detail, fix: Some(fix.into()) }
}

/// The error's own text names its remedy.
fn fail(subject: &str, error: &Error) -> Finding {
    Finding { verdict: Verdict::Fail, subject: subject.into(), detail: error.to_string(), fix: None }
}
