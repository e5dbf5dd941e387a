//! The types that options have, each with the text form sendmail reads.

use std::path::PathBuf;
use std::time::Duration;

/// A value that an option can hold: how it is read from, and written to, the
/// right-hand side of `O Name=value`.
pub trait OptionValue: Sized + Default {
    /// What `mapctl site` calls the type, with its unit.
    const KIND: &'static str;

    /// Reads sendmail's spelling; the error says what was expected.
    fn read(text: &str) -> Result<Self, &'static str>;

    /// Writes it in the form that `read` takes.
    fn write(&self) -> String;

    /// Takes what a further line of an option says whose lines add up
    /// ([`Options::adds_up`](super::Options::adds_up)).
    fn join(&mut self, more: Self) {
        *self = more;
    }
}

/// Whether an option is on. sendmail takes `True`, `t`, `Yes`, `y`, a number other than 0, and nothing at all for on.
impl OptionValue for bool {
    const KIND: &'static str = "switch";

    fn read(text: &str) -> Result<Self, &'static str> {
        match text.bytes().next() {
            None | Some(b't' | b'T' | b'y' | b'Y' | b'1'..=b'9') => Ok(true),
            Some(b'f' | b'F' | b'n' | b'N' | b'0') => Ok(false),
            Some(_) => Err("expected True or False"),
        }
    }

    fn write(&self) -> String {
        if *self { "True" } else { "False" }.to_owned()
    }
}

impl OptionValue for i64 {
    const KIND: &'static str = "number";

    fn read(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(0);
        }
        text.parse().map_err(|_| "expected a whole number")
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl OptionValue for String {
    const KIND: &'static str = "text";

    fn read(text: &str) -> Result<Self, &'static str> {
        Ok(text.to_owned())
    }

    fn write(&self) -> String {
        self.clone()
    }

    /// Lists of files are separated by commas.
    fn join(&mut self, more: Self) {
        if !self.is_empty() && !more.is_empty() {
            self.push(',');
        }
        self.push_str(&more);
    }
}

/// A path; the empty text is none. Below `--root` it is taken with [`Site::below`](crate::site::Site::below).
impl OptionValue for Option<PathBuf> {
    const KIND: &'static str = "path";

    fn read(text: &str) -> Result<Self, &'static str> {
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }

    fn write(&self) -> String {
        self.as_deref()
            .map_or_else(String::new, |path| path.display().to_string())
    }
}

/// An upper bound where 0 (or nothing) means that there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Limit(pub Option<u64>);

impl Limit {
    /// Whether `amount` is more than the limit allows.
    #[must_use]
    pub fn is_exceeded_by(self, amount: u64) -> bool {
        self.0.is_some_and(|most| amount > most)
    }
}

impl OptionValue for Limit {
    const KIND: &'static str = "limit";

    fn read(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Limit(None));
        }
        let number: i64 = text
            .parse()
            .map_err(|_| "expected a number (0 for no limit)")?;
        Ok(Limit(u64::try_from(number).ok().filter(|n| *n > 0)))
    }

    fn write(&self) -> String {
        self.0.unwrap_or(0).to_string()
    }
}

/// A file mode, in octal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode(pub u32);

impl OptionValue for Mode {
    const KIND: &'static str = "mode";

    fn read(text: &str) -> Result<Self, &'static str> {
        u32::from_str_radix(text.trim(), 8)
            .ok()
            .filter(|mode| *mode <= 0o7777)
            .map(Mode)
            .ok_or("expected a file mode in octal")
    }

    fn write(&self) -> String {
        format!("{:04o}", self.0)
    }
}

/// A time that is counted in minutes where the text names no unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Minutes(pub Duration);

/// A time that is counted in hours where the text names no unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hours(pub Duration);

/// A time that is counted in days where the text names no unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Days(pub Duration);

/// A time that is counted in seconds where the text names no unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub Duration);

macro_rules! time_option {
    ($name:ident, $unit:literal, $kind:literal) => {
        impl OptionValue for $name {
            const KIND: &'static str = $kind;

            fn read(text: &str) -> Result<Self, &'static str> {
                if matches!($unit, b'h' | b'd') && text.trim().eq_ignore_ascii_case("now") {
                    return Ok($name(NOW));
                }
                read_time(text, $unit).map($name)
            }

            fn write(&self) -> String {
                write_time(self.0)
            }
        }
    };
}
time_option!(Seconds, b's', "time (seconds)");
time_option!(Minutes, b'm', "time (minutes)");
time_option!(Hours, b'h', "time (hours)");
time_option!(Days, b'd', "time (days)");

/// What `now`, for "at once", reads as in times of hours and days (`Timeout.queuereturn`):
/// longer than any that is meant.
pub const NOW: Duration = Duration::MAX;

/// Reads a time as sendmail writes it: numbers each with a unit `w d h m s`,
/// added up (`1h30m`); a last number without one is counted in `unit`.
///
/// A number below 0, which some options use for "never", gives 0.
pub fn read_time(text: &str, unit: u8) -> Result<Duration, &'static str> {
    const EXPECTED: &str = "expected a time such as 90s, 5m, 1h30m or 5d";
    let mut rest = text.trim().as_bytes();
    if rest.first() == Some(&b'-') {
        return if rest.get(1).is_some_and(u8::is_ascii_digit) {
            Ok(Duration::ZERO)
        } else {
            Err(EXPECTED)
        };
    }
    if rest.is_empty() {
        return Err(EXPECTED);
    }
    let mut seconds = 0u64;
    while !rest.is_empty() {
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let (number, tail) = rest.split_at(digits);
        let amount: u64 = std::str::from_utf8(number)
            .ok()
            .and_then(|n| n.parse().ok())
            .ok_or(EXPECTED)?;
        let (unit, tail) = match tail.split_first() {
            None => (unit, tail),
            Some((letter, tail)) => (letter.to_ascii_lowercase(), tail),
        };
        let each = match unit {
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return Err(EXPECTED),
        };
        seconds = amount
            .checked_mul(each)
            .and_then(|part| seconds.checked_add(part))
            .ok_or("the time is too long")?;
        rest = tail;
    }
    Ok(Duration::from_secs(seconds))
}

/// Writes a time with the fewest units: `5m`, `1h30m`, `0s`.
#[must_use]
pub fn write_time(time: Duration) -> String {
    if time == NOW {
        return "now".to_owned();
    }
    let mut seconds = time.as_secs();
    if seconds == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, each) in [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)] {
        let amount = seconds / each;
        seconds %= each;
        if amount > 0 {
            text.push_str(&amount.to_string());
            text.push(unit);
        }
    }
    text
}

/// The shortest time that may be asked for (`DeliverByMin`); none where nothing may be, which is a time below 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortestTime(pub Option<Duration>);

impl Default for ShortestTime {
    fn default() -> Self {
        ShortestTime(Some(Duration::ZERO))
    }
}

impl OptionValue for ShortestTime {
    const KIND: &'static str = "time (seconds)";

    fn read(text: &str) -> Result<Self, &'static str> {
        let time = read_time(text, b's')?;
        Ok(ShortestTime(
            (!text.trim().starts_with('-')).then_some(time),
        ))
    }

    fn write(&self) -> String {
        self.0.map_or_else(|| "-1".to_owned(), write_time)
    }
}

/// A load average in thousandths; none where the site names none, or 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Load(pub Option<u32>);

impl Load {
    /// The load average.
    #[must_use]
    pub fn get(self) -> Option<f64> {
        self.0.map(|thousandths| f64::from(thousandths) / 1_000.0)
    }
}

impl OptionValue for Load {
    const KIND: &'static str = "load average";

    fn read(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Load(None));
        }
        let expected = "expected a load average such as 12";
        // Below nothing is no limit.
        let (text, is_limit) = match text.strip_prefix('-') {
            Some(text) => (text, false),
            None => (text, true),
        };
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str, most| {
            (1..=most).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit())
        };
        if !digits(whole, 6) || !digits(part, 3) {
            return Err(expected);
        }
        let thousandths = format!("{whole}{part:0<3}").parse().map_err(|_| expected)?;
        Ok(Load(Some(thousandths).filter(|load| is_limit && *load > 0)))
    }

    fn write(&self) -> String {
        self.get().map_or_else(String::new, |load| load.to_string())
    }
}

/// Words separated by spaces, commas or both (`AuthMechanisms`, `ServerSSLOptions`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(pub Vec<String>);

impl Words {
    /// Whether `word` is listed, in whatever case.
    #[must_use]
    pub fn has(&self, word: &str) -> bool {
        self.0.iter().any(|w| w.eq_ignore_ascii_case(word))
    }
}

impl OptionValue for Words {
    const KIND: &'static str = "list";

    fn read(text: &str) -> Result<Self, &'static str> {
        let words = text.split([' ', '\t', '\n', ',']).filter(|w| !w.is_empty());
        Ok(Words(words.map(str::to_owned).collect()))
    }

    fn write(&self) -> String {
        self.0.join(" ")
    }

    /// The word `safe` takes back all before it (`DontBlameSendmail`).
    fn join(&mut self, more: Self) {
        for word in more.0 {
            let is_safe = |word: &str| word.eq_ignore_ascii_case("safe");
            if is_safe(&word) {
                self.0.clear();
            }
            self.0.retain(|before| !is_safe(before));
            if !self.has(&word) {
                self.0.push(word);
            }
        }
    }
}

/// Names of mail filters, separated by commas, semicolons or blanks (`InputMailFilters`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterNames(pub Vec<String>);

impl FilterNames {
    /// Whether the filter is listed, in whatever case.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|n| n.eq_ignore_ascii_case(name))
    }
}

impl OptionValue for FilterNames {
    const KIND: &'static str = "list";

    fn read(text: &str) -> Result<Self, &'static str> {
        let names = text.split([' ', '\t', '\n', ',', ';']);
        let names = names.filter(|name| !name.is_empty());
        Ok(FilterNames(names.map(str::to_owned).collect()))
    }

    fn write(&self) -> String {
        self.0.join(" ")
    }
}

/// One-letter flags (`AuthOptions`, `TLSSrvOptions`, daemon modifiers); blanks and commas between them don't count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letters(pub String);

impl Letters {
    /// Whether the letter stands there; case counts.
    #[must_use]
    pub fn has(&self, letter: char) -> bool {
        self.0.contains(letter)
    }
}

impl OptionValue for Letters {
    const KIND: &'static str = "letters";

    fn read(text: &str) -> Result<Self, &'static str> {
        let letters = text.chars().filter(|c| !c.is_whitespace() && *c != ',');
        Ok(Letters(letters.collect()))
    }

    fn write(&self) -> String {
        self.0.clone()
    }

    fn join(&mut self, more: Self) {
        for letter in more.0.chars() {
            if !self.has(letter) {
                self.0.push(letter);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortest_times_and_loads_read_and_write() {
        for (text, seconds, written) in [
            ("2m", Some(120), "2m"),
            ("90", Some(90), "1m30s"),
            ("0", Some(0), "0s"),
            ("-1", None, "-1"),
        ] {
            let time = ShortestTime::read(text).unwrap();
            assert_eq!(time.0.map(|time| time.as_secs()), seconds, "{text}");
            assert_eq!(time.write(), written);
            assert_eq!(ShortestTime::read(written), Ok(time));
        }
        assert!(ShortestTime::read("2q").is_err() && ShortestTime::read("").is_err());
        for (text, load, written) in [
            ("12", Some(12.0), "12"),
            (" 1.5 ", Some(1.5), "1.5"),
            ("0.25", Some(0.25), "0.25"),
            ("0", None, ""),
            ("-1", None, ""),
            ("", None, ""),
        ] {
            let found = Load::read(text).unwrap();
            assert_eq!(
                (found.get(), found.write().as_str()),
                (load, written),
                "{text}"
            );
        }
        for text in ["12x", "-", "--3", ".", "1.", "1.2345", "9999999", "x"] {
            assert!(Load::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_read_and_write() {
        for (text, unit, seconds, written) in [
            ("5m", b'm', 300, "5m"),
            ("5", b'm', 300, "5m"),
            ("5", b'd', 432_000, "5d"),
            ("1h30m", b'm', 5_400, "1h30m"),
            ("1w2d3h4m5s", b's', 788_645, "9d3h4m5s"),
            ("0", b's', 0, "0s"),
            ("1h30", b'm', 5_400, "1h30m"),
            ("-1", b'm', 0, "0s"),
        ] {
            let time = read_time(text, unit).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(
                (time.as_secs(), write_time(time).as_str()),
                (seconds, written),
                "{text}"
            );
        }
        for text in [
            "",
            "m",
            "5x",
            "5 m",
            "99999999999999999999",
            "9999999999999999w",
            "-",
        ] {
            assert!(read_time(text, b's').is_err(), "{text}");
        }
    }
}
