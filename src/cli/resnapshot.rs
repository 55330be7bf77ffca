//! `tailwater resnapshot`: asks for a collection to be copied once more.
//!
//! It talks to the target only: the wish is a row in `tailwater.recopies` that the daemon finds, so it is kept when no daemon
//! runs.

use std::process::ExitCode;

use super::{print, quarantine, run};
use crate::config::StatusConfig;
use crate::error::{Error, Kind, Result, Stage};

pub(super) fn resnapshot(config: &StatusConfig, namespace: &str) -> Result<ExitCode> {
    let daemon = run::runtime()?.block_on(async {
        let target = quarantine::connect(config).await?;
        if !target.ask_for_recopy(namespace).await? {
            let message = format!("pipeline {:?} has no collection {namespace}", config.pipeline);
            let remedy = "name one as database.collection, as in tailwater.collections; what was never copied is copied by \
                          itself once it is selected (source.include)";
            return Err(Error::new(Kind::Local, Stage::Snapshot, message).remedy(remedy));
        }
        target.has_leader().await
    })?;
    let who = if daemon { "the running daemon copies" } else { "no daemon runs; the next one copies" };
    print(&format!("{who} {namespace} again, over the rows that are there; see `tailwater status`\n"))?;
    Ok(ExitCode::SUCCESS)
}
