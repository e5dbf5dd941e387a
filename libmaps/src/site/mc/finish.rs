//! The end of the file: what the definitions come to.

use super::cftext::LocalNames;
use super::class::What;
use super::config::weight_of;
use super::{M4Error, Machine, Place, Reader, Severity};
use crate::site::machine::domain_literal;
use crate::site::model::options::{Options, conf_names};
use crate::site::model::{Mailer, RegexMap, ReplyText};

/// `conf` macros that are no options.
const NO_OPTIONS: &[&str] = &[
    "confCF_VERSION",
    "confCLIENT_OPTIONS",
    "confCR_FILE",
    "confCT_FILE",
    "confCW_FILE",
    "confDAEMON_OPTIONS",
    "confDEQUOTE_OPTS",
    "confDOMAIN_NAME",
    "confEBINDIR",
    "confFROM_HEADER",
    "confLDAP_CLUSTER",
    "confLOCAL_MAILER",
    "confMAILER_NAME",
    "confMESSAGEID_HEADER",
    "confMESSAGE_TIMEOUT",
    "confRCPTREJ_MSG",
    "confRECEIVED_HEADER",
    "confREJECT_MSG",
    "confRELAY_MAILER",
    "confRELAY_MSG",
    "confSMTP_MAILER",
    "confTRUSTED_USERS",
    "confUUCP_MAILER",
];

/// Those of them that nothing is done about, and what is lost by that.
const UNDONE: &[(&str, &str)] = &[
    ("confDEQUOTE_OPTS", "no rule of this site's own dequotes"),
    (
        "confFROM_HEADER",
        "a From: that is added has the form of sendmail's own",
    ),
    (
        "confMESSAGEID_HEADER",
        "a Message-Id: that is added has the form of sendmail's own",
    ),
    (
        "confRECEIVED_HEADER",
        "Received: has the form of sendmail's own",
    ),
];

/// Options whose line stands above `LOCAL_CONFIG` in sendmail.cf: an `O` line there comes after it.
const EARLY: &[&str] = &["DontBlameSendmail", "LDAPDefaultSpec"];

impl Reader {
    pub(super) fn finish(&mut self, machine: &Machine) -> Result<(), M4Error> {
        let place = self.whole_file();
        self.note_place(crate::site::model::WHOLE_FILE, &place);
        if !self.has_ostype {
            self.m4.report_at(
                &place,
                Severity::Warning,
                "no OSTYPE: paths are those of no system in particular",
            );
        }
        if !self.m4.is_defined("_MAILER_local_") {
            self.m4.push_text(b"MAILER(`local')")?;
            while let super::Step::Native(call) = self.m4.step()? {
                self.native(&call)?;
            }
        }
        // The order of sendmail.cf: LOCAL_CONFIG, the options that macros set, the mailers.
        self.options(|name| EARLY.contains(&name))?;
        self.config_lines(&[0, super::CONFIG]);
        self.message_timeout()?;
        self.options(|name| !EARLY.contains(&name))?;
        self.places();
        self.listeners()?;
        self.config_lines(&[7]);
        self.rules();
        self.names(machine)?;
        self.ldap_cluster();
        self.relays()?;
        self.mailers()?;
        self.messages()?;
        self.certificates()?;
        self.class_lines(machine)?;
        self.fill_classes();
        self.finish_ldap();
        self.virtual_hosts_relay();
        self.site.keep_own_classes();
        self.unknown_options();
        Ok(())
    }

    /// `confMESSAGE_TIMEOUT`, which is `return` or `return/warning`, and wins over the macros of each.
    fn message_timeout(&mut self) -> Result<(), M4Error> {
        let conf = "confMESSAGE_TIMEOUT";
        let Some(value) = self.value(conf)? else {
            return Ok(());
        };
        let place = self.m4.defined_at(conf).cloned();
        let place = place.unwrap_or_else(|| self.whole_file());
        let (returned, warned) = match value.split_once('/') {
            Some((returned, warned)) => (returned, Some(warned)),
            None => (value.as_str(), None),
        };
        let parts = [
            ("confTO_QUEUERETURN", Some(returned)),
            ("confTO_QUEUEWARN", warned),
        ];
        for (name, text) in parts {
            if let Some(text) = text {
                self.m4.define_at(name, text.as_bytes(), &place);
            }
        }
        Ok(())
    }

    /// Where the site says what is no option and is told of.
    fn places(&mut self) {
        for name in [
            "MAIL_HUB",
            "SMART_HOST",
            "LUSER_RELAY",
            "LOCAL_RELAY",
            "confDOMAIN_NAME",
            "confRELAY_MSG",
        ] {
            if let Some(place) = self.m4.defined_at(name).cloned() {
                self.note_place(name, &place);
            }
        }
    }

    fn options(&mut self, which: impl Fn(&str) -> bool) -> Result<(), M4Error> {
        for (name, conf) in conf_names().filter(|(name, _)| which(name)) {
            // As in sendmail.cf, the options of filters stand there only where there are filters.
            if name.starts_with("Milter.") && self.site.filters.is_empty() {
                continue;
            }
            let Some(value) = self.value(conf)? else {
                continue;
            };
            let value = value.trim();
            if let Some(place) = self.site.options.given(name).cloned()
                && !Options::adds_up(name)
            {
                let text =
                    format!("O {name} is overridden by {conf}, which comes later in sendmail.cf");
                self.m4.report_at(&place, Severity::Warning, text);
            }
            match self.m4.defined_at(conf).cloned() {
                Some(place) => self.set_option(name, value, &place),
                None => {
                    // Defaults of ours read; a test goes over all of them.
                    let _ = self.site.options.set_default(name, value);
                }
            }
        }
        Ok(())
    }

    fn names(&mut self, machine: &Machine) -> Result<(), M4Error> {
        let defined = self.value("confDOMAIN_NAME")?;
        let name = defined.map_or_else(|| machine.name.clone(), |text| self.cf_text(text.trim()));
        let of_name = LocalNames::of(&name);
        if self.local.domain.is_empty() {
            self.local.domain = of_name.domain;
        }
        if self.local.host.is_empty() {
            self.local.host = of_name.host;
        }
        if !name.contains('.') {
            let place = self.whole_file();
            let text = format!("the host name {name:?} is not qualified; define confDOMAIN_NAME");
            self.m4.report_at(&place, Severity::Warning, text);
        }
        self.site.domain = self.local.domain.clone();
        self.site.short_name = self.local.host.clone();
        self.site.host_name = name;
        let error_name = self.value("confMAILER_NAME")?;
        self.site.error_name = error_name.unwrap_or_else(|| "MAILER-DAEMON".to_owned());
        Ok(())
    }

    fn relays(&mut self) -> Result<(), M4Error> {
        // $M may stand in the others, so it comes first.
        if let Some(name) = self.value("MASQUERADE_NAME")? {
            self.site.masquerade.name = Some(self.cf_text(name.trim()));
        }
        let mut relay = |name: &str| -> Result<Option<String>, M4Error> {
            let text = self.value(name)?;
            Ok(text
                .map(|text| self.cf_text(text.trim()))
                .filter(|text| !text.is_empty()))
        };
        let smart_host = relay("SMART_HOST")?;
        let luser = relay("LUSER_RELAY")?;
        let mail_hub = relay("MAIL_HUB")?;
        let local = relay("LOCAL_RELAY")?;
        let uucp = relay("UUCP_RELAY")?;
        let bitnet = relay("BITNET_RELAY")?;
        let decnet = relay("DECNET_RELAY")?;
        let fax = relay("FAX_RELAY")?;
        let relays = &mut self.site.relays;
        relays.smart_host = smart_host;
        relays.luser = luser;
        relays.mail_hub = mail_hub;
        relays.local = local;
        relays.uucp = uucp;
        relays.bitnet = bitnet;
        relays.decnet = decnet;
        relays.fax = fax;
        Ok(())
    }

    fn mailers(&mut self) -> Result<(), M4Error> {
        let local = self.value("confLOCAL_MAILER")?;
        let smtp = self.value("confSMTP_MAILER")?;
        let relay = self.value("confRELAY_MAILER")?;
        let uucp = self.value("confUUCP_MAILER")?;
        let mailers = &mut self.site.mailers;
        let set = |slot: &mut String, value: Option<String>| {
            if let Some(value) = value {
                value.trim().clone_into(slot);
            }
        };
        set(&mut mailers.local, local);
        set(&mut mailers.smtp, smtp);
        set(&mut mailers.uucp, uucp);
        if !mailers.speaks_smtp {
            mailers.relay = "unknown".to_owned();
        }
        set(&mut mailers.relay, relay);
        // Those that sendmail has by itself (its conf.c).
        for (name, path, flags, arguments) in [
            ("*file*", "[FILE]", "lsDFMPEouq9", "FILE $u"),
            ("*include*", "/dev/null", "su", "INCLUDE $u"),
        ] {
            mailers.defined.push(Mailer {
                name: name.to_owned(),
                path: path.to_owned(),
                flags: flags.to_owned(),
                arguments: arguments.to_owned(),
                ..Mailer::default()
            });
        }
        Ok(())
    }

    fn messages(&mut self) -> Result<(), M4Error> {
        let uses_auth = self.classes.iter().any(|c| c.class == "TrustAuthMech");
        let default = if uses_auth {
            "\"550 Relaying denied. Proper authentication required.\""
        } else {
            "\"550 Relaying denied\""
        };
        let relay = self.value("confRELAY_MSG")?;
        let recipient = self.value("confRCPTREJ_MSG")?;
        let reject = self.value("confREJECT_MSG")?;
        let messages = &mut self.site.messages;
        messages.relay = ReplyText(relay.unwrap_or_else(|| default.to_owned()));
        if let Some(text) = recipient {
            messages.recipient = ReplyText(text);
        }
        if let Some(text) = reject {
            messages.reject = ReplyText(text);
            messages.reject_status = None;
        }
        Ok(())
    }

    /// cf/README, "STARTTLS": what of certificates is asked for, and how bad TLS is refused.
    fn certificates(&mut self) -> Result<(), M4Error> {
        self.site.features.tls_perm_err = self.m4.is_defined("TLS_PERM_ERR");
        self.site.features.cert_issuer = self.certificate_regex("_CERT_REGEX_ISSUER_")?;
        self.site.features.cert_subject = self.certificate_regex("_CERT_REGEX_SUBJECT_")?;
        Ok(())
    }

    fn certificate_regex(&mut self, name: &str) -> Result<Option<RegexMap>, M4Error> {
        let Some(text) = self.value(name)? else {
            return Ok(None);
        };
        let place = self.m4.defined_at(name).cloned();
        let place = place.unwrap_or_else(|| self.whole_file());
        Ok(self.regex(name, &text, &place))
    }

    /// The class lines that every sendmail.cf has.
    fn class_lines(&mut self, machine: &Machine) -> Result<(), M4Error> {
        let whole = self.whole_file();
        let place = |reader: &Self, name: &str| {
            reader
                .site
                .places
                .get(name)
                .cloned()
                .unwrap_or_else(|| whole.clone())
        };
        let folder = self.value("MAIL_SETTINGS_DIR")?.unwrap_or_default();
        self.add_class("w", What::Words("localhost".to_owned()), &whole);
        if self.site.features.use_cw_file {
            let place = place(self, "FEATURE(use_cw_file)");
            let file = self.value("confCW_FILE")?.unwrap_or_default();
            self.add_class("w", What::File(file), &place);
        }
        if let Some(file) = self.value("confCR_FILE")? {
            let place = self.m4.defined_at("confCR_FILE").unwrap_or(&whole).clone();
            self.add_class("R", What::File(file), &place);
        }
        if self.site.features.use_ct_file {
            let place = place(self, "FEATURE(use_ct_file)");
            let file = self
                .value("confCT_FILE")?
                .unwrap_or_else(|| format!("{folder}trusted-users"));
            self.add_class("t", What::File(file), &place);
        }
        self.add_class("t", What::Words("root daemon".to_owned()), &whole);
        if self.site.features.nouucp.is_none() {
            self.add_class("t", What::Words("uucp".to_owned()), &whole);
        }
        if let Some(users) = self.value("confTRUSTED_USERS")? {
            // A T line separates by blanks; sites write commas too.
            self.add_class("t", What::Words(users.replace(',', " ")), &whole);
        }
        self.site.classes.pseudo_domains.insert(b".");
        for (relay, name) in [
            (self.site.relays.uucp.is_some(), "UUCP"),
            (self.site.relays.bitnet.is_some(), "BITNET"),
            (self.site.relays.decnet.is_some(), "DECNET"),
            (self.site.relays.fax.is_some(), "FAX"),
        ] {
            if relay {
                self.site.classes.pseudo_domains.insert(name.as_bytes());
            }
        }
        for word in ["OK", "RELAY"] {
            self.site.classes.accept_words.insert(word.as_bytes());
        }
        self.machine_classes(machine);
        Ok(())
    }

    fn machine_classes(&mut self, machine: &Machine) {
        let compressed = self.site.options.addresses.compressed_ipv6;
        let probe = self
            .site
            .options
            .addresses
            .dont_probe_interfaces
            .to_ascii_lowercase();
        let classes = &mut self.site.classes;
        for name in machine
            .aliases
            .iter()
            .chain([&machine.name, &self.site.host_name])
        {
            if !name.is_empty() {
                classes.local_hosts.insert(name.as_bytes());
            }
        }
        if !self.site.domain.is_empty() {
            classes.local_domains.insert(self.site.domain.as_bytes());
        }
        let probed = match &*probe {
            probe if probe.starts_with(['t', 'y']) => &[],
            _ => machine.interfaces.as_slice(),
        };
        let loopback_too = !probe.starts_with("loop");
        let probed = probed.iter().filter(|a| loopback_too || !a.is_loopback());
        // Those of the name are no matter of interfaces.
        for address in machine.own.iter().chain(probed) {
            classes
                .local_hosts
                .insert(domain_literal(*address, compressed).as_bytes());
        }
    }

    /// `CR$={VirtHost}`: relaying is allowed for virtual domains.
    fn virtual_hosts_relay(&mut self) {
        self.site.shared_classes.copy("VirtHost", "R");
        let words: Vec<Vec<u8>> = self
            .site
            .classes
            .virtual_hosts
            .iter()
            .map(<[u8]>::to_vec)
            .collect();
        self.site
            .classes
            .relay_domains
            .extend(words.iter().map(Vec::as_slice));
    }

    /// Reports `conf` macros that nobody asks, which are likely misspelt.
    fn unknown_options(&mut self) {
        let known: std::collections::HashSet<&str> = conf_names()
            .map(|(_, conf)| conf)
            .chain(NO_OPTIONS.iter().copied())
            .collect();
        for name in self.m4.defined_texts() {
            if !name.starts_with("conf") || known.contains(name.as_str()) {
                continue;
            }
            if let Some(place) = self.m4.defined_at(&name).cloned() {
                let text = format!("{name} is not known and has no effect");
                self.m4.report_at(&place, weight_of(&name), text);
            }
        }
        for (name, loss) in UNDONE {
            if let Some(place) = self.m4.defined_at(name).cloned() {
                let text = format!("{name} is not done: {loss}");
                self.m4.report_at(&place, Severity::Warning, text);
            }
        }
    }

    fn whole_file(&self) -> Place {
        self.m4.main_file()
    }
}
