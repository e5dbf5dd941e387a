//! A picture of lines over logarithmic axes, as SVG.

/// The picture's size, and where its field stands in it, in pixels.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 540.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 366.0;

/// What the names of lines need from one to the next.
const NAME_HEIGHT: f64 = 16.0;

const OURS: &str = "#0b5fa5";
const OURS_TOO: &str = "#2a9d8f";
const PEERS: [&str; 5] = ["#c1440e", "#8a5a00", "#7b3fa0", "#5f6b6d", "#b0246a"];

/// A contender.
pub(super) struct Line {
    pub(super) title: String,
    pub(super) is_ours: bool,
    /// Size and figure.
    pub(super) points: Vec<(f64, f64)>,
}

/// What is drawn.
pub(super) struct Picture {
    pub(super) title: String,
    /// What the horizontal axis counts.
    pub(super) x: String,
    /// What the vertical one measures.
    pub(super) y: String,
    pub(super) lines: Vec<Line>,
}

/// A logarithmic axis: whole decades, and where they begin and end in the picture.
struct Axis {
    first: i32,
    last: i32,
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut least, mut most) = (f64::MAX, f64::MIN);
        for value in values.filter(|v| *v > 0.0) {
            (least, most) = (least.min(value.log10()), most.max(value.log10()));
        }
        // A size of 10,000 is not to need the decade below.
        let (first, last) = ((least + 1e-9).floor() as i32, (most - 1e-9).ceil() as i32);
        Axis {
            first,
            last: last.max(first + 1),
            from,
            to,
        }
    }

    fn at(&self, value: f64) -> f64 {
        let part = (value.log10() - f64::from(self.first)) / f64::from(self.last - self.first);
        self.from + part * (self.to - self.from)
    }

    fn decades(&self) -> impl Iterator<Item = (f64, String)> + '_ {
        (self.first..=self.last).map(|decade| {
            let value = 10f64.powi(decade);
            (self.at(value), name(decade))
        })
    }
}

/// A power of ten as one reads it: `0.01`, `100`, `10,000`, `1M`.
fn name(decade: i32) -> String {
    match decade {
        6.. => format!("{}M", 10f64.powi(decade - 6)),
        4 | 5 => format!("{},000", 10f64.powi(decade - 3)),
        0..=3 => format!("{}", 10f64.powi(decade)),
        _ => format!("{:.*}", decade.unsigned_abs() as usize, 10f64.powi(decade)),
    }
}

impl Picture {
    /// The picture.
    pub(super) fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x = Axis::over(points().map(|p| p.0), LEFT, RIGHT);
        let y = Axis::over(points().map(|p| p.1), BOTTOM, TOP);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
        );
        out.push_str(&text(LEFT, 24.0, "start", "font-size=\"15\"", &self.title));
        for (at, name) in x.decades() {
            out.push_str(&grid(at, TOP, at, BOTTOM));
            out.push_str(&text(at, BOTTOM + 18.0, "middle", "", &name));
        }
        for (at, name) in y.decades() {
            out.push_str(&grid(LEFT, at, RIGHT, at));
            out.push_str(&text(LEFT - 8.0, at + 4.0, "end", "", &name));
        }
        let middle = f64::midpoint(LEFT, RIGHT);
        out.push_str(&text(middle, BOTTOM + 38.0, "middle", "", &self.x));
        let turned = format!(
            "transform=\"rotate(-90 18 {})\"",
            f64::midpoint(TOP, BOTTOM)
        );
        out.push_str(&text(
            18.0,
            f64::midpoint(TOP, BOTTOM),
            "middle",
            &turned,
            &self.y,
        ));

        let colours = self.colours();
        let mut ends = Vec::new();
        for (line, colour) in self.lines.iter().zip(&colours) {
            let width = if line.is_ours { 2.6 } else { 1.4 };
            let at: Vec<(f64, f64)> = line.points.iter().map(|p| (x.at(p.0), y.at(p.1))).collect();
            let list: Vec<String> = at.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            out.push_str(&format!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>\n",
                list.join(" ")
            ));
            for (x, y) in &at {
                out.push_str(&format!(
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{:.1}\" fill=\"{colour}\"/>\n",
                    width + 0.8
                ));
            }
            if let Some(end) = at.last() {
                ends.push((*end, line, *colour));
            }
        }
        out.push_str(&names(ends));
        out.push_str("</svg>\n");
        out
    }

    fn colours(&self) -> Vec<&'static str> {
        let mut ours = [OURS, OURS_TOO].iter().cycle();
        let mut peers = PEERS.iter().cycle();
        let of = |line: &Line| match line.is_ours {
            true => ours.next(),
            false => peers.next(),
        };
        self.lines
            .iter()
            .map(of)
            .map(|c| c.copied().unwrap_or(OURS))
            .collect()
    }
}

/// The lines' names beside their ends, moved apart where they would overlap.
fn names(mut ends: Vec<((f64, f64), &Line, &str)>) -> String {
    ends.sort_by(|a, b| a.0.1.total_cmp(&b.0.1));
    let mut places: Vec<f64> = ends.iter().map(|end| end.0.1).collect();
    let mut least = TOP;
    for place in &mut places {
        *place = place.max(least);
        least = *place + NAME_HEIGHT;
    }
    let mut most = BOTTOM;
    for place in places.iter_mut().rev() {
        *place = place.min(most);
        most = *place - NAME_HEIGHT;
    }
    let mut out = String::new();
    for (((x, y), line, colour), place) in ends.into_iter().zip(places) {
        out.push_str(&format!(
            "<line x1=\"{:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{place:.1}\" stroke=\"{colour}\" \
             stroke-width=\"0.6\" stroke-dasharray=\"2 2\"/>\n",
            x + 4.0,
            RIGHT + 10.0
        ));
        let weight = if line.is_ours {
            " font-weight=\"bold\""
        } else {
            ""
        };
        let style = format!("fill=\"{colour}\"{weight}");
        out.push_str(&text(
            RIGHT + 13.0,
            place + 4.0,
            "start",
            &style,
            &line.title,
        ));
    }
    out
}

fn grid(x1: f64, y1: f64, x2: f64, y2: f64) -> String {
    format!(
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#dddddd\"/>\n"
    )
}

fn text(x: f64, y: f64, anchor: &str, style: &str, words: &str) -> String {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {style}>{words}</text>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decades_are_named_as_one_reads_them() {
        let names = [-3, -1, 0, 3, 4, 5, 6, 7].map(name);
        let want = [
            "0.001", "0.1", "1", "1000", "10,000", "100,000", "1M", "10M",
        ];
        assert_eq!(names, want);
    }

    #[test]
    fn an_axis_has_whole_decades() {
        let axis = Axis::over([1e4, 1e7].into_iter(), 0.0, 300.0);
        assert_eq!((axis.first, axis.last), (4, 7));
        assert_eq!(axis.at(1e5), 100.0);
        let one = Axis::over([5.0].into_iter(), 0.0, 1.0);
        assert_eq!((one.first, one.last), (0, 1));
    }

    #[test]
    fn names_do_not_overlap() {
        let line = Line {
            title: "a".into(),
            is_ours: true,
            points: Vec::new(),
        };
        let ends = [100.0, 101.0, BOTTOM, BOTTOM].map(|y| ((0.0, y), &line, "red"));
        let svg = names(ends.into());
        let places: Vec<f64> = svg
            .split("<text x=\"553.0\" y=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next()?.parse().ok())
            .collect();
        assert_eq!(places.len(), 4, "{svg}");
        assert!(
            places.windows(2).all(|two| two[1] - two[0] >= NAME_HEIGHT),
            "{places:?}"
        );
    }
}
