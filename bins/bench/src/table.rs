//! The figures, printed as a table in Markdown.

use crate::job::Group;
use crate::measure::Run;

/// A table for each group: seconds, CPU seconds and how they compare with ours, memory, disk.
pub(crate) fn text<'a>(
    entries: u32,
    aliases: u32,
    figures: impl Iterator<Item = ((&'a str, Group), Run)>,
) -> String {
    let figures: Vec<_> = figures.collect();
    let mut out = String::new();
    for (group, head) in [
        (Group::Map, format!("{entries} access entries")),
        (Group::Cdb, format!("{entries} access entries, cdb")),
        (Group::Aliases, format!("{aliases} aliases")),
    ] {
        let rows: Vec<_> = figures.iter().filter(|((_, g), _)| *g == group).collect();
        let Some((_, ours)) = rows.first() else {
            continue;
        };
        out.push_str(&format!(
            "\n| {head} | wall s | CPU s | CPU, times ours | peak MiB | on disk MiB |\n\
             |---|---:|---:|---:|---:|---:|\n"
        ));
        for ((title, _), run) in &rows {
            out.push_str(&format!(
                "| {title} | {:.2} | {:.2} | {:.1} | {:.0} | {:.0} |\n",
                run.wall.as_secs_f64(),
                run.cpu.as_secs_f64(),
                run.cpu.as_secs_f64() / ours.cpu.as_secs_f64(),
                mebi(run.peak_octets),
                mebi(run.disk_octets),
            ));
        }
    }
    out
}

fn mebi(octets: u64) -> f64 {
    octets as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_first_of_a_group_is_what_the_others_are_compared_with() {
        let run = |tenths: u64| Run {
            wall: Duration::from_millis(tenths * 100),
            cpu: Duration::from_millis(tenths * 100),
            peak_octets: 3 << 20,
            disk_octets: 2 << 20,
        };
        let figures = [
            (("ours", Group::Map), run(5)),
            (("peer", Group::Map), run(40)),
        ];
        let want = "\n| 10 access entries | wall s | CPU s | CPU, times ours | peak MiB | on disk MiB |\n\
                    |---|---:|---:|---:|---:|---:|\n\
                    | ours | 0.50 | 0.50 | 1.0 | 3 | 2 |\n\
                    | peer | 4.00 | 4.00 | 8.0 | 3 | 2 |\n";
        assert_eq!(text(10, 5, figures.into_iter()), want);
    }
}
