//! From where the reader goes on, when another one may have committed the positions.
//!
//! In: the floor and the positions of the databases. Out: the same, in the terms of the reader that goes on. The change stream
//! goes on from any position exactly. The oplog's reader reads whole entries; where a database may have a part of one, the
//! change stream stays, unless the oplog was asked for: then that entry is given again, which converges (ADR 0013).

use std::collections::HashMap;

use crate::error::{Error, Kind, Result};
use crate::model::position::Position;
use crate::source::{Probe, Reader, Source, WhyStream};

/// Where to go on.
#[derive(Debug)]
pub struct From {
    pub floor: Position,
    /// Up to where each database has its changes.
    pub done: HashMap<String, Position>,
}

/// Decides which reader goes on and from where, and says so; `probe` is another one when its reader does not fit.
pub async fn from(
    source: &Source,
    probe: &mut Probe,
    floor: &Position,
    done: &HashMap<String, Position>,
) -> Result<From> {
    let as_they_are = From { floor: floor.clone(), done: done.clone() };
    let (from, instead) = match exactly(source, probe, floor, done).await {
        Ok((from, true)) => (from, None),
        Ok((from, false)) if !probe.way.may_change() => (from, None),
        Ok((_, false)) => (as_they_are, Some(WhyStream::Position)),
        Err(error) if error.kind() == Kind::OtherReader => (as_they_are, Some(refused(&error))),
        Err(error) => return Err(error),
    };
    if let Some(why) = instead {
        *probe = source.probe_without_oplog(why).await?;
    }
    tracing::info!("reading {}", probe.way);
    Ok(from)
}

/// The positions as the reader takes them, and whether it gives nothing again. What a database has from before the floor
/// is never read.
async fn exactly(
    source: &Source,
    probe: &Probe,
    floor: &Position,
    done: &HashMap<String, Position>,
) -> Result<(From, bool)> {
    let start = source.exactly(probe, floor).await?;
    let mut all = start.is_some();
    let mut from = From { floor: start.unwrap_or_else(|| floor.clone()), done: done.clone() };
    for position in from.done.values_mut().filter(|position| **position >= *floor) {
        match source.exactly(probe, position).await? {
            Some(place) => *position = place,
            None => all = false,
        }
    }
    Ok((from, all))
}

/// Opens the reader, or the change stream where the oplog was our choice and refuses.
pub async fn open(source: &Source, probe: &mut Probe, from: Option<&Position>) -> Result<Reader> {
    match source.open_reader(probe, from).await {
        Err(error) if error.kind() == Kind::OtherReader => {
            *probe = source.probe_without_oplog(refused(&error)).await?;
            source.open_reader(probe, from).await
        }
        opened => opened,
    }
}

/// The oplog has refused; what it said is told once, here.
pub fn refused(error: &Error) -> WhyStream {
    tracing::warn!(stage = error.stage().name(), "{error}");
    WhyStream::Refused
}
