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
}

impl Memory {
    /// A share of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { share: Arc::new(Semaphore::new(bytes)), bytes }
    }

    /// Waits until there is room for a batch of so many bytes. One batch always has room.
    pub async fn room_for(&self, batch: usize) -> Option<OwnedSemaphorePermit> {
        let wanted = batch.min(LARGEST).saturating_mul(TIMES).min(self.bytes);
        Arc::clone(&self.share).acquire_many_owned(u32::try_from(wanted).unwrap_or(u32::MAX)).await.ok()
    }
}
