//! `sendmail.mc` to [`Site`].
//!
//! The m4 processor hands over each of sendmail's macros; this module knows
//! them natively, so sendmail's own `.m4` files are not needed (an
//! `include(...cf.m4)` is passed over knowingly). What a file asks for and
//! this suite does not do is reported with file and line: as a warning where
//! only a nicety is lost, as an error where going on would change who may
//! relay or log in, or where mail goes.

mod cftext;
mod class;
mod config;
mod defaults;
mod feature;
mod finish;
mod ldap;
mod listen;
mod mailer;
mod mailer_line;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub(crate) use self::defaults::options as default_options;
use self::listen::Ports;
use super::diagnostic::{Diagnostic, Place, Severity};
use super::m4::{Call, M4, M4Error, Step};
use super::machine::Machine;
use super::model::Site;

/// Largest configuration or class file that is read.
pub(crate) const FILE_OCTETS: u64 = 32 << 20;

/// sendmail's macros that are known natively.
const NATIVES: &[&str] = &[
    "VERSIONID",
    "OSTYPE",
    "DOMAIN",
    "FEATURE",
    "HACK",
    "MAILER",
    "MODIFY_MAILER_FLAGS",
    "MASQUERADE_AS",
    "MASQUERADE_DOMAIN",
    "MASQUERADE_DOMAIN_FILE",
    "MASQUERADE_EXCEPTION",
    "MASQUERADE_EXCEPTION_FILE",
    "EXPOSED_USER",
    "EXPOSED_USER_FILE",
    "GENERICS_DOMAIN",
    "GENERICS_DOMAIN_FILE",
    "VIRTUSER_DOMAIN",
    "VIRTUSER_DOMAIN_FILE",
    "RELAY_DOMAIN",
    "RELAY_DOMAIN_FILE",
    "LOCAL_DOMAIN",
    "LOCAL_USER",
    "LOCAL_USER_FILE",
    "CANONIFY_DOMAIN",
    "CANONIFY_DOMAIN_FILE",
    "DAEMON_OPTIONS",
    "CLIENT_OPTIONS",
    "TRUST_AUTH_MECH",
    "INPUT_MAIL_FILTER",
    "MAIL_FILTER",
    "QUEUE_GROUP",
    "LDAPROUTE_DOMAIN",
    "LDAPROUTE_DOMAIN_FILE",
    "LDAPROUTE_EQUIVALENT",
    "LDAPROUTE_EQUIVALENT_FILE",
    "SITECONFIG",
    "SITE",
    "UUCPSMTP",
    "PUSHDIVERT",
    "POPDIVERT",
    "LOCAL_CONFIG",
    "LOCAL_NET_CONFIG",
    "LOCAL_RULE_0",
    "LOCAL_RULE_1",
    "LOCAL_RULE_2",
    "LOCAL_RULE_3",
    "LOCAL_RULESETS",
    "LOCAL_UUCP",
    "LOCAL_DNSBL",
    "LOCAL_SRV_FEATURES",
    "LOCAL_CLT_FEATURES",
    "LOCAL_TRY_TLS",
    "LOCAL_TLS_RCPT",
    "LOCAL_TLS_CLIENT",
    "LOCAL_TLS_SERVER",
    "MAILER_DEFINITIONS",
];

/// Diversion of `LOCAL_CONFIG`.
const CONFIG: i64 = 6;

/// What a `.mc` file came to.
#[derive(Debug)]
pub struct Read {
    /// The model; where `diagnostics` hold an error it is not to be acted on.
    pub site: Site,
    /// Findings in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads the text of a `.mc` file. Files that it names are read below `site.root`; relative ones from the folder of `path`.
///
/// A text that does not expand (a quotation without an end, endless recursion) is an error among the diagnostics.
#[must_use]
pub fn read(root: Option<&Path>, path: &Path, text: Vec<u8>, machine: &Machine) -> Read {
    let mut reader = Reader::new(root, path);
    if let Err(error) = reader.run(path, text, machine) {
        reader
            .m4
            .report_at(&error.place, Severity::Error, error.text);
    }
    Read {
        diagnostics: reader.m4.take_findings(),
        site: reader.site,
    }
}

/// The state of reading one `.mc` file.
struct Reader {
    m4: M4,
    site: Site,
    /// Folder that relative includes are taken from.
    folder: PathBuf,
    classes: Vec<class::Statement>,
    /// Flags given by MODIFY_MAILER_FLAGS.
    flags: mailer::FlagChanges,
    diversions: Vec<i64>,
    /// DAEMON_OPTIONS and CLIENT_OPTIONS, in the order of the file.
    port_lines: Vec<listen::PortLine>,
    /// Maps by LDAP.
    ldap_maps: Vec<ldap::Pending>,
    has_ostype: bool,
    /// `$w` and `$m` as the lines read so far have them.
    local: cftext::LocalNames,
}

impl Reader {
    fn new(root: Option<&Path>, path: &Path) -> Self {
        let mut m4 = M4::new(NATIVES);
        for (name, text) in defaults::EVERYWHERE {
            m4.define(name, text.as_bytes());
        }
        let site = Site {
            root: root.map(Path::to_path_buf),
            ..Site::default()
        };
        Reader {
            m4,
            site,
            folder: path.parent().map(Path::to_path_buf).unwrap_or_default(),
            classes: Vec::new(),
            flags: mailer::FlagChanges::default(),
            diversions: Vec::new(),
            port_lines: Vec::new(),
            ldap_maps: Vec::new(),
            has_ostype: false,
            local: cftext::LocalNames::default(),
        }
    }

    fn run(&mut self, path: &Path, text: Vec<u8>, machine: &Machine) -> Result<(), M4Error> {
        self.local = cftext::LocalNames::of(&machine.name);
        // Until cf.m4 is read, m4's own comments count; a file that does not include it is read after it.
        if memchr::memmem::find(&text, b"m4/cf.m4").is_some() {
            self.m4.set_comments(Some((b"#", b"\n")));
        }
        self.m4.push_file(path, text)?;
        loop {
            match self.m4.step()? {
                Step::Native(call) => self.native(&call)?,
                Step::Include {
                    path,
                    optional,
                    place,
                } => self.include(&path, optional, &place)?,
                Step::End => break,
            }
        }
        self.finish(machine)
    }

    fn native(&mut self, call: &Call) -> Result<(), M4Error> {
        let first = lossy(call.argument(0));
        match call.name.as_str() {
            "VERSIONID" => {}
            "OSTYPE" => self.ostype(&first, &call.place)?,
            "DOMAIN" => self.domain(&first, &call.place)?,
            "FEATURE" => self.feature(call)?,
            "HACK" => self.hack(&first, &call.place)?,
            "MAILER" => self.mailer(call)?,
            "MODIFY_MAILER_FLAGS" => self.flags.modify(&first, &lossy(call.argument(1))),
            "MASQUERADE_AS" => {
                self.note_place("MASQUERADE_AS", &call.place);
                self.m4.define("MASQUERADE_NAME", call.argument(0));
            }
            "DAEMON_OPTIONS" => {
                self.m4.define("_DPO_", b"given");
                self.port_line(Ports::Daemon, &first, &call.place);
            }
            "CLIENT_OPTIONS" => self.port_line(Ports::Client, &first, &call.place),
            "MAIL_FILTER" | "INPUT_MAIL_FILTER" => self.mail_filter(call),
            "QUEUE_GROUP" => {
                let text = format!("queue group {first} is ignored: there is one queue");
                self.m4.report_at(&call.place, Severity::Warning, text);
            }
            "SITECONFIG" | "SITE" | "UUCPSMTP" => {
                let text = format!("{} is ignored: UUCP hosts are not known here", call.name);
                self.m4.report_at(&call.place, Severity::Warning, text);
            }
            name if name.starts_with("LDAPROUTE_") => {
                let text = format!("{name} is not supported: it would route {first} by LDAP");
                self.m4.report_at(&call.place, Severity::Error, text);
            }
            "PUSHDIVERT" => {
                self.diversions.push(self.m4.diversion());
                self.m4.divert(first.trim().parse().unwrap_or(0));
            }
            "POPDIVERT" => {
                if let Some(diversion) = self.diversions.pop() {
                    self.m4.divert(diversion);
                }
            }
            "LOCAL_CONFIG" => self.m4.divert(CONFIG),
            name if name.starts_with("LOCAL_") && call.arguments.is_empty()
                || name == "MAILER_DEFINITIONS" =>
            {
                self.section(name)?;
            }
            name => self.class_macro(name, call),
        }
        Ok(())
    }

    /// `LOCAL_RULESETS` and its like: what follows are rules, reported in the end if there are any.
    fn section(&mut self, name: &str) -> Result<(), M4Error> {
        let diversion = match name {
            "LOCAL_NET_CONFIG" => 1,
            "LOCAL_RULE_3" => 2,
            "LOCAL_RULE_0" => 3,
            "LOCAL_UUCP" => 4,
            "MAILER_DEFINITIONS" => 7,
            "LOCAL_DNSBL" => 8,
            _ => 9,
        };
        self.m4.divert(diversion);
        let head = match name {
            "LOCAL_RULE_1" => "Ssender=1\n",
            "LOCAL_RULE_2" => "Srecipient=2\n",
            "LOCAL_SRV_FEATURES" => "SLocal_srv_features",
            "LOCAL_CLT_FEATURES" => "SLocal_clt_features",
            "LOCAL_TRY_TLS" => "SLocal_try_tls",
            "LOCAL_TLS_RCPT" => "SLocal_tls_rcpt",
            "LOCAL_TLS_CLIENT" => "SLocal_tls_client",
            "LOCAL_TLS_SERVER" => "SLocal_tls_server",
            _ => "",
        };
        self.m4.push_text(head.as_bytes())
    }

    fn ostype(&mut self, name: &str, place: &Place) -> Result<(), M4Error> {
        if self.has_ostype {
            let text = format!("OSTYPE({name}) is a second OSTYPE");
            self.m4.report_at(place, Severity::Warning, text);
        }
        self.has_ostype = true;
        if name == "debian" {
            self.debian_facts();
        }
        match defaults::ostype(name) {
            Some(text) => {
                self.note_place("OSTYPE", place);
                self.aside(&text)
            }
            None => {
                let text = format!(
                    "OSTYPE({name}) is not known: paths are those of no system in particular"
                );
                self.m4.report_at(place, Severity::Warning, text);
                Ok(())
            }
        }
    }

    fn domain(&mut self, name: &str, place: &Place) -> Result<(), M4Error> {
        if let Some(text) = defaults::domain(name) {
            self.note_place("DOMAIN", place);
            return self.aside(text);
        }
        let path = format!("/usr/share/sendmail/cf/domain/{name}.m4");
        self.aside(&format!("sinclude(`{path}')"))?;
        if crate::opening::metadata(&self.site.below(Path::new(&path))).is_err() {
            let text =
                format!("DOMAIN({name}) needs {path}, which is not there; it may change anything");
            self.m4.report_at(place, Severity::Error, text);
        }
        Ok(())
    }

    fn hack(&mut self, name: &str, place: &Place) -> Result<(), M4Error> {
        if name == "debian_auth" {
            let text =
                "HACK(debian_auth) is done in part: users of class t may not use AUTH= for others";
            self.m4.report_at(place, Severity::Warning, text);
            return self.aside(
                "define(`confDEF_AUTH_INFO', MAIL_SETTINGS_DIR`default-auth-info')\
                 define(`confTRUSTED_USERS', ifdef(`confTRUSTED_USERS', `confTRUSTED_USERS,')`sendmail')",
            );
        }
        let text = format!(
            "HACK({name}) is not supported: it holds rules of its own, which may change anything"
        );
        self.m4.report_at(place, Severity::Error, text);
        Ok(())
    }

    fn debian_facts(&mut self) {
        for (name, text) in defaults::DEBIAN_FACTS {
            self.m4.define(name, text.as_bytes());
        }
    }

    /// Reads definitions whose own output is dropped.
    fn aside(&mut self, text: &str) -> Result<(), M4Error> {
        self.m4
            .push_text(format!("PUSHDIVERT(-1){text}POPDIVERT()").as_bytes())
    }

    fn include(&mut self, path: &[u8], optional: bool, place: &Place) -> Result<(), M4Error> {
        let name = lossy(path);
        if name.ends_with("/cf.m4") || name == "cf.m4" {
            // changecom() is the first thing that cf.m4 does.
            self.m4.set_comments(None);
            return Ok(());
        }
        if name.ends_with("debian/autoconf.m4") {
            self.debian_facts();
            return Ok(());
        }
        let file = if name.starts_with('/') {
            self.site.below(Path::new(&name))
        } else {
            self.folder.join(&name)
        };
        match super::load::read_file(&file) {
            Ok(text) => self.m4.push_file(&file, text),
            Err(error) if optional && error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                let text = format!("{}: {error}; it may change anything", file.display());
                self.m4.report_at(place, Severity::Error, text);
                Ok(())
            }
        }
    }

    /// Remembers where a thing was said first.
    fn note_place(&mut self, what: &str, place: &Place) {
        self.site
            .places
            .entry(what.to_owned())
            .or_insert_with(|| place.clone());
    }

    /// The value of a macro as text, if it is defined.
    fn value(&mut self, name: &str) -> Result<Option<String>, M4Error> {
        Ok(self.m4.value(name)?.map(|text| lossy(&text)))
    }
}

/// Text of a configuration; octets that are not UTF-8 are replaced.
fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}
