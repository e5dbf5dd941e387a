//! Options that are read and not acted on.
//!
//! Whatever a site can say is done, or it is told here; the test `site_options` walks all options for that. Told is only
//! what somebody wrote: not what sendmail has by default, nor what OSTYPE and DOMAIN bring along.

use std::collections::HashMap;

use crate::site::Severity::{self, Error, Note, Warning};
use crate::site::model::options::{OptionValue, OptionView};
use crate::site::{Diagnostic, Place, Site, mc};

/// An option, what its loss means, and what is lost.
type Undone = (&'static str, Severity, &'static str);

const UNDONE: &[Undone] = &[
    // Who gets mail.
    (
        "MailboxDatabase",
        Error,
        "local users are those of the system's name services, and of no other database",
    ),
    (
        "UserDatabaseSpec",
        Error,
        "user databases are not read: maildrop would send mail elsewhere, mailname change senders",
    ),
    (
        "MeToo",
        Warning,
        "a sender whom an alias holds gets his message too",
    ),
    (
        "ColonOkInAddr",
        Warning,
        "a colon in an address does not end the name of a list",
    ),
    (
        "DontPruneRoutes",
        Warning,
        "of a source route only the last host counts",
    ),
    (
        "OperatorChars",
        Warning,
        "addresses are taken apart at .:%@!^/[]+ and at nothing else",
    ),
    (
        "ResolverOptions",
        Note,
        "names in mail are complete: no search list is tried, with whatever flags",
    ),
    (
        "Timeout.resolver.retrans.first",
        Note,
        "Timeout.resolver.retrans is for all attempts",
    ),
    (
        "Timeout.resolver.retrans.normal",
        Note,
        "Timeout.resolver.retrans is for all attempts",
    ),
    (
        "Timeout.resolver.retry.first",
        Note,
        "Timeout.resolver.retry is for all attempts",
    ),
    (
        "Timeout.resolver.retry.normal",
        Note,
        "Timeout.resolver.retry is for all attempts",
    ),
    // How safe it travels.
    (
        "DANE",
        Error,
        "TLSA records are not asked for, and mail would go where they forbid it; TLS_Srv: entries can demand TLS",
    ),
    (
        "StrictTransportSecurity",
        Error,
        "MTA-STS policies are not asked for, and mail would go without them; TLS_Srv: entries can demand TLS",
    ),
    (
        "CipherSuites",
        Warning,
        "the cipher suites are all that TLS 1.3 has",
    ),
    (
        "SSLEngine",
        Warning,
        "keys are read from files, not from an engine",
    ),
    ("SSLEnginePath", Note, "there are no engines"),
    (
        "CertFingerprintAlgorithm",
        Note,
        "no rule here asks for the fingerprint of a certificate",
    ),
    (
        "DHParameters",
        Note,
        "keys are agreed on by elliptic curves",
    ),
    ("RandFile", Note, "random octets are those of the kernel"),
    (
        "AuthMaxBits",
        Note,
        "no mechanism here has a security layer of its own; TLS has",
    ),
    // What a message looks like.
    (
        "SevenBitInput",
        Warning,
        "the eighth bit of what comes by SMTP is kept; sendmail(8) takes it off",
    ),
    (
        "NoRecipientAction",
        Warning,
        "a header without recipients stays as it is",
    ),
    (
        "MaxMimeHeaderLength",
        Warning,
        "long fields of a MIME header are not cut",
    ),
    (
        "MustQuoteChars",
        Warning,
        "full names are quoted as by default",
    ),
    (
        "SingleLineFromHeader",
        Warning,
        "a From: field keeps its lines",
    ),
    (
        "UnixFromLine",
        Warning,
        "the line between the messages of a mailbox is From, the sender and the date",
    ),
    (
        "SaveFromLine",
        Warning,
        "a From line above a header is dropped",
    ),
    (
        "TimeZoneSpec",
        Warning,
        "dates are in the time zone of the system",
    ),
    // Who is asked and told.
    (
        "Timeout.ident",
        Warning,
        "clients are not asked who they are (RFC 1413)",
    ),
    (
        "UseErrorsTo",
        Warning,
        "notices go to the sender, not to those of Errors-To",
    ),
    (
        "DirectSubmissionModifiers",
        Warning,
        "no rule here asks ${daemon_flags} of a message from this host",
    ),
    (
        "AddBcc",
        Note,
        "without FEATURE(bcc) nobody asks for copies",
    ),
    // Files and users.
    (
        "TempFileMode",
        Warning,
        "files that mail is delivered to are made with mode 0600",
    ),
    (
        "QueueFileMode",
        Note,
        "the queue is for its server alone, mailq asks that",
    ),
    (
        "DontInitGroups",
        Warning,
        "a user's programs have all groups of the user",
    ),
    (
        "UnsafeGroupWrites",
        Note,
        "DontBlameSendmail says which files that a group can write to are trusted",
    ),
    (
        "UseMSP",
        Warning,
        "only FEATURE(msp) makes a submission program",
    ),
    ("AliasWait", Note, "a map is complete whenever it is read"),
    ("HelpFile", Note, "HELP is answered by the program itself"),
    ("StatusFile", Note, "no statistics are kept"),
    (
        "ControlSocketName",
        Note,
        "there is no control socket; signals and mailq do its work",
    ),
    ("LogLevel", Note, "the log holds what it holds at 9"),
    (
        "RejectLogInterval",
        Note,
        "each connection that is refused is logged",
    ),
    ("ProcessTitlePrefix", Note, "processes keep their names"),
    ("SharedMemoryKey", Note, "no memory is shared"),
    ("SharedMemoryKeyFile", Note, "no memory is shared"),
    // How the work is done.
    (
        "SuperSafe",
        Note,
        "250 always means stored, which is safer; sendmail would lose accepted mail in a crash",
    ),
    ("RequiresDirfsync", Note, "folders are always synced"),
    (
        "MaxRunnersPerQueue",
        Note,
        "there is one queue; MaxQueueChildren bounds its deliveries",
    ),
    ("NiceQueueRun", Note, "deliveries run as the server does"),
    (
        "QueueFactor",
        Note,
        "QueueLA alone says when messages are only queued",
    ),
    ("ForkEachJob", Note, "no delivery is a process of its own"),
    (
        "FastSplit",
        Note,
        "recipients are sorted by host in any case",
    ),
    (
        "CheckpointInterval",
        Note,
        "what has become of a recipient is stored at once",
    ),
    (
        "DialDelay",
        Note,
        "a connection that fails is not tried again at once",
    ),
    (
        "HostStatusDirectory",
        Note,
        "the server itself knows how hosts do",
    ),
    (
        "DataFileBufferSize",
        Note,
        "messages are written as they come",
    ),
    ("XscriptFileBufferSize", Note, "there are no transcripts"),
    ("Timeout.misc", Note, "no such command is sent"),
    ("Timeout.fileopen", Note, "no file is waited for"),
    ("Timeout.control", Note, "there is no control socket"),
    ("Milter.LogLevel", Note, "mail filters are not asked"),
    ("Milter.macros.connect", Note, "mail filters are not asked"),
    ("Milter.macros.helo", Note, "mail filters are not asked"),
    ("Milter.macros.envfrom", Note, "mail filters are not asked"),
    ("Milter.macros.envrcpt", Note, "mail filters are not asked"),
    ("Milter.macros.data", Note, "mail filters are not asked"),
    ("Milter.macros.eoh", Note, "mail filters are not asked"),
    ("Milter.macros.eom", Note, "mail filters are not asked"),
];

/// The options that are told where a site gives them, with what their loss means.
pub fn undone() -> impl Iterator<Item = (&'static str, Severity)> {
    UNDONE.iter().map(|(name, severity, ..)| (*name, *severity))
}

/// What a site says and nothing is done about.
pub(super) fn findings(site: &Site) -> Vec<Diagnostic> {
    let usual: HashMap<&str, String> = mc::default_options()
        .views()
        .into_iter()
        .map(|view| (view.name, view.value))
        .collect();
    let views: HashMap<&str, OptionView> = site
        .options
        .views()
        .into_iter()
        .map(|view| (view.name, view))
        .collect();
    let told = UNDONE.iter().filter_map(|(name, severity, loss)| {
        let at = site.options.given(name).filter(|at| !is_usual(site, at))?;
        let value = &views.get(name)?.value;
        let is_default = usual.get(name) == Some(value);
        if is_default || value.is_empty() || is_harmless(name, value) {
            return None;
        }
        let text = format!("{name} is not done: {loss}");
        Some(Diagnostic::new(at, weight(site, name, *severity), text))
    });
    told.collect()
}

/// Whether a line is one that brings the habits of a system: OSTYPE, DOMAIN of sendmail's own and of Debian's, FEATURE(msp).
fn is_usual(site: &Site, at: &Place) -> bool {
    ["OSTYPE", "DOMAIN", "FEATURE(msp)"]
        .iter()
        .any(|what| site.places.get(*what) == Some(at))
}

/// Values that ask for nothing in other words.
fn is_harmless(name: &str, value: &str) -> bool {
    match name {
        "DANE" => !value.is_empty() && bool::read(value) == Ok(false),
        "TimeZoneSpec" => value == "USE_SYSTEM",
        "SuperSafe" => bool::read(value) == Ok(true),
        "Timeout.ident" => value == "0s",
        "NoRecipientAction" => value.eq_ignore_ascii_case("none"),
        _ => false,
    }
}

/// A user database that is not there is no loss: sendmail passes over it.
fn weight(site: &Site, name: &str, severity: Severity) -> Severity {
    if name != "UserDatabaseSpec" {
        return severity;
    }
    let mut parts = site.options.files.user_database.split(',').map(str::trim);
    let is_there = |part: &str| {
        let path = std::path::Path::new(part);
        let with_suffix = crate::store::path::with_suffix(path.as_os_str(), ".db");
        !path.is_absolute() || site.below(path).exists() || site.below(&with_suffix).exists()
    };
    match parts.any(|part| !part.is_empty() && is_there(part)) {
        true => severity,
        false => Warning,
    }
}
