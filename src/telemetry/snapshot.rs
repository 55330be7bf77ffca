//! How far the first copy is, per collection and altogether, in documents and in bytes. Pure: the time comes in.
//!
//! The time left is made of bytes: documents of one collection may differ by a factor of a million, and the largest may
//! come last. The source only estimates its sizes, so a total is never less than what is done, and is what was found
//! once a collection is finished.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use super::rate::{Rate, float};
use super::status::{CollectionStatus, SnapshotStatus};
use crate::model::namespace::Namespace;

/// A collection that waits longer than this for its first commit had to wait for its turn.
const TURN: Duration = Duration::from_secs(60);

/// Progress of all collections.
#[derive(Debug)]
pub(super) struct Progress {
    collections: BTreeMap<Namespace, Collection>,
    /// What this process has copied: the base of the rates. What earlier runs copied is not speed.
    documents: Counted,
    bytes: Counted,
}

/// A number that grows, and how fast.
#[derive(Debug)]
struct Counted {
    n: u64,
    rate: Rate,
}

impl Counted {
    fn new(now: Duration, n: u64) -> Self {
        Self { n, rate: Rate::of_steps(now, n) }
    }

    fn add(&mut self, now: Duration, n: u64) {
        self.n += n;
        self.rate.observe(now, self.n);
    }

    fn per_second(&self, now: Duration) -> Option<f64> {
        self.rate.per_second(now, self.n)
    }
}

/// One collection's documents, or their bytes.
#[derive(Debug)]
struct Part {
    done: Counted,
    expected: u64,
}

impl Part {
    fn new(now: Duration, expected: u64) -> Self {
        Self { done: Counted::new(now, 0), expected }
    }

    fn total(&self) -> u64 {
        self.expected.max(self.done.n)
    }

    fn left(&self) -> u64 {
        self.expected.saturating_sub(self.done.n)
    }
}

/// What is left to copy, in bytes.
#[derive(Debug, Clone, Copy)]
enum Left {
    Known(u64),
    /// The source's estimate is used up, and the end is not reached.
    Little,
    /// The source gave no estimate.
    Unknown,
}

#[derive(Debug)]
struct Collection {
    documents: Part,
    bytes: Part,
    finished: bool,
    started: Duration,
    /// True once this process has copied some of it.
    begun: bool,
}

impl Progress {
    pub fn new(now: Duration) -> Self {
        let none = || Counted::new(now, 0);
        Self { collections: BTreeMap::new(), documents: none(), bytes: none() }
    }

    /// A collection of about so many documents and bytes is going to be copied, from the beginning.
    pub fn started(&mut self, now: Duration, namespace: &Namespace, documents: u64, bytes: u64) {
        let (documents, bytes) = (Part::new(now, documents), Part::new(now, bytes));
        let collection = Collection { documents, bytes, finished: false, started: now, begun: false };
        let again = self.collections.insert(namespace.clone(), collection);
        // After a pause, between two copies or two attempts, what was before it tells nothing.
        let interrupted = again.is_some_and(|before| !before.finished);
        if interrupted || self.open().count() == 1 {
            self.documents = Counted::new(now, self.documents.n);
            self.bytes = Counted::new(now, self.bytes.n);
        }
    }

    /// So much of it was committed before this process started: done, but no speed.
    pub fn resumed(&mut self, now: Duration, namespace: &Namespace, documents: u64, bytes: u64) {
        if let Some(collection) = self.collections.get_mut(namespace) {
            for (part, n) in [(&mut collection.documents, documents), (&mut collection.bytes, bytes)] {
                part.done = Counted::new(now, part.done.n + n);
            }
        }
    }

    /// So much more of it is committed.
    pub fn advanced(&mut self, now: Duration, namespace: &Namespace, documents: u64, bytes: u64) {
        self.documents.add(now, documents);
        self.bytes.add(now, bytes);
        if let Some(collection) = self.collections.get_mut(namespace) {
            collection.advanced(now, documents, bytes);
        }
    }

    /// All of it is committed. The totals become what was found: the source only estimates them.
    pub fn finished(&mut self, namespace: &Namespace) {
        if let Some(collection) = self.collections.get_mut(namespace) {
            collection.finished = true;
            for part in [&mut collection.documents, &mut collection.bytes] {
                part.expected = part.done.n;
            }
        }
    }

    /// It is not copied any more: dropped, or renamed out of the selection.
    pub fn gone(&mut self, namespace: &Namespace) {
        self.collections.remove(namespace);
    }

    fn open(&self) -> impl Iterator<Item = (&Namespace, &Collection)> {
        self.collections.iter().filter(|(_, collection)| !collection.finished)
    }

    pub fn status(&self, now: Duration) -> SnapshotStatus {
        let sum = |of: fn(&Collection) -> u64| self.collections.values().map(of).sum();
        let mut open: Vec<_> = self.open().collect();
        let collections_left = open.len();
        open.sort_by_key(|(_, collection)| Reverse((collection.bytes.left(), collection.documents.left())));
        let bytes_per_second = self.bytes.per_second(now);
        SnapshotStatus {
            documents_done: sum(|collection| collection.documents.done.n),
            documents_total: sum(|collection| collection.documents.total()),
            bytes_done: sum(|collection| collection.bytes.done.n),
            bytes_total: sum(|collection| collection.bytes.total()),
            eta_seconds: eta(left(open.iter().map(|(_, collection)| *collection)), bytes_per_second),
            documents_per_second: self.documents.per_second(now),
            bytes_per_second,
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
    fn advanced(&mut self, now: Duration, documents: u64, bytes: u64) {
        let waited = !self.begun && now.saturating_sub(self.started) > TURN;
        self.begun = true;
        for (part, n) in [(&mut self.documents, documents), (&mut self.bytes, bytes)] {
            if waited {
                part.done = Counted::new(now, part.done.n + n);
            } else {
                part.done.add(now, n);
            }
        }
    }

    /// Bytes that are still to be copied.
    fn left(&self) -> Left {
        match self.bytes.left() {
            0 if self.finished || (self.bytes.total() == 0 && self.documents.total() == 0) => Left::Known(0),
            0 if self.bytes.expected == 0 => Left::Unknown,
            0 => Left::Little,
            left => Left::Known(left),
        }
    }

    fn status(&self, now: Duration, namespace: &Namespace) -> CollectionStatus {
        let bytes_per_second = self.bytes.done.per_second(now);
        CollectionStatus {
            namespace: namespace.to_string(),
            documents_done: self.documents.done.n,
            documents_total: self.documents.total(),
            bytes_done: self.bytes.done.n,
            bytes_total: self.bytes.total(),
            documents_per_second: self.documents.done.per_second(now),
            bytes_per_second,
            eta_seconds: eta(self.left(), bytes_per_second),
        }
    }
}

/// Bytes left of several collections.
fn left<'c>(collections: impl Iterator<Item = &'c Collection>) -> Left {
    let (mut sum, mut little) = (0, false);
    for collection in collections {
        match collection.left() {
            Left::Known(left) => sum += left,
            Left::Little => little = true,
            Left::Unknown => return Left::Unknown,
        }
    }
    // A little hardly matters beside what others have left.
    if sum == 0 && little { Left::Little } else { Left::Known(sum) }
}

fn eta(left: Left, per_second: Option<f64>) -> Option<f64> {
    match (left, per_second) {
        (Left::Known(0), _) => Some(0.0),
        (Left::Known(left), Some(rate)) if rate > 0.0 => Some(float(left) / rate),
        (Left::Known(_) | Left::Little | Left::Unknown, _) => None,
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

    /// Collections `d.0`, `d.1` … of so many documents and bytes, all started at the beginning.
    fn started<const N: usize>(sizes: [(u64, u64); N]) -> (Progress, [Namespace; N]) {
        let mut progress = Progress::new(at(0));
        let names = std::array::from_fn(|n| Namespace::new("d", &n.to_string()));
        for (name, (documents, bytes)) in names.iter().zip(sizes) {
            progress.started(at(0), name, documents, bytes);
        }
        (progress, names)
    }

    fn documents(status: &SnapshotStatus) -> (u64, u64) {
        (status.documents_done, status.documents_total)
    }

    fn bytes(status: &SnapshotStatus) -> (u64, u64) {
        (status.bytes_done, status.bytes_total)
    }

    #[test]
    fn totals_rates_and_time_left() {
        let (mut progress, [a, b]) = started([(1000, 10_000), (3000, 30_000)]);
        progress.advanced(at(10), &a, 500, 5000);
        progress.advanced(at(10), &b, 500, 5000);
        let status = progress.status(at(10));
        assert_eq!((documents(&status), bytes(&status)), ((1000, 4000), (10_000, 40_000)));
        assert_eq!((status.documents_per_second, status.bytes_per_second), (Some(100.0), Some(1000.0)));
        assert_eq!(status.eta_seconds, Some(30.0));
        let names: Vec<_> = status.collections.iter().map(|c| c.namespace.as_str()).collect();
        assert_eq!(names, ["d.1", "d.0"], "the one with the most left first");
        let a = &status.collections[1];
        assert_eq!((a.bytes_done, a.bytes_total, a.bytes_per_second), (5000, 10_000, Some(500.0)));
        assert_eq!(a.eta_seconds, Some(10.0));
    }

    #[test]
    fn large_documents_late_in_the_copy_do_not_break_the_time_left() {
        // A thousand documents of 1 kB, then ten of 10 MB, a megabyte a second.
        let (mut progress, [a]) = started([(1010, 101_000_000)]);
        progress.advanced(at(1), &a, 1000, 1_000_000);
        let status = progress.status(at(1));
        assert_eq!(documents(&status), (1000, 1010), "almost all documents");
        assert_eq!((status.eta_seconds, status.collections[0].eta_seconds), (Some(100.0), Some(100.0)));
    }

    #[test]
    fn a_finished_collection_has_the_totals_that_were_found() {
        let (mut progress, [a]) = started([(1000, 5000)]);
        progress.advanced(at(5), &a, 900, 4000);
        assert_eq!(progress.status(at(5)).eta_seconds.map(|eta| eta > 0.0), Some(true));
        progress.finished(&a);
        let status = progress.status(at(5));
        assert_eq!((documents(&status), bytes(&status), status.eta_seconds), ((900, 900), (4000, 4000), Some(0.0)));
        assert!(status.collections.is_empty());
    }

    #[test]
    fn more_than_estimated_never_shows_more_than_all_and_no_end() {
        let (mut progress, [a, b]) = started([(10, 100), (10, 100)]);
        progress.advanced(at(5), &a, 25, 250);
        let status = progress.status(at(5));
        assert_eq!((documents(&status), bytes(&status)), ((25, 35), (250, 350)));
        assert_eq!(status.collections[1].eta_seconds, None, "its end is not known");
        assert_eq!(status.eta_seconds, Some(2.0), "that of the other is what matters");
        progress.advanced(at(10), &b, 10, 100);
        assert_eq!(progress.status(at(10)).eta_seconds, None, "both should be done, and are not");
        progress.finished(&a);
        progress.finished(&b);
        assert_eq!(progress.status(at(10)).eta_seconds, Some(0.0));
    }

    #[test]
    fn what_the_source_does_not_estimate_has_no_time_left() {
        let (mut progress, [a, empty]) = started([(10, 0), (0, 0)]);
        progress.advanced(at(5), &a, 5, 500);
        let status = progress.status(at(5));
        assert_eq!((status.eta_seconds, status.bytes_per_second), (None, Some(100.0)));
        progress.finished(&a);
        assert_eq!(progress.status(at(5)).eta_seconds, Some(0.0));
        progress.finished(&empty);
        assert_eq!(progress.status(at(5)).collections_left, 0);
    }

    #[test]
    fn a_collection_copied_again_starts_from_nothing() {
        let (mut progress, [a]) = started([(10, 100)]);
        progress.advanced(at(5), &a, 10, 100);
        progress.finished(&a);
        // Three days later: the days between are no part of its speed.
        progress.started(at(260_000), &a, 12, 120);
        let status = progress.status(at(260_001));
        assert_eq!((documents(&status), bytes(&status), status.collections_left), ((0, 12), (0, 120), 1));
        progress.advanced(at(260_010), &a, 6, 60);
        let status = progress.status(at(260_010));
        assert_eq!((status.bytes_per_second, status.eta_seconds), (Some(6.0), Some(10.0)));
    }

    #[test]
    fn what_an_earlier_run_copied_is_done_but_no_speed() {
        let (mut progress, [a]) = started([(2000, 20_000)]);
        progress.resumed(at(0), &a, 1000, 10_000);
        progress.advanced(at(10), &a, 500, 5000);
        let status = progress.status(at(10));
        assert_eq!((documents(&status), status.documents_per_second), ((1500, 2000), Some(50.0)));
        assert_eq!((bytes(&status), status.bytes_per_second), ((15_000, 20_000), Some(500.0)));
        assert_eq!(status.collections[0].bytes_per_second, Some(500.0));
        assert_eq!((status.eta_seconds, status.collections[0].eta_seconds), (Some(10.0), Some(10.0)));
    }

    #[test]
    fn an_interruption_is_no_part_of_the_speed() {
        let (mut progress, [a]) = started([(2000, 20_000)]);
        progress.advanced(at(10), &a, 1000, 10_000);
        // PostgreSQL was down for an hour; the next attempt goes on.
        progress.started(at(3610), &a, 2000, 20_000);
        progress.resumed(at(3610), &a, 1000, 10_000);
        assert_eq!(progress.status(at(3610)).eta_seconds, None);
        progress.advanced(at(3615), &a, 500, 5000);
        let status = progress.status(at(3615));
        assert_eq!((status.bytes_done, status.bytes_per_second, status.eta_seconds), (15_000, Some(1000.0), Some(5.0)));
    }

    #[test]
    fn waiting_for_its_turn_does_not_slow_a_collection() {
        let (mut progress, [a, b]) = started([(100, 100_000), (100, 50_000)]);
        for hundred in 1..=10 {
            progress.advanced(at(hundred * 100), &a, 10, 10_000);
        }
        progress.finished(&a);
        progress.advanced(at(1100), &b, 20, 10_000);
        let own = |progress: &Progress, now| progress.status(now).collections[0].clone();
        assert_eq!(own(&progress, at(1100)).eta_seconds, None, "nobody knows when its turn came");
        progress.advanced(at(1200), &b, 20, 10_000);
        let b = own(&progress, at(1200));
        assert_eq!((b.bytes_done, b.bytes_per_second, b.eta_seconds), (20_000, Some(100.0), Some(300.0)));
    }

    #[test]
    fn what_is_gone_is_not_waited_for() {
        let (mut progress, [a, b]) = started([(10, 100), (10, 100)]);
        progress.advanced(at(5), &a, 5, 50);
        progress.finished(&a);
        progress.gone(&b);
        let status = progress.status(at(5));
        assert_eq!((bytes(&status), status.collections_left, status.eta_seconds), ((50, 50), 0, Some(0.0)));
    }

    #[test]
    fn the_list_is_bounded() {
        let mut progress = Progress::new(at(0));
        for n in 0..500 {
            progress.started(at(0), &Namespace::new("d", &n.to_string()), n, n);
        }
        let status = progress.status(at(1));
        assert_eq!((status.collections.len(), status.collections_left), (SnapshotStatus::COLLECTIONS, 500));
    }
}
