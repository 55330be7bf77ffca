//! Schema changes of a table that has rows.

use std::time::Instant;

use mongodb::bson::doc;

use crate::Result;
use crate::bench::{Bench, LIMITS, add_memory, applied, streaming};
use crate::load::{Feed, Shape, fill};
use crate::report::Case;

impl Bench {
    /// Schema changes of a large table: one document that widens a column, one that widens five and adds one, one with an
    /// `_id` of another type. Beside them, what PostgreSQL needs to rewrite the same table by hand.
    pub async fn alter(&self, documents: u64) -> Result<Case> {
        let mut case = Case::new("schema changes", format!("one document each, {documents} users there"));
        let mut feeds = [Feed::new("changing", "users", Shape::Users)];
        fill(&self.mongodb, &mut feeds, documents).await?;
        let collection = self.mongodb.database("changing").collection("users");
        for run in 1..=self.arguments.runs {
            let target = format!("changing_{run}");
            self.create(&target).await?;
            let mut daemon = self.start(&target, "changing.*", &LIMITS, &[])?;
            daemon.until("the first copy is done", streaming).await?;
            let postgres = self.postgres(&target).await?;
            postgres.batch_execute("CREATE TABLE by_hand AS TABLE changing.users; CHECKPOINT").await?;
            let start = Instant::now();
            postgres.batch_execute("ALTER TABLE by_hand ALTER COLUMN visits TYPE numeric").await?;
            case.add("PostgreSQL's own rewrite, without a key, s", start.elapsed().as_secs_f64());
            let changes = [
                ("one column widens, s", doc! {"_id": -1_i64, "visits": 0.5}),
                (
                    "five widen and one is new, s",
                    doc! {"_id": -2_i64, "name": 1, "email": 1, "active": 1, "country": 1, "note": 1, "new": 1},
                ),
                ("ids of another type, s", doc! {"_id": "a string"}),
            ];
            for (applied_before, (name, document)) in (0..).zip(changes) {
                let start = Instant::now();
                collection.insert_one(document).await?;
                daemon.until("the change is applied", |status| applied(status) > applied_before).await?;
                case.add(name, start.elapsed().as_secs_f64());
            }
            add_memory(&mut case, &daemon)?;
            daemon.stop().await?;
            self.remove(&target).await?;
            collection.delete_many(doc! {"_id": {"$in": [-1_i64, -2_i64]}}).await?;
            collection.delete_one(doc! {"_id": "a string"}).await?;
        }
        self.mongodb.database("changing").drop().await?;
        Ok(case)
    }
}
