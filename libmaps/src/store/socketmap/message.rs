//! What is said in a netstring: a request, and its reply (Postfix's socketmap_table(5)).

use super::netstring;

/// Longest name of a map; sendmail's own limit for words of its configuration is lower.
pub const MAX_NAME_OCTETS: usize = 256;

/// A request for the value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The map's name; holds no blank.
    pub map: &'a [u8],
    /// The key; may hold anything.
    pub key: &'a [u8],
}

impl<'a> Request<'a> {
    /// Takes `NAME KEY` apart at the first blank; `None` where there is no name or no blank.
    #[must_use]
    pub fn parse(octets: &'a [u8]) -> Option<Self> {
        let at = octets.iter().position(|octet| *octet == b' ')?;
        let map = octets.get(..at)?;
        let key = octets.get(at + 1..)?;
        (!map.is_empty() && map.len() <= MAX_NAME_OCTETS).then_some(Request { map, key })
    }

    /// Appends the request as a netstring.
    pub fn append(&self, out: &mut Vec<u8>) {
        netstring::append(out, &[self.map, b" ", self.key].concat());
    }
}

/// The reply to a request. The texts are reasons for a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The value.
    Ok(Vec<u8>),
    /// The key is not in the map, for certain.
    NotFound,
    /// Nobody can tell now.
    Temp(String),
    /// Nobody could tell in time.
    Timeout(String),
    /// Nobody will be able to tell until somebody mends it.
    Perm(String),
}

impl Reply {
    /// Reads what a reply's netstring carries; `None` where it is no reply.
    #[must_use]
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let (status, rest) = match octets.iter().position(|octet| *octet == b' ') {
            Some(at) => (octets.get(..at)?, octets.get(at + 1..)?),
            None => (octets, &b""[..]),
        };
        let reason = || shown(rest);
        match status {
            b"OK" => Some(Reply::Ok(rest.to_vec())),
            b"NOTFOUND" => Some(Reply::NotFound),
            b"TEMP" => Some(Reply::Temp(reason())),
            b"TIMEOUT" => Some(Reply::Timeout(reason())),
            b"PERM" => Some(Reply::Perm(reason())),
            _ => None,
        }
    }

    /// Appends the reply as a netstring.
    pub fn append(&self, out: &mut Vec<u8>) {
        let (status, rest): (&[u8], &[u8]) = match self {
            Reply::Ok(value) => (b"OK ", value),
            Reply::NotFound => (b"NOTFOUND ", b""),
            Reply::Temp(why) => (b"TEMP ", why.as_bytes()),
            Reply::Timeout(why) => (b"TIMEOUT ", why.as_bytes()),
            Reply::Perm(why) => (b"PERM ", why.as_bytes()),
        };
        netstring::append(out, &[status, rest].concat());
    }
}

/// A stranger's reason, fit for a log: no control characters, and not much of it.
fn shown(reason: &[u8]) -> String {
    let reason = String::from_utf8_lossy(reason);
    let printable = reason.chars().filter(|c| !c.is_control());
    printable.take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let cases: &[(&str, Option<(&str, &str)>)] = &[
            ("access a.example", Some(("access", "a.example"))),
            ("access ", Some(("access", ""))),
            ("aliases a b c", Some(("aliases", "a b c"))),
            ("access", None),
            (" key", None),
            ("", None),
        ];
        for (text, want) in cases {
            let got = Request::parse(text.as_bytes());
            let want = want.map(|(map, key)| Request {
                map: map.as_bytes(),
                key: key.as_bytes(),
            });
            assert_eq!(got, want, "{text}");
        }
        let long = [vec![b'n'; MAX_NAME_OCTETS + 1], b" k".to_vec()].concat();
        assert_eq!(Request::parse(&long), None);
    }

    #[test]
    fn replies() {
        let why = || "why not".to_owned();
        let cases: &[(&str, Option<Reply>)] = &[
            ("OK a b", Some(Reply::Ok(b"a b".to_vec()))),
            ("OK ", Some(Reply::Ok(Vec::new()))),
            ("NOTFOUND ", Some(Reply::NotFound)),
            ("TEMP why not", Some(Reply::Temp(why()))),
            ("TIMEOUT why not", Some(Reply::Timeout(why()))),
            ("PERM why not", Some(Reply::Perm(why()))),
            ("ok a", None),
            ("", None),
            ("NOTFOUNDX", None),
        ];
        for (text, want) in cases {
            assert_eq!(Reply::parse(text.as_bytes()), *want, "{text}");
            if let Some(reply) = want {
                let mut out = Vec::new();
                reply.append(&mut out);
                assert_eq!(out, format!("{}:{text},", text.len()).into_bytes());
            }
        }
        // sendmail's documentation writes it without the blank.
        assert_eq!(Reply::parse(b"NOTFOUND"), Some(Reply::NotFound));
        assert_eq!(
            Reply::parse(b"TEMP a\r\nb\x1b[2J"),
            Some(Reply::Temp("ab[2J".into()))
        );
    }
}
