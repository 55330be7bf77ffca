//! Which way changes are read, and why that one.
//!
//! In: what `source.reader` says, and what the source grants. Out: a [`Way`], which prints as a sentence for `check` and the
//! log. With `auto` the oplog is read where its format is known, it holds everything, and the user may read it; whatever
//! speaks against it leads to the change stream, and only an error that passes by itself is an error here.

use std::fmt;

use bson::{Document, doc};

use super::Source;
use super::faults::{Site, classify};
use super::options::{ReaderKind, UpdateForm};
use super::probe::{Topology, Version};
use crate::error::{Class, Error, Kind, Result, Stage};

/// The last major version whose oplog is known. Its format is the server's own, and may be another one in the next; then
/// entries could be misread, where the change stream's events are published and keep their meaning.
const LAST_KNOWN_OPLOG: u32 = 8;

/// How changes are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// By one change stream.
    ChangeStream(WhyStream),
    /// By tailing `local.oplog.rs`.
    Oplog(WhyOplog),
}

/// Why it is the change stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyStream {
    /// `source.reader` says so.
    Wanted,
    /// A sharded cluster has an oplog for each shard and none for all.
    Sharded,
    /// Of a shard the oplog also has what moves between the shards.
    Shard,
    /// The oplog of that version is not known.
    UnknownVersion(Version),
    /// `source.updates` asks for a form that only events have.
    PublicUpdates,
    /// The user may not read the oplog.
    Forbidden,
    /// There is no oplog to be seen, or it cannot be read for the reason given.
    Unreadable(String),
    /// The oplog was read until an error that is the oplog's own.
    Refused,
    /// A committed position of the change stream lies inside an entry of the oplog.
    Position,
}

/// Why it is the oplog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyOplog {
    /// `source.reader` says so.
    Wanted,
    /// Nothing speaks against it.
    Best,
}

impl Way {
    /// True when another reader may take over, because the choice was ours.
    #[must_use]
    pub fn may_change(&self) -> bool {
        match self {
            Self::Oplog(WhyOplog::Best) => true,
            Self::Oplog(WhyOplog::Wanted) | Self::ChangeStream(_) => false,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Oplog(WhyOplog::Wanted) => f.write_str("the oplog: source.reader is oplog"),
            Self::Oplog(WhyOplog::Best) => f.write_str(
                "the oplog: source.reader is auto, the source is a plain replica set, and the user may read local.oplog.rs",
            ),
            Self::ChangeStream(WhyStream::Wanted) => f.write_str("one change stream: source.reader is change_stream"),
            Self::ChangeStream(why) => write!(f, "one change stream: source.reader is auto, and {why}"),
        }
    }
}

impl fmt::Display for WhyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wanted => f.write_str("source.reader is change_stream"),
            Self::Sharded => f.write_str("a sharded cluster has no oplog for all of it"),
            Self::Shard => f.write_str("the source is one shard of a cluster"),
            Self::UnknownVersion(version) => write!(f, "the oplog of MongoDB {version} is not known to this Tailwater"),
            Self::PublicUpdates => f.write_str("source.updates is public, which the oplog does not have"),
            Self::Forbidden => f.write_str(
                "the user may not read local.oplog.rs (grant it the role clusterMonitor, or read on the database local, to \
                 use the oplog, which costs mongod less)",
            ),
            Self::Unreadable(why) => write!(f, "the oplog cannot be read: {why}"),
            Self::Refused => f.write_str("the oplog could not be read on"),
            Self::Position => f.write_str(
                "the change stream has committed a part of a write of many documents, which the oplog would give again as \
                 a whole; a later start uses the oplog",
            ),
        }
    }
}

/// What keeps the oplog from being read, when it is not `source.reader` and needs no look at it.
fn against(version: Version, topology: &Topology, updates: UpdateForm) -> Option<WhyStream> {
    match (topology, updates) {
        (Topology::Sharded, _) => Some(WhyStream::Sharded),
        (Topology::ReplicaSet { .. }, _) if version.major > LAST_KNOWN_OPLOG => {
            Some(WhyStream::UnknownVersion(version))
        }
        (Topology::ReplicaSet { .. }, UpdateForm::Public) => Some(WhyStream::PublicUpdates),
        (Topology::ReplicaSet { .. }, UpdateForm::Auto | UpdateForm::Raw) => None,
    }
}

impl Source {
    /// What `source.reader` says, or the better of both.
    pub(super) async fn way(&self, version: Version, topology: &Topology) -> Result<Way> {
        Ok(match self.inner.reader {
            ReaderKind::ChangeStream => Way::ChangeStream(WhyStream::Wanted),
            ReaderKind::Oplog => Way::Oplog(WhyOplog::Wanted),
            ReaderKind::Auto => match self.against_the_oplog(version, topology).await? {
                Some(why) => Way::ChangeStream(why),
                None => Way::Oplog(WhyOplog::Best),
            },
        })
    }

    async fn against_the_oplog(&self, version: Version, topology: &Topology) -> Result<Option<WhyStream>> {
        if let Some(why) = against(version, topology, self.inner.updates) {
            return Ok(Some(why));
        }
        match self.look_into_the_oplog().await {
            Ok(true) => Ok(self.is_shard().await?.then_some(WhyStream::Shard)),
            Ok(false) => Ok(Some(WhyStream::Unreadable("it is empty".to_owned()))),
            Err(error) if error.kind() == Kind::Permission => Ok(Some(WhyStream::Forbidden)),
            Err(error) if error.class() == Class::Transient => Err(error),
            Err(error) => Ok(Some(WhyStream::Unreadable(error.to_string()))),
        }
    }

    /// Reads one entry; false when there is none.
    pub(super) async fn look_into_the_oplog(&self) -> Result<bool> {
        let site = self.site(Stage::Source, "read the oplog (local.oplog.rs)");
        let command = doc! {
            "find": "oplog.rs", "limit": 1, "singleBatch": true, "projection": { "ts": 1 },
            "readConcern": { "level": "majority" },
        };
        let reply = self.try_command("local", command, site).await?;
        Ok(has_first(&reply.map_err(|error| classify(&error, site))?))
    }

    /// Members of a shard know which one they are of (`shardIdentity`). Who may not look there is given the benefit.
    pub(super) async fn is_shard(&self) -> Result<bool> {
        let site: Site<'_> = self.site(Stage::Source, "ask whether the server is a shard");
        let command =
            doc! { "find": "system.version", "filter": { "_id": "shardIdentity" }, "limit": 1, "singleBatch": true };
        let found = self.try_command("admin", command, site).await?;
        Ok(found.is_ok_and(|reply| has_first(&reply)))
    }
}

fn has_first(reply: &Document) -> bool {
    let batch = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    batch.is_ok_and(|batch| !batch.is_empty())
}

/// An error of the oplog's reader as the way has it: what the change stream may well read is no end where the choice is
/// ours.
pub(super) fn or_else_the_stream(way: &Way, error: Error) -> Error {
    let the_oplogs_own = matches!(error.kind(), Kind::Permission | Kind::Unsupported | Kind::Undeliverable);
    if !way.may_change() || !the_oplogs_own {
        return error;
    }
    let message = "the oplog cannot be read on, and the change stream takes over";
    Error::new(Kind::OtherReader, Stage::Source, message).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::{Way, WhyOplog, WhyStream, against, or_else_the_stream};
    use crate::error::{Class, Error, Kind, Stage};
    use crate::source::{Topology, UpdateForm, Version};

    const KNOWN: Version = Version { major: 8, minor: 3, patch: 1 };

    fn set() -> Topology {
        Topology::ReplicaSet { name: "rs0".to_owned() }
    }

    #[test]
    fn only_a_known_oplog_that_holds_everything_is_read_by_itself() {
        for updates in [UpdateForm::Auto, UpdateForm::Raw] {
            assert_eq!(against(KNOWN, &set(), updates), None);
        }
        assert_eq!(against(KNOWN, &set(), UpdateForm::Public), Some(WhyStream::PublicUpdates));
        assert_eq!(against(KNOWN, &Topology::Sharded, UpdateForm::Auto), Some(WhyStream::Sharded));
        let next = Version { major: 9, minor: 0, patch: 0 };
        assert_eq!(against(next, &set(), UpdateForm::Auto), Some(WhyStream::UnknownVersion(next)));
    }

    #[test]
    fn the_stream_takes_over_only_where_nobody_asked_for_the_oplog_and_it_may_help() {
        let (best, wanted) = (Way::Oplog(WhyOplog::Best), Way::Oplog(WhyOplog::Wanted));
        let after = |way: &Way, kind| or_else_the_stream(way, Error::new(kind, Stage::Source, "no")).kind();
        for kind in [Kind::Permission, Kind::Unsupported, Kind::Undeliverable] {
            assert_eq!((after(&best, kind), after(&wanted, kind)), (Kind::OtherReader, kind));
        }
        for kind in [Kind::HistoryLost, Kind::Interrupted, Kind::Unavailable, Kind::Credentials, Kind::Defect] {
            assert_eq!(after(&best, kind), kind);
        }
        assert_eq!(Kind::OtherReader.class(), Class::Transient);
    }

    #[test]
    fn the_reason_is_told_with_what_would_change_it() {
        let forbidden = Way::ChangeStream(WhyStream::Forbidden).to_string();
        assert!(forbidden.starts_with("one change stream: source.reader is auto, and the user may not"), "{forbidden}");
        assert!(forbidden.contains("role clusterMonitor"), "{forbidden}");
        let wanted = Way::ChangeStream(WhyStream::Wanted).to_string();
        assert_eq!(wanted, "one change stream: source.reader is change_stream");
    }
}
