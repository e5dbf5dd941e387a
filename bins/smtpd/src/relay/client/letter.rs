//! What one transaction carries, and the commands that say so.

use crate::relay::offers::Offers;
use crate::session::{BodyKind, ByMode, Notify, Ret};

/// The envelope of one transaction, addresses as the mailer's rules write them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letter {
    /// The reverse-path without brackets; empty for the null sender.
    pub sender: Vec<u8>,
    /// Octets of the text, for SIZE.
    pub size_octets: u64,
    /// BODY, as the text will be sent.
    pub body: Option<BodyKind>,
    /// SMTPUTF8 is needed.
    pub utf8: Option<Utf8Needed>,
    /// RET.
    pub ret: Option<Ret>,
    /// ENVID, as xtext.
    pub envid: Option<Box<str>>,
    /// BY.
    pub by: Option<Deadline>,
    /// AUTH=, decoded; it is given where the server offers AUTH.
    pub auth: Option<Vec<u8>>,
    /// The recipients.
    pub recipients: Vec<Receiver>,
}

/// Until when the message shall be there (RFC 2852).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// How long it is until then; less than nothing when it is over.
    pub left_seconds: i64,
    /// What happens then.
    pub mode: ByMode,
}

/// An address or a header is not ASCII (RFC 6531).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utf8Needed;

/// One recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receiver {
    /// The forward-path without brackets.
    pub path: Vec<u8>,
    /// NOTIFY.
    pub notify: Option<Notify>,
    /// ORCPT, `type;xtext`.
    pub orcpt: Option<Box<str>>,
}

impl Deadline {
    /// Why it can't be kept by way of this server, which is what the sender asked to be told
    /// (RFC 2852 section 4.1.4).
    pub(super) fn missed(self, offers: &Offers) -> Option<String> {
        if self.mode == ByMode::Notify {
            return None;
        }
        let left = self.left_seconds;
        match offers.deliver_by {
            _ if left <= 0 => Some("Delivery time expired".to_owned()),
            None => Some("Server does not support Deliver By".to_owned()),
            Some(least) if least > left => Some(format!(
                "Server wants {least} s for the delivery, of which {left} are left"
            )),
            Some(_) => None,
        }
    }
}

impl Letter {
    /// The MAIL command with the parameters that the server knows.
    pub(super) fn mail(&self, offers: &Offers, out: &mut Vec<u8>) {
        out.extend_from_slice(b"MAIL FROM:<");
        out.extend_from_slice(&self.sender);
        out.push(b'>');
        let mut add = |text: &str| out.extend_from_slice(text.as_bytes());
        if offers.size.is_some() && self.size_octets > 0 {
            add(&format!(" SIZE={}", self.size_octets));
        }
        match self.body {
            Some(BodyKind::EightBitMime) if offers.eight_bit => add(" BODY=8BITMIME"),
            Some(BodyKind::SevenBit) if offers.eight_bit => add(" BODY=7BIT"),
            _ => {}
        }
        if self.utf8.is_some() && offers.utf8 {
            add(" SMTPUTF8");
        }
        if offers.dsn {
            match self.ret {
                Some(Ret::Full) => add(" RET=FULL"),
                Some(Ret::Headers) => add(" RET=HDRS"),
                None => {}
            }
            if let Some(envid) = self.envid.as_deref().filter(|text| is_word(text)) {
                add(&format!(" ENVID={envid}"));
            }
        }
        if let (Some(by), Some(_)) = (self.by, offers.deliver_by) {
            let mode = match by.mode {
                ByMode::Notify => 'N',
                ByMode::Return => 'R',
            };
            add(&format!(" BY={};{mode}", by.left_seconds));
        }
        if let (Some(author), Some(_)) = (&self.auth, &offers.auth) {
            add(&format!(" AUTH={}", xtext(author)));
        }
        add("\r\n");
    }
}

impl Receiver {
    /// The RCPT command with the parameters that the server knows.
    pub(super) fn rcpt(&self, offers: &Offers, out: &mut Vec<u8>) {
        out.extend_from_slice(b"RCPT TO:<");
        out.extend_from_slice(&self.path);
        out.push(b'>');
        if offers.dsn {
            if let Some(notify) = self.notify {
                let words = [
                    (notify.success, "SUCCESS"),
                    (notify.failure, "FAILURE"),
                    (notify.delay, "DELAY"),
                ];
                let wanted: Vec<&str> = words
                    .iter()
                    .filter(|(wanted, _)| *wanted)
                    .map(|(_, word)| *word)
                    .collect();
                let list = match wanted.is_empty() {
                    true => "NEVER".to_owned(),
                    false => wanted.join(","),
                };
                out.extend_from_slice(format!(" NOTIFY={list}").as_bytes());
            }
            if let Some(orcpt) = self.orcpt.as_deref().filter(|text| is_word(text)) {
                out.extend_from_slice(format!(" ORCPT={orcpt}").as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Whether an address can stand in a command: no control characters, which would end it, and
/// outside of quotes no brackets or blanks, behind which parameters stand.
#[must_use]
pub(super) fn fits(path: &[u8]) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    let ends = |&octet: &u8| {
        if std::mem::take(&mut escaped) {
            return false;
        }
        match octet {
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'<' | b'>' | b' ' if !quoted => return true,
            _ => {}
        }
        false
    };
    let ended = path.iter().any(ends);
    path.len() <= 1000 && !path.iter().any(u8::is_ascii_control) && !ended && !quoted && !escaped
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 1000 && text.bytes().all(|c| c.is_ascii_graphic())
}

/// xtext (RFC 3461 section 4); nothing is `<>` (RFC 4954 section 5).
fn xtext(text: &[u8]) -> String {
    if text.is_empty() {
        return "<>".into();
    }
    let mut out = String::new();
    for octet in text {
        match octet {
            b'+' | b'=' => out.push_str(&format!("+{octet:02X}")),
            c if c.is_ascii_graphic() => out.push(char::from(*c)),
            c => out.push_str(&format!("+{c:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_by_what_the_server_knows() {
        let letter = Letter {
            sender: b"a@b".to_vec(),
            size_octets: 10,
            body: Some(BodyKind::EightBitMime),
            utf8: Some(Utf8Needed),
            ret: Some(Ret::Headers),
            envid: Some("e+2B1".into()),
            by: None,
            auth: Some(b"joe+x@y".to_vec()),
            recipients: vec![],
        };
        let receiver = Receiver {
            path: b"c@d".to_vec(),
            notify: Some(Notify {
                success: true,
                failure: false,
                delay: true,
            }),
            orcpt: Some("rfc822;c@d".into()),
        };
        let said = |offers: &Offers| {
            let mut out = Vec::new();
            letter.mail(offers, &mut out);
            receiver.rcpt(offers, &mut out);
            String::from_utf8(out).unwrap()
        };
        let plain = Offers::default();
        assert_eq!(said(&plain), "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
        let all = Offers {
            pipelining: true,
            size: Some(0),
            eight_bit: true,
            utf8: true,
            dsn: true,
            start_tls: false,
            auth: Some(vec![]),
            deliver_by: Some(60),
        };
        assert_eq!(
            said(&all),
            "MAIL FROM:<a@b> SIZE=10 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=e+2B1 AUTH=joe+2Bx@y\r\n\
             RCPT TO:<c@d> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c@d\r\n"
        );
        assert_eq!(xtext(b""), "<>");
        assert!(!fits(b"a@b>\r\nRCPT TO:<c"));
        assert!(!fits(b"a@b> A=B") && !fits(b"\"a@b") && !fits(b"a@b\\"));
        assert!(fits(b"\"a> \\\" B\"@b") && fits(b"a\\ b@c") && fits(b""));
    }
}
