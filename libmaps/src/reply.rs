//! Replies of an SMTP server: a three-digit code, an enhanced status code, text.

use std::fmt;
use std::str::FromStr;

/// An enhanced status code, `class.subject.detail` (RFC 3463 section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status {
    /// 2 success, 4 temporary, 5 permanent.
    pub class: u8,
    /// What the code is about: 1 addressing, 2 mailbox, ... (0 to 999).
    pub subject: u16,
    /// The detail within the subject (0 to 999).
    pub detail: u16,
}

impl Status {
    /// A status code from its three parts.
    #[must_use]
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        Status {
            class,
            subject,
            detail,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// The text was not `class.subject.detail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an enhanced status code (class.subject.detail, class 2, 4 or 5)")]
pub struct BadStatus;

impl FromStr for Status {
    type Err = BadStatus;

    fn from_str(text: &str) -> Result<Self, BadStatus> {
        let mut parts = text.split('.');
        let class = match parts.next() {
            Some("2") => 2,
            Some("4") => 4,
            Some("5") => 5,
            _ => return Err(BadStatus),
        };
        let mut number = || -> Result<u16, BadStatus> {
            let part = parts.next().ok_or(BadStatus)?;
            if part.is_empty() || part.len() > 3 || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(BadStatus);
            }
            part.parse().map_err(|_| BadStatus)
        };
        let (subject, detail) = (number()?, number()?);
        if parts.next().is_some() {
            return Err(BadStatus);
        }
        Ok(Status::new(class, subject, detail))
    }
}

/// A reply to an SMTP command (RFC 5321 section 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The three-digit code.
    pub code: u16,
    /// The enhanced status code, where the reply has one (RFC 2034).
    pub status: Option<Status>,
    /// The text, a line each; without code, status and line ends.
    pub lines: Vec<String>,
}

impl Reply {
    /// A reply of one line.
    #[must_use]
    pub fn new(code: u16, status: Option<Status>, text: impl Into<String>) -> Self {
        Reply {
            code,
            status,
            lines: vec![text.into()],
        }
    }

    /// Whether the reply says "try again later" (4yz).
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.code / 100 == 4
    }
}

impl fmt::Display for Reply {
    /// The reply as it goes over the wire, but with `\n` between lines and none at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.lines.len().saturating_sub(1);
        for (i, line) in self.lines.iter().enumerate() {
            let sep = if i < last { '-' } else { ' ' };
            write!(f, "{:03}{sep}", self.code)?;
            if let Some(status) = self.status {
                write!(f, "{status} ")?;
            }
            f.write_str(line)?;
            if i < last {
                f.write_str("\n")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_codes_parse_strictly() {
        assert_eq!("5.7.1".parse(), Ok(Status::new(5, 7, 1)));
        assert_eq!("4.7.500".parse(), Ok(Status::new(4, 7, 500)));
        for bad in [
            "", "5", "5.7", "3.1.1", "5.7.1.1", "5..1", "5.1234.1", "5.-1.1", " 5.1.1",
        ] {
            assert_eq!(bad.parse::<Status>(), Err(BadStatus), "{bad:?}");
        }
    }

    #[test]
    fn every_line_carries_the_code_and_the_status() {
        let reply = Reply {
            code: 550,
            status: Some(Status::new(5, 7, 1)),
            lines: vec!["no".into(), "thanks".into()],
        };
        assert_eq!(reply.to_string(), "550-5.7.1 no\n550 5.7.1 thanks");
    }
}
