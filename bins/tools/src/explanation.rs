//! The story of a session, for the person who has to explain it to a customer.
//!
//! ```text
//! host.spam.example [203.0.113.9] says HELO client.invalid, without TLS, not logged in
//!
//! connect: check_relay refuses the client: 550 5.7.1 Access denied
//!       access  connect:host.spam.example  -
//!     > access  connect:spam.example       REJECT  /etc/mail/access:12
//! ```

use std::fmt::{self, Write as _};
use std::io::IsTerminal;

use libmaps::decision::{Asked, Found, Probe, Trace};
use libmaps::policy::Outcome;
use libmaps::site::Site;

use crate::ask::{Ruled, Story, Told};
use crate::columns::{EDGE, hang, width as columns};
use crate::source_lines::SourceLines;

/// Widest column of LHS; longer ones push what follows to the right.
const LHS_COLUMNS: usize = 44;

/// The rule that has the last word about relaying, as check_rcpt's trace names it.
const RELAYING: &str = "nothing allows relaying";

/// Where lists of probes that found nothing are wrapped.
const LINE_COLUMNS: usize = EDGE;

/// Which rulesets are shown.
#[derive(Clone, Copy, Debug)]
pub struct Sides {
    /// Those that are asked about a client.
    pub server: bool,
    /// Those that are asked as client.
    pub client: bool,
    /// trust_auth, which is asked only for AUTH= at MAIL.
    pub trust_auth: bool,
}

impl Sides {
    fn show(self, ruleset: &str) -> bool {
        match ruleset {
            "try_tls" | "tls_server" | "tls_rcpt" => self.client,
            "trust_auth" => self.server && self.trust_auth,
            _ => self.server,
        }
    }
}

/// Whether colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// None.
    Plain,
    /// ANSI.
    Colour,
}

impl Ink {
    /// Colours on a terminal, unless NO_COLOR is set.
    #[must_use]
    pub fn of_terminal() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if std::io::stdout().is_terminal() && !refused {
            Ink::Colour
        } else {
            Ink::Plain
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Ink::Plain => text.to_owned(),
            Ink::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// What is printed.
pub struct Explanation<'a> {
    site: &'a Site,
    story: &'a Story,
    told: &'a Told,
    sides: Sides,
    sources: SourceLines,
    ink: Ink,
}

impl<'a> Explanation<'a> {
    /// The explanation of what was told; looks up where the entries stand.
    #[must_use]
    pub fn new(site: &'a Site, story: &'a Story, told: &'a Told, sides: Sides) -> Self {
        let route = told.route.iter().map(|decision| &decision.trace);
        let traces = told.rulings.iter().map(|ruled| &ruled.trace).chain(route);
        let sources = SourceLines::of(site, traces.flat_map(Trace::probes));
        Explanation {
            site,
            story,
            told,
            sides,
            sources,
            ink: Ink::Plain,
        }
    }

    /// The same in colours, or without.
    #[must_use]
    pub fn with(mut self, ink: Ink) -> Self {
        self.ink = ink;
        self
    }

    fn shown(&self) -> impl Iterator<Item = &Ruled> {
        self.told
            .rulings
            .iter()
            .filter(|ruled| self.sides.show(ruled.name) && self.is_asked(ruled))
    }

    /// Whether sendmail would ask: tls_client by itself only after STARTTLS; srv_features that say nothing are no news.
    fn is_asked(&self, ruled: &Ruled) -> bool {
        match ruled.name {
            "tls_client" => !self.story.session.tls.version.is_empty(),
            "srv_features" => ruled.value.is_some(),
            _ => true,
        }
    }

    fn heading(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = &self.story.session;
        let name = &session.client_name;
        let who = if name.starts_with('[') {
            name.clone()
        } else {
            format!("{name} [{}]", session.client_addr)
        };
        let tls = match session.tls.version.as_str() {
            "" => "without TLS".to_owned(),
            version => format!(
                "over {version} with {} bits, certificate {}",
                session.tls.bits, session.tls.verify
            ),
        };
        let login = match &session.login {
            Some(login) => format!("logged in as {} by {}", login.authid, login.mechanism),
            None => "not logged in".to_owned(),
        };
        let rest = format!("(address resolves: {})", session.client_resolve.as_str());
        self.hang(f, "1", &who, &rest, 2)?;
        let rest = format!("{}, {tls}, {login}", session.helo);
        self.hang(f, "0", "HELO", &rest, 2)?;
        writeln!(
            f,
            "MAIL FROM:{}  RCPT TO:<{}>",
            session.sender_text,
            String::from_utf8_lossy(&self.story.to_text)
        )
    }

    fn ruling(&self, f: &mut fmt::Formatter<'_>, ruled: &Ruled) -> fmt::Result {
        let (code, words) = match &ruled.outcome {
            Outcome::Accept => ("32", "accepts".to_owned()),
            Outcome::Discard => ("33", "accepts, and drops the message".to_owned()),
            Outcome::Quarantine(why) => ("33", format!("accepts into quarantine: {why}")),
            Outcome::Refuse(refusal) => ("31", format!("refuses: {}", refusal.reply())),
            Outcome::Delayed => ("2", "is put off until RCPT (delay_checks)".to_owned()),
        };
        let words = match (&ruled.value, ruled.name) {
            (Some(letters), _) => format!("says {letters}"),
            (None, "srv_features") => "says nothing".to_owned(),
            _ => words,
        };
        writeln!(f)?;
        let head = format!("{:<8} {}", moment(ruled.name), ruled.name);
        self.said(f, &head, code, &words)?;
        self.trace(f, &ruled.trace)
    }

    fn trace(&self, f: &mut fmt::Formatter<'_>, trace: &Trace) -> fmt::Result {
        let probes: Vec<Probe> = trace.probes().collect();
        let hits = || probes.iter().filter(|probe| probe.hit());
        let asked_width = hits().map(|probe| columns(&short(&probe.asked))).max();
        let lhs_width = hits().map(|probe| columns(&probe.lhs.to_string())).max();
        let asked_width = asked_width.unwrap_or(0);
        let lhs_width = lhs_width.unwrap_or(0).min(LHS_COLUMNS);
        let mut rest = &probes[..];
        while let Some((probe, after)) = rest.split_first() {
            if let Asked::Ruleset(name) = probe.asked {
                writeln!(f, "      {}", self.ink.paint("1", &format!("[{name}]")))?;
                rest = after;
            } else if probe.hit() {
                let line = format!(
                    "    > {:<asked_width$}  {:<lhs_width$}  ",
                    short(&probe.asked),
                    probe.lhs.to_string(),
                );
                let code = match probe.found {
                    Found::Error(_) => "31",
                    _ => "0",
                };
                let indent = (10 + asked_width + lhs_width).min(EDGE / 2);
                let mut lines = hang(&line, &probe.found.to_string(), indent);
                let note = self.note(probe);
                let last = lines.pop().unwrap_or_default();
                for line in lines {
                    writeln!(f, "{}", self.ink.paint(code, &line))?;
                }
                write!(f, "{}", self.ink.paint(code, &last))?;
                match note.as_str() {
                    "" => {}
                    note if columns(&last) + 3 + columns(note) <= EDGE => {
                        write!(f, "   {}", self.ink.paint("36", note))?;
                    }
                    note => write!(f, "\n{}{}", " ".repeat(indent), self.ink.paint("36", note))?,
                }
                writeln!(f)?;
                rest = after;
            } else {
                let same = |other: &&Probe| !other.hit() && other.asked == probe.asked;
                let run = rest.iter().take_while(same).count().max(1);
                let (missed, after) = rest.split_at(run);
                self.missed(f, missed)?;
                rest = after;
            }
        }
        Ok(())
    }

    /// Probes in a row that found nothing: who was asked, and for what, in wrapped lines.
    fn missed(&self, f: &mut fmt::Formatter<'_>, probes: &[Probe]) -> fmt::Result {
        let Some(first) = probes.first() else {
            return Ok(());
        };
        let head = match first.asked {
            Asked::Map(_) | Asked::Class(_) => format!("not in {}:", short(&first.asked)),
            Asked::Fact(about @ "canonical name") => format!("no {about} is known of"),
            _ => format!("{}: no:", first.asked),
        };
        let mut line = format!("      {head}");
        for (i, probe) in probes.iter().enumerate() {
            let comma = if i + 1 < probes.len() { "," } else { "" };
            let word = format!(" {}{comma}", probe.lhs);
            if columns(&line) + columns(&word) > LINE_COLUMNS {
                writeln!(f, "{}", self.ink.paint("2", &line))?;
                line = " ".repeat(9);
            }
            line.push_str(&word);
        }
        writeln!(f, "{}", self.ink.paint("2", line.trim_end()))
    }

    /// Where an entry stands, or if its source does not tell, why it was asked for.
    fn note(&self, probe: &Probe) -> String {
        match (&probe.asked, self.sources.get(probe)) {
            (_, Some(line)) => line.to_string(),
            (Asked::Map(_), None) => format!("({})", probe.step),
            _ => String::new(),
        }
    }

    /// A head in `code` and words behind it, wrapped.
    fn hang(
        &self,
        f: &mut fmt::Formatter<'_>,
        code: &str,
        head: &str,
        words: &str,
        indent: usize,
    ) -> fmt::Result {
        let lines = hang(&format!("{head} "), words, indent);
        for line in lines {
            match line.strip_prefix(head) {
                Some(rest) => writeln!(f, "{}{rest}", self.ink.paint(code, head))?,
                None => writeln!(f, "{line}")?,
            }
        }
        Ok(())
    }

    /// A head and, in `code`, what it says, wrapped.
    fn said(&self, f: &mut fmt::Formatter<'_>, head: &str, code: &str, words: &str) -> fmt::Result {
        let lines = hang(&format!("{head} "), words, 9);
        for line in lines {
            match line.strip_prefix(head) {
                Some(rest) => writeln!(
                    f,
                    "{}{}",
                    self.ink.paint("1", head),
                    self.ink.paint(code, rest)
                )?,
                None => writeln!(f, "{}", self.ink.paint(code, &line))?,
            }
        }
        Ok(())
    }

    fn route(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, line, trace) = match &self.told.route {
            Err(error) => ("31", error.clone(), None),
            Ok(decision) => {
                let triple = &decision.outcome;
                let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
                let (host, user) = (text(&triple.host), text(&triple.user));
                let words = match (triple.is_error(), host.is_empty()) {
                    (true, _) => format!("is refused: {host} {user}"),
                    (false, true) => format!("{} takes it for {user}", triple.mailer),
                    (false, false) => format!("{} takes it to {host} for {user}", triple.mailer),
                };
                let code = if triple.is_error() { "31" } else { "0" };
                (code, words, Some(&decision.trace))
            }
        };
        writeln!(f)?;
        self.said(f, "delivery route", code, &line)?;
        trace.map_or(Ok(()), |trace| self.trace(f, trace))
    }

    /// One sentence for the customer.
    fn conclusion(&self, f: &mut String) -> fmt::Result {
        let stop = self.shown().find(|ruled| {
            !matches!(ruled.outcome, Outcome::Accept | Outcome::Delayed)
                && moment(ruled.name) != "client"
        });
        let Some(ruled) = stop else {
            return self.routed(f);
        };
        let what = match &ruled.outcome {
            Outcome::Discard => "accepted and dropped",
            Outcome::Quarantine(_) => "accepted and held",
            _ => "refused",
        };
        write!(
            f,
            "In short: the mail is {what} at {}, ",
            moment(ruled.name)
        )?;
        let probes: Vec<Probe> = ruled.trace.probes().collect();
        let last = probes.last();
        match last {
            Some(probe) if matches!(probe.asked, Asked::Fact(RELAYING)) => {
                writeln!(f, "as {RELAYING} here.")?;
            }
            Some(probe) if matches!(probe.asked, Asked::Fact("REJECT")) => {
                self.entry(f, &probes)?;
            }
            Some(probe) if matches!(probe.asked, Asked::Fact(_)) => {
                let found = match &probe.found {
                    Found::Nothing => "no".to_owned(),
                    found => found.to_string(),
                };
                writeln!(f, "because of {} {}: {found}.", probe.asked, probe.lhs)?;
                self.entry_if_any(f, &probes)?;
            }
            _ => self.entry(f, &probes)?,
        }
        self.advice(f, last)
    }

    /// The end of a story in which no ruleset objects: the address itself may still lead nowhere.
    fn routed(&self, f: &mut String) -> fmt::Result {
        match &self.told.route {
            Ok(decision) if decision.outcome.is_error() => {
                f.write_str(
                    "In short: the mail is refused at RCPT, as its address leads nowhere, ",
                )?;
                let probes: Vec<Probe> = decision.trace.probes().collect();
                self.entry(f, &probes)
            }
            Ok(_) => writeln!(f, "In short: the mail is accepted."),
            Err(_) => writeln!(
                f,
                "In short: nobody can tell now where the mail goes; it is put off."
            ),
        }
    }

    /// The last entry found, after a sentence that is already complete.
    fn entry_if_any(&self, f: &mut String, probes: &[Probe]) -> fmt::Result {
        if probes.iter().any(is_entry) {
            f.write_str("That was asked ")?;
            self.entry(f, probes)?;
        }
        Ok(())
    }

    /// The last entry found, as the end of a sentence.
    fn entry(&self, f: &mut String, probes: &[Probe]) -> fmt::Result {
        let Some(entry) = probes.iter().rev().find(|probe| is_entry(probe)) else {
            return writeln!(f, "by a built-in rule.");
        };
        write!(
            f,
            "by {}: {} {}",
            short(&entry.asked),
            entry.lhs,
            entry.found
        )?;
        match self.sources.get(entry) {
            Some(line) => writeln!(f, " ({line})"),
            None => writeln!(f),
        }
    }

    /// What would let the client relay.
    fn advice(&self, f: &mut String, last: Option<&Probe>) -> fmt::Result {
        let denied = last.is_some_and(|probe| {
            matches!(
                probe.asked,
                Asked::Fact(RELAYING | "client address resolves")
            )
        });
        let (true, Some(access), Some(Ok(to))) =
            (denied, &self.site.features.access, &self.story.to)
        else {
            return Ok(());
        };
        let path = access.map.path.display();
        let addr = &self.story.session.client_addr;
        writeln!(
            f,
            "To let this client relay, `Connect:{addr} RELAY` in {path} would do, or a login."
        )?;
        match to.domain() {
            Some(domain) => writeln!(
                f,
                "To take mail for {domain} from everybody, `To:{domain} RELAY` would do."
            ),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.heading(f)?;
        for ruled in self.shown() {
            self.ruling(f, ruled)?;
        }
        self.route(f)?;
        let mut conclusion = String::new();
        self.conclusion(&mut conclusion)?;
        writeln!(f)?;
        for line in conclusion.lines().flat_map(|line| hang("", line, 2)) {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

/// When a ruleset is asked.
fn moment(ruleset: &str) -> &'static str {
    match ruleset {
        "check_relay" | "srv_features" => "connect",
        "tls_client" => "TLS",
        "check_mail" | "trust_auth" => "MAIL",
        "check_rcpt" => "RCPT",
        _ => "client",
    }
}

fn is_entry(probe: &Probe) -> bool {
    matches!(
        (&probe.asked, &probe.found),
        (Asked::Map(_), Found::Rhs(_) | Found::Error(_))
    )
}

/// A map by its file name, everything else by its words.
fn short(asked: &Asked) -> String {
    match asked {
        Asked::Map(name) => match name.path.file_name() {
            Some(file) => file.to_string_lossy().into_owned(),
            None => name.to_string(),
        },
        other => other.to_string(),
    }
}
