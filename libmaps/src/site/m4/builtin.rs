//! The macros that m4 itself has.

use std::sync::Arc;

use super::{Definition, M4, M4Error, Place, Severity, Step, eval, limits};

/// A macro of m4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Builtin {
    Define,
    Undefine,
    Defn,
    Pushdef,
    Popdef,
    Ifdef,
    Ifelse,
    Shift,
    Include,
    Sinclude,
    Divert,
    Undivert,
    Divnum,
    Dnl,
    Changequote,
    Changecom,
    Len,
    Index,
    Substr,
    Translit,
    Incr,
    Decr,
    Eval,
    Errprint,
    M4wrap,
    /// Runs a command, or needs what only m4 has; refused by name.
    Refused(&'static str),
}

use Builtin as B;

impl Builtin {
    /// Names and meanings.
    pub(super) const ALL: &'static [(&'static str, Builtin)] = &[
        ("define", B::Define),
        ("undefine", B::Undefine),
        ("defn", B::Defn),
        ("pushdef", B::Pushdef),
        ("popdef", B::Popdef),
        ("ifdef", B::Ifdef),
        ("ifelse", B::Ifelse),
        ("shift", B::Shift),
        ("include", B::Include),
        ("sinclude", B::Sinclude),
        ("divert", B::Divert),
        ("undivert", B::Undivert),
        ("divnum", B::Divnum),
        ("dnl", B::Dnl),
        ("changequote", B::Changequote),
        ("changecom", B::Changecom),
        ("len", B::Len),
        ("index", B::Index),
        ("substr", B::Substr),
        ("translit", B::Translit),
        ("incr", B::Incr),
        ("decr", B::Decr),
        ("eval", B::Eval),
        ("errprint", B::Errprint),
        ("m4wrap", B::M4wrap),
        ("syscmd", B::Refused("syscmd")),
        ("esyscmd", B::Refused("esyscmd")),
        ("maketemp", B::Refused("maketemp")),
        ("mkstemp", B::Refused("mkstemp")),
        ("regexp", B::Refused("regexp")),
        ("patsubst", B::Refused("patsubst")),
        ("indir", B::Refused("indir")),
        ("builtin", B::Refused("builtin")),
        ("m4exit", B::Refused("m4exit")),
    ];

    /// Whether the name is a plain word where no parenthesis follows, as in GNU m4.
    pub(super) fn needs_arguments(self) -> bool {
        !matches!(
            self,
            B::Divert | B::Undivert | B::Divnum | B::Dnl | B::Changequote | B::Changecom
        )
    }
}

impl M4 {
    pub(super) fn run(
        &mut self,
        builtin: Builtin,
        arguments: Vec<Vec<u8>>,
        place: Place,
    ) -> Result<Option<Step>, M4Error> {
        let argument = |number: usize| arguments.get(number).map_or(&[][..], Vec::as_slice);
        let result: Vec<u8> = match builtin {
            B::Define => {
                self.check_name(argument(0), &place);
                self.define_text(argument(0), argument(1));
                self.places.insert(argument(0).to_vec(), place);
                return Ok(None);
            }
            B::Pushdef => {
                self.check_name(argument(0), &place);
                let definitions = self.macros.entry(argument(0).to_vec()).or_default();
                if definitions.len() < limits::NESTING {
                    definitions.push(Definition::Text(argument(1).into()));
                }
                return Ok(None);
            }
            B::Undefine => {
                for name in &arguments {
                    self.macros.remove(name.as_slice());
                }
                return Ok(None);
            }
            B::Popdef => {
                for name in &arguments {
                    if let Some(definitions) = self.macros.get_mut(name.as_slice()) {
                        definitions.pop();
                        if definitions.is_empty() {
                            self.macros.remove(name.as_slice());
                        }
                    }
                }
                return Ok(None);
            }
            B::Defn => self.definitions_of(&arguments, &place)?,
            B::Ifdef if self.macros.contains_key(argument(0)) => argument(1).to_vec(),
            B::Ifdef => argument(2).to_vec(),
            B::Ifelse => ifelse(&arguments).to_vec(),
            B::Shift => self.quote_all(arguments.get(1..).unwrap_or_default())?,
            B::Include | B::Sinclude => {
                return Ok(Some(Step::Include {
                    path: argument(0).to_vec(),
                    optional: builtin == B::Sinclude,
                    place,
                }));
            }
            B::Divert => {
                self.divert(number(argument(0)).unwrap_or(0));
                return Ok(None);
            }
            B::Undivert => {
                for text in &arguments {
                    if let Some(diversion) = number(text).filter(|n| *n != self.diversion()) {
                        self.count(self.output().text(diversion).len())?;
                        let text = self.output_mut().take(diversion);
                        self.write(&text)?;
                    }
                }
                return Ok(None);
            }
            B::Divnum => self.diversion().to_string().into_bytes(),
            B::Dnl => {
                while self.next().is_some_and(|octet| octet != b'\n') {}
                return Ok(None);
            }
            B::Changequote => {
                let or = |given: &[u8], default: &[u8]| {
                    if given.is_empty() { default } else { given }.to_vec()
                };
                self.check_marks("changequote", &arguments, place)?;
                self.quote = (or(argument(0), b"`"), or(argument(1), b"'"));
                return Ok(None);
            }
            B::Changecom => {
                self.check_marks("changecom", &arguments, place)?;
                let end = if argument(1).is_empty() {
                    &b"\n"[..]
                } else {
                    argument(1)
                };
                let start = Some(argument(0)).filter(|start| !start.is_empty());
                let comment = start.map(|start| (start.to_vec(), end.to_vec()));
                self.comment = comment;
                return Ok(None);
            }
            B::Len => argument(0).len().to_string().into_bytes(),
            B::Index => index(argument(0), argument(1)).to_string().into_bytes(),
            B::Substr => substr(
                argument(0),
                argument(1),
                arguments.get(2).map(Vec::as_slice),
            )
            .to_vec(),
            B::Translit => translit(argument(0), argument(1), argument(2)),
            B::Incr => number(argument(0))
                .map_or(0, |n| n.wrapping_add(1))
                .to_string()
                .into_bytes(),
            B::Decr => number(argument(0))
                .map_or(0, |n| n.wrapping_sub(1))
                .to_string()
                .into_bytes(),
            B::Eval => match eval::evaluate(argument(0)) {
                Ok(value) => value.to_string().into_bytes(),
                Err(why) => {
                    let text = format!("eval: {why}: {}", String::from_utf8_lossy(argument(0)));
                    self.report_at(&place, Severity::Warning, text);
                    return Ok(None);
                }
            },
            B::Errprint => {
                let text = String::from_utf8_lossy(argument(0)).trim().to_owned();
                self.report_at(&place, Severity::Warning, format!("the file says: {text}"));
                return Ok(None);
            }
            B::M4wrap => {
                self.octets += argument(0).len();
                self.wrapped.push(argument(0).to_vec());
                return Ok(None);
            }
            B::Refused(name) => {
                let text = format!(
                    "{name} is refused: reading a configuration runs no command and needs no GNU m4"
                );
                self.report_at(&place, Severity::Error, text);
                return Ok(None);
            }
        };
        self.push(result.into())?;
        Ok(None)
    }

    /// A macro whose name is no word can't be called: likely the quotes around an argument are missing.
    fn check_name(&mut self, name: &[u8], place: &Place) {
        let is_word = name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
            && name.first().is_some_and(|b| !b.is_ascii_digit());
        if !is_word {
            let text = format!(
                "{:?} is defined, but is no macro name",
                String::from_utf8_lossy(name)
            );
            self.report_at(place, Severity::Warning, text);
        }
    }

    fn check_marks(&self, name: &str, marks: &[Vec<u8>], place: Place) -> Result<(), M4Error> {
        if marks.iter().take(2).all(|mark| mark.len() <= limits::MARK) {
            return Ok(());
        }
        let text = format!("{name}: expected at most {} octets", limits::MARK);
        Err(M4Error { place, text })
    }

    /// The texts of macros. What is no text can't be carried to another name, and what is called by
    /// that name would be lost.
    fn definitions_of(&mut self, names: &[Vec<u8>], place: &Place) -> Result<Vec<u8>, M4Error> {
        let mut texts = Vec::new();
        for name in names {
            let definition = self.macros.get(name.as_slice()).and_then(|d| d.last());
            match definition {
                Some(Definition::Text(text)) => {
                    let text = Arc::clone(text);
                    texts.extend_from_slice(&self.quote_all(&[text])?);
                }
                Some(Definition::Builtin(_) | Definition::Native) => {
                    let name = String::from_utf8_lossy(name);
                    let text = format!(
                        "defn({name}) gives nothing: a built-in macro has no other name; call {name} itself"
                    );
                    self.report_at(place, Severity::Error, text);
                }
                None => {}
            }
        }
        Ok(texts)
    }

    /// The texts in quotes, with commas between them.
    pub(super) fn quote_all<T: AsRef<[u8]>>(&mut self, texts: &[T]) -> Result<Vec<u8>, M4Error> {
        let (open, close) = &self.quote;
        let around = open.len() + close.len() + 1;
        self.count(texts.iter().map(|t| t.as_ref().len() + around).sum())?;
        let (open, close) = &self.quote;
        let quoted: Vec<Vec<u8>> = texts
            .iter()
            .map(|text| [open.as_slice(), text.as_ref(), close].concat())
            .collect();
        Ok(quoted.join(&b','))
    }
}

fn ifelse(arguments: &[Vec<u8>]) -> &[u8] {
    let mut rest = arguments;
    loop {
        match rest {
            [left, right, then, tail @ ..] => {
                if left == right {
                    return then;
                }
                match tail {
                    [] => return &[],
                    [otherwise] => return otherwise,
                    _ => rest = tail,
                }
            }
            _ => return &[],
        }
    }
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn index(text: &[u8], wanted: &[u8]) -> i64 {
    if wanted.is_empty() {
        return 0;
    }
    let found = memchr::memmem::find(text, wanted);
    found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)
}

fn substr<'a>(text: &'a [u8], start: &[u8], length: Option<&[u8]>) -> &'a [u8] {
    let Some(start) = number(start).and_then(|n| usize::try_from(n).ok()) else {
        return &[];
    };
    let rest = text.get(start..).unwrap_or_default();
    match length.map(number) {
        None => rest,
        Some(length) => {
            let length = length.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
            rest.get(..length).unwrap_or(rest)
        }
    }
}

fn translit(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let (from, to) = (ranges(from), ranges(to));
    let mut table: [Option<Option<u8>>; 256] = [None; 256];
    for (at, octet) in from.iter().enumerate() {
        if let Some(slot) = table
            .get_mut(usize::from(*octet))
            .filter(|slot| slot.is_none())
        {
            *slot = Some(to.get(at).copied());
        }
    }
    text.iter()
        .filter_map(|octet| {
            table
                .get(usize::from(*octet))
                .copied()
                .flatten()
                .unwrap_or(Some(*octet))
        })
        .collect()
}

/// Writes out `a-z`.
fn ranges(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        match tail {
            [b'-', last, tail @ ..] => {
                if first <= last {
                    out.extend(*first..=*last);
                } else {
                    out.extend((*last..=*first).rev());
                }
                rest = tail;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
        if out.len() > 65_536 {
            break;
        }
    }
    out
}
