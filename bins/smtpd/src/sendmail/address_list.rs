//! Lists of addresses, in header fields and on command lines (RFC 5322 section 3.4).
//!
//! Commas within quotes, comments and angle brackets separate nothing. Of `Joe <joe@b>` and
//! `joe@b (Joe)` the address is taken; the members of a group (`list: a, b;`) are taken one
//! by one, and an empty group is nobody.

/// The addresses of a list, in order; what is empty is left out.
#[must_use]
pub fn addresses(list: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut current = Element::default();
    let mut octets = list.iter().copied().peekable();
    while let Some(octet) = octets.next() {
        match (current.place, octet) {
            (_, b'\\') => {
                current.push(octet);
                if let Some(next) = octets.next() {
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
                current.angle = Some(Vec::new());
                current.place = Place::Angle;
            }
            (Place::Angle, b'>') => current.place = Place::Plain,
            (Place::Plain, b',' | b';') => all.extend(std::mem::take(&mut current).address()),
            // DECnet's node::user is no group.
            (Place::Plain, b':') if octets.next_if_eq(&b':').is_some() => {
                current.push(b':');
                current.push(b':');
            }
            // The name of a group; `:include:` and other paths begin with the colon.
            (Place::Plain, b':') if current.is_phrase() => current.text.clear(),
            _ => current.push(octet),
        }
    }
    all.extend(current.address());
    all
}

/// Whether a list that was typed has nothing but blanks between its addresses.
#[must_use]
pub fn is_plain(list: &[u8]) -> bool {
    !list.iter().any(|c| b",;<>()\"\\:".contains(c))
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

/// An element of a list.
#[derive(Debug, Default)]
struct Element {
    place: Place,
    text: Vec<u8>,
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

    fn address(self) -> Option<Vec<u8>> {
        let text = self.angle.unwrap_or(self.text);
        let text: Vec<u8> = text
            .iter()
            .map(|c| if c.is_ascii_whitespace() { b' ' } else { *c })
            .collect();
        let text = text.trim_ascii();
        (!text.is_empty()).then(|| text.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let cases: [(&str, &[&str]); 16] = [
            ("ann", &["ann"]),
            (" ann , bob,,", &["ann", "bob"]),
            (
                "\"Q, R\" <zoe@x.example> (c), ann",
                &["zoe@x.example", "ann"],
            ),
            ("ann (a, b (c, d)), bob", &["ann", "bob"]),
            (
                "list: bob, ann@test.example; zoe",
                &["bob", "ann@test.example", "zoe"],
            ),
            ("undisclosed-recipients:;", &[]),
            ("\"a, b\"@c.example", &["\"a, b\"@c.example"]),
            ("<@a,@b:c@d>", &["@a,@b:c@d"]),
            ("Joe\n\t<joe@b>", &["joe@b"]),
            (":include:/x", &[":include:/x"]),
            ("\"unbalanced, b", &["\"unbalanced, b"]),
            ("<>", &[]),
            ("a\\,b", &["a\\,b"]),
            ("<\"x>y\"@b>", &["\"x>y\"@b"]),
            ("node::user@b", &["node::user@b"]),
            ("", &[]),
        ];
        for (list, want) in cases {
            let got = addresses(list.as_bytes());
            let got: Vec<_> = got.iter().map(|a| String::from_utf8_lossy(a)).collect();
            assert_eq!(got, want, "{list}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_list_makes_it_panic(list in "[a-c@<>(),;:\"\\\\ \n]{0,40}") {
            for address in addresses(list.as_bytes()) {
                proptest::prop_assert!(!address.is_empty());
                proptest::prop_assert!(!address.contains(&b'\n'));
            }
        }
    }
}
