//! One entry of the oplog: when it is, and which operations take effect with it.
//!
//! In: the entry as it lies. Out: its operations, in place. An entry has one operation, or with `applyOps` a list of them: a
//! multi-document write (8.0 writes `insertMany` and `deleteMany` so), or a transaction. A transaction over 16 MiB is a
//! chain of entries, tied by `prevOpTime`, all but the last marked `partialTxn`; one that is prepared takes effect with a
//! `commitTransaction` that points back at it, or never (MongoDB source, `oplog_entry.idl`; seen on 8.2).

use crate::model::bson::{Doc, Malformed, Value};
use crate::model::position::ClusterTime;

/// The identity of an entry: its time, and the election term of the primary that wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct OpTime {
    /// `ts`.
    pub time: ClusterTime,
    /// `t`.
    pub term: i64,
}

impl OpTime {
    /// The identity of an entry.
    ///
    /// # Errors
    /// When it is no BSON.
    pub fn of(entry: Doc<'_>) -> Result<Self, Malformed> {
        Ok(op_time(entry)?.unwrap_or_default())
    }
}

/// An entry.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// When it is.
    pub at: OpTime,
    /// What it does.
    pub effect: Effect<'a>,
}

/// What an entry does.
#[derive(Debug, Clone)]
pub enum Effect<'a> {
    /// Time passes: a no-op, an aborted transaction.
    Nothing,
    /// These operations happen, after those of the chain that ends here.
    Operations {
        /// Each is written like an entry of its own.
        operations: Vec<Doc<'a>>,
        /// The entry before in the chain of a transaction.
        previous: Option<OpTime>,
    },
    /// These operations are a part of a transaction, which takes effect later if it does.
    Part {
        /// Each is written like an entry of its own.
        operations: Vec<Doc<'a>>,
        /// The entry before in the chain.
        previous: Option<OpTime>,
    },
}

/// `multiOpType` of a retryable write of many documents: no transaction, its `prevOpTime` is that of another write.
const APPLIED_SEPARATELY: i32 = 1;

/// How deep an `applyOps` may lie in others.
const DEEPEST: usize = 8;

#[derive(Default)]
struct Fields<'a> {
    at: OpTime,
    operation: &'a [u8],
    object: Option<Doc<'a>>,
    previous: Option<OpTime>,
    multi_op_type: i32,
    /// `txnNumber`: a transaction, or a write that may be retried.
    numbered: bool,
}

impl<'a> Entry<'a> {
    /// Reads an entry.
    ///
    /// # Errors
    /// When it is no BSON, or its operations are no documents.
    pub fn read(entry: Doc<'a>) -> Result<Self, Malformed> {
        let fields = Fields::read(entry)?;
        let at = fields.at;
        let nothing = Ok(Self { at, effect: Effect::Nothing });
        if fields.operation == b"n" {
            return nothing;
        }
        let command = fields.object.filter(|_| fields.operation == b"c");
        let Some(command) = command else {
            return Ok(Self { at, effect: Effect::Operations { operations: vec![entry], previous: None } });
        };
        let previous = fields.previous.filter(|_| fields.multi_op_type != APPLIED_SEPARATELY);
        match first_name(command)? {
            Some(b"applyOps") => {
                let mut operations = Vec::new();
                unfold(command, &mut operations, 0)?;
                let is = |name| Ok::<_, Malformed>(matches!(command.get(name)?, Some(Value::Boolean(true))));
                let later = is("partialTxn")? || is("prepare")?;
                let effect = if later {
                    Effect::Part { operations, previous }
                } else {
                    Effect::Operations { operations, previous }
                };
                Ok(Self { at, effect })
            }
            Some(b"commitTransaction") => {
                Ok(Self { at, effect: Effect::Operations { operations: Vec::new(), previous } })
            }
            Some(b"abortTransaction") => nothing,
            _ => Ok(Self { at, effect: Effect::Operations { operations: vec![entry], previous: None } }),
        }
    }
}

/// True when the change stream's reader too passes an entry in one step: it has one operation, or is a transaction. A write
/// of many documents, which is neither, is an event for each of them, and a commit may follow any.
///
/// # Errors
/// When it is no BSON.
pub fn is_one_step(entry: Doc<'_>) -> Result<bool, Malformed> {
    let fields = Fields::read(entry)?;
    let command = fields.object.filter(|_| fields.operation == b"c");
    let many = command.map(first_name).transpose()?.flatten() == Some(b"applyOps");
    Ok(!many || (fields.numbered && fields.multi_op_type != APPLIED_SEPARATELY))
}

impl<'a> Fields<'a> {
    fn read(entry: Doc<'a>) -> Result<Self, Malformed> {
        let mut fields = Self::default();
        for element in entry.elements() {
            match element? {
                (b"ts", Value::Timestamp(seconds, ordinal)) => fields.at.time = ClusterTime { seconds, ordinal },
                (b"t", Value::Int64(term)) => fields.at.term = term,
                (b"op", Value::String(text)) => fields.operation = text,
                (b"o", Value::Document(object)) => fields.object = Some(object),
                (b"multiOpType", Value::Int32(kind)) => fields.multi_op_type = kind,
                (b"txnNumber", _) => fields.numbered = true,
                (b"prevOpTime", Value::Document(previous)) => fields.previous = op_time(previous)?,
                _ => {}
            }
        }
        Ok(fields)
    }
}

/// An optime; `None` for the one that stands for none (time 0).
fn op_time(document: Doc<'_>) -> Result<Option<OpTime>, Malformed> {
    let time = match document.get("ts")? {
        Some(Value::Timestamp(seconds, ordinal)) => ClusterTime { seconds, ordinal },
        _ => return Ok(None),
    };
    let term = match document.get("t")? {
        Some(Value::Int64(term)) => term,
        _ => 0,
    };
    Ok((time != ClusterTime::default()).then_some(OpTime { time, term }))
}

/// The name of the first field, which is the command's.
pub(super) fn first_name(document: Doc<'_>) -> Result<Option<&[u8]>, Malformed> {
    document.elements().next().transpose().map(|first| first.map(|(name, _)| name))
}

/// The operations of an `applyOps`, those of others in it as well.
fn unfold<'a>(command: Doc<'a>, operations: &mut Vec<Doc<'a>>, depth: usize) -> Result<(), Malformed> {
    let Some(Value::Array(list)) = command.get("applyOps")? else {
        return Err(Malformed { at: 0, expected: "a list in applyOps" });
    };
    for element in list.elements() {
        let (_, Value::Document(operation)) = element? else {
            return Err(Malformed { at: 0, expected: "operations in applyOps" });
        };
        match operation.get("o")? {
            Some(Value::Document(inner)) if depth < DEEPEST && first_name(inner)? == Some(b"applyOps") => {
                unfold(inner, operations, depth + 1)?;
            }
            _ => operations.push(operation),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bson::{Document as Map, Timestamp, doc};

    use super::{Effect, Entry, OpTime, is_one_step};
    use crate::model::bson::Document;
    use crate::model::position::ClusterTime;

    fn ts(time: u32) -> Timestamp {
        Timestamp { time, increment: 1 }
    }

    fn at(seconds: u32, term: i64) -> OpTime {
        OpTime { time: ClusterTime { seconds, ordinal: 1 }, term }
    }

    /// What the entry is: `-` nothing, `=` operations, `+` a part; how many; and what comes before.
    fn read(rest: Map) -> (char, usize, Option<OpTime>) {
        let mut entry = doc! { "ts": ts(9), "t": 3_i64 };
        entry.extend(rest);
        let entry = Document::new(entry.to_vec().expect("encodes")).expect("valid");
        let entry = Entry::read(entry.as_doc()).expect("an entry");
        assert_eq!(entry.at, at(9, 3));
        match entry.effect {
            Effect::Nothing => ('-', 0, None),
            Effect::Operations { operations, previous } => ('=', operations.len(), previous),
            Effect::Part { operations, previous } => ('+', operations.len(), previous),
        }
    }

    fn apply(rest: Map) -> Map {
        let insert = doc! { "op": "i", "ns": "d.c", "o": { "_id": 1 } };
        let mut o = doc! { "applyOps": [insert.clone(), insert] };
        o.extend(rest);
        doc! { "op": "c", "ns": "admin.$cmd", "o": o }
    }

    #[test]
    fn one_operation_or_many() {
        assert_eq!(read(doc! { "op": "i", "ns": "d.c", "o": { "_id": 1 } }), ('=', 1, None));
        assert_eq!(read(doc! { "op": "n", "ns": "", "o": { "msg": "periodic noop" } }), ('-', 0, None));
        assert_eq!(read(doc! { "op": "c", "ns": "d.$cmd", "o": { "drop": "c" } }), ('=', 1, None));
        assert_eq!(read(apply(doc! {})), ('=', 2, None));
        let nested = doc! { "op": "c", "ns": "admin.$cmd", "o": { "applyOps": [apply(doc! {}), apply(doc! {})] } };
        assert_eq!(read(nested), ('=', 4, None));
    }

    #[test]
    fn a_transaction_of_several_entries_takes_effect_with_the_last() {
        let mut first = apply(doc! { "partialTxn": true });
        first.insert("prevOpTime", doc! { "ts": Timestamp { time: 0, increment: 0 }, "t": -1_i64 });
        assert_eq!(read(first), ('+', 2, None));
        let mut last = apply(doc! { "count": 4_i64 });
        last.insert("prevOpTime", doc! { "ts": ts(8), "t": 2_i64 });
        assert_eq!(read(last), ('=', 2, Some(at(8, 2))));
    }

    #[test]
    fn a_prepared_transaction_takes_effect_with_its_commit() {
        assert_eq!(read(apply(doc! { "prepare": true })), ('+', 2, None));
        let mut commit =
            doc! { "op": "c", "ns": "admin.$cmd", "o": { "commitTransaction": 1, "commitTimestamp": ts(7) } };
        commit.insert("prevOpTime", doc! { "ts": ts(7), "t": 3_i64 });
        assert_eq!(read(commit), ('=', 0, Some(at(7, 3))));
        assert_eq!(read(doc! { "op": "c", "ns": "admin.$cmd", "o": { "abortTransaction": 1 } }), ('-', 0, None));
    }

    #[test]
    fn a_retryable_write_of_many_documents_is_no_chain() {
        let mut write = apply(doc! {});
        write.extend(doc! { "multiOpType": 1, "prevOpTime": { "ts": ts(8), "t": 3_i64 } });
        assert_eq!(read(write), ('=', 2, None));
    }

    #[test]
    fn only_a_write_of_many_documents_takes_the_change_stream_several_steps() {
        let one = |entry: Map| {
            let entry = Document::new(entry.to_vec().expect("encodes")).expect("valid");
            is_one_step(entry.as_doc()).expect("an entry")
        };
        let numbered = |mut entry: Map| {
            entry.insert("txnNumber", 5_i64);
            entry
        };
        assert!(one(doc! { "op": "i", "ns": "d.c", "o": { "_id": 1, "applyOps": 1 } }));
        assert!(one(numbered(doc! { "op": "i", "ns": "d.c", "o": { "_id": 1 } })));
        assert!(one(doc! { "op": "c", "ns": "d.$cmd", "o": { "drop": "c" } }));
        assert!(one(doc! { "op": "c", "ns": "admin.$cmd", "o": { "commitTransaction": 1 } }));
        assert!(one(numbered(apply(doc! {}))), "a transaction");
        assert!(!one(apply(doc! {})), "many documents");
        let mut retryable = numbered(apply(doc! {}));
        retryable.insert("multiOpType", 1);
        assert!(!one(retryable), "many documents, and may be retried");
    }

    #[test]
    fn a_damaged_list_is_an_error() {
        for list in [bson::Bson::Int32(1), bson::Bson::Array(vec![bson::Bson::Int32(1)])] {
            let entry = doc! { "op": "c", "ns": "admin.$cmd", "o": { "applyOps": list } };
            let entry = Document::new(entry.to_vec().expect("encodes")).expect("valid");
            assert!(Entry::read(entry.as_doc()).is_err());
        }
    }
}
