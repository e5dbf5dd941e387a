//! The PROXY protocol, versions 1 and 2: who is behind a load balancer.
//!
//! Only balancers in listed networks are believed; they must send the header, and
//! send it first. Bytes in, header out; nothing is read here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest line, with its CRLF.
const MAX_V1_OCTETS: usize = 107;
const MAX_V2_OCTETS: usize = 16 + 4096;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The connection is the balancer's own (a health check).
    Local,
    /// It is this client's.
    Client(SocketAddr),
}

impl Header {
    /// A client by its own address: balancers that listen for IPv6 and IPv4 on one socket say
    /// `::ffff:192.0.2.1`, and maps, DNS lists and limits are asked about 192.0.2.1.
    fn client(addr: IpAddr, port: u16) -> Self {
        Header::Client(SocketAddr::new(addr.to_canonical(), port))
    }
}

/// The header and its size in octets; `Ok(None)`: more octets are needed.
///
/// # Errors
/// When the octets are no header.
pub fn parse(input: &[u8]) -> Result<Option<(Header, usize)>, BadHeader> {
    let common = input.len().min(SIGNATURE.len());
    if input.get(..common) == SIGNATURE.get(..common) {
        return parse_v2(input);
    }
    let line = match input.windows(2).position(|w| w == b"\r\n") {
        Some(end) => input.get(..end).unwrap_or_default(),
        None if input.len() >= MAX_V1_OCTETS || !is_prefix_of_v1(input) => return Err(BadHeader),
        None => return Ok(None),
    };
    if line.len() + 2 > MAX_V1_OCTETS {
        return Err(BadHeader);
    }
    let text = std::str::from_utf8(line).map_err(|_| BadHeader)?;
    let words: Vec<&str> = text.split(' ').collect();
    let header = match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Header::Local,
        ["PROXY", family @ ("TCP4" | "TCP6"), source, _, port, _] => {
            let addr: IpAddr = source.parse().map_err(|_| BadHeader)?;
            if addr.is_ipv4() != (*family == "TCP4") {
                return Err(BadHeader);
            }
            let port = port.parse().map_err(|_| BadHeader)?;
            Header::client(addr, port)
        }
        _ => return Err(BadHeader),
    };
    Ok(Some((header, line.len() + 2)))
}

fn is_prefix_of_v1(input: &[u8]) -> bool {
    let common = input.len().min(6);
    input.get(..common) == b"PROXY ".get(..common)
}

fn parse_v2(input: &[u8]) -> Result<Option<(Header, usize)>, BadHeader> {
    let Some(&[command, family, high, low]) = input.get(12..16) else {
        return Ok(None);
    };
    let total = 16 + usize::from(u16::from_be_bytes([high, low]));
    if command >> 4 != 2 || total > MAX_V2_OCTETS {
        return Err(BadHeader);
    }
    let Some(body) = input.get(16..total) else {
        return Ok(None);
    };
    let port = |at: usize| match body.get(at..at + 2) {
        Some(&[high, low]) => Ok(u16::from_be_bytes([high, low])),
        _ => Err(BadHeader),
    };
    let header = match (command & 0xf, family) {
        (0, _) => Header::Local,
        (1, 0x11) => {
            let octets: [u8; 4] = body
                .get(..4)
                .and_then(|b| b.try_into().ok())
                .ok_or(BadHeader)?;
            Header::client(Ipv4Addr::from(octets).into(), port(8)?)
        }
        (1, 0x21) => {
            let octets: [u8; 16] = body
                .get(..16)
                .and_then(|b| b.try_into().ok())
                .ok_or(BadHeader)?;
            Header::client(Ipv6Addr::from(octets).into(), port(32)?)
        }
        (1, _) => Header::Local,
        _ => return Err(BadHeader),
    };
    Ok(Some((header, total)))
}

/// The octets are no PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadHeader;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1() {
        let client = |text: &str| Header::Client(text.parse().unwrap());
        let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 4000 25\r\nEHLO";
        assert_eq!(parse(line), Ok(Some((client("192.0.2.1:4000"), 40))));
        let line = b"PROXY TCP6 2001:db8::1 ::1 4000 25\r\n";
        assert_eq!(parse(line), Ok(Some((client("[2001:db8::1]:4000"), 36))));
        let mapped = b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 4000 25\r\n";
        assert_eq!(parse(mapped), Ok(Some((client("192.0.2.1:4000"), 54))));
        assert_eq!(parse(b"PROXY UNKNOWN\r\n"), Ok(Some((Header::Local, 15))));
        assert_eq!(parse(b"PROXY TC"), Ok(None));
        for bad in [
            &b"EHLO x\r\n"[..],
            b"EHLO",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 99999 2\r\n",
            &[b'P'; 200],
        ] {
            assert_eq!(parse(bad), Err(BadHeader), "{bad:?}");
        }
    }

    #[test]
    fn the_longest_line_of_version_1() {
        let line = |octets: usize| {
            let start = "PROXY UNKNOWN ";
            format!("{start}{}\r\n", "x".repeat(octets - start.len() - 2)).into_bytes()
        };
        let longest = line(107);
        assert_eq!(parse(&longest), Ok(Some((Header::Local, 107))));
        for cut in 0..107 {
            assert_eq!(parse(&longest[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(parse(&line(108)), Err(BadHeader));
        assert_eq!(parse(&line(108)[..107]), Err(BadHeader));
    }

    #[test]
    fn version_2() {
        let mut header = SIGNATURE.to_vec();
        header.extend_from_slice(&[
            0x21, 0x11, 0, 12, 192, 0, 2, 1, 192, 0, 2, 2, 0x0f, 0xa0, 0, 25,
        ]);
        let want = Header::Client("192.0.2.1:4000".parse().unwrap());
        assert_eq!(parse(&header), Ok(Some((want, 28))));
        for cut in 0..header.len() {
            assert_eq!(parse(&header[..cut]), Ok(None), "{cut}");
        }
        let mut mapped = SIGNATURE.to_vec();
        mapped.extend_from_slice(&[0x21, 0x21, 0, 36]);
        for host in [1, 2] {
            mapped.extend_from_slice(&[0; 10]);
            mapped.extend_from_slice(&[0xff, 0xff, 192, 0, 2, host]);
        }
        mapped.extend_from_slice(&[0x0f, 0xa0, 0, 25]);
        assert_eq!(parse(&mapped), Ok(Some((want, 52))));
        header[12] = 0x31;
        assert_eq!(parse(&header), Err(BadHeader));
    }
}
