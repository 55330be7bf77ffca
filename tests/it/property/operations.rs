//! One operation after another on the documents of a round.

use super::shapes;
use super::updates::{Update, update};
use super::world::{World, id_of};
use crate::decode::bson::{Fields, Value, fields};

impl World {
    /// Inserts that many documents into each collection, about.
    pub async fn load(&mut self, documents: usize) {
        for which in 0..self.collections.len() {
            for _ in 0..documents.div_ceil(20) {
                self.insert_many(which, 20).await;
            }
        }
    }

    /// One operation.
    pub async fn step(&mut self) {
        let which = self.some();
        match self.random.below(100) {
            0..14 => self.insert(which, 1).await,
            14..18 => {
                let n = 2 + self.random.below(20);
                self.insert_many(which, n).await;
            }
            18..27 => self.replace(which).await,
            27..31 => self.upsert(which).await,
            31..38 => self.find_and_modify(which).await,
            38..45 => self.delete(which).await,
            45..47 => self.delete_many(which).await,
            47..52 => self.update_many(which).await,
            52..55 => self.bulk(which).await,
            55..58 if self.session.is_none() => self.bulk_write(which).await,
            58..62 if self.session.is_none() => Box::pin(self.transaction()).await,
            _ => self.update(which).await,
        }
    }

    async fn insert(&mut self, which: usize, n: usize) {
        let documents: Vec<Fields> = (0..n).map(|_| self.new_document(which)).collect();
        for document in &documents {
            self.note(which, Some(&id_of(document)), format!("insert {:?}", Value::Document(document.clone())));
        }
        self.insert_documents(which, documents).await;
    }

    /// Inserts these, going on after one that is refused.
    pub async fn insert_documents(&mut self, which: usize, documents: Vec<Fields>) {
        self.collections[which].count += documents.len();
        let command = fields([
            ("insert", Value::text(&self.collections[which].name)),
            ("documents", Value::Array(documents.into_iter().map(Value::Document).collect())),
            ("ordered", Value::Boolean(false)),
        ]);
        self.write(&command).await;
    }

    async fn insert_many(&mut self, which: usize, n: usize) {
        self.insert(which, n).await;
    }

    /// One statement of an `update` command.
    fn statement(query: Value, update: Update, options: Fields) -> Value {
        let mut statement = fields([("q", query), ("u", update.change)]);
        if let Some(filters) = update.array_filters {
            statement.push((b"arrayFilters".to_vec(), filters));
        }
        statement.extend(options);
        Value::Document(statement)
    }

    fn by_id(id: &Value) -> Value {
        Value::Document(fields([("_id", Value::Document(fields([("$eq", id.clone())])))]))
    }

    async fn update_command(&mut self, which: usize, statements: Vec<Value>) {
        let command = fields([
            ("update", Value::text(&self.collections[which].name)),
            ("updates", Value::Array(statements)),
            ("ordered", Value::Boolean(self.random.percent(50))),
        ]);
        self.write(&command).await;
    }

    /// An update of a document that exists, as a statement.
    async fn some_update(&mut self, which: usize) -> Option<(Value, Update)> {
        let document = self.existing(which).await?;
        let id = id_of(&document);
        let update = update(&mut self.random, &document, &self.collections[which].tree);
        self.note(which, Some(&id), format!("update {:?} {:?}", update.change, update.array_filters));
        Some((id, update))
    }

    async fn update(&mut self, which: usize) {
        let Some((id, update)) = self.some_update(which).await else { return };
        self.update_command(which, vec![Self::statement(Self::by_id(&id), update, Fields::new())]).await;
    }

    /// That change of that document.
    pub async fn update_by_id(&mut self, which: usize, id: &Value, change: Value) {
        let update = Update { change, array_filters: None };
        self.update_command(which, vec![Self::statement(Self::by_id(id), update, Fields::new())]).await;
    }

    async fn upsert(&mut self, which: usize) {
        let new = self.new_document(which);
        let id = id_of(&new);
        let update = update(&mut self.random, &new, &self.collections[which].tree);
        self.note(which, Some(&id), format!("upsert {:?} {:?}", update.change, update.array_filters));
        self.collections[which].count += 1;
        let options = fields([("upsert", Value::Boolean(true))]);
        self.update_command(which, vec![Self::statement(Self::by_id(&id), update, options)]).await;
    }

    async fn replace(&mut self, which: usize) {
        let Some(old) = self.existing(which).await else { return };
        let id = id_of(&old);
        let mut new = shapes::document(&mut self.random, &self.collections[which].tree);
        // A first name with a dollar would be an operator.
        new.retain(|(name, _)| !name.starts_with(b"$"));
        self.note(which, Some(&id), format!("replace {:?}", Value::Document(new.clone())));
        let update = Update { change: Value::Document(new), array_filters: None };
        self.update_command(which, vec![Self::statement(Self::by_id(&id), update, Fields::new())]).await;
    }

    async fn find_and_modify(&mut self, which: usize) {
        let Some((id, update)) = self.some_update(which).await else { return };
        let mut command = fields([
            ("findAndModify", Value::text(&self.collections[which].name)),
            ("query", Self::by_id(&id)),
            // So that the reply has nothing that is not UTF-8.
            ("fields", Value::Document(fields([("nothing", Value::Int32(1))]))),
        ]);
        if self.random.percent(20) {
            self.note(which, Some(&id), "findAndModify remove instead of the update before".to_owned());
            command.push((b"remove".to_vec(), Value::Boolean(true)));
        } else {
            command.push((b"update".to_vec(), update.change));
            command.push((b"new".to_vec(), Value::Boolean(self.random.percent(50))));
            if let Some(filters) = update.array_filters {
                command.push((b"arrayFilters".to_vec(), filters));
            }
        }
        self.write(&command).await;
    }

    async fn delete_command(&mut self, which: usize, query: Value, limit: i32) {
        let delete = fields([("q", query), ("limit", Value::Int32(limit))]);
        let command = fields([
            ("delete", Value::text(&self.collections[which].name)),
            ("deletes", Value::Array(vec![Value::Document(delete)])),
        ]);
        self.write(&command).await;
    }

    async fn delete(&mut self, which: usize) {
        let Some(document) = self.existing(which).await else { return };
        let id = id_of(&document);
        self.note(which, Some(&id), "delete".to_owned());
        self.delete_command(which, Self::by_id(&id), 1).await;
        self.collections[which].count = self.collections[which].count.saturating_sub(1);
        // The same `_id` again, as somebody else.
        if self.random.percent(20) {
            let mut new = vec![(b"_id".to_vec(), id.clone())];
            new.extend(shapes::document(&mut self.random, &self.collections[which].tree));
            self.note(which, Some(&id), format!("insert again {:?}", Value::Document(new.clone())));
            self.insert_documents(which, vec![new]).await;
        }
    }

    /// Some documents that exist.
    async fn several(&mut self, which: usize) -> Value {
        let mut ids = Vec::new();
        for _ in 0..2 + self.random.below(10) {
            if let Some(document) = self.existing(which).await {
                ids.push(id_of(&document));
            }
        }
        ids.retain(|id| !matches!(id, Value::Regex(..)));
        Value::Document(fields([("_id", Value::Document(fields([("$in", Value::Array(ids))])))]))
    }

    async fn delete_many(&mut self, which: usize) {
        let several = self.several(which).await;
        self.note(which, None, format!("deleteMany {several:?}"));
        self.delete_command(which, several, 0).await;
    }

    async fn update_many(&mut self, which: usize) {
        let Some((_, update)) = self.some_update(which).await else { return };
        let several = self.several(which).await;
        self.note(which, None, format!("updateMany {several:?} {:?}", update.change));
        let options = fields([("multi", Value::Boolean(true))]);
        self.update_command(which, vec![Self::statement(several, update, options)]).await;
    }

    async fn bulk(&mut self, which: usize) {
        let mut statements = Vec::new();
        for _ in 0..2 + self.random.below(6) {
            if let Some((id, update)) = self.some_update(which).await {
                statements.push(Self::statement(Self::by_id(&id), update, Fields::new()));
            }
        }
        if !statements.is_empty() {
            self.update_command(which, statements).await;
        }
    }

    /// The command that writes to several collections at once.
    async fn bulk_write(&mut self, which: usize) {
        let other = self.some();
        let namespace =
            |name: &str| Value::Document(fields([("ns", Value::text(&format!("{}.{name}", self.database.name())))]));
        let spaces = vec![namespace(&self.collections[which].name), namespace(&self.collections[other].name)];
        let mut statements = Vec::new();
        for _ in 0..2 + self.random.below(6) {
            let at = self.random.below(2);
            let here = if at == 0 || other == which { which } else { other };
            let at = Value::Int32(if here == which { 0 } else { 1 });
            if self.random.percent(40) {
                let document = self.new_document(here);
                self.note(
                    here,
                    Some(&id_of(&document)),
                    format!("bulkWrite insert {:?}", Value::Document(document.clone())),
                );
                self.collections[here].count += 1;
                statements.push(Value::Document(fields([("insert", at), ("document", Value::Document(document))])));
            } else if let Some((id, update)) = self.some_update(here).await {
                let mut statement =
                    fields([("update", at), ("filter", Self::by_id(&id)), ("updateMods", update.change)]);
                if let Some(filters) = update.array_filters {
                    statement.push((b"arrayFilters".to_vec(), filters));
                }
                statements.push(Value::Document(statement));
            }
        }
        let spaces = if other == which { spaces[..1].to_vec() } else { spaces };
        let command = fields([
            ("bulkWrite", Value::Int32(1)),
            ("ops", Value::Array(statements)),
            ("nsInfo", Value::Array(spaces)),
            ("ordered", Value::Boolean(self.random.percent(50))),
        ]);
        let admin = self.database.client().database("admin");
        self.write_to(&admin, &command).await;
    }

    /// A few operations on several collections that are visible at once or, now and then, never.
    async fn transaction(&mut self) {
        let mut session = self.database.client().start_session().await.expect("a session");
        session.start_transaction().await.expect("a transaction");
        let before = self.collections.clone();
        self.session = Some(session);
        let refused = self.refusals();
        for _ in 0..2 + self.random.below(8) {
            self.step().await;
            if self.refusals() > refused {
                break;
            }
        }
        let mut session = self.session.take().expect("put there above");
        // A refused operation has ended it already.
        let ended = self.refusals() > refused;
        let commit = !ended && self.random.percent(85);
        let done = if commit { session.commit_transaction().await } else { session.abort_transaction().await };
        let outcome = if commit && done.is_ok() { "committed" } else { "aborted" };
        self.note(0, None, format!("the transaction before was {outcome}"));
        if outcome == "aborted" {
            self.collections = before;
        }
    }
}
