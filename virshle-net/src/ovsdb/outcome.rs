//! The outcomes of a transaction's operations.

use serde_json::Value as Json;

use super::value::{not, row_from_json};
use super::{Row, Uuid, Value};
use crate::NetError;

/// What one operation of a transaction gave.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Outcome {
    /// The row that an `insert` made.
    pub uuid: Option<Uuid>,
    /// How many rows an `update`, `mutate` or `delete` met.
    pub count: Option<u64>,
    /// What a `select` found.
    pub rows: Vec<Row>,
}

impl Outcome {
    pub(crate) fn from_json(json: Json) -> Result<Self, String> {
        let Json::Object(mut members) = json else {
            return Err(not("the outcome of an operation", &json));
        };
        let uuid = match members.remove("uuid") {
            Some(uuid) => Value::from_json(uuid)?.as_uuid(),
            None => None,
        };
        let rows = match members.remove("rows") {
            Some(Json::Array(rows)) => {
                rows.into_iter().map(row_from_json).collect::<Result<_, _>>()?
            }
            _ => Vec::new(),
        };
        Ok(Self { uuid, count: members.get("count").and_then(Json::as_u64), rows })
    }
}

/// Why an answer holds no outcomes.
#[derive(Debug)]
pub(crate) enum Unfit {
    Failed(Box<NetError>),
    Malformed(String),
}

/// Reads the answer to a transaction of these operations.
///
/// One that failed has an error object in its place and `null` after it; when the commit failed,
/// the error comes after the last one.
pub(crate) fn read_outcomes(answer: Json, operations: &[String]) -> Result<Vec<Outcome>, Unfit> {
    let Json::Array(results) = answer else {
        return Err(Unfit::Malformed(not("the outcomes of a transaction", &answer)));
    };
    for (index, result) in results.iter().enumerate() {
        let Some(Json::String(error)) = result.get("error") else { continue };
        let details = result.get("details").and_then(Json::as_str).unwrap_or_default();
        return Err(Unfit::Failed(Box::new(NetError::Operation {
            index,
            operation: operations.get(index).map_or("commit", String::as_str).into(),
            error: error.clone(),
            details: details.into(),
        })));
    }
    if results.len() != operations.len() {
        return Err(Unfit::Malformed(format!(
            "{} outcomes of {} operations",
            results.len(),
            operations.len()
        )));
    }
    results.into_iter().map(|result| Outcome::from_json(result).map_err(Unfit::Malformed)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(count: usize) -> Vec<String> {
        vec!["insert Port".into(); count]
    }

    #[test]
    fn the_failed_operation_is_named() {
        let answer = json!([{}, {"error": "constraint violation", "details": "why"}, null]);
        let Err(Unfit::Failed(error)) = read_outcomes(answer, &names(3)) else { panic!() };
        assert_eq!(
            error.to_string(),
            "the database refused operation 1 (insert Port): constraint violation: why"
        );
    }

    #[test]
    fn a_failed_commit_comes_after_the_last_operation() {
        let answer = json!([{}, {}, {"error": "constraint violation"}]);
        let Err(Unfit::Failed(error)) = read_outcomes(answer, &names(2)) else { panic!() };
        assert_eq!(
            error.to_string(),
            "the database refused operation 2 (commit): constraint violation"
        );
    }

    #[test]
    fn too_few_or_odd_outcomes_are_malformed() {
        for answer in [json!([{}]), json!([{}, null]), json!({}), json!(null), json!([{}, {}, {}])]
        {
            let read = read_outcomes(answer.clone(), &names(2));
            assert!(matches!(read, Err(Unfit::Malformed(_))), "{answer}");
        }
    }

    #[test]
    fn outcomes_are_read() {
        let rows = Outcome::from_json(json!({"rows": [{"a": 1}, {}]})).unwrap().rows;
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0]["a"].as_i64(), Some(1));
        assert_eq!(Outcome::from_json(json!({"count": 3})).unwrap().count, Some(3));
        assert_eq!(Outcome::from_json(json!({})).unwrap(), Outcome::default());
        assert!(Outcome::from_json(json!([])).is_err());
        assert!(Outcome::from_json(json!({"rows": [1]})).is_err());
    }
}
