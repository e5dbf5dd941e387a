//! The text of SCRAM's messages (RFC 5802 section 7).

use base64ct::{Base64, Encoding};

use super::Nonce;

/// How long a nonce of the other side may be.
const MAX_NONCE_OCTETS: usize = 1024;

/// What a client says of channel binding (RFC 5802 section 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BindingFlag {
    /// `n`: the client can't.
    Unsupported,
    /// `y`: the client can, and thinks that the server can't.
    ServerLacksIt,
    /// `p=`: this type is used.
    Used(Vec<u8>),
}

/// client-first-message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFirst {
    pub(super) flag: BindingFlag,
    pub(super) authzid: Vec<u8>,
    pub(super) username: Vec<u8>,
    pub(super) nonce: Vec<u8>,
    /// `n,,` and the like, which the final message repeats.
    pub(super) gs2_header: Vec<u8>,
    /// The rest, which is signed.
    pub(super) bare: Vec<u8>,
}

impl ClientFirst {
    pub(super) fn parse(message: &[u8]) -> Result<Self, &'static str> {
        let mut parts = message.splitn(3, |b| *b == b',');
        let (Some(flag), Some(authzid), Some(bare)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err("expected a GS2 header");
        };
        let gs2_octets = message.len() - bare.len();
        let flag = match flag {
            b"n" => BindingFlag::Unsupported,
            b"y" => BindingFlag::ServerLacksIt,
            _ => match flag.strip_prefix(b"p=") {
                Some(kind) if !kind.is_empty() => BindingFlag::Used(kind.to_vec()),
                _ => return Err("expected n, y or p= in the GS2 header"),
            },
        };
        let authzid = match authzid {
            b"" => Vec::new(),
            _ => unescape(
                authzid
                    .strip_prefix(b"a=")
                    .ok_or("expected a= in the GS2 header")?,
            )?,
        };
        let mut attributes = bare.split(|b| *b == b',');
        let first = attributes.next().unwrap_or_default();
        if first.starts_with(b"m=") {
            return Err("an unknown mandatory extension");
        }
        let username = first
            .strip_prefix(b"n=")
            .ok_or("expected n= with the user name")?;
        let nonce = attributes
            .next()
            .and_then(|a| a.strip_prefix(b"r="))
            .ok_or("expected r= with the nonce")?;
        let printable = |b: &u8| b.is_ascii_graphic();
        if nonce.is_empty() || nonce.len() > MAX_NONCE_OCTETS || !nonce.iter().all(printable) {
            return Err("the nonce is empty, too long or not printable");
        }
        Ok(ClientFirst {
            flag,
            authzid,
            username: unescape(username)?,
            nonce: nonce.to_vec(),
            gs2_header: message.get(..gs2_octets).unwrap_or_default().to_vec(),
            bare: bare.to_vec(),
        })
    }
}

/// client-final-message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFinal {
    pub(super) binding: Vec<u8>,
    pub(super) nonce: Vec<u8>,
    pub(super) proof: Vec<u8>,
    /// All before `,p=`, which is signed.
    pub(super) without_proof: Vec<u8>,
}

impl ClientFinal {
    pub(super) fn parse(message: &[u8]) -> Result<Self, &'static str> {
        let comma = message.iter().rposition(|b| *b == b',');
        let (without_proof, last) = comma
            .and_then(|at| message.split_at_checked(at))
            .ok_or("expected c=, r= and p=")?;
        let proof = last.strip_prefix(b",p=").ok_or("expected p= at the end")?;
        let mut attributes = without_proof.split(|b| *b == b',');
        let mut attribute = |prefix: &[u8], why| {
            let found = attributes.next().and_then(|a| a.strip_prefix(prefix));
            found.ok_or(why)
        };
        let binding = attribute(b"c=", "expected c= with the channel binding")?;
        let nonce = attribute(b"r=", "expected r= with the nonce")?;
        Ok(ClientFinal {
            binding: from_base64(binding)?,
            nonce: nonce.to_vec(),
            proof: from_base64(proof)?,
            without_proof: without_proof.to_vec(),
        })
    }
}

/// server-first-message.
pub(super) fn server_first(nonce: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
    let rest = format!(",s={},i={iterations}", Base64::encode_string(salt));
    [b"r=", nonce, rest.as_bytes()].concat()
}

/// server-first-message taken apart: the whole nonce, the salt, the iterations.
pub(super) fn parse_server_first(
    message: &[u8],
    mine: &Nonce,
) -> Result<(Vec<u8>, Vec<u8>, u32), &'static str> {
    let mut attributes = message.split(|b| *b == b',');
    let mut attribute = |prefix: &[u8], why| {
        let found = attributes.next().and_then(|a| a.strip_prefix(prefix));
        found.ok_or(why)
    };
    let nonce = attribute(b"r=", "expected r= with the nonce")?;
    let salt = attribute(b"s=", "expected s= with the salt")?;
    let iterations = attribute(b"i=", "expected i= with the iterations")?;
    let mine = mine.as_str().as_bytes();
    if nonce.len() > MAX_NONCE_OCTETS || nonce.len() == mine.len() || !nonce.starts_with(mine) {
        return Err("the nonce does not go on from ours");
    }
    let salt = from_base64(salt)?;
    let iterations = std::str::from_utf8(iterations)
        .ok()
        .and_then(|t| t.parse().ok())
        .ok_or("the iterations are no number")?;
    if salt.is_empty() {
        return Err("the salt is empty");
    }
    Ok((nonce.to_vec(), salt, iterations))
}

pub(super) fn from_base64(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "malformed base64")?;
    Base64::decode_vec(text).map_err(|_| "malformed base64")
}

/// A saslname: `,` and `=` are written `=2C` and `=3D`, and nothing else is.
pub(super) fn escape(name: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(name.len());
    for &b in name {
        match b {
            b',' => escaped.extend_from_slice(b"=2C"),
            b'=' => escaped.extend_from_slice(b"=3D"),
            _ => escaped.push(b),
        }
    }
    escaped
}

fn unescape(name: &[u8]) -> Result<Vec<u8>, &'static str> {
    if name.is_empty() || name.contains(&0) || std::str::from_utf8(name).is_err() {
        return Err("a name is empty, holds a NUL or is no UTF-8");
    }
    let mut parts = name.split(|b| *b == b'=');
    let mut plain = parts.next().unwrap_or_default().to_vec();
    for part in parts {
        let (escape, rest) = part.split_at_checked(2).ok_or("a bad = in a name")?;
        plain.push(match escape {
            b"2C" => b',',
            b"3D" => b'=',
            _ => return Err("a bad = in a name"),
        });
        plain.extend_from_slice(rest);
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message() {
        let first = ClientFirst::parse(b"p=tls-exporter,a=b=3Dc,n=x=2Cy,r=abc,ext=1").unwrap();
        assert_eq!(first.flag, BindingFlag::Used(b"tls-exporter".to_vec()));
        assert_eq!(first.authzid, b"b=c");
        assert_eq!(first.username, b"x,y");
        assert_eq!(first.gs2_header, b"p=tls-exporter,a=b=3Dc,");
        assert_eq!(first.bare, b"n=x=2Cy,r=abc,ext=1");
        for bad in [
            "",
            "n",
            "n,",
            "n,,",
            "x,,n=a,r=b",
            "p=,,n=a,r=b",
            "n,b=x,n=a,r=b",
            "n,,m=1,n=a,r=b",
            "n,,n=,r=b",
            "n,,n=a",
            "n,,n=a,r=",
            "n,,n=a,r=b c",
            "n,,n=a=2c,r=b",
            "n,,n=a=,r=b",
            "n,,n=a\0,r=b",
        ] {
            assert!(ClientFirst::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(ClientFirst::parse(b"n,,n=\xff,r=b").is_err());
    }

    #[test]
    fn the_final_message() {
        let last = ClientFinal::parse(b"c=biws,r=abc,x=y,p=AAEC").unwrap();
        assert_eq!(last.binding, b"n,,");
        assert_eq!(last.nonce, b"abc");
        assert_eq!(last.proof, [0, 1, 2]);
        assert_eq!(last.without_proof, b"c=biws,r=abc,x=y");
        for bad in [
            "",
            "c=biws",
            "c=biws,r=a,p=*",
            "c=biws,r=a,q=x",
            "r=a,c=biws,p=AAEC",
            ",p=",
        ] {
            assert!(ClientFinal::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_go_round() {
        assert_eq!(unescape(&escape(b"a=b,c")).unwrap(), b"a=b,c");
    }
}
