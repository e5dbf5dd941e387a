//! What a configuration allows that it likely should not, or asks for that can't work.
//!
//! Each finding is a [`Diagnostic`] at the line that says the thing. Findings are about this host as it stands: files are
//! looked at below the site's root, and nothing else is asked.

#[cfg(test)]
mod tests;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::map::StoreError;
use crate::store::path::with_suffix;
use crate::store::shared::Connection;
use crate::terms::{OptionError, Terms};

use super::diagnostic::{Diagnostic, Place, Severity};
use super::model::options::PrivacyFlag;
use super::model::{MapSpec, RelayMailFrom, Site, WHOLE_FILE};

/// Checks the configuration.
#[must_use]
pub fn check(site: &Site) -> Vec<Diagnostic> {
    let mut check = Check {
        site,
        found: Vec::new(),
    };
    check.open_relay();
    check.tls();
    check.authentication();
    check.maps();
    check.names();
    check.filters();
    check.limits();
    check.found
}

struct Check<'a> {
    site: &'a Site,
    found: Vec<Diagnostic>,
}

impl Check<'_> {
    /// The place where `what` was said, or the configuration as a whole.
    fn place(&self, what: &str) -> Place {
        let said = self
            .site
            .places
            .get(what)
            .or_else(|| self.site.options.given(what));
        let whole = self.site.places.get(WHOLE_FILE);
        said.or(whole)
            .cloned()
            .unwrap_or_else(|| Place::new(Path::new(super::load::DEFAULT_FILE), 0))
    }

    fn say(&mut self, what: &str, severity: Severity, text: impl Into<String>) {
        let place = self.place(what);
        self.found.push(Diagnostic::new(&place, severity, text));
    }

    /// Features that let strangers relay.
    fn open_relay(&mut self) {
        let features = &self.site.features;
        let mail_from = features.relay_mail_from;
        for (name, on, text) in [
            (
                "promiscuous_relay",
                features.promiscuous_relay,
                "open relay: every host may send to everybody",
            ),
            (
                "relay_local_from",
                features.relay_local_from,
                "open relay: whoever claims a local sender may send to everybody, and senders are easily forged",
            ),
            (
                "relay_mail_from",
                mail_from == Some(RelayMailFrom::Domain),
                "open relay: whoever claims a sender of a From: domain with RELAY may send to everybody",
            ),
            (
                "relay_mail_from",
                mail_from == Some(RelayMailFrom::Address),
                "whoever claims a sender with From: RELAY may send to everybody",
            ),
            (
                "relay_based_on_MX",
                features.relay_based_on_mx,
                "any domain whose owner names this host as MX is relayed to",
            ),
            (
                "loose_relay_check",
                features.loose_relay_check,
                "user%other@relayed.domain is passed on to other",
            ),
            (
                "accept_unqualified_senders",
                features.accept_unqualified_senders,
                "senders without a domain are accepted from everybody",
            ),
        ] {
            if on {
                let severity = if text.starts_with("open relay") {
                    Severity::Error
                } else {
                    Severity::Warning
                };
                self.say(
                    &format!("FEATURE({name})"),
                    severity,
                    format!("FEATURE({name}): {text}"),
                );
            }
        }
        let relay: Vec<String> = self
            .site
            .classes
            .relay_domains
            .sorted()
            .iter()
            .map(|w| String::from_utf8_lossy(w).into_owned())
            .collect();
        for word in relay {
            let top_level =
                !word.contains(['.', ':', '[']) && word.bytes().any(|b| b.is_ascii_alphabetic());
            let wide_network = word.bytes().all(|b| b.is_ascii_digit()) && word != "127";
            if top_level && word != "localhost" {
                let text =
                    format!("relay domain {word} is a whole top-level domain, or lacks its domain");
                self.say("RELAY_DOMAIN", Severity::Warning, text);
            } else if wide_network && word != "10" {
                let text = format!("relay network {word} holds 16 million addresses");
                self.say("RELAY_DOMAIN", Severity::Warning, text);
            }
        }
    }

    fn tls(&mut self) {
        let tls = &self.site.options.tls;
        let pairs = [
            (
                "ServerCertFile",
                &tls.server_cert,
                "ServerKeyFile",
                &tls.server_key,
            ),
            (
                "ClientCertFile",
                &tls.client_cert,
                "ClientKeyFile",
                &tls.client_key,
            ),
        ];
        let mut files = Vec::new();
        for (cert_option, cert, key_option, key) in pairs {
            match (cert, key) {
                (Some(_), None) => self.say(
                    cert_option,
                    Severity::Error,
                    format!("{cert_option} without {key_option}"),
                ),
                (None, Some(_)) => self.say(
                    key_option,
                    Severity::Error,
                    format!("{key_option} without {cert_option}"),
                ),
                _ => {}
            }
            files.extend(cert.as_deref().map(|path| (cert_option, path.to_owned())));
            if let Some(path) = key {
                files.push((key_option, path.clone()));
                self.private_file(key_option, path);
            }
        }
        for (option, path) in [
            ("CACertFile", &tls.ca_file),
            ("CACertPath", &tls.ca_path),
            ("CRLFile", &tls.crl_file),
        ] {
            files.extend(path.as_deref().map(|path| (option, path.to_owned())));
        }
        for (option, path) in files {
            // A list of two files is for two kinds of keys.
            for part in path.to_string_lossy().split(',') {
                if !self.site.below(Path::new(part)).exists() {
                    self.say(
                        option,
                        Severity::Error,
                        format!("{option}: {part} is not there"),
                    );
                }
            }
        }
        if self.site.options.tls.server_cert.is_none() {
            for option in [
                "ServerSSLOptions",
                "TLSSrvOptions",
                "DHParameters",
                "CACertFile",
                "CRLFile",
            ] {
                if self.site.options.given(option).is_some() {
                    self.say(
                        option,
                        Severity::Warning,
                        format!("{option} has no effect: there is no ServerCertFile"),
                    );
                }
            }
        }
        self.old_protocols();
        if self.site.options.tls.fallback_to_clear {
            let text = "TLSFallbacktoClear: who breaks the handshake reads the mail";
            self.say("TLSFallbacktoClear", Severity::Warning, text);
        }
    }

    /// Words about protocols that are never spoken.
    fn old_protocols(&mut self) {
        let tls = &self.site.options.tls;
        let sides = [
            ("ServerSSLOptions", tls.server_options.0.clone()),
            ("ClientSSLOptions", tls.client_options.0.clone()),
        ];
        for (option, words) in sides {
            for word in words {
                let old = [
                    "SSL_OP_NO_SSLv2",
                    "SSL_OP_NO_SSLv3",
                    "SSL_OP_NO_TLSv1",
                    "SSL_OP_NO_TLSv1_1",
                ];
                let name = word.trim_start_matches(['+', '-']);
                if let Err(error @ OptionError::Old) = Terms::default().set_option(&word) {
                    self.say(
                        option,
                        Severity::Warning,
                        format!("{option}: {word} {error}"),
                    );
                } else if old.iter().any(|o| o.eq_ignore_ascii_case(name)) {
                    let text = format!(
                        "{option}: {word} changes nothing: protocols older than TLS 1.2 are never spoken"
                    );
                    self.say(option, Severity::Note, text);
                }
            }
        }
    }

    /// A file with a secret: nobody but its owner (and, where the site waives that, its group) may read it.
    fn private_file(&mut self, option: &str, path: &Path) {
        let Ok(facts) = std::fs::metadata(self.site.below(path)) else {
            return;
        };
        let mode = facts.mode();
        if mode & 0o007 != 0 {
            let text = format!(
                "{option}: {} can be read or written by everybody (mode {:04o})",
                path.display(),
                mode & 0o7777
            );
            self.say(option, Severity::Error, text);
        } else if mode & 0o070 != 0
            && !self
                .site
                .options
                .files
                .dont_blame
                .has("GroupReadableKeyFile")
        {
            let text = format!(
                "{option}: {} can be read by its group (mode {:04o})",
                path.display(),
                mode & 0o7777
            );
            self.say(option, Severity::Warning, text);
        }
    }

    fn authentication(&mut self) {
        let auth = &self.site.options.auth;
        let plain = auth.mechanisms.has("PLAIN") || auth.mechanisms.has("LOGIN");
        let has_tls = self.site.options.tls.server_cert.is_some();
        let given = self.site.options.given("AuthMechanisms").is_some();
        if given && plain && !auth.options.has('p') {
            let text = "PLAIN and LOGIN are offered without TLS: passwords cross the network in clear; add p to confAUTH_OPTIONS";
            self.say("AuthMechanisms", Severity::Warning, text);
        }
        if given && plain && auth.options.has('p') && !has_tls {
            let text = "PLAIN and LOGIN need TLS (confAUTH_OPTIONS has p), but there is no ServerCertFile: nobody can log in with them";
            self.say("AuthMechanisms", Severity::Warning, text);
        }
        let trusted = self.site.classes.trusted_mechanisms.sorted();
        let trusted: Vec<String> = trusted
            .iter()
            .map(|w| String::from_utf8_lossy(w).to_uppercase())
            .collect();
        for mechanism in trusted {
            if given && !self.site.options.auth.mechanisms.has(&mechanism) {
                let text = format!(
                    "TRUST_AUTH_MECH: {mechanism} is not among confAUTH_MECHANISMS, so nobody relays by it"
                );
                self.say("TRUST_AUTH_MECH", Severity::Warning, text);
            }
        }
        for daemon in self
            .site
            .daemons
            .iter()
            .filter(|d| d.modifiers.has('a') && d.modifiers.has('A'))
        {
            let text = format!(
                "listener {} requires AUTH (a) and offers none (A): A counts, no login is required",
                daemon.name
            );
            self.say(
                &format!("DAEMON_OPTIONS({})", daemon.name),
                Severity::Error,
                text,
            );
        }
        if let Some(path) = self.site.options.auth.default_info.clone() {
            self.private_file("DefaultAuthInfo", &path);
        }
        if let Some(map) = self.site.features.authinfo.clone() {
            let file = with_suffix(map.path.as_os_str(), ".db");
            if file != map.path {
                self.private_file("FEATURE(authinfo)", &map.path);
            }
            self.private_file("FEATURE(authinfo)", &file);
        }
    }

    /// Maps that must be there: without `-o` a missing one stops the server.
    fn maps(&mut self) {
        let tables = self.site.features.tables();
        let maps: Vec<(&str, MapSpec)> = tables.map(|(name, map)| (name, map.clone())).collect();
        for (name, map) in maps {
            let what = format!("FEATURE({name})");
            if map.is_shared() {
                self.shared_map(&what, &map);
                continue;
            }
            let there = self.site.below(&map.path).exists()
                || self
                    .site
                    .below(&with_suffix(map.path.as_os_str(), ".db"))
                    .exists();
            if !there && !map.optional && !map.is_remote() {
                let path = map.path.display();
                let text = format!(
                    "{what}: {path} is not there, and without -o it must be; build it with makemap"
                );
                self.say(&what, Severity::Error, text);
            }
        }
    }

    /// A map that hosts share: the connection file has to be there, and the replica is what is read. A text is on the
    /// host that builds it, if at all.
    fn shared_map(&mut self, what: &str, map: &MapSpec) {
        let file = with_suffix(map.path.as_os_str(), &format!(".{}", map.class));
        // Named in sendmail's own way: the follower makes the file.
        let is_own = self.site.ldap_maps.iter().any(|own| own.file == file);
        let full = self.site.below(&file);
        let (severity, text) = match Connection::readable(&full, self.site.root.as_deref()) {
            Ok(replica) if replica.exists() => return,
            Ok(_) => (Severity::Warning, lacks_replica(what, &file)),
            Err(StoreError::Missing { .. }) if is_own => {
                (Severity::Warning, lacks_replica(what, &file))
            }
            Err(StoreError::Missing { .. }) => (
                Severity::Error,
                format!(
                    "{what}: {} is not there: the connection file, see mapremote(5)",
                    file.display()
                ),
            ),
            Err(error) => (Severity::Error, format!("{what}: {error}")),
        };
        self.say(what, severity, text);
    }

    fn names(&mut self) {
        if !self.site.host_name.contains('.') {
            let text = format!(
                "the host name {:?} is not qualified; define confDOMAIN_NAME",
                self.site.host_name
            );
            self.say("confDOMAIN_NAME", Severity::Warning, text);
        }
        let relays = &self.site.relays;
        for (what, value) in [
            ("SMART_HOST", relays.smart_host.clone()),
            ("MAIL_HUB", relays.mail_hub.clone()),
            ("LOCAL_RELAY", relays.local.clone()),
        ] {
            let Some(value) = value else { continue };
            let (mailer, host) = match value.split_once(':') {
                Some((mailer, host)) if !value.starts_with('[') => (mailer, host),
                _ => ("", value.as_str()),
            };
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            if mailer != "local"
                && mailer != "error"
                && self.site.classes.local_hosts.contains(bare.as_bytes())
            {
                let text =
                    format!("{what}: {bare} is this host: mail would come back to where it is");
                self.say(what, Severity::Error, text);
            }
        }
    }

    fn filters(&mut self) {
        for filter in &self.site.filters.clone() {
            if filter.socket.is_empty() {
                let text = format!("filter {} has no S=: it is never asked", filter.name);
                self.say(
                    &format!("MAIL_FILTER({})", filter.name),
                    Severity::Error,
                    text,
                );
            }
        }
    }

    fn limits(&mut self) {
        let options = &self.site.options;
        let privacy = options.greeting.privacy;
        if !privacy.has(PrivacyFlag::NoVrfy) || !privacy.has(PrivacyFlag::NoExpn) {
            let text = "VRFY and EXPN tell strangers who has a mailbox; add novrfy,noexpn to confPRIVACY_FLAGS";
            self.say("PrivacyOptions", Severity::Note, text);
        }
        if options.delivery.soft_bounce {
            let text = "SoftBounce: no mail is refused for good, not even spam; it is for tests";
            self.say("SoftBounce", Severity::Warning, text);
        }
        if !options.delivery.connect_only_to.is_empty() {
            let text = "ConnectOnlyTo: all outgoing mail goes to one address; it is for tests";
            self.say("ConnectOnlyTo", Severity::Warning, text);
        }
    }
}

fn lacks_replica(what: &str, file: &Path) -> String {
    let file = file.display();
    format!(
        "{what}: {file} has no replica on this host yet; smtpd fetches it when it starts, mapctl follow --once at once"
    )
}
