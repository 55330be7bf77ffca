//! Tables of the file as Extended JSON, their keys in the order in which they are written.
//!
//! For what is MongoDB's and not ours: in a stage of an aggregation the order of fields counts, and the wrappers of
//! Extended JSON say what TOML cannot (`{ "$oid" = "…" }`). The parser's own tables are sorted by name, but each key
//! knows where it stands.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The list as text.
pub(super) fn of_list(list: &[Spanned<DeValue<'_>>]) -> String {
    let items: Vec<String> = list.iter().map(|item| of_value(item.get_ref())).collect();
    format!("[{}]", items.join(","))
}

fn of_table(table: &DeTable<'_>) -> String {
    let mut fields: Vec<_> = table.iter().collect();
    fields.sort_by_key(|(key, _)| key.span().start);
    let fields: Vec<String> =
        fields.iter().map(|(key, value)| format!("{}:{}", quoted(key.get_ref()), of_value(value.get_ref()))).collect();
    format!("{{{}}}", fields.join(","))
}

fn of_value(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        // What is no int64 is refused as such, not rounded.
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| wrapped("$numberLong", number.as_str()), |number| number.to_string()),
        DeValue::Float(number) => match number.as_str().trim_start_matches('+') {
            "inf" => wrapped("$numberDouble", "Infinity"),
            "-inf" => wrapped("$numberDouble", "-Infinity"),
            "nan" | "-nan" => wrapped("$numberDouble", "NaN"),
            finite => wrapped("$numberDouble", finite),
        },
        DeValue::Boolean(yes) => yes.to_string(),
        // Without an offset it is no point in time, and refused.
        DeValue::Datetime(time) => wrapped("$date", &time.to_string()),
        DeValue::Array(list) => of_list(list),
        DeValue::Table(table) => of_table(table),
    }
}

fn wrapped(name: &str, text: &str) -> String {
    format!("{{{}:{}}}", quoted(name), quoted(text))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::of_list;
    use toml::de::DeTable;

    fn json(list: &str) -> String {
        let file = format!("list = {list}\n");
        let table = DeTable::parse(&file).expect("TOML").into_inner();
        let list = table.get("list").expect("there").get_ref().as_array().expect("a list").to_vec();
        of_list(&list)
    }

    #[test]
    fn keys_keep_their_order_and_values_their_type() {
        assert_eq!(
            json(r#"[{ z = 1, a = { y = "\"", b = [] }, m.n = true, k = 0x10 }]"#),
            r#"[{"z":1,"a":{"y":"\"","b":[]},"m":{"n":true},"k":16}]"#
        );
        assert_eq!(
            json("[{ f = 1_0.5, i = +inf, n = nan }, -1, [2024-05-06 07:08:09.5Z]]"),
            r#"[{"f":{"$numberDouble":"10.5"},"i":{"$numberDouble":"Infinity"},"n":{"$numberDouble":"NaN"}},-1,[{"$date":"2024-05-06T07:08:09.5Z"}]]"#
        );
    }
}
