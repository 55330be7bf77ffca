//! What happens to the daemon and to MongoDB while somebody looks.

use std::time::Duration;

use mongodb::bson::doc;

use crate::harness::case::Case;
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::servers::Servers;
use crate::harness::wait;
use crate::workload::random::Random;

/// After so many troubles the daemon is left in peace until it has caught up, so that what is looked at stays of today.
const PEACE_EVERY: usize = 4;

/// One of them.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    /// The daemon gets a SIGKILL and is started again.
    Kill,
    /// The daemon gets a SIGTERM and is started again.
    Terminate,
    /// MongoDB's primary gets a SIGKILL and comes back after the election.
    KillPrimary,
    /// MongoDB's primary hands over.
    StepDown,
}

/// Which of them come, one after the other, and whose servers they hit.
pub struct Troubles<'a> {
    kinds: Vec<Trouble>,
    servers: Option<&'a Servers>,
}

impl<'a> Troubles<'a> {
    /// `servers` are needed for what happens to MongoDB.
    pub fn new(kinds: &[Trouble], servers: Option<&'a Servers>) -> Self {
        Self { kinds: kinds.to_vec(), servers }
    }

    /// Lets some time pass, and then the trouble number `n` happen.
    pub async fn one_more(
        &self,
        case: &Case,
        config: &Config,
        daemon: Daemon,
        random: &mut Random,
        n: usize,
    ) -> Daemon {
        if n % PEACE_EVERY == PEACE_EVERY - 1 {
            case.settle().await;
        }
        wait::moment(Duration::from_millis(50 + random.next() % 1500)).await;
        match self.kinds[n % self.kinds.len()] {
            Trouble::Kill => daemon.kill9(),
            Trouble::Terminate => daemon.sigterm(),
            Trouble::KillPrimary => {
                self.kill_primary(case).await;
                return daemon;
            }
            Trouble::StepDown => {
                step_down(case).await;
                return daemon;
            }
        }
        case.start(config)
    }

    async fn kill_primary(&self, case: &Case) {
        let servers = self.servers.expect("servers of its own");
        servers.change("kill-mongo", &["primary"]);
        // By the next primary.
        case.settle().await;
        servers.change("start-mongo", &["all"]);
    }
}

async fn step_down(case: &Case) {
    let command = doc! {"replSetStepDown": 10, "secondaryCatchUpPeriodSecs": 5};
    // Refused when no secondary has caught up in time; the driver may lose the answer with its connection.
    if let Err(error) = case.mongo.database("admin").run_command(command).await {
        println!("stepping down: {error}");
    }
    case.settle().await;
}
