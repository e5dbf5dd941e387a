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

/// CPU time, as it stands in reports.
const CPU: &str = "CPU s";

/// Draws what `--json` printed, an SVG file for each subject; the sizes of a subject may come in
/// several files.
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
    let mut pictures = Vec::new();
    for file in &args.files {
        let at = |e: &dyn std::fmt::Display| io::Error::other(format!("{}: {e}", file.display()));
        let text = fs::read(file).map_err(|e| at(&e))?;
        let report: Value = serde_json::from_slice(&text).map_err(|e| at(&e))?;
        let subjects = report.get("subjects").and_then(Value::as_array);
        for subject in subjects.ok_or_else(|| at(&"not a report of the bench"))? {
            add(&mut pictures, subject).ok_or_else(|| at(&"a subject that is none"))?;
        }
    }
    for picture in pictures.iter().filter(|picture| shows_growth(picture)) {
        let path = args.to.join(format!("{}.svg", file_name(&picture.title)));
        fs::write(&path, picture.svg())?;
        println!("{}", path.display());
    }
    Ok(())
}

/// Adds a figure of a subject, by size, to the picture of its title: sizes may have been measured
/// one by one. What was measured again replaces what was there.
fn add(pictures: &mut Vec<Picture>, subject: &Value) -> Option<()> {
    let title = subject.get("title")?.as_str()?;
    let Some(y) = drawn(subject) else {
        return Some(()); // nothing was measured
    };
    let index = match pictures.iter().position(|picture| picture.title == title) {
        Some(index) => index,
        None => {
            pictures.push(Picture {
                title: title.into(),
                x: subject.get("sizes")?.as_str()?.into(),
                y: y.into(),
                lines: Vec::new(),
            });
            pictures.len() - 1
        }
    };
    let picture = pictures.get_mut(index)?;
    for row in subject.get("rows")?.as_array()? {
        let title = row.get("title")?.as_str()?;
        let Some(value) = row.get("figures")?.get(y) else {
            continue;
        };
        let (size, median) = (row.get("size")?.as_f64()?, value.get("median")?.as_f64()?);
        let line = match picture.lines.iter().position(|line| line.title == title) {
            Some(index) => picture.lines.get_mut(index)?,
            None => {
                picture.lines.push(Line {
                    title: title.into(),
                    is_ours: row.get("ours")?.as_bool()?,
                    points: Vec::new(),
                });
                picture.lines.last_mut()?
            }
        };
        line.points.retain(|(there, _)| *there != size);
        line.points.push((size, median));
        line.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    Some(())
}

/// Which figure is drawn: CPU time where there is one, which a busy machine lengthens least, else
/// the first.
fn drawn(subject: &Value) -> Option<&str> {
    let rows = subject.get("rows")?.as_array()?;
    let has_cpu = |row: &Value| row.get("figures").is_some_and(|f| f.get(CPU).is_some());
    match rows.iter().any(has_cpu) {
        true => Some(CPU),
        false => subject.get("figure")?.as_str(),
    }
}

fn shows_growth(picture: &Picture) -> bool {
    picture.lines.iter().any(|line| line.points.len() >= SIZES)
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
    fn a_subject_of_three_sizes_is_drawn_whichever_file_they_stand_in() {
        let subject = json!({
            "title": "build, it & all", "sizes": "entries", "figure": "wall s",
            "rows": [row(10, "ours", 0.1), row(10, "peer", 0.5), row(1000, "ours", 9.0)],
        });
        let mut pictures = Vec::new();
        add(&mut pictures, &subject).unwrap();
        assert!(!shows_growth(&pictures[0]));
        let mut later = subject.clone();
        later["rows"] = json!([row(100, "ours", 1.0), row(1000, "ours", 10.0)]);
        add(&mut pictures, &later).unwrap();
        let [picture] = pictures.as_slice() else {
            panic!("two pictures of one title");
        };
        assert!(shows_growth(picture));
        let ours = [(10.0, 0.1), (100.0, 1.0), (1000.0, 10.0)];
        assert_eq!(picture.lines[0].points, ours);
        assert_eq!(file_name(&picture.title), "build-it-all");
        let mut with_cpu = subject.clone();
        with_cpu["rows"][0]["figures"]["CPU s"] = json!({ "median": 0.2, "turns": [0.2] });
        assert_eq!(drawn(&subject), Some("wall s"));
        assert_eq!(drawn(&with_cpu), Some("CPU s"));
        let svg = picture.svg();
        assert!(svg.contains(">build, it &amp; all</text>"), "{svg}");
        assert_eq!(svg.matches("<polyline").count(), 2, "{svg}");
        assert_eq!(svg.matches("<circle").count(), 4, "{svg}");
    }
}
