//! `%0` to `%9` in an RHS: the arguments of the lookup.

/// Puts the arguments of a lookup into an RHS.
///
/// `%0` is the LHS that was asked for, `%1` and on what the table gave beside it;
/// an argument that was not given is empty. `%%` is a percent sign, and a `%`
/// before anything else stays (op.me, the K line).
#[must_use]
pub fn fill(rhs: &[u8], arguments: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rhs.len() + 32);
    let mut octets = rhs.iter().copied();
    while let Some(octet) = octets.next() {
        if octet != b'%' {
            out.push(octet);
            continue;
        }
        match octets.next() {
            Some(digit @ b'0'..=b'9') => {
                if let Some(argument) = arguments.get(usize::from(digit - b'0')) {
                    out.extend_from_slice(argument);
                }
            }
            Some(b'%') => out.push(b'%'),
            Some(other) => out.extend([b'%', other]),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_by_number() {
        let arguments: [&[u8]; 3] = [b"joe+x@a.example", b"joe", b"x"];
        for (rhs, want) in [
            ("%1@b.example", "joe@b.example"),
            ("%0", "joe+x@a.example"),
            ("%1+%2%3@b", "joe+x@b"),
            ("100%%", "100%"),
            ("a%b@c", "a%b@c"),
            ("a%", "a"),
        ] {
            assert_eq!(fill(rhs.as_bytes(), &arguments), want.as_bytes(), "{rhs}");
        }
    }
}
