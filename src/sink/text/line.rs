//! Statements as lines: one each, whatever their names hold.

use std::borrow::Cow;
use std::fmt::Write;

use super::literal;
use crate::sink::statement::{Param, Statement};

/// A statement without a line break, ended by `;`. Outside literals, which have none, only a quoted name may have one;
/// it is then written with escapes (PostgreSQL manual, 4.1.2.3).
#[must_use]
pub fn statement(sql: &str) -> String {
    let mut line = if sql.chars().any(literal::breaks_lines) { escape_names(sql) } else { sql.to_owned() };
    line.push(';');
    line
}

fn escape_names(sql: &str) -> String {
    let mut line = String::with_capacity(sql.len() + 16);
    let mut rest = sql;
    while let Some(at) = rest.find(['\'', '"']) {
        let (before, quoted) = rest.split_at(at);
        line.push_str(before);
        let (token, after) = quoted.split_at(end_of_quoted(quoted, before.ends_with('E')));
        line.push_str(&escape_name(token));
        rest = after;
    }
    line.push_str(rest);
    line
}

/// Bytes of the quoted token that a text starts with; `''` in it is a quote, and so is `\'` in one with escapes.
fn end_of_quoted(text: &str, escapes: bool) -> usize {
    let Some(quote) = text.chars().next() else { return 0 };
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && escapes && quote == '\'' {
            chars.next();
        } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
    }
    text.len()
}

fn escape_name(token: &str) -> Cow<'_, str> {
    if !token.starts_with('"') || !token.chars().any(literal::breaks_lines) {
        return token.into();
    }
    let mut name = String::from("U&");
    for c in token.chars() {
        match c {
            '\\' => name.push_str("\\\\"),
            c if literal::breaks_lines(c) => {
                let _ = write!(name, "\\{:04X}", u32::from(c)); // a string takes everything
            }
            c => name.push(c),
        }
    }
    name.into()
}

/// A statement of the catalog with literals in place of its parameters.
#[must_use]
pub fn with_literals(given: &Statement<'_>) -> String {
    let mut sql = String::with_capacity(given.sql.len() + 64);
    let mut parts = given.sql.split('$');
    sql.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = part.split_at(digits);
        let param = number.parse::<usize>().ok().and_then(|number| given.params.get(number.checked_sub(1)?));
        sql.push_str(&param.map_or_else(|| "NULL".to_owned(), literal_of));
        // Only a parameter needs to be told that it is sent as text.
        sql.push_str(after.strip_prefix("::text").filter(|rest| !rest.starts_with("[]")).unwrap_or(after));
    }
    sql
}

fn literal_of(param: &Param<'_>) -> String {
    let or_null = |text: Option<String>| text.unwrap_or_else(|| "NULL".to_owned());
    match param {
        Param::Text(text) => or_null(text.as_deref().map(literal::text)),
        Param::Boolean(yes) => yes.to_string(),
        Param::Integer(number) => or_null(number.map(|number| number.to_string())),
        Param::BigInt(number) => number.to_string(),
        Param::Texts(texts) => texts_literal(texts),
        Param::Bytes(bytes) => or_null(bytes.map(literal::bytea)),
    }
}

fn texts_literal(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| literal::text(text)).collect();
    format!("ARRAY[{}]::text[]", texts.join(", "))
}

/// A script as its statements, each in one line without its `;`. Comments stand on lines of their own; what is in `$$`
/// belongs to one statement.
#[must_use]
pub fn statements_of(script: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut statement = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("--")) {
        if !statement.is_empty() {
            statement.push(' ');
        }
        statement.push_str(line);
        if statement.ends_with(';') && statement.matches("$$").count().is_multiple_of(2) {
            statement.pop();
            statements.push(std::mem::take(&mut statement));
        }
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_line_break_is_escaped_and_nothing_else() {
        assert_eq!(statement("SELECT 1"), "SELECT 1;");
        assert_eq!(
            statement("UPDATE \"a\nb\\\"\"c\" SET \"d\" = E'it''s \\' \"', \"e\r\" = 1"),
            "UPDATE U&\"a\\000Ab\\\\\"\"c\" SET \"d\" = E'it''s \\' \"', U&\"e\\000D\" = 1;"
        );
        assert_eq!(statement("SET \"x\n\" = '\\', \"y\n\" = 'z'"), "SET U&\"x\\000A\" = '\\', U&\"y\\000A\" = 'z';");
    }

    #[test]
    fn parameters_become_literals() {
        let params = [
            Param::from("it's"),
            Param::Texts(Cow::Owned(vec![String::new(), "a\nb".to_owned()])),
            Param::Bytes(None),
            Param::Bytes(Some(&[1])),
            true.into(),
            (-1i64).into(),
            Param::Integer(None),
            Param::from("$1"),
            Param::Texts(Cow::Owned(Vec::new())),
            Param::from("ten"),
        ];
        let given = Statement::new("", "($1::text::uuid, $2, $3, $4, $5, $6, $7, $8, $9, $10)", params);
        assert_eq!(
            with_literals(&given),
            "('it''s'::uuid, ARRAY['', E'a\\nb']::text[], NULL, '\\x01', true, -1, NULL, '$1', ARRAY[]::text[], 'ten')"
        );
    }

    #[test]
    fn a_script_becomes_lines() {
        let script = "-- A comment; here.\nCREATE A;\n\nDO $$ BEGIN\n    x;\nEND $$;\nCREATE INDEX a\n    (b);\n";
        assert_eq!(statements_of(script), ["CREATE A", "DO $$ BEGIN x; END $$", "CREATE INDEX a (b)"]);
    }
}
