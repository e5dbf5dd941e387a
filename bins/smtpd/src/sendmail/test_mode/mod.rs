//! `-bt`: the shell in which addresses and rulesets are tried, with sendmail's commands.
//!
//! ```text
//! > check_rcpt <x@remote.example>
//! check_rcpt         input: < x @ remote . example >
//! check_rcpt       returns: $# error $@ 5 . 7 . 1 $: "550 Relaying denied"
//!   ...                                          the lookups that led there
//! ```
//!
//! Rulesets by name are this suite's own functions; `$|` is typed as it is.

mod macros;
mod mailers;
mod ruleset;
mod slash;
mod workspace;

use std::io::{self, BufRead, Read, Write};

use libmaps::decision::Trace;
use libmaps::policy::rewrite::AddressRole;
use libmaps::sysexits::SysExit;
use tools::consult::Consultant;

use super::args::{CommandLine, Refusal};
use super::scene::no_consultant;
use macros::Macros;

/// Longest line that is read, in octets.
const MAX_LINE_OCTETS: u64 = 64 * 1024;

const HELP: &str = "\
ruleset[,ruleset...] address   run these on an address; $| may stand in it
/parse address                 read an address and find its mailer
/try mailer address            rewrite an address for a mailer
/tryflags [Hh|Ee][Ss|Rr]       as header or envelope, sender or recipient, in /parse and /try
/map name key                  look a key up
/mx host, /canon host          ask for mail exchangers, for the canonical name
.Dname value, .Cname word      set a macro, add to a class, for this session
$name, $=name                  show a macro, a class
=M, =Sname                     show the mailers; rulesets are built in
-dlevel                        accepted; the lookups are always shown
/quit                          end
";

/// Reads commands until the end of input or `/quit`.
///
/// # Errors
/// When the configuration or a map can't be read.
pub(super) fn run(
    line: &CommandLine,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
) -> Result<SysExit, Refusal> {
    let consultant = Consultant::open(line.root.as_deref(), line.config.as_deref())
        .map_err(|error| no_consultant(&error))?;
    let mut shell = Shell {
        macros: Macros::new(),
        role: AddressRole::EnvelopeRecipient,
        consultant,
    };
    // A reader that has seen enough is no error.
    let _ = shell.talk(input, out);
    Ok(SysExit::Ok)
}

/// What comes after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The next one.
    Prompt,
    /// Nothing.
    Quit,
}

struct Shell {
    consultant: Consultant,
    macros: Macros,
    role: AddressRole,
}

impl Shell {
    fn talk(&mut self, input: &mut dyn BufRead, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "ADDRESS TEST MODE (ruleset 3 NOT automatically invoked)\nEnter <ruleset> <address>"
        )?;
        loop {
            write!(out, "> ")?;
            out.flush()?;
            let mut line = Vec::new();
            if (&mut *input)
                .take(MAX_LINE_OCTETS)
                .read_until(b'\n', &mut line)?
                == 0
            {
                return Ok(());
            }
            let line = String::from_utf8_lossy(&line);
            if self.command(line.trim_end_matches(['\n', '\r']), out)? == Next::Quit {
                return Ok(());
            }
        }
    }

    fn command(&mut self, line: &str, out: &mut dyn Write) -> io::Result<Next> {
        let line = line.trim_start_matches([' ', '\t']);
        let mut chars = line.chars();
        match chars.next() {
            None | Some('#') => {}
            Some('?') => write!(out, "{HELP}")?,
            Some('.') => self.define(chars.as_str(), out)?,
            Some('$') => self.show(chars.as_str(), out)?,
            Some('=') => self.equals(chars.as_str(), out)?,
            Some('-') => match chars.as_str().strip_prefix('d') {
                Some("") => writeln!(out, "Usage: -d{{debug arguments}}")?,
                Some(_) => {}
                None => writeln!(out, "Unknown \"-\" command {line}")?,
            },
            Some('/') => return self.slash(chars.as_str(), out),
            Some(_) => self.rulesets(line, out)?,
        }
        Ok(Next::Prompt)
    }

    fn define(&mut self, text: &str, out: &mut dyn Write) -> io::Result<()> {
        let usage = "Usage: .[DC]macro value(s)";
        let mut chars = text.chars();
        let letter = chars.next();
        if letter.is_none() {
            return writeln!(out, "{usage}");
        }
        let Some((name, value)) = macros::split_name(chars.as_str()) else {
            return match letter {
                Some('D' | 'C') => writeln!(out, "{usage}"),
                _ => writeln!(out, "Unknown \".\" command .{text}"),
            };
        };
        match letter {
            Some('D') => self.macros.define(name, value),
            Some('C') => {
                let words = value.split_whitespace();
                if !macros::add_words(&mut self.consultant.site, name, words) {
                    writeln!(out, "class {name} has no meaning here")?;
                }
            }
            _ => writeln!(out, "Unknown \".\" command .{text}")?,
        }
        Ok(())
    }

    fn show(&mut self, text: &str, out: &mut dyn Write) -> io::Result<()> {
        let (is_class, text) = match text.strip_prefix('=') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let Some((name, _)) = macros::split_name(text) else {
            return writeln!(out, "Name required for macro/class");
        };
        if !is_class {
            return match self.macros.value(&self.consultant.site, name) {
                Some(value) => writeln!(out, "{value}"),
                None => writeln!(out, "Undefined"),
            };
        }
        let Some(class) = self.consultant.site.classes.named_mut(name) else {
            return Ok(());
        };
        for word in class.sorted() {
            writeln!(out, "{}", String::from_utf8_lossy(word))?;
        }
        Ok(())
    }

    fn equals(&self, text: &str, out: &mut dyn Write) -> io::Result<()> {
        match text.chars().next() {
            Some('M') => mailers::list(&self.consultant.site, out),
            Some('S') => writeln!(
                out,
                "Rulesets are built in; run {} on an address to see its lookups",
                text.get(1..).filter(|n| !n.is_empty()).unwrap_or("one")
            ),
            Some(other) => writeln!(out, "Unknown \"=\" command ={other}"),
            None => writeln!(out, "Usage: =[MS]"),
        }
    }
}

/// A line of sendmail's trace: the ruleset's name, a word, and the workspace.
fn trace_line(out: &mut dyn Write, ruleset: &str, word: &str, workspace: &str) -> io::Result<()> {
    let name: String = ruleset.chars().take(16).collect();
    writeln!(out, "{name:<16} {word:>7}:{}", workspace::tokens(workspace))
}

/// The lookups, set in.
fn print_trace(out: &mut dyn Write, trace: &Trace) -> io::Result<()> {
    for probe in trace.probes() {
        writeln!(out, "  {probe}")?;
    }
    Ok(())
}
