//! Lists of addresses, in header fields and on command lines (RFC 5322 section 3.4).
//!
//! Commas within quotes, comments and angle brackets separate nothing. Of `Joe <joe@b>` and
//! `joe@b (Joe)` the address is taken; the members of a group (`list: a, b;`) are taken one
//! by one, and an empty group is nobody. In a message of the old style, which has none of
//! these signs anywhere, blanks separate addresses.

use std::iter::Peekable;

use libmaps::table::aliases::Separator;

/// An element of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// An address.
    Address(Vec<u8>),
    /// Text that is no address, for this sign in it lacks the other of its pair. Where it
    /// opens something, all that follows belongs to it.
    Unbalanced(Vec<u8>, char),
}

/// The elements of a list, in order; what is empty is left out. Blanks separate in a message
/// of the old style (option OldStyleHeaders), until a list has a sign of the new.
#[must_use]
pub fn addresses(list: &[u8], separator: Separator) -> Vec<Listed> {
    let mut all = Vec::new();
    let mut current = Element::default();
    let mut octets = list.iter().copied().peekable();
    while let Some(octet) = octets.next() {
        match (current.place, octet) {
            (Place::Plain, blank) if blank.is_ascii_whitespace() => {
                skip_blanks(&mut octets);
                let is_inside = current.ends_with_at() || octets.peek() == Some(&b'@');
                match separator {
                    // `ann @ b.example` is one address (RFC 5322 section 4.4).
                    Separator::Blank if !is_inside => {
                        all.extend(std::mem::take(&mut current).listed());
                    }
                    _ => {
                        current.written.push(b' ');
                        current.push(b' ');
                    }
                }
                continue;
            }
            (Place::Plain, b',' | b';') => {
                all.extend(std::mem::take(&mut current).listed());
                continue;
            }
            _ => current.written.push(octet),
        }
        match (current.place, octet) {
            (_, b'\\') => {
                current.push(octet);
                if let Some(next) = octets.next() {
                    current.written.push(next);
                    current.push(next);
                }
            }
            (Place::Comment(1), b')') => current.place = Place::Plain,
            (Place::Comment(depth), b')') => current.place = Place::Comment(depth - 1),
            (Place::Comment(depth), b'(') => current.place = Place::Comment(depth + 1),
            (Place::Quoted(inside), b'"') => {
                current.push(octet);
                current.place = inside.place();
            }
            (Place::Plain, b'"') => {
                current.push(octet);
                current.place = Place::Quoted(Inside::Plain);
            }
            (Place::Angle, b'"') => {
                current.push(octet);
                current.place = Place::Quoted(Inside::Angle);
            }
            (Place::Plain, b'(') => {
                current.push(b' ');
                current.place = Place::Comment(1);
            }
            (Place::Plain, b'<') => {
                // What stood before was a display name.
                current.text.clear();
                current.stray = None;
                current.angle = Some(Vec::new());
                current.place = Place::Angle;
            }
            (Place::Angle, b'>') => current.place = Place::Plain,
            (Place::Plain, b'>' | b')') => current.take_stray(octet),
            // DECnet's node::user is no group.
            (Place::Plain, b':') if octets.next_if_eq(&b':').is_some() => {
                current.written.push(b':');
                current.push(b':');
                current.push(b':');
            }
            // The name of a group; `:include:` and other paths begin with the colon.
            (Place::Plain, b':') if current.is_phrase() => current.text.clear(),
            _ => current.push(octet),
        }
    }
    all.extend(current.listed());
    all
}

fn skip_blanks(octets: &mut Peekable<impl Iterator<Item = u8>>) {
    while octets.next_if(u8::is_ascii_whitespace).is_some() {}
}

/// Where an octet stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Plain,
    Angle,
    Quoted(Inside),
    /// So many parentheses deep.
    Comment(u32),
}

/// Where a quoted string stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    Plain,
    Angle,
}

impl Inside {
    fn place(self) -> Place {
        match self {
            Inside::Plain => Place::Plain,
            Inside::Angle => Place::Angle,
        }
    }
}

/// An element that is being read.
#[derive(Debug, Default)]
struct Element {
    place: Place,
    /// As it is written, but for blanks.
    written: Vec<u8>,
    /// Without comments and the name of a group.
    text: Vec<u8>,
    /// The first sign outside angle brackets that closes what is not open.
    stray: Option<char>,
    /// What stands in angle brackets.
    angle: Option<Vec<u8>>,
}

impl Element {
    fn push(&mut self, octet: u8) {
        let in_angle = matches!(self.place, Place::Angle | Place::Quoted(Inside::Angle));
        match &mut self.angle {
            Some(angle) if in_angle => angle.push(octet),
            _ if matches!(self.place, Place::Comment(_)) => {}
            _ => self.text.push(octet),
        }
    }

    /// Whether the text so far could be a display name: it has no `@` and is not empty.
    fn is_phrase(&self) -> bool {
        let text = self.text.trim_ascii();
        self.angle.is_none() && !text.is_empty() && !text.starts_with(b":") && !text.contains(&b'@')
    }

    /// Whether what was read last is an `@`.
    fn ends_with_at(&self) -> bool {
        self.text.ends_with(b"@")
    }

    /// Behind angle brackets, which have the address, anything may stand.
    fn take_stray(&mut self, octet: u8) {
        if self.angle.is_none() {
            self.stray.get_or_insert(octet.into());
        }
        self.push(octet);
    }

    /// The sign of which the other of its pair is missing.
    fn unbalanced(&self) -> Option<char> {
        match self.place {
            Place::Plain => self.stray,
            Place::Angle => Some('<'),
            Place::Quoted(_) => Some('"'),
            Place::Comment(_) => Some('('),
        }
    }

    fn listed(self) -> Option<Listed> {
        if let Some(sign) = self.unbalanced() {
            return Some(Listed::Unbalanced(one_line(&self.written), sign));
        }
        let text = one_line(&self.angle.unwrap_or(self.text));
        (!text.is_empty()).then_some(Listed::Address(text))
    }
}

fn one_line(text: &[u8]) -> Vec<u8> {
    let blank = |c: &u8| if c.is_ascii_whitespace() { b' ' } else { *c };
    text.trim_ascii().iter().map(blank).collect()
}

#[cfg(test)]
#[path = "address_list_tests.rs"]
mod tests;
