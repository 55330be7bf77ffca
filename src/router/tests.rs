//! The order in which lanes convert, with lanes that note what they take instead of mapping it.

use super::*;
use crate::mapping::names::TableNames;
use crate::mapping::options::MappingOptions;
use crate::model::bson::Document;

/// The changes that lanes have taken, in the order of taking: collection and operation.
static TAKEN: Mutex<Vec<(String, &'static str)>> = Mutex::new(Vec::new());

/// How many changes each lane was given at a time.
static PARTS: Mutex<Vec<(String, usize)>> = Mutex::new(Vec::new());

/// The lane of `slow` lets everybody else go first before each change.
fn start_lane(mut parts: LaneParts) {
    tokio::spawn(async move {
        let name = parts.collection.namespace().collection.to_string();
        let mut kept = Vec::new();
        while let Some(input) = parts.input.recv().await {
            for _ in 0..if name == "slow" { 1000 } else { 0 } {
                tokio::task::yield_now().await;
            }
            match *input {
                LaneInput::Changes { changes, permit } => {
                    if name == "keeps" {
                        kept.extend(permit);
                    }
                    let taken = changes.iter().map(|change| (name.clone(), change.operation.name()));
                    TAKEN.lock().expect("no panic before").extend(taken);
                    PARTS.lock().expect("no panic before").push((name.clone(), changes.len()));
                }
                LaneInput::Lesson(_) => unreachable!("nothing is copied here"),
                LaneInput::Settled(settled) => settled.send(()).expect("the router waits"),
            }
        }
        drop(parts.output);
    });
}

type Tickets = Arc<Mutex<Vec<(usize, bool)>>>;

/// A router with executors that note how many lanes each ticket names, and whether a commit may follow.
fn router(tickets: &Tickets) -> Router {
    let seen = Arc::clone(tickets);
    let start_executor = move || {
        let (sender, mut tickets) = mpsc::channel(8);
        let seen = Arc::clone(&seen);
        // A lane's output lives as long as somebody may read it.
        tokio::spawn(async move {
            let mut outputs = Vec::new();
            while let Some(ticket) = tickets.recv().await {
                if let Ticket::Take { lanes, boundary } = &ticket {
                    seen.lock().expect("no panic before").push((lanes.len(), *boundary));
                }
                if let Ticket::Hurry = &ticket {
                    seen.lock().expect("no panic before").push((0, false));
                }
                outputs.push(ticket);
            }
        });
        sender
    };
    Router::new(RouterParts {
        filter: NamespaceFilter::new(Vec::new(), Vec::new()),
        shared: Shared {
            names: Arc::new(TableNames::default()),
            options: Arc::new(MappingOptions::default()),
            collections: Arc::new(Vec::new()),
        },
        collections: HashMap::new(),
        listed_at: ClusterTime::default(),
        quarantined: HashMap::new(),
        copies: Copies::default(),
        done: HashMap::new(),
        memory: Arc::new(Semaphore::new(1 << 20)),
        memory_limit: 1 << 20,
        max_executors: 2,
        in_order: false,
        start_lane,
        start_executor: Box::new(start_executor),
        assigned: Arc::default(),
    })
}

fn change(collection: &str, operation: Operation) -> Change {
    let id = match collection {
        "slow" => 1,
        "even" => 3,
        "odd" => 4,
        "keeps" => 5,
        _ => 2,
    };
    Change {
        position: Position::parse("8260000000000000010000").expect("a token"),
        namespace: Namespace::new("shop", collection),
        collection: CollectionId::parse(&format!("00000000-0000-0000-0000-00000000000{id}")).expect("a UUID"),
        boundary: true,
        operation,
    }
}

fn insert() -> Operation {
    Operation::Insert { document: Document::new(vec![5, 0, 0, 0, 0]).expect("an empty document") }
}

/// A drop gives names back. Whoever comes before it must have asked for its names by then, or it is given those of the
/// dropped tables, which are still there when PostgreSQL gets to it.
#[tokio::test]
async fn a_drop_is_converted_after_all_that_comes_before_it_and_before_all_that_follows() {
    let mut router = router(&Tickets::default());
    let changes = vec![
        change("quick", insert()),
        change("slow", insert()),
        change("quick", Operation::Drop),
        change("slow", Operation::Rename { to: Namespace::new("shop", "quick"), drop_target: None }),
    ];
    router.route(changes).await.expect("routed");
    let taken = TAKEN.lock().expect("no panic before").clone();
    let taken: Vec<_> = taken.iter().map(|(collection, operation)| (collection.as_str(), *operation)).collect();
    assert_eq!(taken, [("quick", "insert"), ("slow", "insert"), ("quick", "drop"), ("slow", "rename")]);
}

#[tokio::test]
async fn what_many_collections_get_in_turn_is_handed_out_together() {
    let tickets = Tickets::default();
    let mut router = router(&tickets);
    let parts = |name: &str| {
        let parts = PARTS.lock().expect("no panic before");
        parts.iter().filter(|(lane, _)| lane == name).map(|(_, changes)| *changes).collect::<Vec<_>>()
    };
    let in_turn = |n: usize| change(if n.is_multiple_of(2) { "even" } else { "odd" }, insert());
    let mut changes: Vec<Change> = (0..600).map(in_turn).collect();
    // The last is one of a source transaction that has not ended.
    changes.extend([Change { boundary: false, ..in_turn(0) }]);
    router.route(changes).await.expect("routed");
    router.settle().await.expect("settled");
    // The first is sent before the second lane opens.
    assert_eq!((parts("even"), parts("odd")), (vec![1, 256, 44], vec![256, 44]));
    assert_eq!(*tickets.lock().expect("no panic before"), [(1, true), (2, true), (2, false)]);
}

/// Executors may wait for larger batches, but not while the memory that those hold is wanted.
#[tokio::test]
async fn executors_are_told_to_hurry_when_two_thirds_of_the_memory_are_taken() {
    let tickets = Tickets::default();
    let mut router = router(&tickets);
    let weight = change("keeps", insert()).weight();
    let two_thirds = (1 << 20) * 2 / 3 / weight;
    let hurried = || tickets.lock().expect("no panic before").iter().filter(|(lanes, _)| *lanes == 0).count();
    for (many, times) in [(two_thirds, 0), (10, 1), ((1 << 18) / weight, 3)] {
        router.route((0..many).map(|_| change("keeps", insert())).collect()).await.expect("routed");
        router.settle().await.expect("settled");
        tokio::task::yield_now().await;
        assert_eq!(hurried(), times, "after {many} more");
    }
}
