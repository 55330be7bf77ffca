//! Notes every row that is written to a table, and by whom: what a comparison of the end cannot show.

use super::case::Case;

/// Notes writes to `{db}.student` from now on, in the catalog's schema because the comparison knows every other table.
pub async fn start(case: &Case) {
    case.rows("CREATE TABLE tailwater.audit (operation text, id int, pid int)").await;
    case.rows(
        "CREATE FUNCTION tailwater.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO tailwater.audit \
         VALUES (TG_OP, coalesce(NEW._id, OLD._id), pg_backend_pid()); RETURN NULL; END'",
    )
    .await;
    case.rows(
        "CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON {db}.student \
         FOR EACH ROW EXECUTE FUNCTION tailwater.note()",
    )
    .await;
}
