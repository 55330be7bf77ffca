//! `tailwater check`: every precondition, one line each.

use std::process::ExitCode;

use super::{print, run};
use crate::config::Config;
use crate::error::Result;
use crate::model::finding::{Finding, Verdict};
use crate::pipeline;

pub(super) fn check(config: Config) -> Result<ExitCode> {
    let findings = run::runtime()?.block_on(pipeline::preflight(&config))?;
    print(&screen(&findings))?;
    let failed = findings.iter().any(|finding| finding.verdict == Verdict::Fail);
    Ok(ExitCode::from(u8::from(failed)))
}

fn screen(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        text.push_str(&format!("{}  {}: {}\n", finding.verdict.as_str(), finding.subject, finding.detail));
        if let Some(fix) = &finding.fix {
            text.push_str(&format!("      fix: {fix}\n"));
        }
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (warned, failed) = (count(Verdict::Warn), count(Verdict::Fail));
    text.push_str(&match (warned, failed) {
        (0, 0) => "ready to run\n".to_owned(),
        (_, 0) => format!("ready to run, {warned} to look at\n"),
        (_, _) => format!("not ready: {failed} to fix, {warned} to look at\n"),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::screen;
    use crate::model::finding::{Finding, Verdict};

    #[test]
    fn a_line_each_with_the_fix() {
        let finding = |verdict, fix: Option<&str>| Finding {
            verdict,
            subject: "source version".to_owned(),
            detail: "8.2.0".to_owned(),
            fix: fix.map(str::to_owned),
        };
        assert_eq!(screen(&[finding(Verdict::Pass, None)]), "pass  source version: 8.2.0\nready to run\n");
        let text = screen(&[finding(Verdict::Warn, None), finding(Verdict::Fail, Some("upgrade"))]);
        let expected = "warn  source version: 8.2.0\nfail  source version: 8.2.0\n      fix: upgrade\n\
            not ready: 1 to fix, 1 to look at\n";
        assert_eq!(text, expected);
    }
}
