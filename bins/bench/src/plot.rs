//! `bench plot`: how cost grows, drawn from what `--json` printed.
//!
//! A picture for each subject that was measured at three sizes or more: both
//! axes logarithmic, so that a cost that grows as the size does is a line that
//! rises by one decade in each.

mod picture;

use std::fs;
use std::io;
use std::path::PathBuf;

use serde_json::Value;

use picture::{Line, Picture};

/// The fewest sizes that show how something grows.
const SIZES: usize = 3;

/// Draws what `--json` printed, an SVG file for each subject.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the pictures go.
    #[arg(long, value_name = "DIR", default_value = "bins/bench/plots")]
    to: PathBuf,
    /// What --json printed.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Draws.
///
/// # Errors
/// A file can't be read or written, or is no report.
pub(crate) fn run(args: &Args) -> io::Result<()> {
    fs::create_dir_all(&args.to)?;
    for file in &args.files {
        let at = |e: &dyn std::fmt::Display| io::Error::other(format!("{}: {e}", file.display()));
        let text = fs::read(file).map_err(|e| at(&e))?;
        let report: Value = serde_json::from_slice(&text).map_err(|e| at(&e))?;
        let subjects = report.get("subjects").and_then(Value::as_array);
        for subject in subjects.ok_or_else(|| at(&"not a report of the bench"))? {
            if let Some(picture) = picture_of(subject) {
                let path = args.to.join(format!("{}.svg", file_name(&picture.title)));
                fs::write(&path, picture.svg())?;
                println!("{}", path.display());
            }
        }
    }
    Ok(())
}

/// The first figure of a subject by size; `None` where there are too few sizes.
fn picture_of(subject: &Value) -> Option<Picture> {
    let rows = subject.get("rows")?.as_array()?;
    let mut picture = Picture {
        title: subject.get("title")?.as_str()?.into(),
        x: subject.get("sizes")?.as_str()?.into(),
        y: subject.get("figure")?.as_str()?.into(),
        lines: Vec::new(),
    };
    for row in rows {
        let title = row.get("title")?.as_str()?;
        let value = row.get("figures")?.get(&picture.y);
        let point = (row.get("size")?.as_f64()?, value?.get("median")?.as_f64()?);
        match picture.lines.iter_mut().find(|line| line.title == title) {
            Some(line) => line.points.push(point),
            None => picture.lines.push(Line {
                title: title.into(),
                is_ours: row.get("ours")?.as_bool()?,
                points: vec![point],
            }),
        }
    }
    picture
        .lines
        .iter()
        .any(|line| line.points.len() >= SIZES)
        .then_some(picture)
}

/// `build access entries` is `build-access-entries`.
fn file_name(title: &str) -> String {
    let words = title.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(size: u64, title: &str, value: f64) -> Value {
        json!({
            "size": size, "title": title, "ours": title == "ours",
            "figures": { "wall s": { "median": value, "turns": [value] } },
        })
    }

    #[test]
    fn a_subject_of_three_sizes_is_drawn() {
        let mut subject = json!({
            "title": "build, it & all", "sizes": "entries", "figure": "wall s",
            "rows": [row(10, "ours", 0.1), row(10, "peer", 0.5), row(100, "ours", 1.0)],
        });
        assert!(picture_of(&subject).is_none());
        let rows = subject["rows"].as_array_mut().unwrap();
        rows.push(row(1000, "ours", 10.0));
        let picture = picture_of(&subject).unwrap();
        assert_eq!(file_name(&picture.title), "build-it-all");
        let svg = picture.svg();
        assert!(svg.contains(">build, it &amp; all</text>"), "{svg}");
        assert_eq!(svg.matches("<polyline").count(), 2, "{svg}");
        assert_eq!(svg.matches("<circle").count(), 4, "{svg}");
    }
}
