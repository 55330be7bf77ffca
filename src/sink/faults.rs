//! What an error of PostgreSQL or of its driver means. The one place that reads SQLSTATEs.
//!
//! Messages carry the server's primary message and the names it reports, never its detail line, which quotes row values.

use std::error::Error as _;

use tokio_postgres::error::SqlState;

use crate::error::{Error, Kind, Stage};

/// Turns an error of the driver into ours; `what` says what was being done.
#[must_use]
pub fn fault(stage: Stage, what: &str, error: &tokio_postgres::Error) -> Error {
    let Some(server) = error.as_db_error() else { return driver_fault(stage, what, error) };
    let kind = kind(server.code());
    let place: String = [("table", server.table()), ("column", server.column()), ("constraint", server.constraint())]
        .into_iter()
        .filter_map(|(label, name)| name.map(|name| format!(", {label} \"{name}\"")))
        .collect();
    let code = server.code().code();
    let error = Error::new(kind, stage, format!("PostgreSQL, {what}: {} (SQLSTATE {code}{place})", server.message()));
    match remedy(kind, server.code()) {
        Some(remedy) => error.remedy(remedy),
        None => error,
    }
}

fn driver_fault(stage: Stage, what: &str, error: &tokio_postgres::Error) -> Error {
    let below = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    let tls = below.contains("certificate") || error.to_string().contains("TLS");
    let credentials = below.contains("password missing") || below.contains("authentication");
    let (kind, remedy) = if tls {
        (Kind::Credentials, "check the server's certificate and sslmode in target.uri")
    } else if credentials {
        (Kind::Credentials, "check user and password in target.uri")
    } else {
        (Kind::Unavailable, "check that PostgreSQL runs and that host and port in target.uri are right")
    };
    Error::new(kind, stage, format!("PostgreSQL, {what}: {error}{below}")).remedy(remedy)
}

/// Turns an error of the pool into ours; `hosts` says where it connects to.
#[must_use]
pub fn pool_fault(stage: Stage, hosts: &str, error: &deadpool_postgres::PoolError) -> Error {
    use deadpool_postgres::{HookError, PoolError};
    if let PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) = error {
        return fault(stage, &format!("connecting to {hosts}"), error);
    }
    Error::new(Kind::Unavailable, stage, format!("PostgreSQL, taking a connection: {error}"))
}

/// What to do about a SQLSTATE (PostgreSQL manual, appendix A). Taking a passing state for a final one stops a pipeline
/// that would have gone on by itself; the reverse repeats a statement that can never succeed.
fn kind(code: &SqlState) -> Kind {
    match code.code() {
        // Shutdown, crash recovery, start-up, a standby after a failover, no room for a connection, a full disk: an
        // operator or time mends them, and the position waits.
        "57P01" | "57P02" | "57P03" | "57P05" | "25006" | "53300" | "53100" | "58000" | "58030" => Kind::Unavailable,
        "40001" | "40P01" | "55P03" | "57014" | "53200" | "40003" => Kind::Contention,
        "28P01" | "28000" => Kind::Credentials,
        "42501" => Kind::Permission,
        // A schema or a catalog table that another session made at the same instant (seen with CREATE SCHEMA IF NOT EXISTS).
        "42P06" => Kind::Contention,
        "54000" => Kind::TooLarge,
        code if code.starts_with("08") => Kind::Unavailable,
        _ => Kind::Refused,
    }
}

fn remedy(kind: Kind, code: &SqlState) -> Option<&'static str> {
    match (kind, code.code()) {
        (Kind::Credentials, _) => Some("check user, password and pg_hba.conf for target.uri"),
        (Kind::Permission, _) => {
            Some("grant the user of target.uri CREATE on the database, or ownership of the schemas it writes to")
        }
        (_, "3D000") => Some("create the database, or name another in target.uri"),
        (_, "53300") => Some("raise PostgreSQL's max_connections or lower target.max_connections"),
        (_, "53100") => Some("free disk space on the PostgreSQL server"),
        (_, "42P07" | "42701") => Some("rename or remove the object that is in the way, it is not Tailwater's"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_that_pass_are_told_from_those_that_stay() {
        assert_eq!(kind(&SqlState::T_R_DEADLOCK_DETECTED), Kind::Contention);
        assert_eq!(kind(&SqlState::ADMIN_SHUTDOWN), Kind::Unavailable);
        assert_eq!(kind(&SqlState::INVALID_PASSWORD), Kind::Credentials);
        assert_eq!(kind(&SqlState::INSUFFICIENT_PRIVILEGE), Kind::Permission);
        assert_eq!(kind(&SqlState::DUPLICATE_TABLE), Kind::Refused);
    }
}
