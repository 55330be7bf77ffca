//! What the daemon knows about itself, and the [`Status`] made from it. Pure: the time comes in.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rate::Rate;
use super::snapshot::Progress;
use super::status::{DatabaseStatus, Status};
use crate::model::position::ClusterTime;
use crate::model::state::State;

/// The lag up to which a cutover may start: a few seconds of draining, which is what a cutover's downtime is made of.
const CUTOVER_LAG_SECONDS: f64 = 5.0;
/// How long the source may be silent before readiness is gone. An open stream answers every second even when idle.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// Everything that `/status` is made of.
#[derive(Debug)]
pub(super) struct Live {
    pub pipeline: String,
    pub state: State,
    pub snapshot: Progress,
    pub applied: u64,
    pub anomalies: u64,
    pub quarantined: u64,
    pub oplog_window: Option<f64>,
    applied_rate: Rate,
    databases: BTreeMap<String, Database>,
    server_time: Option<ClusterTime>,
    heard: Option<Duration>,
}

#[derive(Debug)]
struct Database {
    position: ClusterTime,
    consistent: bool,
}

impl Live {
    pub fn new(pipeline: &str, now: Duration) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            state: State::Starting,
            snapshot: Progress::new(now),
            applied: 0,
            anomalies: 0,
            quarantined: 0,
            oplog_window: None,
            applied_rate: Rate::new(now, 0),
            databases: BTreeMap::new(),
            server_time: None,
            heard: None,
        }
    }

    pub fn applied(&mut self, now: Duration, n: u64) {
        self.applied += n;
        self.applied_rate.observe(now, self.applied);
    }

    /// The source tells its time. It never goes back: answers of several members may cross.
    pub fn server_time(&mut self, now: Duration, time: ClusterTime) {
        self.server_time = self.server_time.max(Some(time));
        self.heard = Some(now);
    }

    pub fn database(&mut self, now: Duration, name: &str, position: ClusterTime, consistent: bool) {
        self.heard = Some(now);
        match self.databases.get_mut(name) {
            Some(database) => *database = Database { position, consistent },
            None => {
                self.databases.insert(name.to_owned(), Database { position, consistent });
            }
        }
    }

    pub fn database_gone(&mut self, name: &str) {
        self.databases.remove(name);
    }

    /// Time since the source was last heard of.
    pub fn silence(&self, now: Duration) -> Option<Duration> {
        self.heard.map(|heard| now.saturating_sub(heard))
    }

    /// Why it is not ready; `None` when it streams and is connected.
    pub fn unready(&self, now: Duration) -> Option<String> {
        match &self.state {
            State::Streaming => self
                .silence(now)
                .filter(|silence| *silence > SILENCE_LIMIT)
                .map(|silence| format!("no word from the source for {} s", silence.as_secs())),
            State::Starting
            | State::Snapshot
            | State::CatchingUp
            | State::Standby
            | State::Retrying { .. }
            | State::Halted { .. } => Some(match self.state.reason() {
                Some(reason) => format!("{}: {reason}", self.state.as_str()),
                None => self.state.as_str().to_owned(),
            }),
        }
    }

    pub fn status(&self, now: Duration) -> Status {
        let databases: Vec<_> =
            self.databases.iter().map(|(name, database)| self.database_status(name, database)).collect();
        let lag_seconds = self.lag(&databases);
        let streaming = self.state == State::Streaming;
        let can_cutover = streaming
            && lag_seconds.is_some_and(|lag| lag <= CUTOVER_LAG_SECONDS)
            && databases.iter().all(|database| database.consistent);
        Status {
            pipeline: self.pipeline.clone(),
            state: self.state.as_str().to_owned(),
            reason: self.state.reason(),
            lag_seconds,
            oplog_window_seconds: self.oplog_window,
            changes_applied: self.applied,
            changes_per_second: self.applied_rate.per_second(now, self.applied),
            anomalies: self.anomalies,
            quarantined: self.quarantined,
            snapshot: self.snapshot.status(now),
            databases,
            can_cutover,
            uptime_seconds: Some(now.as_secs_f64()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn database_status(&self, name: &str, database: &Database) -> DatabaseStatus {
        // A position may be ahead of the last time the source told: applying it was faster than asking again.
        let lag = |time: ClusterTime| f64::from(time.seconds.saturating_sub(database.position.seconds));
        DatabaseStatus {
            name: name.to_owned(),
            consistent: database.consistent,
            lag_seconds: self.server_time.map(lag),
            position: database.position.to_string(),
        }
    }

    /// The lag of the database furthest behind. A source without databases is never behind.
    fn lag(&self, databases: &[DatabaseStatus]) -> Option<f64> {
        match databases {
            [] => (self.state == State::Streaming).then_some(0.0),
            some => some.iter().filter_map(|database| database.lag_seconds).reduce(f64::max),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Live, State};
    use crate::model::position::ClusterTime;

    const NOW: Duration = Duration::from_secs(10);

    fn time(seconds: u32) -> ClusterTime {
        ClusterTime { seconds, ordinal: 1 }
    }

    fn streaming() -> Live {
        let mut live = Live::new("p", Duration::ZERO);
        live.state = State::Streaming;
        live.server_time(NOW, time(100));
        live.database(NOW, "a", time(100), true);
        live
    }

    #[test]
    fn lag_is_that_of_the_database_furthest_behind() {
        let mut live = streaming();
        live.database(NOW, "b", time(70), true);
        let status = live.status(NOW);
        assert_eq!(status.lag_seconds, Some(30.0));
        assert_eq!(status.databases[0].lag_seconds, Some(0.0));
        assert_eq!(status.databases[1].position, "70:1");
        assert!(!status.can_cutover, "30 s of lag");
    }

    #[test]
    fn lag_is_never_negative_and_the_source_never_goes_back() {
        let mut live = streaming();
        live.database(NOW, "a", time(103), true);
        assert_eq!(live.status(NOW).lag_seconds, Some(0.0));
        live.server_time(NOW, time(120));
        live.server_time(NOW, time(90));
        assert_eq!(live.status(NOW).lag_seconds, Some(17.0));
    }

    #[test]
    fn nothing_is_claimed_before_it_is_known() {
        let mut live = Live::new("p", Duration::ZERO);
        assert_eq!(live.status(NOW).lag_seconds, None);
        live.database(NOW, "a", time(1), false);
        assert_eq!(live.status(NOW).lag_seconds, None, "the source has not told its time");
    }

    #[test]
    fn a_cutover_needs_streaming_and_consistency() {
        let mut live = streaming();
        assert!(live.status(NOW).can_cutover);
        live.database(NOW, "b", time(100), false);
        assert!(!live.status(NOW).can_cutover, "b is not consistent");
        live.database_gone("b");
        assert!(live.status(NOW).can_cutover);
        live.state = State::CatchingUp;
        assert!(!live.status(NOW).can_cutover);
    }

    #[test]
    fn ready_only_while_streaming_and_connected() {
        let mut live = streaming();
        assert_eq!(live.unready(NOW), None);
        assert_eq!(live.unready(NOW + Duration::from_secs(60)), None);
        let reason = live.unready(NOW + Duration::from_secs(61)).expect("silent");
        assert!(reason.contains("61 s"), "{reason}");
        live.state = State::Retrying { stage: "sink", message: "connection refused".to_owned() };
        assert_eq!(live.unready(NOW).as_deref(), Some("retrying: sink: connection refused"));
        live.state = State::Snapshot;
        assert_eq!(live.unready(NOW).as_deref(), Some("snapshot"));
    }
}
