//! Values that sendmail does not start with: words it does not know, users who are not there.

use super::undone::place;
use crate::site::ids::{default_user_of, ids_of, user_of};
use crate::site::{Diagnostic, Severity, Site};

/// The words of DontBlameSendmail, as sendmail 8.17 has them.
const WAIVERS: &[&str] = &[
    "AssumeSafeChown",
    "ClassFileInUnsafeDirPath",
    "DontWarnForwardFileInUnsafeDirPath",
    "ErrorHeaderInUnsafeDirPath",
    "FileDeliveryToHardLink",
    "FileDeliveryToSymLink",
    "ForwardFileInGroupWritableDirPath",
    "ForwardFileInUnsafeDirPath",
    "ForwardFileInUnsafeDirPathSafe",
    "GroupReadableDefaultAuthInfoFile",
    "GroupReadableKeyFile",
    "GroupReadableSASLDBFile",
    "GroupWritableAliasFile",
    "GroupWritableDirPathSafe",
    "GroupWritableForwardFile",
    "GroupWritableForwardFileSafe",
    "GroupWritableIncludeFile",
    "GroupWritableIncludeFileSafe",
    "GroupWritableSASLDBFile",
    "HelpFileInUnsafeDirPath",
    "IncludeFileInGroupWritableDirPath",
    "IncludeFileInUnsafeDirPath",
    "IncludeFileInUnsafeDirPathSafe",
    "InsufficientEntropy",
    "LinkedAliasFileInWritableDir",
    "LinkedClassFileInWritableDir",
    "LinkedForwardFileInWritableDir",
    "LinkedIncludeFileInWritableDir",
    "LinkedMapInWritableDir",
    "LinkedServiceSwitchFileInWritableDir",
    "MapInUnsafeDirPath",
    "NonRootSafeAddr",
    "RunProgramInUnsafeDirPath",
    "RunWritableProgram",
    "Safe",
    "TrustStickyBit",
    "WorldWritableAliasFile",
    "WorldWritableForwardFile",
    "WorldWritableIncludeFile",
    "WriteMapToHardLink",
    "WriteMapToSymLink",
    "WriteStatsToHardLink",
    "WriteStatsToSymLink",
];

/// What the site says and nobody can do. Told is only what somebody wrote: a system need not have sendmail's own
/// DefaultUser.
pub(super) fn findings(site: &Site, all: &mut Vec<Diagnostic>) {
    let options = &site.options;
    let mut find = |what: &str, fault: Option<String>| {
        if let Some(fault) = fault
            && let Some(at) = options.given(what)
        {
            let text = format!("{what}: {fault}");
            all.push(Diagnostic::new(at, Severity::Error, text));
        }
    };
    let delivery = &options.delivery.mode;
    find("DeliveryMode", unknown("delivery mode", delivery, "biqd"));
    let order = &options.queue.sort_order;
    find("QueueSortOrder", unknown("order", order, "hptrmnfs"));
    for word in &options.files.dont_blame.0 {
        let is_known = WAIVERS.iter().any(|w| w.eq_ignore_ascii_case(word));
        let fault = (!is_known).then(|| format!("there is no word {word}"));
        find("DontBlameSendmail", fault);
    }
    find("DefaultUser", default_user_of(site).err());
    let [trusted, run_as] = [&options.files.trusted_user, &options.files.run_as_user];
    if !trusted.trim().is_empty() {
        find("TrustedUser", user_of(site, trusted.trim()).err());
    }
    if !run_as.trim().is_empty() {
        find("RunAsUser", ids_of(site, run_as.trim()).err());
    }
    for daemon in &site.daemons {
        let mode = daemon.other("DeliveryMode").unwrap_or_default();
        if let Some(fault) = unknown("delivery mode", mode, "biqd") {
            let at = place(site, &format!("DAEMON_OPTIONS({})", daemon.name));
            let text = format!("daemon {}: {fault}", daemon.name);
            all.push(Diagnostic::new(&at, Severity::Error, text));
        }
    }
}

/// Of words like these the first letter counts, in either case.
fn unknown(what: &str, value: &str, letters: &str) -> Option<String> {
    let first = value.trim().chars().next()?;
    let is_known = letters.contains(first.to_ascii_lowercase());
    (!is_known).then(|| format!("there is no {what} {value}"))
}
