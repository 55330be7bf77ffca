//! How far the first copy is, per collection and altogether. Pure: the time comes in.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use super::rate::{Rate, float};
use super::status::{CollectionStatus, SnapshotStatus};
use crate::model::namespace::Namespace;

/// Progress of all collections.
#[derive(Debug)]
pub(super) struct Progress {
    collections: BTreeMap<Namespace, Collection>,
    /// Documents copied by this process: the base of the rate. What earlier runs copied is not speed.
    copied: u64,
    rate: Rate,
}

#[derive(Debug)]
struct Collection {
    done: u64,
    total: u64,
    finished: bool,
    rate: Rate,
}

impl Progress {
    pub fn new(now: Duration) -> Self {
        Self { collections: BTreeMap::new(), copied: 0, rate: Rate::new(now, 0) }
    }

    /// A collection of `total` documents is going to be copied, from the beginning.
    pub fn started(&mut self, now: Duration, namespace: &Namespace, total: u64) {
        let collection = Collection { done: 0, total, finished: false, rate: Rate::new(now, 0) };
        self.collections.insert(namespace.clone(), collection);
    }

    /// `documents` of it were committed before this process started: done, but no speed.
    pub fn resumed(&mut self, now: Duration, namespace: &Namespace, documents: u64) {
        if let Some(collection) = self.collections.get_mut(namespace) {
            collection.done += documents;
            collection.rate = Rate::new(now, collection.done);
        }
    }

    /// `documents` more of it are committed.
    pub fn advanced(&mut self, now: Duration, namespace: &Namespace, documents: u64) {
        self.copied += documents;
        self.rate.observe(now, self.copied);
        if let Some(collection) = self.collections.get_mut(namespace) {
            collection.done += documents;
            collection.rate.observe(now, collection.done);
        }
    }

    /// All of it is committed. The total becomes what was found: the source only estimates it.
    pub fn finished(&mut self, namespace: &Namespace) {
        if let Some(collection) = self.collections.get_mut(namespace) {
            collection.finished = true;
            collection.total = collection.done;
        }
    }

    pub fn status(&self, now: Duration) -> SnapshotStatus {
        let documents_done = self.collections.values().map(|collection| collection.done).sum();
        let documents_total = self.collections.values().map(Collection::at_least).sum();
        let left: u64 = self.collections.values().map(Collection::left).sum();
        let mut open: Vec<_> = self.collections.iter().filter(|(_, collection)| !collection.finished).collect();
        let collections_left = open.len();
        open.sort_by_key(|(_, collection)| Reverse(collection.left()));
        let documents_per_second = self.rate.per_second(now, self.copied);
        SnapshotStatus {
            documents_done,
            documents_total,
            eta_seconds: eta(if collections_left == 0 { 0 } else { left }, documents_per_second),
            documents_per_second,
            collections: open
                .into_iter()
                .take(SnapshotStatus::COLLECTIONS)
                .map(|(namespace, collection)| collection.status(now, namespace))
                .collect(),
            collections_left,
        }
    }
}

impl Collection {
    fn at_least(&self) -> u64 {
        self.total.max(self.done)
    }

    fn left(&self) -> u64 {
        self.total.saturating_sub(self.done)
    }

    fn status(&self, now: Duration, namespace: &Namespace) -> CollectionStatus {
        let documents_per_second = self.rate.per_second(now, self.done);
        CollectionStatus {
            namespace: namespace.to_string(),
            documents_done: self.done,
            documents_total: self.at_least(),
            documents_per_second,
            eta_seconds: eta(self.left(), documents_per_second),
        }
    }
}

fn eta(left: u64, per_second: Option<f64>) -> Option<f64> {
    match per_second {
        _ if left == 0 => Some(0.0),
        Some(rate) if rate > 0.0 => Some(float(left) / rate),
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Progress;
    use crate::model::namespace::Namespace;
    use crate::telemetry::status::SnapshotStatus;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn totals_rate_and_time_left() {
        let (a, b) = (Namespace::new("d", "a"), Namespace::new("d", "b"));
        let mut progress = Progress::new(at(0));
        progress.started(at(0), &a, 1000);
        progress.started(at(0), &b, 3000);
        progress.advanced(at(10), &a, 500);
        progress.advanced(at(10), &b, 500);
        let status = progress.status(at(10));
        assert_eq!((status.documents_done, status.documents_total), (1000, 4000));
        assert_eq!((status.documents_per_second, status.eta_seconds), (Some(100.0), Some(30.0)));
        let names: Vec<_> = status.collections.iter().map(|c| c.namespace.as_str()).collect();
        assert_eq!(names, ["d.b", "d.a"], "the one with the most left first");
        assert_eq!(status.collections[1].eta_seconds, Some(10.0));
    }

    #[test]
    fn a_finished_collection_has_the_total_that_was_found() {
        let a = Namespace::new("d", "a");
        let mut progress = Progress::new(at(0));
        progress.started(at(0), &a, 1000);
        progress.advanced(at(5), &a, 900);
        assert_eq!(progress.status(at(5)).eta_seconds.map(|eta| eta > 0.0), Some(true));
        progress.finished(&a);
        let status = progress.status(at(5));
        assert_eq!((status.documents_done, status.documents_total, status.eta_seconds), (900, 900, Some(0.0)));
        assert!(status.collections.is_empty());
    }

    #[test]
    fn more_documents_than_estimated_never_show_more_than_all() {
        let a = Namespace::new("d", "a");
        let mut progress = Progress::new(at(0));
        progress.started(at(0), &a, 10);
        progress.advanced(at(5), &a, 25);
        let status = progress.status(at(5));
        assert_eq!((status.documents_done, status.documents_total), (25, 25));
    }

    #[test]
    fn a_collection_copied_again_starts_from_nothing() {
        let a = Namespace::new("d", "a");
        let mut progress = Progress::new(at(0));
        progress.started(at(0), &a, 10);
        progress.advanced(at(5), &a, 10);
        progress.finished(&a);
        progress.started(at(6), &a, 12);
        let status = progress.status(at(7));
        assert_eq!((status.documents_done, status.documents_total, status.collections_left), (0, 12, 1));
    }

    #[test]
    fn what_an_earlier_run_copied_is_done_but_no_speed() {
        let a = Namespace::new("d", "a");
        let mut progress = Progress::new(at(0));
        progress.started(at(0), &a, 2000);
        progress.resumed(at(0), &a, 1000);
        progress.advanced(at(10), &a, 500);
        let status = progress.status(at(10));
        assert_eq!((status.documents_done, status.documents_per_second), (1500, Some(50.0)));
        assert_eq!(status.collections[0].documents_per_second, Some(50.0));
        assert_eq!(status.eta_seconds, Some(10.0));
    }

    #[test]
    fn the_list_is_bounded() {
        let mut progress = Progress::new(at(0));
        for n in 0..500 {
            progress.started(at(0), &Namespace::new("d", &n.to_string()), n);
        }
        let status = progress.status(at(1));
        assert_eq!((status.collections.len(), status.collections_left), (SnapshotStatus::COLLECTIONS, 500));
    }
}
