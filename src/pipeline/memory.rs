//! The snapshot's share of the memory limit: whoever reads a batch says beforehand how large it can be.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A batch exists several times on its way: as it came from the server, as rows, and in the driver of the target.
const TIMES: usize = 4;

/// The most that one batch is taken for: the server ends a batch at 16 MiB.
const LARGEST: usize = 16 << 20;

/// See the module.
#[derive(Debug, Clone)]
pub struct Memory {
    share: Arc<Semaphore>,
    bytes: usize,
    /// How many read at a time.
    readers: usize,
}

impl Memory {
    /// A share of so many bytes for so many readers.
    #[must_use]
    pub fn new(bytes: usize, readers: usize) -> Self {
        Self { share: Arc::new(Semaphore::new(bytes)), bytes, readers: readers.max(1) }
    }

    /// Bytes of a batch that every reader has room for at the same time.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.bytes / self.readers / TIMES
    }

    /// Waits until there is room for a batch of so many bytes. One batch always has room.
    pub async fn room_for(&self, batch: usize) -> Option<OwnedSemaphorePermit> {
        let wanted = batch.min(LARGEST).saturating_mul(TIMES).min(self.bytes);
        Arc::clone(&self.share).acquire_many_owned(u32::try_from(wanted).unwrap_or(u32::MAX)).await.ok()
    }
}
