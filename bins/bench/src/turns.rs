//! Contenders take turns.

use std::io;
use std::time::{Duration, Instant};

use crate::report::{Row, Sample, Whose};

/// A peer whose turn took longer has no further ones: its figure is known well enough, and there
/// are those that take minutes.
const LONG: Duration = Duration::from_secs(30);

/// Who is measured, and how.
pub(crate) struct Contender<'a> {
    /// What stands in the table.
    pub(crate) title: String,
    /// Ours, or a peer's.
    pub(crate) whose: Whose,
    /// Measures once.
    pub(crate) run: Box<dyn FnMut() -> io::Result<Sample> + 'a>,
}

impl<'a> Contender<'a> {
    /// One of this workspace.
    pub(crate) fn ours(
        title: impl Into<String>,
        run: impl FnMut() -> io::Result<Sample> + 'a,
    ) -> Self {
        Contender {
            title: title.into(),
            whose: Whose::Ours,
            run: Box::new(run),
        }
    }

    /// One that ours are compared with.
    pub(crate) fn peer(
        title: impl Into<String>,
        run: impl FnMut() -> io::Result<Sample> + 'a,
    ) -> Self {
        Contender {
            title: title.into(),
            whose: Whose::APeers,
            run: Box::new(run),
        }
    }
}

/// Gives each contender so many turns, in order and then in the opposite order (A B B A); the
/// rows have `size`. Whom to leave out is added to `skipped`. A peer whose turn takes longer than
/// half a minute has that one only.
///
/// # Errors
/// One of ours fails. A peer that fails is left out, with its reason in `skipped`.
pub(crate) fn take(
    runs: usize,
    size: u64,
    contenders: Vec<Contender<'_>>,
    skipped: &mut Vec<String>,
) -> io::Result<Vec<Row>> {
    let mut all: Vec<(Contender<'_>, Row, Further)> = contenders
        .into_iter()
        .map(|contender| {
            let row = Row {
                size,
                title: contender.title.clone(),
                whose: contender.whose,
                samples: Vec::new(),
            };
            (contender, row, Further::Turns)
        })
        .collect();
    for turn in 1..=runs {
        let one = |(contender, row, further): &mut (Contender<'_>, Row, Further)| {
            if *further == Further::None {
                return Ok(());
            }
            eprint!(
                "turn {turn} of {runs}, size {size}: {} ... ",
                contender.title
            );
            let begun = Instant::now();
            let ended = (contender.run)();
            let took = begun.elapsed();
            eprintln!("{:.1} s", took.as_secs_f64());
            match ended {
                Ok(sample) => row.samples.push(sample),
                Err(e) if contender.whose == Whose::APeers => {
                    skipped.push(format!("{}: {e}", contender.title));
                    row.samples.clear();
                    *further = Further::None;
                }
                Err(e) => return Err(e),
            }
            if contender.whose == Whose::APeers && took > LONG {
                *further = Further::None;
            }
            Ok(())
        };
        match turn % 2 {
            1 => all.iter_mut().try_for_each(one)?,
            _ => all.iter_mut().rev().try_for_each(one)?,
        }
    }
    let rows = all.into_iter().map(|(_, row, _)| row);
    Ok(rows.filter(|row| !row.samples.is_empty()).collect())
}

/// What a contender has after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Further {
    Turns,
    None,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn both_orders_come_and_who_fails_is_left_out() {
        let order = RefCell::new(String::new());
        let good = |name: char| {
            let order = &order;
            move || {
                order.borrow_mut().push(name);
                Ok(Sample::default())
            }
        };
        let contenders = vec![
            Contender::ours("a", good('a')),
            Contender::peer("b", good('b')),
            Contender::peer("c", || Err(io::Error::other("broken"))),
        ];
        let mut skipped = Vec::new();
        let rows = take(3, 9, contenders, &mut skipped).unwrap();
        assert_eq!(order.borrow().as_str(), "abbaab");
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[1].size, rows[1].samples.len()), (9, 3));
        assert_eq!(skipped, ["c: broken"]);
        let ours = vec![Contender::ours("a", || Err(io::Error::other("broken")))];
        assert!(take(1, 1, ours, &mut skipped).is_err());
    }
}
