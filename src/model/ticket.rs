//! What goes into a lane, and the order in which an executor takes what comes out of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::bson::Document;
use super::change::Change;
use super::position::Position;
use super::write_set::WriteSet;

/// A lane, as executors and the router call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LaneId(pub u64);

/// What a lane takes, in order.
#[derive(Debug)]
pub enum LaneInput {
    /// Changes to convert; as many write sets come of them, together.
    Changes {
        /// The changes.
        changes: Vec<Change>,
        /// The memory that they occupy.
        permit: Option<OwnedSemaphorePermit>,
    },
    /// What the copy of the collection has to tell; one write set comes of it.
    Lesson(Lesson),
    /// Told when everything before it is converted.
    Settled(oneshot::Sender<()>),
}

/// What a lane makes of one input.
#[derive(Debug)]
pub struct Converted {
    /// A write set for each change, in order.
    pub write_sets: Vec<WriteSet>,
    /// The memory that the changes occupy, given back when all is written.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// What the copy of a collection tells its lane.
#[derive(Debug)]
pub struct Lesson {
    /// Documents that the tables have to hold.
    pub documents: Vec<Document>,
    /// True when the collection is copied.
    pub complete: bool,
    /// Told when what follows from it is committed.
    pub committed: oneshot::Sender<()>,
}

/// What an executor does next. Tickets arrive in source order, so no lane can be overtaken.
#[derive(Debug)]
pub enum Ticket {
    /// A new lane, and where its write sets come from.
    Open {
        /// The executor of its database, which may have lent its share.
        home: usize,
        /// The lane.
        lane: LaneId,
        /// What it makes of each of its inputs, in order.
        output: mpsc::Receiver<Box<Converted>>,
    },
    /// What these lanes make of one input each comes now. A source transaction may go on in the next of these.
    Take {
        /// The lanes, in any order: their changes change different tables.
        lanes: Vec<LaneId>,
        /// True when a commit may follow.
        boundary: bool,
    },
    /// The lane has nothing more.
    Close {
        /// The lane.
        lane: LaneId,
    },
    /// The source transaction of the last change has ended, with changes of other executors or of none.
    Boundary,
    /// Nothing before this position is still to come.
    Watermark {
        /// The position.
        through: Through,
        /// How far the source is ahead of it.
        behind: Duration,
    },
    /// What is collected is to be written although batches may grow: it takes memory that others wait for.
    Hurry,
    /// Everything before is committed, then another executor writes for this one until it gives the share back.
    Lend {
        /// Where the share goes.
        to: oneshot::Sender<Share>,
        /// Where it comes back.
        back: oneshot::Receiver<Share>,
    },
    /// The share of another executor is taken in: a source transaction has changes for both.
    Borrow {
        /// Where the share comes from.
        from: oneshot::Receiver<Share>,
        /// Where it goes back.
        back: oneshot::Sender<Share>,
    },
    /// Everything before is committed, then all that is borrowed goes back.
    Return,
}

/// What an executor writes: the databases that are its own.
#[derive(Debug)]
pub struct Share {
    /// The executor that it belongs to.
    pub home: usize,
    /// What comes out of its lanes.
    pub outputs: HashMap<LaneId, mpsc::Receiver<Box<Converted>>>,
    /// The positions committed last, by database.
    pub positions: HashMap<String, Position>,
    /// Databases that have had changes.
    pub databases: Vec<Arc<str>>,
}

/// How far something has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Through {
    /// Everything up to here.
    pub position: Position,
    /// True when all events of the position's cluster time are among that: many events share one time.
    pub complete: bool,
}

impl Through {
    /// True when everything up to a cluster time is there.
    #[must_use]
    pub fn covers(&self, time: super::position::ClusterTime) -> bool {
        let here = self.position.cluster_time();
        here > time || (here == time && (self.complete || self.position.is_after_its_time()))
    }

    /// The later of two.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        if (&self.position, self.complete) >= (&other.position, other.complete) { self } else { other }
    }
}
