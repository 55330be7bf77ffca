//! Either way to read changes.

use super::Source;
use super::assembly::StreamBatch;
use super::oplog::OplogReader;
use super::probe::Probe;
use super::stream::ChangeStream;
use super::way::{Way, or_else_the_stream};
use crate::error::Result;
use crate::model::position::Position;

/// An open reader of the kind that the probe has chosen. Both give the same changes in the same order.
#[derive(Debug)]
pub enum Reader {
    /// The change stream.
    ChangeStream(Box<ChangeStream>),
    /// The raw oplog, and whether it has to be that.
    Oplog(Box<OplogReader>, Way),
}

impl Source {
    /// Opens the reader after `from`, which may be of either kind, or from now on.
    ///
    /// # Errors
    /// [`crate::error::Kind::HistoryLost`] when the oplog no longer reaches back to `from`, and
    /// [`crate::error::Kind::OtherReader`] when the oplog was our choice and cannot be read.
    pub async fn open_reader(&self, probe: &Probe, from: Option<&Position>) -> Result<Reader> {
        match &probe.way {
            Way::ChangeStream(_) => Ok(Reader::ChangeStream(Box::new(self.open_stream(probe, from).await?))),
            way @ Way::Oplog(_) => {
                let opened = self.open_oplog(probe, from).await;
                let oplog = opened.map_err(|error| or_else_the_stream(way, error))?;
                Ok(Reader::Oplog(Box::new(oplog), way.clone()))
            }
        }
    }

    /// `from` as the probe's reader goes on from it exactly, `None` when it would give something again that lies before it.
    ///
    /// # Errors
    /// As [`Source::open_reader`].
    pub async fn exactly(&self, probe: &Probe, from: &Position) -> Result<Option<Position>> {
        match &probe.way {
            Way::ChangeStream(_) => Ok(Some(from.clone())),
            way @ Way::Oplog(_) => self.in_whole_entries(from).await.map_err(|error| or_else_the_stream(way, error)),
        }
    }
}

impl Reader {
    /// Everything up to here has been given out.
    #[must_use]
    pub fn position(&self) -> &Position {
        match self {
            Self::ChangeStream(stream) => stream.position(),
            Self::Oplog(oplog, _) => oplog.position(),
        }
    }

    /// The next changes; comes within some tens of milliseconds even when there are none.
    ///
    /// # Errors
    /// Any error ends the reader: open another one from the last committed position. [`crate::error::Kind::OtherReader`]
    /// says that it is to be a change stream.
    pub async fn next(&mut self) -> Result<StreamBatch> {
        match self {
            Self::ChangeStream(stream) => stream.next().await,
            Self::Oplog(oplog, way) => oplog.next().await.map_err(|error| or_else_the_stream(way, error)),
        }
    }
}
