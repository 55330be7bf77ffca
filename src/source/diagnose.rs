//! Why no server fits. In: the settings that found none, and the error. Out: an error that says what the hosts are.
//!
//! The driver only says that nothing fits; asking each host by itself, without a login, tells the usual mistakes apart:
//! a standalone server, a set that was never initiated, another set name, member names that mean nothing on this machine.

use std::time::Duration;

use bson::{Document, doc};
use mongodb::Client;
use mongodb::options::{ClientOptions, ServerAddress};

use crate::error::{Error, Kind, Stage};

/// How long to wait for each host; an operator is waiting, and the selection time has passed already.
const ASK: Duration = Duration::from_secs(2);

/// What to look at when no host answers.
const REACH: &str = "check that MongoDB runs and that the hosts and ports in the source URI are right";

/// How to make a replica set of a standalone server.
pub(super) const MAKE_A_SET: &str = "change streams need a replica set, one member is enough: restart mongod with \
                                     --replSet rs0, run rs.initiate() once, and add ?replicaSet=rs0 to the URI";

/// Replaces `error` by what the hosts tell, when they tell more.
pub(super) async fn explain(settings: &ClientOptions, error: Error) -> Error {
    let mut answered = false;
    for host in &settings.hosts {
        let Some(hello) = ask(settings, host).await else { continue };
        answered = true;
        if let Some(found) = judge(&hello, settings.repl_set_name.as_deref(), host) {
            return found;
        }
    }
    if answered || error.has_remedy() { error } else { error.remedy(REACH) }
}

async fn ask(settings: &ClientOptions, host: &ServerAddress) -> Option<Document> {
    let mut settings = settings.clone();
    settings.hosts = vec![host.clone()];
    settings.direct_connection = Some(true);
    settings.repl_set_name = None;
    settings.credential = None;
    settings.server_selection_timeout = Some(ASK);
    let client = Client::with_options(settings).ok()?;
    let hello = tokio::time::timeout(ASK, client.database("admin").run_command(doc! { "hello": 1 })).await;
    client.shutdown().immediate(true).await;
    hello.ok()?.ok()
}

fn judge(hello: &Document, wanted: Option<&str>, host: &ServerAddress) -> Option<Error> {
    let error = |kind, message: String| Some(Error::new(kind, Stage::Source, message));
    if hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") {
        let error = Error::new(Kind::Configuration, Stage::Source, format!("{host} is a mongos, not a set's member"));
        return Some(error.remedy("remove replicaSet from the source URI"));
    }
    if hello.get_bool("isreplicaset").unwrap_or(false) {
        let error = Error::new(Kind::Unsupported, Stage::Source, format!("{host} waits to be made a replica set"));
        return Some(error.remedy("run rs.initiate() once in mongosh"));
    }
    let Ok(name) = hello.get_str("setName") else {
        let error = Error::new(Kind::Unsupported, Stage::Source, format!("{host} is a standalone server"));
        return Some(error.remedy(MAKE_A_SET));
    };
    if let Some(wanted) = wanted.filter(|wanted| *wanted != name) {
        let message = format!("{host} belongs to the replica set {name:?}, the source URI asks for {wanted:?}");
        return error(Kind::Configuration, message);
    }
    if hello.get_str("primary").is_err() {
        return error(Kind::Unavailable, format!("the replica set {name:?} has no primary, says {host}"));
    }
    let members: Vec<&str> = hello.get_array("hosts").ok()?.iter().filter_map(bson::Bson::as_str).collect();
    if members.iter().any(|member| *member == host.to_string()) {
        return None;
    }
    let message = format!("{host} answers, but its replica set calls its members {}", members.join(", "));
    Some(
        Error::new(Kind::Unavailable, Stage::Source, message)
            .remedy("make these names resolve on this machine, or add directConnection=true to the source URI"),
    )
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};
    use mongodb::options::ServerAddress;

    use super::judge;
    use crate::error::Kind;

    fn told(hello: &Document, wanted: Option<&str>) -> Option<(Kind, String)> {
        let host = ServerAddress::parse("db1:27017").expect("address");
        judge(hello, wanted, &host).map(|error| (error.kind(), error.to_string()))
    }

    #[test]
    fn the_usual_mistakes_are_told_apart() {
        let standalone = told(&doc! { "isWritablePrimary": true }, Some("rs0")).expect("told");
        assert_eq!(standalone.0, Kind::Unsupported);
        assert!(standalone.1.contains("--replSet"), "{}", standalone.1);
        assert_eq!(told(&doc! { "isreplicaset": true }, None).expect("told").0, Kind::Unsupported);
        let other = doc! { "setName": "rs1", "primary": "db1:27017", "hosts": ["db1:27017"] };
        assert_eq!(told(&other, Some("rs0")).expect("told").0, Kind::Configuration);
        assert_eq!(told(&other, Some("rs1")), None);
        let names = doc! { "setName": "rs0", "primary": "mongo:27017", "hosts": ["mongo:27017"] };
        let (kind, message) = told(&names, Some("rs0")).expect("told");
        assert_eq!(kind, Kind::Unavailable);
        assert!(message.contains("mongo:27017"), "{message}");
        let headless = doc! { "setName": "rs0", "hosts": ["db1:27017"] };
        assert!(told(&headless, None).expect("told").1.contains("no primary"));
    }
}
