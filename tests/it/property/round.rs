//! One round: a seed, a pipeline of its own, some collections, some hundred operations, a comparison.

use std::fmt;
use std::time::{Duration, Instant};

use super::world::World;
use crate::decode::compare::{Finding, Report};
use crate::decode::norm::Norm;
use crate::harness::case::Case;
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::workload::random::Random;

/// Long enough for what a round writes, on a machine that does other things too.
const DEADLINE: Duration = Duration::from_secs(120);

/// What its seed decides.
#[derive(Debug, Clone, Copy)]
struct Plan {
    seed: u64,
    operations: usize,
    /// Documents that are there before the daemon starts; without any it only follows.
    copied: usize,
    public_updates: bool,
    objects: &'static str,
    arrays: &'static str,
    /// Few of them make most fields lie in `_extra`.
    max_columns: usize,
    /// How often the daemon is stopped or killed.
    restarts: usize,
    /// One operation in so many changes a collection's name or existence; 0 for none.
    ddl_every: usize,
    /// One operation in so many is near MongoDB's limits; 0 for none.
    extreme_every: usize,
    naming: &'static str,
    /// Columns `_synced_at` and `_source`, and documents that stay when they are deleted.
    metadata: bool,
    soft_delete: bool,
}

/// What a round was about and how it ended.
#[derive(Debug)]
pub struct Outcome {
    plan: Plan,
    operations: usize,
    refused: usize,
    report: Report,
    took: Duration,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        let Plan { seed, copied, objects, arrays, restarts, ddl_every, extreme_every, naming, .. } = plan;
        let Report { collections, documents, anomalies, quarantined, .. } = &self.report;
        let (operations, refused, seconds) = (self.operations, self.refused, self.took.as_secs_f32());
        let updates = if plan.public_updates { "public" } else { "raw" };
        write!(
            f,
            "seed {seed}: {operations} operations ({refused} refused), {documents} documents in {collections} \
             collections, {anomalies} anomalies, {quarantined} quarantined, {seconds:.1} s (copied {copied}, {updates} \
             updates, objects {objects}, arrays {arrays}, {naming}, {restarts} restarts, ddl every {ddl_every}, extremes \
             every {extreme_every}, at most {} columns{}{})",
            plan.max_columns,
            if plan.metadata { ", metadata" } else { "" },
            if plan.soft_delete { ", soft deletes" } else { "" },
        )
    }
}

impl Plan {
    fn new(seed: u64, random: &mut Random) -> Self {
        let operations = 200 + random.below(250);
        Self {
            seed,
            operations: std::env::var("TAILWATER_TEST_OPERATIONS").map_or(operations, |n| n.parse().expect("a number")),
            copied: if random.percent(60) { 20 + random.below(40) } else { 0 },
            public_updates: random.percent(25),
            objects: *random.pick(&["table", "table", "table", "table", "jsonb", "flatten"]),
            arrays: *random.pick(&["table", "table", "table", "table", "jsonb"]),
            restarts: if random.percent(50) { 0 } else { 1 + random.below(3) },
            ddl_every: if random.percent(60) { 0 } else { 20 + random.below(60) },
            extreme_every: if random.percent(80) { 0 } else { 30 + random.below(100) },
            naming: *random.pick(&["preserve", "preserve", "preserve", "preserve", "snake_case"]),
            metadata: random.percent(20),
            soft_delete: random.percent(15),
            max_columns: if random.percent(75) { 800 } else { 2 + random.below(12) },
        }
    }

    fn configure(&self, config: &mut Config) {
        let quoted = |text: &str| format!("{text:?}");
        config.set("source.updates", &quoted(if self.public_updates { "public" } else { "raw" }));
        config.set("mapping.objects", &quoted(self.objects)).set("mapping.arrays", &quoted(self.arrays));
        config.set("mapping.naming", &quoted(self.naming)).set("mapping.max_columns", &self.max_columns.to_string());
        let metadata = self.metadata.to_string();
        config.set("mapping.synced_at", &metadata).set("mapping.source", &metadata);
        config.set("mapping.soft_delete", &self.soft_delete.to_string());
    }
}

/// Runs the round of that seed.
///
/// # Errors
/// What differs, with the last operations on it.
pub async fn round(seed: u64) -> Result<Outcome, String> {
    let start = Instant::now();
    let mut random = Random::new(seed, 7);
    let plan = Plan::new(seed, &mut random);
    let case = Case::new(&format!("property_{seed}")).await;
    let mut config = case.config();
    plan.configure(&mut config);
    let mut world = World::new(case.database("db"), Random::new(seed, 8));
    if plan.copied > 0 {
        world.load(plan.copied).await;
    }
    let mut daemon = case.start(&config);
    if plan.copied == 0 {
        case.settle().await;
    }
    let rest = plan.operations / (plan.restarts + 1);
    for turn in 0..=plan.restarts {
        work(&mut world, &plan, rest).await;
        if turn < plan.restarts {
            daemon = restart(daemon, &case, &config, &mut random, &mut world, &plan).await;
        }
    }
    let mut report = case.report_within(DEADLINE).await;
    if plan.objects == "flatten" {
        report.findings.retain_mut(|finding| !is_flattened_away(finding));
    }
    // That names are the plain ones is checked for plain names.
    let other_name = |f: &Finding| matches!(f, Finding::Problem(problem) if problem.ends_with(" is free"));
    report.findings.retain(|finding| plan.naming == "preserve" || !other_name(finding));
    let refused = world.refusals();
    if !report.findings.is_empty() {
        return Err(failure(&case, &plan, &report, &world));
    }
    if refused * 2 > world.operations {
        return Err(format!("seed {seed}: most operations are refused: {:?} of {}", world.refused, world.operations));
    }
    let outcome = Outcome { plan, operations: world.operations, refused, report, took: start.elapsed() };
    daemon.sigterm();
    case.remove().await;
    Ok(outcome)
}

/// A flattened document without a value reads back as missing (ADR 0009).
fn is_flattened_away(finding: &mut Finding) -> bool {
    let Finding::Different { differences, .. } = finding else { return false };
    differences.retain(|difference| !difference.gone.as_ref().is_some_and(has_no_value));
    differences.is_empty()
}

fn has_no_value(value: &Norm) -> bool {
    match value {
        Norm::Document(fields) => fields.values().all(has_no_value),
        Norm::Array(elements) => elements.iter().all(has_no_value),
        other => *other == Norm::Null,
    }
}

async fn work(world: &mut World, plan: &Plan, operations: usize) {
    for n in 1..=operations {
        let is_time = |every: usize| every > 0 && n.is_multiple_of(every);
        if is_time(plan.ddl_every) {
            world.ddl().await;
        } else if is_time(plan.extreme_every) {
            world.extreme().await;
        } else if is_time(plan.extreme_every / 4) {
            let which = world.some();
            world.change_deep(which).await;
        } else {
            world.step().await;
        }
    }
}

/// Ends the daemon one way or the other; what is written meanwhile it has to catch up with.
async fn restart(
    daemon: Daemon,
    case: &Case,
    config: &Config,
    random: &mut Random,
    world: &mut World,
    plan: &Plan,
) -> Daemon {
    if random.percent(60) {
        daemon.kill9()
    } else {
        daemon.sigterm()
    }
    let meanwhile = random.below(30);
    // Nobody answers: what is not copied by now is copied later.
    work(world, plan, meanwhile).await;
    case.start(config)
}

fn failure(case: &Case, plan: &Plan, report: &Report, world: &World) -> String {
    const SHOWN: usize = 3;
    const LONGEST: usize = 300;
    let mut text = format!("seed {} {plan:?}\n{report}\n", plan.seed);
    let places = report.findings.iter().filter_map(|finding| match finding {
        Finding::Unrecorded { namespace, id, .. }
        | Finding::Missing { namespace, id }
        | Finding::Wrong { namespace, id, .. }
        | Finding::Unreleased { namespace, id, .. }
        | Finding::Different { namespace, id, .. } => Some((namespace, id)),
        _ => None,
    });
    for (namespace, id) in places.take(SHOWN) {
        text += &format!("the last operations on {namespace} {id}:\n");
        for operation in world.history(namespace, id) {
            text += &format!("    {operation}\n");
        }
    }
    for line in case.logs().lines() {
        text += &format!("{}\n", line.chars().take(LONGEST).collect::<String>());
    }
    text + &format!("replay: TAILWATER_TEST_SEED={} scripts/property --rounds 1\n", plan.seed)
}
