//! A progress bar on a terminal, for work that takes more than a second.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(100);
const WIDTH: usize = 40;

/// Draws on standard error, and only if that is a terminal.
#[derive(Debug)]
pub struct Progress {
    label: String,
    total: Option<u64>,
    started: Instant,
    drawn: Option<Instant>,
    terminal: bool,
}

impl Progress {
    /// A bar for `total` units of work; where the total is unknown, a count.
    #[must_use]
    pub fn new(label: &str, total: Option<u64>) -> Self {
        Progress {
            label: label.into(),
            total: total.filter(|t| *t > 0),
            started: Instant::now(),
            drawn: None,
            terminal: io::stderr().is_terminal(),
        }
    }

    /// So much is done.
    pub fn at(&mut self, done: u64) {
        let now = Instant::now();
        let early = now.duration_since(self.started) < PATIENCE;
        let again = self.drawn.is_some_and(|d| now.duration_since(d) < PAUSE);
        if !self.terminal || early || again {
            return;
        }
        self.drawn = Some(now);
        let _ = write!(io::stderr(), "\r{}", self.line(done));
    }

    fn line(&self, done: u64) -> String {
        let Some(total) = self.total else {
            return format!("{} {done}", self.label);
        };
        let done = done.min(total);
        let filled = usize::try_from(u128::from(done) * WIDTH as u128 / u128::from(total));
        let filled = filled.unwrap_or(WIDTH).min(WIDTH);
        let percent = u128::from(done) * 100 / u128::from(total);
        format!(
            "{} [{}{}] {percent:3}%",
            self.label,
            "#".repeat(filled),
            " ".repeat(WIDTH - filled)
        )
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_grows_to_its_width() {
        let bar = Progress::new("m", Some(200));
        assert_eq!(
            bar.line(100),
            format!("m [{}{}]  50%", "#".repeat(20), " ".repeat(20))
        );
        assert_eq!(bar.line(900), format!("m [{}] 100%", "#".repeat(40)));
        assert_eq!(Progress::new("m", None).line(7), "m 7");
    }
}
