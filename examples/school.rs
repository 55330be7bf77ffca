//! A little school in MongoDB, for `scripts/demo`: students to start with, traffic on them, and looks at both sides.
//!
//! MongoDB is at `MONGODB_URI`, PostgreSQL at `POSTGRES_URI`. The same seed gives the same school.

#[path = "shared/random.rs"]
mod random;

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bson::{Bson, DateTime, Document, doc};
use clap::{Parser, Subcommand};
use mongodb::Collection;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use random::Random;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// A little school in MongoDB: fill it, use it, look at it from both sides.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fill an empty database `school`
    Seed {
        /// How many students
        #[arg(long, default_value_t = 2000)]
        students: i32,
    },
    /// Insert, change at depth, add fields and delete, about a hundred times a second
    Traffic {
        /// For how long
        #[arg(long)]
        seconds: u64,
    },
    /// Show a student as MongoDB has it, and its rows
    Look {
        /// Which student
        id: i32,
    },
    /// Give a student a field that nobody has yet, and wait for its column
    Born {
        /// Which student
        id: i32,
    },
    /// Show the latest schema changes
    Changes,
    /// Count both sides until they agree
    Compare,
}

#[tokio::main]
async fn main() -> ExitCode {
    match execute(Arguments::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The PostgreSQL driver keeps the server's words in the source of its error.
            let below = error.source().map(|source| format!(": {source}")).unwrap_or_default();
            eprintln!("school: {error}{below}");
            ExitCode::FAILURE
        }
    }
}

async fn execute(command: Command) -> Result<()> {
    match command {
        Command::Seed { students } => seed(&mongo().await?, students).await,
        Command::Traffic { seconds } => traffic(&mongo().await?, Duration::from_secs(seconds)).await,
        Command::Look { id } => look(&mongo().await?, &Postgres::connect().await?, id).await,
        Command::Born { id } => born(&mongo().await?, &Postgres::connect().await?, id).await,
        Command::Changes => changes(&Postgres::connect().await?).await,
        Command::Compare => compare(&mongo().await?, &Postgres::connect().await?).await,
    }
}

async fn mongo() -> Result<Collection<Document>> {
    let uri = std::env::var("MONGODB_URI").map_err(|_| "MONGODB_URI is not set")?;
    Ok(mongodb::Client::with_uri_str(uri).await?.database("school").collection("students"))
}

// ---- The school

/// Values of the school.
impl Random {
    /// From `low` to `high`, both included.
    fn between(&mut self, low: i32, high: i32) -> i32 {
        let span = u64::from(high.abs_diff(low)) + 1;
        low + i32::try_from(self.below(span)).unwrap_or(0)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        let at = self.between(1, i32::try_from(from.len()).unwrap_or(1)) - 1;
        usize::try_from(at).ok().and_then(|at| from.get(at)).copied().unwrap_or_default()
    }

    fn phone(&mut self) -> String {
        format!("555-{:04}", self.between(0, 9999))
    }

    /// From 1.0 to 5.0 in halves.
    fn grade(&mut self) -> f64 {
        f64::from(self.between(2, 10)) / 2.0
    }

    fn day(&mut self, first_year: i64) -> DateTime {
        const DAY: i64 = 86_400_000;
        const YEAR: i64 = 31_556_952_000;
        let start = (first_year - 1970) * YEAR / DAY;
        DateTime::from_millis((start + i64::from(self.between(0, 364))) * DAY)
    }

    fn exam(&mut self) -> Document {
        doc! { "date": self.day(2026), "grade": self.grade() }
    }

    fn course(&mut self) -> Document {
        let exams: Vec<Document> = (0..self.between(1, 2)).map(|_| self.exam()).collect();
        doc! { "title": self.pick(&TITLES), "teacher": self.pick(&LAST), "exams": exams }
    }

    fn address(&mut self, kind: &str) -> Document {
        let street = format!("{} {}", self.pick(&STREETS), self.between(1, 120));
        doc! { "kind": kind, "street": street, "city": self.pick(&CITIES) }
    }

    fn student(&mut self, id: i32) -> Document {
        let name = format!("{} {}", self.pick(&FIRST), self.pick(&LAST));
        let courses: Vec<Document> = (0..self.between(1, 3)).map(|_| self.course()).collect();
        let mut tags = vec![self.pick(&TAGS), self.pick(&TAGS)];
        tags.dedup();
        doc! {
            "_id": id,
            "name": name,
            "year": self.between(1, 6),
            "born": self.day(2010),
            "phone": { "personal": self.phone(), "work": self.phone() },
            "address": [self.address("home"), self.address("parents")],
            "courses": courses,
            "tags": tags,
        }
    }
}

const FIRST: [&str; 10] = ["Ada", "Bela", "Chidi", "Dina", "Emil", "Fatou", "Goran", "Hana", "Ines", "Jonas"];
const LAST: [&str; 10] =
    ["Abara", "Berg", "Costa", "Dubois", "Eriksen", "Farkas", "Gruber", "Hashemi", "Ito", "Jansen"];
const TITLES: [&str; 6] = ["Algebra", "Biology", "Chemistry", "Drama", "Economics", "French"];
const CITIES: [&str; 5] = ["Aarhus", "Bergen", "Cadiz", "Delft", "Evora"];
const STREETS: [&str; 4] = ["Mill Lane", "Station Road", "High Street", "Harbour Way"];
const TAGS: [&str; 5] = ["chess", "choir", "football", "robotics", "theatre"];

async fn seed(students: &Collection<Document>, count: i32) -> Result<()> {
    if students.find_one(doc! {}).await?.is_some() {
        return Err("there is a collection school.students already, the demo does not touch it".into());
    }
    let mut random = Random::new(1);
    let all: Vec<Document> = (1..=count).map(|id| random.student(id)).collect();
    for some in all.chunks(1000) {
        students.insert_many(some).await?;
    }
    Ok(())
}

// ---- Traffic

/// Students up to here are never deleted, so that one can look at them.
const KEPT: i32 = 10;

/// A field that students get, and its value.
type NewField = (&'static str, fn(&mut Random) -> Bson);

/// Fields that the school does not have at first, in the order in which they come up.
const NEW_FIELDS: [NewField; 7] = [
    ("credits", |random| random.between(0, 60).into()),
    ("phone.emergency", |random| random.phone().into()),
    ("locker", |random| doc! { "floor": random.between(0, 3), "number": random.between(1, 400) }.into()),
    ("courses.0.exams.0.retake", |random| (random.between(0, 1) == 1).into()),
    ("graduates", |random| random.day(2027).into()),
    // The same field once more: its column widens from integer to double precision.
    ("credits", |random| (f64::from(random.between(0, 120)) / 2.0).into()),
    ("clubs", |random| Bson::Array(vec![doc! { "name": random.pick(&TAGS), "fee": random.between(5, 50) }.into()])),
];

async fn traffic(students: &Collection<Document>, limit: Duration) -> Result<()> {
    let mut random = Random::new(2);
    let (mut ids, mut next) = living(students).await?;
    let (mut inserts, mut updates, mut deletes) = (0, 0, 0);
    let mut tick = interval(Duration::from_millis(10));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let start = Instant::now();
    while start.elapsed() < limit {
        tick.tick().await;
        let at = random.between(0, i32::try_from(ids.len())? - 1);
        let Some(id) = ids.get(usize::try_from(at)?).copied() else { continue };
        match random.between(1, 100) {
            1..=20 => {
                next += 1;
                students.insert_one(random.student(next)).await?;
                ids.push(next);
                inserts += 1;
            }
            21..=35 if id > KEPT => {
                students.delete_one(doc! { "_id": id }).await?;
                ids.swap_remove(usize::try_from(at)?);
                deletes += 1;
            }
            _ => {
                students.update_one(doc! { "_id": id }, update(&mut random, start.elapsed(), limit)).await?;
                updates += 1;
            }
        }
    }
    print(&format!("{inserts} inserts, {updates} updates, {deletes} deletes\n"))
}

/// The ids there are, and the highest.
async fn living(students: &Collection<Document>) -> Result<(Vec<i32>, i32)> {
    let mut ids = Vec::new();
    let mut cursor = students.find(doc! {}).projection(doc! { "_id": 1 }).await?;
    while cursor.advance().await? {
        ids.push(cursor.current().get_i32("_id")?);
    }
    let highest = ids.iter().copied().max().ok_or("school.students is empty, seed it first")?;
    Ok((ids, highest))
}

/// One change of a student, mostly below the first level. New fields come up one after the other.
fn update(random: &mut Random, elapsed: Duration, limit: Duration) -> Document {
    match random.between(1, 8) {
        1 => doc! { "$set": { "year": random.between(1, 6) } },
        2 => doc! { "$set": { "phone.personal": random.phone() } },
        3 => doc! { "$set": { "address.1.city": random.pick(&CITIES) } },
        4 => doc! { "$set": { "courses.0.exams.0.grade": random.grade() } },
        5 => doc! { "$push": { "courses.0.exams": { "$each": [random.exam()], "$slice": -4 } } },
        6 => doc! { "$addToSet": { "tags": random.pick(&TAGS) } },
        7 => doc! { "$pull": { "tags": random.pick(&TAGS) } },
        _ => {
            // All of them have come up at three quarters of the time.
            let count = NEW_FIELDS.len();
            let share = elapsed.as_millis() * 4 * u128::try_from(count).unwrap_or(1) / (limit.as_millis().max(1) * 3);
            let up = usize::try_from(share).unwrap_or(count).min(count - 1);
            let newest = NEW_FIELDS.get(up).or(NEW_FIELDS.first());
            newest.map_or_else(Document::new, |(name, value)| doc! { "$set": { *name: value(random) } })
        }
    }
}

// ---- Looks

/// Rows as text, with their column names.
type Rows = (Vec<String>, Vec<Vec<Option<String>>>);

struct Postgres(tokio_postgres::Client);

impl Postgres {
    async fn connect() -> Result<Self> {
        let uri = std::env::var("POSTGRES_URI").map_err(|_| "POSTGRES_URI is not set")?;
        let (client, connection) = tokio_postgres::connect(&uri, NoTls).await?;
        tokio::spawn(connection);
        client.batch_execute("SET TimeZone = 'UTC'").await?;
        Ok(Self(client))
    }

    async fn rows(&self, sql: &str) -> Result<Rows> {
        let (mut names, mut rows) = (Vec::new(), Vec::new());
        for message in self.0.simple_query(sql).await? {
            if let SimpleQueryMessage::RowDescription(columns) = &message {
                names = columns.iter().map(|column| column.name().to_owned()).collect();
            } else if let SimpleQueryMessage::Row(row) = &message {
                rows.push((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect());
            }
        }
        Ok((names, rows))
    }

    /// The first cell of a query that has one.
    async fn value(&self, sql: &str) -> Result<Option<String>> {
        Ok(self.rows(sql).await?.1.into_iter().next().and_then(|row| row.into_iter().next()).flatten())
    }

    /// The rows of one student in one table.
    async fn show(&self, table: &str, key: &str, id: i32) -> Result<()> {
        let rows = self.rows(&format!("SELECT * FROM {table} WHERE {key} = {id} ORDER BY 1, 2")).await?;
        print(&format!("{table}\n"))?;
        print_rows(&rows)
    }
}

async fn look(students: &Collection<Document>, postgres: &Postgres, id: i32) -> Result<()> {
    let student = students.find_one(doc! { "_id": id }).await?.ok_or_else(|| format!("there is no student {id}"))?;
    print(&format!("MongoDB: school.students, _id {id}\n  {}\n\nPostgreSQL:\n", json(&student.into(), 2)))?;
    let tables = "SELECT format('%I.%I', schema_name, table_name), quote_ident(key_columns[1]) FROM tailwater.paths \
                  WHERE namespace = 'school.students' AND form <> 'column' ORDER BY path";
    for table in postgres.rows(tables).await?.1 {
        if let [Some(name), Some(key)] = table.as_slice() {
            postgres.show(name, key, id).await?;
        }
    }
    Ok(())
}

async fn born(students: &Collection<Document>, postgres: &Postgres, id: i32) -> Result<()> {
    print(&format!("MongoDB: students.updateOne({{_id: {id}}}, {{$set: {{\"courses.0.room\": \"B 12\"}}}})\n"))?;
    students.update_one(doc! { "_id": id }, doc! { "$set": { "courses.0.room": "B 12" } }).await?;
    let start = Instant::now();
    let sql = "SELECT detail FROM tailwater.events WHERE kind = 'add_column' AND detail LIKE '%\"room\"%'";
    let statement = loop {
        match postgres.value(sql).await? {
            Some(statement) => break statement,
            None if start.elapsed() > Duration::from_secs(30) => return Err("no column came within 30 s".into()),
            None => sleep(Duration::from_millis(2)).await,
        }
    };
    let waited = start.elapsed().as_millis();
    print(&format!("PostgreSQL, {waited} ms later (tailwater.events):\n  {statement}\n"))?;
    postgres.show("school.students_courses", "students__id", id).await
}

async fn changes(postgres: &Postgres) -> Result<()> {
    let sql = "SELECT to_char(at, 'HH24:MI:SS') AS at, detail FROM (SELECT at, id, detail FROM tailwater.events \
               ORDER BY id DESC LIMIT 8) AS latest ORDER BY id";
    print_rows(&postgres.rows(sql).await?)
}

async fn compare(students: &Collection<Document>, postgres: &Postgres) -> Result<()> {
    let start = Instant::now();
    loop {
        let (there, here) = (count_documents(students).await?, count_rows(postgres).await?);
        let equal = there == here;
        if !equal && start.elapsed() < Duration::from_secs(10) {
            sleep(Duration::from_millis(100)).await;
            continue;
        }
        let line = |side: &str, counts: Vec<String>| [side.to_owned()].into_iter().chain(counts).map(Some).collect();
        let names = ["", "students", "courses", "exams"].map(str::to_owned).to_vec();
        print_rows(&(names, vec![line("MongoDB", there), line("PostgreSQL", here)]))?;
        return if equal { Ok(()) } else { Err("the two sides still differ after 10 s".into()) };
    }
}

/// Students, their courses, and the exams of these.
async fn count_documents(students: &Collection<Document>) -> Result<Vec<String>> {
    let exams = doc! { "$sum": { "$map": { "input": "$courses", "in": { "$size": "$$this.exams" } } } };
    let courses = doc! { "$sum": { "$size": "$courses" } };
    let group = doc! { "_id": Bson::Null, "students": { "$sum": 1 }, "courses": courses, "exams": { "$sum": exams } };
    let mut cursor = students.aggregate([doc! { "$group": group }]).await?;
    let counts = if cursor.advance().await? { cursor.deserialize_current()? } else { Document::new() };
    Ok(["students", "courses", "exams"]
        .map(|name| counts.get(name).map(ToString::to_string).unwrap_or_default())
        .into())
}

async fn count_rows(postgres: &Postgres) -> Result<Vec<String>> {
    let mut counts = Vec::new();
    for table in ["students", "students_courses", "students_courses_exams"] {
        let sql = format!("SELECT count(*) FROM school.{table}");
        counts.push(postgres.value(&sql).await?.unwrap_or_default());
    }
    Ok(counts)
}

// ---- On paper

/// A closed pipe ends a look like any other error does.
fn print(text: &str) -> Result<()> {
    Ok(write!(std::io::stdout(), "{text}")?)
}

fn width() -> usize {
    terminal_size::terminal_size().map_or(110, |(width, _)| usize::from(width.0)).max(40)
}

/// Columns side by side, each row on one line of the terminal.
fn print_rows((names, rows): &Rows) -> Result<()> {
    let header: Vec<Option<String>> = names.iter().cloned().map(Some).collect();
    let mut widths = vec![0; names.len()];
    for row in [&header].into_iter().chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.as_deref().unwrap_or_default().chars().count());
        }
    }
    for row in [&header].into_iter().chain(rows) {
        let cells =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{:<width$}", cell.as_deref().unwrap_or_default()));
        let line = format!("  {}", cells.collect::<Vec<_>>().join(" │ "));
        let line = line.trim_end();
        let short: String = line.chars().take(width().saturating_sub(1)).collect();
        print(&format!("{short}{}\n", if short.len() < line.len() { "…" } else { "" }))?;
    }
    Ok(())
}

/// Relaxed Extended JSON of what this school has; what fits into a line stays in one.
fn json(value: &Bson, indent: usize) -> String {
    let (open, parts, close): (_, Vec<String>, _) = if let Bson::Document(fields) = value {
        ("{", fields.iter().map(|(name, value)| format!("\"{name}\": {}", json(value, indent + 2))).collect(), "}")
    } else if let Bson::Array(elements) = value {
        ("[", elements.iter().map(|element| json(element, indent + 2)).collect(), "]")
    } else if let Bson::DateTime(date) = value {
        return format!("{{\"$date\": \"{}\"}}", date.try_to_rfc3339_string().unwrap_or_default());
    } else {
        return value.to_string();
    };
    let line = format!("{open} {} {close}", parts.join(", "));
    if indent > 2 && !line.contains('\n') && indent + line.chars().count() < width().min(110) {
        return line;
    }
    let lead = " ".repeat(indent);
    format!("{open}\n{lead}  {}\n{lead}{close}", parts.join(&format!(",\n{lead}  ")))
}
