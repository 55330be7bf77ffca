//! The product's own reader, without a daemon.

use tailwater::model::bson::Document;
use tailwater::model::namespace::Namespace;
use tailwater::model::secret::Secret;
use tailwater::source::{CollectionInfo, RangeReader, ReadPreference, ReaderKind, Source, SourceOptions, UpdateForm};

use super::case::Case;

impl Case {
    /// Connects to MongoDB.
    pub async fn source(&self) -> Source {
        let options = SourceOptions {
            uri: Secret::new(self.mongodb_uri.as_str()),
            read_preference: ReadPreference::Primary,
            reader: ReaderKind::ChangeStream,
            updates: UpdateForm::Auto,
        };
        Source::connect(&options).await.expect("connects")
    }

    /// What the source says about a collection of its database `db`.
    pub async fn info(&self, source: &Source, name: &str) -> CollectionInfo {
        let namespace = Namespace::new(self.database("db").name(), name);
        source.collection(&namespace).await.expect("listed").expect("exists")
    }
}

/// Every document that a reader yields.
pub async fn read_all(mut reader: RangeReader) -> Vec<Document> {
    let mut all = Vec::new();
    while let Some(batch) = reader.next_batch().await.expect("reads") {
        assert!(batch.bytes() > 0);
        all.extend(batch.docs().map(|document| document.expect("valid").to_owned()));
    }
    all
}
