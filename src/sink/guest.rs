//! One executor writes for others: a source transaction that has changes for several becomes visible in one commit.
//!
//! The first executor that such a transaction meets borrows the shares of the others: each commits all that comes before,
//! hands its lanes and positions over, and waits. The borrower writes on with them and gives them back after a commit.
//! Nobody waits in a circle, because the router hands out these tickets in one order for all.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::executor::Executor;
use crate::error::{Error, Kind, Result, Stage};
use crate::model::ticket::Share;

/// A borrowed share.
pub(super) struct Guest {
    pub(super) share: Share,
    back: oneshot::Sender<Share>,
}

impl Executor {
    /// Hands the own share to another executor and waits until it comes back.
    pub(super) async fn lend(&mut self, to: oneshot::Sender<Share>, back: oneshot::Receiver<Share>) -> Result<()> {
        self.commit_all().await?;
        let home = self.own.home;
        let nothing = Share { home, outputs: Default::default(), positions: Default::default(), databases: Vec::new() };
        to.send(std::mem::replace(&mut self.own, nothing)).map_err(|_| other_ended())?;
        self.own = back.await.map_err(|_| other_ended())?;
        Ok(())
    }

    /// Takes in the share of another executor.
    pub(super) async fn borrow(&mut self, from: oneshot::Receiver<Share>, back: oneshot::Sender<Share>) -> Result<()> {
        let share = from.await.map_err(|_| other_ended())?;
        self.guests.push(Guest { share, back });
        Ok(())
    }

    /// Commits, and gives back what is borrowed.
    pub(super) async fn give_back(&mut self) -> Result<()> {
        self.commit_all().await?;
        for Guest { share, back } in self.guests.drain(..) {
            back.send(share).map_err(|_| other_ended())?;
        }
        Ok(())
    }

    /// Commits what is collected, which is whole here: else a part of it would be visible before the rest.
    async fn commit_all(&mut self) -> Result<()> {
        if !self.is_whole() {
            return Err(Error::new(Kind::Defect, Stage::Sink, "a share changes hands inside a source transaction"));
        }
        self.commit_now().await
    }

    /// All shares that are written here.
    pub(super) fn shares(&mut self) -> impl Iterator<Item = &mut Share> {
        std::iter::once(&mut self.own).chain(self.guests.iter_mut().map(|guest| &mut guest.share))
    }

    /// The share of an executor: borrowed, or else the own one.
    pub(super) fn share_at(&mut self, home: usize) -> &mut Share {
        let guest = self.guests.iter_mut().find(|guest| guest.share.home == home);
        guest.map_or(&mut self.own, |guest| &mut guest.share)
    }

    /// The share that a database belongs to.
    pub(super) fn share_of(&self, database: &Arc<str>) -> &Share {
        let guest = self.guests.iter().find(|guest| guest.share.databases.contains(database));
        guest.map_or(&self.own, |guest| &guest.share)
    }

    pub(super) fn share_of_mut(&mut self, database: &Arc<str>) -> &mut Share {
        let home = self.share_of(database).home;
        self.share_at(home)
    }
}

fn other_ended() -> Error {
    Error::new(Kind::Interrupted, Stage::Sink, "another executor has ended in the middle of a common transaction")
}
