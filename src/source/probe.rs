//! What kind of source this is, and which of the stream's options it grants.
//!
//! In: a connection. Out: a [`Probe`] that `stream` builds its command from, or the reason why the source cannot be
//! followed. Rights and options are found out by using them: documents about roles and versions are a guess, a restricted
//! service may refuse internal options that its version has, and an open cursor is proof.

use std::fmt;

use bson::{Document, doc};
use tracing::warn;

use super::diagnose::MAKE_A_SET;
use super::faults::{Site, classify};
use super::options::UpdateForm;
use super::stream::{Shape, command};
use super::way::{Way, WhyStream};
use super::{More, Source, primary};
use crate::error::{Class, Error, Kind, Result, Stage};

/// The oldest version with `showExpandedEvents`, without which renames and drops lack the UUIDs that say what is gone.
const OLDEST: Version = Version { major: 6, minor: 0, patch: 0 };
/// The oldest version whose public form tells a field named "0" from an array's first element (`disambiguatedPaths`).
const OLDEST_PUBLIC: Version = Version { major: 6, minor: 1, patch: 0 };

/// A server's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// First part.
    pub major: u32,
    /// Second part.
    pub minor: u32,
    /// Third part.
    pub patch: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// How the servers are arranged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// One replica set.
    ReplicaSet {
        /// Its name.
        name: String,
    },
    /// A sharded cluster behind `mongos`.
    Sharded,
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The server's version.
    pub version: Version,
    /// How the servers are arranged.
    pub topology: Topology,
    /// How changes are read, and why.
    pub way: Way,
    /// True on a member of a shard that is followed by itself.
    pub is_shard: bool,
    /// How updates come: [`UpdateForm::Raw`] or [`UpdateForm::Public`].
    pub updates: UpdateForm,
    /// True when the rows that `convertToCapped` and `cloneCollectionAsCapped` copy are shown.
    pub migration_events: bool,
    /// True when events over 16 MiB come in parts.
    pub split_large_events: bool,
}

impl Probe {
    pub(super) fn shape(&self) -> Shape {
        Shape {
            raw: self.updates == UpdateForm::Raw,
            migration_events: self.migration_events,
            split: self.split_large_events,
        }
    }
}

impl Source {
    /// Finds out whether and how this source can be followed.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for a standalone server or an old version, [`Kind::Permission`] for a missing right.
    pub async fn probe(&self) -> Result<Probe> {
        let (version, topology) = self.look_at().await?;
        match self.way(version, &topology).await? {
            way @ Way::Oplog(_) => self.probe_oplog(version, topology, way).await,
            Way::ChangeStream(why) => self.probe_stream(version, topology, why).await,
        }
    }

    /// The same, when the oplog is not to be read for a reason that shows later.
    ///
    /// # Errors
    /// As [`Source::probe`].
    pub async fn probe_without_oplog(&self, why: WhyStream) -> Result<Probe> {
        let (version, topology) = self.look_at().await?;
        self.probe_stream(version, topology, why).await
    }

    async fn look_at(&self) -> Result<(Version, Topology)> {
        let site = self.site(Stage::Source, "ask what the server is");
        let hello = self.command("admin", doc! { "hello": 1 }, site).await?;
        let build = self.command("admin", doc! { "buildInfo": 1 }, site).await?;
        let topology = topology(&hello, site)?;
        let version = version(&build, site)?;
        if let Some(database) = self.databases().await?.first() {
            self.collection_names_are_ours_to_read(database).await?;
        }
        Ok((version, topology))
    }

    /// Sees which of its options the change stream is granted.
    async fn probe_stream(&self, version: Version, topology: Topology, why: WhyStream) -> Result<Probe> {
        let shape = self.best_shape(topology == Topology::Sharded).await?;
        let updates = if shape.raw { UpdateForm::Raw } else { UpdateForm::Public };
        if updates == UpdateForm::Public && version < OLDEST_PUBLIC {
            let message = format!(
                "MongoDB {version} refuses showRawUpdateDescription, and its public form of updates \
                                   does not tell a field named \"0\" from an array's first element"
            );
            return Err(
                Error::new(Kind::Unsupported, Stage::Source, message).remedy("upgrade the source to 7.0 or later")
            );
        }
        let Shape { migration_events, split, .. } = shape;
        let way = Way::ChangeStream(why);
        Ok(Probe { version, topology, way, is_shard: false, updates, migration_events, split_large_events: split })
    }

    /// Sees that the oplog is there and ours to read.
    async fn probe_oplog(&self, version: Version, topology: Topology, way: Way) -> Result<Probe> {
        if topology == Topology::Sharded {
            let message =
                "source.reader = \"oplog\" cannot follow a sharded cluster: each shard has an oplog of its own";
            return Err(
                Error::new(Kind::Unsupported, Stage::Source, message).remedy("set source.reader to \"change_stream\"")
            );
        }
        let remedy = "grant the user the role clusterMonitor, or read on the database local, or set source.reader to \"change_stream\"";
        let looked = self.look_into_the_oplog().await;
        looked.map_err(|error| if error.kind() == Kind::Permission { error.remedy(remedy) } else { error })?;
        let is_shard = self.is_shard().await?;
        if is_shard {
            warn!(
                "the source is one shard of a cluster: what is on the others is not seen, nor what moves between them"
            );
        }
        let (updates, migration_events, split_large_events) = (UpdateForm::Raw, true, false);
        Ok(Probe { version, topology, way, is_shard, updates, migration_events, split_large_events })
    }

    async fn collection_names_are_ours_to_read(&self, database: &str) -> Result<()> {
        let doing = format!("list the collections of {database}");
        let site = self.site(Stage::Source, &doing);
        self.command(database, doc! { "listCollections": 1, "cursor": { "batchSize": 1 } }, site).await.map(drop)
    }

    /// The first set of options with which the stream opens, best first.
    async fn best_shape(&self, sharded: bool) -> Result<Shape> {
        let site = self.site(Stage::Source, "open the cluster-wide change stream");
        let mut refusal = None;
        for shape in shapes(self.inner.updates, sharded) {
            match self.open("admin", command(shape, None)?, primary(), More::default(), site).await? {
                Ok(_) => {
                    report(shape, sharded, self.inner.updates);
                    return Ok(shape);
                }
                Err(error) => {
                    let error = classify(&error, site);
                    let about_options = error.class() == Class::Fatal && error.kind() != Kind::Permission;
                    if !about_options {
                        return Err(error);
                    }
                    refusal.get_or_insert(error);
                }
            }
        }
        let defect = || Error::new(Kind::Defect, Stage::Source, "no way to open the change stream was tried");
        Err(refusal.unwrap_or_else(defect))
    }
}

/// What to try, best first: the form of updates weighs most, then what is shown, then the size of events.
fn shapes(updates: UpdateForm, sharded: bool) -> Vec<Shape> {
    let forms: &[bool] = match updates {
        UpdateForm::Auto => &[true, false],
        UpdateForm::Raw => &[true],
        UpdateForm::Public => &[false],
    };
    // On a sharded cluster the option also shows chunks that move: rows that were there already.
    let migrations: &[bool] = if sharded { &[false] } else { &[true, false] };
    let mut shapes = Vec::new();
    for raw in forms {
        for migration_events in migrations {
            for split in [true, false] {
                shapes.push(Shape { raw: *raw, migration_events: *migration_events, split });
            }
        }
    }
    shapes
}

/// What the server did not grant changes what an operator can rely on, so it is said once.
fn report(shape: Shape, sharded: bool, wanted: UpdateForm) {
    if !shape.raw && wanted == UpdateForm::Auto {
        warn!("the source refuses showRawUpdateDescription: updates come in the public form");
    }
    if sharded {
        warn!("the source is a sharded cluster: a transaction over several shards becomes visible shard by shard");
    } else if !shape.migration_events {
        warn!("the source refuses showMigrationEvents: rows copied by convertToCapped will not be seen");
    }
    if !shape.split {
        warn!("the source refuses $changeStreamSplitLargeEvent: a change over 16 MiB will stop the stream");
    }
}

fn topology(hello: &Document, site: Site<'_>) -> Result<Topology> {
    if hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") {
        return Ok(Topology::Sharded);
    }
    match hello.get_str("setName") {
        Ok(name) => Ok(Topology::ReplicaSet { name: name.to_owned() }),
        Err(_) => {
            let message = format!("{} is a standalone server", site.hosts);
            Err(Error::new(Kind::Unsupported, Stage::Source, message).remedy(MAKE_A_SET))
        }
    }
}

fn version(build: &Document, site: Site<'_>) -> Result<Version> {
    let text = build.get_str("version").unwrap_or_default();
    let mut parts = text.split(['.', '-']).map(|part| part.parse().ok());
    let mut part = || parts.next().flatten();
    let (Some(major), Some(minor)) = (part(), part()) else {
        let message = format!("{} gives no version that can be read", site.hosts);
        return Err(Error::new(Kind::Unsupported, Stage::Source, message));
    };
    let version = Version { major, minor, patch: part().unwrap_or(0) };
    if version < OLDEST {
        let message = format!("{} runs MongoDB {version}, the oldest that can be followed is {OLDEST}", site.hosts);
        return Err(Error::new(Kind::Unsupported, Stage::Source, message).remedy("upgrade the source"));
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::{Site, Topology, shapes, topology, version};
    use crate::error::{Kind, Stage};
    use crate::source::UpdateForm;

    const SITE: Site<'static> = Site { stage: Stage::Source, doing: "test", hosts: "h:1" };

    #[test]
    fn versions_and_kinds_of_servers() {
        assert_eq!(version(&doc! { "version": "8.2.0-rc1" }, SITE).expect("version").to_string(), "8.2.0");
        assert_eq!(version(&doc! { "version": "5.0.30" }, SITE).expect_err("old").kind(), Kind::Unsupported);
        assert_eq!(topology(&doc! { "msg": "isdbgrid" }, SITE).expect("known"), Topology::Sharded);
        assert_eq!(topology(&doc! { "ismaster": true }, SITE).expect_err("standalone").kind(), Kind::Unsupported);
    }

    #[test]
    fn the_raw_form_is_tried_first_and_only_when_allowed() {
        let auto = shapes(UpdateForm::Auto, false);
        assert!(auto.first().is_some_and(|best| best.raw && best.migration_events && best.split));
        assert_eq!(auto.len(), 8);
        assert!(shapes(UpdateForm::Raw, false).iter().all(|shape| shape.raw));
        assert!(shapes(UpdateForm::Public, true).iter().all(|shape| !shape.raw && !shape.migration_events));
    }
}
