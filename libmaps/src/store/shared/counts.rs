//! What a server and mapremote(8) tell each other about the connections of clients, which hosts
//! count together.
//!
//! They have a socket between them that keeps packets apart. A packet is a
//! few lines:
//!
//! ```text
//! server -> mapremote   enter 17 192.0.2.1 3   connection 17 has come; this host has 3 of it open
//!                       open 192.0.2.1 2       one is over, 2 are open
//! mapremote -> server   hello                  I know nothing: say all that is open
//!                       count 17 9 4           9 within the window, 4 open, on all hosts
//!                       alone 17               nobody can tell: count by yourself
//! ```
//!
//! How many are open is told as a number of its own, not as one more or one less, so that what
//! was lost on the way is mended by the next word.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::str::FromStr;

/// The longest packet, in octets.
pub const MAX_PACKET_OCTETS: usize = 8 << 10;
/// The most lines of a packet: each fits, however long its numbers are.
pub const MAX_PACKET_LINES: usize = 64;

/// What a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// A connection has come.
    Enter {
        /// The number of the question; the answer has it, too.
        id: u64,
        /// The client, of IPv6 its network.
        client: IpAddr,
        /// How many connections of this client are open at this server, this one among them.
        open: u32,
    },
    /// How many are open has changed.
    Open {
        /// The client.
        client: IpAddr,
        /// How many are open at this server.
        open: u32,
    },
}

/// What mapremote says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hear {
    /// It has just begun.
    Hello,
    /// The counts over all hosts.
    Count {
        /// The question.
        id: u64,
        /// Connections of the client within the window.
        rate: u32,
        /// Its open connections.
        open: u32,
    },
    /// The engine does not answer.
    Alone {
        /// The question.
        id: u64,
    },
}

impl fmt::Display for Say {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Say::Enter { id, client, open } => write!(f, "enter {id} {client} {open}"),
            Say::Open { client, open } => write!(f, "open {client} {open}"),
        }
    }
}

impl fmt::Display for Hear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hear::Hello => f.write_str("hello"),
            Hear::Count { id, rate, open } => write!(f, "count {id} {rate} {open}"),
            Hear::Alone { id } => write!(f, "alone {id}"),
        }
    }
}

/// Takes the next word as whatever it is to be.
fn next<T: FromStr>(words: &mut std::str::Split<'_, char>) -> Option<T> {
    words.next()?.parse().ok()
}

/// A line of a packet.
pub trait Line: Copy + fmt::Display {
    /// Reads the line; `None` if it is none.
    fn parse(line: &str) -> Option<Self>;
}

impl Line for Say {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let said = match words.next()? {
            "enter" => Say::Enter {
                id: next(&mut words)?,
                client: next(&mut words)?,
                open: next(&mut words)?,
            },
            "open" => Say::Open {
                client: next(&mut words)?,
                open: next(&mut words)?,
            },
            _ => return None,
        };
        words.next().is_none().then_some(said)
    }
}

impl Line for Hear {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let heard = match words.next()? {
            "hello" => Hear::Hello,
            "count" => Hear::Count {
                id: next(&mut words)?,
                rate: next(&mut words)?,
                open: next(&mut words)?,
            },
            "alone" => Hear::Alone {
                id: next(&mut words)?,
            },
            _ => return None,
        };
        words.next().is_none().then_some(heard)
    }
}

/// The packets of these lines, as few as there may be.
pub fn packets<L: Line>(lines: &[L]) -> impl Iterator<Item = String> + '_ {
    lines.chunks(MAX_PACKET_LINES).map(|chunk| {
        let mut packet = String::new();
        for line in chunk {
            // Writing to a String cannot fail.
            let _ = writeln!(packet, "{line}");
        }
        packet
    })
}

/// The lines of a packet; those that are none are passed over.
pub fn lines<L: Line>(packet: &[u8]) -> Vec<L> {
    let text = std::str::from_utf8(packet).unwrap_or_default();
    text.lines().filter_map(L::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard_and_nothing_else() {
        let client: IpAddr = "2001:db8:ffff:ffff::".parse().unwrap();
        let (id, open) = (u64::MAX, u32::MAX);
        let said = vec![Say::Enter { id, client, open }; MAX_PACKET_LINES + 1];
        let sent: Vec<String> = packets(&said).collect();
        assert_eq!(sent.len(), 2);
        assert!(sent.iter().all(|p| p.len() <= MAX_PACKET_OCTETS));
        let got: Vec<Say> = sent.iter().flat_map(|p| lines(p.as_bytes())).collect();
        assert_eq!(got, said);
        for heard in [
            Hear::Hello,
            Hear::Alone { id: 7 },
            Hear::Count {
                id,
                rate: 9,
                open: 1,
            },
        ] {
            assert_eq!(lines::<Hear>(format!("{heard}\n").as_bytes()), [heard]);
        }
        for none in [
            "",
            "enter",
            "enter 1 192.0.2.1",
            "enter 1 192.0.2.1 2 3",
            "enter -1 192.0.2.1 2",
            "open example 2",
            "open 192.0.2.1 4294967296",
            "ENTER 1 192.0.2.1 2",
            "count 1 2",
            "hello there",
        ] {
            assert_eq!(Say::parse(none), None, "{none}");
            assert_eq!(Hear::parse(none), None, "{none}");
        }
        assert_eq!(lines::<Say>(b"\xff\n"), []);
    }
}
