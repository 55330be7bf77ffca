//! Either way to read changes.

use super::Source;
use super::assembly::StreamBatch;
use super::oplog::OplogReader;
use super::options::ReaderKind;
use super::probe::Probe;
use super::stream::ChangeStream;
use crate::error::Result;
use crate::model::position::Position;

/// An open reader of the kind that the configuration wants. Both give the same changes in the same order.
#[derive(Debug)]
pub enum Reader {
    /// The change stream.
    ChangeStream(Box<ChangeStream>),
    /// The raw oplog.
    Oplog(Box<OplogReader>),
}

impl Source {
    /// Opens the reader after `from`, which may be of either kind, or from now on.
    ///
    /// # Errors
    /// [`crate::error::Kind::HistoryLost`] when the oplog no longer reaches back to `from`.
    pub async fn open_reader(&self, probe: &Probe, from: Option<&Position>) -> Result<Reader> {
        Ok(match probe.reader {
            ReaderKind::ChangeStream => Reader::ChangeStream(Box::new(self.open_stream(probe, from).await?)),
            ReaderKind::Oplog => Reader::Oplog(Box::new(self.open_oplog(probe, from).await?)),
        })
    }
}

impl Reader {
    /// Everything up to here has been given out.
    #[must_use]
    pub fn position(&self) -> &Position {
        match self {
            Self::ChangeStream(stream) => stream.position(),
            Self::Oplog(oplog) => oplog.position(),
        }
    }

    /// The next changes; comes within some tens of milliseconds even when there are none.
    ///
    /// # Errors
    /// Any error ends the reader: open another one from the last committed position.
    pub async fn next(&mut self) -> Result<StreamBatch> {
        match self {
            Self::ChangeStream(stream) => stream.next().await,
            Self::Oplog(oplog) => oplog.next().await,
        }
    }
}
