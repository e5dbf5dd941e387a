//! What was found out: figures of each contender, and how ours compare with what is wanted.

use serde_json::{Value, json};

/// Whose program a contender runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// One of this workspace.
    Ours,
    /// One that is compared with it.
    APeers,
}

/// Which figures are the good ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    /// Times, memory.
    Less,
    /// Rates.
    More,
}

/// What is measured, with its unit in the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figure {
    /// As it stands in tables and JSON.
    pub(crate) name: &'static str,
    /// Which way is better.
    pub(crate) better: Better,
}

impl Figure {
    /// A figure of which less is better.
    pub(crate) const fn less(name: &'static str) -> Self {
        Figure {
            name,
            better: Better::Less,
        }
    }

    /// A figure of which more is better.
    pub(crate) const fn more(name: &'static str) -> Self {
        Figure {
            name,
            better: Better::More,
        }
    }
}

/// The figures of one turn of a contender.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sample(pub(crate) Vec<(Figure, f64)>);

impl Sample {
    fn value(&self, figure: Figure) -> Option<f64> {
        let found = self.0.iter().find(|(f, _)| *f == figure);
        found.map(|(_, value)| *value)
    }
}

/// All turns of a contender at one size.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// How many entries, sessions, octets.
    pub(crate) size: u64,
    /// Who it was.
    pub(crate) title: String,
    /// Ours, or a peer's.
    pub(crate) whose: Whose,
    /// The figures of each turn.
    pub(crate) samples: Vec<Sample>,
}

impl Row {
    /// The median of a figure.
    pub(crate) fn median(&self, figure: Figure) -> Option<f64> {
        median(self.samples.iter().filter_map(|s| s.value(figure)))
    }

    fn figures(&self) -> Vec<Figure> {
        let sample = self.samples.first().map(|s| s.0.as_slice());
        let figures = sample.unwrap_or_default().iter();
        figures.map(|(figure, _)| *figure).collect()
    }
}

/// What ours has to be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    /// The row of ours, by its title.
    pub(crate) ours: &'static str,
    /// The size at which it counts.
    pub(crate) size: u64,
    /// What is compared.
    pub(crate) figure: Figure,
    /// How it has to stand.
    pub(crate) bound: Bound,
}

/// How a figure of ours has to stand.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bound {
    /// So many times better than this peer's.
    Times(f64, &'static str),
    /// At most so much.
    AtMost(f64),
}

/// One thing that is measured, at several sizes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Subject {
    /// What it is, `build access entries`.
    pub(crate) title: String,
    /// What a size counts, `entries`.
    pub(crate) sizes: &'static str,
    /// All contenders at all sizes; ours first at each.
    pub(crate) rows: Vec<Row>,
    /// What is wanted.
    pub(crate) targets: Vec<Target>,
}

/// The subjects of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Report {
    /// What was measured.
    pub(crate) subjects: Vec<Subject>,
    /// What could not be measured, and why.
    pub(crate) skipped: Vec<String>,
}

/// A target with the figures that were found.
struct Outcome {
    ours: f64,
    against: Option<(&'static str, f64)>,
    /// How many times better ours is, or the figure itself where there is a bound.
    reached: f64,
    wanted: f64,
    is_met: bool,
}

impl Subject {
    fn row(&self, size: u64, title: &str) -> Option<&Row> {
        let mut rows = self.rows.iter();
        rows.find(|row| row.size == size && row.title == title)
    }

    /// How a target came out; `None` where the peer or the size was not measured.
    fn outcome(&self, target: &Target) -> Option<Outcome> {
        let ours = self.row(target.size, target.ours)?;
        let figure = target.figure;
        Some(match target.bound {
            Bound::Times(wanted, peer) => {
                let theirs = self.row(target.size, peer)?;
                // Turn by turn: what else the machine did then met both.
                let turns = ours.samples.iter().zip(&theirs.samples);
                let ratios = turns.filter_map(|(ours, theirs)| {
                    let (ours, theirs) = (ours.value(figure)?, theirs.value(figure)?);
                    Some(match figure.better {
                        Better::Less => theirs / ours,
                        Better::More => ours / theirs,
                    })
                });
                let reached = median(ratios)?;
                Outcome {
                    ours: ours.median(figure)?,
                    against: Some((peer, theirs.median(figure)?)),
                    reached,
                    wanted,
                    is_met: reached >= wanted,
                }
            }
            Bound::AtMost(wanted) => {
                let reached = ours.median(figure)?;
                Outcome {
                    ours: reached,
                    against: None,
                    reached,
                    wanted,
                    is_met: reached <= wanted,
                }
            }
        })
    }

    fn text(&self, out: &mut String) {
        let mut sizes: Vec<u64> = self.rows.iter().map(|row| row.size).collect();
        sizes.dedup();
        for size in sizes {
            let rows: Vec<&Row> = self.rows.iter().filter(|row| row.size == size).collect();
            let figures = rows.first().map(|row| row.figures()).unwrap_or_default();
            out.push_str(&format!("\n| {}, {size} {} |", self.title, self.sizes));
            for figure in &figures {
                out.push_str(&format!(" {} |", figure.name));
            }
            out.push_str("\n|---|");
            out.push_str(&"---:|".repeat(figures.len()));
            out.push('\n');
            for row in rows {
                out.push_str(&match row.whose {
                    Whose::Ours => format!("| **{}** |", row.title),
                    Whose::APeers => format!("| {} |", row.title),
                });
                for figure in &figures {
                    let value = row.median(*figure).map(short).unwrap_or_default();
                    out.push_str(&format!(" {value} |"));
                }
                out.push('\n');
            }
        }
    }

    fn targets_text(&self, out: &mut String) {
        for target in &self.targets {
            let Some(outcome) = self.outcome(target) else {
                continue;
            };
            let what = format!("{}, {} {}", self.title, target.size, self.sizes);
            let met = match outcome.is_met {
                true => "yes",
                false => "NO",
            };
            let (ours, wanted) = (short(outcome.ours), short(outcome.wanted));
            let (name, unit) = (target.ours, target.figure.name);
            out.push_str(&match outcome.against {
                Some((peer, theirs)) => format!(
                    "| {what} | {name} | {ours} | {peer} | {} | {unit} | {}x | {wanted}x | {met} |\n",
                    short(theirs),
                    short(outcome.reached)
                ),
                None => format!(
                    "| {what} | {name} | {ours} | | | {unit} | | at most {wanted} | {met} |\n"
                ),
            });
        }
    }

    fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let figures = row.figures().into_iter().filter_map(|figure| {
                let values: Vec<f64> = row.samples.iter().filter_map(|s| s.value(figure)).collect();
                let median = row.median(figure)?;
                Some((
                    figure.name.to_owned(),
                    json!({ "median": median, "turns": values }),
                ))
            });
            json!({
                "size": row.size,
                "title": row.title,
                "ours": row.whose == Whose::Ours,
                "figures": figures.collect::<serde_json::Map<_, _>>(),
            })
        });
        let targets = self.targets.iter().filter_map(|target| {
            let outcome = self.outcome(target)?;
            Some(json!({
                "size": target.size,
                "title": target.ours,
                "figure": target.figure.name,
                "ours": outcome.ours,
                "against": outcome.against.map(|(peer, _)| peer),
                "theirs": outcome.against.map(|(_, theirs)| theirs),
                "reached": outcome.reached,
                "wanted": outcome.wanted,
                "met": outcome.is_met,
            }))
        });
        json!({
            "title": self.title,
            "sizes": self.sizes,
            "figure": self.rows.first().and_then(|row| Some(row.figures().first()?.name)),
            "rows": rows.collect::<Vec<_>>(),
            "targets": targets.collect::<Vec<_>>(),
        })
    }
}

impl Report {
    /// Markdown: a table for each subject and size, one of the targets, and what was left out.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        for subject in &self.subjects {
            subject.text(&mut out);
        }
        let mut targets = String::new();
        for subject in &self.subjects {
            subject.targets_text(&mut targets);
        }
        if !targets.is_empty() {
            out.push_str(
                "\n| what | ours | | against | | figure | ratio | at least | met |\n\
                 |---|---|---:|---|---:|---|---:|---:|---|\n",
            );
            out.push_str(&targets);
        }
        for why in &self.skipped {
            out.push_str(&format!("skipped: {why}\n"));
        }
        out
    }

    /// The same for programs, with the figures of every turn.
    pub(crate) fn json(&self) -> Value {
        let subjects: Vec<Value> = self.subjects.iter().map(Subject::json).collect();
        json!({ "subjects": subjects, "skipped": self.skipped })
    }
}

/// The middle one; of an even number, the upper of the two.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// A figure with three digits that say something.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 99.95 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        v if v >= 0.0995 || v == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
