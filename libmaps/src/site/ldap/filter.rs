//! Filters of LDAP maps (RFC 4515): those that find all entries, whatever the LHS.

use std::fmt::Write as _;

use super::MAX_DEPTH;

/// The attribute that is the LHS in a filter with `%0`, and the filter that finds all entries.
pub(super) fn enumerable(filter: &str) -> Result<(String, String), String> {
    match read(filter, Purpose::Map)? {
        (Some(key), all) => Ok((key, all)),
        (None, _) => Err(format!(
            "-k {filter}: no (attribute=%0) in it, so no replica can hold its entries"
        )),
    }
}

/// A filter that stands for itself: two percent signs are one, as in sendmail's.
pub(super) fn whole(filter: &str) -> Result<String, String> {
    read(filter, Purpose::Class).map(|(_, all)| all)
}

/// A filter with a key in the place of `%0` and `%s`.
pub(super) fn keyed(filter: &str, key: &str) -> String {
    let mut with = String::new();
    let mut rest = filter;
    while let Some((head, tail)) = rest.split_once('%') {
        with.push_str(head);
        if let Some(tail) = tail.strip_prefix(['0', 's']) {
            with.push_str(key);
            rest = tail;
        } else if let Some(tail) = tail.strip_prefix('%') {
            with.push_str("%%");
            rest = tail;
        } else {
            with.push('%');
            rest = tail;
        }
    }
    with + rest
}

/// Whose filter it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// A map's, which says where the LHS stands.
    Map,
    /// A class's, which has no LHS.
    Class,
}

fn read(filter: &str, purpose: Purpose) -> Result<(Option<String>, String), String> {
    let trimmed = filter.trim();
    let whole = match trimmed.starts_with('(') {
        true => trimmed.to_owned(),
        false => format!("({trimmed})"),
    };
    let mut reader = Filter {
        rest: &whole,
        purpose,
        key: None,
        all: String::new(),
    };
    let fault = |why: &str| format!("-k {filter}: {why}");
    reader
        .item(Place::Demanded, MAX_DEPTH)
        .map_err(|why| fault(&why))?;
    match reader.rest.trim() {
        "" => Ok((reader.key, reader.all)),
        _ => Err(fault("something stands behind the filter")),
    }
}

/// Whether what is read must be true of each entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Demanded,
    Optional,
}

/// A filter (RFC 4515) that is being read.
struct Filter<'a> {
    rest: &'a str,
    purpose: Purpose,
    key: Option<String>,
    /// The same with any LHS.
    all: String,
}

impl Filter<'_> {
    fn item(&mut self, place: Place, depth: u32) -> Result<(), String> {
        let inner = self.rest.trim_start().strip_prefix('(');
        self.rest = inner.ok_or("expected a parenthesis")?;
        self.all.push('(');
        if depth == 0 {
            return Err("it is nested too deeply".into());
        }
        let operator = self.rest.chars().next().filter(|c| "&|!".contains(*c));
        match operator {
            Some(operator) => {
                self.rest = self.rest.get(1..).unwrap_or_default();
                self.all.push(operator);
                let place = match operator {
                    '&' => place,
                    _ => Place::Optional,
                };
                while self.rest.trim_start().starts_with('(') {
                    self.item(place, depth - 1)?;
                }
            }
            None => self.leaf(place)?,
        }
        let after = self.rest.trim_start().strip_prefix(')');
        self.rest = after.ok_or("a parenthesis is open")?;
        self.all.push(')');
        Ok(())
    }

    fn leaf(&mut self, place: Place) -> Result<(), String> {
        let end = self.rest.find(['(', ')']).ok_or("a parenthesis is open")?;
        let (leaf, rest) = self.rest.split_at(end);
        self.rest = rest;
        if !leaf.contains('%') {
            self.all.push_str(leaf);
            return Ok(());
        }
        if self.purpose == Purpose::Class {
            return self.plain(leaf);
        }
        let key = match leaf.split_once('=') {
            Some((key, "%0" | "%s")) => key.trim(),
            _ => return Err(format!("({leaf}): only (attribute=%0) can be the LHS")),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-.;".contains(c);
        if key.is_empty() || !key.chars().all(is_name) {
            return Err(format!("({leaf}): only (attribute=%0) can be the LHS"));
        }
        if place == Place::Optional {
            return Err(format!("({leaf}): it must not stand below | or !"));
        }
        if self.key.replace(key.to_owned()).is_some() {
            return Err("%0 stands there twice".into());
        }
        let _ = write!(self.all, "{key}=*");
        Ok(())
    }

    /// A leaf in which a percent sign is one.
    fn plain(&mut self, leaf: &str) -> Result<(), String> {
        let mut rest = leaf;
        while let Some((head, tail)) = rest.split_once('%') {
            if tail.starts_with(['0', 's']) {
                return Err(format!("({leaf}): %0 is for maps"));
            }
            self.all.push_str(head);
            self.all.push('%');
            rest = tail.strip_prefix('%').unwrap_or(tail);
        }
        self.all.push_str(rest);
        Ok(())
    }
}
