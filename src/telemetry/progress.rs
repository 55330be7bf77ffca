//! What a terminal shows below the log: lines per collection during the first copy, one status line afterwards.
//!
//! Pure: a [`Status`] comes in, lines no wider and no more than asked for go out.

use super::rate::float;
use super::status::{CollectionStatus, SnapshotStatus, Status};

/// Columns that the longest namespace may take before it is cut.
const NAME_WIDTH: usize = 40;

/// The lines to show, at most `rows` of at most `width` characters each.
#[must_use]
pub fn render(status: &Status, width: usize, rows: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if !status.snapshot.collections.is_empty() {
        lines = collections(&status.snapshot, rows.saturating_sub(1));
    }
    lines.push(summary(status));
    // The summary is last and most important, so a screen that is too low loses the lines above it.
    let superfluous = lines.len().saturating_sub(rows);
    lines.drain(..superfluous);
    lines.iter().map(|line| cut(line, width)).collect()
}

/// The line that says it all.
#[must_use]
pub fn summary(status: &Status) -> String {
    let mut parts = vec![status.state.replace('_', " ")];
    parts.extend(status.reason.clone());
    let snapshot = &status.snapshot;
    if snapshot.collections_left > 0 {
        parts.push(format!("{}% of {}", snapshot.percent(), bytes(snapshot.bytes_total)));
        parts.push(format!("{} of {} documents", count(snapshot.documents_done), count(snapshot.documents_total)));
        parts.extend(snapshot.bytes_per_second.map(|rate| format!("{}/s", size(rate))));
        parts.extend(snapshot.eta_seconds.map(|eta| format!("{} left", duration(eta))));
    }
    parts.extend(status.lag_seconds.map(|lag| format!("lag {}", duration(lag))));
    parts.extend(status.changes_per_second.map(|rate| format!("{} changes/s", quantity(rate))));
    if status.oplog_window_is_short() {
        parts.extend(status.oplog_window_seconds.map(|left| format!("history lost in {}", duration(left))));
    }
    if status.anomalies > 0 {
        parts.push(format!("{} anomalies", count(status.anomalies)));
    }
    if status.quarantined > 0 {
        parts.push(format!("{} quarantined", count(status.quarantined)));
    }
    parts.join(" · ")
}

/// A line for each collection that is being copied, at most so many.
#[must_use]
pub fn collections(snapshot: &SnapshotStatus, rows: usize) -> Vec<String> {
    // One row of the screen says how many do not fit.
    let fits = if snapshot.collections_left <= rows.min(snapshot.collections.len()) {
        snapshot.collections_left
    } else {
        rows.saturating_sub(1).min(snapshot.collections.len())
    };
    let shown: Vec<_> = snapshot.collections.iter().take(fits).collect();
    let widest = shown.iter().map(|collection| collection.namespace.chars().count()).max().unwrap_or(0);
    let name_width = widest.min(NAME_WIDTH);
    let mut lines: Vec<String> = shown.iter().map(|collection| collection_line(collection, name_width)).collect();
    let more = snapshot.collections_left.saturating_sub(fits);
    if more > 0 {
        lines.push(format!("and {} more", count(u64::try_from(more).unwrap_or(u64::MAX))));
    }
    lines
}

/// The documents come last: they are what a narrow screen can do without.
fn collection_line(collection: &CollectionStatus, name_width: usize) -> String {
    let (name, percent) = (cut(&collection.namespace, name_width), collection.percent());
    let copied = format!("{}/{}", bytes(collection.bytes_done), bytes(collection.bytes_total));
    let rate = collection.bytes_per_second.map_or_else(String::new, |rate| format!("{}/s", size(rate)));
    let left = collection.eta_seconds.map_or_else(String::new, |eta| format!("{} left", duration(eta)));
    let documents = format!("{}/{} documents", count(collection.documents_done), count(collection.documents_total));
    format!("{name:name_width$}  {percent:>2}%  {copied:>15}  {rate:>9}  {left:>16}  {documents}")
}

/// Cuts to `width` characters and says so with an ellipsis; control characters, which a name may have, become blanks.
fn cut(text: &str, width: usize) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    if text.chars().count() <= width {
        return clean.collect();
    }
    clean.take(width.saturating_sub(1)).chain((width > 0).then_some('…')).collect()
}

/// A whole number with its thousands apart.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate in three digits or so.
#[must_use]
pub fn quantity(n: f64) -> String {
    match n {
        _ if n >= 9_999_500.0 => format!("{:.0}M", n / 1e6),
        _ if n >= 999_500.0 => format!("{:.1}M", n / 1e6),
        _ if n >= 9_999.5 => format!("{:.0}k", n / 1e3),
        _ if n >= 9.95 || n.fract() == 0.0 => format!("{n:.0}"),
        _ => format!("{n:.1}"),
    }
}

/// Bytes in three digits or so.
#[must_use]
pub fn bytes(n: u64) -> String {
    size(float(n))
}

/// The same of a number that is not whole, such as a rate.
#[must_use]
pub fn size(bytes: f64) -> String {
    let mut n = bytes.max(0.0);
    for unit in ["B", "KiB", "MiB", "GiB"] {
        match n {
            _ if n < 9.95 && unit != "B" => return format!("{n:.1} {unit}"),
            _ if n < 999.5 => return format!("{n:.0} {unit}"),
            _ => n /= 1024.0,
        }
    }
    format!("{n:.1} TiB")
}

/// A time in its two largest units.
#[must_use]
pub fn duration(seconds: f64) -> String {
    let whole =
        std::time::Duration::try_from_secs_f64(seconds.max(0.0).round()).map_or(u64::MAX, |time| time.as_secs());
    let (minutes, hours, days) = (whole / 60, whole / 3600, whole / 86400);
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{minutes} min {:02} s", whole % 60),
        3600..86400 => format!("{hours} h {:02} min", minutes % 60),
        _ => format!("{} d {:02} h", count(days), hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::{count, duration, quantity, render, size};
    use crate::telemetry::status::{CollectionStatus, SnapshotStatus, Status};

    fn status(state: &str, collections: &[(&str, u64, u64)]) -> Status {
        let collection = |(name, done, total): &(&str, u64, u64)| CollectionStatus {
            namespace: (*name).to_owned(),
            documents_done: *done,
            documents_total: *total,
            bytes_done: *done * 1000,
            bytes_total: *total * 1000,
            documents_per_second: Some(2500.0),
            bytes_per_second: Some(2_500_000.0),
            eta_seconds: Some(90.0),
        };
        Status {
            pipeline: "p".to_owned(),
            state: state.to_owned(),
            reason: None,
            lag_seconds: Some(2.0),
            oplog_window_seconds: None,
            changes_applied: 10,
            changes_per_second: Some(12_345.0),
            anomalies: 0,
            quarantined: 0,
            snapshot: SnapshotStatus {
                documents_done: collections.iter().map(|c| c.1).sum(),
                documents_total: collections.iter().map(|c| c.2).sum(),
                bytes_done: collections.iter().map(|c| c.1 * 1000).sum(),
                bytes_total: collections.iter().map(|c| c.2 * 1000).sum(),
                eta_seconds: Some(3700.0),
                documents_per_second: Some(5000.0),
                bytes_per_second: Some(50_000_000.0),
                collections: collections.iter().map(collection).collect(),
                collections_left: collections.len(),
            },
            databases: Vec::new(),
            can_cutover: false,
            uptime_seconds: Some(1.0),
            version: "0".to_owned(),
        }
    }

    #[test]
    fn one_line_while_streaming() {
        let lines = render(&status("streaming", &[]), 80, 24);
        assert_eq!(lines, ["streaming · lag 2 s · 12k changes/s"]);
    }

    #[test]
    fn a_line_per_collection_during_the_snapshot() {
        let lines = render(&status("snapshot", &[("shop.orders", 500_000, 2_000_000), ("shop.i", 0, 10)]), 120, 24);
        assert_eq!(
            lines,
            [
                "shop.orders  25%  477 MiB/1.9 GiB  2.4 MiB/s   1 min 30 s left  500,000/2,000,000 documents",
                "shop.i        0%      0 B/9.8 KiB  2.4 MiB/s   1 min 30 s left  0/10 documents",
                "snapshot · 24% of 1.9 GiB · 500,000 of 2,000,010 documents · 48 MiB/s · 1 h 01 min left · lag 2 s · 12k changes/s",
            ]
        );
    }

    #[test]
    fn a_copy_that_goes_on_is_never_all_done() {
        let mut status = status("snapshot", &[("a.b", 25, 25), ("a.c", 0, 0)]);
        let lines = render(&status, 100, 24);
        assert!(lines[0].starts_with("a.b  99% "), "{}", lines[0]);
        assert!(lines[1].starts_with("a.c   0% "), "{}", lines[1]);
        (status.snapshot.bytes_done, status.snapshot.bytes_total) = (0, 0);
        assert_eq!(status.snapshot.percent(), 99, "by documents, when bytes are not known");
        status.snapshot.collections_left = 0;
        assert_eq!(status.snapshot.percent(), 100);
    }

    #[test]
    fn an_oplog_that_runs_out_is_in_the_line() {
        let mut status = status("catching_up", &[]);
        (status.lag_seconds, status.oplog_window_seconds) = (Some(7200.0), Some(7300.0));
        assert!(!status.oplog_window_is_short());
        status.oplog_window_seconds = Some(3000.0);
        let expected = "catching up · lag 2 h 00 min · 12k changes/s · history lost in 50 min 00 s";
        assert_eq!(render(&status, 100, 24), [expected]);
        (status.lag_seconds, status.oplog_window_seconds) = (Some(20.0), Some(10.0));
        assert!(!status.oplog_window_is_short(), "a young oplog, and hardly behind");
        status.oplog_window_seconds = None;
        assert!(!status.oplog_window_is_short());
    }

    #[test]
    fn the_screen_is_never_exceeded() {
        let names: Vec<String> = (0..50).map(|n| format!("database.collection_with_a_very_long_name_{n}")).collect();
        let collections: Vec<_> = names.iter().map(|name| (name.as_str(), 1, 1000)).collect();
        let status = status("snapshot", &collections);
        for rows in 1..60 {
            for width in [0, 1, 20, 80, 200] {
                let lines = render(&status, width, rows);
                assert!(
                    lines.len() <= rows && lines.iter().all(|line| line.chars().count() <= width),
                    "{rows}×{width}"
                );
                let summary: String = "snapshot".chars().take(width.saturating_sub(1)).collect();
                assert!(lines.last().expect("summary").starts_with(&summary));
            }
        }
        assert_eq!(render(&status, 80, 10)[8], "and 42 more");
        assert_eq!(render(&status, 80, 51).len(), 51, "all fit");
    }

    #[test]
    fn collections_that_the_status_leaves_out_are_counted() {
        let mut status = status("snapshot", &[("a.b", 1, 2)]);
        status.snapshot.collections_left = 2048;
        assert_eq!(render(&status, 80, 24)[1], "and 2,047 more");
    }

    #[test]
    fn names_cannot_move_the_cursor() {
        let lines = render(&status("snapshot", &[("a.\u{1b}[2Jb\n", 1, 2)]), 80, 24);
        assert!(lines[0].starts_with("a. [2Jb "), "{:?}", lines[0]);
    }

    #[test]
    fn what_needs_a_look_is_in_the_line() {
        let mut status = status("retrying", &[]);
        status.reason = Some("sink: connection refused".to_owned());
        (status.anomalies, status.quarantined) = (1200, 1);
        let lines = render(&status, 120, 24);
        let expected =
            "retrying · sink: connection refused · lag 2 s · 12k changes/s · 1,200 anomalies · 1 quarantined";
        assert_eq!(lines, [expected]);
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        let quantities = [0.0, 0.5, 9.9, 10.4, 9999.0, 10_000.0, 999_000.0, 1_500_000.0, 20_000_000.0].map(quantity);
        assert_eq!(quantities, ["0", "0.5", "9.9", "10", "9999", "10k", "999k", "1.5M", "20M"]);
        let sizes = [0.0, 999.0, 1000.0, 1536.0, 20e6, 1e9, 1e12, 1e16].map(size);
        assert_eq!(sizes, ["0 B", "999 B", "1.0 KiB", "1.5 KiB", "19 MiB", "954 MiB", "931 GiB", "9094.9 TiB"]);
        let durations = [0.0, 59.4, 60.0, 3599.0, 3600.0, 90_000.0, f64::INFINITY, f64::NAN].map(duration);
        assert_eq!(durations[..6], ["0 s", "59 s", "1 min 00 s", "59 min 59 s", "1 h 00 min", "1 d 01 h"]);
    }
}
