//! FEATURE lines.

use super::listen::Ports;
use super::{Call, M4Error, Place, Reader, Severity, lossy};
use crate::site::model::{
    AccessDb, Bang, Control, DelayChecks, DelayMode, DnsList, DnsListAction, DnsListKind,
    GreetPause, LocalDelivery, MapSpec, NoCanonify, RegexMap, RelayMailFrom, ReplyText,
};

impl Reader {
    pub(super) fn feature(&mut self, call: &Call) -> Result<(), M4Error> {
        let name = lossy(call.argument(0));
        let place = &call.place;
        let argument = |number: usize| lossy(call.argument(number)).trim().to_owned();
        self.note_place(&format!("FEATURE({name})"), place);
        if self.m4.is_defined("_MAILER_DEFINED_") {
            let text = format!(
                "FEATURE({name}) stands after MAILER: it may come too late for the mailers"
            );
            self.m4.report_at(place, Severity::Warning, text);
        }
        if self.table(&name, call)? || self.switch(&name) {
            return Ok(());
        }
        match name.as_str() {
            "blocklist_recipients" | "blacklist_recipients" => {
                let on = self.has_access(&name, place);
                self.site.features.blocklist_recipients |= on;
            }
            "delay_checks" => self.delay_checks(&argument(1), !argument(2).is_empty(), place),
            "dnsbl" | "enhdnsbl" | "rhsbl" => self.dns_list(&name, call),
            "greet_pause" => self.greet_pause(&argument(1), place),
            "ratecontrol" => self.site.features.ratecontrol = self.control(&name, call),
            "conncontrol" => self.site.features.conncontrol = self.control(&name, call),
            "compat_check" => {
                let on = self.has_access(&name, place);
                self.site.features.compat_check |= on;
            }
            "relay_mail_from" if self.has_access(&name, place) => {
                self.site.features.relay_mail_from = Some(match argument(1).as_str() {
                    "domain" => RelayMailFrom::Domain,
                    _ => RelayMailFrom::Address,
                });
            }
            "relay_mail_from" => {}
            "badmx" => {
                let text = or(&argument(1), r"^(127\.|10\.|0\.0\.0\.0)");
                self.site.features.badmx = self.regex("FEATURE(badmx)", &text, place);
            }
            "check_other" => {
                let text = or(&argument(1), r"^[[:print:]]+ *:");
                self.site.features.check_other = self.regex("FEATURE(check_other)", &text, place);
            }
            "lookupdotdomain" => {
                self.has_access(&name, place);
                if let Some(access) = &mut self.site.features.access {
                    access.lookup_dot_domain = true;
                }
            }
            "block_bad_helo" => {
                self.site.features.block_bad_helo = true;
                self.m4.push_text(
                    b"RELAY_DOMAIN(`127.0.0.1')RELAY_DOMAIN(`IPv6:0:0:0:0:0:0:0:1 IPv6:::1')\
                      LOCAL_DOMAIN(`[127.0.0.1]')LOCAL_DOMAIN(`[IPv6:0:0:0:0:0:0:0:1] [IPv6:::1]')",
                )?;
            }
            "check_cert_altnames" => {
                self.site.features.check_cert_altnames = true;
                self.site.options.tls.set_cert_altnames = true;
            }
            "nouucp" => {
                self.site.features.nouucp = self.bang(&name, &argument(1), place);
            }
            "nopercenthack" => {
                self.site.features.nopercenthack = self.bang(&name, &argument(1), place);
            }
            "nocanonify" => {
                let canonify_hosts = argument(1).eq_ignore_ascii_case("canonify_hosts");
                self.site.features.nocanonify = Some(NoCanonify { canonify_hosts });
            }
            "always_add_domain" => self.site.features.always_add_domain = Some(argument(1)),
            "redirect" => {
                self.site.features.redirect = true;
                self.site.classes.pseudo_domains.insert(b"REDIRECT");
            }
            "local_procmail" | "local_lmtp" | "smrsh" => self.local_delivery(&name, call)?,
            "nullclient" => self.nullclient(&argument(1), place)?,
            "msp" => self.msp(&argument(1), &argument(2), place)?,
            "tls_failures" => self.m4.define("confTLS_FALLBACK_TO_CLEAR", b"true"),
            "notsticky" => {}
            _ => self.unsupported(&name, place),
        }
        Ok(())
    }

    /// Features that hold a map.
    fn table(&mut self, name: &str, call: &Call) -> Result<bool, M4Error> {
        let file = match name {
            "access_db" => "access",
            "mailertable" | "virtusertable" | "genericstable" | "domaintable" | "authinfo"
            | "uucpdomain" | "bitdomain" => name,
            _ => return Ok(false),
        };
        let given = lossy(call.argument(1)).trim().to_owned();
        let text = if given.is_empty() {
            let class = self.value("DATABASE_MAP_TYPE")?.unwrap_or_default();
            let folder = self.value("MAIL_SETTINGS_DIR")?.unwrap_or_default();
            let mark = if name == "access_db" { "-T<TMPF> " } else { "" };
            format!("{class} {mark}{folder}{file}")
        } else {
            self.ldap_table(name, &given, &call.place).unwrap_or(given)
        };
        let Some(mut map) = self.map_spec(name, &text, &call.place) else {
            return Ok(true);
        };
        let features = &mut self.site.features;
        match name {
            "access_db" => {
                if map.temporary_mark.is_none() {
                    map.temporary_mark = Some("<TMPF>".to_owned());
                    map.flags.insert(0, "-T<TMPF>".to_owned());
                    let text =
                        format!("FEATURE(access_db) without -T<TMPF>, which is added: {text}");
                    self.m4.report_at(&call.place, Severity::Note, text);
                }
                let options: Vec<String> = (2..5)
                    .map(|n| lossy(call.argument(n)).trim().to_ascii_lowercase())
                    .collect();
                let has = |word: &str| options.iter().any(|option| option == word);
                self.site.features.access = Some(AccessDb {
                    map,
                    skip: has("skip"),
                    lookup_dot_domain: has("lookupdotdomain"),
                    relay_to_full_address: has("relaytofulladdress"),
                });
                let known = ["", "skip", "lookupdotdomain", "relaytofulladdress"];
                for option in options.iter().filter(|o| !known.contains(&o.as_str())) {
                    let text = format!("FEATURE(access_db): option {option} is not known");
                    self.m4.report_at(&call.place, Severity::Error, text);
                }
                self.m4.define("_ACCESS_TABLE_", b"");
            }
            "mailertable" => features.mailertable = Some(map),
            "virtusertable" => features.virtusertable = Some(map),
            "genericstable" => features.genericstable = Some(map),
            "domaintable" => features.domaintable = Some(map),
            "authinfo" => features.authinfo = Some(map),
            _ => {
                if name == "uucpdomain" {
                    features.uucpdomain = Some(map);
                } else {
                    features.bitdomain = Some(map);
                }
                let text =
                    format!("FEATURE({name}) is ignored: its pseudo-domain is not rewritten");
                self.m4.report_at(&call.place, Severity::Warning, text);
            }
        }
        Ok(true)
    }

    pub(super) fn map_spec(&mut self, name: &str, text: &str, place: &Place) -> Option<MapSpec> {
        match MapSpec::parse(text) {
            Ok(map) => {
                let map = map.named(line_name(name));
                let fault = match (map.stored(), map.address()) {
                    (Some(_), _) => None,
                    (None, Some(address)) => {
                        let fault = |fault| format!("{}: {fault}", map.path.display());
                        address.err().map(fault)
                    }
                    (None, None) => Some(format!("map class {} is not supported", map.class)),
                };
                if let Some(fault) = fault {
                    let why = format!("FEATURE({name}): {fault}");
                    self.m4.report_at(place, Severity::Error, why);
                }
                for (flag, loss) in map.idle_flags() {
                    let why = format!("FEATURE({name}): {flag} is ignored: {loss}");
                    self.m4.report_at(place, Severity::Warning, why);
                }
                Some(map)
            }
            Err(why) => {
                self.m4.report_at(
                    place,
                    Severity::Error,
                    format!("FEATURE({name}): {why}: {text}"),
                );
                None
            }
        }
    }

    /// The argument of a map of class `regex`; one that can't be read is an error.
    pub(super) fn regex(&mut self, what: &str, text: &str, place: &Place) -> Option<RegexMap> {
        match RegexMap::parse(text) {
            Ok(map) => Some(map),
            Err(why) => {
                let text = format!("{what}: {why}");
                self.m4.report_at(place, Severity::Error, text);
                None
            }
        }
    }

    /// Features without arguments.
    fn switch(&mut self, name: &str) -> bool {
        let features = &mut self.site.features;
        let masquerade = &mut self.site.masquerade;
        let switch = match name {
            "virtuser_entire_domain" => &mut features.virtuser_entire_domain,
            "generics_entire_domain" => &mut features.generics_entire_domain,
            "accept_unresolvable_domains" => &mut features.accept_unresolvable_domains,
            "accept_unqualified_senders" => &mut features.accept_unqualified_senders,
            "require_rdns" => &mut features.require_rdns,
            "use_client_ptr" => &mut features.use_client_ptr,
            "relay_entire_domain" => &mut features.relay_entire_domain,
            "relay_hosts_only" => &mut features.relay_hosts_only,
            "relay_local_from" => &mut features.relay_local_from,
            "relay_based_on_MX" => &mut features.relay_based_on_mx,
            "promiscuous_relay" => &mut features.promiscuous_relay,
            "loose_relay_check" => &mut features.loose_relay_check,
            "tls_session_features" => &mut features.tls_session_features,
            "use_cw_file" => &mut features.use_cw_file,
            "use_ct_file" => &mut features.use_ct_file,
            "stickyhost" => &mut features.stickyhost,
            "preserve_local_plus_detail" => &mut features.preserve_local_plus_detail,
            "preserve_luser_host" => &mut features.preserve_luser_host,
            "no_default_msa" => &mut features.no_default_msa,
            "allmasquerade" => &mut masquerade.all,
            "limited_masquerade" => &mut masquerade.limited,
            "masquerade_entire_domain" => &mut masquerade.entire_domain,
            "masquerade_envelope" => &mut masquerade.envelope,
            "local_no_masquerade" => &mut masquerade.not_local,
            _ => return false,
        };
        *switch = true;
        true
    }

    /// Whether the access map is there already. As with sendmail, a feature that needs it has no effect otherwise.
    fn has_access(&mut self, name: &str, place: &Place) -> bool {
        let there = self.site.features.access.is_some();
        if !there {
            let text =
                format!("FEATURE({name}) has no effect: FEATURE(access_db) must stand before it");
            self.m4.report_at(place, Severity::Warning, text);
        }
        there
    }

    fn delay_checks(&mut self, mode: &str, without_8_10: bool, place: &Place) {
        let mode = match mode.bytes().next().map(|b| b.to_ascii_lowercase()) {
            None => DelayMode::Plain,
            Some(b'f') => DelayMode::Friend,
            Some(b'h') => DelayMode::Hater,
            Some(_) => {
                let text = format!("FEATURE(delay_checks): expected friend or hater: {mode}");
                self.m4.report_at(place, Severity::Error, text);
                DelayMode::Plain
            }
        };
        let compatible_8_10 = !without_8_10;
        self.site.features.delay_checks = Some(DelayChecks {
            mode,
            compatible_8_10,
        });
    }

    fn dns_list(&mut self, name: &str, call: &Call) {
        let argument = |number: usize| lossy(call.argument(number));
        let zone = argument(1).trim().to_owned();
        if zone.is_empty() {
            let text = format!("FEATURE({name}): expected the zone of a DNS list");
            self.m4.report_at(&call.place, Severity::Error, text);
            return;
        }
        let (kind, subject) = match name {
            "dnsbl" => (DnsListKind::Dnsbl, "$&{client_addr}"),
            "enhdnsbl" => (DnsListKind::EnhDnsbl, "$&{client_addr}"),
            _ => (DnsListKind::Rhsbl, "$&{RHS}"),
        };
        let (message, on_failure) = (argument(2), argument(3));
        let action = match (message.as_str(), kind) {
            ("quarantine", DnsListKind::Dnsbl | DnsListKind::EnhDnsbl) => DnsListAction::Quarantine,
            ("discard", DnsListKind::Dnsbl | DnsListKind::EnhDnsbl) => DnsListAction::Discard,
            ("", DnsListKind::Rhsbl) => DnsListAction::Reject(ReplyText(format!(
                "\"550 Mail from \" {subject} \" refused by blackhole site {zone}\""
            ))),
            ("", _) => DnsListAction::Reject(ReplyText(format!(
                "\"550 Rejected: \" {subject} \" listed at {zone}\""
            ))),
            _ => DnsListAction::Reject(ReplyText(message)),
        };
        let on_temporary_failure = match on_failure.as_str() {
            "" => None,
            "t" => Some(format!(
                "\"451 Temporary lookup failure of \" {subject} \" at {zone}\""
            )),
            text => Some(text.to_owned()),
        };
        let results = (4..10).map(argument).filter(|text| !text.is_empty());
        let results = if kind == DnsListKind::EnhDnsbl {
            results.collect()
        } else {
            Vec::new()
        };
        self.site.features.dns_lists.push(DnsList {
            kind,
            zone,
            action,
            on_temporary_failure: on_temporary_failure.map(ReplyText),
            results,
        });
    }

    fn greet_pause(&mut self, text: &str, place: &Place) {
        let milliseconds = text.parse().ok();
        if milliseconds.is_none() && !text.is_empty() {
            let text = format!("FEATURE(greet_pause): expected milliseconds: {text}");
            self.m4.report_at(place, Severity::Warning, text);
        }
        let asks_access = self.site.features.access.is_some();
        if text.is_empty() && !self.has_access("greet_pause", place) {
            return;
        }
        self.site.features.greet_pause = Some(GreetPause {
            milliseconds,
            asks_access,
        });
    }

    fn control(&mut self, name: &str, call: &Call) -> Option<Control> {
        if !self.has_access(name, &call.place) {
            return None;
        }
        let (when, reply) = (lossy(call.argument(1)), lossy(call.argument(2)));
        let mut at_once = when.eq_ignore_ascii_case("nodelay");
        if !at_once && !when.is_empty() || !matches!(reply.as_str(), "" | "terminate") {
            let text = format!("FEATURE({name}): expected nodelay and terminate: {when} {reply}");
            self.m4.report_at(&call.place, Severity::Error, text);
        }
        if at_once && self.site.features.delay_checks.is_none() {
            let text = format!(
                "FEATURE({name}): nodelay has no effect: FEATURE(delay_checks) must stand before it"
            );
            self.m4.report_at(&call.place, Severity::Warning, text);
            at_once = false;
        }
        Some(Control {
            at_once,
            terminate: reply == "terminate",
        })
    }

    fn bang(&mut self, name: &str, text: &str, place: &Place) -> Option<Bang> {
        match text.bytes().next() {
            Some(b'r') => Some(Bang::Reject),
            Some(b'n') => Some(Bang::NoSpecial),
            _ => {
                let text = format!("FEATURE({name}): expected reject or nospecial: {text}");
                self.m4.report_at(place, Severity::Error, text);
                Some(Bang::Reject)
            }
        }
    }

    fn local_delivery(&mut self, name: &str, call: &Call) -> Result<(), M4Error> {
        let given =
            |number: usize| Some(lossy(call.argument(number))).filter(|text| !text.is_empty());
        let folder = self
            .value("confEBINDIR")?
            .unwrap_or_else(|| "/usr/libexec".to_owned());
        let procmail = self.value("PROCMAIL_MAILER_PATH")?;
        if name == "smrsh" {
            let path = given(1).unwrap_or_else(|| format!("{folder}/smrsh"));
            self.m4.define("LOCAL_SHELL_PATH", path.as_bytes());
            if !self.m4.is_defined("LOCAL_SHELL_ARGS") {
                self.m4.define("LOCAL_SHELL_ARGS", b"smrsh -c $u");
            }
            self.site.features.smrsh = Some(path);
            return Ok(());
        }
        let (kind, path, arguments, flags) = if name == "local_procmail" {
            let path = procmail.unwrap_or_else(|| "/usr/local/bin/procmail".to_owned());
            (
                LocalDelivery::Procmail,
                path,
                "procmail -a $h -d $u",
                "SPfhn9",
            )
        } else {
            (
                LocalDelivery::Lmtp,
                format!("{folder}/mail.local"),
                "mail.local -l",
                "PSXmnz9",
            )
        };
        self.site.features.local = kind;
        self.m4
            .define("LOCAL_MAILER_PATH", given(1).unwrap_or(path).as_bytes());
        let arguments = given(2).unwrap_or_else(|| arguments.to_owned());
        self.m4.define("LOCAL_MAILER_ARGS", arguments.as_bytes());
        let flags = given(3)
            .filter(|_| name == "local_procmail")
            .unwrap_or_else(|| flags.to_owned());
        self.m4.define("LOCAL_MAILER_FLAGS", flags.as_bytes());
        Ok(())
    }

    fn nullclient(&mut self, hub: &str, place: &Place) -> Result<(), M4Error> {
        if hub.is_empty() {
            self.m4.report_at(
                place,
                Severity::Error,
                "FEATURE(nullclient): expected the hub",
            );
            return Ok(());
        }
        self.site.features.nullclient = Some(hub.to_owned());
        self.m4.undefine("ALIAS_FILE");
        for name in ["MAIL_HUB", "SMART_HOST", "MASQUERADE_NAME"] {
            self.m4.define(name, hub.as_bytes());
        }
        self.m4.define("confFORWARD_PATH", b"");
        self.m4.define("_DEF_LOCAL_MAILER_FLAGS", b"lsDFM5q");
        self.site.masquerade.all = true;
        self.site.masquerade.envelope = true;
        self.m4.push_text(b"MAILER(`local')MAILER(`smtp')")
    }

    fn msp(&mut self, host: &str, port: &str, place: &Place) -> Result<(), M4Error> {
        let host = or(host, "[localhost]");
        if !self.m4.is_defined("_DPO_") {
            self.m4.define("_DPO_", b"given");
            self.port_line(Ports::Daemon, "Name=NoMTA, Addr=127.0.0.1, M=E", place);
        }
        self.site.features.msp = Some(host.clone());
        self.site.features.no_default_msa = true;
        self.m4.undefine("ALIAS_FILE");
        for (name, text) in [
            ("confDELIVERY_MODE", "i"),
            ("confUSE_MSP", "True"),
            ("confFORWARD_PATH", ""),
            ("confPRIVACY_FLAGS", "goaway,noetrn,restrictqrun"),
            ("confDONT_PROBE_INTERFACES", "True"),
            ("confQUEUE_FILE_MODE", "0660"),
            ("LOCAL_MAILER_PATH", "[IPC]"),
            ("LOCAL_MAILER_FLAGS", "lmDFMuXkw5"),
            ("LOCAL_MAILER_ARGS", "TCP $h"),
            ("LOCAL_SHELL_PATH", "[IPC]"),
            ("LOCAL_SHELL_FLAGS", "lmDFMuXk5"),
            ("LOCAL_SHELL_ARGS", "TCP $h"),
            ("_DEF_LOCAL_MAILER_FLAGS", ""),
            ("_DEF_LOCAL_SHELL_FLAGS", ""),
        ] {
            self.m4.define(name, text.as_bytes());
        }
        if port == "MSA" {
            self.m4.define("RELAY_MAILER_ARGS", b"TCP $h 587");
        }
        self.site.macros.insert("MTAHost".to_owned(), host);
        for mailer in ["SMTP", "ESMTP", "DSMTP", "SMTP8"] {
            self.flags.modify(mailer, "+k5");
        }
        self.flags.modify("RELAY", "+k");
        self.m4.push_text(
            b"ifdef(`confRUN_AS_USER',, `define(`confRUN_AS_USER', `smmsp')')\
              ifdef(`confTRUSTED_USER',, `define(`confTRUSTED_USER', \
              `ifelse(index(confRUN_AS_USER, `:'), -1, `confRUN_AS_USER', \
              `substr(confRUN_AS_USER, 0, index(confRUN_AS_USER, `:'))')')')\
              define(`QUEUE_DIR', ifdef(`MSP_QUEUE_DIR', `MSP_QUEUE_DIR', `/var/spool/clientmqueue'))\
              ifdef(`confPID_FILE',, `define(`confPID_FILE', QUEUE_DIR`/sm-client.pid')')\
              define(`STATUS_FILE', QUEUE_DIR`/sm-client.st')\
              MAILER(`local')MAILER(`smtp')",
        )
    }

    /// Features that this suite does not have.
    fn unsupported(&mut self, name: &str, place: &Place) {
        let (severity, text) = match name {
            "ldap_routing" => (
                Severity::Error,
                "is not supported: it would route mail by LDAP",
            ),
            "bcc" => (
                Severity::Error,
                "is not supported: no copies would be sent; a mail filter can add the recipient",
            ),
            "sts" => (
                Severity::Error,
                "is not supported: MTA-STS policies are not asked for, and mail would go without them; \
                 TLS_Srv: entries can demand TLS",
            ),
            "prefixmod" => (
                Severity::Error,
                "is not supported: recipients with the prefix would be others",
            ),
            "queuegroup" => (Severity::Warning, "is ignored: there is one queue"),
            "bestmx_is_local" => (
                Severity::Error,
                "is not supported: mail for domains that name this host as MX would come back to it; \
                 list them in local-host-names",
            ),
            "domainmap" => (
                Severity::Error,
                "is not supported: it would route mail by a map of its own",
            ),
            "mtamark" => (
                Severity::Warning,
                "is ignored: clients are not asked for MTAMARK records",
            ),
            "drac" => (
                Severity::Warning,
                "is ignored: POP before SMTP relays for nobody",
            ),
            "vnet" => (
                Severity::Warning,
                "is ignored: VNET addresses are not rewritten",
            ),
            _ => (Severity::Error, "is not known; it may change anything"),
        };
        self.m4
            .report_at(place, severity, format!("FEATURE({name}) {text}"));
    }
}

/// The name of the `K` line that sendmail's own FEATURE makes.
fn line_name(feature: &str) -> &str {
    match feature {
        "access_db" => "access",
        "virtusertable" => "virtuser",
        "genericstable" => "generics",
        "uucpdomain" => "uudomain",
        other => other,
    }
}

fn or(text: &str, default: &str) -> String {
    if text.is_empty() { default } else { text }.to_owned()
}
