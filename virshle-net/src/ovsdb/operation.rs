//! The operations of a transaction.

use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::value::row_to_json;
use super::{Row, Uuid, Value};

/// One operation of a transaction.
///
/// # References
///
/// RFC 7047, section 5.2.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Operation(Map<String, Json>);

/// How a condition compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Function {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// The column has all of these elements or pairs.
    Includes,
    /// The column has none of these elements or pairs.
    Excludes,
}

/// What rows are meant: all conditions must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition(Json);

impl Condition {
    /// `column` compared with `value`.
    pub fn new(column: &str, function: Function, value: impl Into<Value>) -> Self {
        let function = match function {
            Function::Equal => "==",
            Function::NotEqual => "!=",
            Function::Less => "<",
            Function::LessOrEqual => "<=",
            Function::Greater => ">",
            Function::GreaterOrEqual => ">=",
            Function::Includes => "includes",
            Function::Excludes => "excludes",
        };
        Self(json!([column, function, value.into().to_json()]))
    }

    /// The row called `name` in its column `name`.
    pub fn name(name: &str) -> Self {
        Self::new("name", Function::Equal, name)
    }

    /// The row of this identity.
    pub fn uuid(uuid: Uuid) -> Self {
        Self::new("_uuid", Function::Equal, uuid)
    }

    /// `column` has all of these elements or pairs.
    pub fn includes(column: &str, value: impl Into<Value>) -> Self {
        Self::new(column, Function::Includes, value)
    }
}

/// How a mutation changes a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mutator {
    /// `+=`
    Add,
    /// `-=`
    Subtract,
    /// `*=`
    Multiply,
    /// `/=`
    Divide,
    /// `%=`
    Remainder,
    /// Adds elements or pairs; a key that is there keeps its value.
    Insert,
    /// Removes elements, pairs, or (given a set) keys.
    Delete,
}

/// A change of one column that starts from its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Mutation(Json);

impl Mutation {
    /// Changes `column` by `value`.
    pub fn new(column: &str, mutator: Mutator, value: impl Into<Value>) -> Self {
        let mutator = match mutator {
            Mutator::Add => "+=",
            Mutator::Subtract => "-=",
            Mutator::Multiply => "*=",
            Mutator::Divide => "/=",
            Mutator::Remainder => "%=",
            Mutator::Insert => "insert",
            Mutator::Delete => "delete",
        };
        Self(json!([column, mutator, value.into().to_json()]))
    }

    /// Adds elements or pairs.
    pub fn insert(column: &str, value: impl Into<Value>) -> Self {
        Self::new(column, Mutator::Insert, value)
    }

    /// Removes elements or pairs.
    pub fn delete(column: &str, value: impl Into<Value>) -> Self {
        Self::new(column, Mutator::Delete, value)
    }
}

/// What [`Operation::wait`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The rows are these.
    Equal,
    /// The rows are not these.
    NotEqual,
}

impl Operation {
    fn new(name: &str, table: &str) -> Self {
        Self(Map::new()).with("op", json!(name)).with("table", json!(table))
    }

    fn with(mut self, member: &str, value: Json) -> Self {
        self.0.insert(member.into(), value);
        self
    }

    fn on(self, conditions: &[Condition]) -> Self {
        self.with("where", conditions.iter().map(|condition| condition.0.clone()).collect())
    }

    /// Inserts a row.
    pub fn insert(table: &str, row: &Row) -> Self {
        Self::new("insert", table).with("row", row_to_json(row))
    }

    /// Names the row that this `insert` makes, for [`Value::named`] in the same transaction.
    pub fn named(self, name: &str) -> Self {
        self.with("uuid-name", json!(name))
    }

    /// Reads `columns` of the rows that meet all `conditions`.
    pub fn select(table: &str, conditions: &[Condition], columns: &[&str]) -> Self {
        Self::new("select", table).on(conditions).with("columns", json!(columns))
    }

    /// Sets columns of the rows that meet all `conditions`.
    pub fn update(table: &str, conditions: &[Condition], row: &Row) -> Self {
        Self::new("update", table).on(conditions).with("row", row_to_json(row))
    }

    /// Changes columns, starting from their values, of the rows that meet all `conditions`.
    pub fn mutate(
        table: &str,
        conditions: &[Condition],
        mutations: impl IntoIterator<Item = Mutation>,
    ) -> Self {
        let mutations = mutations.into_iter().map(|mutation| mutation.0).collect();
        Self::new("mutate", table).on(conditions).with("mutations", mutations)
    }

    /// Deletes the rows that meet all `conditions`.
    pub fn delete(table: &str, conditions: &[Condition]) -> Self {
        Self::new("delete", table).on(conditions)
    }

    /// Waits, on the server and for `timeout` at most, until `columns` of the rows that meet all
    /// `conditions` are (or are not) exactly `rows`; then the rest of the transaction is done.
    ///
    /// With a timeout of nothing it is a condition of the transaction.
    pub fn wait(
        table: &str,
        conditions: &[Condition],
        columns: &[&str],
        until: Until,
        rows: &[Row],
        timeout: Duration,
    ) -> Self {
        let until = match until {
            Until::Equal => "==",
            Until::NotEqual => "!=",
        };
        Self::new("wait", table)
            .on(conditions)
            .with("columns", json!(columns))
            .with("until", json!(until))
            .with("rows", rows.iter().map(row_to_json).collect())
            // The server reads no larger integer (RFC 7047 §3.1).
            .with("timeout", json!(i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Writes `text` into the database's log of changes.
    pub fn comment(text: &str) -> Self {
        Self(Map::new()).with("op", json!("comment")).with("comment", json!(text))
    }

    /// Asks that the transaction be on disk before it is answered.
    pub fn commit_durably() -> Self {
        Self(Map::new()).with("op", json!("commit")).with("durable", json!(true))
    }

    /// Makes the transaction fail.
    pub fn abort() -> Self {
        Self(Map::new()).with("op", json!("abort"))
    }

    /// Makes the transaction fail unless this client holds `lock`.
    pub fn assert(lock: &str) -> Self {
        Self(Map::new()).with("op", json!("assert")).with("lock", json!(lock))
    }

    pub(crate) fn to_json(&self) -> Json {
        Json::Object(self.0.clone())
    }

    /// As `insert Port`.
    pub(crate) fn describe(&self) -> String {
        let word = |member| self.0.get(member).and_then(Json::as_str).unwrap_or_default();
        format!("{} {}", word("op"), word("table")).trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_insert_is_written_as_in_the_rfc() {
        let row = Row::from([("name".into(), Value::from("p0"))]);
        let operation = Operation::insert("Port", &row).named("port");
        assert_eq!(
            operation.to_json(),
            json!({"op": "insert", "table": "Port", "row": {"name": "p0"}, "uuid-name": "port"})
        );
        assert_eq!(operation.describe(), "insert Port");
        assert_eq!(Operation::abort().describe(), "abort");
    }

    #[test]
    fn a_mutation_is_written_as_in_the_rfc() {
        let operation = Operation::mutate(
            "Bridge",
            &[Condition::name("br0")],
            [Mutation::insert("ports", Value::named("port"))],
        );
        assert_eq!(
            operation.to_json(),
            json!({"op": "mutate", "table": "Bridge", "where": [["name", "==", "br0"]],
                "mutations": [["ports", "insert", ["named-uuid", "port"]]]})
        );
    }

    #[test]
    fn a_wait_has_its_timeout_in_milliseconds() {
        let forever = Operation::wait("T", &[], &[], Until::Equal, &[], Duration::MAX);
        assert_eq!(forever.to_json()["timeout"], i64::MAX);
        let wait = Operation::wait("T", &[], &["c"], Until::NotEqual, &[], Duration::from_secs(2));
        assert_eq!(
            wait.to_json(),
            json!({"op": "wait", "table": "T", "where": [], "columns": ["c"], "until": "!=",
                "rows": [], "timeout": 2000})
        );
    }
}
