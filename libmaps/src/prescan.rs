//! Addresses to tokens, the way sendmail's parser cuts them before any rule sees them.
//!
//! An address is a row of atoms, operators and quoted strings. Operators are
//! `( ) < > , ;`, CR, LF and the characters of option OperatorChars; white
//! space ends an atom and is lost; comments in parentheses nest and are lost;
//! a backslash takes the meaning away from the next octet and stays in the
//! token. The scan ends at a delimiter that stands outside quotes, comments
//! and angle brackets (sendmail's parseaddr.c describes the same machine in
//! its head comment; RFC 5322 section 3.2 has the words).
//!
//! Bad syntax is patched up where a guess is possible, and said: the caller
//! decides whether a guess is good enough.

/// The longest token, in octets.
pub const TOKEN_MAX_OCTETS: usize = 256;
/// What a whole address may take, in octets, with one more for each token.
pub const ADDRESS_MAX_OCTETS: usize = 1251;
/// The most tokens of one address.
pub const TOKENS_MAX: usize = 1000;

/// The characters that are tokens of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operators([bool; 256]);

impl Operators {
    /// Those of option OperatorChars besides the ones that always are.
    #[must_use]
    pub fn new(chars: &[u8]) -> Self {
        let mut table = [false; 256];
        for c in b"()<>,;\r\n".iter().chain(chars) {
            if let Some(slot) = table.get_mut(usize::from(*c)) {
                *slot = true;
            }
        }
        Operators(table)
    }

    fn has(&self, c: u8) -> bool {
        self.0.get(usize::from(c)).copied().unwrap_or(false)
    }
}

impl Default for Operators {
    /// sendmail's default, `.:@[]`, and what every sendmail.cf sets: `.:%@!^/[]+`.
    fn default() -> Self {
        Operators::new(b".:%@!^/[]+")
    }
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Atom,
    /// One operator character.
    Operator,
    /// A quoted string, with its quotes.
    Quoted,
}

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Its octets.
    pub octets: Vec<u8>,
}

impl Token {
    /// Whether it is this operator.
    #[must_use]
    pub fn is(&self, operator: u8) -> bool {
        self.kind == Kind::Operator && self.octets == [operator]
    }
}

/// Bad syntax that was patched up: the character that stands alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unbalanced(pub u8);

/// Why there are no tokens at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// More than [`ADDRESS_MAX_OCTETS`].
    AddressTooLong,
    /// A token of more than [`TOKEN_MAX_OCTETS`].
    TokenTooLong,
    /// More than [`TOKENS_MAX`] tokens.
    TooManyTokens,
}

/// A scanned address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Its tokens.
    pub tokens: Vec<Token>,
    /// Where the delimiter stands, or the length of the text.
    pub end: usize,
    /// What was patched up, in order.
    pub unbalanced: Vec<Unbalanced>,
}

/// Scans `text` up to `delimiter`.
///
/// # Errors
/// With the refusal, what was found unbalanced before it.
pub fn prescan(
    text: &[u8],
    delimiter: Option<u8>,
    operators: &Operators,
) -> Result<Scan, (Refusal, Vec<Unbalanced>)> {
    let mut scanner = Scanner {
        operators,
        scan: Scan::default(),
        open: None,
        octets: 0,
        comments: 0,
        angles: 0,
    };
    match scanner.run(text, delimiter) {
        Ok(()) => Ok(scanner.scan),
        Err(refusal) => Err((refusal, scanner.scan.unbalanced)),
    }
}

struct Scanner<'a> {
    operators: &'a Operators,
    scan: Scan,
    /// The atom or quoted string that is not at its end yet.
    open: Option<Token>,
    octets: usize,
    comments: usize,
    angles: usize,
}

impl Scanner<'_> {
    fn run(&mut self, text: &[u8], delimiter: Option<u8>) -> Result<(), Refusal> {
        let mut at = 0;
        while let Some(&c) = text.get(at) {
            let quoted = self.in_quotes();
            if Some(c) == delimiter && self.comments == 0 && !quoted {
                if self.angles == 0 {
                    break;
                }
                if c == b',' {
                    self.unbalanced(b'<');
                    self.angles = 0;
                    self.operator(b'>')?;
                    break;
                }
            }
            at += 1;
            match c {
                b'\\' => {
                    if let Some(&next) = text.get(at)
                        && (Some(next) != delimiter || quoted || self.comments > 0)
                    {
                        at += 1;
                        self.escaped(next)?;
                    }
                }
                b'"' if self.comments == 0 => self.quote()?,
                _ if quoted => self.push(c)?,
                b'(' => {
                    self.close()?;
                    self.comments += 1;
                }
                b')' if self.comments > 0 => self.comments -= 1,
                b')' => self.unbalanced(b')'),
                _ if self.comments > 0 => {}
                b'>' if self.angles == 0 => self.unbalanced(b'>'),
                b' ' | b'\t'..=b'\r' => self.close()?,
                _ if self.operators.has(c) => {
                    match c {
                        b'<' => self.angles += 1,
                        b'>' => self.angles -= 1,
                        _ => {}
                    }
                    self.operator(c)?;
                }
                _ => self.push(c)?,
            }
        }
        self.scan.end = at;
        if self.in_quotes() {
            self.unbalanced(b'"');
            self.quote()?;
        }
        if self.comments > 0 {
            self.unbalanced(b'(');
        }
        if self.angles > 0 {
            self.unbalanced(b'<');
            for _ in 0..self.angles {
                self.operator(b'>')?;
            }
        }
        self.close()
    }

    fn in_quotes(&self) -> bool {
        matches!(&self.open, Some(t) if t.kind == Kind::Quoted)
    }

    fn unbalanced(&mut self, c: u8) {
        // A row of stray brackets is one complaint each in sendmail too, but a bounded one.
        if self.scan.unbalanced.len() < TOKENS_MAX {
            self.scan.unbalanced.push(Unbalanced(c));
        }
    }

    fn escaped(&mut self, c: u8) -> Result<(), Refusal> {
        if self.comments > 0 {
            return Ok(());
        }
        // `\!` is what shells make people write; it means the plain operator.
        if c == b'!' && !self.in_quotes() {
            return self.operator(c);
        }
        self.push(b'\\')?;
        self.push(c)
    }

    fn quote(&mut self) -> Result<(), Refusal> {
        if self.in_quotes() {
            self.push(b'"')?;
            return self.close();
        }
        self.close()?;
        self.open = Some(Token {
            kind: Kind::Quoted,
            octets: vec![b'"'],
        });
        Ok(())
    }

    fn push(&mut self, c: u8) -> Result<(), Refusal> {
        self.octets += 1;
        if self.octets > ADDRESS_MAX_OCTETS {
            return Err(Refusal::AddressTooLong);
        }
        let token = self.open.get_or_insert_with(|| Token {
            kind: Kind::Atom,
            octets: Vec::new(),
        });
        token.octets.push(c);
        Ok(())
    }

    fn operator(&mut self, c: u8) -> Result<(), Refusal> {
        self.close()?;
        self.octets += 1;
        self.add(Token {
            kind: Kind::Operator,
            octets: vec![c],
        })
    }

    fn close(&mut self) -> Result<(), Refusal> {
        match self.open.take() {
            Some(token) => self.add(token),
            None => Ok(()),
        }
    }

    fn add(&mut self, token: Token) -> Result<(), Refusal> {
        self.octets += 1;
        if self.octets > ADDRESS_MAX_OCTETS {
            return Err(Refusal::AddressTooLong);
        }
        if self.scan.tokens.len() >= TOKENS_MAX {
            return Err(Refusal::TooManyTokens);
        }
        if token.octets.len() > TOKEN_MAX_OCTETS {
            return Err(Refusal::TokenTooLong);
        }
        self.scan.tokens.push(token);
        Ok(())
    }
}

/// Puts tokens together again; `blank` (option BlankSub) stands between two neighbouring atoms.
#[must_use]
pub fn join(tokens: &[Token], blank: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut after_atom = false;
    for token in tokens {
        let atom = token.kind == Kind::Atom;
        if atom && after_atom {
            text.extend_from_slice(blank);
        }
        text.extend_from_slice(&token.octets);
        after_atom = atom;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens between bars, then what was unbalanced, then what stands after the end.
    fn shown(text: &str, delimiter: u8) -> String {
        match prescan(text.as_bytes(), Some(delimiter), &Operators::default()) {
            Ok(scan) => {
                let tokens: Vec<_> = scan
                    .tokens
                    .iter()
                    .map(|t| String::from_utf8_lossy(&t.octets).into_owned())
                    .collect();
                let bad: String = scan.unbalanced.iter().map(|u| u.0 as char).collect();
                format!("{} {bad} {}", tokens.join("|"), &text[scan.end..])
            }
            Err((refusal, _)) => format!("{refusal:?}"),
        }
    }

    #[test]
    fn tokens_of_addresses() {
        let cases = [
            ("joe: x", "joe  : x"),
            ("a.b@c: x", "a|.|b|@|c  : x"),
            ("a b: x", "a|b  : x"),
            ("\"a:b\": x", "\"a:b\"  : x"),
            ("a(b:c)d: x", "a|d  : x"),
            ("a(b(c)d): x", "a  : x"),
            ("a<b:c>: x", "a|<|b|:|c|>  : x"),
            ("a\\ b: x", "a\\ b  : x"),
            ("\\: x", "  : x"),
            ("\\!x: y", "!|x  : y"),
            ("\"a\\\"b\": x", "\"a\\\"b\"  : x"),
            ("\"a: b", "\"a: b\" \" "),
            ("a(b: c", "a ( "),
            ("a<b: c", "a|<|b|:|c|> < "),
            ("a): b", "a ) : b"),
            ("x>: y", "x > : y"),
            ("a,b", "a|,|b  "),
        ];
        for (text, want) in cases {
            assert_eq!(shown(text, b':'), want, "{text}");
        }
        assert_eq!(shown("<a,b", b','), "<|a|> < ,b");
    }

    #[test]
    fn limits_are_told_apart() {
        assert_eq!(shown(&"n".repeat(257), b':'), "TokenTooLong");
        assert_eq!(shown(&"n".repeat(3000), b':'), "AddressTooLong");
        assert_eq!(shown(&"@".repeat(3000), b':'), "AddressTooLong");
        assert!(shown(&"n".repeat(256), b':').starts_with("nnn"));
    }

    #[test]
    fn blanks_come_back_between_atoms_only() {
        let scan = prescan(b"a b \"c d\" . e", None, &Operators::default()).unwrap();
        assert_eq!(join(&scan.tokens, b"."), b"a.b\"c d\".e");
    }
}
