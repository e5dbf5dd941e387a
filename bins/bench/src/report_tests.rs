use super::*;

const WALL: Figure = Figure::less("wall s");
const RATE: Figure = Figure::more("a second");

fn row(title: &str, whose: Whose, figure: Figure, values: &[f64]) -> Row {
    Row {
        size: 10,
        title: title.into(),
        whose,
        samples: values.iter().map(|v| Sample(vec![(figure, *v)])).collect(),
    }
}

fn report(figure: Figure, targets: Vec<Target>) -> Report {
    Report {
        subjects: vec![Subject {
            title: "build".into(),
            sizes: "entries",
            rows: vec![
                row("ours", Whose::Ours, figure, &[1.0, 2.0, 1.5]),
                row("peer", Whose::APeers, figure, &[4.0, 8.0, 900.0]),
            ],
            targets,
        }],
        skipped: vec!["other: not there".into()],
    }
}

fn target(figure: Figure, bound: Bound) -> Target {
    Target {
        ours: "ours",
        size: 10,
        figure,
        bound,
    }
}

#[test]
fn tables_show_medians_and_the_median_of_the_turns_ratios() {
    let targets = vec![
        target(WALL, Bound::Times(4.0, "peer")),
        target(WALL, Bound::Times(4.1, "peer")),
        target(WALL, Bound::AtMost(1.4)),
        target(WALL, Bound::Times(4.0, "who is not there")),
    ];
    let want = "
| build, 10 entries | wall s |
|---|---:|
| **ours** | 1.50 |
| peer | 8.00 |

| what | ours | | against | | figure | ratio | at least | met |
|---|---|---:|---|---:|---|---:|---:|---|
| build, 10 entries | ours | 1.50 | peer | 8.00 | wall s | 4.00x | 4.00x | yes |
| build, 10 entries | ours | 1.50 | peer | 8.00 | wall s | 4.00x | 4.10x | NO |
| build, 10 entries | ours | 1.50 | | | wall s | | at most 1.40 | NO |
skipped: other: not there
";
    assert_eq!(report(WALL, targets).text(), want);
}

#[test]
fn of_rates_more_is_better() {
    let targets = vec![target(RATE, Bound::Times(1.0, "peer"))];
    let json = report(RATE, targets).json();
    let subject = &json["subjects"][0];
    assert_eq!(subject["targets"][0]["reached"], 0.25);
    assert_eq!(subject["targets"][0]["met"], false);
    assert_eq!(subject["rows"][1]["figures"]["a second"]["median"], 8.0);
    assert_eq!(subject["rows"][0]["ours"], true);
}

#[test]
fn three_digits_are_shown() {
    let shown = [1234.5, 12.345, 1.2345, 0.12345, 0.012345, 0.0].map(short);
    assert_eq!(shown, ["1234", "12.3", "1.23", "0.12", "0.012", "0.00"]);
}
