//! `$1` and its kin in the text of a macro.

use super::{M4, M4Error};

/// What `$1` counts besides what it gives: a million of them that give nothing take time.
const REFERENCE_OCTETS: usize = 16;

impl M4 {
    /// Replaces `$1`, `$#`, `$*`, `$@` and `$0` in the text of a macro.
    ///
    /// The text is counted each time, and each argument before it is copied: a text may name a long one a
    /// million times.
    pub(super) fn expanded(
        &mut self,
        text: &[u8],
        name: &[u8],
        arguments: &[Vec<u8>],
    ) -> Result<Vec<u8>, M4Error> {
        self.count(text.len())?;
        let mut out = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((first, tail)) = rest.split_first() {
            rest = tail;
            if *first != b'$' {
                out.push(*first);
                continue;
            }
            match tail.first() {
                Some(b'0'..=b'9') => {
                    let digits = tail.iter().take_while(|b| b.is_ascii_digit()).count();
                    let (number, tail) = tail.split_at(digits);
                    rest = tail;
                    let number: usize = std::str::from_utf8(number)
                        .ok()
                        .and_then(|n| n.parse().ok())
                        .unwrap_or(usize::MAX);
                    let argument = match number.checked_sub(1) {
                        None => name,
                        Some(at) => arguments.get(at).map_or(&[][..], Vec::as_slice),
                    };
                    self.count(argument.len() + REFERENCE_OCTETS)?;
                    out.extend_from_slice(argument);
                }
                Some(b'#') => {
                    rest = tail.get(1..).unwrap_or_default();
                    out.extend_from_slice(arguments.len().to_string().as_bytes());
                }
                Some(b'*') => {
                    rest = tail.get(1..).unwrap_or_default();
                    self.count(arguments.iter().map(|a| a.len() + 1).sum())?;
                    out.extend_from_slice(&arguments.join(&b','));
                }
                Some(b'@') => {
                    rest = tail.get(1..).unwrap_or_default();
                    out.extend_from_slice(&self.quote_all(arguments)?);
                }
                _ => out.push(b'$'),
            }
        }
        Ok(out)
    }
}
