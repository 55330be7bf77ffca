//! The one place that decides what an error of MongoDB or of its driver means.
//!
//! In: the driver's error, and what was being done where. Out: our error with its kind, a message that names the hosts,
//! and what to do. Invariants: no row value and no credential enters a message. Servers quote documents, keys and resume
//! tokens (which hold `_id`s) in their messages, and the driver's own `Display` prints whole replies; so only the code
//! and the part of the text before the first quotation are kept, and the driver's error is not attached.

use std::error::Error as _;

use mongodb::error::{Error as DriverError, ErrorKind};

use crate::error::{Error, Kind, Stage};
use crate::model::bson::Malformed;

/// Where an error happened, for its message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site<'a> {
    /// The stage to name in metrics.
    pub(super) stage: Stage,
    /// What was being done: completes "cannot …".
    pub(super) doing: &'a str,
    /// `host:port` of the servers, separated by commas.
    pub(super) hosts: &'a str,
}

/// The collection is not where its UUID says; the reply names where it is now.
pub(super) const COLLECTION_UUID_MISMATCH: i32 = 361;
/// No such collection. Before a read it means empty, in a read by UUID the other code comes.
pub(super) const NAMESPACE_NOT_FOUND: i32 = 26;
/// An event over the limit, whole (BSONObjectTooLarge) or in parts (measured on 8.2).
pub(super) const TOO_LARGE: [i32; 2] = [10334, 7182500];
/// A right is missing. As transient it would be retried for ever without anyone granting it.
pub(super) const UNAUTHORIZED: i32 = 13;

/// What a server code means.
struct Rule {
    code: i32,
    kind: Kind,
    remedy: Option<&'static str>,
}

const fn rule(code: i32, kind: Kind) -> Rule {
    Rule { code, kind, remedy: None }
}

const fn remedied(code: i32, kind: Kind, remedy: &'static str) -> Rule {
    Rule { code, kind, remedy: Some(remedy) }
}

const GRANT: &str = "grant the user the roles readAnyDatabase and clusterMonitor on the admin database";
pub(super) const LOST: &str =
    "copy the data again (on.history_lost = \"resnapshot\"), and give the source a larger oplog";
const SHORTEN: &str = "a document of almost 16 MB with a long _id makes an event that MongoDB cannot send; shorten or \
                       remove it, then copy the data again";
const LOGIN: &str = "check user, password and authSource in the source URI";

/// MongoDB's codes (`error_codes.yml`), each with the cost of reading it wrongly. What is not listed is fatal, unless the
/// server labels it as safe to retry: a loop that nobody ends is worse than a stop with a message.
const RULES: &[Rule] = &[
    // Retried, these would loop for ever; taken as anything less, changes would be missing without a word.
    remedied(286, Kind::HistoryLost, LOST), // ChangeStreamHistoryLost
    remedied(260, Kind::HistoryLost, LOST), // InvalidResumeToken: the position is not of this server
    remedied(280, Kind::HistoryLost, LOST), // ChangeStreamFatalError: the position is not in the stream any more
    // The open cursor fell behind. Opening again either works or answers 286, so it is not fatal by itself.
    rule(136, Kind::Interrupted), // CappedPositionLost
    // Deterministic: the same event fails again at every attempt.
    remedied(10334, Kind::Undeliverable, SHORTEN),   // BSONObjectTooLarge
    remedied(16493, Kind::Undeliverable, SHORTEN),   // RCString too large: the resume token itself (measured on 8.2)
    remedied(7182500, Kind::Undeliverable, SHORTEN), // a part of a split event is too large
    remedied(17419, Kind::Undeliverable, SHORTEN),   // resulting document too large
    // Nobody types a password into a daemon: retrying hides the cause and may lock the account.
    remedied(18, Kind::Credentials, LOGIN),   // AuthenticationFailed
    remedied(8000, Kind::Credentials, LOGIN), // AtlasError, given for a failed login
    remedied(11, Kind::Credentials, LOGIN),   // UserNotFound
    remedied(UNAUTHORIZED, Kind::Permission, GRANT),
    // Elections, restarts, networks: fatal would stop a daemon that only had to wait some seconds.
    rule(6, Kind::Unavailable),     // HostUnreachable
    rule(7, Kind::Unavailable),     // HostNotFound
    rule(89, Kind::Unavailable),    // NetworkTimeout
    rule(91, Kind::Unavailable),    // ShutdownInProgress
    rule(133, Kind::Unavailable),   // FailedToSatisfyReadPreference
    rule(134, Kind::Unavailable),   // ReadConcernMajorityNotAvailableYet
    rule(189, Kind::Unavailable),   // PrimarySteppedDown
    rule(202, Kind::Unavailable),   // NetworkInterfaceExceededTimeLimit
    rule(262, Kind::Unavailable),   // ExceededTimeLimit
    rule(365, Kind::Unavailable),   // TemporarilyUnavailable
    rule(384, Kind::Unavailable),   // ConnectionError
    rule(391, Kind::Unavailable),   // ReauthenticationRequired
    rule(461, Kind::Unavailable),   // IngressRequestRateLimitExceeded
    rule(9001, Kind::Unavailable),  // SocketException
    rule(10058, Kind::Unavailable), // LegacyNotPrimary
    rule(10107, Kind::Unavailable), // NotWritablePrimary
    rule(11600, Kind::Unavailable), // InterruptedAtShutdown
    rule(11602, Kind::Unavailable), // InterruptedDueToReplStateChange
    rule(13435, Kind::Unavailable), // NotPrimaryNoSecondaryOk
    rule(13436, Kind::Unavailable), // NotPrimaryOrSecondary
    // The cursor is gone, the data is not: open again from the position, or read the range again at a later time.
    rule(NAMESPACE_NOT_FOUND, Kind::Interrupted),
    rule(COLLECTION_UUID_MISMATCH, Kind::Interrupted),
    rule(24, Kind::Interrupted),    // LockTimeout
    rule(43, Kind::Interrupted),    // CursorNotFound
    rule(50, Kind::Interrupted),    // MaxTimeMSExpired
    rule(63, Kind::Interrupted),    // StaleShardVersion
    rule(112, Kind::Interrupted),   // WriteConflict
    rule(150, Kind::Interrupted),   // StaleEpoch
    rule(175, Kind::Interrupted),   // QueryPlanKilled: renamed or dropped under the scan
    rule(234, Kind::Interrupted),   // RetryChangeStream
    rule(237, Kind::Interrupted),   // CursorKilled
    rule(239, Kind::Interrupted),   // SnapshotTooOld
    rule(246, Kind::Interrupted),   // SnapshotUnavailable
    rule(272, Kind::Interrupted),   // MigrationConflict: a later time will do
    rule(279, Kind::Interrupted),   // ClientDisconnect
    rule(11601, Kind::Interrupted), // Interrupted, by killOp
    rule(13388, Kind::Interrupted), // StaleConfig
];

/// Labels by which the server says that trying again is right (change streams and retryable reads specifications).
const RETRY_LABELS: [&str; 4] =
    ["ResumableChangeStreamError", "RetryableError", "SystemOverloadedError", "TransientTransactionError"];

/// Turns an error of the driver into ours.
pub(super) fn classify(error: &DriverError, site: Site<'_>) -> Error {
    let (kind, text, remedy) = read(error);
    let error = Error::new(kind, site.stage, format!("cannot {} on {}", site.doing, site.hosts)).caused_by(text);
    match remedy {
        Some(remedy) => error.remedy(remedy),
        None => error,
    }
}

/// An answer that did not come in time, although the connection stands.
pub(super) fn overdue(site: Site<'_>, seconds: u64) -> Error {
    let message = format!("cannot {} on {}", site.doing, site.hosts);
    Error::new(Kind::Unavailable, site.stage, message).caused_by(format!("no answer within {seconds} s"))
}

/// Bytes from the server that are not BSON.
pub(super) fn malformed(error: Malformed, site: Site<'_>) -> Error {
    let message = format!("cannot {} on {}", site.doing, site.hosts);
    Error::new(Kind::Undeliverable, site.stage, message).caused_by(error)
}

/// The server's code, when the error is an answer of the server.
pub(super) fn server_code(error: &DriverError) -> Option<i32> {
    if let ErrorKind::Command(command) = &*error.kind {
        return Some(command.code);
    }
    error.source()?.downcast_ref::<DriverError>().and_then(server_code)
}

/// The server's own text, cut at the first thing it quotes.
pub(super) fn plain(text: &str) -> String {
    const LONGEST: usize = 240;
    let unquoted = text.split(['{', '"', '\n']).next().unwrap_or_default();
    let unquoted = unquoted.rsplit(":: caused by :: ").next().unwrap_or_default();
    let end = unquoted.char_indices().nth(LONGEST).map_or(unquoted.len(), |(at, _)| at);
    unquoted.get(..end).unwrap_or_default().trim_end_matches([' ', ':', ',', '.', '(']).to_owned()
}

type Reading = (Kind, String, Option<String>);

// The driver's enum is foreign and may grow; what it grows by is wrong use of the driver until somebody looks at it.
#[expect(clippy::wildcard_enum_match_arm)]
fn read(error: &DriverError) -> Reading {
    let retry = RETRY_LABELS.iter().any(|label| error.contains_label(label));
    match &*error.kind {
        ErrorKind::Command(command) => by_code(command.code, &command.code_name, &command.message, retry),
        ErrorKind::Authentication { message, .. } => authentication(error, message),
        ErrorKind::Io(io) => network(&io.to_string()),
        ErrorKind::ServerSelection { message, .. } => selection(message),
        ErrorKind::ConnectionPoolCleared { .. } => {
            (Kind::Unavailable, "the connection was closed because the server stopped answering".into(), None)
        }
        ErrorKind::DnsResolve { message, .. } => (Kind::Unavailable, format!("name lookup: {}", plain(message)), None),
        ErrorKind::InvalidTlsConfig { message, .. } => (Kind::Configuration, plain(message), None),
        ErrorKind::IncompatibleServer { message, .. } => (Kind::Unsupported, plain(message), None),
        ErrorKind::SessionsNotSupported => (Kind::Unsupported, "the server has no sessions".into(), None),
        ErrorKind::InvalidResponse { message, .. } => (Kind::Undeliverable, plain(message), None),
        ErrorKind::Bson(_) => (Kind::Undeliverable, "the answer is not what the driver can read".into(), None),
        _ if retry => (Kind::Interrupted, plain(&error.kind.to_string()), None),
        _ => (Kind::Defect, plain(&error.kind.to_string()), None),
    }
}

fn by_code(code: i32, name: &str, message: &str, retry: bool) -> Reading {
    let text = format!("{} (MongoDB error {code} {name})", plain(message));
    // A server with logins asked by a client without one also answers 13, and no role would help.
    if code == UNAUTHORIZED && message.contains("requires authentication") {
        return (Kind::Credentials, text, Some("give user and password in the source URI".into()));
    }
    match RULES.iter().find(|rule| rule.code == code) {
        Some(rule) => (rule.kind, text, rule.remedy.map(str::to_owned)),
        None if retry => (Kind::Interrupted, text, None),
        None => (Kind::Unsupported, text, None),
    }
}

/// A login fails for wrong credentials, or because the server went away in the middle of it.
fn authentication(error: &DriverError, message: &str) -> Reading {
    let below = error.source().and_then(|source| source.downcast_ref::<DriverError>());
    match below.map(read) {
        Some((kind @ (Kind::Unavailable | Kind::Interrupted), text, remedy)) => (kind, text, remedy),
        _ => (Kind::Credentials, plain(message), Some(LOGIN.into())),
    }
}

fn network(text: &str) -> Reading {
    if text.contains("certificate") {
        let remedy = "give the authority that signed the server's certificate by tlsCAFile, and connect by a name that \
                      the certificate holds";
        return (Kind::Configuration, plain(text), Some(remedy.into()));
    }
    (Kind::Unavailable, plain(text), None)
}

/// A server that wants TLS and a client that does not, or the reverse, only see each other hang up.
fn tls_hint(text: &str) -> Option<String> {
    if text.contains("tls handshake") {
        return Some("if the server does not use TLS, remove tls=true from the source URI".into());
    }
    let hung_up = ["end of file", "reset by peer"].iter().any(|sign| text.contains(sign));
    hung_up.then(|| "if the server was never reached, it may want TLS: add tls=true to the source URI".into())
}

/// The driver describes every server with its last error; the first of those is the cause.
fn selection(message: &str) -> Reading {
    let causes = message.split("Error: ").skip(1).map(|part| {
        let part = part.strip_prefix("Kind: ").unwrap_or(part);
        part.split([',', '}']).next().unwrap_or_default().trim()
    });
    match causes.clone().find(|cause| cause.contains("certificate")).or_else(|| causes.clone().next()) {
        Some(cause) => {
            let (kind, text, remedy) = network(cause);
            (kind, text, remedy.or_else(|| tls_hint(cause)))
        }
        None => (Kind::Unavailable, "no server that fits: no primary, or none of the hosts is in the set".into(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::{Reading, by_code, network, plain, selection};
    use crate::error::Kind;

    fn kind(reading: Reading) -> Kind {
        reading.0
    }

    #[test]
    fn codes_that_must_not_be_mixed_up() {
        assert_eq!(kind(by_code(286, "ChangeStreamHistoryLost", "", true)), Kind::HistoryLost);
        assert_eq!(kind(by_code(136, "CappedPositionLost", "", false)), Kind::Interrupted);
        assert_eq!(kind(by_code(10334, "BSONObjectTooLarge", "", false)), Kind::Undeliverable);
        assert_eq!(kind(by_code(18, "AuthenticationFailed", "", false)), Kind::Credentials);
        assert_eq!(kind(by_code(13, "Unauthorized", "", false)), Kind::Permission);
        assert_eq!(kind(by_code(189, "PrimarySteppedDown", "", false)), Kind::Unavailable);
        assert_eq!(kind(by_code(43, "CursorNotFound", "", false)), Kind::Interrupted);
    }

    #[test]
    fn an_unknown_code_is_fatal_unless_labelled() {
        assert_eq!(kind(by_code(999_999, "Location999999", "", false)), Kind::Unsupported);
        assert_eq!(kind(by_code(999_999, "Location999999", "", true)), Kind::Interrupted);
    }

    #[test]
    fn what_a_server_quotes_does_not_pass() {
        let text = "BSONObj size: 16793700 is invalid. Size must be between 0 and 16793600(16MB) First element: _id: \
                    { _data: \"826B\" }";
        let (_, shown, _) = by_code(10334, "BSONObjectTooLarge", text, false);
        assert!(!shown.contains("826B"), "{shown}");
        assert!(shown.ends_with("First element: _id (MongoDB error 10334 BSONObjectTooLarge)"), "{shown}");
        assert_eq!(
            plain("not authorized on admin to execute command { aggregate: 1 }"),
            "not authorized on admin to execute command"
        );
        assert_eq!(plain(&"é".repeat(500)).chars().count(), 240);
    }

    #[test]
    fn the_cause_inside_a_selection_timeout_is_found() {
        let message = "Server selection timeout: No available servers. Topology: { Type: Unknown, Servers: [ { Address: \
                       h:1, Type: Unknown, Error: Kind: I/O error: Connection refused (os error 111), labels: {} } ] }";
        let (kind, text, _) = selection(message);
        assert_eq!((kind, text.as_str()), (Kind::Unavailable, "I/O error: Connection refused (os error 111)"));
        assert_eq!(self::kind(network("invalid peer certificate: UnknownIssuer")), Kind::Configuration);
    }
}
