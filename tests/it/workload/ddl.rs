//! Collections that come, go and change their names under the writer.

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use mongodb::error::Result;

use super::writer::{Known, Writer};

impl Writer {
    /// Renames, drops or copies a collection.
    pub async fn ddl(&mut self) -> Result<()> {
        let which = self.random.below(self.collections.len());
        if self.collections[which].ids.is_empty() {
            // It may not exist.
            return Ok(());
        }
        match self.random.below(6) {
            0 => self.drop_collection(which).await,
            1 => self.rename_there_and_on(which).await,
            2 => self.rename_over_another(which).await,
            3 => self.out(which).await,
            4 => self.scratch_database().await,
            _ => self.copy_and_swap(which).await,
        }
    }

    async fn drop_collection(&mut self, which: usize) -> Result<()> {
        self.collection(which).drop().await?;
        self.collections[which].ids.clear();
        Ok(())
    }

    async fn rename(&self, from: &str, to: &str, drop_target: bool) -> Result<()> {
        let database = self.database.name();
        let command = doc! {
            "renameCollection": format!("{database}.{from}"), "to": format!("{database}.{to}"), "dropTarget": drop_target,
        };
        self.database.client().database("admin").run_command(command).await.map(drop)
    }

    /// To another name, where it is written to, and back.
    async fn rename_there_and_on(&mut self, which: usize) -> Result<()> {
        let name = self.collections[which].name.clone();
        let other = format!("{name} \"renamed\"");
        self.rename(&name, &other, false).await?;
        let everybody = doc! {"$set": {"elsewhere": true}};
        self.database.collection::<Document>(&other).update_many(doc! {"active": true}, everybody).await?;
        self.rename(&other, &name, false).await
    }

    /// Onto the name of a collection that is lost by it.
    async fn rename_over_another(&mut self, which: usize) -> Result<()> {
        let target = (which + 1) % self.collections.len();
        let (from, to) = (self.collections[which].name.clone(), self.collections[target].name.clone());
        self.rename(&from, &to, true).await?;
        let moved = self.collections[which].clone();
        self.collections[target] = Known { name: to, ..moved };
        self.collections[which].ids.clear();
        Ok(())
    }

    /// `$out` into a collection that may exist.
    async fn out(&mut self, which: usize) -> Result<()> {
        let target = (which + 3) % self.collections.len();
        let to = self.collections[target].name.clone();
        let pipeline = [doc! {"$match": {"active": true}}, doc! {"$out": &to}];
        let mut nothing = self.collection(which).aggregate(pipeline).await?;
        while nothing.try_next().await?.is_some() {}
        let mut ids = Vec::new();
        let mut found = self.database.collection::<Document>(&to).find(doc! {}).projection(doc! {"_id": 1}).await?;
        while let Some(document) = found.try_next().await? {
            ids.extend(document.get("_id").cloned());
        }
        self.collections[target] = Known { name: to, id_kind: self.collections[which].id_kind, ids };
        Ok(())
    }

    /// A database that lives for a moment.
    async fn scratch_database(&mut self) -> Result<()> {
        let scratch = self.database.client().database(&format!("{}_scratch", self.database.name()));
        let item = doc! {"a": {"b": [{"c": self.random.next() as i64}]}};
        scratch.collection::<Document>("one").insert_many([item.clone(), doc! {}]).await?;
        scratch.collection::<Document>("two").insert_one(item).await?;
        scratch.drop().await
    }

    /// Two collections change names through a third, as people do to bring a rebuilt collection in.
    async fn copy_and_swap(&mut self, which: usize) -> Result<()> {
        let other = (which + 1) % self.collections.len();
        if other == which || self.collections[other].ids.is_empty() {
            return Ok(());
        }
        let (a, b) = (self.collections[which].name.clone(), self.collections[other].name.clone());
        self.rename(&a, "swapping", false).await?;
        self.rename(&b, &a, false).await?;
        self.rename("swapping", &b, false).await?;
        let (mut first, mut second) = (self.collections[which].clone(), self.collections[other].clone());
        std::mem::swap(&mut first.name, &mut second.name);
        self.collections[which] = second;
        self.collections[other] = first;
        Ok(())
    }
}
