//! Runs an SQL text as a user would: `psql -v ON_ERROR_STOP=1 -f FILE`.
//!
//! The packaged PostgreSQL has no `psql`. Where none is found (POSTGRES_BIN, PATH, the folders of Debian's packages), each
//! line goes to the server as it is, which is what `psql` does with a text without commands of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::case::connect;

/// Runs the text in the database of that URI, which must succeed; returns how many lines it has.
pub async fn run(uri: &str, file: &Path) -> usize {
    let text = std::fs::read_to_string(file).expect("the text is UTF-8");
    // Every line is a statement of its own, whoever runs it.
    assert!(text.ends_with('\n'), "the last line is whole");
    for line in text.lines() {
        assert!(line.ends_with(';'), "not a statement: {line}");
    }
    match psql() {
        Some(psql) => {
            let mut command = Command::new(psql);
            command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", uri, "-f"]).arg(file);
            let output = command.output().expect("psql runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "psql: {said}");
            assert_eq!((said.as_ref(), output.stdout.as_slice()), ("", b"".as_slice()), "psql says nothing");
        }
        None => {
            let client = connect(uri).await;
            for line in text.lines() {
                client.batch_execute(line).await.unwrap_or_else(|error| panic!("{line}: {error:?}"));
            }
        }
    }
    text.lines().count()
}

fn psql() -> Option<PathBuf> {
    let own = std::env::var_os("POSTGRES_BIN").map(PathBuf::from).into_iter();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = debian.map(|version| version.path().join("bin"));
    let folders = own.chain(std::env::split_paths(&path).collect::<Vec<_>>()).chain(debian);
    folders.map(|folder| folder.join("psql")).find(|psql| psql.is_file())
}
