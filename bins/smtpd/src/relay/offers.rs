//! What a server says it can do, in its answer to EHLO or LHLO.

use super::reply::Reply;

/// Most mechanisms that are looked at.
const MAX_MECHANISMS: usize = 32;

/// The extensions of a server, as far as a client can use them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE (RFC 1870); `Some(0)` is no limit told.
    pub size: Option<u64>,
    /// 8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// SMTPUTF8 (RFC 6531).
    pub utf8: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// STARTTLS (RFC 3207).
    pub start_tls: bool,
    /// DELIVERBY (RFC 2852): the shortest time that it takes, in seconds; 0 where none is told.
    pub deliver_by: Option<i64>,
    /// AUTH (RFC 4954): the mechanisms; `None` without the keyword.
    pub auth: Option<Vec<String>>,
}

impl Offers {
    /// Reads the lines behind the first.
    #[must_use]
    pub fn of(reply: &Reply) -> Self {
        let mut offers = Offers::default();
        for line in reply.lines.iter().skip(1) {
            // `AUTH=LOGIN` is how some old servers write it.
            let line = line.replacen('=', " ", 1);
            let mut words = line.split_ascii_whitespace();
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            match keyword.as_str() {
                "PIPELINING" => offers.pipelining = true,
                "SIZE" => {
                    let octets = words.next().and_then(|w| w.parse().ok());
                    offers.size = Some(octets.unwrap_or(0));
                }
                "8BITMIME" => offers.eight_bit = true,
                "SMTPUTF8" => offers.utf8 = true,
                "DSN" => offers.dsn = true,
                "STARTTLS" => offers.start_tls = true,
                "DELIVERBY" => {
                    let seconds = words.next().and_then(|w| w.parse().ok());
                    offers.deliver_by = Some(seconds.unwrap_or(0));
                }
                "AUTH" => {
                    let known = offers.auth.get_or_insert_default();
                    for word in words.map(str::to_ascii_uppercase) {
                        if known.len() < MAX_MECHANISMS && !known.contains(&word) {
                            known.push(word);
                        }
                    }
                }
                _ => {}
            }
        }
        offers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords() {
        let lines = "mx hello\nPIPELINING\nsize 1000\n8bitmime\nDSN\nSTARTTLS\nDELIVERBY 60\nAUTH PLAIN login\nAUTH=LOGIN CRAM-MD5\nX";
        let offers = Offers::of(&Reply {
            code: 250,
            lines: lines.lines().map(str::to_owned).collect(),
        });
        let want = Offers {
            pipelining: true,
            size: Some(1000),
            eight_bit: true,
            utf8: false,
            dsn: true,
            start_tls: true,
            deliver_by: Some(60),
            auth: Some(["PLAIN", "LOGIN", "CRAM-MD5"].map(str::to_owned).to_vec()),
        };
        assert_eq!(offers, want);
        let none = Reply {
            code: 250,
            lines: vec!["STARTTLS".into()],
        };
        assert_eq!(
            Offers::of(&none),
            Offers::default(),
            "the first line is a name"
        );
    }
}
