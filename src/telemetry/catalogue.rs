//! The catalogue of metrics: one row each, and the registry that is made from it.
//!
//! Names start with `tailwater_`, units are base units (bytes, seconds), counters end in `_total` and move only after a
//! durable commit, no label has a value per document. `docs/operations.md` and `dashboards/tailwater.json` are checked
//! against this table by a test.

use prometheus::core::Collector;
use prometheus::{Encoder, GaugeVec, IntCounterVec, Opts, Registry, TextEncoder};

/// Whether a metric only goes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Goes up; starts at 0 with the process.
    Counter,
    /// Goes up and down; NaN while unknown.
    Gauge,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Whether it only goes up.
    pub kind: MetricKind,
    /// What one of it is.
    pub unit: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

macro_rules! catalogue {
    ($($field:ident: $kind:ident $name:literal [$($label:literal),*] $unit:literal $help:literal;)+) => {
        /// Every metric, in the order of the documentation.
        pub const CATALOGUE: &[Metric] = &[$(Metric {
            name: $name, kind: MetricKind::$kind, unit: $unit, labels: &[$($label),*], help: $help,
        }),+];

        /// The registered metrics.
        pub(super) struct Metrics {
            registry: Registry,
            $(pub $field: catalogue!(@type $kind)),+
        }

        impl Metrics {
            /// Registers the whole catalogue.
            pub fn new() -> Self {
                let registry = Registry::new();
                $(let $field = registered(&registry, <catalogue!(@type $kind)>::new(
                    Opts::new($name, $help), &[$($label),*]));)+
                Self { registry, $($field),+ }
            }
        }
    };
    (@type Counter) => { IntCounterVec };
    (@type Gauge) => { GaugeVec };
}

catalogue! {
    build_info: Gauge "tailwater_build_info" ["version"] "1" "Always 1; the label is the version that runs.";
    state: Gauge "tailwater_state" ["state"] "1" "1 for the state the daemon is in, 0 for the others.";
    lag: Gauge "tailwater_lag_seconds" [] "seconds"
        "Operation time of the source minus the time of the last applied change, of the database furthest behind.";
    database_lag: Gauge "tailwater_database_lag_seconds" ["database"] "seconds" "The same for each database.";
    database_consistent: Gauge "tailwater_database_consistent" ["database"] "1"
        "1 when the database's tables show one state that the source had, 0 while it is being copied.";
    changes_applied: Counter "tailwater_changes_applied_total" ["database", "operation"] "changes"
        "Changes of the source committed in the target.";
    transactions: Counter "tailwater_transactions_committed_total" [] "transactions"
        "PostgreSQL transactions committed.";
    snapshot_documents: Counter "tailwater_snapshot_documents_total" [] "documents"
        "Documents copied by the snapshot and committed.";
    snapshot_bytes: Counter "tailwater_snapshot_bytes_total" [] "bytes"
        "Bytes of BSON copied by the snapshot and committed.";
    snapshot_expected_documents: Gauge "tailwater_snapshot_expected_documents" [] "documents"
        "Documents of the collections that the snapshot copies, those already copied included.";
    snapshot_expected_bytes: Gauge "tailwater_snapshot_expected_bytes" [] "bytes"
        "Bytes of BSON of the collections that the snapshot copies, those already copied included.";
    snapshot_copied_bytes: Gauge "tailwater_snapshot_copied_bytes" [] "bytes"
        "Bytes of them that are copied, by earlier runs too; never more than expected.";
    snapshot_eta: Gauge "tailwater_snapshot_eta_seconds" [] "seconds"
        "Time until the snapshot is done at its present speed, by bytes.";
    buffered: Gauge "tailwater_buffered_bytes" [] "bytes" "Changes that wait in memory.";
    connections: Gauge "tailwater_target_connections" [] "connections" "Open connections to the target.";
    oplog_window: Gauge "tailwater_oplog_window_seconds" [] "seconds"
        "How far the oplog reaches back beyond the position: the time left until history is lost, while the position stands still.";
    source_silence: Gauge "tailwater_source_silence_seconds" [] "seconds"
        "Time since the source last told how far it is.";
    anomalies: Counter "tailwater_anomalies_total" ["reason"] "values"
        "Values stored in another form than they had because PostgreSQL cannot hold them.";
    quarantined: Gauge "tailwater_quarantined_documents" [] "documents" "Documents in quarantine.";
    retries: Counter "tailwater_retries_total" ["stage"] "retries" "Attempts after a transient error.";
}

/// The catalogue is constant and a test registers it, so a name or label that prometheus refuses never ships.
#[expect(
    clippy::panic,
    reason = "the metric table is a constant; a wrong row is a defect that the first test run shows"
)]
fn registered<M: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<M>) -> M {
    match metric.and_then(|metric| registry.register(Box::new(metric.clone())).map(|()| metric)) {
        Ok(metric) => metric,
        Err(error) => panic!("metric catalogue: {error}"),
    }
}

/// Adds to a counter. The number of labels is fixed by the catalogue; a wrong one is a defect that must not stop data.
pub(super) fn add(counter: &IntCounterVec, labels: &[&str], n: u64) {
    if let Ok(counter) = counter.get_metric_with_label_values(labels) {
        counter.inc_by(n);
    }
}

/// Sets a gauge; `None` is unknown.
pub(super) fn set(gauge: &GaugeVec, labels: &[&str], value: Option<f64>) {
    if let Ok(gauge) = gauge.get_metric_with_label_values(labels) {
        gauge.set(value.unwrap_or(f64::NAN));
    }
}

impl Metrics {
    /// The text that Prometheus reads. Metrics without a value yet are there with their help and type, so that every
    /// name can be found from the first scrape on.
    pub fn render(&self) -> String {
        let families = self.registry.gather();
        let mut text = Vec::new();
        // Writing to memory fails only for a family without metrics, and gather leaves those out.
        let _ = TextEncoder::new().encode(&families, &mut text);
        let mut text = String::from_utf8(text).unwrap_or_default();
        for metric in CATALOGUE.iter().filter(|metric| !families.iter().any(|family| family.name() == metric.name)) {
            let kind = match metric.kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
            };
            text.push_str(&format!("# HELP {0} {1}\n# TYPE {0} {kind}\n", metric.name, metric.help));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{CATALOGUE, MetricKind, Metrics, add};

    #[test]
    fn the_catalogue_keeps_its_rules() {
        let mut seen = HashSet::new();
        for metric in CATALOGUE {
            assert!(seen.insert(metric.name), "{} twice", metric.name);
            assert!(metric.name.starts_with("tailwater_"), "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == MetricKind::Counter, "{}", metric.name);
            for unit in ["seconds", "bytes"] {
                let named = metric.name.trim_end_matches("_total").ends_with(unit);
                assert_eq!(named, metric.unit == unit, "{} and its unit {}", metric.name, metric.unit);
            }
        }
    }

    const OPERATIONS: &str = include_str!("../../docs/operations.md");
    const DASHBOARD: &str = include_str!("../../dashboards/tailwater.json");

    /// Every word of the text that looks like a metric of ours.
    fn named_in(text: &str) -> HashSet<&str> {
        text.split(|c: char| !c.is_ascii_lowercase() && c != '_')
            .filter(|word| word.starts_with("tailwater_"))
            .collect()
    }

    #[test]
    fn the_documentation_has_a_row_for_every_metric_and_no_other() {
        let rows = CATALOGUE.iter().map(|metric| {
            let labels = metric.labels.join(", ");
            let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
            let kind = format!("{:?}", metric.kind).to_lowercase();
            format!("| `{}{labels}` | {kind} | {} | {} |", metric.name, metric.unit, metric.help)
        });
        let missing: Vec<_> = rows.filter(|row| !OPERATIONS.lines().any(|line| line == row)).collect();
        assert!(missing.is_empty(), "rows missing in docs/operations.md:\n{}", missing.join("\n"));
        for name in named_in(OPERATIONS) {
            assert!(CATALOGUE.iter().any(|metric| metric.name == name), "docs/operations.md names {name}");
        }
    }

    #[test]
    fn every_metric_of_the_dashboard_is_in_the_catalogue_with_the_labels_it_uses() {
        let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("JSON");
        let panels = dashboard["panels"].as_array().expect("panels");
        let expressions: Vec<&str> = panels
            .iter()
            .flat_map(|panel| panel["targets"].as_array().into_iter().flatten())
            .map(|target| target["expr"].as_str().expect("expr"))
            .collect();
        assert!(expressions.len() >= 10, "the dashboard shows something: {}", expressions.len());
        for expression in &expressions {
            let names = named_in(expression);
            assert!(!names.is_empty(), "no metric in {expression}");
            for name in names {
                let metric = CATALOGUE.iter().find(|metric| metric.name == name);
                let metric = metric.unwrap_or_else(|| panic!("the dashboard names {name}"));
                let rated = expression.contains("rate(") || expression.contains("increase(");
                assert_eq!(rated, metric.kind == MetricKind::Counter, "a counter is shown by its growth: {expression}");
            }
            if let Some((_, after)) = expression.split_once(" by (") {
                let labels = after.split(')').next().expect("labels").split(", ");
                for label in labels.filter(|label| *label != "instance") {
                    let known = CATALOGUE.iter().any(|m| expression.contains(m.name) && m.labels.contains(&label));
                    assert!(known, "label {label} in {expression}");
                }
            }
        }
    }

    #[test]
    fn every_metric_can_be_found_before_it_has_a_value() {
        let metrics = Metrics::new();
        let text = metrics.render();
        for metric in CATALOGUE {
            assert_eq!(text.matches(&format!("# TYPE {} ", metric.name)).count(), 1, "{}", metric.name);
        }
    }

    #[test]
    fn a_metric_with_a_value_is_rendered_once() {
        let metrics = Metrics::new();
        add(&metrics.anomalies, &["nul"], 3);
        let text = metrics.render();
        assert!(text.contains("tailwater_anomalies_total{reason=\"nul\"} 3"), "{text}");
        assert_eq!(text.matches("# TYPE tailwater_anomalies_total").count(), 1);
    }
}
