//! Collections and databases that come, go and change their names.

use super::names;
use super::world::World;
use crate::decode::bson::{Value, fields};

impl World {
    /// Renames, drops or copies a collection.
    pub async fn ddl(&mut self) {
        let which = self.some();
        match self.random.below(6) {
            0 => self.drop_collection(which).await,
            1 | 2 => self.rename(which).await,
            3 => self.rename_over(which).await,
            4 => self.out(which).await,
            _ => self.capped(which).await,
        }
    }

    async fn drop_collection(&mut self, which: usize) {
        self.note(which, None, "drop".to_owned());
        let name = Value::text(&self.collections[which].name);
        self.write(&fields([("drop", name)])).await;
        self.collections[which].count = 0;
    }

    async fn rename_to(&mut self, which: usize, to: &str, over: bool) -> bool {
        let database = self.database.name().to_owned();
        let full = |name: &str| Value::text(&format!("{database}.{name}"));
        let command = fields([
            ("renameCollection", full(&self.collections[which].name)),
            ("to", full(to)),
            ("dropTarget", Value::Boolean(over)),
        ]);
        self.note(which, None, format!("rename to {to}"));
        let admin = self.database.client().database("admin");
        self.write_to(&admin, &command).await.is_some()
    }

    async fn rename(&mut self, which: usize) {
        let n = 10 + self.random.below(20);
        let to = names::collection(&mut self.random, n);
        if self.rename_to(which, &to, false).await {
            self.collections[which].name = to;
            self.note(which, None, "renamed to this".to_owned());
        }
    }

    /// Onto the name of a collection that is lost by it.
    async fn rename_over(&mut self, which: usize) {
        let target = (which + 1) % self.collections.len();
        let to = self.collections[target].name.clone();
        if target != which && self.rename_to(which, &to, true).await {
            let moved = self.collections[which].clone();
            self.collections[which].count = 0;
            self.collections[target] = super::world::Known { name: to, ..moved };
            self.note(target, None, "renamed to this, over another".to_owned());
        }
    }

    /// `$out` into a collection that may exist.
    async fn out(&mut self, which: usize) {
        let target = (which + 2) % self.collections.len();
        let to = self.collections[target].name.clone();
        let out = Value::Document(fields([("$out", Value::text(&to))]));
        let command = fields([
            ("aggregate", Value::text(&self.collections[which].name)),
            ("pipeline", Value::Array(vec![out])),
            ("cursor", Value::Document(fields([]))),
        ]);
        self.note(target, None, format!("$out from {}", self.collections[which].name));
        if self.write(&command).await.is_some() {
            let copied = self.collections[which].clone();
            self.collections[target] = super::world::Known { name: to, ..copied };
        }
    }

    /// Copies rows without a change event for each.
    async fn capped(&mut self, which: usize) {
        let name = Value::text(&self.collections[which].name);
        self.note(which, None, "convertToCapped".to_owned());
        let size = Value::Int32(16 * 1024 * 1024);
        self.write(&fields([("convertToCapped", name), ("size", size)])).await;
    }
}
