//! What the configuration changes in the mapping: forms, overflow, policies, fixed types, names.
//!
//! Each fact holds for what is copied, for what is followed, and for what is followed after a restart.

mod casts;
mod changes;
mod conflicts;
mod flatten;
mod forms;
mod naming;
mod overflow;

use mongodb::bson::{Document, doc};

use crate::decode::compare::Finding;
use crate::harness::case::Case;
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;

impl Case {
    /// A `[[collection]]` entry for a collection of database `db`, and its other lines.
    fn entry(&self, collection: &str, lines: &str) -> String {
        format!("[[collection]]\nnamespace = \"{}db.{collection}\"\n{lines}\n", self.prefix)
    }

    /// Copies, follows, and follows after a restart: in each round the documents, whose ids start with the number of
    /// the round, and then the updates of the first of them. All is compared after each step. Returns the daemon.
    async fn in_three_rounds(
        &self,
        config: &Config,
        documents: fn(i32) -> Vec<Document>,
        updates: &[Document],
    ) -> Daemon {
        self.collection("c").insert_many(documents(0)).await.expect("inserted");
        let daemon = self.start(config);
        self.expect_same("the copy").await;
        self.round(0, updates).await;
        self.collection("c").insert_many(documents(100)).await.expect("inserted");
        self.expect_same("the second round's documents").await;
        self.round(100, updates).await;
        daemon.sigterm();
        self.collection("c").insert_many(documents(200)).await.expect("inserted");
        let daemon = self.start(config);
        self.expect_same("the third round's documents").await;
        self.round(200, updates).await;
        daemon
    }

    async fn round(&self, first: i32, updates: &[Document]) {
        for update in updates {
            self.collection("c").update_one(doc! {"_id": first}, update.clone()).await.expect("updated");
            self.expect_same(&format!("{update} of {first}")).await;
        }
    }

    /// Waits until everything has arrived and compares all of it, with the decoder's expectation of plain table names
    /// left out: it is that of `naming = "preserve"`.
    async fn expect_same(&self, after: &str) {
        self.settle().await;
        let mut report = self.compare().await;
        report.findings.retain(|finding| !matches!(finding, Finding::Problem(text) if text.ends_with("is free")));
        assert!(report.findings.is_empty(), "after {after}: {report}\n{}", self.logs());
    }

    /// `path reason` of each anomaly, sorted.
    async fn anomalies(&self) -> Vec<String> {
        let query = "SELECT array_to_string(path, '.') || ' ' || reason FROM tailwater.anomalies ORDER BY 1";
        self.lines(query).await
    }
}
