//! A round: the changes that the router has collected and not sent yet, by lane.

use std::collections::{BTreeMap, HashMap};

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::Handle;
use crate::model::change::Change;
use crate::model::ticket::{LaneId, LaneInput};

/// Changes of one lane that are handed out together, at most: while it converts them, the executor has others to take.
const PART_LENGTH: usize = 256;

/// Changes of all lanes that are handed out together, at most.
const ROUND_LENGTH: usize = 16_384;

/// Changes that are not sent yet.
#[derive(Default)]
pub(super) struct Round {
    pub parts: HashMap<LaneId, Part>,
    /// How many changes.
    length: usize,
    /// Executors that get something: the lanes, and whether a commit may follow.
    pub tickets: BTreeMap<usize, (Vec<LaneId>, bool)>,
}

/// What one lane gets of them.
pub(super) struct Part {
    pub to: mpsc::Sender<Box<LaneInput>>,
    pub changes: Vec<Change>,
    pub permit: Option<OwnedSemaphorePermit>,
}

impl Round {
    /// True when a change of that lane has to wait until these are sent.
    pub fn is_full(&self, handle: &Handle, in_order: bool) -> bool {
        match self.parts.get(&handle.lane) {
            Some(part) => part.changes.len() >= PART_LENGTH,
            None => self.length >= ROUND_LENGTH || (in_order && self.length > 0),
        }
    }

    /// Adds a change of a lane whose executor's share `writer` writes.
    pub fn add(&mut self, handle: &Handle, writer: usize, change: Change, permit: Option<OwnedSemaphorePermit>) {
        let (lanes, boundary) = self.tickets.entry(writer).or_default();
        *boundary = change.boundary;
        let part = self.parts.entry(handle.lane).or_insert_with(|| {
            lanes.push(handle.lane);
            Part { to: handle.input.clone(), changes: Vec::new(), permit: None }
        });
        match (&mut part.permit, permit) {
            (Some(all), Some(permit)) => all.merge(permit),
            (none, permit) => *none = none.take().or(permit),
        }
        part.changes.push(change);
        self.length += 1;
    }
}
