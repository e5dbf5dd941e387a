//! A request of Postfix's policy delegation protocol.

use std::collections::BTreeMap;

/// Longest request. Postfix's own attributes are far shorter.
pub(super) const MAX_REQUEST_OCTETS: usize = 65_536;
/// Most attributes.
const MAX_ATTRIBUTES: usize = 200;

/// The attributes of a request, as far as they are known here or not; the first of a name counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyRequest(BTreeMap<String, String>);

/// What makes octets no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestFault {
    /// More octets than are read.
    TooLong,
    /// More attributes than are read.
    TooMany,
    /// A line without `=`.
    NoAttribute,
    /// Not a request for access policy.
    NotOurs,
}

impl std::fmt::Display for RequestFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            RequestFault::TooLong => "a request of more than 65536 octets",
            RequestFault::TooMany => "a request of more than 200 attributes",
            RequestFault::NoAttribute => "a line that is not name=value",
            RequestFault::NotOurs => "expected request=smtpd_access_policy",
        })
    }
}

impl PolicyRequest {
    /// Sets an attribute.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// An attribute; empty where it was not given.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

/// How far a request was read that comes in pieces: no line is read twice.
#[derive(Debug, Default)]
pub(super) struct Reading {
    request: PolicyRequest,
    /// Lines that were read.
    count: usize,
    /// Where the first line begins that was not read, and how far it was looked through.
    at: usize,
    looked: usize,
}

impl Reading {
    /// The first request in `octets` and how many octets it takes; `None` while it is not whole.
    /// The octets are those of the call before and more behind them; after a whole request, what
    /// comes behind that.
    ///
    /// # Errors
    /// When the octets can't become a request.
    pub(super) fn go_on(
        &mut self,
        octets: &[u8],
    ) -> Result<Option<(PolicyRequest, usize)>, RequestFault> {
        loop {
            let from = self.looked.max(self.at);
            let rest = octets.get(from..).unwrap_or_default();
            let Some(end) = rest.iter().position(|octet| *octet == b'\n') else {
                self.looked = octets.len();
                return match octets.len() > MAX_REQUEST_OCTETS {
                    true => Err(RequestFault::TooLong),
                    false => Ok(None),
                };
            };
            let line = octets.get(self.at..from + end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            self.at = from + end + 1;
            if self.at > MAX_REQUEST_OCTETS {
                return Err(RequestFault::TooLong);
            }
            if line.is_empty() {
                let read = std::mem::take(self);
                return match read.request.get("request") {
                    "smtpd_access_policy" => Ok(Some((read.request, read.at))),
                    _ => Err(RequestFault::NotOurs),
                };
            }
            self.count += 1;
            if self.count > MAX_ATTRIBUTES {
                return Err(RequestFault::TooMany);
            }
            let line = String::from_utf8_lossy(line);
            let (name, value) = line.split_once('=').ok_or(RequestFault::NoAttribute)?;
            let attributes = &mut self.request.0;
            attributes
                .entry(name.to_owned())
                .or_insert_with(|| value.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(octets: &[u8]) -> Result<Option<(PolicyRequest, usize)>, RequestFault> {
        Reading::default().go_on(octets)
    }

    const HEAD: &str = "request=smtpd_access_policy\n";

    #[test]
    fn what_is_one_and_what_is_none() {
        let many = format!("{HEAD}{}\n", "a=b\n".repeat(200));
        let long = format!("{HEAD}a={}\n\n", "x".repeat(MAX_REQUEST_OCTETS));
        let endless = "x".repeat(MAX_REQUEST_OCTETS + 1);
        let cases: &[(&str, Result<Option<usize>, RequestFault>)] = &[
            ("", Ok(None)),
            (HEAD, Ok(None)),
            (
                "request=smtpd_access_policy\nsender=a=b\n\nrequest=",
                Ok(Some(40)),
            ),
            ("request=smtpd_access_policy\r\n\r\n", Ok(Some(31))),
            ("\n", Err(RequestFault::NotOurs)),
            ("request=junk\n\n", Err(RequestFault::NotOurs)),
            ("GET / HTTP/1.0\r\n\r\n", Err(RequestFault::NoAttribute)),
            (&many, Err(RequestFault::TooMany)),
            (&long, Err(RequestFault::TooLong)),
            (&endless, Err(RequestFault::TooLong)),
        ];
        for (octets, want) in cases {
            let got = split(octets.as_bytes()).map(|found| found.map(|(_, used)| used));
            let head: String = octets.chars().take(60).collect();
            assert_eq!(got, *want, "{head}");
        }
        let (request, _) = split(b"request=smtpd_access_policy\nsender=a=b\nsender=c\n\n")
            .unwrap()
            .unwrap();
        assert_eq!(request.get("sender"), "a=b");
        assert_eq!(request.get("recipient"), "");
    }

    #[test]
    fn a_request_in_pieces_is_the_same() {
        let whole = format!("{HEAD}sender=a@b\r\nrecipient=c\n\n{HEAD}\n");
        let octets = whole.as_bytes();
        let (want, used) = split(octets).unwrap().unwrap();
        let mut reading = Reading::default();
        for end in 0..used {
            assert_eq!(reading.go_on(&octets[..end]), Ok(None), "{end}");
        }
        assert_eq!(reading.go_on(octets), Ok(Some((want, used))));
        // The next one begins anew.
        let rest = &octets[used..];
        assert_eq!(reading.go_on(&rest[..5]), Ok(None));
        assert_eq!(reading.go_on(rest), split(rest));
        assert_eq!(reading.go_on(b"no"), Ok(None));
        assert_eq!(reading.go_on(b"no\n"), Err(RequestFault::NoAttribute));
    }
}
