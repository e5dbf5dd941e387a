//! Mailers: by whom a message is delivered.

use std::collections::BTreeSet;

/// A mailer, as MAILER() and the macros around it define it (an `M` line).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mailer {
    /// Its name: `local`, `prog`, `smtp`, `esmtp`, `relay`, `procmail`, ...
    pub name: String,
    /// `P=`: the program, or `[IPC]` for SMTP.
    pub path: String,
    /// `F=`: its flags (op.me, section 5.4).
    pub flags: String,
    /// `A=`: its arguments, with macros.
    pub arguments: String,
    /// `M=`: most octets of a message.
    pub max_octets: Option<u64>,
    /// `L=`: most octets of a line; none for any.
    pub line_octets: Option<u32>,
    /// `D=`: where it runs: folders separated by colons, with macros.
    pub directory: Option<String>,
    /// `U=`: as whom its program runs, `user` or `user:group`.
    pub user: Option<String>,
    /// `E=`: what ends a line; none for LF.
    pub line_end: Option<String>,
    /// `/=`: the folder that becomes its program's root.
    pub root_folder: Option<String>,
    /// How addresses are rewritten for it.
    pub rewriting: Rewriting,
}

/// The pairs of rulesets that mailers name in `S=` and `R=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rewriting {
    /// `EnvFromL/HdrFromL` and `EnvToL/HdrToL`: local and prog.
    Local,
    /// `EnvFromSMTP/HdrFromL` and `EnvToL/HdrToL`: local with FEATURE(local_lmtp), cyrusv2.
    LocalLmtp,
    /// `EnvFromSMTP/HdrFromSMTP` and `EnvToSMTP` (with FEATURE(allmasquerade) `/HdrFromSMTP`): smtp, esmtp, smtp8, dsmtp.
    Smtp,
    /// `EnvFromSMTP/HdrFromSMTP` and `MasqSMTP` (with FEATURE(allmasquerade) `/MasqRelay`): relay.
    Relay,
    /// `EnvFromSMTP/HdrFromSMTP` and `EnvToSMTP/HdrFromSMTP`: procmail and others that are given SMTP addresses.
    SmtpBoth,
    /// None: `*file*`, `*include*`, error, discard.
    #[default]
    None,
}

impl Mailer {
    /// Whether the flag is set; case counts.
    #[must_use]
    pub fn has(&self, flag: char) -> bool {
        self.flags.contains(flag)
    }
}

/// The mailers of a site, in the order of their definition, and which one is meant by each role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailers {
    /// All mailers.
    pub defined: Vec<Mailer>,
    /// `confLOCAL_MAILER`.
    pub local: String,
    /// `confSMTP_MAILER`.
    pub smtp: String,
    /// `confRELAY_MAILER`.
    pub relay: String,
    /// `confUUCP_MAILER`.
    pub uucp: String,
    /// Whether MAILER(smtp) is there: without it no host is reached by SMTP.
    pub speaks_smtp: bool,
    /// The programs of mailers that were not there when the configuration was read.
    pub missing: BTreeSet<String>,
}

impl Default for Mailers {
    fn default() -> Self {
        Mailers {
            defined: Vec::new(),
            local: "local".to_owned(),
            smtp: "esmtp".to_owned(),
            relay: "relay".to_owned(),
            uucp: "uucp-old".to_owned(),
            speaks_smtp: false,
            missing: BTreeSet::new(),
        }
    }
}

impl Mailers {
    /// The mailer of this name; names are compared without regard to case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Mailer> {
        self.defined
            .iter()
            .find(|mailer| mailer.name.eq_ignore_ascii_case(name))
    }
}
