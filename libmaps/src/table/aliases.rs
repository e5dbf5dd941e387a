//! aliases: local names to lists of targets.

use crate::decision::{LookupError, Step, Trace, Traced};
use crate::map::Map;

/// The alias files of a site, asked in order; the first that knows a name answers.
#[derive(Clone)]
pub struct AliasTable<M> {
    files: Vec<Traced<M>>,
}

impl<M: Map> AliasTable<M> {
    /// The alias files in these maps.
    pub fn new(maps: impl IntoIterator<Item = Traced<M>>) -> Self {
        AliasTable {
            files: maps.into_iter().collect(),
        }
    }

    /// The targets of a name, as one text; nothing if it is no alias.
    ///
    /// # Errors
    /// When a map can't be read.
    pub fn targets(&self, name: &[u8], trace: &mut Trace) -> Result<Option<Vec<u8>>, LookupError> {
        for file in &self.files {
            if let Some(rhs) = file.get(trace, name, Step::Exact)? {
                return Ok(Some(rhs.into_bytes().into_vec()));
            }
        }
        Ok(None)
    }

    /// The owner of an alias: where errors of its members go, and who is its envelope sender.
    ///
    /// `owner-name` where that alias is a list, a program or a file; what it stands for
    /// where that is a single address.
    ///
    /// # Errors
    /// When a map can't be read.
    pub fn owner(&self, name: &[u8], trace: &mut Trace) -> Result<Option<Vec<u8>>, LookupError> {
        let lhs = match name.starts_with(b"owner-") {
            true => b"owner-owner".to_vec(),
            false => [b"owner-", name].concat(),
        };
        let found = self.targets(&lhs, trace)?;
        Ok(found.map(|owner| {
            let many = |octet: &u8| matches!(octet, b',' | b':' | b'/' | b'|' | b'"');
            if owner.iter().any(many) { lhs } else { owner }
        }))
    }
}

/// What separates the addresses of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separator {
    /// Commas.
    Comma,
    /// Blanks: the old style of command lines.
    Blank,
}

impl Separator {
    /// What separates the addresses a person typed: commas where anything shows that they
    /// know about them (`,`, `;`, `<`, `(`), else blanks.
    #[must_use]
    pub fn guess(list: &[u8]) -> Self {
        let modern = |octet: &u8| matches!(octet, b',' | b';' | b'<' | b'(');
        match list.iter().any(modern) {
            true => Separator::Comma,
            false => Separator::Blank,
        }
    }

    /// What separates in a message whose lists so far tell this, and that has this list too:
    /// one that shows commas makes the whole message one with commas, as in sendmail.
    #[must_use]
    pub fn after(self, list: &[u8]) -> Self {
        match self {
            Separator::Blank => Separator::guess(list),
            Separator::Comma => Separator::Comma,
        }
    }
}

/// The addresses of a list, without blanks around them. Separators in quotes, comments and
/// angle brackets don't count.
pub fn addresses(list: &[u8], separator: Separator) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let end = address_end(rest, separator);
            let (address, after) = rest.split_at(end.min(rest.len()));
            rest = after.get(1..).unwrap_or_default();
            let address = address.trim_ascii();
            if !address.is_empty() {
                return Some(address);
            }
        }
    })
}

fn address_end(text: &[u8], separator: Separator) -> usize {
    let (mut comments, mut angles, mut quoted) = (0usize, 0usize, false);
    let mut octets = text.iter().enumerate();
    while let Some((at, octet)) = octets.next() {
        match octet {
            b'\\' => drop(octets.next()),
            _ if quoted => quoted = *octet != b'"',
            b'(' => comments += 1,
            b')' => comments = comments.saturating_sub(1),
            _ if comments > 0 => {}
            b'"' => quoted = true,
            b'<' => angles += 1,
            b'>' => angles = angles.saturating_sub(1),
            b',' if angles == 0 && separator == Separator::Comma => return at,
            _ if octet.is_ascii_whitespace() && angles == 0 && separator == Separator::Blank => {
                return at;
            }
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Entry;
    use crate::store::memory::MemoryMap;

    fn table(entries: &[(&str, &str)]) -> AliasTable<MemoryMap> {
        let entries = entries.iter().map(|(lhs, rhs)| Entry::new(*lhs, *rhs));
        AliasTable::new([Traced::new(MemoryMap::new("aliases", entries))])
    }

    fn text(found: Option<Vec<u8>>) -> Option<String> {
        found.map(|octets| String::from_utf8(octets).unwrap())
    }

    #[test]
    fn names_are_folded() {
        let table = table(&[("list", "joe, mick")]);
        let found = table.targets(b"List", &mut Trace::new()).unwrap();
        assert_eq!(text(found).as_deref(), Some("joe, mick"));
    }

    #[test]
    fn owners_are_one_address_or_an_alias() {
        let table = table(&[
            ("owner-a", "joe@x.example"),
            ("owner-b", "joe, mick"),
            ("owner-owner", "postmaster"),
        ]);
        let owner = |name: &[u8]| text(table.owner(name, &mut Trace::new()).unwrap());
        assert_eq!(owner(b"a").as_deref(), Some("joe@x.example"));
        assert_eq!(owner(b"b").as_deref(), Some("owner-b"));
        assert_eq!(owner(b"owner-b").as_deref(), Some("postmaster"));
        assert_eq!(owner(b"c"), None);
    }

    #[test]
    fn lists_are_cut_where_nothing_protects_the_separator() {
        let cut = |list: &'static str, separator| -> Vec<String> {
            addresses(list.as_bytes(), separator)
                .map(|address| String::from_utf8_lossy(address).into_owned())
                .collect()
        };
        for (list, want) in [
            ("a, b ,c", "a|b|c"),
            (" , a,,", "a"),
            ("\"|x, y\", b", "\"|x, y\"|b"),
            ("a (b, c) d, e", "a (b, c) d|e"),
            ("J <a,b>, c", "J <a,b>|c"),
            ("a\\,b", "a\\,b"),
            ("joe smith", "joe smith"),
        ] {
            assert_eq!(cut(list, Separator::Comma).join("|"), want, "{list}");
        }
        assert_eq!(cut("a  b \"c d\"", Separator::Blank), ["a", "b", "\"c d\""]);
    }
}
