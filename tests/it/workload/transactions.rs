//! Transactions in one database and across several, of every size; and single commands that write hundreds of documents.

use mongodb::ClientSession;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error, Result};

use super::updates::update;
use super::writer::{IdKind, Known, Writer};

/// What a transaction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A few writes.
    Small,
    /// Makes a collection and writes to it.
    Create,
    /// Hundreds of documents.
    Many,
    /// More than the 16 MiB of an oplog entry, so that MongoDB writes a chain of them.
    Large,
}

/// A few writes by these writers that are visible at once or, now and then, never. True when they are committed.
pub async fn transaction(writers: &mut [Writer], kind: Kind) -> Result<bool> {
    let mut session = writers[0].database.client().start_session().await?;
    session.start_transaction().await?;
    let before: Vec<Vec<Known>> = writers.iter().map(|writer| writer.collections.clone()).collect();
    let mut done = writes(writers, &mut session, kind).await;
    let commits = done.is_ok() && writers[0].random.percent(85);
    if commits {
        done = session.commit_transaction().await;
    } else {
        // After an error that has ended the transaction there is nothing left to abort.
        let _ = session.abort_transaction().await;
    }
    if !commits || done.is_err() {
        for (writer, before) in writers.iter_mut().zip(before) {
            writer.collections = before;
        }
    }
    match done {
        // A collection that does not exist yet is created inside, which may conflict with the server's own work.
        Err(error) if passes(&error) => Ok(false),
        done => done.map(|()| commits),
    }
}

fn passes(error: &Error) -> bool {
    error.contains_label("TransientTransactionError")
}

async fn writes(writers: &mut [Writer], session: &mut ClientSession, kind: Kind) -> Result<()> {
    let (several, operations) = (writers.len(), 2 + writers[0].random.below(6));
    for n in 0..operations.max(several) {
        let writer = &mut writers[n % several];
        writer.in_transaction(session).await?;
        match kind {
            Kind::Many => writer.many_in_transaction(session).await?,
            Kind::Large if n < 2 => writer.large_in_transaction(session).await?,
            Kind::Create if n < several => writer.create_in_transaction(session).await?,
            Kind::Small | Kind::Large | Kind::Create => {}
        }
    }
    Ok(())
}

impl Writer {
    async fn in_transaction(&mut self, session: &mut ClientSession) -> Result<()> {
        let which = self.random.below(self.collections.len());
        let collection = self.collection(which);
        match (self.random.below(8), self.an_id(which)) {
            (0..2, _) | (_, None) => {
                let document = self.new_student(which);
                collection.insert_one(document).session(session).await.map(drop)
            }
            (2..4, Some(id)) => {
                self.collections[which].ids.retain(|known| *known != id);
                collection.delete_one(doc! {"_id": id}).session(session).await.map(drop)
            }
            (_, Some(id)) => {
                let update = update(&mut self.random, self.steps);
                collection.update_one(doc! {"_id": id}, update).session(session).await.map(drop)
            }
        }
    }

    async fn create_in_transaction(&mut self, session: &mut ClientSession) -> Result<()> {
        let name = format!("made{}", self.steps);
        self.steps += 1;
        self.database.create_collection(&name).session(&mut *session).await?;
        let id_kind = *self.random.pick(&[IdKind::Int, IdKind::Text, IdKind::Uuid]);
        self.collections.push(Known { name, id_kind, ids: Vec::new() });
        let document = self.new_student(self.collections.len() - 1);
        let created = self.collection(self.collections.len() - 1);
        created.insert_one(document).session(session).await.map(drop)
    }

    async fn many_in_transaction(&mut self, session: &mut ClientSession) -> Result<()> {
        let which = self.random.below(self.collections.len());
        let documents: Vec<Document> = (0..100).map(|_| self.new_student(which)).collect();
        self.collection(which).insert_many(documents).session(session).await.map(drop)
    }

    /// Two documents of 6 MB; two turns of it are over the limit.
    async fn large_in_transaction(&mut self, session: &mut ClientSession) -> Result<()> {
        const LETTERS: usize = 6_000_000;
        let which = self.random.below(self.collections.len());
        let letters = "l".repeat(LETTERS);
        for _ in 0..2 {
            let document = doc! {"_id": self.new_id(which), "letters": &letters};
            self.collection(which).insert_one(document).session(&mut *session).await?;
        }
        Ok(())
    }
}
