//! The mapping contract case by case: names, types, child tables, widening, deltas, life cycle, odd values.
//!
//! Each test says the expected tables in the contract's words and ends with the oracle's comparison of everything.

mod deltas;
mod lifecycle;
mod names;
mod nested;
mod odd_values;
mod scalars;
mod widening;

use crate::decode::rows::quote;
use crate::harness::case::Case;

impl Case {
    /// `name type` of every column of a table of database `db`, sorted.
    pub async fn columns(&self, table: &str) -> Vec<String> {
        let table = format!("{{db}}.{}", quote(table));
        let query = format!(
            "SELECT attname || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute \
             WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attname COLLATE \"C\""
        );
        self.lines(&query).await
    }

    /// The columns of a table's primary key, in its order.
    pub async fn key(&self, table: &str) -> Vec<String> {
        let table = format!("{{db}}.{}", quote(table));
        let query = format!(
            "SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey) \
             WHERE indrelid = '{table}'::regclass AND indisprimary ORDER BY array_position(indkey::int2[], attnum)"
        );
        self.lines(&query).await
    }

    /// The tables of database `db`, without the sentinel's.
    async fn tables(&self) -> Vec<String> {
        self.lines(&format!(
            "SELECT tablename FROM pg_tables WHERE schemaname = '{}db' AND tablename <> 'zz_sentinel' \
             ORDER BY tablename COLLATE \"C\"",
            self.prefix
        ))
        .await
    }
}
