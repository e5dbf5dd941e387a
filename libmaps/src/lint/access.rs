//! access(5).

use super::{Item, Lint, unreachable_name};
use crate::policy::{Outcome, check_compat};
use crate::site::Severity;
use crate::site::model::{DelayMode, RelayMailFrom};
use crate::table::access::Tag;
use crate::table::features::{Word, words};
use crate::table::tls_features::TlsFeatures;
use crate::table::verdict::Verdict;
use crate::terms::OptionError;

impl Lint<'_> {
    pub(super) fn access(&mut self, items: &[Item]) {
        let mut has_secret = None;
        for item in items {
            let lhs = item.lhs_text();
            let (tag, name) = match split_tag(&lhs) {
                Ok(pair) => pair,
                Err(unknown) => {
                    let text = format!(
                        "{unknown}: is no tag that anything asks about{}",
                        like(unknown)
                    );
                    self.say(item.line, Severity::Error, text);
                    continue;
                }
            };
            if matches!(tag, Some(Tag::AuthInfo)) {
                has_secret.get_or_insert(item.line);
            }
            self.access_lhs(item, tag, name);
            self.access_arguments(item);
            self.access_rhs(item, tag, name);
        }
        if let Some(line) = has_secret {
            self.secrets(line);
        }
    }

    /// Whether anything asks for this.
    fn access_lhs(&mut self, item: &Item, tag: Option<Tag>, name: &str) {
        let features = &self.site.features;
        let relay = item.rhs_text().eq_ignore_ascii_case("RELAY");
        let friends = features
            .delay_checks
            .is_some_and(|d| d.mode != DelayMode::Plain);
        let missing = match tag {
            Some(Tag::Spam) if !friends => Some("delay_checks, friend or hater"),
            Some(Tag::ClientRate) if features.ratecontrol.is_none() => Some("ratecontrol"),
            Some(Tag::ClientConn) if features.conncontrol.is_none() => Some("conncontrol"),
            Some(Tag::GreetPause) if !features.greet_pause.is_some_and(|g| g.asks_access) => {
                Some("greet_pause")
            }
            Some(Tag::Compat) if !features.compat_check => Some("compat_check"),
            Some(Tag::TlsSrvFeatures | Tag::TlsCltFeatures) if !features.tls_session_features => {
                Some("tls_session_features")
            }
            Some(Tag::To) if !relay && !features.blocklist_recipients => {
                Some("blocklist_recipients")
            }
            Some(Tag::From) if relay && features.relay_mail_from.is_none() => {
                Some("relay_mail_from")
            }
            _ => None,
        };
        if let Some(feature) = missing {
            let text = format!(
                "{}: nothing asks for this without FEATURE({feature})",
                item.lhs_text()
            );
            self.say(item.line, Severity::Warning, text);
        }
        let dotted = features
            .access
            .as_ref()
            .is_some_and(|access| access.lookup_dot_domain);
        let full_address = features
            .access
            .as_ref()
            .is_some_and(|access| access.relay_to_full_address);
        let has_user = name.contains('@') && !name.ends_with('@');
        let why = if name.starts_with('.') && !dotted {
            Some("a dot at the start is asked for only with FEATURE(access_db, ..., lookupdotdomain)".to_owned())
        } else if name.starts_with('@') {
            Some("write the domain without @".to_owned())
        } else if tag == Some(Tag::To) && relay && has_user && !full_address {
            Some(
                "relaying to one address needs FEATURE(access_db, ..., relaytofulladdress)"
                    .to_owned(),
            )
        } else if tag == Some(Tag::From)
            && relay
            && !name.contains('@')
            && features.relay_mail_from == Some(RelayMailFrom::Address)
        {
            Some("relaying by sender domain needs FEATURE(relay_mail_from, domain)".to_owned())
        } else if tag == Some(Tag::Connect) && name.contains('@') {
            Some("clients have no user part".to_owned())
        } else if matches!(tag, Some(Tag::CertIssuer | Tag::CertSubject | Tag::Compat)) {
            None
        } else {
            unreachable_name(name.rsplit('@').next().unwrap_or(name), self.site)
        };
        if let Some(why) = why {
            let text = format!("{} is never found: {why}", item.lhs_text());
            self.say(item.line, Severity::Warning, text);
        }
    }

    /// `%1` to `%9` in the RHS, which stand for nothing in this map; it may be a password.
    fn access_arguments(&mut self, item: &Item) {
        let mut octets = item.rhs.iter();
        while octets.any(|octet| *octet == b'%') {
            if let Some(digit @ b'1'..=b'9') = octets.next() {
                let text = format!(
                    "{}: %{} is empty here; a percent sign is written %%",
                    item.lhs_text(),
                    char::from(*digit)
                );
                self.say(item.line, Severity::Warning, text);
                return;
            }
        }
    }

    /// Whether the RHS says what was meant.
    fn access_rhs(&mut self, item: &Item, tag: Option<Tag>, name: &str) {
        let rhs = item.rhs_text();
        let upper = rhs.to_ascii_uppercase();
        let number = || rhs.parse::<u64>().is_ok();
        let expected = match tag {
            None | Some(Tag::Connect | Tag::From | Tag::To) => {
                self.verdict(item, tag, name);
                return;
            }
            Some(Tag::Spam) => {
                (!matches!(upper.as_str(), "FRIEND" | "HATER")).then_some("FRIEND or HATER")
            }
            Some(Tag::ClientRate | Tag::ClientConn) => {
                (!number()).then_some("a number (0 for no limit)")
            }
            Some(Tag::GreetPause) => (!number()).then_some("milliseconds (0 for no pause)"),
            Some(Tag::Compat) if !name.contains("<@>") => {
                let text = format!(
                    "{} is never found: write sender<@>recipient",
                    item.lhs_text()
                );
                self.say(item.line, Severity::Warning, text);
                return;
            }
            Some(Tag::Compat) => (check_compat::outcome(&item.rhs) == Outcome::Accept)
                .then_some("DISCARD, TEMP: or ERROR: (anything else lets the mail pass)"),
            Some(Tag::TryTls) => (upper != "NO").then_some("NO"),
            Some(Tag::TlsClt | Tag::TlsSrv | Tag::TlsRcpt) => {
                self.tls_rule(item, tag);
                return;
            }
            Some(Tag::SrvFeatures) => {
                self.features(item);
                return;
            }
            Some(Tag::CltFeatures) => {
                self.client_features(item);
                return;
            }
            Some(tag @ (Tag::TlsSrvFeatures | Tag::TlsCltFeatures)) => {
                if self.site.features.tls_session_features {
                    self.tls_features(item, tag, name);
                }
                return;
            }
            _ => None,
        };
        if let Some(expected) = expected {
            let text = format!("{}: expected {expected}, found {rhs}", item.lhs_text());
            self.say(item.line, Severity::Error, text);
        }
    }

    fn verdict(&mut self, item: &Item, tag: Option<Tag>, name: &str) {
        let skip = self
            .site
            .features
            .access
            .as_ref()
            .is_some_and(|access| access.skip);
        let verdict = Verdict::parse_with(&item.rhs, &self.site.classes.accept_words);
        let rhs = item.rhs_text();
        match verdict {
            Verdict::Skip if !skip => {
                let text = format!(
                    "{}: SKIP is sent to the client as the text of a refusal without FEATURE(access_db, ..., skip)",
                    item.lhs_text()
                );
                self.say(item.line, Severity::Error, text);
            }
            Verdict::Error(_)
                if !rhs.to_ascii_uppercase().starts_with("ERROR:") && !is_reply(&rhs) =>
            {
                let text = format!(
                    "{}: {rhs} is none of OK RELAY REJECT DISCARD SKIP QUARANTINE: ERROR:, so it is sent as the text of a refusal",
                    item.lhs_text()
                );
                self.say(item.line, Severity::Warning, text);
            }
            Verdict::Relay if matches!(tag, None | Some(Tag::Connect)) => {
                let top =
                    !name.contains(['.', ':', '@']) && !name.bytes().all(|b| b.is_ascii_digit());
                if top && !name.is_empty() && name != "localhost" {
                    let text = format!("{} lets a whole top-level domain relay", item.lhs_text());
                    self.say(item.line, Severity::Error, text);
                }
            }
            _ => {}
        }
    }

    /// Words of `Srv_Features:`, of which the first letter counts.
    fn features(&mut self, item: &Item) {
        let (lhs, rhs) = (item.lhs_text(), item.rhs_text());
        for word in words(&rhs) {
            let text = match word {
                Word::Known(_, _, word) if word.len() > 1 => {
                    let first = word.get(..1).unwrap_or_default();
                    format!(
                        "{lhs}: of {word} the first letter counts, {first}; write blanks between letters"
                    )
                }
                Word::Known(..) => continue,
                Word::Unknown(word) => {
                    format!(
                        "{lhs}: {word} is none of the letters a b c d e l p s v x and has no effect"
                    )
                }
            };
            self.say(item.line, Severity::Warning, text);
        }
    }

    /// `Clt_Features:` switches DANE and MTA-STS; neither is done.
    fn client_features(&mut self, item: &Item) {
        let rhs = item.rhs_text();
        for word in rhs
            .split_whitespace()
            .filter(|w| !w.starts_with(['D', 'M']))
        {
            let text = format!(
                "{}: {word} has no effect: servers are asked for nothing that it could switch on",
                item.lhs_text()
            );
            self.say(item.line, Severity::Warning, text);
        }
    }

    /// `Options=...; CipherList=...`: what can't be done means no TLS with that peer.
    fn tls_features(&mut self, item: &Item, tag: Tag, name: &str) {
        let what = item.lhs_text();
        let features = match TlsFeatures::parse(&item.rhs_text()) {
            Ok(features) => features,
            Err(error) => {
                let text = format!("{what}: no TLS with this peer: {error}");
                self.say(item.line, Severity::Error, text);
                return;
            }
        };
        for word in features.older() {
            let text = format!("{what}: {word} {}", OptionError::Old);
            self.say(item.line, Severity::Warning, text);
        }
        for path in features.files() {
            if !self.site.below(path).exists() {
                let text = format!("{what}: {} is not there", path.display());
                self.say(item.line, Severity::Error, text);
            }
        }
        let tls = &self.site.options.tls;
        let terms = features.on(&match tag {
            Tag::TlsSrvFeatures => tls.server_terms(),
            _ => tls.client_terms(),
        });
        if !terms.has_tls() {
            let text = format!("{what}: no TLS with this peer: no version or no cipher is left");
            self.say(item.line, Severity::Error, text);
        } else if terms.ciphers.is_some_and(|list| list.is_empty()) {
            let text = format!(
                "{what}: no cipher of TLS 1.2 is left that is spoken here, so only TLS 1.3 is"
            );
            self.say(item.line, Severity::Warning, text);
        }
        if name.is_empty() {
            let text = format!("{what}: nothing asks for the bare tag");
            self.say(item.line, Severity::Warning, text);
        }
    }

    /// `VERIFY`, `VERIFY:bits`, `ENCR:bits`, after `TEMP+` or `PERM+`, and `+CN`, `+CI:`, `+CS:` behind them.
    fn tls_rule(&mut self, item: &Item, tag: Option<Tag>) {
        let rhs = item.rhs_text().to_ascii_uppercase();
        let rule = rhs
            .strip_prefix("TEMP+")
            .or(rhs.strip_prefix("PERM+"))
            .unwrap_or(&rhs);
        let rule = rule.split('+').next().unwrap_or_default();
        let bits = match rule.split_once(':') {
            Some(("VERIFY" | "ENCR", bits)) => bits.parse::<u32>().ok(),
            None if rule == "VERIFY" => Some(0),
            _ => None,
        };
        let Some(bits) = bits else {
            let text = format!(
                "{}: expected VERIFY, VERIFY:bits or ENCR:bits, found {rhs}",
                item.lhs_text()
            );
            self.say(item.line, Severity::Error, text);
            return;
        };
        let tls = &self.site.options.tls;
        let what = item.lhs_text();
        if bits > 256 {
            let text = format!("{what}: nobody can meet this: no cipher has more than 256 bits");
            self.say(item.line, Severity::Error, text);
        } else if tag == Some(Tag::TlsClt) && tls.server_cert.is_none() {
            // The rule may well be what is wanted, and the certificate what is missing.
            let text = format!(
                "{what}: no client can meet this: without ServerCertFile there is no STARTTLS"
            );
            self.say(item.line, Severity::Warning, text);
        } else if tag == Some(Tag::TlsClt) && rule.starts_with("VERIFY") && tls.srv_options.has('V')
        {
            let text = format!(
                "{what}: no client can meet this: with V in TLSSrvOptions none is asked for a certificate"
            );
            self.say(item.line, Severity::Warning, text);
        } else if rule.starts_with("VERIFY") && tls.ca_file.is_none() && tls.ca_path.is_none() {
            let text = format!(
                "{what}: nobody can meet this: without CACertFile and CACertPath no certificate is trusted"
            );
            self.say(item.line, Severity::Warning, text);
        }
    }

    /// Passwords of AuthInfo entries, which nobody else may read.
    fn secrets(&mut self, line: u32) {
        use std::os::unix::fs::MetadataExt;
        let mut map = self.path.as_os_str().to_owned();
        map.push(".db");
        for path in [self.path.to_path_buf(), map.into()] {
            let Ok(facts) = std::fs::metadata(&path) else {
                continue;
            };
            if facts.mode() & 0o004 != 0 {
                let text = format!(
                    "the passwords of AuthInfo entries in {} can be read by everybody",
                    path.display()
                );
                self.say(line, Severity::Error, text);
            }
        }
    }
}

/// A reply code and text.
fn is_reply(rhs: &str) -> bool {
    let rhs = rhs.trim_start_matches('"');
    let Some((code, text)) = rhs.split_at_checked(3) else {
        return false;
    };
    matches!(code.as_bytes().first(), Some(b'4' | b'5'))
        && code.bytes().all(|b| b.is_ascii_digit())
        && text.starts_with([' ', ':'])
}

/// Tag and name of an LHS; without a tag, none. An unknown tag is given back.
fn split_tag(lhs: &str) -> Result<(Option<Tag>, &str), &str> {
    let Some((head, name)) = lhs.split_once(':') else {
        return Ok((None, lhs));
    };
    if head.eq_ignore_ascii_case("ipv6")
        || head.bytes().all(|b| b.is_ascii_hexdigit()) && name.contains(':')
    {
        return Ok((None, lhs));
    }
    let other = ["bcc", "qgrp", "citag", "cert"];
    match Tag::ALL
        .iter()
        .find(|tag| head.eq_ignore_ascii_case(tag.as_str()))
    {
        Some(tag) => Ok((Some(*tag), name)),
        // Tags of features that look further on their own.
        None if other.iter().any(|tag| head.eq_ignore_ascii_case(tag)) => {
            Ok((Some(Tag::CertIssuer), name))
        }
        None => Err(head),
    }
}

/// The tag that an unknown one likely means.
fn like(unknown: &str) -> String {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['_', '-'], "");
    let wanted = plain(unknown);
    let close = |tag: &&Tag| distance(&plain(tag.as_str()), &wanted) <= 2;
    let meant = Tag::ALL
        .iter()
        .filter(|_| (3..=20).contains(&wanted.len()))
        .find(close);
    meant.map_or_else(String::new, |tag| format!("; {}: is meant?", tag.as_str()))
}

/// How many letters have to be put in, taken out or changed to make one word of the other (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, a) in left.bytes().enumerate() {
        let mut diagonal = at;
        let mut last = at + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(right.bytes()) {
            let change = diagonal + usize::from(a != b);
            diagonal = *cell;
            *cell = change.min(*cell + 1).min(last + 1);
            last = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = at + 1;
        }
    }
    row.last().copied().unwrap_or(left.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_letters() {
        for (left, right, expected) in [
            ("", "abc", 3),
            ("conect", "connect", 1),
            ("from", "form", 2),
            ("to", "to", 0),
        ] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
            assert_eq!(distance(right, left), expected, "{right} {left}");
        }
    }
}
