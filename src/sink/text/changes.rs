//! Schema changes as statements, with the catalog's rows that belong to them.
//!
//! In: schema changes in order. Out: the statements that an executor would run, made by the same functions; without
//! their lines in `tailwater.events`, as the text itself says what is changed.

use std::collections::HashSet;

use super::line::with_literals;
use super::literal;
use crate::model::identifier::Identifier;
use crate::model::table::Table;
use crate::model::write_set::{Ddl, Rekey};
use crate::sink::rekey::{RootRekey, child_statements};
use crate::sink::statement::Statement;
use crate::sink::{records, sql};

/// The schemas that a text has made sure of.
#[derive(Debug, Default)]
pub struct Schemas(HashSet<Identifier>);

impl Schemas {
    /// The statements of a schema change.
    pub fn statements(&mut self, pipeline: &str, ddl: &Ddl) -> Vec<String> {
        match ddl {
            Ddl::CreateTable(table) => self.with(&table.schema, vec![sql::create_table(table)]),
            Ddl::Alter { table, columns } => vec![sql::alter(table, columns)],
            Ddl::DropTable(table) => vec![sql::drop_table(table)],
            // Tables of a text have their keys from the start.
            Ddl::Keys(_) => Vec::new(),
            Ddl::Rekey(change) => rekey(change),
            Ddl::Keep { table, collection, namespace } => {
                literals([records::keep(pipeline, table, *collection, namespace)])
            }
            Ddl::Aside { schema, from, to } => {
                let noted = with_literals(&records::aside(pipeline, schema, from, to));
                vec![sql::move_aside(schema, from, to), noted]
            }
            Ddl::RenameTable { from, to } => {
                let renamed = [sql::rename_table(from, to), sql::rename_columns(from, to)].concat();
                if from.schema == to.schema { renamed } else { self.with(&to.schema, renamed) }
            }
            Ddl::Path(row) => literals([records::path(pipeline, row)]),
            Ddl::Collection(row) => literals(records::collection(pipeline, row)),
            Ddl::Forget(id) => literals(records::forget(pipeline, *id)),
            Ddl::Gone(id) => literals(records::gone(pipeline, *id)),
        }
    }

    /// Makes the schema first, unless this text has already.
    fn with(&mut self, schema: &Identifier, statements: Vec<String>) -> Vec<String> {
        if !self.0.insert(schema.clone()) {
            return statements;
        }
        std::iter::once(format!("CREATE SCHEMA IF NOT EXISTS {schema}")).chain(statements).collect()
    }
}

fn literals<const N: usize>(statements: [Statement<'_>; N]) -> Vec<String> {
    statements.iter().map(with_literals).collect()
}

fn rekey(rekey: &Rekey) -> Vec<String> {
    let Some(((before, after), children)) = rekey.tables.split_first() else { return Vec::new() };
    let root = RootRekey::new(before, after, rekey).into_iter().flat_map(|root| root_statements(before, &root));
    root.chain(children.iter().flat_map(|(before, after)| child_statements(before, after, rekey))).collect()
}

/// The name of the primary key is PostgreSQL's choice, so the statement looks it up.
fn root_statements(table: &Table, RootRekey { add, start, rest }: &RootRekey) -> [String; 2] {
    let name = format!(
        "(SELECT quote_ident(conname) FROM pg_constraint WHERE contype = 'p' AND conrelid = {}::regclass)",
        literal::text(&table.qualified())
    );
    let body = format!("BEGIN EXECUTE {} || {name} || {}; END", literal::text(start), literal::text(rest));
    [add.clone(), format!("DO {}", literal::text(&body))]
}
