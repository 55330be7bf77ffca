//! Another key for all tables of a collection: from the id itself to the digest of its canonical form.
//!
//! One `ALTER TABLE` each computes the new key and rewrites the table, however large, in one go. The expressions here make
//! of what a key column holds the bytes that `mapping::identity` makes of the value that came in; they must agree to the
//! last bit, and `tests/it/mixed_ids` has them agree on every type.

use super::catalog::CatalogWriter;
use super::sql;
use crate::error::{Error, Kind, Result, Stage};
use crate::mapping::identity::{DIGITS_BELOW_EXPONENT, DIGITS_FROM_EXPONENT, tag};
use crate::mapping::root::StoredKey;
use crate::model::identifier::Identifier;
use crate::model::table::{PgType, Table};
use crate::model::write_set::Rekey;

/// Bits that a `bigint` surely holds: a double is taken apart into pieces of this size.
const PIECE: i32 = 62;

/// 2 to the power of [`DIGITS_FROM_EXPONENT`], all digits.
const SMALLEST_UNIT: &str = "0.000000000000003552713678800500929355621337890625";

impl CatalogWriter<'_> {
    /// Gives the tables their new key.
    ///
    /// # Errors
    /// When PostgreSQL refuses it, for example because something of the user's depends on the old key.
    pub(super) async fn rekey(&self, rekey: &Rekey) -> Result<()> {
        // All at once: a table that is taken must not wait for another that somebody reads.
        let names: Vec<String> = rekey.tables.iter().map(|(table, _)| table.qualified()).collect();
        self.turns(&format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", names.join(", "))).await?;
        let Some(((before, after), children)) = rekey.tables.split_first() else { return Ok(()) };
        let mut statements = self.root(before, after, rekey).await?;
        statements.extend(children.iter().flat_map(|(before, after)| child_statements(before, after, rekey)));
        for statement in statements {
            self.locking("rekey_table", &statement).await?;
        }
        Ok(())
    }

    async fn root(&self, before: &Table, after: &Table, rekey: &Rekey) -> Result<Vec<String>> {
        let Some(RootRekey { add, start, rest }) = RootRekey::new(before, after, rekey) else { return Ok(Vec::new()) };
        let missing = || Error::new(Kind::Refused, Stage::Sink, format!("{} has no primary key", before.qualified()));
        let constraint = self.key_of(before).await?;
        let constraint = constraint.ok_or_else(|| missing().remedy("restore the primary key that Tailwater made"))?;
        Ok(vec![add, format!("{start}{constraint}{rest}")])
    }
}

/// The statements that give a root table its new key. Between `start` and `rest` stands the name of its primary key.
pub(super) struct RootRekey {
    /// Adds the column.
    pub add: String,
    /// Drops the old key,
    pub start: String,
    /// and makes the new one.
    pub rest: String,
}

impl RootRekey {
    /// `None` for a table without columns, which no table of ours is.
    pub fn new(before: &Table, after: &Table, rekey: &Rekey) -> Option<Self> {
        let (id, key) = (&before.columns.first()?.name, &after.columns.first()?.name);
        let digest = digest(id, rekey);
        let json = sql::widened(id, rekey.from, PgType::Jsonb, &rekey.seen, rekey.subtype);
        let table = before.qualified();
        Some(Self {
            add: format!("ALTER TABLE {table} ADD COLUMN {key} bytea"),
            start: format!("ALTER TABLE {table} DROP CONSTRAINT "),
            rest: format!(
                ", ALTER COLUMN {key} TYPE bytea USING {digest}, ALTER COLUMN {id} TYPE jsonb USING {json}, \
                 ADD PRIMARY KEY ({key})"
            ),
        })
    }
}

/// The statements that give a child table its new key.
pub(super) fn child_statements(before: &Table, after: &Table, rekey: &Rekey) -> Vec<String> {
    let (Some(old), Some(new)) = (before.columns.first(), after.columns.first()) else { return Vec::new() };
    let (table, digest) = (before.qualified(), digest(&old.name, rekey));
    vec![
        format!("ALTER TABLE {table} ALTER COLUMN {} TYPE bytea USING {digest}", old.name),
        format!("ALTER TABLE {table} RENAME COLUMN {} TO {}", old.name, new.name),
    ]
}

fn digest(name: &Identifier, Rekey { from, seen, subtype, .. }: &Rekey) -> String {
    format!("sha256({})", canonical(name, *from, seen, *subtype))
}

/// The digest of the id that a row's key stands for.
pub(super) fn id_digest(name: &Identifier, key: &StoredKey) -> String {
    match key {
        StoredKey::Digest => name.to_string(),
        StoredKey::Id { ty, seen, subtype } => format!("sha256({})", canonical(name, *ty, seen, *subtype)),
    }
}

/// The canonical form of a stored key.
fn canonical(name: &Identifier, from: PgType, seen: &[&str], subtype: Option<u8>) -> String {
    let sized = |bytes: &str| format!("int4send(octet_length({bytes}))");
    match from {
        PgType::Boolean => format!("{} || CASE WHEN {name} THEN {} ELSE {} END", byte(tag::BOOLEAN), byte(1), byte(0)),
        PgType::Integer | PgType::BigInt => number(&format!("{name}::text")),
        PgType::Numeric if seen.contains(&"double") => {
            let double = double(&format!("{name}::float8"));
            let whole = number(&format!("trim_scale({name})::text"));
            format!("CASE WHEN {name} = trunc({name}) THEN {whole} ELSE {double} END")
        }
        PgType::Numeric => number(&format!("trim_scale({name})::text")),
        PgType::Double => double(&name.to_string()),
        PgType::Text if seen == ["objectId"] => format!("{} || decode({name}, 'hex')", byte(tag::OBJECT_ID)),
        PgType::Text | PgType::Jsonb => {
            let text = format!("convert_to({name}::text, 'UTF8')");
            format!("{} || {} || {text}", byte(tag::STRING), sized(&text))
        }
        PgType::TimestampTz => {
            format!("{} || int8send((extract(epoch FROM {name}) * 1000)::bigint)", byte(tag::DATE))
        }
        PgType::Uuid => format!("{} || int4send(16) || {} || uuid_send({name})", byte(tag::BINARY), byte(4)),
        PgType::Bytea => {
            let (lead, subtype) = (byte(tag::BINARY), byte(subtype.unwrap_or(0)));
            format!("{lead} || {} || {subtype} || {name}", sized(&name.to_string()))
        }
    }
}

fn byte(byte: u8) -> String {
    format!("'\\x{byte:02x}'::bytea")
}

fn number(text: &str) -> String {
    format!("({} || convert_to({text}, 'UTF8') || {})", byte(tag::NUMBER), byte(tag::END))
}

/// `numeric` of a double has 15 digits, so all of them are put together from pieces that a `bigint` holds exactly. What
/// is done to the pieces (cutting off a fraction, multiplying by a power of two) is exact in doubles too.
fn double(x: &str) -> String {
    let power = |exponent: i32| format!("'{:?}'::float8", 2f64.powi(exponent));
    let fraction = format!("({x} - trunc({x})) * {}", power(-DIGITS_FROM_EXPONENT));
    let high = format!("trunc(trunc({x}) / {})", power(2 * PIECE));
    let rest = format!("(trunc({x}) - {high} * {})", power(2 * PIECE));
    let middle = format!("trunc({rest} / {})", power(PIECE));
    let low = format!("({rest} - {middle} * {})", power(PIECE));
    let (high_unit, middle_unit) = (1u128 << (2 * PIECE), 1u128 << PIECE);
    let exact = format!(
        "{high}::bigint::numeric * {high_unit} + {middle}::bigint::numeric * {middle_unit} + {low}::bigint \
         + ({fraction})::bigint::numeric * {SMALLEST_UNIT}"
    );
    format!(
        "CASE WHEN {x} IN ('NaN', 'Infinity', '-Infinity') THEN {} \
         WHEN abs({x}) < {} AND {fraction} = trunc({fraction}) THEN {} ELSE {} || float8send({x}) END",
        number(&format!("({x})::text")),
        power(DIGITS_BELOW_EXPONENT),
        number(&format!("trim_scale({exact})::text")),
        byte(tag::DOUBLE)
    )
}
