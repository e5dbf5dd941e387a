//! The table of what this server answers otherwise, and why.

use std::path::Path;

/// A row: in this dialogue this was recorded, and that is said here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    id: String,
    recorded: String,
    said: String,
}

impl Difference {
    pub(super) fn new(id: &str, recorded: &str, said: &str) -> Self {
        Difference {
            id: id.to_owned(),
            recorded: recorded.to_owned(),
            said: said.to_owned(),
        }
    }

    pub(super) fn row(&self) -> String {
        format!("| {} | {} | {} | |", self.id, self.recorded, self.said)
    }
}

/// The rows of the table. Each must give a reason.
pub(super) fn read_table(path: &Path) -> Vec<Difference> {
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| "));
    rows.skip(1)
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            assert!(
                cells.len() == 4 && !cells[3].is_empty(),
                "no reason: {line}"
            );
            Difference::new(cells[0], cells[1], cells[2])
        })
        .collect()
}
