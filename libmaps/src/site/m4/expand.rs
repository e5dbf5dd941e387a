//! `$1` and its kin in the text of a macro.

/// Replaces `$1`, `$#`, `$*`, `$@` and `$0` in the text of a macro.
pub(super) fn expand(text: &[u8], name: &[u8], arguments: &[Vec<u8>]) -> Vec<u8> {
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
                match number.checked_sub(1) {
                    None => out.extend_from_slice(name),
                    Some(at) => out.extend_from_slice(arguments.get(at).map_or(&[], Vec::as_slice)),
                }
            }
            Some(b'#') => {
                rest = tail.get(1..).unwrap_or_default();
                out.extend_from_slice(arguments.len().to_string().as_bytes());
            }
            Some(b'*') => {
                rest = tail.get(1..).unwrap_or_default();
                out.extend_from_slice(&arguments.join(&b','));
            }
            Some(b'@') => {
                rest = tail.get(1..).unwrap_or_default();
                for (number, argument) in arguments.iter().enumerate() {
                    out.extend_from_slice(if number > 0 { b",`" } else { b"`" });
                    out.extend_from_slice(argument);
                    out.push(b'\'');
                }
            }
            _ => out.push(b'$'),
        }
    }
    out
}
