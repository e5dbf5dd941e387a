//! Alias names: which address a name is, and under which LHS it is stored.
//!
//! A name is an address like any other. Written with a host it has to be one
//! of ours (class w), and is stored without it; a program, a file, an
//! `:include:` or an address elsewhere can't be an alias. What a name resolves
//! to is what sendmail's rulesets canonify and parse make of it: the text in the
//! last angle brackets counts; the last `@` parts user and host, else the first
//! `%`, else the first `!` (host on the left); a name that is one quoted string
//! loses its quotes unless there is a blank in it.

use std::collections::BTreeSet;

use super::fault::shortened;
use super::{AliasFault, Severity};
use crate::prescan::{Kind, Operators, Refusal, Scan, Token, join, prescan};

/// What of the site's configuration decides about names.
#[derive(Clone, Debug)]
pub struct NameRules {
    /// Class w: the names of this host, folded.
    pub local_hosts: BTreeSet<Vec<u8>>,
    /// Option BlankSub: stands for white space in a name.
    pub blank: Vec<u8>,
    /// Option OperatorChars.
    pub operators: Operators,
}

impl Default for NameRules {
    fn default() -> Self {
        NameRules {
            local_hosts: BTreeSet::from([b"localhost".to_vec()]),
            blank: b".".to_vec(),
            operators: Operators::default(),
        }
    }
}

/// A name as it stands in a line.
pub(super) struct Named {
    /// Where the colon stands.
    pub(super) colon: usize,
    /// Whether the LHS can be stored; it stands in the caller's buffer.
    pub(super) storable: bool,
}

/// The longest user part, in octets.
const NAME_MAX_OCTETS: usize = 255;

/// Names of letters, digits and `-_.+` are their own LHS; nearly all are. Gives the colon.
pub(super) fn plain(line: &[u8], lhs: &mut Vec<u8>) -> Option<usize> {
    let end = line
        .iter()
        .position(|c| !(c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.' | b'+')))?;
    let name = line.get(..end)?;
    if name.is_empty() || name.len() > NAME_MAX_OCTETS {
        return None;
    }
    let rest = line.get(end..)?;
    let blanks = rest
        .iter()
        .position(|c| !matches!(c, b' ' | b'\t'))
        .unwrap_or(rest.len());
    if rest.get(blanks) != Some(&b':') {
        return None;
    }
    lhs.clear();
    lhs.extend(name.iter().map(u8::to_ascii_lowercase));
    Some(end + blanks)
}

/// Reads any name; the LHS goes to `lhs`, what is wrong with the name to `faults`.
///
/// `first_colon` is where the RHS begins when the name is cut at no better colon.
pub(super) fn read(
    line: &[u8],
    first_colon: usize,
    rules: &NameRules,
    lhs: &mut Vec<u8>,
    faults: &mut Vec<AliasFault>,
) -> Named {
    lhs.clear();
    let mut named = Named {
        colon: first_colon,
        storable: false,
    };
    let illegal = || AliasFault::IllegalName { shown: line.into() };
    let scan = match scan(line, b':', rules, faults) {
        Some(scan) => scan,
        None => {
            faults.push(illegal());
            return named;
        }
    };
    let text = line.get(..scan.end).unwrap_or_default();
    if scan.tokens.is_empty() {
        faults.push(illegal());
        return named;
    }
    let guessed_wrong = |u: &crate::prescan::Unbalanced| !matches!(u.0, b'(' | b')');
    if scan.unbalanced.iter().any(guessed_wrong) {
        return named;
    }
    // A colon in quotes is part of the name; one in a comment is not looked through.
    if !text.contains(&b'(') {
        if line.get(scan.end) != Some(&b':') {
            faults.push(AliasFault::NoColon);
            return named;
        }
        named.colon = scan.end;
    }
    if let Some(fault) = unprintable(text) {
        faults.push(fault);
        faults.push(illegal());
        return named;
    }
    match resolve(&scan.tokens, rules) {
        Resolved::Local(user) => {
            let user = join(&user, &rules.blank);
            if user.len() > NAME_MAX_OCTETS {
                faults.push(AliasFault::NameTooLong { name: text.into() });
                faults.push(illegal());
                return named;
            }
            if is_program_or_file(&user) {
                faults.push(AliasFault::NotLocal { name: text.into() });
                return named;
            }
            lhs.extend(user.iter().map(u8::to_ascii_lowercase));
            named.storable = true;
        }
        Resolved::Remote => faults.push(AliasFault::NotLocal { name: text.into() }),
        Resolved::Bad(bad) => {
            faults.push(bad.fault(text));
            faults.push(AliasFault::NotLocal { name: text.into() });
        }
    }
    named
}

/// As many faults of one line are listed; of a long line there may be millions.
const LISTED: usize = 100;

/// Checks the members of an RHS, as option CheckAliases asks for; says how many faults there are
/// beyond those that are listed.
pub(super) fn check_members(rhs: &[u8], rules: &NameRules, faults: &mut Vec<AliasFault>) -> u64 {
    let mut rest = rhs;
    let mut unlisted = 0;
    loop {
        unlisted += leave_out(faults);
        let skip = rest
            .iter()
            .position(|c| !(c.is_ascii_whitespace() || *c == b','))
            .unwrap_or(rest.len());
        rest = rest.get(skip..).unwrap_or_default();
        if rest.is_empty() {
            return unlisted;
        }
        let bad_member = || AliasFault::BadMember {
            shown: shortened(rest),
        };
        // Beyond a member that can't be cut there is no telling where the next one begins.
        let Some(scan) = scan(rest, b',', rules, faults) else {
            faults.push(bad_member());
            return unlisted + leave_out(faults);
        };
        if scan.tokens.is_empty() {
            faults.push(bad_member());
        } else if let Resolved::Bad(bad) = resolve(&scan.tokens, rules) {
            faults.push(bad.fault(rest));
        }
        rest = rest.get(scan.end.max(1)..).unwrap_or_default();
    }
}

/// Takes away what is too many. The first error stays: it makes the exit code.
fn leave_out(faults: &mut Vec<AliasFault>) -> u64 {
    let too_many = faults.split_off(faults.len().min(LISTED));
    let is_error = |fault: &AliasFault| fault.severity() == Severity::Error;
    let left_out = too_many.len() as u64;
    if let Some(error) = too_many.into_iter().find(is_error)
        && !faults.iter().any(is_error)
    {
        faults.pop();
        faults.push(error);
    }
    left_out
}

fn scan(
    text: &[u8],
    delimiter: u8,
    rules: &NameRules,
    faults: &mut Vec<AliasFault>,
) -> Option<Scan> {
    let scanned = prescan(text, Some(delimiter), &rules.operators);
    let unbalanced = match &scanned {
        Ok(scan) => &scan.unbalanced,
        Err((_, unbalanced)) => unbalanced,
    };
    for u in unbalanced {
        let (shown, what) = (shortened(text), u.0);
        faults.push(match delimiter {
            b':' => AliasFault::Unbalanced { shown, what },
            _ => AliasFault::UnbalancedMember { shown, what },
        });
    }
    match scanned {
        Ok(scan) => Some(scan),
        Err((why, _)) => {
            let shown = shortened(text);
            faults.push(AliasFault::Refused { shown, why });
            None
        }
    }
}

/// sendmail uses 0x80 to 0x9f and 0xff for itself; in well-formed UTF-8 we have no such need.
fn unprintable(text: &[u8]) -> Option<AliasFault> {
    let name = || Box::from(text);
    for chunk in text.utf8_chunks() {
        if chunk.invalid().iter().any(|c| (0x80..0xa0).contains(c)) {
            return Some(AliasFault::EightBit { name: name() });
        }
        let control = |c: char| c.is_control() && !matches!(c, '\t'..='\r');
        if chunk.invalid().contains(&0xff) || chunk.valid().contains(control) {
            return Some(AliasFault::Unprintable { name: name() });
        }
    }
    None
}

fn is_program_or_file(user: &[u8]) -> bool {
    let user = user.strip_prefix(b"\"").unwrap_or(user);
    match user.first() {
        Some(b'|' | b'/') => true,
        Some(b':') => user
            .get(..9)
            .is_some_and(|s| s.eq_ignore_ascii_case(b":include:")),
        _ => false,
    }
}

/// Where an address leads.
enum Resolved {
    Local(Vec<Token>),
    Remote,
    Bad(Bad),
}

#[derive(Clone, Copy)]
enum Bad {
    HostRequired,
    UserRequired,
    InvalidRoute,
}

impl Bad {
    fn fault(self, text: &[u8]) -> AliasFault {
        let shown = shortened(text);
        match self {
            Bad::HostRequired => AliasFault::HostRequired { shown },
            Bad::UserRequired => AliasFault::UserRequired { shown },
            Bad::InvalidRoute => AliasFault::InvalidRoute { shown },
        }
    }
}

/// An address cut in two; no host at all is not the same as an empty one.
struct Canonical {
    user: Vec<Token>,
    host: Option<Vec<Token>>,
}

fn resolve(tokens: &[Token], rules: &NameRules) -> Resolved {
    // The lone `@` is the name of the entry that marks a map as complete.
    if let [only] = tokens
        && only.is(b'@')
    {
        return Resolved::Local(Vec::new());
    }
    let mut canonical = canonify(tokens);
    if let (None, [only]) = (&canonical.host, canonical.user.as_slice())
        && let Some(plain) = dequoted(only, rules)
    {
        canonical = match plain.is_empty() {
            true => return Resolved::Bad(Bad::HostRequired),
            false => canonify(&plain),
        };
    }
    let Canonical { user, host } = canonical;
    let comma = |t: &Token| t.is(b',');
    // A comma at either end of an address parts nothing; a host is never the end.
    let inner = match &host {
        Some(host) => user.iter().skip(1).any(comma) || host.iter().any(comma),
        None => user.iter().rev().skip(1).rev().skip(1).any(comma),
    };
    if inner {
        return Resolved::Bad(Bad::InvalidRoute);
    }
    let Some(host) = host else {
        return Resolved::Local(user);
    };
    if user.iter().any(|t| t.is(b'@')) {
        return Resolved::Bad(Bad::InvalidRoute);
    }
    if host.is_empty() {
        return Resolved::Bad(Bad::HostRequired);
    }
    if user.is_empty() {
        return Resolved::Bad(Bad::UserRequired);
    }
    let name = join(&host, &rules.blank).to_ascii_lowercase();
    match rules.local_hosts.contains(&name) {
        true => Resolved::Local(user),
        false => Resolved::Remote,
    }
}

/// Ruleset canonify: focus on the host.
fn canonify(tokens: &[Token]) -> Canonical {
    let tokens = focus(tokens);
    if let [first, rest @ ..] = tokens
        && first.is(b'@')
        && !rest.is_empty()
    {
        return Canonical {
            user: Vec::new(),
            host: Some(rest.to_vec()),
        };
    }
    let split = |at: usize| Canonical {
        user: tokens.get(..at).unwrap_or_default().to_vec(),
        host: Some(tokens.get(at + 1..).unwrap_or_default().to_vec()),
    };
    if let Some(at) = tokens.iter().rposition(|t| t.is(b'@')).filter(|at| *at > 0) {
        return split(at);
    }
    if let Some(at) = tokens.iter().skip(1).position(|t| t.is(b'%')) {
        return split(at + 1);
    }
    if let [host, bang, user @ ..] = tokens
        && bang.is(b'!')
        && !user.is_empty()
    {
        return Canonical {
            user: user.to_vec(),
            host: Some(vec![host.clone()]),
        };
    }
    match tokens.is_empty() {
        // `<>`: the null sender, whose host is empty.
        true => Canonical {
            user: Vec::new(),
            host: Some(Vec::new()),
        },
        false => Canonical {
            user: tokens.to_vec(),
            host: None,
        },
    }
}

/// What stands in the last angle brackets, if there are any.
fn focus(tokens: &[Token]) -> &[Token] {
    let Some(open) = tokens.iter().rposition(|t| t.is(b'<')) else {
        return tokens;
    };
    let inside = tokens.get(open + 1..).unwrap_or_default();
    let close = inside.iter().position(|t| t.is(b'>'));
    inside
        .get(..close.unwrap_or(inside.len()))
        .unwrap_or_default()
}

/// What the dequote map makes of one quoted string: its tokens without the quotes, unless
/// there is a blank or something unbalanced in it.
fn dequoted(token: &Token, rules: &NameRules) -> Option<Vec<Token>> {
    if token.kind != Kind::Quoted {
        return None;
    }
    let inner = token.octets.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inner.iter().any(|c| c.is_ascii_whitespace()) {
        return None;
    }
    match prescan(inner, None, &rules.operators) {
        Ok(scan) if scan.unbalanced.is_empty() => Some(scan.tokens),
        Ok(_) | Err((Refusal::AddressTooLong | Refusal::TokenTooLong, _)) => None,
        Err((Refusal::TooManyTokens, _)) => None,
    }
}
