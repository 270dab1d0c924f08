//! Changes that the server reports by itself.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::value::{not, row_from_json};
use super::{Row, Uuid};

/// What to be notified of one table.
///
/// # References
///
/// RFC 7047, section 4.1.5.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct MonitorRequest {
    columns: Vec<String>,
    initial: bool,
    rows_that_vanish: bool,
}

impl MonitorRequest {
    /// Every change of these columns in any row of the table, and what they hold at first.
    pub fn new(columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&column| column.into()).collect();
        Self { columns, initial: true, rows_that_vanish: true }
    }

    /// Leaves out what the table holds at first.
    pub fn without_initial(mut self) -> Self {
        self.initial = false;
        self
    }

    /// Leaves out deleted rows.
    pub fn without_deletions(mut self) -> Self {
        self.rows_that_vanish = false;
        self
    }

    pub(crate) fn to_json(&self) -> Json {
        json!({"columns": self.columns,
            "select": {"initial": self.initial, "delete": self.rows_that_vanish}})
    }
}

/// What became of one row.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RowChange {
    /// It is new, or it was there when the monitor began.
    Present(Row),
    /// It has changed.
    Modified {
        /// The changed columns, as they were.
        old: Row,
        /// All the monitored columns, as they are.
        new: Row,
    },
    /// It is gone; this is how it was.
    Deleted(Row),
}

impl RowChange {
    /// The row as it is now, if it still is.
    pub fn row(&self) -> Option<&Row> {
        match self {
            Self::Present(row) | Self::Modified { new: row, .. } => Some(row),
            Self::Deleted(_) => None,
        }
    }
}

/// Changes that happened together.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Update {
    /// The monitor's name, as given to [`Client::monitor`](super::Client::monitor).
    pub monitor: String,
    /// The changed rows of each table.
    pub tables: BTreeMap<String, BTreeMap<Uuid, RowChange>>,
}

impl Update {
    /// The changed rows of `table`.
    pub fn rows(&self, table: &str) -> impl Iterator<Item = (Uuid, &RowChange)> {
        self.tables.get(table).into_iter().flatten().map(|(uuid, change)| (*uuid, change))
    }

    /// Reads the table updates, the same in the answer to `monitor` and in `update`.
    pub(crate) fn from_json(monitor: String, json: Json) -> Result<Self, String> {
        let Json::Object(tables) = json else { return Err(not("a set of changes", &json)) };
        let tables: Result<_, String> =
            tables.into_iter().map(|(name, rows)| Ok((name, read_rows(rows)?))).collect();
        Ok(Self { monitor, tables: tables? })
    }

    /// Reads the parameters of an `update` notification.
    pub(crate) fn from_notification(json: Json) -> Result<Self, String> {
        let Json::Array(parameters) = json else { return Err(not("an update", &json)) };
        match <[Json; 2]>::try_from(parameters) {
            Ok([Json::String(monitor), tables]) => Self::from_json(monitor, tables),
            Ok(other) => Err(not("an update", &Json::Array(other.into()))),
            Err(other) => Err(not("an update", &Json::Array(other))),
        }
    }
}

fn read_rows(json: Json) -> Result<BTreeMap<Uuid, RowChange>, String> {
    let Json::Object(rows) = json else { return Err(not("a set of rows", &json)) };
    let mut changes = BTreeMap::new();
    for (uuid, change) in rows {
        let uuid = uuid.parse().map_err(|_| not("a uuid", &json!(uuid)))?;
        let Json::Object(mut sides) = change else { return Err(not("a changed row", &change)) };
        let old = side(&mut sides, "old")?;
        let new = side(&mut sides, "new")?;
        let change = match (old, new) {
            (None, Some(row)) => RowChange::Present(row),
            (Some(old), Some(new)) => RowChange::Modified { old, new },
            (Some(row), None) => RowChange::Deleted(row),
            (None, None) => continue,
        };
        changes.insert(uuid, change);
    }
    Ok(changes)
}

fn side(sides: &mut Map<String, Json>, name: &str) -> Result<Option<Row>, String> {
    match sides.remove(name) {
        None | Some(Json::Null) => Ok(None),
        Some(row) => row_from_json(row).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_kinds_of_change_are_distinguished() {
        let uuid = |n: u8| format!("550e8400-e29b-41d4-a716-44665544000{n}");
        let json = json!(["mine", {"T": {
            uuid(1): {"new": {"a": 1}},
            uuid(2): {"old": {"a": 1}, "new": {"a": 2}},
            uuid(3): {"old": {"a": 1}},
        }}]);
        let update = Update::from_notification(json).unwrap();
        assert_eq!(update.monitor, "mine");
        let changes: Vec<_> = update.rows("T").map(|(_, change)| change).collect();
        assert!(matches!(changes[0], RowChange::Present(_)));
        assert_eq!(changes[1].row().unwrap()["a"].as_i64(), Some(2));
        assert!(matches!(changes[2], RowChange::Deleted(_)));
        assert_eq!(update.rows("absent").count(), 0);
    }

    #[test]
    fn what_is_no_update_is_refused() {
        for json in [
            json!(1),
            json!([]),
            json!([1, {}]),
            json!(["m", 1]),
            json!(["m", {"T": 1}]),
            json!(["m", {"T": {"x": {}}}]),
            json!(["m", {"T": {"550e8400-e29b-41d4-a716-446655440001": 1}}]),
        ] {
            assert!(Update::from_notification(json.clone()).is_err(), "{json}");
        }
    }
}
