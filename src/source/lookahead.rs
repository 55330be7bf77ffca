//! Finds the last event of each transaction, where a commit may follow.
//!
//! In: events in order, each with its cluster time. Out: changes with their boundary set. An event does not say that it
//! is the last of its transaction (8.2 has no such mark), only what comes after it does: so the newest event of a
//! transaction is held back until another cluster time, or the proof that nothing more of this time can come.
//!
//! All events of a transaction on one replica set share one cluster time, and no other event has it. On a sharded cluster
//! two of them may share it and interleave; they are then one group, which is coarser and never wrong. A transaction over
//! several shards is committed by each at a cluster time of its own, with other events in between, and nothing in the
//! stream says how many shards there are (measured on 8.2): it is a group per shard, which the probe warns of.

use crate::model::change::Change;
use crate::model::position::ClusterTime;

/// Holds back at most one change.
#[derive(Debug, Default)]
pub(super) struct Lookahead {
    held: Option<Change>,
    /// The cluster time of the transaction that is being read.
    group: Option<ClusterTime>,
}

impl Lookahead {
    /// Takes the next event: its change, or `None` when it is of no interest but still ends what came before.
    pub(super) fn push(
        &mut self,
        at: ClusterTime,
        in_transaction: bool,
        change: Option<Change>,
        out: &mut Vec<Change>,
    ) {
        if self.group != Some(at) {
            self.release(out);
        }
        if in_transaction {
            self.group = Some(at);
        }
        let Some(change) = change else { return };
        if self.group == Some(at) {
            let earlier = self.held.replace(Change { boundary: true, ..change });
            out.extend(earlier.map(|earlier| Change { boundary: false, ..earlier }));
        } else {
            out.push(Change { boundary: true, ..change });
        }
    }

    /// Nothing more of the group can come: its last change is a boundary.
    pub(super) fn release(&mut self, out: &mut Vec<Change>) {
        out.extend(self.held.take());
        self.group = None;
    }

    /// The cluster time of what is held back.
    pub(super) fn holding(&self) -> Option<ClusterTime> {
        self.held.as_ref().and(self.group)
    }
}

#[cfg(test)]
mod tests {
    use super::Lookahead;
    use crate::model::change::{Change, Operation};
    use crate::model::namespace::{CollectionId, Namespace};
    use crate::model::position::{ClusterTime, Position};

    fn time(seconds: u32) -> ClusterTime {
        ClusterTime { seconds, ordinal: 1 }
    }

    fn change(ordinal: u32) -> Change {
        Change {
            position: Position::parse(&format!("8200000001{ordinal:08X}")).expect("token"),
            namespace: Namespace::new("d", "c"),
            collection: CollectionId([1; 16]),
            boundary: false,
            operation: Operation::Create,
        }
    }

    /// Feeds `(time, in a transaction, of interest)` and gives back `(number of the event, boundary)`.
    fn run(events: &[(u32, bool, bool)]) -> (Vec<(u32, bool)>, Lookahead) {
        let (mut lookahead, mut out) = (Lookahead::default(), Vec::new());
        for (number, (at, in_transaction, of_interest)) in (0_u32..).zip(events) {
            lookahead.push(time(*at), *in_transaction, of_interest.then(|| change(number)), &mut out);
        }
        let seen = out.iter().map(|change| (change.position.cluster_time().ordinal, change.boundary)).collect();
        (seen, lookahead)
    }

    #[test]
    fn single_events_pass_at_once_even_when_they_share_a_time() {
        let (out, lookahead) = run(&[(1, false, true), (2, false, true), (2, false, true)]);
        assert_eq!(out, [(0, true), (1, true), (2, true)]);
        assert_eq!(lookahead.holding(), None);
    }

    #[test]
    fn only_the_last_of_a_transaction_is_a_boundary() {
        let (out, lookahead) = run(&[(1, true, true), (1, true, true), (1, true, true), (2, false, true)]);
        assert_eq!(out, [(0, false), (1, false), (2, true), (3, true)]);
        assert_eq!(lookahead.holding(), None);
    }

    #[test]
    fn two_transactions_in_a_row_are_two() {
        let (out, mut lookahead) = run(&[(1, true, true), (2, true, true), (2, true, true)]);
        assert_eq!(out, [(0, true), (1, false)]);
        assert_eq!(lookahead.holding(), Some(time(2)));
        let mut out = Vec::new();
        lookahead.release(&mut out);
        assert!(out.iter().all(|change| change.boundary) && out.len() == 1);
        assert_eq!(lookahead.holding(), None);
    }

    #[test]
    fn events_of_no_interest_neither_end_their_transaction_nor_get_lost_as_its_end() {
        let (out, lookahead) = run(&[(1, true, true), (1, true, false), (1, true, true), (1, true, false)]);
        assert_eq!(out, [(0, false)]);
        assert_eq!(lookahead.holding(), Some(time(1)));
        let (out, _) = run(&[(1, true, true), (2, false, false)]);
        assert_eq!(out, [(0, true)]);
    }

    #[test]
    fn a_transaction_without_anything_of_interest_holds_nothing() {
        let (out, lookahead) = run(&[(1, true, false)]);
        assert_eq!((out.len(), lookahead.holding()), (0, None));
    }
}
