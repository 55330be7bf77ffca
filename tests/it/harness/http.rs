//! A GET request, as small as it gets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Status code and body, or `None` while nobody answers.
pub fn get(port: u16, path: &str) -> Option<(u16, String)> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    // HTTP/1.0: the end of the connection is the end of the answer, and nothing comes in chunks.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((code, body.to_owned()))
}

/// `/status`, once it answers.
pub fn status(port: u16) -> Option<Value> {
    let (code, body) = get(port, "/status")?;
    assert_eq!(code, 200, "/status says {body}");
    Some(serde_json::from_str(&body).expect("/status is JSON"))
}
