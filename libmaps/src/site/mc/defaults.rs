//! What sendmail's own `.m4` files define before and around a site's `.mc` file.

use crate::site::model::Options;

/// Definitions made for every site (cf/m4/cfhead.m4), in m4.
pub(super) const EVERYWHERE: &[(&str, &str)] = &[
    ("MAIL_SETTINGS_DIR", "/etc/mail/"),
    ("DATABASE_MAP_TYPE", "hash"),
    ("_CF_DIR_", "/usr/share/sendmail/cf/"),
    ("ALIAS_FILE", "MAIL_SETTINGS_DIR`'aliases"),
    ("HELP_FILE", "MAIL_SETTINGS_DIR`'helpfile"),
    ("QUEUE_DIR", "/var/spool/mqueue"),
    ("confMAILER_NAME", "MAILER-DAEMON"),
    ("confFROM_LINE", "From $g $d"),
    ("confOPERATORS", ".:%@!^/[]+"),
    ("confSMTP_LOGIN_MSG", "$j Sendmail $v/$Z; $b"),
    ("confSEVEN_BIT_INPUT", "False"),
    ("confALIAS_WAIT", "10"),
    ("confMIN_FREE_BLOCKS", "100"),
    ("confBLANK_SUB", "."),
    ("confCON_EXPENSIVE", "False"),
    ("confDELIVERY_MODE", "background"),
    ("confTEMP_FILE_MODE", "0600"),
    ("confMCI_CACHE_SIZE", "2"),
    ("confMCI_CACHE_TIMEOUT", "5m"),
    ("confUSE_ERRORS_TO", "False"),
    ("confLOG_LEVEL", "9"),
    ("confCHECK_ALIASES", "False"),
    ("confOLD_STYLE_HEADERS", "True"),
    ("confPRIVACY_FLAGS", "authwarnings"),
    ("confSAFE_QUEUE", "True"),
    ("confTO_QUEUERETURN", "5d"),
    ("confTO_QUEUEWARN", "4h"),
    ("confTIME_ZONE", "USE_SYSTEM"),
    ("confCW_FILE", "MAIL_SETTINGS_DIR`'local-host-names"),
    ("confMIME_FORMAT_ERRORS", "True"),
    ("confFORWARD_PATH", "$z/.forward.$w:$z/.forward"),
    ("confCR_FILE", "-o MAIL_SETTINGS_DIR`'relay-domains"),
    (
        "confMILTER_MACROS_CONNECT",
        "`j, _, {daemon_name}, {if_name}, {if_addr}'",
    ),
    (
        "confMILTER_MACROS_HELO",
        "`{tls_version}, {cipher}, {cipher_bits}, {cert_subject}, {cert_issuer}'",
    ),
    (
        "confMILTER_MACROS_ENVFROM",
        "`i, {auth_type}, {auth_authen}, {auth_ssf}, {auth_author}, {mail_mailer}, {mail_host}, {mail_addr}'",
    ),
    (
        "confMILTER_MACROS_ENVRCPT",
        "`{rcpt_mailer}, {rcpt_host}, {rcpt_addr}'",
    ),
    ("confMILTER_MACROS_EOM", "{msg_id}"),
];

/// The options of a site that says nothing: sendmail's own defaults, and what it defines for every site.
pub(crate) fn options() -> Options {
    let mut options = Options::default();
    for (conf, text) in EVERYWHERE {
        let text = text.replace("MAIL_SETTINGS_DIR`'", "/etc/mail/");
        let text = text.trim_matches(['`', '\'']);
        if let Some(name) = Options::named_by(conf) {
            // They read; the test below goes over all of them.
            let _ = options.set_default(name, text);
        }
    }
    options
}

const UUX: &str = "define(`UUCP_MAILER_ARGS', `uux - -r -z -a$g $h!rmail ($u)')";
const BSD: &str = "ifdef(`STATUS_FILE',, `define(`STATUS_FILE', `/var/log/sendmail.st')')\
     ifdef(`LOCAL_MAILER_PATH',, `define(`LOCAL_MAILER_PATH', `/usr/libexec/mail.local')')";
const BSD_MAIL: &str = "ifdef(`LOCAL_MAILER_ARGS',, `define(`LOCAL_MAILER_ARGS', `mail $u')')";

/// What OSTYPE(name) defines, in m4 text that is read in its place; none for a system this program does not know.
pub(super) fn ostype(name: &str) -> Option<String> {
    Some(match name {
        "linux" | "mklinux" => "define(`confEBINDIR', `/usr/sbin')\
             ifdef(`PROCMAIL_MAILER_PATH',, `define(`PROCMAIL_MAILER_PATH', `/usr/bin/procmail')')\
             FEATURE(`local_procmail')"
            .to_owned(),
        "debian" => DEBIAN.to_owned(),
        "gnu" => "ifdef(`STATUS_FILE',, `define(`STATUS_FILE', `/var/log/sendmail.st')')\
             ifdef(`LOCAL_MAILER_PATH',, `define(`LOCAL_MAILER_PATH', `/libexec/mail.local')')\
             ifdef(`LOCAL_MAILER_ARGS',, `define(`LOCAL_MAILER_ARGS', `mail $u')')\
             define(`confEBINDIR', `/libexec')"
            .to_owned(),
        "freebsd4" | "freebsd5" | "freebsd6" | "dragonfly" => {
            format!("{BSD}{BSD_MAIL}define(`UUCP_MAILER_PATH', `/usr/local/bin/uux'){UUX}")
        }
        "bsd4.4" | "bsdi" | "bsdi1.0" | "bsdi2.0" | "openbsd" => format!("{BSD}{UUX}"),
        "darwin" => format!(
            "{BSD}{UUX}define(`confDONT_BLAME_SENDMAIL', `AssumeSafeChown,GroupWritableDirPathSafe')"
        ),
        "solaris8" | "solaris11" => "define(`confEBINDIR', `/usr/lib')\
             define(`confPID_FILE', `/var/run/sendmail.pid')define(`_NETINET6_')FEATURE(`local_lmtp')"
            .to_owned(),
        "unknown" => String::new(),
        _ => return None,
    })
}

/// Debian's ostype(debian).
const DEBIAN: &str = "define(`confSMTP_LOGIN_MSG', `$j Sendmail $v/$Z; $b; (No UCE/UBE) $?{client_addr}logging access from: ${client_name}(${client_resolve})-$_$.')\
     define(`confDEAD_LETTER_DROP', `/var/lib/sendmail/dead.letter')\
     define(`STATUS_FILE', `/var/lib/sendmail/sendmail.st')\
     define(`confHOST_STATUS_DIRECTORY', `/var/lib/sendmail/host_status')\
     define(`confCR_FILE', `-o 'MAIL_SETTINGS_DIR`relay-domains %[^\\#]')\
     define(`confCT_FILE', MAIL_SETTINGS_DIR`trusted-users %[^\\#]')\
     define(`confCW_FILE', MAIL_SETTINGS_DIR`local-host-names %[^\\#]')\
     define(`confEBINDIR', `/usr/libexec/sendmail')\
     changequote([, ])define([confMUST_QUOTE_CHARS], [.'])changequote(`, ')\
     define(`confME_TOO', `True')\
     define(`confDEF_USER_ID', `mail:mail')\
     define(`confREJECT_NUL', `true')\
     define(`LOCAL_MAILER_PATH', `/usr/sbin/sensible-mda')\
     define(`LOCAL_MAILER_ARGS', `sensible-mda $g $u $h ${client_addr}')\
     MODIFY_MAILER_FLAGS(`LOCAL', `+S')MODIFY_MAILER_FLAGS(`LOCAL', `-r')MODIFY_MAILER_FLAGS(`LOCAL', `-m')\
     define(`PROCMAIL_MAILER_PATH', `/usr/bin/procmail')\
     define(`PROCMAIL_MAILER_ARGS', `procmail -m $h $f $u')\
     define(`confBIND_OPTS', `+WorkAroundBrokenAAAA')";

/// What DOMAIN(name) defines; none for a site's own file.
pub(super) fn domain(name: &str) -> Option<&'static str> {
    Some(match name {
        "generic" => {
            "define(`confFORWARD_PATH', `$z/.forward.$w+$h:$z/.forward+$h:$z/.forward.$w:$z/.forward')\
             define(`confMAX_HEADERS_LENGTH', `32768')FEATURE(`redirect')FEATURE(`use_cw_file')EXPOSED_USER(`root')"
        }
        "debian-mta" => DEBIAN_MTA,
        _ => return None,
    })
}

/// Debian's domain(debian-mta).
const DEBIAN_MTA: &str = "define(`STATUS_FILE', `/var/lib/sendmail/sendmail.st')\
     define(`confHOST_STATUS_DIRECTORY', `/var/lib/sendmail/host_status')\
     define(`confPID_FILE', `/var/run/sendmail/mta/sendmail.pid')\
     define(`confCONTROL_SOCKET_NAME', `/var/run/sendmail/mta/smcontrol')\
     define(`confPROCESS_TITLE_PREFIX', `MTA')\
     define(`confMAX_DAEMON_CHILDREN', `0')\
     define(`confRRT_IMPLIES_DSN', `False')\
     define(`confSAFE_FILE_ENV', `/')\
     define(`confSAFE_QUEUE', `True')\
     define(`confQUEUE_FILE_MODE', `0640')define(`confTEMP_FILE_MODE', `0640')\
     define(`confTO_ICONNECT', `2m')define(`confTO_MAIL', `2m')define(`confTO_DATAINIT', `2m')\
     define(`confTO_RSET', `1m')define(`confTO_QUIT', `2m')define(`confTO_COMMAND', `5m')define(`confTO_IDENT', `5s')\
     define(`confMAX_HOP', `100')\
     define(`confDONT_BLAME_SENDMAIL', defn(`confDONT_BLAME_SENDMAIL')`,AssumeSafeChown,ForwardFileInGroupWritableDirPath,GroupWritableForwardFileSafe,GroupWritableIncludeFileSafe,IncludeFileInGroupWritableDirPath,DontWarnForwardFileInUnsafeDirPath,TrustStickyBit,NonRootSafeAddr,GroupWritableIncludeFile,GroupReadableDefaultAuthInfoFile')\
     define(`confPRIVACY_FLAGS', `restrictqrun,restrictexpand')\
     ifdef(`confTRUSTED_USER',, `define(`confTRUSTED_USER', `smmta')')\
     define(`confMAX_RUNNERS_PER_QUEUE', `5')";

/// Names that hosts' own `.m4` files may ask about: what Debian's autoconf.m4 tells.
pub(super) const DEBIAN_FACTS: &[(&str, &str)] = &[
    ("sm_version", "8.17.1.9"),
    ("sm_version_math", "528641"),
    ("sm_enable_auth", "yes"),
    ("sm_enable_tls", "yes"),
    ("sm_enable_milter", "yes"),
    ("sm_enable_ipv6", "yes"),
    ("sm_auth_lib", "2"),
    ("sm_ffr", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_of_an_empty_file() {
        let root = tempfile::tempdir().unwrap();
        let path = std::path::Path::new("empty.mc");
        let machine = crate::site::Machine::default();
        let read = crate::site::mc::read(Some(root.path()), path, Vec::new(), &machine);
        // Those of mail filters stand in a configuration only where there are some.
        let told = |options: &Options| {
            let mut views = options.views();
            views.retain(|view| !view.name.starts_with("Milter."));
            views
        };
        assert_eq!(told(&options()), told(&read.site.options));
    }
}
