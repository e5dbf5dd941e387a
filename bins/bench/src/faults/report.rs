//! What the sections found.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// Losses that are told one by one; the others are only counted.
const MOST_TOLD: usize = 50;

/// What one section did and found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    counts: Vec<(&'static str, u64)>,
    measures: Vec<(&'static str, String)>,
    losses: Vec<String>,
    more_losses: u64,
    skipped: Vec<String>,
}

impl Findings {
    /// Adds to a count; counts stand in the order in which they were first named.
    pub(crate) fn count(&mut self, what: &'static str, more: u64) {
        match self.counts.iter_mut().find(|(name, _)| *name == what) {
            Some((_, count)) => *count += more,
            None => self.counts.push((what, more)),
        }
    }

    /// Notes a figure that is no count, with its unit.
    pub(crate) fn measure(&mut self, what: &'static str, figure: impl Into<String>) {
        self.measures.push((what, figure.into()));
    }

    /// Notes a promise that was not kept: what was done, and what came of it.
    pub(crate) fn lose(&mut self, what: impl Into<String>) {
        match self.losses.len() < MOST_TOLD {
            true => self.losses.push(what.into()),
            false => self.more_losses += 1,
        }
    }

    /// Notes what could not be tried here, and why.
    pub(crate) fn skip(&mut self, what: impl Into<String>) {
        self.skipped.push(what.into());
    }

    /// How many promises were not kept.
    pub(crate) fn losses(&self) -> u64 {
        self.losses.len() as u64 + self.more_losses
    }
}

/// What all sections found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    sections: Vec<(&'static str, &'static str, Findings)>,
}

impl Report {
    pub(crate) fn add(&mut self, name: &'static str, promise: &'static str, findings: Findings) {
        self.sections.push((name, promise, findings));
    }

    /// How many promises were not kept.
    pub(crate) fn losses(&self) -> u64 {
        self.sections.iter().map(|(.., found)| found.losses()).sum()
    }

    /// A table in Markdown, then each loss and what was skipped.
    pub(crate) fn text(&self) -> String {
        let mut out = String::from("\n| section | what | count |\n|---|---|---:|\n");
        for (name, _, found) in &self.sections {
            for (what, count) in &found.counts {
                let _ = writeln!(out, "| {name} | {what} | {} |", grouped(*count));
            }
            for (what, figure) in &found.measures {
                let _ = writeln!(out, "| {name} | {what} | {figure} |");
            }
            let _ = writeln!(out, "| {name} | losses | {} |", grouped(found.losses()));
        }
        for (name, _, found) in &self.sections {
            for loss in &found.losses {
                let _ = writeln!(out, "LOSS {name}: {loss}");
            }
            if found.more_losses > 0 {
                let _ = writeln!(out, "LOSS {name}: and {} more", found.more_losses);
            }
            for why in &found.skipped {
                let _ = writeln!(out, "skipped {name}: {why}");
            }
        }
        out
    }

    /// `{"losses": N, "sections": {NAME: {"promise": ..., "counts": {...}, "measures": {...},
    /// "losses": [...], "more_losses": N, "skipped": [...]}}}`.
    pub(crate) fn json(&self) -> Value {
        let sections = self.sections.iter().map(|(name, promise, found)| {
            let counts = found.counts.iter();
            let counts = counts.map(|(what, count)| ((*what).to_owned(), json!(count)));
            let measures = found.measures.iter();
            let measures = measures.map(|(what, figure)| ((*what).to_owned(), json!(figure)));
            let section = json!({
                "promise": promise,
                "counts": counts.collect::<Map<_, _>>(),
                "measures": measures.collect::<Map<_, _>>(),
                "losses": found.losses,
                "more_losses": found.more_losses,
                "skipped": found.skipped,
            });
            ((*name).to_owned(), section)
        });
        json!({ "losses": self.losses(), "sections": sections.collect::<Map<_, _>>() })
    }
}

/// A number with a comma between thousands.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_counts_and_losses() {
        let mut found = Findings::default();
        found.count("kills", 1200);
        found.count("kills", 34);
        found.measure("longest read", "1.2 ms");
        for n in 0..52 {
            found.lose(format!("map {n} was half"));
        }
        found.skip("no strace");
        let mut report = Report::default();
        report.add("publish", "the old map or the new one", found);
        assert_eq!(report.losses(), 52);
        let text = report.text();
        for line in [
            "| publish | kills | 1,234 |\n",
            "| publish | longest read | 1.2 ms |\n",
            "| publish | losses | 52 |\n",
            "LOSS publish: map 49 was half\n",
            "LOSS publish: and 2 more\n",
            "skipped publish: no strace\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        let json = report.json();
        assert_eq!(json["losses"], 52);
        assert_eq!(json["sections"]["publish"]["counts"]["kills"], 1234);
    }
}
