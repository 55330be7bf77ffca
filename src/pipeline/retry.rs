//! Documents in quarantine that somebody wants stored: read again, and sent the way of all changes.
//!
//! In: marks, as the coordinator finds them. Out: [`Operation::Retry`]s, between two changes of the stream. Such a document is
//! read as it was at the very cluster time that the stream has reached, so that what becomes visible with it is a state
//! that the source had (ADR 0012); and not before the stream has got to where the source was when the mark was found, so that what
//! somebody mended before he asked is in it.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::attempt::Session;
use crate::error::Result;
use crate::model::change::{Change, Operation};
use crate::model::namespace::CollectionId;
use crate::model::position::{ClusterTime, Position};
use crate::model::ticket::Through;
use crate::model::write_set::Marked;
use crate::router::Router;
use crate::sink::quarantine::{marked, settle_marks};
use crate::source::LookUp;

/// How long the stream may be held up at a time.
const TURN: Duration = Duration::from_millis(50);

/// How long to wait with documents that cannot be read at the stream's time, or whose database is further.
const PAUSE: Duration = Duration::from_secs(1);

/// Documents that are marked, and the source's time when that was seen.
type Found = (ClusterTime, Vec<Marked>);

/// Finds marks, on the coordinator's side.
pub struct Marks {
    found: mpsc::Sender<Found>,
    /// What was handed out, with the mark it had. The next attempt starts without.
    handed: HashMap<(CollectionId, String), String>,
}

/// Takes its turn between two batches of changes, on the reader's side.
pub struct Retries {
    found: mpsc::Receiver<Found>,
    queue: VecDeque<(ClusterTime, Marked)>,
    /// True once the marks were looked for.
    looked: bool,
    not_before: Option<Instant>,
}

/// Both sides.
pub fn channel() -> (Marks, Retries) {
    let (sender, found) = mpsc::channel(1);
    let retries = Retries { found, queue: VecDeque::new(), looked: false, not_before: None };
    (Marks { found: sender, handed: HashMap::new() }, retries)
}

impl Marks {
    /// Hands out what is marked and was not handed out yet; with the first call even nothing is told.
    ///
    /// # Errors
    /// When one of the servers fails.
    pub async fn find(&mut self, session: &Session<'_>) -> Result<()> {
        // The reader has not taken the last ones yet, or is gone.
        let Ok(place) = self.found.try_reserve() else { return Ok(()) };
        let (client, fence) = (session.leader.client(), session.leader.fence());
        let (all, vain) = marked(client, session.target.pipeline()).await?;
        if vain {
            let left = settle_marks(client, fence).await?;
            session.telemetry.quarantined(left);
        }
        let id = |marked: &Marked| (marked.collection, marked.id_key.clone());
        let fresh: Vec<Marked> = all.iter().filter(|m| self.handed.get(&id(m)) != Some(&m.asked)).cloned().collect();
        self.handed = all.into_iter().map(|marked| (id(&marked), marked.asked)).collect();
        let time = if fresh.is_empty() { ClusterTime::default() } else { session.source.operation_time().await? };
        place.send((time, fresh));
        Ok(())
    }
}

impl Retries {
    /// True when everything that was marked has been handed on, as far as it can be now.
    pub fn is_done(&self) -> bool {
        self.looked && (self.queue.is_empty() || self.not_before.is_some())
    }

    /// Reads what waits and hands it to its lane. Everything up to `at`, and nothing after it, must be routed, and `at` must
    /// be no place inside a source transaction.
    ///
    /// # Errors
    /// When the source fails, or an executor has ended.
    pub async fn turn(&mut self, session: &Session<'_>, router: &mut Router, at: &Through) -> Result<()> {
        while let Ok((time, found)) = self.found.try_recv() {
            self.queue.extend(found.into_iter().map(|marked| (time, marked)));
            self.looked = true;
        }
        if !self.queue.front().is_some_and(|(time, _)| at.covers(*time))
            || self.not_before.is_some_and(|not_before| Instant::now() < not_before)
        {
            return Ok(());
        }
        self.not_before = None;
        let end = Instant::now() + TURN;
        let mut later = Vec::new();
        while let Some((time, marked)) = self.queue.pop_front() {
            if !at.covers(time) || !again(session, router, &at.position, &marked).await? {
                later.push((time, marked));
            }
            if Instant::now() >= end {
                break;
            }
        }
        if !later.is_empty() {
            self.queue.extend(later);
            self.not_before = Some(Instant::now() + PAUSE);
        }
        Ok(())
    }
}

/// One document; false when it has to wait.
async fn again(session: &Session<'_>, router: &mut Router, at: &Position, marked: &Marked) -> Result<bool> {
    let Marked { collection, namespace, id_key, key, .. } = marked;
    let document = match session.source.look_up(namespace, *collection, key, at.cluster_time()).await? {
        LookUp::Found(document) => Some(document),
        LookUp::Missing => None,
        // Its drop comes through the stream and takes the quarantine along.
        LookUp::Gone => return Ok(true),
        LookUp::Later => return Ok(false),
    };
    router
        .retry(Change {
            position: at.clone(),
            namespace: namespace.clone(),
            collection: *collection,
            boundary: true,
            operation: Operation::Retry { id_key: id_key.clone(), key: key.clone(), document },
        })
        .await
}
