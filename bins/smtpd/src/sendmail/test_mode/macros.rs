//! Macros and classes of a test session: those of the site, and what `.D` and `.C` set.

use std::collections::BTreeMap;

use libmaps::address::ReversePath;
use libmaps::policy::facts::{Counted, Login, Resolve, Session, Tls};
use libmaps::site::Site;

/// Macros that were set.
pub(super) struct Macros {
    set: BTreeMap<String, String>,
}

impl Macros {
    /// None.
    pub(super) fn new() -> Self {
        Macros {
            set: BTreeMap::new(),
        }
    }

    /// `.D`.
    pub(super) fn define(&mut self, name: &str, value: &str) {
        self.set.insert(name.to_owned(), value.to_owned());
    }

    /// The value of a macro: as set here, else the site's.
    pub(super) fn value<'a>(&'a self, site: &'a Site, name: &str) -> Option<&'a str> {
        if let Some(value) = self.set.get(name) {
            return Some(value);
        }
        Some(match name {
            "j" => &site.host_name,
            "w" => &site.short_name,
            "m" => &site.domain,
            "n" => &site.error_name,
            "v" | "Z" => env!("CARGO_PKG_VERSION"),
            "M" => site.masquerade.name.as_deref()?,
            "S" => site.relays.smart_host.as_deref()?,
            "L" => site.relays.luser.as_deref()?,
            "H" => site.relays.mail_hub.as_deref()?,
            "R" => site.relays.local.as_deref()?,
            other => site.macros.get(other)?,
        })
    }

    fn text(&self, name: &str) -> String {
        self.set.get(name).cloned().unwrap_or_default()
    }

    fn number(&self, name: &str) -> u32 {
        self.text(name).trim().parse().unwrap_or(0)
    }

    /// The session that the macros tell of.
    pub(super) fn session(&self) -> Session {
        let resolve = match self.text("client_resolve").as_str() {
            "FAIL" => Resolve::Fail,
            "FORGED" => Resolve::Forged,
            "TEMP" => Resolve::Temp,
            _ => Resolve::Ok,
        };
        let sender = self.text("f");
        let bare = sender.trim().trim_start_matches('<').trim_end_matches('>');
        let verify = match self.text("verify") {
            empty if empty.is_empty() => "NONE".to_owned(),
            word => word,
        };
        let authid = self.text("auth_authen");
        Session {
            client_addr: self.text("client_addr"),
            client_name: self.text("client_name"),
            client_ptr: match self.text("client_ptr") {
                empty if empty.is_empty() => self.text("client_name"),
                name => name,
            },
            client_resolve: resolve,
            client_rate: self.number("client_rate"),
            client_connections: self.number("client_connections"),
            counted: Counted::Here,
            helo: self.text("s"),
            daemon_flags: self.text("daemon_flags"),
            login: (!self.text("auth_type").is_empty() || !authid.is_empty()).then(|| Login {
                mechanism: self.text("auth_type"),
                authid,
                author: self.text("auth_author"),
                bits: self.number("auth_ssf"),
            }),
            tls: Tls {
                version: self.text("tls_version"),
                cipher: self.text("cipher"),
                bits: self.number("cipher_bits"),
                verify,
                cn_subject: self.text("cn_subject"),
                cert_subject: self.text("cert_subject"),
                cn_issuer: self.text("cn_issuer"),
                cert_issuer: self.text("cert_issuer"),
                altnames: Vec::new(),
            },
            server_name: self.text("server_name"),
            server_addr: self.text("server_addr"),
            sender: ReversePath::parse(bare.as_bytes()).unwrap_or(ReversePath::Null),
            sender_text: format!("<{bare}>"),
        }
    }
}

/// `x rest` or `{name}rest`: a macro's name and what follows it.
pub(super) fn split_name(text: &str) -> Option<(&str, &str)> {
    if let Some(inner) = text.strip_prefix('{') {
        let (name, rest) = inner.split_once('}')?;
        return (!name.is_empty()).then_some((name, rest));
    }
    let first = text.chars().next()?;
    text.split_at_checked(first.len_utf8())
}

/// Adds words to a class; false where the class has no meaning.
pub(super) fn add_words<'a>(
    site: &mut Site,
    name: &str,
    words: impl Iterator<Item = &'a str>,
) -> bool {
    let Some(class) = site.classes.named_mut(name) else {
        return false;
    };
    class.extend(words.map(str::as_bytes));
    true
}
