//! `run --sql-out`: the text, run by `psql` in an empty database, ends with what MongoDB has.

mod diffs;
mod text;
mod values;

use std::path::{Path, PathBuf};

use crate::harness::case::Case;
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::psql;
use crate::harness::wait::LONG;

/// The configuration without a target.
pub fn without_target(case: &Case) -> Config {
    let mut config = case.config();
    config.remove("target.uri");
    config
}

/// Writes a text until it has caught up.
pub fn write_text(case: &Case, config: &Config, name: &str) -> PathBuf {
    let file = case.dir.join(name);
    let argument = file.to_str().expect("a plain name").to_owned();
    let mut daemon = Daemon::start(&case.dir, config, &["--until-caught-up", "--sql-out", &argument]);
    let status = daemon.end_within(LONG);
    assert_eq!(status.code(), Some(0), "{}", daemon.log_tail());
    file
}

/// Runs a text and compares.
pub async fn expect_equal_after(case: &Case, file: &Path) {
    psql::run(&case.postgres_uri, file).await;
    let report = case.compare().await;
    assert!(report.findings.is_empty(), "{report}\n{}", case.logs());
}
