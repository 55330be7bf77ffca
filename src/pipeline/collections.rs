//! The collections of a pipeline as an attempt starts from them: their mappings, and what is to be copied.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::config::Config;
use crate::error::{Error, Kind, Result, Stage};
use crate::mapping::collection::{Collection, Shared, schema_identifier};
use crate::mapping::names::TableNames;
use crate::model::namespace::{CollectionId, Namespace};
use crate::model::position::ClusterTime;
use crate::model::table::SharedTable;
use crate::model::write_set::{Ddl, PathRow};
use crate::sink::catalog::Known;
use crate::sink::target::Target;
use crate::source::{CollectionInfo, CollectionKind, Source};

/// The collections by UUID, with what all share.
pub struct Collections {
    pub shared: Shared,
    pub known: HashMap<CollectionId, Collection>,
    /// What is to be copied: found at the source, selected, and not copied yet.
    pub to_copy: Vec<CollectionInfo>,
    /// The source's time when it was asked which collections it has.
    pub listed_at: ClusterTime,
}

impl Collections {
    /// The mappings that are known.
    pub fn restore(config: &Config, known: Known) -> Result<Self> {
        let shared = Shared {
            names: Arc::new(TableNames::default()),
            options: Arc::new(config.mapping),
            collections: Arc::new(config.collections.clone()),
        };
        let mut paths: HashMap<CollectionId, Vec<PathRow>> = HashMap::new();
        for path in known.paths {
            paths.entry(path.collection).or_default().push(path);
        }
        for kept in &known.kept {
            shared.names.keep(&kept.schema, &kept.name, kept.collection, kept.aside);
        }
        let mut collections =
            Self { shared, known: HashMap::new(), to_copy: Vec::new(), listed_at: ClusterTime::default() };
        for row in &known.collections {
            let paths = paths.remove(&row.id).unwrap_or_default();
            let restored = Collection::restore(row, paths, collections.shared.clone());
            let damaged = |error| Error::new(Kind::Defect, Stage::Mapping, "reading the catalog").caused_by(error);
            collections.known.insert(row.id, restored.map_err(damaged)?);
        }
        agree(collections.known.values())?;
        Ok(collections)
    }

    /// The root tables.
    pub fn roots(&self) -> Vec<SharedTable> {
        self.known.values().filter_map(|known| known.tables().first().cloned()).collect()
    }

    /// Looks for what is to be copied; gives all collections of the source, selected or not.
    pub async fn find_to_copy(
        &mut self,
        source: &Source,
        config: &Config,
        again: &BTreeSet<CollectionId>,
    ) -> Result<Vec<CollectionInfo>> {
        self.listed_at = source.operation_time().await?;
        let mut found = source.collections().await?;
        found.retain(|info| info.kind == CollectionKind::Collection);
        let copied = |id| self.known.get(&id).is_some_and(Collection::is_copied) && !again.contains(&id);
        let wanted = |info: &&CollectionInfo| config.filter.selects(&info.namespace) && !copied(info.id);
        self.to_copy = found.iter().filter(wanted).cloned().collect();
        Ok(found)
    }

    /// What happened to the collections that are copied again while nobody looked: those that are gone are dropped, those
    /// that have another name get it. Where the stream tells of it too, that changes nothing more.
    pub fn catch_up(&mut self, found: &[CollectionInfo], again: &BTreeSet<CollectionId>) -> Vec<Ddl> {
        let names: HashMap<CollectionId, &Namespace> = found.iter().map(|info| (info.id, &info.namespace)).collect();
        let mut ddl = Vec::new();
        for id in again.iter().filter(|id| !names.contains_key(id)) {
            if let Some(mut gone) = self.known.remove(id) {
                gone.drop_all();
                ddl.extend(gone.take_ddl());
            }
        }
        let mut renamed = Vec::new();
        for (id, name) in &names {
            if let Some(known) = self.known.get_mut(id).filter(|known| again.contains(id) && known.namespace() != *name)
            {
                // Two may have each other's name: first everybody gives his back.
                let between = Namespace::new(&name.database, &format!("{} (renamed {id})", name.collection));
                known.rename(between);
                ddl.extend(known.take_ddl());
                renamed.push((*id, (*name).clone()));
            }
        }
        for (id, name) in renamed {
            if let Some(known) = self.known.get_mut(&id) {
                known.rename(name);
                ddl.extend(known.take_ddl());
            }
        }
        ddl
    }

    /// Names that something else has in the target are not ours to take; a collection that wants one is refused.
    pub async fn occupy(&self, target: &Target) -> Result<()> {
        let mut seen = HashSet::new();
        for info in &self.to_copy {
            let schema = schema_identifier(&self.shared, &info.namespace);
            if seen.insert(schema.clone()) {
                for name in target.relations(schema.as_str()).await? {
                    let ours = self.known.values().any(|known| has_table(known, schema.as_str(), &name));
                    if !ours && !self.shared.names.is_kept(&schema, &name) {
                        self.shared.names.occupy(&schema, &name);
                    }
                }
            }
            let (_, wanted) = self.shared.target(&info.namespace);
            let foreign = self.shared.names.is_taken(&schema, &wanted)
                && !self.known.values().any(|known| has_table(known, schema.as_str(), &wanted));
            if foreign {
                return Err(in_the_way(&info.namespace.to_string(), &format!("{schema}.\"{wanted}\"")));
            }
        }
        Ok(())
    }
}

/// Compares the configuration with what is there: forms stay, which is told; types that cannot be had are refused.
fn agree<'c>(known: impl Iterator<Item = &'c Collection>) -> Result<()> {
    /// Paths that one log record names.
    const NAMED: usize = 10;
    let mut refused = Vec::new();
    for collection in known {
        let mut found = collection.disagreements();
        refused.append(&mut found.refused);
        if !found.kept.is_empty() {
            let more = found.kept.len().saturating_sub(NAMED);
            let paths = found.kept.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
            tracing::warn!(
                namespace = %collection.namespace(),
                paths,
                more,
                "the configuration wants another form for these paths, but they keep the form they have"
            );
        }
    }
    match refused.as_slice() {
        [] => Ok(()),
        _ => Err(Error::new(Kind::Refused, Stage::Mapping, refused.join("; ")).remedy(
            "take `type` out of [collection.columns] for these paths, or set the type that the column has; to convert \
             them, drop the collection's tables and copy it again under another pipeline name",
        )),
    }
}

fn has_table(collection: &Collection, schema: &str, name: &str) -> bool {
    collection.tables().iter().any(|table| table.schema.as_str() == schema && table.name.as_str() == name)
}

fn in_the_way(namespace: &str, table: &str) -> Error {
    let message =
        format!("{namespace} goes to {table}, and a relation of that name exists that is not this pipeline's");
    let remedy = "rename or drop it, or give the collection another table under [[collection]] in the configuration";
    Error::new(Kind::Refused, Stage::Sink, message).remedy(remedy)
}
